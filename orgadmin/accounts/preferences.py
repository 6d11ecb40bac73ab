"""Shows pages in the language and the time zone that a person has chosen."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone, translation

from orgadmin.models import User
from orgadmin.models.validators import list_time_zones

# Monitoring systems request these pages even while the database is down, so these pages
# must not read a session.
PATHS_WITHOUT_SESSION = ("/healthz", "/livez", "/metrics")


class PreferencesMiddleware:
    """Activates the preferences of the person who is signed in, for each request.

    This runs no extra query, because each request loads the person anyway. A language
    that the person has chosen is also stored in a cookie, so that the sign-in page uses
    it, and so that browsers do not use a cached script in another language.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # The thread's previous request may have been someone else's.
        timezone.deactivate()
        if request.path_info in PATHS_WITHOUT_SESSION:
            return self.get_response(request)
        if request.user.is_authenticated:
            activate_preferences(request, request.user)
        response = self.get_response(request)
        # The person may have signed in, or changed their language.
        if request.user.is_authenticated:
            update_language_cookie(request, response, request.user)
        return response


def activate_preferences(request: HttpRequest, user: User) -> None:
    """Activate the user's language and time zone for the rest of the request.

    If the user has not chosen them, activates the language that the browser asks for,
    and the site's time zone.
    """
    if user.language in dict(settings.LANGUAGES):
        translation.activate(user.language)
    else:
        translation.activate(find_browser_language(request))
    request.LANGUAGE_CODE = translation.get_language()  # type: ignore[attr-defined]
    if user.time_zone in list_time_zones():
        timezone.activate(ZoneInfo(user.time_zone))
    else:
        timezone.deactivate()


def find_browser_language(request: HttpRequest) -> str:
    """Return the language that the browser asks for, regardless of the cookie."""
    visitor = HttpRequest()
    visitor.META["HTTP_ACCEPT_LANGUAGE"] = request.headers.get("Accept-Language", "")
    return translation.get_language_from_request(visitor)


def update_language_cookie(
    request: HttpRequest, response: HttpResponseBase, user: User
) -> None:
    """Set the cookie to the language that the user has chosen, or delete it."""
    name = settings.LANGUAGE_COOKIE_NAME
    stored = request.COOKIES.get(name, "")
    if stored == user.language:
        return
    if not user.language:
        response.delete_cookie(name, samesite=settings.LANGUAGE_COOKIE_SAMESITE)
        return
    response.set_cookie(
        name,
        user.language,
        max_age=settings.LANGUAGE_COOKIE_AGE,
        secure=settings.LANGUAGE_COOKIE_SECURE,
        httponly=settings.LANGUAGE_COOKIE_HTTPONLY,
        samesite=settings.LANGUAGE_COOKIE_SAMESITE,
    )
