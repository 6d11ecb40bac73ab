"""The page for people without an organization, and responses to one's invitations.

This page shows the invitations of people without an organization. The home page shows
those of everyone else, and submits their responses to this page.
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

MAX_SHOWN_REQUESTS = 20

GONE = gettext_lazy("This invitation no longer exists. Ask for a new one.")


@never_cache
@login_required
def no_organization_view(request: HttpRequest) -> HttpResponse:
    """Tell people that they do not belong to an organization yet, and what to do.

    A POST responds to an invitation, from this page or from the home page. For other
    requests, people who can use the admin are redirected to the home page.

    Invitations are only shown if the person's address is verified. Otherwise, someone
    could enter another person's address in their own account, and learn who has invited
    that person.
    """
    user = request.user
    invitations = find_own_invitations(user)
    if request.method == "POST":
        return answer(request, invitations)
    if Gate(user).may_enter:
        return redirect("admin:index")
    context = {
        **admin.site.each_context(request),
        "title": _("You don't belong to an organization yet"),
        "invitations": invitations,
        "requests": list_own(user, MAX_SHOWN_REQUESTS),
    }
    return render(request, "registration/no_organization.html", context)


def find_own_invitations(user: User) -> list[Invitation]:
    """Return the open invitations to the user's address, if it is verified."""
    if not user.has_verified_email:
        return []
    return find_invitations(user.email)


def answer(request: HttpRequest, invitations: list[Invitation]) -> HttpResponse:
    """Accept, decline, or send again the invitation that the person has chosen.

    Another person's invitation gets the same response as one that does not exist.
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
    """Accept an invitation to the person's verified address."""
    try:
        role = accept(invitation, request.user, account_is_unused=False)
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
