"""Sends a browser to a provider and back.

A form cannot redirect to a provider directly: the page's content security policy would
have to allow every host that the provider redirects to, and this site does not know
these hosts. So the form redirects to a page of this site, the departure page, which
opens the provider's page by script. The browser also returns to the departure page, so
that "Back" does not lead to the provider's pages, which have often expired.

The session stores the newest trips as {key: trip}. A trip has these values:

- "url": the provider's page, encrypted
- "next": the page of this site that the person wants to open
- "answer": the page that they were redirected to when they came back

After a sign-in, the session only keeps "next" and "answer".
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from orgadmin.accounts.providers import find_provider
from orgadmin.accounts.redirects import make_sign_in_url
from orgadmin.records.encryption import UnreadableSecret, decrypt, encrypt

SESSION_KEY = "round_trips"

# The purpose for which URLs are encrypted.
PURPOSE = "orgadmin round trip"

# The number of trips that a browser can make at the same time, in several tabs.
MAX_TRIPS = 5


def start_trip(
    request: HttpRequest, provider_id: str, *, key: str, url: str, wanted: str | None
) -> HttpResponse:
    """Redirect the browser to the departure page, which opens a URL of the provider.

    `key` identifies the trip. `wanted` is the page of this site to open afterwards.
    """
    trips = request.session.get(SESSION_KEY, {})
    # The URL can contain an ID token.
    trips[key] = {"url": encrypt(url, purpose=PURPOSE), "next": wanted}
    _store(request.session, trips)
    return redirect("openid_connect_departure", provider_id, key)


@never_cache
@require_safe
def departure_view(request: HttpRequest, provider_id: str, key: str) -> HttpResponse:
    """Open the provider's page.

    If the trip is over or was never started, redirects to `find_page_after_trip()`.
    """
    find_provider(provider_id)
    trip = request.session.get(SESSION_KEY, {}).get(key, {})
    url = _decrypt_url(trip.get("url", ""))
    if not url:
        return redirect(find_page_after_trip(request, key))
    return _show(request, "registration/departure.html", url)


def end_trip(request: HttpRequest, key: str, response: HttpResponse) -> HttpResponse:
    """Record that a trip is over, and take the browser back to the departure page.

    `response` must be a redirect to the page to open now. Browsers that do not send the
    header Sec-Fetch-Dest get this response.
    """
    trips = request.session.get(SESSION_KEY, {})
    if key in trips:
        trips[key] = {"next": trips[key]["next"], "answer": response["Location"]}
        _store(request.session, trips)
    if request.headers.get("Sec-Fetch-Dest") != "document":
        return response
    page = _show(request, "registration/return.html", response["Location"])
    page.cookies = response.cookies
    return page


def find_wanted_page(request: HttpRequest, key: str) -> str | None:
    """Return the page that the person wants to open after a trip, if it is known."""
    return request.session.get(SESSION_KEY, {}).get(key, {}).get("next")


def find_page_after_trip(request: HttpRequest, key: str) -> str:
    """Return the page to open if a trip is over, or was never started.

    If the trip is over, this is the page that the person was redirected to then.
    Otherwise, it is the page that they want, the home page, or the sign-in page.
    """
    trip = request.session.get(SESSION_KEY, {}).get(key, {})
    wanted = trip.get("answer") or trip.get("next")
    if request.user.is_authenticated or trip.get("answer"):
        return wanted or reverse("admin:index")
    return make_sign_in_url(wanted)


def copy_trips(session: SessionBase) -> dict[str, dict[str, Any]]:
    """Return the trips without the provider's URLs, to store them in a new session."""
    copies = {}
    for key, trip in session.get(SESSION_KEY, {}).items():
        copies[key] = {name: trip[name] for name in ("next", "answer") if name in trip}
    return copies


def restore_trips(trips: dict[str, dict[str, Any]], session: SessionBase) -> None:
    if trips:
        _store(session, trips)


def _store(session: SessionBase, trips: dict[str, dict[str, Any]]) -> None:
    """Store the newest trips. Dicts keep their order, even in a session."""
    session[SESSION_KEY] = dict(list(trips.items())[-MAX_TRIPS:])


def _decrypt_url(encrypted: str) -> str:
    """Return the URL of a trip, or "" if there is none or it cannot be decrypted."""
    try:
        return decrypt(encrypted, purpose=PURPOSE) if encrypted else ""
    except UnreadableSecret:
        return ""


def _show(request: HttpRequest, template: str, url: str) -> HttpResponse:
    context = {**admin.site.each_context(request), "onward_url": url}
    return render(request, template, context)
