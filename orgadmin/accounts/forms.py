"""The forms to sign in, choose a password, and accept an invitation."""

from allauth.mfa.models import Authenticator
from django import forms
from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm, AdminPasswordChangeForm
from django.contrib.auth.forms import PasswordResetForm, SetPasswordForm
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from orgadmin.access.origin import find_address
from orgadmin.accounts import passwords, throttle
from orgadmin.accounts.busy import make_busy_error
from orgadmin.accounts.hashing import TooBusy
from orgadmin.accounts.password_rules import warn_about_short_password
from orgadmin.accounts.reset_mail import answer_request
from orgadmin.models import User
from orgadmin.models.addresses import fold_email
from orgadmin.models.fields import LineEmailFormField
from orgadmin.people import outbox
from orgadmin.people.company_accounts import remove_company_accounts

MAX_EMAIL_LENGTH = 254  # characters


class SignInForm(AdminAuthenticationForm):
    """Accepts the username or email address of an active account, and its password.

    The error is the same for an unknown username or email address, a wrong password, an
    inactive account, and too many attempts.
    """

    # Django's field would normalize an address into a different one that looks alike.
    username = forms.CharField(
        label=_("Username or email address"),
        max_length=MAX_EMAIL_LENGTH,
        widget=forms.TextInput(
            {"autofocus": True, "autocapitalize": "none", "autocomplete": "username"}
        ),
    )

    error_messages = {
        **AdminAuthenticationForm.error_messages,
        "invalid_login": _(
            "The username or email address and the password do not match. Enter both"
            " again."
        ),
    }

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # Django limits this field to the length of a username.
        self.fields["username"].max_length = MAX_EMAIL_LENGTH
        self.fields["username"].widget.attrs["maxlength"] = MAX_EMAIL_LENGTH
        if settings.OIDC_PROVIDERS:
            # On a phone, focusing the field would open the keyboard, which hides the
            # providers' buttons.
            self.fields["username"].widget.attrs.pop("autofocus", None)

    def clean(self):
        username = self.cleaned_data.get("username")
        password = self.cleaned_data.get("password")
        if not username or not password:
            return self.cleaned_data
        try:
            user = passwords.find_user(self.request, username, password)
        except TooBusy as error:
            raise make_busy_error() from error
        if user is None:
            raise self.get_invalid_login_error()
        warn_about_short_password(self.request, user, password)
        self.user_cache = user
        return self.cleaned_data


class ChangePasswordForm(AdminPasswordChangeForm):
    """Asks people for their old password and a new one."""

    def clean_old_password(self):
        old_password = self.cleaned_data["old_password"]
        try:
            is_right = passwords.check_own_password(self.user, old_password)
        except TooBusy as error:
            raise make_busy_error() from error
        if not is_right:
            raise ValidationError(
                self.error_messages["password_incorrect"], code="password_incorrect"
            )
        return old_password


class FirstPasswordForm(SetPasswordForm):
    """Asks people who do not have a password yet for a new one."""


class ResetPasswordForm(SetPasswordForm):
    """Asks people who have opened a link from an email for a new password."""

    def clean(self):
        if not throttle.count_for_user("reset", self.user):
            text = _("You have tried too often. Wait 15 minutes, then try again.")
            self.add_error("new_password1", text)
            return self.cleaned_data
        return super().clean()

    def save(self, commit=True):
        """Save the password. The person receives mail, so this verifies their address.

        If the address was not verified before, someone else may have used the account
        with this address. So other ways to sign in are removed, which are the links to
        company accounts. The next sign-in with a company account adds its link again.

        A second factor is not removed, because it protects people whose mailbox someone
        else can read. If the account has a second factor, its address stays unverified.
        Its owner can sign in with the second factor and confirm the address.
        """
        user = super().save(commit=False)
        user.changed_by = user
        with transaction.atomic():
            user.save()
            has_factor = Authenticator.objects.filter(user=user).exists()
            if not user.has_verified_email and not has_factor:
                remove_company_accounts(user, actor=user)
                user.verify_email()
        return user


class AcceptInvitationForm(SetPasswordForm):
    """Asks a new person for their name and a password."""

    first_name = User._meta.get_field("first_name").formfield()
    last_name = User._meta.get_field("last_name").formfield()
    field_order = ["first_name", "last_name", "new_password1", "new_password2"]

    def clean(self):
        # Set the name before the password is checked, because the password must not be
        # similar to the name.
        self.user.first_name = self.cleaned_data.get("first_name", "")
        self.user.last_name = self.cleaned_data.get("last_name", "")
        return super().clean()


class ForgottenPasswordForm(PasswordResetForm):
    """Sends an email that helps people to sign in, and resends pending invitations.

    A task finds out who has the email address, so the response is the same whether or
    not someone has it. It is also the same after too many requests, which send nothing.
    """

    email = LineEmailFormField(
        label=_("Email"),
        max_length=MAX_EMAIL_LENGTH,
        widget=forms.EmailInput({"autocomplete": "email"}),
    )

    def save(self, *, request, **options):
        email = self.cleaned_data["email"]
        address = find_address(request)
        if throttle.count_visitor_mail(address, fold_email(email)):
            outbox.enqueue(answer_request, address=email)
