"""The pages that can read the replica, and the middleware that decides about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.core.exceptions import MiddlewareNotUsed
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase

from orgadmin.access.replica import (
    Choice,
    Reading,
    current_reading,
    has_replica,
    reading_replica,
    watch,
)

METHODS = ("GET", "HEAD")

# Lists, search, history and exports. Never add pages about the reader's own account,
# forms, or pages that read what the request itself writes, such as the export of the
# audit log, which contains the record of this export.
PAGES = frozenset(
    [
        "admin:all_activity",
        "admin:auth_group_changelist",
        "admin:auth_group_history",
        "admin:autocomplete",
        "admin:orgadmin_contact_changelist",
        "admin:orgadmin_contact_history",
        "admin:orgadmin_membershipevent_changelist",
        "admin:orgadmin_organization_changelist",
        "admin:orgadmin_organization_export",
        "admin:orgadmin_organization_export_workbook",
        "admin:orgadmin_organization_history",
        "admin:orgadmin_organization_ledger",
        "admin:orgadmin_user_changelist",
        "admin:orgadmin_user_export_list",
        "admin:orgadmin_user_export_list_workbook",
        "admin:orgadmin_user_history",
        "admin:search",
    ]
)

# A download can take minutes, and access can end in the meantime.
ASK_AGAIN_AFTER = 1  # seconds


class ReplicaMiddleware:
    """Allows the views of PAGES, and the downloads they return, to read the replica.

    This must be the last middleware, so that what the others read, such as the session
    and the person, comes from the primary.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        if not has_replica():
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        token = current_reading.set(None)
        try:
            response = self.get_response(request)
            reading = current_reading.get()
        finally:
            current_reading.reset(token)
        # A file exists already. The parts of other downloads are made while they are
        # sent, after this context has ended.
        is_file = isinstance(response, FileResponse)
        if reading is not None and response.streaming and not is_file:
            parts = response.streaming_content  # type: ignore[attr-defined]
            response.streaming_content = stream(parts)  # type: ignore[attr-defined]
        return response

    def process_view(
        self,
        request: HttpRequest,
        view: Callable[..., HttpResponseBase],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        if not may_read_replica(request):
            return
        choice = watch.choose()
        request.replica_choice = choice  # type: ignore[attr-defined]
        if choice is Choice.REPLICA:
            current_reading.set(Reading())


def may_read_replica(request: HttpRequest) -> bool:
    """Return whether a request is a GET or HEAD of one of PAGES.

    Returns False while a superuser views the site as someone else.
    """
    if request.method not in METHODS or request.resolver_match is None:
        return False
    if getattr(request, "viewing", None) is not None:
        # The page is rendered in a read-only transaction on the primary.
        return False
    return request.resolver_match.view_name in PAGES


def stream(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the parts of a download. Choose every second which server to read."""
    iterator = iter(parts)
    reading = Reading()
    # Ask before the first part, because time may have passed since the view.
    asked_at = -float("inf")
    while True:
        now = time.monotonic()
        if now - asked_at > ASK_AGAIN_AFTER:
            reading.is_over = watch.choose() is not Choice.REPLICA
            asked_at = now
        with reading_replica(reading):
            part = next(iterator, None)
        if part is None:
            return
        yield part
