"""The doctor's check that keys are unique over time: no key is issued twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_noop as _

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.access.membership_log import Event
from orgadmin.models import AuditEvent, MembershipEvent, Organization, User
from orgadmin.people.membership import AnyModel
from orgadmin.records.batches import read_in_batches
from orgadmin.records.doctor.doctor import Issue
from orgadmin.records.keys import find_outdated_sequences, raise_sequences

REUSED_ID = _("reused ID")

# The deletion of a user or an organization ends their memberships. The membership log
# records the end of each membership with one of these reasons.
ORGANIZATION_DELETED = "The organization was deleted."
ACCOUNT_DELETED = "The account was deleted."
ORGANIZATION_ENDED = Q(event=Event.LEFT, reason=ORGANIZATION_DELETED)
ACCOUNT_ENDED = Q(event=Event.LEFT, reason=ACCOUNT_DELETED)

HistoricalOrganization = Organization.history.model


@dataclass(frozen=True)
class Trace:
    """A row of a log about the owner of a key, with the owner's name at that time."""

    at: datetime
    name: str
    is_first: bool = False  # the owner was created
    is_last: bool = False  # the owner was deleted


def examine_keys(*, fix: bool = False) -> Iterator[Issue]:
    """Yield the sequences that would issue a key again, and the keys that were reused.

    With `fix`, sets the sequences to higher values. A reused key cannot be repaired,
    because the logs do not show which of its owners each row is about. Reads the logs
    completely.
    """
    sequences = raise_sequences() if fix else find_outdated_sequences()
    for sequence in sequences:
        yield Issue(_("ID sequence"), str(sequence))
    for organization in read_rows(Organization, find_suspected_organizations()):
        name = find_previous_organization(organization)
        if name is not None:
            text = f"the organization “{name}”, which was deleted, had the same ID"
            yield Issue(REUSED_ID, text, organization, is_repairable=False)
    for user in read_rows(User, find_suspected_users()):
        name = find_previous_user(user)
        if name is not None:
            text = (
                f"{user} (ID {user.pk}): the user {name}, who was deleted, had the same"
                " ID"
            )
            yield Issue(REUSED_ID, text, is_repairable=False)


def read_rows(model: type[AnyModel], pks: set[int]) -> Iterator[AnyModel]:
    """Yield the rows with these keys, sorted by key."""
    for batch in read_in_batches(sorted(pks)):
        yield from model._default_manager.filter(pk__in=batch).order_by("pk")


def find_suspected_organizations() -> set[int]:
    """Return the keys whose logs look as if two organizations have had the same key.

    It may be the same organization, for example if a fixture restored it after it was
    deleted.
    """
    records = HistoricalOrganization.objects.filter(
        Exists(Organization.objects.filter(pk=OuterRef("id")))
    )
    earlier_records = HistoricalOrganization.objects.filter(
        id=OuterRef("id"), history_id__lt=OuterRef("history_id")
    )
    creations = HistoricalOrganization.objects.filter(
        id=OuterRef("organization_key"),
        history_type="+",
        history_date__gt=OuterRef("at"),
    )
    events = MembershipEvent.objects.order_by().filter(
        Exists(Organization.objects.filter(pk=OuterRef("organization_key")))
    )
    return {
        *records.filter(history_type="-").values_list("id", flat=True),
        *records.filter(Exists(earlier_records), history_type="+").values_list(
            "id", flat=True
        ),
        *events.filter(Exists(creations) | ORGANIZATION_ENDED).values_list(
            "organization_key", flat=True
        ),
    }


