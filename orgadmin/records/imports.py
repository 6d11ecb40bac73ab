"""Importing organizations and their people from a CSV file.

Each step is a module of its own: `import_reading` reads the file, `import_cleaning`
validates its cells, `import_planning` works out the changes, `import_writing` writes
them, and `import_preview` describes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, IntegrityError, transaction
from django.utils.translation import gettext as _

from orgadmin.access import audit_log
from orgadmin.access.origin import IMPORT, by_means_of, current_means
from orgadmin.models import Organization, User
from orgadmin.models.guards import LastAdminError
from orgadmin.people import mail
from orgadmin.records.batches import read_in_batches
from orgadmin.records.import_cleaning import ImportRow, RowCleaner
from orgadmin.records.import_planning import PlannedRow, RowPlanner
from orgadmin.records.import_preview import RowPreview, preview_batch
from orgadmin.records.import_problems import (
    FileRefused,
    ImportProblem,
    ImportRefused,
    RowRefused,
)
from orgadmin.records.import_reading import Record, read_header, read_records
from orgadmin.records.import_writing import WrittenBatch, write_batch

# Django raises exactly these if a row to be saved has been deleted, or if a key is
# taken. Their subclasses, such as OperationalError, mean that the database has failed.
CONFLICTS = (DatabaseError, IntegrityError)


@dataclass
class ImportReport:
    """What an import did, or would do."""

    # Organizations
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    # People
    people: int = 0  # who got a role
    invited: int = 0
    # The file
    ignored: list[str] = field(default_factory=list)  # titles of unknown columns
    has_key: bool = False  # whether a column can identify existing organizations


def import_organizations(
    file: Iterable[bytes],
    *,
    actor: User | None = None,
    dry_run: bool = False,
    send_mail: bool = False,
    on_progress: Callable[[int], None] | None = None,
    on_row: Callable[[RowPreview], None] | None = None,
) -> ImportReport:
    """Import a CSV file in UTF-8, in one transaction: all of it, or nothing.

    A row changes the organization with its "id", or else with its "reference". If there
    is none, the row creates an organization. An empty cell empties the field. If a
    column is missing, the field stays as it is. The columns "admins" and "reviewers"
    contain email addresses of people who get the role. With `send_mail`, these people
    are notified, and `actor` invites people without an account or with a doubtful
    address. Without `send_mail`, or without an actor, such people are refused.

    The import may do what `actor` may do. None means a command, which may do
    everything. `on_progress` is called after each batch with the number of its last
    line. `on_row` is called for each row that changes something.

    Raises `ImportRefused` with all problems, and `DatabaseError` if the database fails.
    Runs about 15 queries for 1,000 new rows, 2 for each changed row, and 11 for each
    renamed one. Keeps one batch and the keys of all rows in memory.
    """
    try:
        with transaction.atomic(), by_means_of(describe_means(actor)):
            run = _Import(
                actor=actor,
                send_mail=send_mail,
                on_progress=on_progress,
                on_row=on_row,
            )
            report = run.import_file(file)
            if dry_run:
                transaction.set_rollback(True)
            return report
    except LastAdminError as error:
        raise describe_last_admins(error.organizations) from error
    except (Organization.DoesNotExist, PermissionDenied) as error:
        raise describe_conflict() from error
    except DatabaseError as error:
        if type(error) in CONFLICTS:
            raise describe_conflict() from error
        raise


def describe_means(actor: User | None) -> str:
    """Return what the history names as the author of the changes.

    Without an actor, that is the command that runs the import, if any.
    """
    return IMPORT if actor is not None else current_means.get()


def record_refusal(error: ImportRefused, *, actor: User | None = None) -> None:
    """Record that a file was to be imported, and was refused.

    Call this outside of the transaction of the import, and not after a preview.
    """
    audit_log.record(
        audit_log.SecurityEvent.IMPORT_REFUSED,
        actor=actor,
        details={"problems": len(error.problems)},
    )


def describe_conflict() -> ImportRefused:
    message = _(
        "Someone else changed or deleted organizations in this file during the import."
        " Import it again."
    )
    return ImportRefused([ImportProblem(message)])


def describe_last_admins(organizations: Sequence[Organization]) -> ImportRefused:
    """Return the error about organizations that would lose their last active admin.

    Whoever imports may see these organizations, because they are in the file.
    """
    message = _(
        "The file would leave “%s” without an active admin. Make someone else an admin"
        " first, or change the role on the People page."
    )
    problems = [ImportProblem(message % organization) for organization in organizations]
    return ImportRefused(problems)


class _Import:
    """A running import, which counts its changes and collects problems."""

    def __init__(
        self,
        *,
        actor: User | None,
        send_mail: bool,
        on_progress: Callable[[int], None] | None,
        on_row: Callable[[RowPreview], None] | None,
    ) -> None:
        self.actor = actor
        self.send_mail = send_mail
        self.on_progress = on_progress
        self.on_row = on_row
        self.report = ImportReport()
        self.problems: list[ImportProblem] = []
        self.digest = sha256()
        # Everyone gets one message about all their changes.
        self.mailed_changes: list[mail.Keys] = []

    def import_file(self, file: Iterable[bytes]) -> ImportReport:
        try:
            self._import_records(self._read_and_digest(file))
        except FileRefused as error:
            self.problems.append(error.problem)
        if self.problems:
            raise ImportRefused(sorted(self.problems, key=lambda each: each.line or 0))
        mail.notify_about(self.mailed_changes, self.actor)
        self._record_import()
        return self.report

    def _read_and_digest(self, file: Iterable[bytes]) -> Iterator[bytes]:
        for line in file:
            self.digest.update(line)
            yield line

    def _record_import(self) -> None:
        """Record which file was imported, without its name and content."""
        audit_log.record(
            audit_log.SecurityEvent.IMPORTED,
            actor=self.actor,
            details={
                "sha256": self.digest.hexdigest(),
                "created": self.report.created,
                "changed": self.report.changed,
                "people": self.report.people,
                "invited": self.report.invited,
            },
        )

    def _import_records(self, file: Iterable[bytes]) -> None:
        records = read_records(file)
        header = read_header(next(records, Record(line=1, cells=[])))
        self.report.ignored = header.ignored
        self.report.has_key = header.has_key
        cleaner = RowCleaner(header)
        planner = RowPlanner(
            header,
            actor=self.actor,
            invites_unknown=self.send_mail and self.actor is not None,
        )
        for batch in read_in_batches(records):
            rows = self._clean(batch, cleaner)
            planned_rows = self._plan(rows, planner)
            # After the first problem, nothing more is written, but later rows are still
            # checked, so that people can fix all problems at once.
            if not self.problems:
                written = self._write(planned_rows)
                planner.remember_created(written.created)
            if self.on_progress is not None:
                self.on_progress(batch[-1].line)

    def _clean(self, records: Sequence[Record], cleaner: RowCleaner) -> list[ImportRow]:
        rows = []
        for record in records:
            try:
                rows.append(cleaner.clean(record))
            except RowRefused as error:
                self.problems += error.problems
        return rows

    def _plan(self, rows: Sequence[ImportRow], planner: RowPlanner) -> list[PlannedRow]:
        stored = planner.load(rows)
        planned_rows = []
        for row in rows:
            try:
                planned_rows.append(planner.plan(row, stored))
            except RowRefused as error:
                self.problems += error.problems
        return planned_rows

    def _write(self, rows: Sequence[PlannedRow]) -> WrittenBatch:
        written = write_batch(rows, actor=self.actor)
        touched = written.find_touched()
        untouched = [row for row in rows if row.organization.pk not in touched]
        self.report.created += len(written.created)
        self.report.changed += len(written.changed)
        self.report.unchanged += len(untouched)
        self.report.people += len(written.role_changes)
        self.report.invited += len(written.invitations)
        if self.send_mail:
            for change in written.role_changes:
                self.mailed_changes.append(mail.describe_keys(change))
        if self.on_row is not None:
            for preview in preview_batch(rows, written):
                self.on_row(preview)
        return written
