"""AuditEvent: a row of the audit log."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.access.append_only import AppendOnly
from orgadmin.access.audit_log import AuditEventQuerySet, SecurityEvent

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


class AuditEvent(AppendOnly):
    """A security event: what happened to which account, when, and who caused it.

    IDs and names are plain values instead of foreign keys, so that a row remains when
    the accounts in it are deleted. `access/audit_log.py` explains the seal.
    """

    at = models.DateTimeField(_("when"), default=timezone.now)
    # A value of SecurityEvent. The field has no choices, so that a new kind of event
    # does not require a migration.
    event = models.CharField(_("event"), max_length=30)
    user_key = models.BigIntegerField(_("user ID"), null=True)
    user_name = models.CharField(_("person"), max_length=254, blank=True)
    # Empty if a command made the change, or if it is not known who made it.
    actor_key = models.BigIntegerField(_("by user ID"), null=True)
    actor_name = models.CharField(_("by"), max_length=150, blank=True)
    details = models.JSONField(_("details"), default=dict, blank=True)
    # Values that are erased together with the person, such as email addresses. Like the
    # names, they are not part of the hash.
    personal = models.JSONField(default=dict, blank=True, editable=False)
    # The shortened IP address, such as "192.0.2.0/24".
    network = models.CharField(_("from"), max_length=50, blank=True)
    request_id = models.CharField(_("request"), max_length=64, blank=True)
    # The place in the chain. None until the event is sealed.
    position = models.BigIntegerField(null=True, editable=False, unique=True)
    hash = models.CharField(max_length=64, blank=True, editable=False)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        verbose_name = _("audit log entry")
        verbose_name_plural = _("audit log entries")
        ordering = ["-pk"]
        base_manager_name = "objects"
        indexes = [
            # For the events of a person. Some events have only the person's name.
            models.Index(fields=["user_key", "id"], name="audit_user"),
            models.Index(fields=["actor_key", "id"], name="audit_actor"),
            models.Index(fields=["user_name", "id"], name="audit_user_name"),
            # For the list of all events or of one kind, in any period.
            models.Index(fields=["at", "id"], name="audit_at"),
            models.Index(fields=["event", "at", "id"], name="audit_event_at"),
            # For the unsealed events, of which there are few.
            models.Index(
                fields=["id"],
                name="audit_unsealed",
                condition=models.Q(position__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_name} {self.event_label}"

    @property
    def event_label(self) -> StrOrPromise:
        try:
            return SecurityEvent(self.event).label
        except ValueError:
            # A later release recorded this event.
            return self.event

    @property
    def is_actor_unknown(self) -> bool:
        """Whether someone acted without being signed in, as after a wrong password.

        Commands have no actor, either, but they also have no request.
        """
        return self.actor_key is None and bool(self.request_id)

    def describe(self) -> dict[str, Any]:
        """Return the event for the request log, without names of people.

        The line in the log also contains the kind of event. Together, they are
        everything that the hash covers, except the hash of the previous event.
        """
        return {
            "audit_position": self.position,
            "audit_hash": self.hash,
            "audit_at": self.at.astimezone(datetime.UTC).isoformat(),
            # The request that caused the event. Another request may have sealed it.
            "audit_request": self.request_id,
            "user_key": self.user_key,
            "actor_key": self.actor_key,
            "details": self.details,
            "network": self.network,
        }