def find_suspected_users() -> set[int]:
    """Return the keys whose logs look as if two users have had the same key."""
    is_user = Exists(User.objects.filter(pk=OuterRef("user_key")))
    audit_events = AuditEvent.objects.filter(is_user)
    earlier_events = AuditEvent.objects.filter(
        user_key=OuterRef("user_key"), pk__lt=OuterRef("pk")
    )
    creations = AuditEvent.objects.filter(
        user_key=OuterRef("user_key"),
        event=SecurityEvent.USER_CREATED,
        at__gt=OuterRef("at"),
    )
    events = MembershipEvent.objects.order_by().filter(is_user)
    keys = {
        *audit_events.filter(event=SecurityEvent.USER_DELETED).values_list(
            "user_key", flat=True
        ),
        *audit_events.filter(
            Exists(earlier_events), event=SecurityEvent.USER_CREATED
        ).values_list("user_key", flat=True),
        *events.filter(Exists(creations) | ACCOUNT_ENDED).values_list(
            "user_key", flat=True
        ),
    }
    return {key for key in keys if key is not None}


def find_previous_organization(organization: Organization) -> str | None:
    """Return the name of the deleted organization that had the same key, if any."""
    records = organization.history.order_by("history_id")
    history = [
        Trace(at, name, is_first=kind == "+", is_last=kind == "-")
        for at, name, kind in records.values_list(
            "history_date", "name", "history_type"
        )
    ]
    events = MembershipEvent.objects.filter(organization_key=organization.pk)
    log = [
        Trace(
            event.at,
            event.organization_name,
            is_last=event.reason == ORGANIZATION_DELETED,
        )
        for event in events.order_by("pk")
    ]
    return find_previous_name(history, log, organization.name)


def find_previous_user(user: User) -> str | None:
    """Return the name of the deleted user who had the same key, if any."""
    audit_events = AuditEvent.objects.filter(user_key=user.pk)
    audit_log = [
        Trace(
            event.at,
            event.user_name,
            is_first=event.event == SecurityEvent.USER_CREATED,
            is_last=event.event == SecurityEvent.USER_DELETED,
        )
        for event in audit_events.order_by("pk")
    ]
    events = MembershipEvent.objects.filter(user_key=user.pk)
    log = [
        Trace(event.at, event.user_name, is_last=event.reason == ACCOUNT_DELETED)
        for event in events.order_by("pk")
    ]
    if is_brought_back(user, audit_log + log):
        return None
    return find_previous_name(audit_log, log, user.username)


def is_brought_back(user: User, traces: Sequence[Trace]) -> bool:
    """Return whether a fixture has restored a deleted account.

    A restored account is older than its deletion, and was not created again. Names
    cannot be compared, because no log records that a user was renamed.
    """
    ends = [trace.at for trace in traces if trace.is_last]
    if not ends:
        return False
    was_created_again = any(trace.is_first and trace.at > max(ends) for trace in traces)
    return user.date_joined < max(ends) and not was_created_again


def find_previous_name(
    own: Sequence[Trace], others: Sequence[Trace], name_now: str
) -> str | None:
    """Return the name of the previous owner of a key, or None if there was none.

    `own` are the traces in the log that records when owners are created. `others` are
    the traces in a log that does not record this. They are assigned to an owner by name
    and by time, which may be slightly wrong.

    If an earlier owner had the first known name of the current owner, both are the
    same: the owner was deleted, and a fixture restored it. Later names of the current
    owner are not compared, so that a new organization is found even if it was renamed.
    """
    start = find_start(own)
    previous = [trace.name for trace in own[:start]]
    names = [trace.name for trace in own[start:]] + [name_now]
    ended = find_start(others)
    previous += [trace.name for trace in others[:ended]]
    if start < len(own) and own[start].is_first:
        previous += [
            trace.name
            for trace in others[ended:]
            if trace.at < own[start].at and trace.name not in names
        ]
    if not previous or names[0] in previous:
        return None
    return previous[-1]


def find_start(traces: Sequence[Trace]) -> int:
    """Return the index at which the traces of the current owner begin."""
    start = 0
    for number, trace in enumerate(traces):
        if trace.is_first:
            start = number
        elif trace.is_last:
            start = number + 1
    return start
