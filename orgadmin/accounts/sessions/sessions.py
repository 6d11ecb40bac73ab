"""What a session remembers about the sign-in, and whether it has expired.

The session of a person who is signed in has these values for this:

- "signed_in": when the person signed in, or last confirmed who they are
- "asked": when the company's server last asked for the password; missing if it does
  not say
- "last_seen": when the session was last used, within a minute
- "began": how the session began, as {"at": time, "network": "192.0.2.0/24", "browser":
  "Firefox", "system": "Linux"}. What is not known is ""
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

# How often a session stores that it is used. Storing it with each request would slow
# down every page.
SEEN_EVERY = MINUTE

Expiry: TypeAlias = Literal["idle", "too old"]


@dataclass(frozen=True)
class Limits:
    """How long a session lasts, in seconds."""

    idle: int  # without a request
    total: int  # since the person signed in


@dataclass(frozen=True)
class TimeLeft:
    """When a session ends unless it is used."""

    seconds: int  # from now
    is_last: bool  # whether it ends even if it is used


def find_limits(user: User) -> Limits:
    if user.is_platform_staff:
        return Limits(
            idle=settings.STAFF_SESSION_IDLE_MINUTES * MINUTE,
            total=settings.STAFF_SESSION_HOURS * HOUR,
        )
    return Limits(
        idle=settings.SESSION_IDLE_MINUTES * MINUTE,
        total=settings.SESSION_HOURS * HOUR,
    )


def note_sign_in(session: SessionBase, user: User) -> None:
    """Note that the person has just signed in, or confirmed who they are."""
    now = time.time()
    session["signed_in"] = now
    session["last_seen"] = now
    session.pop("asked", None)
    session.set_expiry(find_limits(user).total)


def note_login(sender: object, request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Note a sign-in whenever Django's `login()` starts a session.

    Libraries call `login()`, too. It calls no method that we could override, so a
    signal is the only way to notice it.
    """
    note_sign_in(request.session, user)
    browser = find_browser(request.headers.get("User-Agent", ""))
    request.session["began"] = {
        "at": request.session["signed_in"],
        "network": shorten_address(find_address(request)),
        "browser": browser.name,
        "system": browser.system,
    }


def connect_signal() -> None:
    user_logged_in.connect(note_login)


def note_second_factor(session: SessionBase, factor: Authenticator) -> None:
    session["second_factor"] = {"id": factor.pk, "type": factor.type}


def note_asked(session: SessionBase, asked_at: float) -> None:
    """Note when the company's server last asked for the password.

    It signs people in without a question if it has asked them before.
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
    """Note that the person has confirmed who they are. The session gets a new key."""
    if factor is not None:
        note_second_factor(request.session, factor)
    keep_session(request, user)
    note_sign_in(request.session, user)


def keep_session(request: HttpRequest, user: User) -> None:
    """Keep the session of a request after all sessions of its user have ended.

    Does not keep it if someone else has ended the sessions during the request, for
    example because this session was stolen.
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
    # The previous release did not store when a session was used.
    if session.get("last_seen", signed_in) + limits.idle <= now:
        return "idle"
    return None


def find_time_left(session: SessionBase, user: User) -> TimeLeft:
    """Return when a session ends that has not expired."""
    limits = find_limits(user)
    signed_in = session.get("signed_in", 0)
    last = signed_in + limits.total
    idle = session.get("last_seen", signed_in) + limits.idle
    # Rounded up: zero would mean that the session has ended.
    seconds = math.ceil(min(idle, last) - time.time())
    return TimeLeft(seconds=max(seconds, 0), is_last=last <= idle)


def extend(session: SessionBase) -> None:
    """Note that the person wants to go on with a session."""
    session["last_seen"] = time.time()


def note_use(session: SessionBase) -> None:
    """Store that a session is used, unless that was stored within SEEN_EVERY."""
    now = time.time()
    if session.get("last_seen", 0) + SEEN_EVERY <= now:
        session["last_seen"] = now


def end_expired(request: HttpRequest) -> bool:
    """End the session of a request if it has expired. Returns whether it has."""
    if not request.user.is_authenticated:
        return False
    expiry = find_expiry(request.session, request.user)
    if expiry is None:
        return False
    sign_out(request, reason=expiry)
    return True


def sign_out(request: HttpRequest, **details: str) -> None:
    """Sign out the person of a request, if there is one, and record it."""
    user = request.user
    if user.is_authenticated:
        if view_as_session.SESSION_KEY in request.session:
            view_as_session.remove_viewing(request, view_as_session.End.SIGNED_OUT)
        record(SecurityEvent.SIGNED_OUT, user=user, actor=user, details=details)
    logout(request)


def leave_to_sign_in_again(request: HttpRequest) -> None:
    """End a session, because someone signs in again in the same browser.

    A form that waits for its person is kept until it is known who signs in.
    """
    user_id = request.user.pk
    kept_form = request.session.get(kept_forms.SESSION_KEY)
    trips = round_trips.take(request.session)
    logout(request)
    round_trips.give(trips, request.session)
    if kept_form is not None:
        request.session[kept_forms.SESSION_KEY] = kept_form
    if user_id is not None:
        request.session["returning_user"] = user_id


def is_returning(session: SessionBase, user: User) -> bool:
    """Return whether the previous session in this browser was that of the user."""
    return session.get("returning_user") == user.pk


@transaction.atomic
def end_all_sessions(user: User, *, actor: User) -> None:
    """Sign a person out everywhere."""
    user.end_sessions()
    record(SecurityEvent.SESSIONS_ENDED, user=user, actor=actor)
