"""The membership log: who joined and left which organization, when, and by whom.

Rows are only ever added. `orgadmin.people.membership` writes them together with the
memberships; Django's own managers, such as `user.groups.add()`, are heard through a
signal; what escapes even that, `manage.py doctor` finds.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, cast

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import NotSupportedError, models
from django.db.models import Exists, OuterRef, Q
from django.db.models.signals import m2m_changed
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.access.roles import ROLES, Role

if TYPE_CHECKING:
    from orgadmin.models import User

BATCH = 1_000  # rows in one INSERT


class Event(models.TextChoices):
    # Through `membership`: from now on the person's only role in the organization.
    JOINED = "joined", _("joined")
    # A member since before the log began, or added in another way. The person may also
    # have the other role.
    FOUND = "found", _("found")
    LEFT = "left", _("left")
    INVITED = "invited", _("invited")
    REVOKED = "withdrawn", _("invitation revoked")


@dataclass(frozen=True)
class MembershipChange:
    """What a row of the log says.

    Keys and names are plain values: rows outlive the people and organizations.
    """

    event: Event
    user_key: int | None  # None: an invited address, which may belong to nobody
    user_name: str  # the username, or the email address of an invited person
    organization_key: int
    organization_name: str
    role: Role


def refuse_to_change(*args: object, **kwargs: object) -> NoReturn:
    raise NotSupportedError(
        "The membership log is append-only. Add an event that records the current"
        " state instead."
    )


class MembershipEventQuerySet(models.QuerySet):
    def members_on(
        self, moment: datetime.datetime | None = None
    ) -> MembershipEventQuerySet:
        """Return the events that made somebody a member who still is one.

        With a `moment`, an aware datetime: who was a member at that time. A membership
        that is older than the log counts from the day on which the log began.
        """
        until_then = Q(at__lte=moment) if moment else Q()
        later = self.model._base_manager.filter(
            until_then,
            organization_key=OuterRef("organization_key"),
            user_key=OuterRef("user_key"),
            pk__gt=OuterRef("pk"),
        )
        ended = later.filter(
            Q(event=Event.JOINED)
            | Q(event__in=[Event.LEFT, Event.FOUND], role=OuterRef("role"))
        )
        began = [Event.JOINED, Event.FOUND]
        return self.filter(until_then, ~Exists(ended), event__in=began)

    update = refuse_to_change
    delete = refuse_to_change


def end_of_day(date: datetime.date) -> datetime.datetime:
    """Return the last moment of a date in the site's time zone."""
    last = datetime.datetime.combine(date, datetime.time.max)
    return timezone.make_aware(last)


def write_changes(
    changes: Iterable[MembershipChange],
    *,
    actor: User | None = None,
    reason: str = "",
) -> None:
    """Add a row to the log for each change. One query per BATCH of them."""
    MembershipEvent = apps.get_model("orgadmin", "MembershipEvent")
    rows = [
        MembershipEvent(
            event=change.event,
            user_key=change.user_key,
            user_name=change.user_name,
            organization_key=change.organization_key,
            organization_name=change.organization_name,
            role=change.role.key,
            actor_key=actor.pk if actor else None,
            actor_name=str(actor) if actor else "",
            reason=reason,
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
    """Add a row to the log for each membership that belongs to an organization.

    `memberships` is a queryset of `User.groups.through`. One query per role to read.
    """
    Organization = apps.get_model("orgadmin", "Organization")
    changes = []
    for role in ROLES:
        field = cast(models.OneToOneField, Organization._meta.get_field(role.key))
        path = f"group__{field.related_query_name()}"
        rows = memberships.filter(**{f"{path}__isnull": False}).values_list(
            "user", "user__username", f"{path}__pk", f"{path}__name"
        )
        for user_key, user_name, organization_key, organization_name in rows:
            changes.append(
                MembershipChange(
                    event,
                    user_key,
                    user_name,
                    organization_key,
                    organization_name,
                    role,
                )
            )
    write_changes(changes, actor=actor, reason=reason)


def log_group_changes(
    sender: Any,
    instance: models.Model,
    action: str,
    reverse: bool,
    pk_set: set[int] | None,
    using: str,
    **kwargs: Any,
) -> None:
    """Log what reaches `user.groups` in another way than through `membership`.

    `membership` writes the table behind `user.groups` and does not send this signal.
    Django's related managers call no method of a model, so only the signal tells of
    them. It does not tell who made the change.
    """
    if action == "post_add":
        event = Event.FOUND
    elif action in ("pre_remove", "pre_clear"):
        event = Event.LEFT
    else:
        return
    this_side, other_side = ("group", "user") if reverse else ("user", "group")
    memberships = sender.objects.using(using).filter(**{this_side: instance.pk})
    if pk_set is not None:
        memberships = memberships.filter(**{f"{other_side}__in": pk_set})
    write_memberships(event, memberships)


def connect_signal() -> None:
    m2m_changed.connect(log_group_changes, sender=get_user_model().groups.through)


def disconnect_signal() -> None:
    m2m_changed.disconnect(log_group_changes, sender=get_user_model().groups.through)
