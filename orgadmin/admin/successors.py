"""The part of a page that asks who takes over when someone leaves.

Pages that end someone's access show the organizations that would have no active admin,
and ask for each of them: either someone takes over, or the person ticks that it stays
without. What they choose is sent with the rest of the form, so it is one confirmation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from orgadmin.admin.departures import read_confirmed
from orgadmin.admin.quotes import quote
from orgadmin.models import Organization, User
from orgadmin.models.guards import find_orphaned_by
from orgadmin.models.validators import is_primary_key
from orgadmin.people.find_people import Naming, identify
from orgadmin.people.succession import SuccessionRefused

# The field of the successor for all organizations. That of one organization has its ID
# at the end, as in "successor-17".
FOR_ALL = "successor"

# The hidden field. Its value is "3 17": the IDs of the organizations on the page.
SHOWN = "successor_organizations"

# How many organizations have a field of their own. The others follow the field for all.
FIELDS_SHOWN = 100


class WrongSuccessor(SuccessionRefused):
    """Somebody was chosen who cannot take over."""

    def __init__(self, objection: str | Promise) -> None:
        super().__init__(objection)
        text = _("Nothing was changed. %s")
        self.explanation = text % objection


@dataclass
class SuccessorField:
    """A field in which a person is named. `organization` is None in that for all."""

    name: str
    organization: Organization | None = None
    value: str = ""
    error: str | Promise = ""


@dataclass
class Succession:
    """The organizations that nobody would be left to administer, and who takes over.

    `chosen` is {ID of an organization: successor}. `confirmed` are the IDs of those for
    which the person has ticked that they stay without an active admin.
    """

    organizations: Sequence[Organization]
    for_all: SuccessorField
    fields: list[SuccessorField] = field(default_factory=list)
    chosen: dict[int, User] = field(default_factory=dict)
    confirmed: set[int] = field(default_factory=set)
    error: str = ""

    @property
    def keys(self) -> str:
        """The IDs of the organizations, for hidden fields and the checkbox."""
        return " ".join(str(organization.pk) for organization in self.organizations)

    @property
    def is_ticked(self) -> bool:
        return bool(self.confirmed)

    @property
    def has_own_choices(self) -> bool:
        return any(field.value for field in self.fields)

    @property
    def has_errors(self) -> bool:
        fields = [self.for_all, *self.fields]
        return bool(self.error) or any(field.error for field in fields)

    @property
    def number_without_field(self) -> int:
        return len(self.organizations) - len(self.fields)


def read_succession(
    data: Mapping[str, Any],
    leaving: Collection[User],
    orphaned: Sequence[Organization] | None = None,
    *,
    is_sent: bool,
) -> Succession:
    """Return what a page shows about successors, and what was chosen on it.

    `data` is what was sent, or what is shown again, if there is any. `orphaned` are the
    organizations that would have no active admin; without it, those that nobody else
    administers. With `is_sent`, the form of the page was sent, and what is missing or
    wrong is an error.
    """
    if orphaned is None:
        orphaned = find_orphaned_by(leaving)
    succession = make_fields(orphaned, data)
    if not orphaned:
        return succession
    shown = {int(key) for key in data.get(SHOWN, "").split() if is_primary_key(key)}
    keys = {organization.pk for organization in orphaned}
    confirmed = read_confirmed(data)
    succession.confirmed = confirmed
    if not is_sent:
        return succession
    choose_successors(succession, leaving, shown)
    missing = keys - succession.chosen.keys() - confirmed
    if missing - shown and shown:
        succession.error = _(
            "Nothing was changed, because the admins of these organizations have"
            " changed in the meantime. Read the list again."
        )
    elif missing and not succession.has_errors:
        succession.error = _(
            "Choose who takes over each organization, or tick that it stays without an"
            " active admin."
        )
    return succession


def require_succession(
    data: Mapping[str, Any], leaving: Collection[User]
) -> Succession:
    """Return what was chosen on a page that has no place for errors.

    Raises `WrongSuccessor` if a field names nobody who can take over. What is missing,
    the guards find.
    """
    succession = read_succession(data, leaving, is_sent=True)
    for successor_field in [succession.for_all, *succession.fields]:
        if successor_field.error:
            raise WrongSuccessor(successor_field.error)
    return succession


def make_fields(
    orphaned: Sequence[Organization], data: Mapping[str, Any]
) -> Succession:
    for_all = SuccessorField(FOR_ALL, value=data.get(FOR_ALL, "").strip())
    succession = Succession(orphaned, for_all)
    if len(orphaned) > 1:
        for organization in orphaned[:FIELDS_SHOWN]:
            name = f"{FOR_ALL}-{organization.pk}"
            value = data.get(name, "").strip()
            succession.fields.append(SuccessorField(name, organization, value))
    return succession


def choose_successors(
    succession: Succession, leaving: Collection[User], shown: Collection[int]
) -> None:
    """Set `chosen`, or an error at each field that names nobody who can take over.

    The field for all is about the organizations that the page has shown.
    """
    fields = [succession.for_all, *succession.fields]
    meanings = identify([field.value for field in fields if field.value])
    for successor_field in fields:
        if successor_field.value:
            naming = meanings[successor_field.value]
            successor_field.error = find_objection(naming, leaving)
    if succession.for_all.value and not succession.for_all.error:
        user = meanings[succession.for_all.value].user
        for organization in succession.organizations:
            if user is not None and organization.pk in shown:
                succession.chosen[organization.pk] = user
    for successor_field in succession.fields:
        organization_of_field = successor_field.organization
        if organization_of_field is None or not successor_field.value:
            continue
        user = meanings[successor_field.value].user
        if user is not None and not successor_field.error:
            succession.chosen[organization_of_field.pk] = user


def find_objection(naming: Naming, leaving: Collection[User]) -> str:
    """Return why whoever is named cannot take over, or ""."""
    user = naming.user
    if user is None:
        return describe_naming(naming)
    if user in leaving:
        return _("%s is leaving. Choose someone else.") % quote(user.label)
    if not user.is_active:
        return _("The account of %s is inactive. Choose someone else.") % quote(
            user.label
        )
    return ""


def describe_naming(naming: Naming) -> str:
    """Return what is wrong with a name that does not mean exactly one person."""
    if not naming.candidates:
        return _("There is no account with the name or address %s.") % quote(
            naming.name
        )
    people = ", ".join(f"{user.label} (#{user.pk})" for user in naming.candidates)
    if len(naming.candidates) == 1:
        return _(
            "%(name)s may mean %(person)s, who has not confirmed this address. To"
            " choose them, enter #%(key)d."
        ) % {
            "name": quote(naming.name),
            "person": quote(naming.candidates[0].label),
            "key": naming.candidates[0].pk,
        }
    return _("%(name)s may mean %(people)s. Enter the number instead.") % {
        "name": quote(naming.name),
        "people": people,
    }
