"""The page of the link in the mail about too many failed attempts to sign in.

The link gives no access: the password is still required, and so is the second factor.
It makes a device known to the account, like a new password. All devices that became
known by a link share their attempts, so someone who reads the mail of a person gets no
new attempts with each link.
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
    """Ask whether to let the person try again on this device, or do so.

    Programs that check mail open its links, so opening one changes nothing.
    """
    link = lock_out.find_link(token)
    if link is not None and request.method == "POST":
        if use(link):
            return let_try_again(request, link.user)
        # Someone has used it in the meantime.
        link = None
    context = {**admin.site.each_context(request), "is_valid": link is not None}
    return render(request, "registration/lock_out_link.html", context)


@transaction.atomic
def use(link: Link) -> bool:
    """Use a link, record it, and return whether it had not been used before."""
    if not lock_out.use(link):
        return False
    record(SecurityEvent.LOCK_OUT_LINK_USED, user=link.user, actor=link.user)
    return True


def let_try_again(request: HttpRequest, user: User) -> HttpResponse:
    messages.success(request, _("You can try again on this device now."))
    response = redirect("admin:login")
    remember_link_device(response, user)
    return response
