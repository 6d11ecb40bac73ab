"""The pages to sign in, accept an invitation, and confirm an email address."""

import re
from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.account.utils import perform_login
from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import (
    LoginView,
    PasswordChangeView,
    PasswordResetConfirmView,
)
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse, reverse_lazy
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from orgadmin.accounts import throttle
from orgadmin.accounts.devices import (
    find_device,
    keep_device,
    remember_password_device,
)
from orgadmin.accounts.forms import (
    BUSY,
    AcceptInvitationForm,
    ChangePasswordForm,
    ResetPasswordForm,
    SignInForm,
    make_busy_error,
)
from orgadmin.accounts.hashing import TooBusy
from orgadmin.accounts.redirects import redirect_to_sign_in
from orgadmin.accounts.sessions import (
    end_all_sessions,
    keep_session,
    leave_to_sign_in_again,
)
from orgadmin.accounts.tokens import make_link_token, read_link_token, reset_tokens
from orgadmin.models import Invitation, User
from orgadmin.models.user import CredentialsChanged
from orgadmin.people import mail
from orgadmin.people.invitations import (
    AccountInactive,
    InvitationError,
    accept,
    find_invitation,
    may_choose_password,
)
from orgadmin.people.membership import lock

# The purpose of the links that confirm an email address.
CONFIRM_EMAIL = "confirm email"

# How long such a link works.
CONFIRM_EMAIL_MAX_AGE = 60 * 60  # seconds

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
    codes = set()
    for errors in form.errors.as_data().values():
        codes.update(error.code for error in errors)
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
        remember_password_device(response, form.user)
        return response


class SignInView(BusyFormMixin, LoginView):
    """The sign-in page of the admin, which `OrganizationAdminSite.login` shows."""

    form_class = SignInForm
    template_name = "admin/login.html"

    def form_valid(self, form):
        # django-allauth does not ask for the second factor if the session has used it.
        # People who sign in again must use it again, so their session ends first.
        leave_to_sign_in_again(self.request)
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
    response = redirect("admin:index")
    keep_device(response, user, device)
    return response


class ChangePasswordView(SetPasswordMixin, PasswordChangeView):
    """The page where people change their own password."""

    form_class = ChangePasswordForm
    success_url = reverse_lazy("admin:password_change_done")

    def form_valid(self, form):
        try:
            return super().form_valid(form)
        except CredentialsChanged:
            # Their sessions have ended, too, so they cannot try again on this page.
            leave_to_sign_in_again(self.request)
            text = _(
                "Your password was not changed, because your account has changed in the"
                " meantime. Sign in again, then change it."
            )
            return redirect_to_sign_in(self.request, text)


class ResetPasswordView(SetPasswordMixin, PasswordResetConfirmView):
    """The page that a link to reset a password leads to.

    People who are locked out of a new device can use such a link: it makes the device
    known to their account.
    """

    form_class = ResetPasswordForm
    token_generator = reset_tokens

    def form_valid(self, form):
        try:
            return super().form_valid(form)
        except CredentialsChanged:
            # The link has ended since the form was checked.
            self.validlink = False
            return self.render_to_response(self.get_context_data())


