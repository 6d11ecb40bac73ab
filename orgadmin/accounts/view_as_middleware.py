"""Middleware that shows the site as someone else, and prevents all changes.

While a superuser views the site as a person, `request.user` is that person, and the
access rule decides what they can see, as on their own screen. Only the pages in PAGES
can be opened. All other pages are refused, including pages that are added later.

Two barriers prevent changes: only GET, HEAD and OPTIONS requests are accepted, except
on the pages that end viewing, and the database transaction of a page is read-only.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib import messages
from django.db import DatabaseError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import Resolver404, resolve, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from orgadmin.accounts import view_as_session
from orgadmin.accounts.preferences import PATHS_WITHOUT_SESSION
from orgadmin.accounts.view_as_session import (
    End,
    NotWhileViewing,
    Viewing,
    ViewingOver,
    get_viewing,
)

logger = logging.getLogger(__name__)

READ_METHODS = ("GET", "HEAD", "OPTIONS")

# The pages that end viewing. They are the only ones that accept POST.
EXIT_PAGES = frozenset(["stop_viewing", "account_logout", "admin:logout"])

# The pages that are answered as the superuser, even while viewing. "stay_signed_in"
# tells open pages when the superuser's session ends.
OWN_PAGES = EXIT_PAGES | {"stay_signed_in"}

# The pages that are shown as the person. Never add these:
# - pages about the person's own account, such as sessions, passkeys and passwords
# - pages that open from a link in an email
# - pages that sign people in
# - downloads
PAGES = frozenset(
    [
        "home",
        "no_organization",
        "admin:all_activity",
        "admin:app_list",
        "admin:autocomplete",
        "admin:index",
        "admin:jsi18n",
        "admin:search",
        "admin:orgadmin_contact_add",
        "admin:orgadmin_contact_change",
        "admin:orgadmin_contact_changelist",
        "admin:orgadmin_contact_delete",
        "admin:orgadmin_contact_history",
        "admin:orgadmin_membershipevent_change",
        "admin:orgadmin_membershipevent_changelist",
        "admin:orgadmin_organization_access",
        "admin:orgadmin_organization_add",
        "admin:orgadmin_organization_change",
        "admin:orgadmin_organization_changelist",
        "admin:orgadmin_organization_contacts",
        "admin:orgadmin_organization_delete",
        "admin:orgadmin_organization_history",
        "admin:orgadmin_organization_ledger",
        "admin:orgadmin_organization_overview",
        "admin:orgadmin_organization_people",
        "admin:orgadmin_organization_requests",
        "admin:orgadmin_organization_restore",
        "admin:orgadmin_organization_review",
        "admin:orgadmin_user_add",
        "admin:orgadmin_user_change",
        "admin:orgadmin_user_changelist",
        "admin:orgadmin_user_overview",
    ]
)

# The sign-in pages redirect people who are already signed in. While viewing, they would
# redirect the superuser, not the person.
SIGN_IN_PAGES = ("account_login", "admin:login")

# The attributes of a request in which other code stores results about `request.user`.
CACHED_ATTRIBUTES = ("_app_list", "_gate", "returned_form")

BODY = re.compile(rb"<body[^>]*>")

# Parts of the messages with which databases refuse to write in a read-only transaction.
READ_ONLY_ERRORS = ("read-only transaction", "readonly database")


class ViewAsMiddleware:
    """Shows the site as the person that a superuser has chosen.

    Only ReplicaMiddleware comes after this middleware, because all others must deal
    with the superuser, who owns the session.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info in PATHS_WITHOUT_SESSION:
            return self.get_response(request)
        response = check_viewing(request) or self.get_response(request)
        shown = get_viewing(request)
        if shown is not None:
            add_banner(request, response, shown)
        return response

    def process_view(
        self,
        request: HttpRequest,
        view: Callable[..., HttpResponseBase],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> HttpResponseBase | None:
        shown = get_viewing(request)
        if shown is None:
            return None
        name = find_page(request)
        if name in OWN_PAGES:
            return None
        if name in SIGN_IN_PAGES:
            return redirect("no_organization")
        if name not in PAGES:
            return refuse(request)
        try:
            return show_as_person(request, shown, view, args, kwargs)
        except NotWhileViewing:
            return refuse(request)
        except DatabaseError as error:
            if not is_read_only_error(error):
                raise
            text = "A page that is viewed as someone else tried to write."
            logger.warning(text, exc_info=True)
            return refuse(request)


def check_viewing(request: HttpRequest) -> HttpResponse | None:
    """Set `request.viewing` to what the session says about viewing.

    Returns a response if viewing has just ended, or if the request could change
    something. Returns None if the request continues.
    """
    try:
        shown = view_as_session.find_viewing(request)
    except ViewingOver as over:
        return end_and_respond(request, over.why)
    request.viewing = shown  # type: ignore[attr-defined]
    if shown is None or request.method in READ_METHODS or is_exit(request):
        return None
    return refuse(request)


def end_and_respond(request: HttpRequest, why: End) -> HttpResponse | None:
    """End viewing that is no longer valid, and respond to the request that found this.

    That request was made while viewing as the person, so it must not be answered from
    the superuser's own account. Only a request to stop viewing or sign out continues.
    """
    if is_exit(request):
        # Keep the CSRF token: the page with the button was opened before.
        view_as_session.remove_viewing(request, why)
        return None
    view_as_session.end_viewing(request, why)
    if request.method not in READ_METHODS:
        return refuse(request)
    messages.info(request, _("You are no longer viewing the site as someone else."))
    return redirect("admin:index")


def find_page(request: HttpRequest) -> str:
    """Return the URL name of the requested page, or "" if the page does not exist."""
    try:
        return resolve(request.path_info).view_name or ""
    except Resolver404:
        return ""


def is_exit(request: HttpRequest) -> bool:
    return request.method == "POST" and find_page(request) in EXIT_PAGES


def refuse(request: HttpRequest) -> HttpResponse:
    """Respond that this page is not shown, or that nothing can be changed."""
    context = {
        "shown": get_viewing(request),
        "is_change": request.method not in READ_METHODS,
    }
    return render(request, "viewing/refused.html", context, status=403)


# Showing a page


def show_as_person(
    request: HttpRequest,
    shown: Viewing,
    view: Callable[..., HttpResponseBase],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> HttpResponseBase:
    """Return a view's response to the person, in a read-only transaction.

    Refuses the request if the response is streaming.
    """
    with as_person(request, shown), only_reading():
        response = view(request, *args, **kwargs)
        if hasattr(response, "render"):
            response = response.render()
    if not response.streaming:
        return response
    # A streaming response is produced later, outside the read-only transaction.
    response.close()
    return refuse(request)


@contextmanager
def as_person(request: HttpRequest, shown: Viewing) -> Iterator[None]:
    """Set `request.user` to the person, and clear results cached for the superuser."""
    clear_cached_attributes(request)
    request.user = shown.person
    try:
        yield
    finally:
        request.user = shown.viewer
        clear_cached_attributes(request)


def clear_cached_attributes(request: HttpRequest) -> None:
    for name in CACHED_ATTRIBUTES:
        vars(request).pop(name, None)


@contextmanager
def only_reading() -> Iterator[None]:
    """Open a transaction in which the database refuses to write.

    On PostgreSQL, the setting ends with the transaction, even behind a connection
    pooler. On SQLite, the setting belongs to the connection, so it is reset at the end.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
            yield
            return
        # Bypass Django, which refuses statements after an error in the transaction.
        connection.connection.execute("PRAGMA query_only = ON")
        try:
            yield
        finally:
            connection.connection.execute("PRAGMA query_only = OFF")


def is_read_only_error(error: DatabaseError) -> bool:
    return any(text in str(error) for text in READ_ONLY_ERRORS)


# The banner


def add_banner(
    request: HttpRequest, response: HttpResponseBase, shown: Viewing
) -> None:
    """Add the banner to an HTML page, including error pages."""
    if not isinstance(response, HttpResponse):
        return
    if not response.headers.get("Content-Type", "").startswith("text/html"):
        return
    body = BODY.search(response.content)
    if body is None:
        return
    banner = render_banner(request, shown).encode(response.charset)
    content = response.content
    response.content = content[: body.end()] + banner + content[body.end() :]


def render_banner(request: HttpRequest, shown: Viewing) -> SafeString:
    return render_to_string("viewing/banner.html", {"shown": shown}, request)


@require_POST
def stop_viewing(request: HttpRequest) -> HttpResponse:
    """Stop viewing the site as someone else, and open that person's page.

    If the viewing was already over, or the person was deleted, opens the home page.
    """
    if get_viewing(request) is None:
        view_as_session.change_keys(request)
        messages.info(request, _("You are no longer viewing the site as someone else."))
        return redirect("admin:index")
    person = view_as_session.end_viewing(request, End.STOPPED)
    if person is None:
        return redirect("admin:index")
    text = _("You are no longer viewing the site as “%s”.")
    messages.success(request, text % person.label)
    return redirect(reverse("admin:orgadmin_user_overview", args=[person.pk]))
