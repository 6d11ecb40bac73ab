"""The link that opens the pages to set up a second factor.

The link is sent to the address of the account. Otherwise, someone who only knows the
password could set up a second factor of their own, and lock the person out.
"""

from __future__ import annotations

import time
from hashlib import sha256

from django.contrib import admin, messages
from django.contrib.auth.decorators import login_required
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.crypto import get_random_string
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django_tasks import TaskContext, task

from orgadmin.accounts import throttle
from orgadmin.models import User
from orgadmin.people import mail, outbox
from orgadmin.people.link_tokens import make_link_token, read_link_token

PURPOSE = "set up second factor"
LINK_LIFETIME = 60 * 60  # seconds

# How long the pages can be used after the link was opened.
PAGE_LIFETIME = 30 * 60  # seconds

# The names of the URLs that require the link. The link leads to the page that the
# person had requested, or else to the first page.
SET_UP_PAGES = ("mfa_activate_totp", "mfa_add_webauthn")
SET_UP_URLS = (*SET_UP_PAGES, "mfa_add_webauthn_options")

# The keys of values in the session. A link only works in the session that requested it,
# because its nonce is stored there. It only works once, because opening it removes the
# nonce.
NONCE = "set_up_nonce"
OPEN_UNTIL = "set_up_open_until"
WANTED_PAGE = "set_up_page"


def is_open(session: SessionBase) -> bool:
    return session.get(OPEN_UNTIL, 0) > time.time()


def open_page(session: SessionBase) -> None:
    """Allow the session to set up a second factor, and make its link invalid."""
    session.pop(NONCE, None)
    session[OPEN_UNTIL] = time.time() + PAGE_LIFETIME


def store_wanted_page(request: HttpRequest) -> None:
    """Store the requested page, which opens after the person has opened the link."""
    name = request.resolver_match.url_name
    if name in SET_UP_PAGES:
        request.session[WANTED_PAGE] = name


@never_cache
@login_required
def set_up_link_view(request: HttpRequest) -> HttpResponse:
    """Show where the link will be sent, or send it."""
    user = request.user
    if request.method == "POST" and user.email:
        send_link(request, user)
        return redirect("mfa_set_up_link")
    context = {
        **admin.site.each_context(request),
        "address": mask_address(user.email),
        "is_sent": NONCE in request.session,
    }
    return render(request, "mfa/set_up_link.html", context)


def send_link(request: HttpRequest, user: User) -> None:
    """Queue the email with the link, and add a message for the next page.

    After too many emails, queues nothing, and the message says so.
    """
    if not throttle.count_attempt("own mail", user.pk):
        text = _(
            "Too many emails were sent to you in a short time. Wait 15 minutes, then"
            " try again."
        )
        messages.error(request, text)
        return
    nonce = get_random_string(22)
    outbox.enqueue(mail_link, user=user.pk, nonce_hash=hash_nonce(nonce))
    request.session[NONCE] = nonce
    text = _("The link is on its way to you. Open it in this browser.")
    messages.success(request, text)


def hash_nonce(nonce: str) -> str:
    """Return the hash of a nonce, which ties the link to the session with the nonce."""
    return sha256(nonce.encode()).hexdigest()


@task(takes_context=True, priority=outbox.URGENT)
def mail_link(
    context: TaskContext, *, user: int, nonce_hash: str, language: str
) -> None:
    """Send the link to the person's current address."""
    person = mail.find_recipient(user)
    if person is None:
        return
    token = make_link_token(person, PURPOSE, nonce_hash)
    path = reverse("mfa_open_set_up_link", args=[token])
    message = mail.write_link("set_up_link", person, path, language)
    outbox.deliver(message, context)


@never_cache
@login_required
def open_set_up_link_view(request: HttpRequest, token: str) -> HttpResponse:
    """Allow this session to set up a second factor, and verify the person's address.

    If the link is not valid here, redirects to the page that sends a new one.
    """
    nonce = request.session.get(NONCE)
    user = nonce and read_link_token(token, PURPOSE, LINK_LIFETIME, hash_nonce(nonce))
    if not user or user != request.user:
        text = _(
            "This link no longer works, or you asked for it in another browser. Send a"
            " new one."
        )
        messages.error(request, text)
        return redirect("mfa_set_up_link")
    user.changed_by = user
    user.verify_email()
    open_page(request.session)
    return redirect(request.session.pop(WANTED_PAGE, SET_UP_PAGES[0]))


def mask_address(address: str) -> str:
    """Return an address that only its owner recognizes, such as "m…@example.com"."""
    name, at, domain = address.partition("@")
    return f"{name[:1]}…{at}{domain}" if at else ""
