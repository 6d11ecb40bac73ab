"""The pages of signing in and accepting an invitation."""

import re

from allauth.account.utils import perform_login
from django.contrib import admin, messages
from django.contrib.auth import logout
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from orgadmin.accounts.forms import AcceptInvitationForm, SignInForm
from orgadmin.models import Invitation, User
from orgadmin.people.invitations import accept, find_invitation

# Room for a number, within the 150 characters of a username.
USERNAME_LENGTH = 140


class SignInView(LoginView):
    """The sign-in page of the admin, which `OrganizationAdminSite.login` shows."""

    form_class = SignInForm
    template_name = "admin/login.html"

    def form_valid(self, form):
        # django-allauth asks for the second factor, unless the session passed it.
        # People who sign in again are asked for everything.
        logout(self.request)
        return perform_login(
            self.request, form.get_user(), redirect_url=self.get_success_url()
        )


@never_cache
def invitation_view(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation, and accept it.

    People without a password choose one here, and are signed in. Others accept, and
    sign in as usual.
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
    """Give the user the role, and lead them to the organization.

    `form` is None, or holds a password that is valid.
    """
    if form is not None:
        form.save(commit=False)
    if not accept(invitation, user, save=form is not None):
        return show_dead_link(request)
    organization = invitation.organization
    # Names the person, because somebody else may be signed in.
    message = _("“%(person)s” now has access to “%(organization)s”.")
    messages.success(request, message % {"person": user, "organization": organization})
    page = reverse("admin:orgadmin_organization_change", args=[organization.pk])
    if form is not None:
        return perform_login(request, user, redirect_url=page)
    return redirect(page)


def show_dead_link(request: HttpRequest) -> HttpResponse:
    """Say that the link no longer works, whatever the reason is."""
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
    """Return a free username: the email address, as far as usernames allow."""
    base = re.sub(r"[^\w.@+-]", "-", email)[:USERNAME_LENGTH]
    similar = User.objects.filter(username__startswith=base)
    taken = set(similar.values_list("username", flat=True))
    if base not in taken:
        return base
    number = 2
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"
