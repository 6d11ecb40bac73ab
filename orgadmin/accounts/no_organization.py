"""The page for people who belong to no organization, and answers to own invitations.

The home page shows the invitations of everyone else. Both send the answers here.
"""

from __future__ import annotations

from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _, gettext_lazy
from django.views.decorators.cache import never_cache

from orgadmin.accounts.invited_people import tell_accepted
from orgadmin.accounts.own_mail import send_to_own_address
from orgadmin.gate.answers import Gate
from orgadmin.models import Invitation, User
from orgadmin.people import outbox
from orgadmin.people.access_requests import list_own
from orgadmin.people.invitations import (
    InvitationError,
    accept,
    decline,
    find_invitations,
)
from orgadmin.people.mail import send_invitation

SHOWN_REQUESTS = 20

GONE = gettext_lazy("This invitation no longer exists. Ask for a new one.")


@never_cache
@login_required
def no_organization_view(request: HttpRequest) -> HttpResponse:
    """Tell people that they belong to no organization yet, and what they can do.

    They see the invitations to their address once it is verified. Otherwise, someone
    could put another person's address on an account, and learn who has invited them.
    """
    user = request.user
    invitations = find_own_invitations(user)
    if request.method == "POST":
        return answer(request, invitations)
    if Gate(user).may_enter:
        return redirect("admin:index")
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


def answer(request: HttpRequest, invitations: list[Invitation]) -> HttpResponse:
    """Accept or decline one of the person's invitations, and say so.

    An invitation of someone else gets the same response as one that does not exist.
    """
    chosen = request.POST.get("invitation")
    own = [invitation for invitation in invitations if str(invitation.pk) == chosen]
    if not own:
        messages.error(request, GONE)
    elif "accept" in request.POST:
        return accept_own(request, own[0])
    elif "decline" in request.POST:
        decline_own(request, own[0])
    else:
        task = send_invitation.using(priority=outbox.URGENT)
        send_to_own_address(request, task, invitation=own[0].pk)
    return redirect("no_organization")


def accept_own(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    """Accept an invitation to the address that the person has confirmed."""
    try:
        role = accept(invitation, request.user, is_unused=False)
    except InvitationError as error:
        messages.error(request, str(error.explanation))
        return redirect("no_organization")
    tell_accepted(request, invitation, role)
    return redirect("admin:orgadmin_organization_overview", invitation.organization_id)


def decline_own(request: HttpRequest, invitation: Invitation) -> None:
    if not decline(invitation):
        messages.error(request, GONE)
        return
    text = _("You declined the invitation to “%s”.") % invitation.organization
    messages.success(request, text)
