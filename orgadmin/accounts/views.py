"""The pages to sign in, to sign out elsewhere, and to choose a new password."""

from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import perform_login
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import (
    LoginView,
    PasswordChangeView,
    PasswordResetConfirmView,
)
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from orgadmin.accounts.busy import BusyFormMixin, make_busy_error
from orgadmin.accounts.devices import (
    find_device,
    keep_device,
    remember_link_device,
)
from orgadmin.accounts.forms import (
    ChangePasswordForm,
    FirstPasswordForm,
    ResetPasswordForm,
    SignInForm,
)
from orgadmin.accounts.hashing import TooBusy
from orgadmin.accounts.redirects import redirect_to_sign_in
from orgadmin.accounts.sessions.sessions import (
    end_all_sessions,
    end_session_before_sign_in,
    keep_session,
)
from orgadmin.accounts.tokens import reset_tokens
from orgadmin.models.user import CredentialsChanged


class SetPasswordMixin(BusyFormMixin):
    """Handles a busy site and known devices on the pages that set a new password."""

    def form_valid(self, form):
        form.user.changed_by = form.user
        try:
            response = super().form_valid(form)
        except TooBusy:
            form.add_error("new_password1", make_busy_error())
            return self.form_invalid(form)
        # The change has ended all sessions of the person, and the cookies of known
        # devices have expired with them.
        remember_link_device(response, form.user)
        return response


class SignInView(BusyFormMixin, LoginView):
    """The sign-in page of the admin. `OrganizationAdminSite.login` calls it."""

    form_class = SignInForm
    template_name = "admin/login.html"

    def form_valid(self, form):
        # django-allauth does not ask for the second factor if the session has already
        # used it. People who sign in again must use it again, so end the session first.
        end_session_before_sign_in(self.request)
        user = form.get_user()
        record_authentication(self.request, user, method="password")
        return perform_login(self.request, user, redirect_url=self.get_success_url())


@require_POST
def sign_out_elsewhere(request: HttpRequest) -> HttpResponse:
    """End all sessions of the person who is signed in, except this one."""
    user = request.user
    device = find_device(request, user)
    end_all_sessions(user, actor=user)
    keep_session(request, user)
    messages.success(request, _("You were signed out on all your other devices."))
    response = redirect("admin:account")
    keep_device(response, user, device)
    return response


class ChangePasswordView(SetPasswordMixin, PasswordChangeView):
    """The page where people change their own password.

    People without a password can set one if the setting ALLOW_FIRST_PASSWORD is on. In
    that case, the admin site requires a recent sign-in instead of the old password.
    """

    form_class = ChangePasswordForm
    success_url = reverse_lazy("admin:password_change_done")

    def dispatch(self, request, *args, **kwargs):
        has_password = request.user.has_usable_password()
        if not has_password and not settings.ALLOW_FIRST_PASSWORD:
            context = {**self.extra_context, "title": _("You have no password here")}
            return render(request, "registration/no_password.html", context)
        return super().dispatch(request, *args, **kwargs)

    def get_form_class(self):
        if self.request.user.has_usable_password():
            return ChangePasswordForm
        return FirstPasswordForm

    def get_template_names(self):
        if self.request.user.has_usable_password():
            return ["registration/password_change_form.html"]
        return ["registration/first_password.html"]

    def form_valid(self, form):
        try:
            return super().form_valid(form)
        except CredentialsChanged:
            # The person's sessions have ended, so they cannot try again on this page.
            end_session_before_sign_in(self.request)
            text = _(
                "Your password was not changed, because your account has changed in the"
                " meantime. Sign in again, then change it."
            )
            return redirect_to_sign_in(self.request, text)


class ResetPasswordView(SetPasswordMixin, PasswordResetConfirmView):
    """The page of the link to reset a password.

    Setting a password here also marks the device as known. So people who are locked out
    on a new device can use such a link.
    """

    form_class = ResetPasswordForm
    token_generator = reset_tokens

    def form_valid(self, form):
        try:
            return super().form_valid(form)
        except CredentialsChanged:
            # The link has expired since the form was validated.
            self.validlink = False
            return self.render_to_response(self.get_context_data())
