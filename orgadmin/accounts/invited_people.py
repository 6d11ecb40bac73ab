"""Creates accounts for invited people. Accepts invitations with company accounts."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.contrib import messages
from django.http import HttpRequest
from django.urls import Resolver404, resolve
from django.utils.translation import gettext as _

from orgadmin.access.roles import Role
from orgadmin.models import Invitation, User
from orgadmin.models.addresses import is_same_email, make_username
from orgadmin.people.invitations import accept, find_invitation, may_choose_password


def accept_with_company_account(
    request: HttpRequest, page: str, email: str
) -> User | None:
    """Accept an invitation for someone who has signed in with a provider on its page.

    `page` is the URL of the invitation's page, and `email` is the address that the
    provider confirms. Returns the person's account, which is created without a password
    if necessary.

    Returns None if the page does not belong to an invitation to this address, or if
    someone uses the account already. Raises an `InvitationError` if the invitation
    cannot be accepted.
    """
    token = read_token(page)
    if token is None:
        return None
    invitation = find_invitation(token)
    if not is_same_email(invitation.email, email):
        return None
    account = User.objects.find_by_email(invitation.email)
    if account is None:
        account = build_user(invitation.email)
    elif not may_choose_password(account):
        return None
    role = accept(invitation, account, account_is_unused=True)
    tell_accepted(request, invitation, role)
    return account


def read_token(page: str) -> str | None:
    """Return the token of an invitation's URL, or None if it is another page's URL."""
    try:
        match = resolve(urlsplit(page).path)
    except Resolver404:
        return None
    return match.kwargs["token"] if match.view_name == "invitation" else None


def tell_accepted(request: HttpRequest, invitation: Invitation, role: Role) -> None:
    """Add a message for the next page about the role that the person has now."""
    if role.key == invitation.role:
        text = _("You now have access to “%(organization)s”.")
    else:
        text = _(
            "You keep your role in “%(organization)s”: %(role)s. It already allows more"
            " than the invitation, which is used up now."
        )
    values = {"organization": invitation.organization, "role": role.label}
    messages.success(request, text % values)


def build_user(email: str) -> User:
    """Return an unsaved user for an email address, without a password."""
    user = User(username=choose_username(email), email=email)
    user.set_unusable_password()
    return user


def choose_username(email: str) -> str:
    """Return an unused username that is based on the email address."""
    base = make_username(email)
    username = base
    number = 1
    while User.objects.find_by_username(username):
        number += 1
        username = f"{base}-{number}"
    return username
