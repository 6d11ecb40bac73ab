"""Starts and ends viewing the site as someone else, and checks what is stored about it.

A superuser can view the site as another person for up to 30 minutes. In the meantime,
the superuser's session has the value "viewing":

    {"viewer": primary key, "person": primary key, "until": seconds since 1970}

If any part of this value is missing or wrong, viewing ends. The middleware in
`view_as_middleware.py` shows the site as the person.
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

# How long viewing can last.
MINUTES = 30
MAX_SECONDS = MINUTES * 60


class End(StrEnum):
    """Why viewing has ended. The audit log stores these texts: do not change them."""

    STOPPED = "stopped"
    TIME = "time was over"
    SIGNED_OUT = "signed out"
    NOT_ALLOWED = "no longer allowed"


class CannotView(Exception):
    """The site cannot be viewed as this person, or the superuser is viewing already."""


class NotWhileViewing(PermissionDenied):
    """The page does something that is not possible while viewing as someone else."""


class ViewingOver(Exception):
    """The session's value about viewing is no longer valid."""

    def __init__(self, why: End) -> None:
        super().__init__(why.value)
        self.why = why


@dataclass(frozen=True)
class Viewing:
    """A superuser (`viewer`) who views the site as a person until a time."""

    viewer: User
    person: User
    until: float  # seconds since 1970

    @property
    def ends_at(self) -> datetime:
        return datetime.fromtimestamp(self.until, timezone.get_current_timezone())


def get_viewing(request: HttpRequest) -> Viewing | None:
    """Return who views the site as someone else in this request.

    Returns None if the person who is signed in sees their own view of the site.
    """
    return getattr(request, "viewing", None)


def get_actor(request: HttpRequest) -> User:
    """Return the person who is signed in, even if they view the site as someone else.

    Someone must be signed in.
    """
    viewing = get_viewing(request)
    if viewing is not None:
        return viewing.viewer
    return cast(User, request.user)


def may_be_viewed(person: User, viewer: User) -> bool:
    """Return whether the viewer can view the site as the person."""
    if not is_active_superuser(viewer) or person.pk == viewer.pk:
        return False
    return person.is_active and not person.is_superuser


def start_viewing(request: HttpRequest, person: User, reason: str) -> None:
    """Show the site as a person, beginning with the next request.

    Changes the keys of the session and of all forms, see `change_keys`.
    Raises `CannotView`.
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
        "until": time.time() + MAX_SECONDS,
    }
    change_keys(request)


def find_viewing(request: HttpRequest) -> Viewing | None:
    """Return the session's value about viewing, or None if there is none.

    Runs one query if there is a value. Raises `ViewingOver` if the value is no longer
    valid.
    """
    if SESSION_KEY not in request.session:
        return None
    stored = request.session[SESSION_KEY]
    viewer = get_actor(request)
    if not is_complete(stored) or stored["viewer"] != viewer.pk:
        raise ViewingOver(End.NOT_ALLOWED)
    left = stored["until"] - time.time()
    # If the clock was set back, more time seems to be left than viewing can last.
    if not 0 < left <= MAX_SECONDS:
        raise ViewingOver(End.TIME)
    person = User.objects.filter(pk=stored["person"]).first()
    if person is None or not may_be_viewed(person, viewer):
        raise ViewingOver(End.NOT_ALLOWED)
    return Viewing(viewer, person, stored["until"])


def is_complete(stored: Any) -> bool:
    """Return whether the session's value about viewing has the right parts."""
    if not isinstance(stored, dict) or stored.keys() != {"viewer", "person", "until"}:
        return False
    has_keys = isinstance(stored["viewer"], int) and isinstance(stored["person"], int)
    return has_keys and isinstance(stored["until"], float)


def end_viewing(request: HttpRequest, why: End) -> User | None:
    """Stop viewing as someone else, record it, and change the keys (`change_keys`).

    A page that was opened while viewing then cannot be submitted from the superuser's
    own account. Returns the person whose view was shown, if they still exist.
    """
    person = remove_viewing(request, why)
    change_keys(request)
    return person


def remove_viewing(request: HttpRequest, why: End) -> User | None:
    """Stop viewing as someone else and record it, without changing any keys.

    Call this only if the same request later ends the session or calls `change_keys`.
    """
    stored = request.session.pop(SESSION_KEY, None)
    request.viewing = None  # type: ignore[attr-defined]
    if not is_complete(stored):
        return None
    person = User.objects.filter(pk=stored["person"]).first()
    viewer = User.objects.filter(pk=stored["viewer"]).first()
    record(
        SecurityEvent.VIEWING_ENDED,
        user=person,
        actor=viewer,
        details={"because": why.value},
    )
    return person


def change_keys(request: HttpRequest) -> None:
    """Change the session's key and the CSRF token of the browser's forms.

    Afterwards, a request that runs at the same time cannot store its old copy of the
    session, and pages that are already open cannot submit their forms.
    """
    request.session.cycle_key()
    rotate_token(request)
