"""Middleware that shows the site as someone else, and lets nothing be changed then.

While a superuser views the site as a person, each page belongs to that person: the
access rule is asked about them, as on their own screen. What may be opened is listed
here; everything else is refused, also pages that are added later. Two barriers keep
viewing from changing anything: only GET, HEAD and OPTIONS are accepted, and the
database refuses to write while a page is made.
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

from orgadmin.accounts import viewing
from orgadmin.accounts.preferences import PATHS_WITHOUT_SESSION
from orgadmin.accounts.viewing import (
    End,
    NotWhileViewing,
    Viewing,
    ViewingOver,
    get_viewing,
)

logger = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "OPTIONS")

# The pages that viewing ends with. They also accept POST.
WAYS_OUT = frozenset(["stop_viewing", "account_logout", "admin:logout"])

# The pages that belong to the superuser, also now. The last one tells open pages when
# the session ends.
OWN_PAGES = WAYS_OUT | {"stay_signed_in"}

# The pages that are shown as the person. Never add one of these: pages about their own
# account, such as sessions, passkeys and passwords; pages that a link in an email leads
# to, or that sign people in; downloads.
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

# Leads people on who are signed in, but knows only whose session it is.
SIGN_IN_PAGES = ("account_login", "admin:login")

# What other code remembers of the person of a request.
REMEMBERED = ("_app_list", "_gate", "returned_form")

BODY = re.compile(rb"<body[^>]*>")

# How databases say that a transaction may only read.
READ_ONLY_ERRORS = ("read-only transaction", "readonly database")


class ViewAsMiddleware:
    """Shows the site as the person whom a superuser has chosen.

    It is the last middleware: all others know only the superuser, whose session it is.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info in PATHS_WITHOUT_SESSION:
            return self.get_response(request)
        response = begin(request) or self.get_response(request)
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


def begin(request: HttpRequest) -> HttpResponse | None:
    """Note on a request whether the site is shown as someone else.

    Returns a response if viewing has ended, or if the request could change something.
    """
    try:
        shown = viewing.find_viewing(request)
    except ViewingOver as over:
        return end_viewing(request, over.why)
    request.viewing = shown  # type: ignore[attr-defined]
    if shown is None or request.method in METHODS or is_way_out(request):
        return None
    return refuse(request)


def end_viewing(request: HttpRequest, why: End) -> HttpResponse | None:
    """End viewing, and respond to the first request after that.

    It was meant for the person's view of the site, so it must not be answered with
    one's own. Only a request to leave goes on.
    """
    if is_way_out(request):
        # The CSRF token of the page with the button must still be right.
        viewing.forget(request, why)
        return None
    viewing.end(request, why)
    if request.method not in METHODS:
        return refuse(request)
    messages.info(request, _("You are no longer viewing the site as someone else."))
    return redirect("admin:index")


def find_page(request: HttpRequest) -> str:
    """Return the name of the page that a request asks for, or ""."""
    try:
        return resolve(request.path_info).view_name or ""
    except Resolver404:
        return ""


def is_way_out(request: HttpRequest) -> bool:
    return request.method == "POST" and find_page(request) in WAYS_OUT


def refuse(request: HttpRequest) -> HttpResponse:
    """Say that a page is not shown, or that nothing can be changed."""
    context = {
        "shown": get_viewing(request),
        "is_change": request.method not in METHODS,
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
    """Return the response of a view to the person. The database refuses to write."""
    with as_person(request, shown), only_reading():
        response = view(request, *args, **kwargs)
        if hasattr(response, "render"):
            response = response.render()
    if not response.streaming:
        return response
    # It would be read later, outside the barrier.
    response.close()
    return refuse(request)


@contextmanager
def as_person(request: HttpRequest, shown: Viewing) -> Iterator[None]:
    """Make a request that of the person, and forget what was found out before."""
    forget_answers(request)
    request.user = shown.person
    try:
        yield
    finally:
        request.user = shown.viewer
        forget_answers(request)


def forget_answers(request: HttpRequest) -> None:
    for name in REMEMBERED:
        vars(request).pop(name, None)


@contextmanager
def only_reading() -> Iterator[None]:
    """Let the database refuse to write, in one transaction around a page.

    On PostgreSQL, the transaction itself is read-only, so the setting ends with it,
    also with a connection pooler. On SQLite, the connection is.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
            yield
            return
        # Not through Django, which refuses statements after an error in a transaction.
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
    """Add the banner to a page, also to one that says what went wrong."""
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
    """Stop viewing the site as someone else, and show the person whose view it was."""
    if get_viewing(request) is None:
        viewing.change_keys(request)
        messages.info(request, _("You are no longer viewing the site as someone else."))
        return redirect("admin:index")
    person = viewing.end(request, End.STOPPED)
    if person is None:
        return redirect("admin:index")
    text = _("You are no longer viewing the site as “%s”.")
    messages.success(request, text % person.label)
    return redirect(reverse("admin:orgadmin_user_overview", args=[person.pk]))
