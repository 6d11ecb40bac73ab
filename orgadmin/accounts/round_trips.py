"""Sending a browser to a provider and back.

A form must not redirect to a provider: the page's content security policy would have to
allow every host that the provider redirects to, and this site does not know them. So
the form leads to a page of this site, the departure page, which goes on by itself. The
browser also returns to it, so that "Back" does not lead to the provider's pages, which
have often ended.

The session remembers a few trips, as {key: {"url": where it leads, encrypted, "next":
the page that the person wants, "answer": where they went when they came back}}. After a
sign-in, it only remembers the last two values.
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

# What the URLs are encrypted for.
PURPOSE = "orgadmin round trip"

# How many trips a browser can make at the same time, in several tabs.
LIMIT = 5


def leave(
    request: HttpRequest, provider_id: str, *, key: str, url: str, wanted: str | None
) -> HttpResponse:
    """Send the browser to a URL of a provider, by way of the departure page.

    `key` names the trip, and `wanted` is the page of this site to open afterwards.
    """
    trips = request.session.get(SESSION_KEY, {})
    # The URL can contain an ID token.
    trips[key] = {"url": encrypt(url, purpose=PURPOSE), "next": wanted}
    _store(request.session, trips)
    return redirect("openid_connect_departure", provider_id, key)


@never_cache
@require_safe
def departure_view(request: HttpRequest, provider_id: str, key: str) -> HttpResponse:
    """Go on to the provider. If the trip is over, go where the person went then."""
    find_provider(provider_id)
    trip = request.session.get(SESSION_KEY, {}).get(key, {})
    url = _open(trip.get("url", ""))
    if not url:
        return redirect(find_page(request, key))
    return _show(request, "registration/departure.html", url)


def arrive(request: HttpRequest, key: str, response: HttpResponse) -> HttpResponse:
    """Note that a trip is over, and take the browser back to the departure page.

    `response` redirects to where the person goes now. In browsers that do not say what
    they load, it is the answer.
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


def find_wanted(request: HttpRequest, key: str) -> str | None:
    """Return the page that the person of a trip wants, if it is known."""
    return request.session.get(SESSION_KEY, {}).get(key, {}).get("next")


def find_page(request: HttpRequest, key: str) -> str:
    """Return where someone goes whose trip is over, or who has never left."""
    trip = request.session.get(SESSION_KEY, {}).get(key, {})
    wanted = trip.get("answer") or trip.get("next")
    if request.user.is_authenticated or trip.get("answer"):
        return wanted or reverse("admin:index")
    return make_sign_in_url(wanted)


def take(session: SessionBase) -> dict[str, dict[str, Any]]:
    """Return what the next session may know of the trips: no URL of a provider."""
    trips = session.get(SESSION_KEY, {})
    return {
        key: {name: trip[name] for name in ("next", "answer") if name in trip}
        for key, trip in trips.items()
    }


def give(trips: dict[str, dict[str, Any]], session: SessionBase) -> None:
    if trips:
        _store(session, trips)


def _store(session: SessionBase, trips: dict[str, dict[str, Any]]) -> None:
    """Remember the newest trips. Dicts keep their order, also in a session."""
    session[SESSION_KEY] = dict(list(trips.items())[-LIMIT:])


def _open(sealed: str) -> str:
    """Return the URL of a trip, or "" if there is none that can be decrypted."""
    try:
        return decrypt(sealed, purpose=PURPOSE) if sealed else ""
    except UnreadableSecret:
        return ""


def _show(request: HttpRequest, template: str, url: str) -> HttpResponse:
    context = {**admin.site.each_context(request), "onward_url": url}
    return render(request, template, context)
