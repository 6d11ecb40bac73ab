"""Importing organizations and their people from a CSV file.

The steps are modules of their own: `import_reading` reads the file, `import_cleaning`
checks its cells, `import_planning` decides what each row does, `import_writing` does
it, and `import_preview` says it in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, IntegrityError, transaction
from django.utils.translation import gettext as _

from orgadmin.models import Organization, User
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

# Exactly these mean that a row to be saved is gone, or that a key is taken. Others that
# are derived from them, such as OperationalError, mean that the database has failed.
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
    has_key: bool = False  # whether a column says which organizations exist


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

    A row matches an organization by "id", or else by "reference"; other rows create
    one. An empty cell empties the field; a missing column leaves it as it is. The
    columns "admins" and "reviewers" contain email addresses of people who get the role.
    With `send_mail`, they are notified, and `actor` invites unknown addresses; without
    it, or without an actor, unknown addresses are refused.

    The import may do what `actor` may; None is a command, which may do everything.
    `on_progress` is called after each batch, with the number of its last line; `on_row`
    for each row that changes something.

    Raises `ImportRefused`, with all problems, and `DatabaseError` if the database
    fails. About 15 queries for 1,000 new rows, 2 for a changed row, 11 for a renamed
    one. Memory grows with the keys in the file, and by one batch.
    """
    try:
        with transaction.atomic():
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
    except (Organization.DoesNotExist, PermissionDenied) as error:
        raise describe_conflict() from error
    except DatabaseError as error:
        if type(error) in CONFLICTS:
            raise describe_conflict() from error
        raise


def describe_conflict() -> ImportRefused:
    message = _(
        "Someone else changed or deleted organizations in this file during the import."
        " Import it again."
    )
    return ImportRefused([ImportProblem(message)])


class _Import:
    """A running import: it counts what it does, and collects the problems it finds."""

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

    def import_file(self, file: Iterable[bytes]) -> ImportReport:
        try:
            self._import_records(file)
        except FileRefused as error:
            self.problems.append(error.problem)
        if self.problems:
            raise ImportRefused(sorted(self.problems, key=lambda each: each.line or 0))
        return self.report

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
            # After the first problem nothing is written any more, but all later rows
            # are still checked, so that people can fix everything at once.
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
        written = write_batch(rows, actor=self.actor, send_mail=self.send_mail)
        touched = written.find_touched()
        untouched = [row for row in rows if row.organization.pk not in touched]
        self.report.created += len(written.created)
        self.report.changed += len(written.changed)
        self.report.unchanged += len(untouched)
        self.report.people += len(written.role_changes)
        self.report.invited += len(written.invitations)
        if self.on_row is not None:
            for preview in preview_batch(rows, written):
                self.on_row(preview)
        return written
