"""The pages that change one's own second factor, or show one's recovery codes.

They are django-allauth's. When they have changed something, they end the other sessions
of the person. The audit log says who has changed or seen what.
"""

from __future__ import annotations

from typing import Any

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
from orgadmin.accounts.sessions import keep_session, note_second_factor
from orgadmin.people.second_factors import follow_up

App = Authenticator.Type.TOTP
RecoveryCodes = Authenticator.Type.RECOVERY_CODES


class FactorChangeView(FormView):
    """Ends the other sessions of a person who changes their second factor."""

    event: SecurityEvent
    kinds: list[str]

    @transaction.atomic
    def form_valid(self, form: BaseForm) -> HttpResponse:
        user = self.request.user
        device = find_device(self.request, user)
        response = super().form_valid(form)
        follow_up(self.event, user, self.kinds, actor=user)
        keep_session(self.request, user)
        self.note_in_session(self.request)
        # Devices that the account knew have ended with the sessions.
        keep_device(response, user, device)
        return response

    def note_in_session(self, request: HttpRequest) -> None:
        """Note which second factor this session has used."""


class SetUpView(FactorChangeView, ActivateTOTPView):
    event = SecurityEvent.FACTOR_ADDED
    kinds = [App]

    def note_in_session(self, request: HttpRequest) -> None:
        # The person has just entered a code of this app.
        app = Authenticator.objects.get(user=request.user, type=App)
        note_second_factor(request.session, app)


class RemoveView(FactorChangeView, DeactivateTOTPView):
    event = SecurityEvent.FACTOR_REMOVED
    kinds = [App, RecoveryCodes]

    def note_in_session(self, request: HttpRequest) -> None:
        request.session.pop("second_factor", None)


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


class DownloadCodesView(RecordedCodesView, DownloadRecoveryCodesView):
    """The recovery codes as a text file."""
