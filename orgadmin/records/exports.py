"""Exporting organizations, the membership log and the audit log as rows of a file."""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from orgadmin.access import audit_log
from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.roles import CONFIDENTIAL_FIELDS
from orgadmin.models import Membership, Organization, User
from orgadmin.people.ends import find_last_day
from orgadmin.records.batches import read_by_size
from orgadmin.records.columns import FIELDS, ID_COLUMNS, ROLE_COLUMNS, UNTIL
from orgadmin.records.id_keys import make_id_key

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from orgadmin.models import AuditEvent, MembershipEvent

# The fields of an organization that can contain long texts
LONG_FIELDS = ("address", "notes")

EVENT_COLUMNS = (
    "at",
    "event",
    "person",
    "organization_id",
    "organization",
    "role",
    "by",
    "reason",
    # The names above are as recorded. The IDs stay the same when a name changes, and
    # are never reused.
    "user_id",
    "by_id",
    "person_now",
    "organization_now",
    # The ID of the OpenID provider whose groups determine the role, or what made the
    # change, in brackets, such as "(import)".
    "source",
    # When the membership ends. In a list of members at a certain time, the end that was
    # planned at that time.
    "until",
)

# "position" and "hash" come first, so that they are easy to compare with other copies
# of the log. The hash can be recomputed from the columns up to "details".
AUDIT_COLUMNS = (
    "position",
    "hash",
    "at",
    "event",
    "user_id",
    "by_user_id",
    "network",
    "request",
    "details",
    "person",
    "by",
    "personal",
)


@dataclass(frozen=True)
class MemberCell:
    """A member in a cell of a file."""

    email: str
    ends_at: datetime.datetime | None

    def __str__(self) -> str:
        if self.ends_at is None:
            return self.email
        return f"{self.email} {UNTIL} {find_last_day(self.ends_at)}"


def record_export(content: str, *, actor: User, **details: object) -> None:
    """Record an export in the audit log.

    `content` says what is exported, such as "organizations". `details` say how much:
    the number of rows, or the names of the filters. They must not contain search terms,
    because these can be names of people.
    """
    record(SecurityEvent.EXPORTED, actor=actor, details={"content": content, **details})


def list_organizations(
    organizations: QuerySet[Organization], user: User
) -> Iterator[Sequence[object]]:
    """Yield a header and a row for each organization.

    If the user cannot see the confidential fields of all organizations that they can
    view, these columns are left out, because empty cells could clear the fields when
    the file is imported. Superusers also get the columns of people, so that they can
    import the file again.

    Runs up to one query for the header, one for all keys, and two or three per batch.
    """
    fields = list_fields(user)
    yield list_columns(fields, user)
    for batch in read_by_size(organizations, LONG_FIELDS):
        confidential_pks = find_with_confidential(batch, user)
        members = find_members(batch) if user.is_superuser else {}
        for organization in batch:
            with_confidential = organization.pk in confidential_pks
            values = list_values(organization, fields, with_confidential)
            row = [organization.pk, make_id_key(organization.pk), *values]
            if user.is_superuser:
                row += list_people(organization, members)
            yield row


def list_fields(user: User) -> list[str]:
    """Return the fields that the user can see in all organizations they can view."""
    if sees_all_confidential(user):
        return list(FIELDS)
    return [name for name in FIELDS if name not in CONFIDENTIAL_FIELDS]


def sees_all_confidential(user: User) -> bool:
    """Return whether the user can see confidential fields of all that they can view."""
    permissions = Organization.objects.permissions_everywhere(user)
    if "view" in permissions:
        return "view_confidential" in permissions
    organizations = Organization.objects.order_by()
    viewable = organizations.permitted(user, "view").values("pk")
    with_confidential = organizations.permitted(user, "view_confidential").values("pk")
    return not viewable.difference(with_confidential).exists()


def list_columns(fields: Sequence[str], user: User) -> list[str]:
    columns = [*ID_COLUMNS, *fields]
    if user.is_superuser:
        columns += ROLE_COLUMNS
    return columns


def find_with_confidential(
    organizations: Sequence[Organization], user: User
) -> set[int]:
    """Return the IDs of organizations whose confidential fields the user can see."""
    pks = [organization.pk for organization in organizations]
    permitted = Organization.objects.permitted(user, "view_confidential").order_by()
    return set(permitted.filter(pk__in=pks).values_list("pk", flat=True))


