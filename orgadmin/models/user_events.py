"""Records in the audit log what `User.save()` has changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orgadmin.access.audit_log import SecurityEvent, record

if TYPE_CHECKING:
    from orgadmin.models import User

FLAGS = ("is_staff", "is_superuser")


def record_creation(user: User) -> None:
    """Record a new account, and whether it is staff or a superuser."""
    flags = {name: True for name in FLAGS if getattr(user, name)}
    record(SecurityEvent.USER_CREATED, user=user, actor=user.changed_by, details=flags)


def record_changes(user: User, written: set[str], stored: Mapping[str, Any]) -> None:
    """Record the security events of a save.

    `written` are the names of the fields that were saved. `stored` is {field name:
    previous value}.
    """
    actor = user.changed_by
    if "username" in written:
        names = {
            "old_username": stored["username"],
            "new_username": user.username,
        }
        record(SecurityEvent.USERNAME_CHANGED, user=user, actor=actor, personal=names)
    if "password" in written:
        record(SecurityEvent.PASSWORD_CHANGED, user=user, actor=actor)
    if "email" in written:
        addresses = {"old_email": stored["email"], "new_email": user.email}
        record(SecurityEvent.EMAIL_CHANGED, user=user, actor=actor, personal=addresses)
    if "verified_email" in written and user.has_verified_email:
        record(SecurityEvent.EMAIL_VERIFIED, user=user, actor=actor)
    if "is_active" in written:
        event = SecurityEvent.DEACTIVATED
        if user.is_active:
            event = SecurityEvent.ACTIVATED
        record(event, user=user, actor=actor)
    flags = {name: getattr(user, name) for name in FLAGS if name in written}
    if flags:
        record(SecurityEvent.FLAGS_CHANGED, user=user, actor=actor, details=flags)
