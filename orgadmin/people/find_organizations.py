"""Finds the organizations that a superuser has named in a form."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Q

from orgadmin.access.batches import split_into_batches
from orgadmin.access.roles import ROLES
from orgadmin.models import Organization, User
from orgadmin.models.look_alikes import make_key
from orgadmin.people.find_people import read_key

if TYPE_CHECKING:
    from django.db.models import QuerySet

# Names of organizations can contain commas.
SEPARATORS = re.compile(r"[\t\n\r]+")

BATCH = 1_000  # names in one query

# The fields of an organization that bulk changes load. The others may take megabytes.
COLUMNS = ("pk", "name", "reference", *[role.attname for role in ROLES])


@dataclass(frozen=True)
class OrganizationNaming:
    """A name that someone typed, and the organizations that it may mean.

    `organization` is set if the name means exactly one. `candidates` are all
    organizations that it may mean. If there are none, they are organizations whose
    names look like it.
    """

    name: str
    organization: Organization | None = None
    candidates: tuple[Organization, ...] = ()


def split_lines(text: str) -> list[str]:
    """Return the lines of a text, or the cells of a copied table, each once."""
    lines = [" ".join(line.split()) for line in SEPARATORS.split(text)]
    return list(dict.fromkeys(line for line in lines if line))


def identify_organizations(
    names: Collection[str], *, actor: User
) -> dict[str, OrganizationNaming]:
    """Return {name: OrganizationNaming} for references, names and IDs.

    An ID is written as "#17". "17" is also an ID, unless it is a reference or a name.
    Only finds organizations that the actor can view. Runs one query per BATCH names.
    """
    found = {}
    visible = Organization.objects.permitted(actor).order_by()
    for batch in split_into_batches(dict.fromkeys(names), BATCH):
        candidates = find_candidates(visible, batch)
        for name in batch:
            found[name] = choose_meaning(name, candidates)
    return found


class Candidates:
    """Organizations, indexed by ID, reference, name, and look-alike key."""

    def __init__(self, organizations: Iterable[Organization]) -> None:
        self.by_pk: dict[int, Organization] = {}
        self.by_reference: dict[str, Organization] = {}
        self.by_name: dict[str, list[Organization]] = defaultdict(list)
        self.by_look: dict[str, list[Organization]] = defaultdict(list)
        for organization in organizations:
            self.by_pk[organization.pk] = organization
            if organization.reference:
                self.by_reference[organization.reference] = organization
            self.by_name[fold(organization.name)].append(organization)
            self.by_look[make_key(organization.name)].append(organization)


def find_candidates(visible: QuerySet[Organization], names: list[str]) -> Candidates:
    """Load the organizations that the names may mean, or whose names look like them."""
    keys = [key for key in map(read_number, names) if key is not None]
    looks = {make_key(name) for name in names}
    found = visible.filter(
        Q(reference__in=names) | Q(name_key__in=looks) | Q(pk__in=keys)
    )
    return Candidates(found.only(*COLUMNS).order_by("pk"))


def choose_meaning(name: str, candidates: Candidates) -> OrganizationNaming:
    """Return the organization that a typed text identifies: a name, reference or ID.

    If the text does not identify exactly one, only `candidates` is set: to the
    organizations that it identifies, or if there are none, to organizations whose names
    look similar.
    """
    meanings = [*candidates.by_name.get(fold(name), [])]
    if name in candidates.by_reference:
        meanings.append(candidates.by_reference[name])
    key = read_key(name)
    if key in candidates.by_pk:
        meanings.append(candidates.by_pk[key])
    number = read_number(name)
    if not meanings and number in candidates.by_pk:
        meanings.append(candidates.by_pk[number])
    found = tuple(dict.fromkeys(meanings))
    if len(found) == 1:
        return OrganizationNaming(name, organization=found[0], candidates=found)
    if not found:
        found = tuple(candidates.by_look.get(make_key(name), []))
    return OrganizationNaming(name, candidates=found)


def read_number(name: str) -> int | None:
    """Return the ID in "#17" or "17", or None for other text."""
    return read_key(name if name.startswith("#") else f"#{name}")


def fold(name: str) -> str:
    """Remove differences in case and in the number of spaces."""
    return " ".join(name.split()).casefold()
