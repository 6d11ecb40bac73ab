"""Exporting people and their roles, in the format that an import of people reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orgadmin.people.ends import find_last_day
from orgadmin.people.held_roles import Holding, list_all_roles
from orgadmin.records.batches import read_by_size
from orgadmin.records.id_keys import make_id_key
from orgadmin.records.imports.people_columns import EXPORT_COLUMNS

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from orgadmin.models import User

# The fields of a person that determine the size of a batch
TEXTS = ("email", "first_name", "last_name")


def list_people(people: QuerySet[User]) -> Iterator[Sequence[object]]:
    """Yield a header, and a row for each role of each person.

    A person without a role has one row, in which the columns about the role are empty.
    People without an email address are left out, because nothing identifies them in a
    file. Roles in archived organizations are left out, too.

    The rows are for superusers only. Runs one query for all keys, and at least four per
    batch.
    """
    yield EXPORT_COLUMNS
    for batch in read_by_size(people.exclude(email=""), TEXTS):
        holdings: dict[int, list[Holding]] = defaultdict(list)
        for holding in list_all_roles(batch):
            if holding.organization.archived_at is None:
                holdings[holding.user.pk].append(holding)
        for user in batch:
            person = [user.email, user.first_name, user.last_name]
            if not holdings[user.pk]:
                yield [*person, *[None] * (len(EXPORT_COLUMNS) - len(person))]
            for holding in holdings[user.pk]:
                yield [*person, *list_role(holding)]


def list_role(holding: Holding) -> list[object]:
    """Return the cells about a role.

    These are the organization, the role, and the last day of the membership.
    """
    organization = holding.organization
    held_role = holding.held
    ends_at = held_role.ends_at
    return [
        organization.pk,
        make_id_key(organization.pk),
        organization.reference,
        organization.name,
        held_role.role.key,
        find_last_day(ends_at) if ends_at is not None else None,
    ]
