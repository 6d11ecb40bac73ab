"""The page of the link in an invitation."""

from typing import Any

from allauth.account.utils import perform_login
from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache

from orgadmin.accounts.busy import make_busy_error, mark_busy
from orgadmin.accounts.forms import AcceptInvitationForm
from orgadmin.accounts.hashing import TooBusy
from orgadmin.accounts.invited_people import build_user, tell_accepted
from orgadmin.models import Invitation, Organization, User
from orgadmin.people.invitations import (
    AccountInactive,
    InvitationError,
    InvitationGone,
    accept,
    find_accepted,
    find_invitation,
    may_choose_password,
)


@never_cache
def invitation_view(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation, or accept it.

    - People without an account, or whose account has never been used, choose a password
      here, and are then signed in. They can use a company account instead.
    - Everyone else must be signed in to the account with the invited address. The
      invitation cannot be accepted with any other account.
    - A person who has already used the link is redirected to the organization, if they
      still have access to it.
    - If the link does not work for another reason, the page says why.
    """
    try:
        invitation = find_invitation(token)
    except InvitationGone as error:
        return show_used_link(request, token, error)
    except InvitationError as error:
        return show_dead_link(request, error)
    account = User.objects.find_by_email(invitation.email)
    if account is not None and not account.is_active:
        return show_dead_link(request, AccountInactive())
    if request.user.is_authenticated:
        if request.user != account:
            return show_invitation(request, invitation, "sign out")
        if request.method == "POST":
            return accept_invitation(request, invitation, account, token)
        return show_invitation(request, invitation, "accept")
    if account is None:
        account = build_user(invitation.email)
    elif not may_choose_password(account):
        if find_accepted(token) is not None:
            # A second click on the button accepted the invitation after this request
            # had found it.
            return show_used_link(request, token, InvitationGone())
        return show_invitation(request, invitation, "sign in")
    return choose_password(request, invitation, account, token)


def choose_password(
    request: HttpRequest, invitation: Invitation, account: User, token: str
) -> HttpResponse:
    """Ask for the first password of an account, then accept the invitation with it."""
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
    return accept_invitation(request, invitation, account, token, chose_password=True)


def accept_invitation(
    request: HttpRequest,
    invitation: Invitation,
    account: User,
    token: str,
    *,
    chose_password: bool = False,
) -> HttpResponse:
    """Give the account the role of the invitation, and redirect to the organization.

    With `chose_password`, `accept()` also saves the account, and the person is then
    signed in. If the invitation cannot be accepted, responds like `show_used_link()`.
    """
    try:
        role = accept(invitation, account, account_is_unused=chose_password)
    except InvitationError as error:
        # This may be the second click on the button.
        return show_used_link(request, token, error)
    tell_accepted(request, invitation, role)
    page = get_organization_url(invitation.organization_id)
    if chose_password:
        return perform_login(request, account, redirect_url=page)
    return redirect(page)


def show_used_link(
    request: HttpRequest, token: str, error: InvitationError
) -> HttpResponse:
    """Redirect to the organization if the reader accepted this invitation.

    The reader must still have access to the organization. If someone has accepted the
    invitation, visitors are redirected to the sign-in page. All other readers get the
    same response as for a link that never existed.
    """
    accepted = find_accepted(token)
    if accepted is None:
        return show_dead_link(request, error)
    if not request.user.is_authenticated:
        return redirect_to_login(request.path, reverse("admin:login"))
    permitted = Organization.objects.permitted(request.user)
    organization = permitted.filter(pk=accepted.organization_id).first()
    if accepted.user_id != request.user.pk or organization is None:
        return show_dead_link(request, error)
    return redirect(get_organization_url(organization.pk))


def get_organization_url(pk: int) -> str:
    return reverse("admin:orgadmin_organization_overview", args=[pk])


def show_dead_link(request: HttpRequest, error: InvitationError) -> HttpResponse:
    """Tell the person why the link does not work, and what to do next."""
    context = {**admin.site.each_context(request), "explanation": error.explanation}
    return render(request, "registration/invitation_dead.html", context)


def show_invitation(
    request: HttpRequest, invitation: Invitation, step: str, **context: Any
) -> HttpResponse:
    """Show an invitation and the next step.

    `step` is "choose password", "sign in", "sign out" or "accept".
    """
    context |= {
        **admin.site.each_context(request),
        "invitation": invitation,
        "step": step,
    }
    return render(request, "registration/invitation.html", context)
