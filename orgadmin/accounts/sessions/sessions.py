"""Stores in a session how and when the person signed in, and checks if it has expired.

The session of a person who is signed in has these values:

- "signed_in": when the person signed in, or last confirmed who they are
- "asked": when the company's server last asked for the password; missing if this is not
  known
- "last_seen": when the session was last used, accurate to a minute
- "began": how the session began, as {"at": time, "network": "192.0.2.0/24", "browser":
  "Firefox", "system": "Linux"}. Unknown values are ""
- "second_factor": the factor that was used, as {"id": primary key, "type": "totp"};
  missing if none was used

Times are seconds since 1970. A session without "signed_in" has expired.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth import logout, update_session_auth_hash
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.http import HttpRequest

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.origin import find_address, shorten_address
from orgadmin.accounts import round_trips, view_as_session
from orgadmin.accounts.sessions import kept_forms
from orgadmin.accounts.sessions.browsers import find_browser
from orgadmin.models import User

MINUTE = 60  # seconds
HOUR = 60 * MINUTE

# Someone whose sign-in is older than this must confirm who they are before they can
# change passwords, permissions, second factors, and other things that protect accounts.
RECENT_SIGN_IN = 10 * MINUTE

# A session stores at most this often that it is used. Storing it with each request
# would slow down every page.
SEEN_EVERY = MINUTE

Expiry: TypeAlias = Literal["idle", "too old"]


@dataclass(frozen=True)
class Limits:
    """How long a session lasts, in seconds."""

    idle: int  # without a request
    total: int  # since the person signed in


@dataclass(frozen=True)
class TimeLeft:
    """The time until a session ends if it is not used."""

    seconds: int
    is_last: bool  # whether using the session would not extend it


def find_limits(user: User) -> Limits:
    """Return how long a user's sessions last: staff and superusers have own limits."""
    if user.is_staff_or_superuser:
        return Limits(
            idle=settings.STAFF_SESSION_IDLE_MINUTES * MINUTE,
            total=settings.STAFF_SESSION_HOURS * HOUR,
        )
    return Limits(
        idle=settings.SESSION_IDLE_MINUTES * MINUTE,
        total=settings.SESSION_HOURS * HOUR,
    )


def record_sign_in(session: SessionBase, user: User) -> None:
    """Record that the person has just signed in, or confirmed who they are.

    The total time of the session begins again.
    """
    now = time.time()
    session["signed_in"] = now
    session["last_seen"] = now
    session.pop("asked", None)
    session.set_expiry(find_limits(user).total)


def record_login(
    sender: object, request: HttpRequest, user: User, **kwargs: Any
) -> None:
    """Record a sign-in whenever Django's `login()` starts a session.

    Libraries also call `login()`. This must be a signal handler, because `login()`
    calls no method that could be overridden.
    """
    record_sign_in(request.session, user)
    browser = find_browser(request.headers.get("User-Agent", ""))
    request.session["began"] = {
        "at": request.session["signed_in"],
        "network": shorten_address(find_address(request)),
        "browser": browser.name,
        "system": browser.system,
    }


def connect_signal() -> None:
    user_logged_in.connect(record_login)


def record_second_factor(session: SessionBase, factor: Authenticator) -> None:
    session["second_factor"] = {"id": factor.pk, "type": factor.type}


def record_asked(session: SessionBase, asked_at: float) -> None:
    """Record when the company's server last asked for the password.

    This can be long before the sign-in: the server does not ask people again who are
    still signed in there.
    """
    session["asked"] = asked_at


def is_sign_in_recent(session: SessionBase) -> bool:
    """Return whether the person has proved who they are within RECENT_SIGN_IN."""
    signed_in = session.get("signed_in", 0)
    proved_at = min(signed_in, session.get("asked", signed_in))
    return proved_at > time.time() - RECENT_SIGN_IN


def confirm_identity(
    request: HttpRequest, user: User, factor: Authenticator | None
) -> None:
    """Record that the person confirmed who they are, and change the session's key."""
    if factor is not None:
        record_second_factor(request.session, factor)
    keep_session(request, user)
    record_sign_in(request.session, user)


def keep_session(request: HttpRequest, user: User) -> None:
    """Keep the session of a request that has just ended all sessions of its user.

    If someone else has ended the user's sessions during the request, for example
    because this session was stolen, it is not kept.
    """
    if not user.were_sessions_ended:
        update_session_auth_hash(request, user)


def find_expiry(session: SessionBase | Mapping[str, Any], user: User) -> Expiry | None:
    """Return why a session has expired, or None if it has not."""
    limits = find_limits(user)
    now = time.time()
    signed_in = session.get("signed_in", 0)
    if signed_in + limits.total <= now:
        return "too old"
    # Sessions from the previous release do not have "last_seen".
    if session.get("last_seen", signed_in) + limits.idle <= now:
        return "idle"
    return None


def find_time_left(session: SessionBase, user: User) -> TimeLeft:
    """Return the time until a session ends. The session must not have expired yet."""
    limits = find_limits(user)
    signed_in = session.get("signed_in", 0)
    last = signed_in + limits.total
    idle = session.get("last_seen", signed_in) + limits.idle
    # Round up, because zero would mean that the session has ended.
    seconds = math.ceil(min(idle, last) - time.time())
    return TimeLeft(seconds=max(seconds, 0), is_last=last <= idle)


def extend_session(session: SessionBase) -> None:
    """Extend a session because the person has asked for it."""
    session["last_seen"] = time.time()


def record_use(session: SessionBase) -> None:
    """Store that a session is used, but at most once in SEEN_EVERY."""
    now = time.time()
    if session.get("last_seen", 0) + SEEN_EVERY <= now:
        session["last_seen"] = now


def end_expired_session(request: HttpRequest) -> bool:
    """End the session of a request if it has expired, and return whether it has."""
    if not request.user.is_authenticated:
        return False
    expiry = find_expiry(request.session, request.user)
    if expiry is None:
        return False
    sign_out(request, reason=expiry)
    return True


def sign_out(request: HttpRequest, **details: str) -> None:
    """Sign out the person who is signed in, if any, and record it with the details."""
    user = request.user
    if user.is_authenticated:
        if view_as_session.SESSION_KEY in request.session:
            view_as_session.remove_viewing(request, view_as_session.End.SIGNED_OUT)
        record(SecurityEvent.SIGNED_OUT, user=user, actor=user, details=details)
    logout(request)


def end_session_before_sign_in(request: HttpRequest) -> None:
    """End the session of a browser in which someone is about to sign in.

    A kept form stays in the visitor's session. After the sign-in, it is kept only if
    its owner has signed in.
    """
    user_id = request.user.pk
    kept_form = request.session.get(kept_forms.SESSION_KEY)
    trips = round_trips.copy_trips(request.session)
    logout(request)
    round_trips.restore_trips(trips, request.session)
    if kept_form is not None:
        request.session[kept_forms.SESSION_KEY] = kept_form
    if user_id is not None:
        request.session["returning_user"] = user_id


def is_returning(session: SessionBase, user: User) -> bool:
    """Return whether the previous session in this browser was the user's."""
    return session.get("returning_user") == user.pk


@transaction.atomic
def end_all_sessions(user: User, *, actor: User) -> None:
    """End all sessions of a person, and record it."""
    user.end_sessions()
    record(SecurityEvent.SESSIONS_ENDED, user=user, actor=actor)