def find_members(organizations: Sequence[Organization]) -> dict[int, list[MemberCell]]:
    """Return {group ID: members}. The members are sorted by email address.

    Members without an email address are left out.
    """
    group_ids: list[int | None] = []
    for organization in organizations:
        group_ids += organization.group_ids
    memberships = Membership.objects.current().filter(group__in=group_ids)
    memberships = memberships.exclude(user__email="").order_by("user__email")
    members: dict[int, list[MemberCell]] = defaultdict(list)
    rows = memberships.values_list("group", "user__email", "ends_at")
    for group_id, email, ends_at in rows:
        members[group_id].append(MemberCell(email, ends_at))
    return members


def list_values(
    organization: Organization, fields: Sequence[str], with_confidential: bool
) -> list[object]:
    """Return the values of an organization's fields.

    Confidential values are None if the user cannot see them, for example because their
    access has ended while the file is being written.
    """
    hidden = () if with_confidential else CONFIDENTIAL_FIELDS
    values = []
    for name in fields:
        values.append(None if name in hidden else getattr(organization, name))
    return values


def list_people(
    organization: Organization, members: dict[int, list[MemberCell]]
) -> list[object]:
    """Return a cell for each role: its members, and the last days of their access."""
    cells: list[object] = []
    for role in ROLE_COLUMNS.values():
        found = members.get(getattr(organization, role.attname), [])
        cells.append("; ".join(str(member) for member in found))
    return cells


def list_events(
    events: QuerySet[MembershipEvent],
    hide: Callable[[list[MembershipEvent]], None] | None = None,
    people: QuerySet[User] | None = None,
) -> Iterator[Sequence[object]]:
    """Yield a header and a row for each event of the membership log.

    `hide` is called with each batch of events, to remove what the reader cannot see.
    `people` are the users whose current usernames the reader can see. The default is
    all users. Runs one query for all keys, and three per batch, besides the queries
    that `hide` runs.
    """
    if people is None:
        people = User.objects.all()
    yield EVENT_COLUMNS
    for batch in read_by_size(events, ["reason"]):
        if hide is not None:
            hide(batch)
        user_keys = {event.user_key for event in batch}
        organization_keys = {event.organization_key for event in batch}
        usernames = find_texts(people, user_keys, "username")
        names = find_texts(Organization.objects.all(), organization_keys, "name")
        for event in batch:
            row = list_event(event)
            row.append(usernames.get(event.user_key))
            row.append(names.get(event.organization_key))
            row.append(event.source)
            row.append(show_time(getattr(event, "planned_end", event.ends_at)))
            yield row


def find_texts(
    rows: QuerySet[Any], keys: Collection[int | None], field: str
) -> dict[int | None, str]:
    """Return {primary key: text in the field}. Leaves out rows that do not exist."""
    found = rows.order_by().filter(pk__in=keys)
    return dict(found.values_list("pk", field))


def show_time(time: datetime.datetime | None) -> str | None:
    """Return a time as text in the site's time zone, which all files use, or None."""
    if time is None:
        return None
    local = timezone.localtime(time, timezone.get_default_timezone())
    return local.isoformat(timespec="seconds")


def list_event(event: MembershipEvent) -> list[object]:
    return [
        show_time(event.at),
        event.event,
        event.user_name,
        event.organization_key,
        event.organization_name,
        event.role,
        event.named_actor,
        event.reason,
        event.user_key,
        event.actor_key,
    ]


def list_audit_events(
    events: QuerySet[AuditEvent], *, until: int
) -> Iterator[Sequence[object]]:
    """Yield a header and a row for each event of the audit log.

    `until` is the position of the last event. Events that are not sealed yet are left
    out. Runs one query per batch, and keeps one batch in memory.
    """
    yield AUDIT_COLUMNS
    for event in audit_log.read_chain(events.filter(position__lte=until)):
        yield (
            event.position,
            event.hash,
            event.at.astimezone(datetime.UTC).isoformat(),
            event.event,
            event.user_key,
            event.actor_key,
            event.network,
            event.request_id,
            json.dumps(event.details, sort_keys=True),
            event.user_name,
            event.actor_name,
            json.dumps(event.personal, sort_keys=True),
        )
