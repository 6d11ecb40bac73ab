"""Importing people: who gets which role in which organization.

The steps are the same as for organizations, in `organizations.py`. A row gives a role
to a person who has an account, or invites a person by email.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from django.utils.translation import gettext as _

from orgadmin.access.rule import is_active_superuser
from orgadmin.models import Import, Invitation
from orgadmin.models.guards import LastAdminError
from orgadmin.people import outbox
from orgadmin.people.changes import RoleChange
from orgadmin.people.ends import find_last_day
from orgadmin.people.invitations import invite
from orgadmin.people.mail import send_invitation
from orgadmin.people.membership import change_roles
from orgadmin.records.imports.file_records import Record
from orgadmin.records.imports.header import Header
from orgadmin.records.imports.organizations import (
    ImportReport,
    TableImport,
    import_table,
)
from orgadmin.records.imports.people_cleaning import PersonCleaner
from orgadmin.records.imports.people_header import PeopleTitleReader
from orgadmin.records.imports.people_planning import (
    PersonPlanner,
    PlannedPersonRow,
    find_end_before,
)
from orgadmin.records.imports.preview import CellPreview, PeopleEffects, RowPreview
from orgadmin.records.imports.problems import FileRefused, ImportProblem, RowRefused
from orgadmin.records.imports.source import FileSource


@dataclass(frozen=True)
class PersonPreview(RowPreview):
    """The effects of a row on a person."""

    email: str = ""

    @property
    def title(self) -> str:
        return f"{self.email}, {self.organization}"


def import_people(file: BinaryIO, **settings: Any) -> ImportReport:
    """Import the people in a file. `settings` are arguments of `import_table()`.

    Only superusers, and commands without an actor, can import people. Roles that the
    file does not mention do not change. Runs up to about 30 queries per 1,000 rows, and
    10 for each person who is invited.
    """
    return import_table(FileSource(file), subject=PeopleImport, **settings)


class PeopleImport(TableImport):
    """A running import of people."""

    title_reader_class = PeopleTitleReader

    def prepare(self, header: Header) -> None:
        """Create the cleaner and the planner.

        Raises `FileRefused` if there is an actor who is not a superuser.
        """
        if self.actor is not None and not is_active_superuser(self.actor):
            raise FileRefused(
                ImportProblem(_("Only platform staff can import people."))
            )
        # Each row must identify an organization.
        self.report.has_key = True
        self.header = header
        self.cleaner = PersonCleaner(header)
        self.planner = PersonPlanner(
            header,
            invites_unknown=self.send_mail and self.actor is not None,
            matches_names=self.options.matches_names,
        )
        # Rows about organizations that would have no active admin. They are written at
        # the end, because a later row may add an admin.
        self.postponed: list[PlannedPersonRow] = []
        self.records_by_line: dict[int, Record] = {}  # of postponed rows

    def get_audit_details(self) -> dict[str, Any]:
        return {"subject": Import.Subject.PEOPLE.value}

    def write(self, rows: Sequence[PlannedPersonRow]) -> None:
        """Write a batch, and postpone rows if an organization would have no admin."""
        try:
            self._write(rows)
        except LastAdminError as error:
            pks = {organization.pk for organization in error.organizations}
            for row in rows:
                if get_organization_pk(row) in pks:
                    self.postponed.append(row)
                    self.records_by_line[row.line] = self.batch[row.line]
            self._write([row for row in rows if get_organization_pk(row) not in pks])

    def finish(self) -> None:
        """Write the postponed rows, or refuse the rows that remove the last admin."""
        if not self.postponed or (self.problems and not self.is_partial):
            return
        try:
            self._write(self.postponed)
        except LastAdminError as error:
            pks = {organization.pk for organization in error.organizations}
            kept = []
            for row in self.postponed:
                if get_organization_pk(row) in pks and replaces_role(row):
                    self._refuse_last_admin(row)
                else:
                    kept.append(row)
            if self.is_partial:
                self._write(kept)

    def _refuse_last_admin(self, row: PlannedPersonRow) -> None:
        """Reject a row that would leave its organization without an active admin."""
        message = _(
            "“%s” would be left without an active admin. Make someone else an admin"
            " first."
        )
        problem = ImportProblem(
            message % row.organization,
            row.line,
            self.header.find_title("role"),
            row.email,
        )
        self.valid_rows -= 1
        self.reject(self.records_by_line[row.line], RowRefused(problem))

    def _write(self, rows: Sequence[PlannedPersonRow]) -> None:
        """Give roles, and invite people.

        Changes nothing if it raises `LastAdminError`.
        """
        changes = give_roles(rows, actor=self.actor)
        self.count_role_changes(list(changes.values()))
        for row in rows:
            change = find_change(row, changes)
            invitation = None
            if row.user is None and row.changes_something:
                invitation = self._invite(row)
                self.report.invited += 1
            if change is None and invitation is None:
                self.report.unchanged += 1
            elif self.on_row is not None:
                self.on_row(preview_row(row, change, invitation))

    def _invite(self, row: PlannedPersonRow) -> Invitation:
        # Without an actor, the planner refuses everyone who would be invited.
        assert self.actor and row.organization and row.role
        invitation = invite(
            row.organization,
            row.email,
            row.role,
            actor=self.actor,
            is_limited=False,
            ends_at=row.end.at if row.end is not None else None,
        )
        outbox.enqueue(send_invitation, invitation=invitation.pk)
        return invitation


def get_organization_pk(row: PlannedPersonRow) -> int | None:
    return row.organization.pk if row.organization is not None else None


def replaces_role(row: PlannedPersonRow) -> bool:
    """Return whether a row replaces the current role of a person by another role."""
    if row.before is None or not row.changes_something:
        return False
    return row.role is not row.before.role


def give_roles(
    rows: Sequence[PlannedPersonRow], *, actor: Any
) -> dict[tuple[int, int], RoleChange]:
    """Give roles to the people who do not need an invitation.

    Returns {(user ID, organization ID): change} for the changes that were made.
    """
    wanted = []
    for row in rows:
        if row.user is None or row.organization is None or not row.changes_something:
            continue
        wanted.append(RoleChange(row.user, row.organization, row.role, end=row.end))
    if not wanted:
        return {}
    made = change_roles(wanted, actor=actor, notify=False)
    return {(change.user.pk, change.organization.pk): change for change in made}


def find_change(
    row: PlannedPersonRow, changes: dict[tuple[int, int], RoleChange]
) -> RoleChange | None:
    """Return the change that a row has made, or None, for example if it is repeated."""
    if row.user is None or row.organization is None or not row.changes_something:
        return None
    return changes.get((row.user.pk, row.organization.pk))


def preview_row(
    row: PlannedPersonRow, change: RoleChange | None, invitation: Invitation | None
) -> PersonPreview:
    assert row.organization is not None
    people = PeopleEffects()
    if change is not None:
        people.role_changes.append(change)
        people.previous_ends.append(find_end_before(row))
    if invitation is not None:
        people.invitations.append(invitation)
    cells = list_cells(row, change)
    effects = [str(cell) for cell in cells]
    if invitation is not None:
        effects.insert(0, _("is invited"))
    return PersonPreview(
        line=row.line,
        organization=row.organization,
        effects=effects,
        cells=cells,
        is_new=False,
        old_values={},
        people=people,
        email=row.email,
    )


def list_cells(row: PlannedPersonRow, change: RoleChange | None) -> list[CellPreview]:
    """Return the role and the last day in a row, if they change."""
    assert row.role is not None
    before = row.before if row.user is not None else None
    if change is not None:
        ends_at = change.ends_at
    else:
        ends_at = row.end.at if row.end is not None else None
    old_day = show_day(before.ends_at if before is not None else None)
    new_day = show_day(ends_at)
    cells = []
    if before is None or before.role is not row.role:
        old_role = str(before.role.label) if before is not None else ""
        new_role = str(row.role.label)
        cells.append(
            CellPreview(
                field="role",
                old=old_role,
                new=new_role,
                is_new=before is None,
                words=[],
            )
        )
    if old_day != new_day:
        cells.append(
            CellPreview(
                field="until",
                old=old_day,
                new=new_day,
                is_new=before is None,
                words=[],
            )
        )
    return cells


def show_day(ends_at: datetime | None) -> str:
    return str(find_last_day(ends_at)) if ends_at is not None else _("no end")
