"""The page for people who are signed in and belong to no organization."""

from __future__ import annotations

from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from orgadmin.accounts.own_mail import send_to_own_address
from orgadmin.gate.answers import Gate
from orgadmin.models import Invitation, User
from orgadmin.people import outbox
from orgadmin.people.access_requests import list_own
from orgadmin.people.invitations import find_invitations
from orgadmin.people.mail import send_invitation

SHOWN_REQUESTS = 20


@never_cache
@login_required
def no_organization_view(request: HttpRequest) -> HttpResponse:
    """Tell people that they belong to no organization yet, and what they can do.

    They see the invitations to their address once it is verified. Otherwise, someone
    could put another person's address on an account, and learn who has invited them.
    """
    user = request.user
    if Gate(user).may_enter:
        return redirect("admin:index")
    invitations = find_own_invitations(user)
    if request.method == "POST":
        send_again(request, invitations)
        return redirect("no_organization")
    context = {
        **admin.site.each_context(request),
        "title": _("You belong to no organization yet"),
        "invitations": invitations,
        "requests": list_own(user, SHOWN_REQUESTS),
    }
    return render(request, "registration/no_organization.html", context)


def find_own_invitations(user: User) -> list[Invitation]:
    if not user.has_verified_email:
        return []
    return find_invitations(user.email)


def send_again(request: HttpRequest, invitations: list[Invitation]) -> None:
    """Have the link of one of the invitations sent again, and say so."""
    chosen = request.POST.get("invitation")
    for invitation in invitations:
        if str(invitation.pk) == chosen:
            task = send_invitation.using(priority=outbox.URGENT)
            send_to_own_address(request, task, invitation=invitation.pk)
            return
    text = _("This invitation no longer exists. Ask for a new one.")
    messages.error(request, text)
