"""The part of a page that asks who takes over when someone leaves.

Pages that end someone's access show the organizations that would have no active admin.
For each of them, someone must take over, or the person must tick a checkbox to leave it
without an active admin. These choices are sent with the rest of the form.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _

from orgadmin.admin.last_admin import read_confirmed
from orgadmin.admin.quotes import quote
from orgadmin.models import Organization, User
from orgadmin.models.guards import find_orphaned_by
from orgadmin.models.validators import is_primary_key
from orgadmin.people.find_people import Naming, identify
from orgadmin.people.succession import SuccessionRefused

# The name of the field with the successor for all organizations. The field for a single
# organization ends with the organization's ID, as in "successor-17".
FIELD_FOR_ALL = "successor"

# The name of the hidden field with the IDs of the organizations on the page, such as
# "3 17".
FIELD_OF_SHOWN_IDS = "successor_organizations"

# The maximum number of organizations that have their own field. The field for all also
# applies to the others.
MAX_FIELDS = 100


class WrongSuccessor(SuccessionRefused):
    """The person who was chosen cannot take over."""

    def __init__(self, objection: str | Promise) -> None:
        super().__init__(objection)
        text = _("Nothing was changed. %s")
        self.explanation = text % objection


@dataclass
class SuccessorField:
    """A field in which a successor is named.

    `organization` is None for the field that applies to all organizations.
    """

    name: str
    organization: Organization | None = None
    value: str = ""
    error: str | Promise = ""


@dataclass
class SuccessorForm:
    """The organizations that would have no active admin, and who takes over each.

    `chosen` is {organization ID: successor}. `confirmed` contains the IDs of the
    organizations that the person decided to leave without an active admin.
    """

    organizations: Sequence[Organization]
    for_all: SuccessorField
    fields: list[SuccessorField] = field(default_factory=list)
    chosen: dict[int, User] = field(default_factory=dict)
    confirmed: set[int] = field(default_factory=set)
    error: str = ""

    @property
    def keys(self) -> str:
        """The IDs of the organizations, as the value of a form field."""
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


def read_successor_form(
    data: Mapping[str, Any],
    leaving: Collection[User],
    organizations: Sequence[Organization] | None = None,
    *,
    is_sent: bool,
) -> SuccessorForm:
    """Return the part of a page about successors, with what was chosen in it.

    `data` is the data of the form, which may be empty. `organizations` are the
    organizations that would have no active admin. By default, these are the
    organizations that only people in `leaving` administer. If `is_sent` is True, the
    person has sent the form, and missing or wrong input becomes an error.
    """
    if organizations is None:
        organizations = find_orphaned_by(leaving)
    successor_form = make_fields(organizations, data)
    if not organizations:
        return successor_form
    shown_keys = data.get(FIELD_OF_SHOWN_IDS, "").split()
    shown = {int(key) for key in shown_keys if is_primary_key(key)}
    keys = {organization.pk for organization in organizations}
    confirmed = read_confirmed(data)
    successor_form.confirmed = confirmed
    if not is_sent:
        return successor_form
    choose_successors(successor_form, leaving, shown)
    missing = keys - successor_form.chosen.keys() - confirmed
    if missing - shown and shown:
        successor_form.error = _(
            "Nothing was changed, because the admins of these organizations have"
            " changed in the meantime. Read the list again."
        )
    elif missing and not successor_form.has_errors:
        successor_form.error = _(
            "Choose who takes over each organization, or tick that it stays without an"
            " active admin."
        )
    return successor_form


def require_successor_form(
    data: Mapping[str, Any], leaving: Collection[User]
) -> SuccessorForm:
    """Read the choices, for a page that cannot show errors next to its fields.

    Raises `WrongSuccessor` if someone who was named cannot take over. If a choice is
    missing, the guards refuse the change later.
    """
    successor_form = read_successor_form(data, leaving, is_sent=True)
    for successor_field in [successor_form.for_all, *successor_form.fields]:
        if successor_field.error:
            raise WrongSuccessor(successor_field.error)
    return successor_form


def make_fields(
    organizations: Sequence[Organization], data: Mapping[str, Any]
) -> SuccessorForm:
    """Return the fields, with what was entered in them.

    If there is only one organization, there is only the field for all.
    """
    for_all = SuccessorField(FIELD_FOR_ALL, value=data.get(FIELD_FOR_ALL, "").strip())
    successor_form = SuccessorForm(organizations, for_all)
    if len(organizations) > 1:
        for organization in organizations[:MAX_FIELDS]:
            name = f"{FIELD_FOR_ALL}-{organization.pk}"
            value = data.get(name, "").strip()
            successor_form.fields.append(SuccessorField(name, organization, value))
    return successor_form


def choose_successors(
    successor_form: SuccessorForm, leaving: Collection[User], shown: Collection[int]
) -> None:
    """Set `chosen`, and add an error to each field whose person cannot take over.

    The field for all applies only to the organizations in `shown`, because the person
    has not seen the others on the page.
    """
    fields = [successor_form.for_all, *successor_form.fields]
    meanings = identify([field.value for field in fields if field.value])
    for successor_field in fields:
        if successor_field.value:
            naming = meanings[successor_field.value]
            successor_field.error = find_objection(naming, leaving)
    if successor_form.for_all.value and not successor_form.for_all.error:
        user = meanings[successor_form.for_all.value].user
        for organization in successor_form.organizations:
            if user is not None and organization.pk in shown:
                successor_form.chosen[organization.pk] = user
    for successor_field in successor_form.fields:
        organization_of_field = successor_field.organization
        if organization_of_field is None or not successor_field.value:
            continue
        user = meanings[successor_field.value].user
        if user is not None and not successor_field.error:
            successor_form.chosen[organization_of_field.pk] = user


def find_objection(naming: Naming, leaving: Collection[User]) -> str:
    """Return why the person who was named cannot take over, or ""."""
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
    """Return the error about a name that does not identify exactly one person."""
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
