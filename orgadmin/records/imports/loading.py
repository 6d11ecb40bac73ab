"""Loads the organizations and people that the rows of an import refer to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.access.roles import Role
from orgadmin.models import AuditEvent, Membership, Organization, User
from orgadmin.records.imports.cleaning import ImportRow

if TYPE_CHECKING:
    from django.db.models import QuerySet

# The maximum number of zeros that are added to a reference to find similar ones
MAX_ZEROS = 8


@dataclass(frozen=True)
class StoredObjects:
    """The stored organizations and users that a batch of rows refers to."""

    # The first four only contain organizations that the actor can change.
    by_pk: dict[int, Organization]
    by_reference: dict[str | None, Organization]
    # {normalized name: organizations}; empty unless names identify organizations
    by_name: dict[str, list[Organization]]
    # {line: organization that the person has chosen for the row}
    by_line: dict[int, Organization]
    # {reference: organization}, including organizations that the actor cannot change
    reference_owners: dict[str | None, Organization]
    # {number without leading zeros: references with the same number}
    almost_same_references: dict[str, list[str]]
    # {email address in its normal form: user}
    users: dict[str, User]
    # IDs of users whose address may belong to someone else
    pks_with_doubtful_address: set[int]
    # {(user ID, group ID): end of the membership}
    memberships: dict[tuple[int, int], datetime | None]


def find_users(rows: Iterable[ImportRow]) -> dict[str, User]:
    """Return {email address in its normal form: user} for people in the rows."""
    emails: set[str] = set()
    for row in rows:
        emails.update(person.email for person in row.people)
    return User.objects.find_by_emails(emails)


def find_almost_same(
    references: Iterable[str], organizations: QuerySet[Organization]
) -> dict[str, list[str]]:
    """Return {number without leading zeros: references of organizations}.

    Contains the references that are the same number as one of `references`. Runs a
    query if one of them is a number.
    """
    spellings: set[str] = set()
    for reference in references:
        if is_number(reference):
            digits = reference.lstrip("0")
            spellings.update("0" * zeros + digits for zeros in range(MAX_ZEROS + 1))
    if not spellings:
        return {}
    found = organizations.filter(reference__in=spellings).order_by("pk")
    almost_same: dict[str, list[str]] = defaultdict(list)
    for spelling in found.values_list("reference", flat=True):
        if spelling is not None:
            almost_same[spelling.lstrip("0")].append(spelling)
    return almost_same


def is_number(reference: str) -> bool:
    return reference.isascii() and reference.isdecimal()


def find_doubtful(users: Iterable[User]) -> set[int]:
    """Return the IDs of users whose address may belong to someone else.

    An address is doubtful if it has not been verified, and if it was set by a person
    who is not a superuser. Runs up to two queries.
    """
    pks = [user.pk for user in users if not user.has_verified_email]
    if not pks:
        return set()
    events = AuditEvent.objects.filter(
        user_key__in=pks,
        event__in=[SecurityEvent.USER_CREATED, SecurityEvent.EMAIL_CHANGED],
    )
    # {user ID: ID of the person who set the address last}
    actor_pks: dict[int | None, int | None] = {}
    for user_key, actor_key in events.order_by("pk").values_list(
        "user_key", "actor_key"
    ):
        actor_pks[user_key] = actor_key
    known = User.objects.filter(pk__in=set(actor_pks.values()) - {None})
    superuser_pks = set(known.filter(is_superuser=True).values_list("pk", flat=True))
    # Events without an actor come from commands, which are trusted.
    trusted = superuser_pks | {None}
    return {pk for pk in pks if actor_pks.get(pk) not in trusted}


def find_memberships(
    user_pks: Collection[int], organizations: Iterable[Organization]
) -> dict[tuple[int, int], datetime | None]:
    """Return {(user ID, group ID): end} of the users' memberships in organizations."""
    if not user_pks:
        return {}
    group_ids: list[int | None] = []
    for organization in organizations:
        group_ids += organization.group_ids
    memberships = Membership.objects.current().filter(
        user__in=user_pks, group__in=group_ids
    )
    rows = memberships.values_list("user", "group", "ends_at")
    return {(user_id, group_id): ends_at for user_id, group_id, ends_at in rows}


def is_known(
    user: User, role: Role, organization: Organization, stored: StoredObjects
) -> bool:
    """Return whether an email address in a file identifies this user.

    A doubtful address does not, because the role could go to the wrong person. But it
    does if the user already has the role, because then nothing changes.
    """
    if user.pk not in stored.pks_with_doubtful_address:
        return True
    membership = (user.pk, getattr(organization, role.attname))
    return membership in stored.memberships
