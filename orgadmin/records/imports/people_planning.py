"""Determines which roles the rows of a file of people will give."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.translation import gettext as _, gettext_lazy

from orgadmin.access.roles import Role
from orgadmin.models import Invitation, Organization, User
from orgadmin.models.addresses import fold_email
from orgadmin.models.fields import normalize
from orgadmin.models.look_alikes import make_key
from orgadmin.people.changes import MembershipEnd
from orgadmin.people.ends import has_same_day
from orgadmin.people.held_roles import HeldRole, find_current_roles
from orgadmin.people.invitations import is_offered
from orgadmin.records.imports.header import Header
from orgadmin.records.imports.loading import find_almost_same, find_doubtful
from orgadmin.records.imports.people_cleaning import (
    OrganizationKey,
    PersonNames,
    PersonRow,
)
from orgadmin.records.imports.planning import (
    explain_nobody,
    explain_unconfirmed,
    explain_unconfirmed_end,
)
from orgadmin.records.imports.problems import ImportProblem, RowRefused, printable
from orgadmin.records.imports.row_warnings import describe_lost
from orgadmin.records.imports.suspicions import (
    LOSES_ROLE,
    ImportWarning,
    Suspicion,
)

OTHER_NAME = Suspicion(
    gettext_lazy("other name"),
    gettext_lazy("The import does not change the name of the account."),
    needs_consent=False,
)
OTHER_ORGANIZATION = Suspicion(
    gettext_lazy("other organization"),
    gettext_lazy(
        "The organization with this key has another name. Make sure that this line"
        " is about that organization."
    ),
)


@dataclass(frozen=True)
class PlannedPersonRow:
    """The role that a row gives to a person, or to which it invites them."""

    line: int
    email: str
    user: User | None  # None if the person is invited
    organization: Organization | None = None  # None: the row does not give a role
    role: Role | None = None
    end: MembershipEnd | None = None
    before: HeldRole | None = None  # the role that the person has now
    # Whether the row changes something: the person does not have the role yet, and has
    # not been invited to it
    changes_something: bool = False
    warnings: list[ImportWarning] = field(default_factory=list)
    # An import of people never clears values.
    cleared: Sequence[str] = ()


@dataclass(frozen=True)
class StoredPeople:
    """The stored people and organizations that a batch of rows refers to."""

    by_pk: dict[int, Organization]
    by_reference: dict[str | None, Organization]
    by_name: dict[str, list[Organization]]  # {normalized name: organizations}
    # {number without leading zeros: references with the same number}
    almost_same_references: dict[str, list[str]]
    users: dict[str, User]  # {email address in its normal form: user}
    # IDs of users whose address may belong to someone else
    pks_with_doubtful_address: set[int]
    roles: dict[tuple[int, int], HeldRole]  # {(user ID, organization ID): role}
    # {(organization ID, email address): invitation}
    invitations: dict[tuple[int, str], Invitation]


class PersonPlanner:
    """Plans the rows of a file, batch by batch.

    Does not check permissions, because only superusers can import people.
    """

    def __init__(
        self, header: Header, *, invites_unknown: bool, matches_names: bool
    ) -> None:
        self.header = header
        self.invites_unknown = invites_unknown
        self.matches_names = matches_names
        # {(organization ID, email address): (line, role, end) of the first row}
        self.first_rows: dict[tuple[int, str], tuple[int, str, str]] = {}

    def load(self, rows: Sequence[PersonRow]) -> StoredPeople:
        """Load the objects that rows refer to. Runs up to 9 queries."""
        keys = [row.key for row in rows]
        pks = {key.pk for key in keys if key.pk is not None}
        references = set()
        for key in keys:
            # If a row has both an ID and a reference, the ID is used.
            if key.pk is None and key.reference is not None:
                references.add(key.reference)
        # Archived organizations are included, so that a message can explain why they
        # are refused.
        by_pk = Organization.objects.in_bulk(pks)
        found = list(Organization.objects.filter(reference__in=references))
        by_reference = {row.reference: row for row in found}
        missing = references - by_reference.keys()
        by_name = self._load_by_name(keys)
        organizations = {row.pk: row for row in [*by_pk.values(), *found]}
        for namesakes in by_name.values():
            organizations.update({row.pk: row for row in namesakes})
        users = User.objects.find_by_emails({row.email for row in rows})
        return StoredPeople(
            by_pk=by_pk,
            by_reference=by_reference,
            by_name=by_name,
            almost_same_references=find_almost_same(
                missing, Organization.objects.unarchived()
            ),
            users=users,
            pks_with_doubtful_address=find_doubtful(users.values()),
            roles=find_current_roles(users.values(), list(organizations.values())),
            invitations=find_invitations(organizations, {row.email for row in rows}),
        )

    def _load_by_name(
        self, keys: Iterable[OrganizationKey]
    ) -> dict[str, list[Organization]]:
        """Return {normalized name: organizations} for rows that only have a name."""
        if not self.matches_names:
            return {}
        name_keys = {make_key(key.name) for key in keys if has_only_name(key)}
        unarchived = Organization.objects.unarchived()
        by_name: dict[str, list[Organization]] = defaultdict(list)
        for row in unarchived.filter(name_key__in=name_keys).order_by("pk"):
            # Different names can have the same key, if they look alike or are long.
            by_name[normalize(row.name)].append(row)
        return by_name

    def plan(self, row: PersonRow, stored: StoredPeople) -> PlannedPersonRow:
        """Determine what a row does.

        Raises `RowRefused` if the row cannot be imported, for example because it
        contradicts an earlier row.
        """
        user = stored.users.get(row.email)
        if row.role is None:
            if user is None:
                message = _("Nobody has this email address, and the row has no role.")
                raise self._refuse(row, message, "email", row.email)
            return PlannedPersonRow(row.line, row.email, user)
        organization = self._find_organization(row, stored)
        warnings = self._warn_about_organization(row, organization)
        if user is not None:
            warnings += self._warn_about_name(row, user)
        is_repeated = self._is_repeated(row, organization)
        before = None
        if user is not None:
            before = stored.roles.get((user.pk, organization.pk))
        changes_something = not is_repeated and not has_role_already(row, before)
        if user is not None and changes_something:
            user = self._choose_user_to_change(row, user, before, stored)
        if user is None:
            self._check_may_invite(row)
            invitation = stored.invitations.get((organization.pk, row.email))
            is_invited = row.role is not None and is_offered(
                invitation, row.role, row.end
            )
            changes_something = not is_repeated and not is_invited
        elif changes_something and before is not None:
            warnings += self._warn_about_lost_permissions(row, row.role, before)
        return PlannedPersonRow(
            line=row.line,
            email=row.email,
            user=user,
            organization=organization,
            role=row.role,
            end=row.end,
            before=before,
            changes_something=changes_something,
            warnings=warnings,
        )

    def _find_organization(self, row: PersonRow, stored: StoredPeople) -> Organization:
        """Return the organization of a row.

        Raises `RowRefused` if the organization does not exist, is archived, or cannot
        be identified.
        """
        key = row.key
        if key.pk is not None:
            column, value = "id", str(key.pk)
            found = stored.by_pk.get(key.pk)
        elif key.reference is not None:
            column, value = "reference", key.reference
            found = stored.by_reference.get(key.reference)
        elif key.name:
            return self._find_by_name(row, stored)
        else:
            raise self._refuse(
                row, _("Enter the reference of the organization."), self._key_column()
            )
        if found is None:
            raise self._refuse(row, explain_missing(key, stored), column, value)
        if found.archived_at is not None:
            message = _("This organization is archived: ID %d. Restore it first.")
            raise self._refuse(row, message % found.pk, column, value)
        return found

    def _find_by_name(self, row: PersonRow, stored: StoredPeople) -> Organization:
        """Return the only organization with the name in a row. Raises `RowRefused`."""
        name = row.key.name
        found = stored.by_name.get(normalize(name), [])
        if not self.matches_names:
            message = _(
                "The row has no reference. Add the reference of the organization, or"
                " let the import match organizations by name."
            )
        elif not found:
            message = _("There is no organization with this name.")
        elif len(found) > 1:
            message = _(
                "%d organizations have this name. Add a column with the reference."
            ) % len(found)
        else:
            return found[0]
        raise self._refuse(row, message, "organization", name)

    def _key_column(self) -> str:
        """Return the column that identifies the organization in this file."""
        columns = ("reference", "id", "organization")
        return next(name for name in columns if name in self.header.positions)

    def _is_repeated(self, row: PersonRow, organization: Organization) -> bool:
        """Return whether an earlier row gives the person the same role there.

        Raises `RowRefused` if an earlier row gives them another role or last day.
        """
        assert row.role is not None
        said = (row.line, row.role.key, repr(row.end))
        first = self.first_rows.setdefault((organization.pk, row.email), said)
        if first[1:] != said[1:]:
            message = _(
                "Line %d gives this person another role or last day in the same"
                " organization. Keep only one of the two lines."
            )
            raise self._refuse(row, message % first[0], "email", row.email)
        return first[0] != row.line

    def _choose_user_to_change(
        self,
        row: PersonRow,
        user: User,
        before: HeldRole | None,
        stored: StoredPeople,
    ) -> User | None:
        """Return the user who gets a role, or None if the person must be invited.

        Raises `RowRefused` if the person cannot get the role.
        """
        if not user.is_active:
            message = _("The account of this person is deactivated. Activate it first.")
            raise self._refuse(row, message, "email", row.email)
        if user.pk not in stored.pks_with_doubtful_address:
            return user
        if before is not None and before.role is row.role:
            raise self._refuse(row, explain_unconfirmed_end(), "email", row.email)
        if not self.invites_unknown:
            raise self._refuse(row, explain_unconfirmed(), "email", row.email)
        return None

    def _check_may_invite(self, row: PersonRow) -> None:
        """Raise `RowRefused` if the import does not invite people."""
        if not self.invites_unknown:
            raise self._refuse(row, explain_nobody(), "email", row.email)

    def _warn_about_name(self, row: PersonRow, user: User) -> list[ImportWarning]:
        """Return a warning if the name in the file differs from the account."""
        if is_name_of(row.names, user):
            return []
        columns = ("full_name", "first_name", "last_name")
        column = next(name for name in columns if name in self.header.positions)
        detail = _("It is “%s”.") % printable(user.get_full_name())
        if not user.get_full_name():
            detail = _("The account has no name.")
        title = self.header.find_title(column)
        value = str(row.names)
        warning = ImportWarning(OTHER_NAME, row.line, title, value, detail=detail)
        return [warning]

    def _warn_about_organization(
        self, row: PersonRow, organization: Organization
    ) -> list[ImportWarning]:
        """Return a warning if the organization with the row's key has another name."""
        name = row.key.name
        if not name or is_same_text(name, organization.name):
            return []
        title = self.header.find_title("organization")
        detail = _("It is “%s”.") % printable(organization.name)
        return [ImportWarning(OTHER_ORGANIZATION, row.line, title, name, detail=detail)]

    def _warn_about_lost_permissions(
        self, row: PersonRow, role: Role, before: HeldRole
    ) -> list[ImportWarning]:
        """Return a warning if the new role lacks a permission of the current role."""
        kept = role.permissions
        lost = [name for name in before.role.permissions if name not in kept]
        if not lost:
            return []
        title = self.header.find_title("role")
        detail = describe_lost(before.role, lost)
        return [ImportWarning(LOSES_ROLE, row.line, title, row.email, detail=detail)]

    def _refuse(
        self, row: PersonRow, message: str, column: str, value: str = ""
    ) -> RowRefused:
        """Return the exception that refuses a row because of a column."""
        title = self.header.find_title(column)
        return RowRefused(ImportProblem(message, row.line, title, value))


