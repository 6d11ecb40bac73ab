"""The groups of organizations: their names, creation, renaming and permissions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, connections, models, transaction

from orgadmin.access.batches import split_into_batches
from orgadmin.access.roles import (
    FIRST_RANDOM_NUMBER,
    ROLES,
    Role,
    codename,
    group_base,
    group_name,
    is_generated,
)
from orgadmin.access.sql import Statement, execute_together

if TYPE_CHECKING:
    from orgadmin.models import Organization

CHUNK = 10_000  # names in one query, below SQLite's limit of 32,766 parameters
RENAME_ATTEMPTS = 100  # how often a rename is tried if others take the chosen names

# If all low numbers are taken, numbers are picked at random from these ranges. Two
# transactions then rarely pick the same name, so neither has to wait for the other.
RANDOM_NUMBERS = (range(10**5, 10**6), range(10**9, 10**10))


@dataclass(frozen=True)
class NameSeries:
    """The names that a group can get: "Acme Admin", "Acme 1 Admin", and so on."""

    base: str
    role: Role

    @classmethod
    def of(cls, organization_name: str, role: Role) -> NameSeries:
        return cls(group_base(organization_name), role)

    def name(self, number: int) -> str:
        return group_name(self.base, self.role, number)


@dataclass(frozen=True)
class StoredGroup:
    """The ID of a group, and its name as stored."""

    pk: int
    name: str


@dataclass(frozen=True)
class GroupSlot:
    """A role of an organization, together with the field for the ID of its group."""

    organization: Organization
    role: Role

    @property
    def is_empty(self) -> bool:
        return getattr(self.organization, self.role.attname) is None

    @property
    def series(self) -> NameSeries:
        return NameSeries.of(self.organization.name, self.role)

    def fill(self, group_pk: int | None) -> None:
        setattr(self.organization, self.role.attname, group_pk)


def get_owner_relation(role: Role) -> str:
    """Return the relation that leads from a role's group to its organization."""
    Organization = apps.get_model("orgadmin", "Organization")
    field = cast(models.OneToOneField, Organization._meta.get_field(role.key))
    return field.related_query_name()


def plan_group_names(
    organizations: Sequence[Organization], taken: set[str], *, using: str
) -> list[list[str]]:
    """Return the names that the groups of each new organization would get.

    `taken` are names that must not be used. The returned names are added to this set.
    """
    wanted = []
    for organization in organizations:
        wanted += [NameSeries.of(organization.name, role) for role in ROLES]
    names = find_free_names(wanted, using=using, taken=taken)
    size = len(ROLES)
    return [names[start : start + size] for start in range(0, len(names), size)]


def find_free_names(
    wanted: Sequence[NameSeries], *, using: str, taken: set[str] | None = None
) -> list[str]:
    """Return a free group name from each series, in the same order, without duplicates.

    `taken` are names that must not be used. All names that turn out to be taken, and
    the returned names, are added to this set. Tries up to 100 names in each series, and
    then random numbers. Looks names up with one query per CHUNK. Another transaction
    may take a name before it is used, so the caller must be prepared to call this
    again.
    """
    names: list[str | None] = [None] * len(wanted)
    if taken is None:
        taken = set()
    next_number: Counter[NameSeries] = Counter()
    # A single organization has one series per role.
    is_bulk = len(set(wanted)) > len(ROLES)
    while None in names:
        # How many names each series still needs.
        counts = Counter(series for series, name in zip(wanted, names) if name is None)
        candidates: dict[NameSeries, list[str]] = {}
        for series, count in counts.items():
            numbers = choose_numbers(next_number[series], count, is_bulk)
            next_number[series] = numbers[-1] + 1
            candidates[series] = [series.name(number) for number in numbers]
        taken |= find_taken_names(candidates.values(), taken, using)
        untried = {series: iter(listed) for series, listed in candidates.items()}
        for position, series in enumerate(wanted):
            if names[position] is None:
                names[position] = take_first_free(untried[series], taken)
    return [name for name in names if name is not None]


def choose_numbers(start: int, count: int, is_bulk: bool) -> Sequence[int]:
    """Return the numbers to try next, to find `count` free names.

    `start` is the number after the last one that was tried. From FIRST_RANDOM_NUMBER
    on, the numbers are random. When many organizations are created together, few of
    them share a name. The first attempt of a bulk creation therefore tries only twice
    as many numbers as are needed.
    """
    if start >= FIRST_RANDOM_NUMBER:
        numbers = []
        for random_numbers in RANDOM_NUMBERS:
            numbers += random.sample(random_numbers, 8 + 2 * count)
        return numbers
    if is_bulk and start == 0:
        return range(min(2 * count, FIRST_RANDOM_NUMBER))
    return range(start, FIRST_RANDOM_NUMBER)


def find_taken_names(
    candidates: Iterable[Iterable[str]], already_found: set[str], using: str
) -> set[str]:
    """Return the candidates that are names of existing groups.

    Leaves out the names in `already_found`, which the caller knows to be taken.
    """
    unknown = set().union(*candidates) - already_found
    taken: set[str] = set()
    for batch in split_into_batches(unknown, CHUNK):
        groups = Group.objects.using(using).filter(name__in=batch)
        taken.update(groups.values_list("name", flat=True))
    return taken


