"""MembershipEvent: a row of the membership log."""

from django.db import models
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from orgadmin.access.append_only import AppendOnly
from orgadmin.access.membership_log import (
    REASON_SHOWN,
    Event,
    MembershipEventQuerySet,
)
from orgadmin.access.providers import name_provider
from orgadmin.access.roles import ROLES
from orgadmin.models.fields import LongLineField


class MembershipEvent(AppendOnly):
    """A row of the membership log. `MembershipChange` explains the fields.

    Keys and names are plain values instead of foreign keys. So a row does not prevent
    the deletion of the people and organizations that it names, and remains after it.
    """

    at = models.DateTimeField(_("when"), default=timezone.now)
    event = models.CharField(_("event"), max_length=20, choices=Event.choices)
    user_key = models.BigIntegerField(_("user ID"), null=True)
    user_name = models.CharField(_("person"), max_length=254)
    organization_key = models.BigIntegerField(_("organization ID"))
    organization_name = models.CharField(_("organization"), max_length=255)
    role = models.CharField(
        _("role"), max_length=20, choices=[(role.key, role.label) for role in ROLES]
    )
    # Empty if a command made the change, or if it is not known who made it.
    actor_key = models.BigIntegerField(_("by user ID"), null=True)
    actor_name = models.CharField(_("by"), max_length=150, blank=True)
    # The ID of the OpenID provider whose groups decided; empty for all other changes.
    source = models.CharField(
        _("source"), max_length=200, blank=True, default="", db_default=""
    )
    reason = LongLineField(_("reason"), max_length=500, blank=True)

    objects = MembershipEventQuerySet.as_manager()

    class Meta:
        verbose_name = _("membership log entry")
        verbose_name_plural = _("membership log entries")
        ordering = ["-pk"]
        base_manager_name = "objects"
        indexes = [
            models.Index(
                fields=["organization_key", "user_key", "id"], name="event_organization"
            ),
            models.Index(fields=["user_key"], name="event_user"),
        ]

    def __str__(self) -> str:
        return f"{self.user_name} {self.get_event_display()} {self.organization_name}"

    @property
    def shown_actor(self) -> str:
        """Who made the change: a person, or the provider whose groups decided."""
        if self.source:
            return name_provider(self.source)
        return self.actor_name

    @property
    def shown_reason(self) -> str:
        """The reason as lists show it: cut if it is long."""
        start: str | None = getattr(self, "reason_start", None)
        reason = self.reason if start is None else start
        return Truncator(reason).chars(REASON_SHOWN)
