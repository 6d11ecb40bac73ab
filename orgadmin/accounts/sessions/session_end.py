"""Tells pages when the session ends. The script session.js offers to extend it.

Each page contains the minimum number of seconds until its session ends. After that
time, the script asks for the exact number, because other tabs may have used the session
in the meantime.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_http_methods

from orgadmin.accounts.sessions import sessions


def add_seconds_left(request: HttpRequest) -> dict[str, Any]:
    """Return `seconds_left` for templates, which is computed only if it is used."""
    return {"seconds_left": SimpleLazyObject(partial(find_seconds_left, request))}


def find_seconds_left(request: HttpRequest) -> int:
    """Return the minimum number of seconds until the session ends.

    The number changes only when the session records its last use. Otherwise, pages
    would change every second, and the responses for a missing object and for a hidden
    object could differ.
    """
    left = sessions.find_time_left(request.session, request.user)
    steps = max(left.seconds - 1, 0) // sessions.SEEN_EVERY
    return steps * sessions.SEEN_EVERY


@require_http_methods(["GET", "POST"])
def stay_signed_in_view(request: HttpRequest) -> HttpResponse:
    """Return the seconds until the session ends. A POST first extends the session.

    The parameter `session_of` is the ID of the person who has opened the page. If
    nobody or someone else is signed in now, the page's session has ended. A GET does
    not count as use of the session.
    """
    sent = request.POST if request.method == "POST" else request.GET
    if not is_session_of(request, sent.get("session_of", "")):
        return JsonResponse({"seconds": 0, "is_last": True})
    if request.method == "POST":
        sessions.extend_session(request.session)
    left = sessions.find_time_left(request.session, request.user)
    return JsonResponse({"seconds": left.seconds, "is_last": left.is_last})


def is_session_of(request: HttpRequest, user_id: str) -> bool:
    """Return whether this user is signed in, and the session has not expired."""
    user = request.user
    if not user.is_authenticated or user_id != str(user.pk):
        return False
    return sessions.find_expiry(request.session, user) is None
