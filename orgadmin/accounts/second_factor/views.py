"""The pages that change one's own second factor, or show one's recovery codes.

These are django-allauth's pages. In addition, each change ends the person's other
sessions, and the audit log records each change and who has seen recovery codes.
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
    kinds: list[str]  # the types of the factors that the page adds or removes

    @transaction.atomic
    def form_valid(self, form: BaseForm) -> HttpResponse:
        user = self.request.user
        device = find_device(self.request, user)
        response = super().form_valid(form)
        follow_up(self.event, user, self.find_kinds(), actor=user)
        keep_session(self.request, user)
        self.update_session(self.request)
        # The cookies of known devices expired together with the sessions.
        keep_device(response, user, device)
        return response

    def find_kinds(self) -> list[str]:
        """Return the types of the factors that were added or removed."""
        return self.kinds

    def update_session(self, request: HttpRequest) -> None:
        """Update which second factor this session has used.

        If the person no longer has a second factor, the session has not used any.
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

    def update_session(self, request: HttpRequest) -> None:
        # The person has just entered a code from this app.
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
    """Return the types of what was removed with a factor of this type.

    The recovery codes are removed together with the last factor.
    """
    return [kind] if has_second_factor(user) else [kind, RecoveryCodes]


def is_last_factor(user: User, factor: Authenticator) -> bool:
    """Return whether this is the only second factor of a person."""
    others = Authenticator.objects.filter(user=user, type__in=FACTORS)
    return not others.exclude(pk=factor.pk).exists()


class NewRecoveryCodesView(FactorChangeView, GenerateRecoveryCodesView):
    event = SecurityEvent.RECOVERY_CODES_CREATED
    kinds = [RecoveryCodes]


class RecordedCodesView(TemplateView):
    """Records who has seen recovery codes, because each code can replace the app."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        # Raises `Http404` if there are no codes, so that nothing is recorded.
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