def has_only_name(key: OrganizationKey) -> bool:
    return key.pk is None and key.reference is None and bool(key.name)


def has_role_already(row: PersonRow, held: HeldRole | None) -> bool:
    """Return whether a person already has the role in a row, until the same day."""
    if held is None or held.role is not row.role:
        return False
    return row.end is None or has_same_day(held.ends_at, row.end.at)


def is_name_of(names: PersonNames, user: User) -> bool:
    """Return whether the parts of a name in a row are the same as in the account."""
    pairs = [
        (names.first, user.first_name),
        (names.last, user.last_name),
        (names.full, user.get_full_name()),
    ]
    return all(not name or is_same_text(name, own) for name, own in pairs)


def is_same_text(first: str, second: str) -> bool:
    """Return whether two texts are the same, ignoring case, accents and spaces."""
    if first == second:
        return True
    return normalize(first).split() == normalize(second).split()


def explain_missing(key: OrganizationKey, stored: StoredPeople) -> str:
    """Return the message if no organization has the key in a row."""
    if key.pk is not None:
        return _("This organization no longer exists.")
    almost_same = stored.almost_same_references.get((key.reference or "").lstrip("0"))
    if not almost_same:
        return _("No organization has this reference.")
    if len(almost_same) > 1:
        message = _(
            "No organization has this reference. Several have almost the same one: %s."
        )
        return message % ", ".join(printable(text) for text in almost_same)
    message = _("No organization has this reference, but one has “%s”.")
    return message % printable(almost_same[0])


def find_invitations(
    organizations: Collection[int], emails: Collection[str]
) -> dict[tuple[int, str], Invitation]:
    """Return {(organization ID, email address): invitation}. Runs one query."""
    rows = Invitation.objects.filter(organization__in=organizations)
    found = {}
    for invitation in rows.to_emails(emails).order_by("pk"):
        email = fold_email(invitation.email)
        found[invitation.organization_id, email] = invitation
    return found


def find_end_before(row: PlannedPersonRow) -> datetime | None:
    return row.before.ends_at if row.before is not None else None
