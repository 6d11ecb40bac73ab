"""Who sees the site as someone else: a superuser, as a person, for a while.

The session of the superuser has the value "viewing" for this:

    {"viewer": primary key, "person": primary key, "until": seconds since 1970}

Whatever is unclear about it ends it. `view_as.py` is the middleware that shows the site
as the person, and refuses everything else.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.middleware.csrf import rotate_token
from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.rule import is_active_superuser
from orgadmin.models import User

SESSION_KEY = "viewing"

MINUTES = 30
LONGEST = MINUTES * 60  # seconds


class End(StrEnum):
    """Why viewing has ended. The audit log has it, so the texts never change."""

    STOPPED = "stopped"
    TIME = "time was over"
    SIGNED_OUT = "signed out"
    NOT_ALLOWED = "no longer allowed"


class CannotView(Exception):
    """Nobody can see the site as this person, or not now."""


class NotWhileViewing(PermissionDenied):
    """A page asks for something that nobody can do as someone else."""


class ViewingOver(Exception):
    """What the session says about viewing no longer counts."""

    def __init__(self, why: End) -> None:
        super().__init__(why.value)
        self.why = why


@dataclass(frozen=True)
class Viewing:
    """A superuser sees the site as a person until a time, in seconds since 1970."""

    viewer: User
    person: User
    until: float

    @property
    def ends_at(self) -> datetime:
        return datetime.fromtimestamp(self.until, timezone.get_current_timezone())


def get_viewing(request: HttpRequest) -> Viewing | None:
    """Return who sees the site as whom in a request, or None if nobody does."""
    return getattr(request, "viewing", None)


def get_actor(request: HttpRequest) -> User:
    """Return who acts in a request, also if they see the site as someone else.

    They are signed in.
    """
    viewing = get_viewing(request)
    if viewing is not None:
        return viewing.viewer
    return cast(User, request.user)


def may_be_viewed(person: User, viewer: User) -> bool:
    """Return whether a person's view of the site can be shown to a superuser."""
    if not is_active_superuser(viewer) or person.pk == viewer.pk:
        return False
    return person.is_active and not person.is_superuser


def start(request: HttpRequest, person: User, reason: str) -> None:
    """Show the site as a person from the next request on.

    The session and the forms of all open pages get new keys. Raises `CannotView`.
    """
    viewer = get_actor(request)
    if SESSION_KEY in request.session or not may_be_viewed(person, viewer):
        raise CannotView
    record(
        SecurityEvent.VIEWING_STARTED,
        user=person,
        actor=viewer,
        details={"minutes": MINUTES},
        personal={"reason": reason},
    )
    request.session[SESSION_KEY] = {
        "viewer": viewer.pk,
        "person": person.pk,
        "until": time.time() + LONGEST,
    }
    change_keys(request)


def find_viewing(request: HttpRequest) -> Viewing | None:
    """Return what the session says about viewing, or None if it says nothing.

    Runs a query if it says something. Raises `ViewingOver` if it no longer counts.
    """
    if SESSION_KEY not in request.session:
        return None
    kept = request.session[SESSION_KEY]
    viewer = get_actor(request)
    if not is_complete(kept) or kept["viewer"] != viewer.pk:
        raise ViewingOver(End.NOT_ALLOWED)
    left = kept["until"] - time.time()
    # More is left than there can be if the clock was set back.
    if not 0 < left <= LONGEST:
        raise ViewingOver(End.TIME)
    person = User.objects.filter(pk=kept["person"]).first()
    if person is None or not may_be_viewed(person, viewer):
        raise ViewingOver(End.NOT_ALLOWED)
    return Viewing(viewer, person, kept["until"])


def is_complete(kept: Any) -> bool:
    if not isinstance(kept, dict) or kept.keys() != {"viewer", "person", "until"}:
        return False
    has_keys = isinstance(kept["viewer"], int) and isinstance(kept["person"], int)
    return has_keys and isinstance(kept["until"], float)


def end(request: HttpRequest, why: End) -> User | None:
    """Show the site as their own to the person who is signed in, and record it.

    Returns the person whose view was shown, if they still exist. The session and the
    forms of all open pages get new keys: what was opened as the person cannot be sent
    in one's own name.
    """
    person = forget(request, why)
    change_keys(request)
    return person


def forget(request: HttpRequest, why: End) -> User | None:
    """End viewing in a session that ends anyway, and record it."""
    kept = request.session.pop(SESSION_KEY, None)
    request.viewing = None  # type: ignore[attr-defined]
    if not is_complete(kept):
        return None
    person = User.objects.filter(pk=kept["person"]).first()
    viewer = User.objects.filter(pk=kept["viewer"]).first()
    record(
        SecurityEvent.VIEWING_ENDED,
        user=person,
        actor=viewer,
        details={"because": why.value},
    )
    return person


def change_keys(request: HttpRequest) -> None:
    """Give the session and the forms of a browser new keys.

    A request that runs at the same time can then neither store the session as it was
    before, nor send a form that was opened before.
    """
    request.session.cycle_key()
    rotate_token(request)
