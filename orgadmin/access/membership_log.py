"""The membership log: who joined and left which organization, when, and by whom.

Rows are added in the transaction that changes a membership or an invitation, mostly by
`orgadmin.people.membership`. For changes through Django's own managers, such as
`user.groups.add()`, a signal handler adds them. `manage.py doctor` finds missing rows
about members, and can add them. Only names in a row can change later, when a person is
erased.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import models
from django.db.models import Exists, OuterRef, Q, Subquery, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Left, Now, NullIf
from django.db.models.signals import m2m_changed
from django.utils import timezone
from django.utils.translation import gettext_lazy as _, gettext_noop

from orgadmin.access.append_only import AppendOnlyQuerySet
from orgadmin.access.authors import describe_means
from orgadmin.access.groups import get_owner_relation
from orgadmin.access.origin import current_means
from orgadmin.access.providers import name_provider
from orgadmin.access.roles import ROLES, Role
from orgadmin.access.signals import find_changed_links

if TYPE_CHECKING:
    from orgadmin.models import User

BATCH = 1_000  # rows in one INSERT

# Stands for "no end" in queries that compare ends.
NEVER = datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC)

# The reason that is logged when the row of an expired membership is deleted.
ENDED_AS_PLANNED = gettext_noop("Access ended as planned.")

# Longer reasons are truncated in lists. Current forms do not accept longer ones.
REASON_SHOWN = 500  # characters


class Event(models.TextChoices):
    """What happened to a membership or an invitation."""

    # The person got the role through `people/membership.py`, which also ended any other
    # role that they had in the organization.
    JOINED = "joined", _("joined")
    # The person already had the role when the log began, or got it in another way, such
    # as `user.groups.add()`. They may have another role, too.
    FOUND = "found", _("found")
    LEFT = "left", _("left")
    END_CHANGED = "end changed", _("end changed")
    INVITED = "invited", _("invited")
    REVOKED = "withdrawn", _("invitation revoked")


# The annotation `replaced_role` of a row of the log. It is SQL because home pages read
# it, and the ORM would take longer to compile it than a database takes to execute it.
REPLACED_ROLE = RawSQL(
    f"""
    CASE
        WHEN orgadmin_membershipevent.event = '{Event.JOINED}'
            AND orgadmin_membershipevent.user_key IS NOT NULL
        THEN (
            SELECT
                CASE
                    WHEN earlier.event IN (
                        '{Event.JOINED}', '{Event.FOUND}', '{Event.END_CHANGED}'
                    )
                    THEN earlier.role
                END
            FROM orgadmin_membershipevent earlier
            WHERE earlier.organization_key = orgadmin_membershipevent.organization_key
                AND earlier.user_key = orgadmin_membershipevent.user_key
                AND earlier.id < orgadmin_membershipevent.id
            ORDER BY earlier.id DESC
            LIMIT 1
        )
    END
    """,
    [],
    models.CharField(),
)


@dataclass(frozen=True)
class MembershipChange:
    """The content of one row of the log.

    IDs and names are plain values instead of foreign keys, because the log keeps its
    rows when people and organizations are deleted.
    """

    event: Event
    user_key: int | None  # None for invitations: the person may have no account yet
    user_name: str  # the username, or the email address of an invited person
    organization_key: int
    organization_name: str
    role: Role
    # The new end of the membership; None if it has no end.
    ends_at: datetime.datetime | None = None
    at: datetime.datetime | None = None  # None means now
    replaced: Role | None = None  # the role that the person had until now, if known

    def outdates(self, role: Role) -> bool:
        """Return whether this change outdates the person's invitation to a role.

        An invitation must not give back a role that someone has taken from the person.
        It is also useless if the person already has all that it offers.
        """
        if self.event is Event.LEFT:
            return True
        if self.event not in (Event.JOINED, Event.FOUND):
            return False
        if self.replaced is not None and not self.role.includes(self.replaced):
            return True
        return self.role.includes(role)


class MembershipEventQuerySet(AppendOnlyQuerySet):
    def find_joining_events_of_members(
        self, moment: datetime.datetime | None = None
    ) -> MembershipEventQuerySet:
        """Return the event by which each member before `moment` got their role.

        Leaves out people who had left by then, roles that had been replaced, and
        memberships whose end had passed, even if the worker had not deleted their rows
        yet. Each event has the attribute `planned_end`: when the membership was to end,
        or None if it had no end. A person with two roles has two events.

        `moment` is an aware datetime; None means now. A membership that is older than
        the log is treated as starting when the log began.
        """
        later = self._find_later(moment)
        changed = later.filter(event=Event.END_CHANGED, role=OuterRef("role"))
        return self.find_joining_events(moment)._leave_out_ended(changed, moment)

    def find_joining_events(
        self, moment: datetime.datetime | None = None
    ) -> MembershipEventQuerySet:
        """Return the events that gave people the roles that they had before `moment`.

        Leaves out roles that they lost or exchanged before `moment`; None means now.
        Unlike `find_joining_events_of_members()`, this ignores planned ends. Use it for
        people who are known to be members.
        """
        later = self._find_later(moment)
        # "Joined" replaces any role that the person had. "Left" and "found" are about a
        # single role; the person may have the other role, too.
        superseded = later.filter(
            Q(event=Event.JOINED)
            | Q(event__in=[Event.LEFT, Event.FOUND], role=OuterRef("role"))
        )
        joining = [Event.JOINED, Event.FOUND]
        until_then = Q(at__lt=moment) if moment else Q()
        return self.filter(until_then, ~Exists(superseded), event__in=joining)

    def _find_later(self, moment: datetime.datetime | None) -> models.QuerySet:
        """Return the later events, before `moment`, about an event's person there.

        The result is for a subquery, whose outer query selects the event.
        """
        return self.model._base_manager.filter(
            Q(at__lt=moment) if moment else Q(),
            organization_key=OuterRef("organization_key"),
            user_key=OuterRef("user_key"),
            pk__gt=OuterRef("pk"),
        )

    def _leave_out_ended(
        self, changed: models.QuerySet, moment: datetime.datetime | None
    ) -> MembershipEventQuerySet:
        """Leave out memberships whose planned end was before `moment`, or has passed.

        `changed` is a queryset of the later changes of the end, for a subquery.
        `moment` is None for now.
        """
        never = Value(NEVER, models.DateTimeField())
        new_end = changed.order_by("-pk").values(end=Coalesce("ends_at", never))[:1]
        last_end = Coalesce(Subquery(new_end), "ends_at", never)
        members = self.annotate(planned_end=NullIf(last_end, never))
        if moment is None:
            condition = Q(planned_end__gt=Now())
        else:
            # A membership that ends exactly at `moment` still counts before it.
            condition = Q(planned_end__gte=moment)
        return members.filter(Q(planned_end=None) | condition)

    def with_previous_roles(self) -> MembershipEventQuerySet:
        """Add to each event the role that it replaced, as `replaced_role`.

        For "joined", this is the role that the person had in the organization until
        then, according to their previous event. It can be the role that they join with.
        It is NULL if they had no role, and for all other events.
        """
        return self.annotate(replaced_role=REPLACED_ROLE)

    def with_short_reasons(self) -> MembershipEventQuerySet:
        """Load only as much of each reason as `shown_reason` needs.

        A reason can be long, and lists show only its beginning.
        """
        start = Left("reason", REASON_SHOWN + 1)
        return self.defer("reason").annotate(reason_start=start)


def make_source(means: str) -> str:
    """Return the `source` of a change, such as "(import)" or "(bulk change)".

    `means` is a value of `current_means`. Returns "" if it is empty. The parentheses
    distinguish the source from the ID of an OpenID provider.
    """
    return f"({means})" if means else ""


def read_means(source: str) -> str:
    """Return the value of `current_means` that `make_source()` has written, or ""."""
    return source.strip("()") if source.startswith("(") else ""


def name_author(source: str, name: str) -> str:
    """Return who made a change, such as "Mary", "Import by Mary" or "Command assign".

    If the groups of an OpenID provider caused the change, returns the provider's name.
    `name` is the name of the person who made the change, or "". Returns "" if it is not
    known who made it.
    """
    means = read_means(source)
    if means:
        return describe_means(means, name)
    return name_provider(source) if source else name


def write_changes(
    changes: Iterable[MembershipChange],
    *,
    actor: User | None = None,
    reason: str = "",
    source: str = "",
) -> None:
    """Add a row to the log for each change, and revoke outdated invitations.

    `source` is the ID of the OpenID provider whose groups caused the changes, or "". If
    it is "", the rows contain the means of the changes instead, as in `make_source()`.
    Runs a few queries per BATCH rows.
    """
    written = list(changes)
    source = source or make_source(current_means.get())
    _write(written, actor=actor, reason=reason, source=source)
    # Invitations are revoked here because all code that changes roles calls this
    # function, except for memberships that expire.
    Invitation = apps.get_model("orgadmin", "Invitation")
    Invitation.objects.revoke_outdated(written, actor=actor)


def write_planned_ends(changes: Iterable[MembershipChange]) -> None:
    """Log that memberships have expired, without an author.

    Does not revoke invitations.
    """
    _write(changes, actor=None, reason=ENDED_AS_PLANNED, source="")


def _write(
    changes: Iterable[MembershipChange], *, actor: User | None, reason: str, source: str
) -> None:
    """Add a row to the log for each change. `source` is as in `MembershipEvent`."""
    MembershipEvent = apps.get_model("orgadmin", "MembershipEvent")
    rows = [
        MembershipEvent(
            at=change.at or timezone.now(),
            event=change.event,
            user_key=change.user_key,
            user_name=change.user_name,
            organization_key=change.organization_key,
            organization_name=change.organization_name,
            role=change.role.key,
            ends_at=change.ends_at,
            actor_key=actor.pk if actor else None,
            actor_name=str(actor) if actor else "",
            reason=reason,
            source=source,
        )
        for change in changes
    ]
    MembershipEvent.objects.bulk_create(rows, batch_size=BATCH)


def write_memberships(
    event: Event,
    memberships: models.QuerySet,
    *,
    actor: User | None = None,
    reason: str = "",
) -> None:
    """Log an event for each membership in a group of an organization.

    `memberships` is a queryset of `Membership`, or of `User.groups.through`. Reads the
    memberships with one query per role.
    """
    write_changes(_describe_memberships(event, memberships), actor=actor, reason=reason)


def write_ended_memberships(memberships: models.QuerySet) -> None:
    """Log memberships that have expired, as `write_planned_ends()` does.

    `memberships` is a queryset of `Membership`.
    """
    write_planned_ends(_describe_memberships(Event.LEFT, memberships, "ends_at"))


def _describe_memberships(
    event: Event, memberships: models.QuerySet, *time: str
) -> list[MembershipChange]:
    """Return a change for each membership in a group of an organization.

    `time` is the name of the column with the time of the event; without it, the time is
    now.
    """
    changes = []
    for role in ROLES:
        # The path from a membership to the organization of its group.
        path = f"group__{get_owner_relation(role)}"
        rows = memberships.filter(**{f"{path}__isnull": False}).values_list(
            "user", "user__username", f"{path}__pk", f"{path}__name", *time
        )
        for user_key, user_name, organization_key, organization_name, *times in rows:
            changes.append(
                MembershipChange(
                    event,
                    user_key,
                    user_name,
                    organization_key,
                    organization_name,
                    role,
                    at=times[0] if times else None,
                )
            )
    return changes


def log_group_changes(sender: Any, action: str, **signal: Any) -> None:
    """Log changes that Django's related managers, such as `user.groups`, make.

    These managers do not call any method of a model, so a signal is the only way to
    detect such changes. The signal does not say who made the change.
    `people/membership.py` writes the through table directly, which does not send the
    signal, so its changes are not logged twice.
    """
    if action == "post_add":
        event = Event.FOUND
    elif action in ("pre_remove", "pre_clear"):
        event = Event.LEFT
    else:
        return
    links = find_changed_links(sender, "user", "group", **signal)
    write_memberships(event, links)


def connect_signal() -> None:
    m2m_changed.connect(log_group_changes, sender=get_user_model().groups.through)


def disconnect_signal() -> None:
    m2m_changed.disconnect(log_group_changes, sender=get_user_model().groups.through)
