"""Importing organizations and their people from a table.

Each step has its own module in this folder:

1. `tables.py` reads the file.
2. `header.py` determines what the columns contain.
3. `cleaning.py` validates the cells.
4. `planning.py` determines what each row will change.
5. `writing.py` writes the changes. In a dry run, this is `dry_run.py`.
6. `preview.py` describes the changes.
7. `existing_duplicates.py` compares new organizations with existing ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, BinaryIO

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, IntegrityError, transaction
from django.utils.translation import gettext as _, gettext_lazy

from orgadmin.access import audit_log
from orgadmin.access.origin import IMPORT, by_means_of, current_means
from orgadmin.models import Organization, User
from orgadmin.models.guards import LastAdminError
from orgadmin.people import mail
from orgadmin.people.changes import RoleChange
from orgadmin.people.ends import find_last_day
from orgadmin.people.membership import EndInThePast
from orgadmin.records.batches import read_in_batches
from orgadmin.records.columns import FIELDS
from orgadmin.records.imports.cleaning import ImportRow, RowCleaner
from orgadmin.records.imports.dry_run import DryWriter
from orgadmin.records.imports.existing_duplicates import DuplicateFinder
from orgadmin.records.imports.file_records import SAMPLE_SIZE, Record
from orgadmin.records.imports.header import Header, TitleReader
from orgadmin.records.imports.options import DEFAULTS, ImportOptions
from orgadmin.records.imports.planning import PlannedRow, RowPlanner
from orgadmin.records.imports.preview import RowPreview, preview_batch
from orgadmin.records.imports.problems import (
    FileRefused,
    ImportProblem,
    ImportRefused,
    RowRefused,
    WarningsRefused,
    printable,
)
from orgadmin.records.imports.source import FileSource, Source
from orgadmin.records.imports.suspicions import (
    ImportWarning,
    is_repeated_header,
    is_total,
)
from orgadmin.records.imports.tables import Format
from orgadmin.records.imports.template import is_example
from orgadmin.records.imports.writing import write_batch

# Django raises exactly these classes if a row to be saved has been deleted, or if a key
# is taken. Subclasses such as OperationalError mean that the database has failed.
CONFLICTS = (DatabaseError, IntegrityError)

# The fields that an empty cell can clear
CLEARABLE = FIELDS[1:]  # all except the name

# Why a row is skipped
TITLE = "title"
HEADER = "header"
TOTAL = "total"
EXAMPLE = "example"
REASONS = {
    TITLE: gettext_lazy("stands above the header"),
    HEADER: gettext_lazy("repeats the header"),
    TOTAL: gettext_lazy("looks like a total"),
    EXAMPLE: gettext_lazy("is the example row of the template"),
}


@dataclass(frozen=True)
class SkippedRow:
    """A row that is skipped, because it does not contain an organization."""

    line: int
    kind: str  # a key of REASONS
    cells: Sequence[str]

    def __str__(self) -> str:
        text = " | ".join(cell for cell in self.cells if cell)
        place = _("line %d") % self.line
        quoted = _("“%s”") % printable(text)
        return f"{place}, {quoted}{_(':')} {REASONS[self.kind]}"


@dataclass(frozen=True)
class RejectedRow:
    """A row that is left out because it has problems."""

    line: int
    cells: Sequence[str]
    problems: Sequence[ImportProblem]

    def list_cells(self) -> list[str]:
        """Return the cells as in the file, followed by what is wrong with them."""
        problems = [replace(problem, line=None) for problem in self.problems]
        return [*self.cells, "; ".join(str(problem) for problem in problems)]


@dataclass
class ImportReport:
    """What an import did, or would do."""

    # Organizations
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    # People
    people: int = 0  # who got a role
    ends: int = 0  # whose role ends at another time
    invited: int = 0
    cleared: int = 0  # values that were emptied
    # The file
    format: Format = field(default_factory=Format)
    columns: list[str] = field(default_factory=list)  # fields that it contains
    ignored: list[str] = field(default_factory=list)  # titles of unused columns
    has_key: bool = False  # whether rows can identify existing organizations
    has_foreign_ids: bool = False  # whether there are IDs without their keys
    skipped: list[SkippedRow] = field(default_factory=list)
    warnings: list[ImportWarning] = field(default_factory=list)
    titles: Sequence[str] = ()  # of all columns
    # Rows that were left out because of problems, if the options allow it
    rejected: list[RejectedRow] = field(default_factory=list)

    @property
    def needs_consent(self) -> bool:
        """Whether a person must agree to the warnings before the file is imported."""
        return any(warning.needs_consent for warning in self.warnings)


def import_organizations(
    file: BinaryIO,
    *,
    actor: User | None = None,
    options: ImportOptions = DEFAULTS,
    dry_run: bool = False,
    send_mail: bool = False,
    on_progress: Callable[[int], None] | None = None,
    on_row: Callable[[RowPreview], None] | None = None,
) -> ImportReport:
    """Import the table in a file. See `import_table()`."""
    return import_table(
        FileSource(file),
        actor=actor,
        options=options,
        dry_run=dry_run,
        send_mail=send_mail,
        on_progress=on_progress,
        on_row=on_row,
    )


def import_table(
    source: Source,
    *,
    subject: type[TableImport] | None = None,
    actor: User | None = None,
    options: ImportOptions = DEFAULTS,
    dry_run: bool = False,
    send_mail: bool = False,
    on_progress: Callable[[int], None] | None = None,
    on_row: Callable[[RowPreview], None] | None = None,
) -> ImportReport:
    """Import a table in one transaction: either all of it, or nothing.

    - `subject`: what the rows are about. None means organizations. The rest of this
      docstring is about organizations.
    - `actor`: limits the import to what this person can do. None means a command,
      without limits.
    - `send_mail`: notify people about new roles, and let `actor` invite people who have
      no account or a doubtful address. Without `send_mail` or without an actor, rows
      with such people are refused.
    - `dry_run`: roll everything back at the end.
    - `on_progress`: called after each batch with the number of its last line.
    - `on_row`: called for each row that changes something.

    A row is matched with an organization by "id" and "id_key", otherwise by
    "reference", and otherwise by name if `options.matches_names` is set. If no
    organization matches, the row creates one. An empty cell changes nothing, except in
    the columns in `options.clear_blank`. The columns of the roles, such as "admins",
    contain email addresses of people who get the role, and the last days of their
    access.

    Warnings that need consent prevent the import, unless the options accept them or it
    is a dry run. The report contains all warnings. One row with a problem prevents the
    whole import, unless the options leave out such rows. The report then lists them in
    `rejected`.

    Raises `ImportRefused` with all problems, `WarningsRefused` if only warnings prevent
    the import, and `DatabaseError` if the database fails. Runs up to about 20 queries
    per 1,000 new rows, 2 for each changed row, and 11 for each renamed organization.
    Keeps one batch, and the keys and names of all rows, in memory.
    """
    try:
        with transaction.atomic(), by_means_of(describe_means(actor)):
            run = (subject or OrganizationImport)(
                actor=actor,
                options=options,
                dry_run=dry_run,
                send_mail=send_mail,
                on_progress=on_progress,
                on_row=on_row,
            )
            report = run.import_from(source)
            if dry_run:
                transaction.set_rollback(True)
            return report
    except LastAdminError as error:
        raise make_last_admins_error(error.organizations) from error
    except (Organization.DoesNotExist, PermissionDenied) as error:
        raise make_conflict_error() from error
    except EndInThePast as error:
        raise make_past_end_error(error) from error
    except DatabaseError as error:
        if type(error) in CONFLICTS:
            raise make_conflict_error() from error
        raise


def describe_means(actor: User | None) -> str:
    """Return by what means the changes are made, for the history.

    Without an actor, this is the command that runs the import, if there is one.
    """
    return IMPORT if actor is not None else current_means.get()


def record_refusal(error: ImportRefused, *, actor: User | None = None) -> None:
    """Record in the audit log that an import was refused.

    Call this outside of the import's transaction. Do not call it for a preview.
    """
    audit_log.record(
        audit_log.SecurityEvent.IMPORT_REFUSED,
        actor=actor,
        details={"problems": len(error.problems)},
    )


def sort_problems(problems: Iterable[ImportProblem]) -> list[ImportProblem]:
    return sorted(problems, key=lambda problem: problem.line or 0)


def list_rejected(
    titles: Sequence[str], rejected: Iterable[Sequence[str]]
) -> Iterator[list[str]]:
    """Yield a header and the rejected rows, with a column "Problem" at the end.

    `rejected` are rows as `RejectedRow.list_cells()` returns them. If the file already
    has a column "Problem", because it is a corrected list, the column is replaced.
    """
    problem = _("Problem")
    old_columns = [index for index, title in enumerate(titles) if title == problem]
    width = len(titles)
    for *cells, text in chain([[*titles, problem]], rejected):
        padded = [*cells, *[""] * (width - len(cells))]
        kept = [cell for index, cell in enumerate(padded) if index not in old_columns]
        yield [*kept, text]


def make_conflict_error() -> ImportRefused:
    message = _(
        "Someone else changed or deleted organizations in this file during the import."
        " Import it again."
    )
    return ImportRefused([ImportProblem(message)])


def make_last_admins_error(organizations: Sequence[Organization]) -> ImportRefused:
    """Return the error about organizations that would lose their last active admin.

    The error can name these organizations, because they are in the file.
    """
    message = _(
        "The file would leave “%s” without an active admin. Make someone else an admin"
        " first, or change the role on the People page."
    )
    problems = [ImportProblem(message % organization) for organization in organizations]
    return ImportRefused(problems)


def make_past_end_error(error: EndInThePast) -> ImportRefused:
    """Return the error about a day that has passed according to the database clock."""
    message = _("This day has passed. Choose today or a later day.")
    day = find_last_day(error.ends_at).isoformat()
    return ImportRefused([ImportProblem(message, value=day)])


def check_cleared(header: Header, options: ImportOptions) -> None:
    """Raise `FileRefused` if a field in `clear_blank` is unknown or has no column."""
    for name in options.clear_blank:
        if name not in CLEARABLE:
            message = _(
                "The field “%(field)s” cannot be emptied. These can: %(names)s."
            )
        elif name not in header.fields:
            message = _(
                "The file has no column for “%(field)s”, so it cannot empty this field."
                " It has: %(names)s."
            )
        else:
            continue
        known = [each for each in CLEARABLE if each in header.fields]
        values = {"field": printable(name), "names": ", ".join(known) or "-"}
        raise FileRefused(ImportProblem(message % values))


def find_skip_reason(record: Record, header: Header) -> str | None:
    """Return why a record is skipped, as a key of REASONS, or None.

    A record with an ID key comes from an export. It is not skipped if it looks like a
    total, because an organization can be named "Total".
    """
    if is_example(record.cells, header.positions):
        return EXAMPLE
    position = header.positions.get("id_key")
    if position is not None and any(record.cells[position : position + 1]):
        return HEADER if is_repeated_header(record.cells, header.titles) else None
    if is_repeated_header(record.cells, header.titles):
        return HEADER
    return TOTAL if is_total(record.cells) else None


class TableImport:
    """A running import, which counts its changes and collects problems.

    A subclass says what the rows are about. Its `prepare()` sets `cleaner` and
    `planner`.
    """

    title_reader_class: type[TitleReader] = TitleReader
    # The fields that the report lists if the file has columns for them
    reported_fields: Sequence[str] = ()

    cleaner: Any  # turns a record into a row
    planner: Any  # loads the objects that rows refer to, and plans each row

    def __init__(
        self,
        *,
        actor: User | None,
        options: ImportOptions,
        dry_run: bool,
        send_mail: bool,
        on_progress: Callable[[int], None] | None,
        on_row: Callable[[RowPreview], None] | None,
    ) -> None:
        self.actor = actor
        self.options = options
        self.dry_run = dry_run
        self.send_mail = send_mail
        self.on_progress = on_progress
        self.on_row = on_row
        self.report = ImportReport()
        self.problems: list[ImportProblem] = []
        self.is_partial = options.leaves_out_problems
        self.valid_rows = 0
        self.digest = ""
        # {line: record} of the rows that are being imported
        self.batch: dict[int, Record] = {}
        # Everyone gets one message about all their changes.
        self.mailed_changes: list[mail.Keys] = []

    def import_from(self, source: Source) -> ImportReport:
        """Import a table, notify people, and record the import in the audit log.

        Raises `ImportRefused`. The caller then rolls back the transaction.
        """
        self.digest = source.hash()
        try:
            self._import_table(source)
        except FileRefused as error:
            problems = [*self.problems, error.problem]
            raise ImportRefused(sort_problems(problems)) from error
        if self.problems and not self.is_partial:
            raise ImportRefused(sort_problems(self.problems), self.valid_rows)
        self.report.rejected.sort(key=lambda row: row.line)
        self._check_warnings()
        mail.notify_about(self.mailed_changes, self.actor)
        self._record_import()
        return self.report

    def _check_warnings(self) -> None:
        """Raise `WarningsRefused` if someone must agree to warnings, and has not."""
        if self.dry_run or self.options.accepts_warnings:
            return
        refused = [each for each in self.report.warnings if each.needs_consent]
        if refused:
            raise WarningsRefused([warning.make_problem() for warning in refused])

    def prepare(self, header: Header) -> None:
        """Create the cleaner and the planner. Raises `FileRefused`."""
        raise NotImplementedError

    def collect_planned(self, rows: Sequence[Any], planned_rows: Sequence[Any]) -> None:
        """Collect what is needed later from a batch of rows, before it is written."""

    def write(self, rows: Sequence[Any]) -> None:
        """Write a batch of planned rows, and count the changes."""
        raise NotImplementedError

    def finish(self) -> None:
        """Complete the import after the last batch."""

    def get_audit_details(self) -> dict[str, Any]:
        """Return more details of the import for the audit log, besides the numbers."""
        return {}

    def _record_import(self) -> None:
        """Record which file was imported, without its name and content."""
        audit_log.record(
            audit_log.SecurityEvent.IMPORTED,
            actor=self.actor,
            details={
                **self.get_audit_details(),
                "sha256": self.digest,
                "created": self.report.created,
                "changed": self.report.changed,
                "people": self.report.people,
                "ends": self.report.ends,
                "invited": self.report.invited,
            },
        )

    def _import_table(self, source: Source) -> None:
        """Clean, plan and write the rows of a table in batches.

        Collects problems in `problems`. Raises `FileRefused` if the table cannot be
        read, or not completely.
        """
        title_reader = self.title_reader_class(self.options.mapping)
        table = source.read(self.options, title_reader)
        self.report.format = table.format
        header, records = self._read_header(table.records, title_reader)
        self.prepare(header)
        for batch in read_in_batches(self._without_skipped(records, header)):
            self.batch = {record.line: record for record in batch}
            rows = self._clean(batch)
            planned_rows = self._plan(rows)
            self.valid_rows += len(planned_rows)
            self.collect_planned(rows, planned_rows)
            # After the first problem, no more rows are written. But later rows are
            # still checked, so that people can fix all problems at once.
            if self.is_partial or not self.problems:
                self.write(planned_rows)
            if self.on_progress is not None:
                self.on_progress(batch[-1].line)
        self.finish()
        self.report.warnings.sort(key=lambda warning: warning.line)

    def _read_header(
        self, records: Iterator[Record], title_reader: TitleReader
    ) -> tuple[Header, Iterator[Record]]:
        """Return the header of a table, and the records after it.

        Raises `FileRefused` if there is no header, or if it cannot be used.
        """
        sample = list(islice(records, SAMPLE_SIZE))
        if not sample:
            message = _(
                "The file has no header line. Its first line must name the columns."
            )
            raise FileRefused(ImportProblem(message))
        index = title_reader.find_header(sample)
        for record in sample[:index]:
            self.report.skipped.append(SkippedRow(record.line, TITLE, record.cells))
        header = title_reader.read(sample[index])
        self.report.titles = header.titles
        fields = header.fields
        self.report.columns = [name for name in self.reported_fields if name in fields]
        self.report.ignored = header.ignored
        self.report.has_foreign_ids = header.has_foreign_ids
        return header, chain(sample[index + 1 :], records)

    def _without_skipped(
        self, records: Iterable[Record], header: Header
    ) -> Iterator[Record]:
        """Yield the records that are not skipped, and report those that are."""
        for record in records:
            kind = find_skip_reason(record, header)
            if self.options.keeps_totals and kind != EXAMPLE:
                kind = None
            if kind is None:
                yield record
            else:
                self.report.skipped.append(SkippedRow(record.line, kind, record.cells))

    def _clean(self, records: Sequence[Record]) -> list[Any]:
        rows = []
        for record in records:
            try:
                rows.append(self.cleaner.clean(record))
            except RowRefused as error:
                self.reject(record, error)
        return rows

    def reject(self, record: Record, error: RowRefused) -> None:
        """Collect the problems of a row, and report the row if it is left out."""
        self.problems += error.problems
        if self.is_partial:
            rejected = RejectedRow(record.line, record.cells, error.problems)
            self.report.rejected.append(rejected)

    def _plan(self, rows: Sequence[Any]) -> list[Any]:
        stored = self.planner.load(rows)
        planned_rows = []
        for row in rows:
            try:
                planned_row = self.planner.plan(row, stored)
            except RowRefused as error:
                self.reject(self.batch[row.line], error)
                continue
            planned_rows.append(planned_row)
            self.report.warnings += planned_row.warnings
            self.report.cleared += len(planned_row.cleared)
        return planned_rows

    def count_role_changes(self, changes: Sequence[RoleChange]) -> None:
        """Count role changes, and remember them for the emails about them."""
        ends = sum(change.is_only_of_end for change in changes)
        self.report.ends += ends
        self.report.people += len(changes) - ends
        if self.send_mail:
            for change in changes:
                self.mailed_changes.append(mail.describe_keys(change))


class OrganizationImport(TableImport):
    """A running import of organizations, and of their people."""

    reported_fields = FIELDS

    def prepare(self, header: Header) -> None:
        check_cleared(header, self.options)
        self.cleaner = RowCleaner(header, self.options.clear_blank)
        self.planner = RowPlanner(
            header,
            actor=self.actor,
            invites_unknown=self.send_mail and self.actor is not None,
            matches_names=self.options.matches_names,
            targets=self.options.targets,
        )
        self.duplicates = DuplicateFinder(self.planner.viewable)
        self.dry_writer = DryWriter(actor=self.actor) if self.dry_run else None
        self.has_keys = False

    def collect_planned(
        self, rows: Sequence[ImportRow], planned_rows: Sequence[PlannedRow]
    ) -> None:
        self.has_keys = self.has_keys or any(row.has_key for row in rows)
        self.duplicates.add(planned_rows)

    def finish(self) -> None:
        self.report.has_key = self.has_keys or self.options.matches_names
        self.report.warnings += self.duplicates.find(self.planner.created_pks)

    def write(self, rows: Sequence[PlannedRow]) -> None:
        if self.dry_writer is not None:
            written = self.dry_writer.write(rows)
        else:
            written = write_batch(rows, actor=self.actor)
        touched = written.find_touched()
        untouched = [row for row in rows if row.organization.pk not in touched]
        self.report.created += len(written.created)
        self.report.changed += len(written.changed)
        self.report.unchanged += len(untouched)
        self.report.invited += len(written.invitations)
        self.count_role_changes(written.role_changes)
        self.planner.remember_created(written.created)
        if self.on_row is not None:
            for preview in preview_batch(rows, written):
                self.on_row(preview)
