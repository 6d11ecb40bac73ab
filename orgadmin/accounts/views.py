"""The pages to sign in and to accept an invitation."""

import re

from allauth.account.utils import perform_login
from django.contrib import admin, messages
from django.contrib.auth import logout
from django.contrib.auth.views import (
    LoginView,
    PasswordChangeView,
    PasswordResetConfirmView,
)
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse, reverse_lazy
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from orgadmin.accounts.devices import remember_device
from orgadmin.accounts.forms import (
    BUSY,
    AcceptInvitationForm,
    ChangePasswordForm,
    ResetPasswordForm,
    SignInForm,
    make_busy_error,
)
from orgadmin.accounts.hashing import TooBusy
from orgadmin.accounts.tokens import reset_tokens
from orgadmin.models import Invitation, User
from orgadmin.people.invitations import accept, find_invitation

# A username may have 150 characters. This leaves room to append a number.
USERNAME_LENGTH = 140


RETRY_AFTER = 3  # seconds


class BusyFormMixin:
    """Answers 503 if a password could not be hashed, with what was typed."""

    def form_invalid(self, form):
        response = super().form_invalid(form)
        return mark_busy(response, form)


def mark_busy(response, form):
    """Set the status of a page with a form, if the site was too busy for the form."""
    codes = {
        error.code for errors in form.errors.as_data().values() for error in errors
    }
    if BUSY in codes:
        response.status_code = 503
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


class SetPasswordMixin(BusyFormMixin):
    """For the pages on which people choose a new password."""

    def form_valid(self, form):
        form.user.changed_by = form.user
        try:
            response = super().form_valid(form)
        except TooBusy:
            form.add_error("new_password1", make_busy_error())
            return self.form_invalid(form)
        # The change has ended all sessions of the person, and devices with them.
        remember_device(response, form.user)
        return response


class SignInView(BusyFormMixin, LoginView):
    """The sign-in page of the admin, which `OrganizationAdminSite.login` shows."""

    form_class = SignInForm
    template_name = "admin/login.html"

    def form_valid(self, form):
        # django-allauth does not ask for the second factor if the session has used it.
        # People who sign in again must use it again, so their session ends first.
        logout(self.request)
        return perform_login(
            self.request, form.get_user(), redirect_url=self.get_success_url()
        )


class ChangePasswordView(SetPasswordMixin, PasswordChangeView):
    """The page where people change their own password."""

    form_class = ChangePasswordForm
    success_url = reverse_lazy("admin:password_change_done")


class ResetPasswordView(SetPasswordMixin, PasswordResetConfirmView):
    """The page that a link to reset a password leads to.

    People who are locked out of a new device can use such a link: it makes the device
    known to their account.
    """

    form_class = ResetPasswordForm
    token_generator = reset_tokens


@never_cache
def invitation_view(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation, or let the person accept it.

    People without a password choose one here and are then signed in. People with a
    password accept the invitation and then sign in as usual.
    """
    invitation = find_invitation(token)
    if invitation is None:
        return show_dead_link(request)
    user = User.objects.find_by_email(invitation.email)
    if user is None:
        user = build_user(invitation.email)
    if not user.is_active:
        return show_dead_link(request)
    form = None
    if not user.has_usable_password():
        names = {"first_name": user.first_name, "last_name": user.last_name}
        form = AcceptInvitationForm(user, request.POST or None, initial=names)
    if request.method == "POST" and (form is None or form.is_valid()):
        return accept_invitation(request, invitation, user, form)
    return show_invitation(request, invitation, user, form)


def accept_invitation(
    request: HttpRequest,
    invitation: Invitation,
    user: User,
    form: AcceptInvitationForm | None,
) -> HttpResponse:
    """Give the user the role of the invitation, and redirect to the organization.

    `form` is a valid form with the user's new password, or None if they have one.
    """
    if form is not None:
        try:
            form.save(commit=False)
        except TooBusy:
            form.add_error("new_password1", make_busy_error())
            response = show_invitation(request, invitation, user, form)
            return mark_busy(response, form)
    if not accept(invitation, user, save=form is not None):
        return show_dead_link(request)
    organization = invitation.organization
    # The message names the person, because someone else may be signed in.
    message = _("“%(person)s” now has access to “%(organization)s”.")
    messages.success(request, message % {"person": user, "organization": organization})
    page = reverse("admin:orgadmin_organization_change", args=[organization.pk])
    if form is not None:
        return perform_login(request, user, redirect_url=page)
    return redirect(page)


def show_dead_link(request: HttpRequest) -> HttpResponse:
    """Show that the link does not work, without a reason."""
    return show_invitation(request, None, None, None)


def show_invitation(
    request: HttpRequest,
    invitation: Invitation | None,
    user: User | None,
    form: AcceptInvitationForm | None,
) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "invitation": invitation,
        "person": user,
        "form": form,
    }
    return render(request, "registration/invitation.html", context)


def build_user(email: str) -> User:
    """Return an unsaved user for an email address, without a password."""
    user = User(username=choose_username(email), email=email)
    user.set_unusable_password()
    return user


def choose_username(email: str) -> str:
    """Return a free username that is made from the email address.

    Each character that usernames do not allow becomes "-".
    """
    base = re.sub(r"[^\w.@+-]", "-", email)[:USERNAME_LENGTH]
    similar = User.objects.filter(username__startswith=base)
    taken = set(similar.values_list("username", flat=True))
    if base not in taken:
        return base
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"
