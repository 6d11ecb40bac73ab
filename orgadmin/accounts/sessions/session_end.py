"""When a session ends, for the notice that offers to extend it (session.js).

A page tells how long its session lasts at least. After that time the script asks how
long it really lasts, because other tabs may have used the session in the meantime.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_http_methods

from orgadmin.accounts.sessions import sessions


def add_seconds_left(request: HttpRequest) -> dict[str, Any]:
    """Return `seconds_left` for templates. It is found only if a template uses it."""
    return {"seconds_left": SimpleLazyObject(partial(find_seconds_left, request))}


def find_seconds_left(request: HttpRequest) -> int:
    """Return how long the session of a page lasts at least.

    It only changes when the session stores that it is used. Otherwise, a page would
    change from second to second, and the response for a missing object would not always
    be the same.
    """
    left = sessions.find_time_left(request.session, request.user)
    steps = max(left.seconds - 1, 0) // sessions.SEEN_EVERY
    return steps * sessions.SEEN_EVERY


@require_http_methods(["GET", "POST"])
def stay_signed_in_view(request: HttpRequest) -> HttpResponse:
    """Tell when the session ends, and extend it first if the request is a POST.

    `session_of` is the person whom the page belongs to. If nobody or someone else is
    signed in now, the session of the page has ended. Asking does not count as using a
    session.
    """
    sent = request.POST if request.method == "POST" else request.GET
    if not is_session_of(request, sent.get("session_of", "")):
        return JsonResponse({"seconds": 0, "is_last": True})
    if request.method == "POST":
        sessions.extend(request.session)
    left = sessions.find_time_left(request.session, request.user)
    return JsonResponse({"seconds": left.seconds, "is_last": left.is_last})


def is_session_of(request: HttpRequest, user_id: str) -> bool:
    """Return whether a person is signed in, and their session has not expired."""
    user = request.user
    if not user.is_authenticated or user_id != str(user.pk):
        return False
    return sessions.find_expiry(request.session, user) is None
