"""The pages that change one's own second factor, or show one's recovery codes.

They are django-allauth's. When they have changed something, they end the other sessions
of the person. The audit log says who has changed or seen what.
"""

from __future__ import annotations

from typing import Any

from allauth.mfa.base.views import IndexView
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.views import (
    DownloadRecoveryCodesView,
    GenerateRecoveryCodesView,
    ViewRecoveryCodesView,
)
from allauth.mfa.totp.views import ActivateTOTPView, DeactivateTOTPView
from django.db import transaction
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.views.generic import TemplateView
from django.views.generic.edit import FormView

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts.devices import find_device, keep_device
from orgadmin.accounts.second_factor import passkeys
from orgadmin.accounts.sessions.sessions import keep_session, record_second_factor
from orgadmin.models import User
from orgadmin.people.second_factors import FACTORS, follow_up, has_second_factor

App = Authenticator.Type.TOTP
RecoveryCodes = Authenticator.Type.RECOVERY_CODES


class FactorChangeView(FormView):
    """Ends the other sessions of a person who changes their second factor."""

    event: SecurityEvent
    kinds: list[str]  # the types of the factors that it adds or removes

    @transaction.atomic
    def form_valid(self, form: BaseForm) -> HttpResponse:
        user = self.request.user
        device = find_device(self.request, user)
        response = super().form_valid(form)
        follow_up(self.event, user, self.find_kinds(), actor=user)
        keep_session(self.request, user)
        self.note_in_session(self.request)
        # Devices that the account knew have ended with the sessions.
        keep_device(response, user, device)
        return response

    def find_kinds(self) -> list[str]:
        """Return the types of the factors, after the change."""
        return self.kinds

    def note_in_session(self, request: HttpRequest) -> None:
        """Note which second factor this session has used.

        If the person has none any more, it counts as a session without one.
        """
        if not has_second_factor(request.user):
            request.session.pop("second_factor", None)


class SetUpView(FactorChangeView, ActivateTOTPView):
    event = SecurityEvent.FACTOR_ADDED
    kinds = [App]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super().get_context_data(**kwargs),
            "has_second_factor": has_second_factor(self.request.user),
            "passkeys_available": passkeys.are_available(),
        }

    def note_in_session(self, request: HttpRequest) -> None:
        # The person has just entered a code of this app.
        app = Authenticator.objects.get(user=request.user, type=App)
        record_second_factor(request.session, app)


class RemoveView(FactorChangeView, DeactivateTOTPView):
    event = SecurityEvent.FACTOR_REMOVED

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        is_last = is_last_factor(self.request.user, self.authenticator)
        return {**super().get_context_data(**kwargs), "is_last_factor": is_last}

    def find_kinds(self) -> list[str]:
        return list_removed(self.request.user, App)


def list_removed(user: User, kind: str) -> list[str]:
    """Return what was removed together with a factor of this kind.

    The recovery codes go with the last one.
    """
    return [kind] if has_second_factor(user) else [kind, RecoveryCodes]


def is_last_factor(user: User, factor: Authenticator) -> bool:
    """Return whether someone has no other second factor than this one."""
    others = Authenticator.objects.filter(user=user, type__in=FACTORS)
    return not others.exclude(pk=factor.pk).exists()


class NewRecoveryCodesView(FactorChangeView, GenerateRecoveryCodesView):
    event = SecurityEvent.RECOVERY_CODES_CREATED
    kinds = [RecoveryCodes]


class RecordedCodesView(TemplateView):
    """Records who sees recovery codes: each of them is enough instead of the app."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # Answers 404, and records nothing, if there are no codes.
        response = super().get(request, *args, **kwargs)
        user = request.user
        record(SecurityEvent.RECOVERY_CODES_VIEWED, user=user, actor=user)
        return response


class ShowCodesView(RecordedCodesView, ViewRecoveryCodesView):
    """The page with the recovery codes."""


class OwnFactorsView(IndexView):
    """The page that lists the person's second factors."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super().get_context_data(**kwargs),
            "passkeys_available": passkeys.are_available(),
        }


class DownloadCodesView(RecordedCodesView, DownloadRecoveryCodesView):
    """The recovery codes as a text file."""
