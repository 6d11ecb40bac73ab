"""Forms of people who are signing in."""

from urllib.parse import urlsplit

from allauth.core import context
from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import AuthenticateForm
from allauth.mfa.totp.forms import ActivateTOTPForm
from django import forms
from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import PasswordResetForm, SetPasswordForm
from django.utils.translation import gettext_lazy as _

from orgadmin.accounts import throttle
from orgadmin.gate.answers import Gate
from orgadmin.models.validators import validate_line
from orgadmin.people.invitations import find_invitations
from orgadmin.people.mail import send_invitation


class SignInForm(AdminAuthenticationForm):
    """Lets in whoever may enter, staff or not. The refusal reads like that of a wrong password."""

    refusal = _(
        "Please enter the correct username and password. Both may be case-sensitive."
    )
    error_messages = AdminAuthenticationForm.error_messages | {"invalid_login": refusal}

    def clean(self):
        username, address = (
            self.cleaned_data.get("username") or "",
            throttle.find_address(self.request),
        )
        if (
            username
            and self.cleaned_data.get("password")
            and not throttle.is_allowed(username, address)
        ):
            raise self.get_invalid_login_error()
        cleaned = super().clean()
        if self.get_user():
            throttle.forget_attempts(username, address)
        return cleaned

    def confirm_login_allowed(self, user):
        if not Gate(user).may_enter:
            raise self.get_invalid_login_error()


class Once:
    """Takes ten wrong codes in a quarter of an hour, and each code once, in whichever process."""

    def clean_code(self):
        wrong, user = get_adapter().validation_error("incorrect_code"), self.user.pk
        if not throttle.is_allowed("code", user):
            raise wrong
        code = super().clean_code()
        if not throttle.is_allowed(f"code {normalize_user_code(code)}", user, limit=1):
            raise wrong
        throttle.forget_attempts("code", user)
        context.request.session["second_factor"] = True
        return code


class CodeForm(Once, AuthenticateForm): ...


class SetUpForm(Once, ActivateTOTPForm): ...


class AcceptForm(SetPasswordForm):
    first_name = forms.CharField(
        label=_("First name"),
        max_length=150,
        required=False,
        validators=[validate_line],
    )
    last_name = forms.CharField(
        label=_("Last name"), max_length=150, required=False, validators=[validate_line]
    )
    field_order = ["first_name", "last_name", "new_password1", "new_password2"]

    def clean(self):
        for name in ("first_name", "last_name"):
            setattr(self.user, name, self.cleaned_data.get(name, ""))
        return super().clean()


class ForgottenForm(PasswordResetForm):
    """Send a link to choose a new password; somebody with a pending invitation gets that again instead."""

    def save(self, **options):
        email, site = self.cleaned_data["email"], urlsplit(settings.BASE_URL)
        if throttle.is_allowed("mail", email.casefold()):
            options |= {
                "domain_override": site.netloc,
                "use_https": site.scheme == "https",
            }
            super().save(**options)
            for invitation in find_invitations(email__iexact=email):
                send_invitation(invitation)
