"""Determines what importing the rows of a file will change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from orgadmin.access.roles import CONFIDENTIAL_FIELDS, Role
from orgadmin.access.rule import is_active_superuser
from orgadmin.models import Organization, User
from orgadmin.models.fields import normalize
from orgadmin.models.look_alikes import make_key
from orgadmin.people.changes import MembershipEnd
from orgadmin.people.ends import has_same_day
from orgadmin.records.columns import ROLE_COLUMNS
from orgadmin.records.imports.cleaning import (
    ImportRow,
    InvalidCell,
    NamedPerson,
    clean_value,
    describe_blank_name,
)
from orgadmin.records.imports.header import Header
from orgadmin.records.imports.loading import (
    StoredObjects,
    find_almost_same,
    find_doubtful,
    find_memberships,
    find_users,
    is_known,
    is_number,
)
from orgadmin.records.imports.problems import ImportProblem, RowRefused
from orgadmin.records.imports.row_warnings import (
    find_almost_same_reference,
    find_cell_warnings,
    find_lost_roles,
)
from orgadmin.records.imports.suspicions import ImportWarning


@dataclass(frozen=True)
class PlannedPerson:
    """A person who should get a role, or be invited to it.

    A person is invited if they have no account, or if the account with this address may
    not be theirs. Accepting the invitation verifies the address.
    """

    role: Role
    email: str
    user: User | None  # None if the person will be invited
    # The new end of the membership. None keeps the current end.
    end: MembershipEnd | None = None


@dataclass(frozen=True)
class PlannedRow:
    """What importing a row will change.

    `organization` already has the new values, but has not been saved.
    """

    line: int
    organization: Organization
    is_new: bool
    old_values: dict[str, Any]  # {field that will change: current value}
    people: list[PlannedPerson]
    warnings: list[ImportWarning]  # about what will change

    @property
    def cleared(self) -> list[str]:
        """The fields that will be cleared."""
        fields = []
        for name, old_value in self.old_values.items():
            if old_value and not getattr(self.organization, name):
                fields.append(name)
        return fields


class RowPlanner:
    """Plans the rows of a file, batch by batch, and refuses what the actor cannot do.

    If a row has the ID of an organization that the actor cannot change, the error
    message is the same as if the organization did not exist.
    """

    def __init__(
        self,
        header: Header,
        *,
        actor: User | None,
        invites_unknown: bool,
        matches_names: bool = False,
        targets: Mapping[str, int] | None = None,
    ) -> None:
        self.header = header
        self.actor = actor
        self.invites_unknown = invites_unknown
        self.matches_names = matches_names
        self.targets = targets or {}
        # A command without an actor has the permissions of a superuser.
        asker = User(is_superuser=True) if actor is None else actor
        self.is_superuser = is_active_superuser(asker)
        self.permissions = Organization.objects.permissions_everywhere(asker)
        self.changeable = Organization.objects.permitted(asker, "change")
        self.viewable = Organization.objects.permitted(asker, "view")
        # {ID of an existing organization: line that changes it}
        self.lines_by_pk: dict[int, int] = {}
        # References that earlier rows replace with others. Later rows cannot use them.
        self.replaced_references: set[str] = set()
        # IDs of the organizations that earlier batches have created
        self.created_pks: set[int] = set()
        # {number without leading zeros: reference} of organizations that earlier
        # batches of a dry run would create
        self.planned_references: dict[str, str] = {}

    def load(self, rows: Sequence[ImportRow]) -> StoredObjects:
        """Load the organizations and users that rows refer to.

        Runs up to 10 queries.
        """
        pks = {row.pk for row in rows if row.pk is not None}
        references = [row.reference for row in rows if row.reference is not None]
        # A file cannot know the ID of an organization that this import creates. If a
        # row has such an ID, it means another organization.
        by_pk = self.changeable.filter(pk__in=pks - self.created_pks)
        by_reference = self.changeable.filter(reference__in=references)
        by_name = self._load_by_name(rows)
        by_line = self._load_targets(rows)
        # Archived organizations are included, because references are unique among all
        # organizations.
        owners = Organization.objects.filter(reference__in=references)
        users = find_users(rows)
        organizations = [*by_pk, *by_reference, *by_line.values()]
        for namesakes in by_name.values():
            organizations += namesakes
        user_pks = {user.pk for user in users.values()}
        return StoredObjects(
            by_pk={row.pk: row for row in by_pk},
            by_reference={row.reference: row for row in by_reference},
            by_name=by_name,
            by_line=by_line,
            reference_owners={
                owner.reference: owner
                for owner in owners.only("reference", "archived_at")
            },
            almost_same_references=self._find_almost_same(references),
            users=users,
            pks_with_doubtful_address=find_doubtful(users.values()),
            memberships=find_memberships(user_pks, organizations),
        )

    def _find_almost_same(self, references: Sequence[str]) -> dict[str, list[str]]:
        almost_same = find_almost_same(references, self.viewable)
        for reference in references:
            digits = reference.lstrip("0")
            planned = self.planned_references.get(digits)
            if planned is not None:
                almost_same.setdefault(digits, []).append(planned)
        return almost_same

    def _load_targets(self, rows: Iterable[ImportRow]) -> dict[int, Organization]:
        """Return {line: organization that the person has chosen for the row}."""
        pks = {}
        for row in rows:
            pk = self.targets.get(str(row.line))
            if pk is not None:
                pks[row.line] = pk
        found = self.changeable.in_bulk(set(pks.values())) if pks else {}
        return {line: found[pk] for line, pk in pks.items() if pk in found}

    def _load_by_name(self, rows: Iterable[ImportRow]) -> dict[str, list[Organization]]:
        """Return {normalized name: organizations} for rows without a key."""
        if not self.matches_names:
            return {}
        keys = set()
        for row in rows:
            if not row.has_key:
                keys.add(make_key(row.values.get("name", "")))
        found = self.changeable.filter(name_key__in=keys).order_by("pk")
        by_name: dict[str, list[Organization]] = defaultdict(list)
        for organization in found:
            # Different names can have the same key, if they look alike or are long.
            by_name[normalize(organization.name)].append(organization)
        return by_name

    def plan(self, row: ImportRow, stored: StoredObjects) -> PlannedRow:
        """Determine what importing this row will change.

        Raises `RowRefused` if the row cannot be imported, for example because an
        earlier row changes the same organization.
        """
        organization = self._find_organization(row, stored)
        is_new = organization is None
        if organization is None:
            self._check_may_create(row)
            self._check_has_name(row)
            organization = Organization()
        values = dict(row.values)
        if organization.pk and self._is_matched_without_key(row, organization, stored):
            # A different spelling of the name must not rename the organization.
            values.pop("name", None)
        old_values = find_old_values(organization, values)
        self._check_may_write(row, old_values)
        people = self._plan_people(row, organization, stored)
        self._check_reference_is_free(row, organization, stored)
        old_reference = old_values.get("reference")
        if old_reference is not None:
            self.replaced_references.add(old_reference)
        warnings = find_cell_warnings(self.header, row, is_new, old_values)
        if is_new:
            warnings += find_almost_same_reference(self.header, row, stored)
        else:
            warnings += find_lost_roles(self.header, row, organization, people, stored)
        self._set_values(organization, values)
        return PlannedRow(
            line=row.line,
            organization=organization,
            is_new=is_new,
            old_values=old_values,
            people=people,
            warnings=warnings,
        )

    def _is_matched_without_key(
        self, row: ImportRow, organization: Organization, stored: StoredObjects
    ) -> bool:
        """Return whether the organization was found by its name or chosen by hand."""
        if self.matches_names and not row.has_key:
            return True
        return stored.by_line.get(row.line) is organization

    def _check_has_name(self, row: ImportRow) -> None:
        """Raise `RowRefused` if a row that creates an organization has no name."""
        if not row.values.get("name"):
            raise RowRefused(describe_blank_name(self.header, row.line))

    def _set_values(self, organization: Organization, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(organization, name, value)
        # django-simple-history uses this user as the author of the change.
        organization._history_user = self.actor  # type: ignore[attr-defined]

    def remember_created(self, organizations: Iterable[Organization]) -> None:
        """Record organizations that this import has created.

        Later rows cannot match them. In a dry run, they may have no ID. Then references
        that are numbers are recorded, because later rows must not have the same number
        with other zeros at the beginning.
        """
        for organization in organizations:
            if organization.pk is not None:
                self.created_pks.add(organization.pk)
            elif organization.reference and is_number(organization.reference):
                digits = organization.reference.lstrip("0")
                self.planned_references.setdefault(digits, organization.reference)

    def _find_organization(
        self, row: ImportRow, stored: StoredObjects
    ) -> Organization | None:
        """Return the organization that the row changes, or None if it creates one.

        Searches by ID if the row has one, otherwise by reference, and otherwise by name
        if names identify organizations. If nothing is found, this is the organization
        that the person has chosen for the row.

        Raises `RowRefused` if there is no organization with the ID, if several have the
        name, or if an earlier row changes the same organization.
        """
        organization = None
        if row.pk is not None:
            organization = stored.by_pk.get(row.pk)
            if organization is None:
                message = _(
                    "There is no such organization, or you cannot edit it. Leave the"
                    " ID empty to create one."
                )
                title = self.header.find_title("id")
                problem = ImportProblem(message, row.line, title, str(row.pk))
                raise RowRefused(problem)
        elif row.reference is not None:
            organization = stored.by_reference.get(row.reference)
        elif self.matches_names:
            organization = self._find_by_name(row, stored)
        if organization is None:
            organization = stored.by_line.get(row.line)
        if organization is not None:
            self._check_matched_once(row, organization)
        return organization

    def _find_by_name(
        self, row: ImportRow, stored: StoredObjects
    ) -> Organization | None:
        """Return the organization with the name in a row, or None if there is none.

        Raises `RowRefused` if several organizations have the name.
        """
        name = row.values.get("name", "")
        found = []
        for organization in stored.by_name.get(normalize(name), []):
            if organization.pk not in self.created_pks:
                found.append(organization)
        if len(found) > 1:
            message = _(
                "%d organizations have this name. Add a column with the reference, or"
                " the “id” and “id_key” of an export."
            )
            title = self.header.find_title("name")
            raise RowRefused(ImportProblem(message % len(found), row.line, title, name))
        return next(iter(found), None)

    def _check_matched_once(self, row: ImportRow, organization: Organization) -> None:
        """Raise `RowRefused` if an earlier row changes the same organization."""
        first_line = self.lines_by_pk.setdefault(organization.pk, row.line)
        if first_line != row.line:
            message = _(
                "Line %(line)d already changes this organization (ID %(id)d). Keep only"
                " one of the two lines."
            ) % {"line": first_line, "id": organization.pk}
            raise RowRefused(ImportProblem(message, row.line))

    def _check_may_create(self, row: ImportRow) -> None:
        """Raise `RowRefused` if the actor may not create organizations."""
        if "add" not in self.permissions:
            message = _("You cannot create organizations. Ask platform staff to do it.")
            raise RowRefused(ImportProblem(message, row.line))

    def _check_may_write(self, row: ImportRow, old_values: dict[str, Any]) -> None:
        """Raise `RowRefused` for columns that only superusers can import.

        Confidential fields and people are refused even if nothing would change.
        Otherwise, the result of an import would reveal confidential values, and which
        people have accounts. References are allowed if they do not change, because they
        identify organizations.
        """
        if self.is_superuser:
            return
        restricted = [
            field
            for field in (*CONFIDENTIAL_FIELDS, *ROLE_COLUMNS)
            if field in self.header.fields
        ]
        if "reference" in old_values:
            restricted.append("reference")
        problems = []
        for field in restricted:
            message = _("You cannot edit this field. Remove the column.")
            title = self.header.find_title(field)
            problems.append(ImportProblem(message, row.line, title))
        if problems:
            raise RowRefused(*problems)

    def _plan_people(
        self, row: ImportRow, organization: Organization, stored: StoredObjects
    ) -> list[PlannedPerson]:
        """Return the people of a row, with the users of people who get their role now.

        All other people are invited. Raises `RowRefused` if they cannot be invited.
        """
        people = []
        for person in row.people:
            user = stored.users.get(person.email)
            message = explain_nobody()
            if user is not None and not is_known(
                user, person.role, organization, stored
            ):
                user = None
                message = explain_unconfirmed()
            if user is None and not self.invites_unknown:
                title = self.header.find_title(person.column)
                problem = ImportProblem(message, row.line, title, person.email)
                raise RowRefused(problem)
            end = find_new_end(person, user, organization, stored)
            is_doubtful = user and user.pk in stored.pks_with_doubtful_address
            if end is not None and is_doubtful:
                message = explain_unconfirmed_end()
                title = self.header.find_title(person.column)
                problem = ImportProblem(message, row.line, title, person.email)
                raise RowRefused(problem)
            people.append(PlannedPerson(person.role, person.email, user, end))
        return people

    def _check_reference_is_free(
        self, row: ImportRow, organization: Organization, stored: StoredObjects
    ) -> None:
        """Raise `RowRefused` if the reference belongs to another organization.

        Also raises it if an earlier row replaces that reference. The reference would
        only be free if that row was in an earlier batch, and people cannot know where
        batches end.
        """
        if row.reference is None:
            return
        owner = stored.reference_owners.get(row.reference)
        is_taken = owner is not None and owner.pk != organization.pk
        if row.reference in self.replaced_references or is_taken:
            message = _("Another organization has this reference. Choose another one.")
            if owner is not None and owner.archived_at is not None:
                message = _(
                    "An archived organization has this reference: ID %(id)d. Restore"
                    " it, or change this one by hand: its form asks whether to take"
                    " over the reference."
                ) % {"id": owner.pk}
            title = self.header.find_title("reference")
            raise RowRefused(ImportProblem(message, row.line, title, row.reference))


def explain_nobody() -> str:
    return _(
        "Nobody has this email address. Add the person first, or choose “Send emails”"
        " to invite them."
    )


def explain_unconfirmed() -> str:
    return _(
        "The person with this email address has not confirmed it. Add the person on the"
        " People page, or choose “Send emails” to invite them."
    )


def explain_unconfirmed_end() -> str:
    return _(
        "The person with this email address has not confirmed it. Change the last day"
        " on the People page."
    )


def find_new_end(
    person: NamedPerson,
    user: User | None,
    organization: Organization,
    stored: StoredObjects,
) -> MembershipEnd | None:
    """Return the new end of a membership, or None if the end does not change.

    A membership can end at any time of its last day. A file contains only days, so the
    same day is not a change.
    """
    if person.ends_at is None:
        return None
    if user is not None:
        group_id = getattr(organization, person.role.attname)
        current_end = stored.memberships.get((user.pk, group_id))
        if has_same_day(current_end, person.ends_at):
            return None
    return MembershipEnd(person.ends_at)


def find_old_values(
    organization: Organization, values: dict[str, Any]
) -> dict[str, Any]:
    """Return {field: current value} for the fields whose new value differs.

    If cleaning the current value results in the new value, this is not a change.
    Otherwise, importing an exported file again would change values that were stored
    before the current rules for text.
    """
    old_values = {}
    for name, value in values.items():
        current = getattr(organization, name)
        if current != value and clean_stored(name, current) != value:
            old_values[name] = current
    return old_values


def clean_stored(name: str, value: Any) -> Any:
    """Return the stored value of a field as cleaned by an import."""
    try:
        return clean_value(name, value or "")
    except InvalidCell:
        return value
