"""MembershipEvent: a row of the membership log."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import models
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext, gettext_lazy as _

from orgadmin.access.append_only import AppendOnly
from orgadmin.access.ends import show_end
from orgadmin.access.membership_log import (
    ENDED_AS_PLANNED,
    REASON_SHOWN,
    Event,
    MembershipEventQuerySet,
    name_author,
    read_means,
)
from orgadmin.access.roles import ROLES, Role, get_role
from orgadmin.models.fields import LongLineField

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


class MembershipEvent(AppendOnly):
    """A row of the membership log. `MembershipChange` explains the fields.

    IDs and names are plain values instead of foreign keys. A row therefore does not
    prevent deleting the people and organizations in it, and remains afterwards.
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
    # The end of the membership that this event has set. Empty if it has no end.
    ends_at = models.DateTimeField(_("until"), null=True)
    # Empty if a command made the change, or if it is not known who made it.
    actor_key = models.BigIntegerField(_("by user ID"), null=True)
    actor_name = models.CharField(_("by"), max_length=150, blank=True)
    # The ID of the OpenID provider whose groups caused the change, or in brackets, the
    # means, such as "(import)". Empty for all other changes.
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
    def named_actor(self) -> str:
        """The person or the OpenID provider behind the change; "" if not known."""
        return self.actor_name if self.means else self.shown_actor

    @property
    def means(self) -> str:
        """How the change was made, such as "import", as in `current_means`."""
        return read_means(self.source)

    @property
    def shown_actor(self) -> str:
        """Who made the change, such as "Mary", "Import by Mary" or "Command assign"."""
        return name_author(self.source, self.actor_name)

    @property
    def is_planned_end(self) -> bool:
        """Whether the membership expired, rather than being ended by someone."""
        return self.event == Event.LEFT and self.reason == ENDED_AS_PLANNED

    @property
    def replaced(self) -> Role | None:
        """The role that this event replaced, if `with_previous_roles()` was called."""
        key: str | None = getattr(self, "replaced_role", None)
        if key is None or key == self.role:
            return None
        return get_role(key)

    @property
    def shown_event(self) -> StrOrPromise:
        """What happened, such as "joined, until Dec. 31, 2026".

        If the person had another role before, the text is "role changed" instead of
        "joined". This needs `with_previous_roles()`.
        """
        event = self.get_event_display()
        if self.replaced is not None:
            event = gettext("role changed")
        return f"{event}, {self.shown_end}" if self.shown_end else event

    @property
    def shown_end(self) -> str:
        """The end of the role, such as "until Dec. 31, 2026".

        In a list of members at a past time, this is the end that was planned then. If
        the role has no end, the text is "", or "no end date" if an end was removed.
        """
        ends_at: datetime | None = getattr(self, "planned_end", self.ends_at)
        if ends_at is not None:
            return gettext("until %s") % show_end(ends_at)
        if self.event == Event.END_CHANGED:
            return gettext("no end date")
        return ""

    @property
    def shown_role(self) -> StrOrPromise:
        """The role, or both roles if the event replaced one by the other.

        Both roles are only known after `with_previous_roles()`.
        """
        if self.replaced is not None:
            return f"{self.replaced.label} → {self.get_role_display()}"
        return self.get_role_display()

    @property
    def shown_reason(self) -> str:
        """The reason for lists, truncated if it is long."""
        start: str | None = getattr(self, "reason_start", None)
        reason = self.reason if start is None else start
        return Truncator(reason).chars(REASON_SHOWN)
