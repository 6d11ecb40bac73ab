"""The page of the link in the email about too many failed attempts to sign in.

The link marks the device as known to the account, so that the person can try again. It
does not give access: the password and the second factor are still required. All devices
that became known through a link share one count of attempts. So someone who can read
the person's mail does not get new attempts with each link.
"""

from __future__ import annotations

from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts.devices import remember_link_device
from orgadmin.models import User
from orgadmin.people import lock_out
from orgadmin.people.link_tokens import Link


@never_cache
def lock_out_link_view(request: HttpRequest, token: str) -> HttpResponse:
    """Show a button that allows new attempts on this device, or allow them.

    Opening the page does not change anything, because programs that check mail open the
    links in it.
    """
    link = lock_out.find_link(token)
    if link is not None and request.method == "POST":
        if use_link(link):
            return allow_attempts(request, link.user)
        # Someone else has used the link in the meantime.
        link = None
    context = {**admin.site.each_context(request), "is_valid": link is not None}
    return render(request, "registration/lock_out_link.html", context)


@transaction.atomic
def use_link(link: Link) -> bool:
    """Use the link up, and record it. Returns False if it was used before."""
    if not lock_out.use_link(link):
        return False
    record(SecurityEvent.LOCK_OUT_LINK_USED, user=link.user, actor=link.user)
    return True


def allow_attempts(request: HttpRequest, user: User) -> HttpResponse:
    """Mark the device as known, and redirect to the sign-in page."""
    messages.success(request, _("You can try again on this device now."))
    response = redirect("admin:login")
    remember_link_device(response, user)
    return response
