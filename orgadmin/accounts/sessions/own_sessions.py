"""Lists the sessions of a person, and ends one of a person's own sessions."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Case, Exists, OuterRef, When
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts.sessions.browsers import Browser
from orgadmin.accounts.sessions.sessions import find_expiry
from orgadmin.models import User, UserSession

# The number of sessions that are shown, beginning with the newest.
MAX_SHOWN = 20

# The number of sessions that are read from the database to find the ones to show. Some
# sessions have expired, but were not deleted yet.
MAX_READ = 200


@dataclass(frozen=True)
class OwnSession:
    """A session, as shown on an account page."""

    pk: int
    browser: Browser
    network: str
    signed_in_at: datetime.datetime
    last_used_at: datetime.datetime
    is_this: bool  # whether this is the session of the request


@dataclass(frozen=True)
class OwnSessions:
    """The newest sessions of a person."""

    listed: list[OwnSession]
    has_more: bool  # whether there may be some that are not listed


def list_own_sessions(request: HttpRequest) -> OwnSessions:
    """Return the newest sessions of the person who is signed in.

    Runs up to two queries.
    """
    return list_sessions(request.user, request.session.session_key)


def list_sessions(user: User, current_key: str | None = None) -> OwnSessions:
    """Return a person's newest sessions, for their own account page or for superusers.

    The session with `current_key` comes first. Returns up to MAX_SHOWN sessions. Runs
    up to two queries.
    """
    current_first = Case(When(session_key=current_key, then=0), default=1)
    stored = Session.objects.filter(expire_date__gt=timezone.now())
    has_stored_session = Exists(stored.filter(session_key=OuterRef("session_key")))
    rows = UserSession.objects.filter(has_stored_session, user=user)
    newest = list(rows.order_by(current_first, "-pk")[: MAX_READ + 1])
    keys = [row.session_key for row in newest]
    contents = {
        session.session_key: session.get_decoded()
        for session in stored.filter(session_key__in=keys)
    }
    listed = []
    for row in newest[:MAX_READ]:
        content = contents.get(row.session_key, {})
        if is_signed_in(content, user):
            listed.append(describe_session(row, content, current_key))
    has_more = len(listed) > MAX_SHOWN or len(newest) > MAX_READ
    return OwnSessions(listed[:MAX_SHOWN], has_more)


def is_signed_in(content: Mapping[str, Any], user: User) -> bool:
    """Return whether a session with this content still signs in the user."""
    if content.get(SESSION_KEY) != str(user.pk):
        return False
    if find_expiry(content, user) is not None:
        return False
    stored = content.get(HASH_SESSION_KEY, "")
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(stored, value) for value in hashes)


def describe_session(
    row: UserSession, content: Mapping[str, Any], current_key: str | None
) -> OwnSession:
    """Return what the account page shows about a session.

    `content` are the values that the session stores.
    """
    # Sessions from the previous release do not have "began".
    began = content.get("began", {})
    signed_in = content.get("signed_in", 0)
    return OwnSession(
        pk=row.pk,
        browser=Browser(began.get("browser", ""), began.get("system", "")),
        network=began.get("network", ""),
        signed_in_at=read_time(began.get("at", signed_in)),
        last_used_at=read_time(content.get("last_seen", signed_in)),
        is_this=row.session_key == current_key,
    )


def read_time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


@transaction.atomic
def end_own_session(request: HttpRequest, pk: int) -> bool:
    """End another session of the person who is signed in, and record it.

    Returns whether the session existed, and is now ended.
    """
    rows = UserSession.objects.filter(user=request.user)
    others = rows.exclude(session_key=request.session.session_key)
    # Lock the row, because another request may be changing the session's key.
    row = others.select_for_update().filter(pk=pk).first()
    if row is None:
        return False
    ended, _kinds = Session.objects.filter(session_key=row.session_key).delete()
    row.delete()
    if ended:
        record(SecurityEvent.SESSION_ENDED, user=request.user, actor=request.user)
    return bool(ended)
