"""The pages that change one's own second factor.

They are django-allauth's. When they have changed something, they end the other sessions
of the person.
"""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.views import GenerateRecoveryCodesView
from allauth.mfa.totp.views import ActivateTOTPView, DeactivateTOTPView
from django.db import transaction
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.views.generic.edit import FormView

from orgadmin.access.audit_log import SecurityEvent
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
    event = SecurityEvent.FACTOR_ADDED
    kinds = [RecoveryCodes]
