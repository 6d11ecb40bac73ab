"""The forms that a script fills in with the browser's response about a passkey."""

from __future__ import annotations

from allauth.core import context
from allauth.mfa.base.internal.flows import post_authentication
from allauth.mfa.models import Authenticator
from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.origin import find_address
from orgadmin.accounts import throttle
from orgadmin.accounts.second_factor import passkeys
from orgadmin.accounts.second_factor.passkeys import PasskeyRefused
from orgadmin.models import User
from orgadmin.models.fields import LineFormField

MAX_NAME_LENGTH = 60  # characters

# This message is the same for all reasons, so that it does not reveal which passkeys
# exist.
REFUSED = _("This passkey was not accepted. Try again, or sign in in another way.")

NO_RESPONSE = _(
    "Your browser sent no passkey. Passkeys need JavaScript and a current browser."
)


class CredentialField(forms.CharField):
    """The browser's response as JSON, which a script writes into a hidden field."""

    def __init__(self) -> None:
        super().__init__(
            max_length=passkeys.MAX_RESPONSE_LENGTH,
            widget=forms.HiddenInput,
            error_messages={"required": NO_RESPONSE, "max_length": REFUSED},
        )


class PasskeySignInForm(forms.Form):
    """Signs in with a passkey alone.

    Attempts are counted by IP address. If they were counted by person, anyone could
    lock out others. Counting by person is not necessary, because nobody can guess a
    passkey.
    """

    credential = CredentialField()

    def __init__(self, request: HttpRequest, data: object) -> None:
        super().__init__(data)
        self.request = request

    def clean_credential(self) -> Authenticator:
        address = find_address(self.request)
        if not throttle.count_attempt("passkey", address, throttle.ADDRESS_LIMIT):
            raise ValidationError(REFUSED)
        session = self.request.session
        text = self.cleaned_data["credential"]
        try:
            passkey = passkeys.check_passkey(session, user=None, text=text)
        except PasskeyRefused as error:
            record(
                SecurityEvent.SIGN_IN_FAILED,
                user=error.passkey.user if error.passkey else None,
                details={"step": "passkey", **error.details},
            )
            raise ValidationError(REFUSED) from error
        # Many people may share an IP address, so successful attempts do not count.
        throttle.take_back("passkey", address)
        return passkey


class PasskeyForm(forms.Form):
    """Asks a certain person for one of their passkeys.

    Attempts and codes of the second factor share one count. The signature of
    `__init__` is the one that django-allauth expects.
    """

    credential = CredentialField()
    step = "step-up"  # for the audit log

    def __init__(self, *, user: User, data: object = None) -> None:
        super().__init__(data)
        self.user = user

    def clean_credential(self) -> Authenticator:
        request = context.request
        subject = throttle.code_subject(self.user, request)
        if not throttle.count_for_user("code", self.user, subject):
            raise ValidationError(REFUSED)
        text = self.cleaned_data["credential"]
        try:
            passkey = passkeys.check_passkey(request.session, self.user, text)
        except PasskeyRefused as error:
            details = {"step": self.step, **error.details}
            record(SecurityEvent.SIGN_IN_FAILED, user=self.user, details=details)
            raise ValidationError(REFUSED) from error
        throttle.forget_attempts("code", subject)
        return passkey

    @property
    def factor(self) -> Authenticator:
        return self.cleaned_data["credential"]


class SecondStepPasskeyForm(PasskeyForm):
    """Asks for a passkey after the password."""

    step = "second factor"

    def save(self) -> None:
        post_authentication(context.request, self.factor)


class AddPasskeyForm(forms.Form):
    """Asks for the name of a new passkey.

    A name is not required, because an error would come too late: when the form is sent,
    the browser has already created the passkey.
    """

    name = LineFormField(
        label=_("Name"),
        required=False,
        max_length=MAX_NAME_LENGTH,
        help_text=_("So that you recognize it later, such as “Work laptop”."),
    )
    credential = CredentialField()

    def __init__(self, *, user: User, **options: object) -> None:
        super().__init__(**options)
        self.user = user

    def clean_name(self) -> str:
        return self.cleaned_data["name"] or str(_("Passkey"))

    def clean_credential(self) -> dict:
        session = context.request.session
        text = self.cleaned_data["credential"]
        try:
            return passkeys.check_new_passkey(session, self.user, text)
        except PasskeyRefused as error:
            text = _("This passkey could not be added. Try again.")
            raise ValidationError(text) from error


class RenamePasskeyForm(forms.Form):
    name = LineFormField(label=_("Name"), max_length=MAX_NAME_LENGTH)
