"""Where a person is signed in, and how they end one of their sessions."""

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

# How many sessions are shown, the newest of them.
SHOWN = 20

# How many are read to find them. Some may have ended without being deleted.
READ = 200


@dataclass(frozen=True)
class OwnSession:
    """A session, as its person sees it."""

    pk: int
    browser: Browser
    network: str
    signed_in_at: datetime.datetime
    last_used_at: datetime.datetime
    is_this: bool


@dataclass(frozen=True)
class OwnSessions:
    """The sessions of a person, this one first. `has_more` if some are not listed."""

    listed: list[OwnSession]
    has_more: bool


def list_own_sessions(request: HttpRequest) -> OwnSessions:
    """Return the newest sessions of the person who is signed in. Runs two queries."""
    return list_sessions(request.user, request.session.session_key)


def list_sessions(user: User, this_key: str | None = None) -> OwnSessions:
    """Return the newest sessions of a person, for them or for superusers.

    `this_key` is the key of the session that comes first. Runs two queries.
    """
    this_first = Case(When(session_key=this_key, then=0), default=1)
    stored = Session.objects.filter(expire_date__gt=timezone.now())
    is_stored = Exists(stored.filter(session_key=OuterRef("session_key")))
    rows = UserSession.objects.filter(is_stored, user=user)
    newest = list(rows.order_by(this_first, "-pk")[: READ + 1])
    keys = [row.session_key for row in newest]
    contents = {
        session.session_key: session.get_decoded()
        for session in stored.filter(session_key__in=keys)
    }
    listed = []
    for row in newest[:READ]:
        content = contents.get(row.session_key, {})
        if is_open(content, user):
            listed.append(describe_session(row, content, this_key))
    has_more = len(listed) > SHOWN or len(newest) > READ
    return OwnSessions(listed[:SHOWN], has_more)


def is_open(content: Mapping[str, Any], user: User) -> bool:
    """Return whether the user would be signed in with a session of this content."""
    if content.get(SESSION_KEY) != str(user.pk):
        return False
    if find_expiry(content, user) is not None:
        return False
    stored = content.get(HASH_SESSION_KEY, "")
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return any(constant_time_compare(stored, value) for value in hashes)


def describe_session(
    row: UserSession, content: Mapping[str, Any], this_key: str | None
) -> OwnSession:
    """Return what the page of an account says about one of its sessions.

    `content` is what the session stores.
    """
    # Sessions from the previous release do not have this.
    began = content.get("began", {})
    signed_in = content.get("signed_in", 0)
    return OwnSession(
        pk=row.pk,
        browser=Browser(began.get("browser", ""), began.get("system", "")),
        network=began.get("network", ""),
        signed_in_at=read_time(began.get("at", signed_in)),
        last_used_at=read_time(content.get("last_seen", signed_in)),
        is_this=row.session_key == this_key,
    )


def read_time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


@transaction.atomic
def end_own_session(request: HttpRequest, pk: int) -> bool:
    """End another session of the person who is signed in, and record it.

    Returns whether there was such a session.
    """
    rows = UserSession.objects.filter(user=request.user)
    others = rows.exclude(session_key=request.session.session_key)
    # The session may be getting a new key at the moment.
    row = others.select_for_update().filter(pk=pk).first()
    if row is None:
        return False
    ended, _kinds = Session.objects.filter(session_key=row.session_key).delete()
    row.delete()
    if ended:
        record(SecurityEvent.SESSION_ENDED, user=request.user, actor=request.user)
    return bool(ended)