@never_cache
def invitation_view(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation, or let the person accept it.

    People without an account choose a password here and are then signed in, and so do
    people whose account nobody has used. Everyone else must be signed in to the account
    with the invited address. Nothing is accepted for any other account.
    """
    try:
        invitation = find_invitation(token)
    except InvitationError as error:
        return show_dead_link(request, error)
    account = User.objects.find_by_email(invitation.email)
    if account is not None and not account.is_active:
        return show_dead_link(request, AccountInactive())
    if request.user.is_authenticated:
        if request.user != account:
            return show_invitation(request, invitation, "sign out")
        if request.method == "POST":
            return accept_invitation(request, invitation, account)
        return show_invitation(request, invitation, "accept")
    if account is None:
        account = build_user(invitation.email)
    elif not may_choose_password(account):
        return show_invitation(request, invitation, "sign in")
    return choose_password(request, invitation, account)


def choose_password(
    request: HttpRequest, invitation: Invitation, account: User
) -> HttpResponse:
    """Let the person choose the first password of an account, and sign them in."""
    names = {"first_name": account.first_name, "last_name": account.last_name}
    form = AcceptInvitationForm(account, request.POST or None, initial=names)
    if request.method != "POST" or not form.is_valid():
        return show_invitation(
            request, invitation, "choose password", person=account, form=form
        )
    try:
        form.save(commit=False)
    except TooBusy:
        form.add_error("new_password1", make_busy_error())
        response = show_invitation(
            request, invitation, "choose password", person=account, form=form
        )
        return mark_busy(response, form)
    return accept_invitation(request, invitation, account, chose_password=True)


def accept_invitation(
    request: HttpRequest,
    invitation: Invitation,
    account: User,
    *,
    chose_password: bool = False,
) -> HttpResponse:
    """Give the account the role of the invitation, and redirect to the organization."""
    try:
        role = accept(invitation, account, chose_password=chose_password)
    except InvitationError as error:
        return show_dead_link(request, error)
    if role.key == invitation.role:
        text = _("You now have access to “%(organization)s”.")
    else:
        text = _(
            "You keep your role in “%(organization)s”: %(role)s. It already allows more"
            " than the invitation, which is used up now."
        )
    values = {"organization": invitation.organization, "role": role.label}
    messages.success(request, text % values)
    page = reverse(
        "admin:orgadmin_organization_change", args=[invitation.organization_id]
    )
    if chose_password:
        return perform_login(request, account, redirect_url=page)
    return redirect(page)


def show_dead_link(request: HttpRequest, error: InvitationError) -> HttpResponse:
    """Show why a link does not work, and what to do next."""
    context = {**admin.site.each_context(request), "explanation": error.explanation}
    return render(request, "registration/invitation_dead.html", context)


def show_invitation(
    request: HttpRequest, invitation: Invitation, step: str, **context: Any
) -> HttpResponse:
    """Show an invitation, and what the person does next.

    `step` is "choose password", "sign in", "sign out" or "accept".
    """
    context |= {
        **admin.site.each_context(request),
        "invitation": invitation,
        "step": step,
    }
    return render(request, "registration/invitation.html", context)


@never_cache
@login_required
def confirm_email_view(request: HttpRequest) -> HttpResponse:
    """Show whether the person's email address is confirmed, and send them a link."""
    user = request.user
    if request.method == "POST" and user.email and not user.has_verified_email:
        send_confirmation_link(request, user)
        return redirect("confirm_email")
    return render(
        request, "registration/confirm_email.html", admin.site.each_context(request)
    )


def send_confirmation_link(request: HttpRequest, user: User) -> None:
    """Mail the link to the person's current address, and say so on the next page."""
    if not throttle.count_attempt("own mail", user.pk):
        text = _(
            "Too many emails were sent to “%s” in a short time. Wait 15 minutes, then"
            " try again."
        )
        messages.error(request, text % user.email)
        return
    token = make_link_token(user, CONFIRM_EMAIL)
    path = reverse("confirm_email_link", args=[token])
    if mail.send_link("confirm_email", user, path):
        text = _("We sent a link to “%s”. Open it in this browser.")
        messages.success(request, text % user.email)
    else:
        messages.error(request, _("The email could not be sent. Try again later."))


@never_cache
@login_required
def confirm_email_link_view(request: HttpRequest, token: str) -> HttpResponse:
    """Confirm the email address that the link was sent to.

    The link alone confirms nothing: whoever opens it must be signed in to the account
    that asked for it. Otherwise, someone could put another person's address on an
    account of their own, and have this person confirm it with a click.
    """
    with transaction.atomic():
        # The address must not change between the check and the write.
        lock(User, [request.user.pk])
        user = read_link_token(token, CONFIRM_EMAIL, CONFIRM_EMAIL_MAX_AGE)
        is_valid = user is not None and user == request.user
        if is_valid and request.method == "POST":
            user.changed_by = user
            user.verify_email()
            messages.success(request, _("Your email address is confirmed."))
            return redirect("confirm_email")
    context = {**admin.site.each_context(request), "is_valid": is_valid}
    return render(request, "registration/confirm_email_link.html", context)


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