def take_first_free(candidates: Iterator[str], taken: set[str]) -> str | None:
    """Return the next candidate that is free, and add it to `taken`."""
    for name in candidates:
        if name not in taken:
            taken.add(name)
            return name
    return None


def create_groups(organizations: Sequence[Organization], *, using: str) -> None:
    """Create the groups of new organizations and set them on the instances.

    The caller must save the organizations in the same transaction. Existing groups are
    never reused, even if another transaction creates one at the same time. Transactions
    that create organizations with the same names in different orders can deadlock, as
    with any unique index.
    """
    missing = []
    for organization in organizations:
        missing += [GroupSlot(organization, role) for role in ROLES]
    # Most names without a number are free, so the first attempt does not look them up.
    names = [slot.series.name(0) for slot in missing]
    while missing:
        created = insert_groups(names, using)
        for slot, name in zip(missing, names):
            # If several slots want the same name, the first one gets the group.
            slot.fill(created.pop(name, None))
        missing = [slot for slot in missing if slot.is_empty]
        names = find_free_names([slot.series for slot in missing], using=using)
    for organization in organizations:
        organization.created_groups = organization.group_ids


def insert_groups(names: Sequence[str], using: str) -> dict[str, int]:
    """Create a group for each name that is still free, and return {name: group ID}.

    The statement is SQL because the ORM's `bulk_create(ignore_conflicts=True)` does not
    return IDs.
    """
    rows = ", ".join(["(%s)"] * len(names))
    statement = f"""
        INSERT INTO auth_group (name)
        VALUES {rows}
        ON CONFLICT DO NOTHING
        RETURNING name, id
    """
    with connections[using].cursor() as cursor:
        cursor.execute(statement, names)
        return dict(cursor.fetchall())


def rename_groups(
    organization: Organization,
    groups: Mapping[Role, StoredGroup],
    old_name: str,
    *,
    using: str,
) -> None:
    """Rename an organization's groups after its name was changed from `old_name`.

    Renames only groups that still have a generated name. Runs four or five queries, and
    more if other transactions take the new names. Runs none if the part of the name
    that is used in group names has not changed.
    """
    if group_base(old_name) == group_base(organization.name):
        return
    generated = {
        role: group.pk
        for role, group in groups.items()
        if is_generated(group.name, old_name, role, organization.pk)
    }
    if generated:
        give_generated_names(organization, generated, using=using)


def give_generated_names(
    organization: Organization, groups: Mapping[Role, int], *, using: str
) -> None:
    """Give some of the organization's groups a generated name.

    `groups` is {role: group ID}. Raises `IntegrityError` if other transactions take the
    chosen names RENAME_ATTEMPTS times in a row.
    """
    wanted = [NameSeries.of(organization.name, role) for role in groups]
    for attempt in range(1, RENAME_ATTEMPTS + 1):
        names = find_free_names(wanted, using=using)
        renamed = [Group(pk=pk, name=name) for pk, name in zip(groups.values(), names)]
        try:
            with transaction.atomic(using=using):
                Group.objects.using(using).bulk_update(renamed, ["name"])
            break
        except IntegrityError:
            # Another transaction took one of the names.
            if attempt == RENAME_ATTEMPTS:
                raise
    for role in groups:
        # The instance may have cached the group with the old name.
        organization._state.fields_cache.pop(role.key, None)


def grant_permissions(
    organizations: Collection[Organization],
    *,
    using: str,
    followed_by: Sequence[Statement] = (),
) -> None:
    """Grant the permissions of the role table to the groups of organizations.

    `followed_by` are statements that are executed afterwards; on PostgreSQL, in the
    same round trip. Raises `RuntimeError` if the permissions do not exist because
    migrations have not been run.
    """
    permission_ids = get_permission_ids(using)
    rows = []
    for organization in organizations:
        for role in ROLES:
            group_id = getattr(organization, role.attname)
            for permission in role.permissions:
                permission_id = permission_ids[codename(permission)]
                # Literals, because thousands of parameters would exceed SQLite's limit.
                pk = int(organization.pk)
                rows.append(f"({permission_id:d}, {group_id:d}, {pk:d})")
    values = ", ".join(rows)
    grant = Statement(f"""
        INSERT INTO orgadmin_organizationgroupobjectpermission
            (permission_id, group_id, content_object_id)
        VALUES {values}
    """)
    execute_together([grant, *followed_by], using=using)


def get_permission_ids(using: str) -> dict[str, int]:
    """Return {codename: permission ID} of the permissions on organizations.

    The IDs are cached on the ContentType instance. Django caches this instance, and
    discards it when it runs migrations. Raises `RuntimeError` if a permission of the
    role table is missing.
    """
    content_types = ContentType.objects.db_manager(using)
    content_type = content_types.get_by_natural_key("orgadmin", "organization")
    ids = getattr(content_type, "permission_ids", None)
    if ids is None:
        permissions = content_type.permission_set.using(using)
        ids = dict(permissions.values_list("codename", "pk"))
    required: set[str] = set()
    for role in ROLES:
        required.update(codename(permission) for permission in role.permissions)
    missing = required - ids.keys()
    if missing:
        raise RuntimeError(
            f"The permissions {sorted(missing)} do not exist. Run 'manage.py migrate',"
            " which creates them."
        )
    content_type.permission_ids = ids  # type: ignore[attr-defined]
    return ids
