"""Importing organizations and their people from a table.

Each step is a module of its own: `import_tables` reads the file, `import_header` finds
out what its columns contain, `import_cleaning` validates its cells, `import_planning`
works out the changes, `import_writing` writes them, `import_duplicates` compares new
organizations with those that exist, and `import_preview` describes what happens.
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
from orgadmin.records.imports.duplicates import DuplicateFinder
from orgadmin.records.imports.file_records import SAMPLE, Record
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

# Django raises exactly these if a row to be saved has been deleted, or if a key is
# taken. Their subclasses, such as OperationalError, mean that the database has failed.
CONFLICTS = (DatabaseError, IntegrityError)

# The fields that an empty cell may empty
CLEARABLE = FIELDS[1:]  # all but the name

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
    """A row that is not imported, because it is no organization."""

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

    def describe(self) -> list[str]:
        """Return the cells as in the file, and then what is wrong with them."""
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
    ignored: list[str] = field(default_factory=list)  # titles of unknown columns
    has_key: bool = False  # whether rows can identify existing organizations
    has_foreign_ids: bool = False  # whether there are IDs without their keys
    skipped: list[SkippedRow] = field(default_factory=list)
    warnings: list[ImportWarning] = field(default_factory=list)
    titles: Sequence[str] = ()  # of all columns
    # Rows that are left out, if the person chose so
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
    """Import a table, in one transaction: all of it, or nothing.

    `subject` is what the rows are about. None means organizations, and the rest of this
    text is about these.

    A row changes the organization with its "id" and "id_key", or else with its
    "reference", or else with its name if `options` say so. If there is none, the row
    creates an organization. An empty cell keeps what is there, except in the columns
    that `options.clear_blank` names. The columns "admins" and "reviewers" contain email
    addresses of people who get the role, and the last days of their access. With
    `send_mail`, these people are notified, and `actor` invites people without an
    account or with a doubtful address. Without `send_mail`, or without an actor, such
    people are refused.

    Rows with warnings are refused unless `options` accept them. A dry run does not
    refuse them: its report has the warnings. Rows with problems refuse the whole file,
    unless `options` leave them out: then they are `rejected` in the report.

    The import may do what `actor` may do. None means a command, which may do
    everything. `on_progress` is called after each batch with the number of its last
    line. `on_row` is called for each row that changes something.

    Raises `ImportRefused` with all problems, or `WarningsRefused` if there are only
    warnings, and `DatabaseError` if the database fails. Runs about 15 queries for 1,000
    new rows, 2 for each changed row, and 11 for each renamed one. Keeps one batch, and
    the keys and names of all rows in memory.
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
        raise describe_last_admins(error.organizations) from error
    except (Organization.DoesNotExist, PermissionDenied) as error:
        raise describe_conflict() from error
    except EndInThePast as error:
        raise describe_past_end(error) from error
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


def sort_problems(problems: Iterable[ImportProblem]) -> list[ImportProblem]:
    return sorted(problems, key=lambda problem: problem.line or 0)


def list_rejected(
    titles: Sequence[str], rejected: Iterable[Sequence[str]]
) -> Iterator[list[str]]:
    """Yield the rows of a file with what was left out, and a column "Problem".

    `rejected` are rows as `RejectedRow.describe()` returns them. A file that was
    corrected has the column already.
    """
    problem = _("Problem")
    left_out = [index for index, title in enumerate(titles) if title == problem]
    width = len(titles)
    for *cells, text in chain([[*titles, problem]], rejected):
        padded = [*cells, *[""] * (width - len(cells))]
        kept = [cell for index, cell in enumerate(padded) if index not in left_out]
        yield [*kept, text]


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


def describe_past_end(error: EndInThePast) -> ImportRefused:
    """Return the error about a day that is over by the clock of the database."""
    message = _("This day has passed. Choose today or a later day.")
    day = find_last_day(error.ends_at).isoformat()
    return ImportRefused([ImportProblem(message, value=day)])


def check_cleared(header: Header, options: ImportOptions) -> None:
    """Raise `FileRefused` if a column that may empty fields does not exist."""
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


def find_kind(record: Record, header: Header) -> str | None:
    """Return why a record is skipped, or None if it is a row of the table.

    A row of an export is always imported: an organization can have such a name, except
    for that of the example in the template.
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

    A subclass says what the rows are about. Its `start()` sets `cleaner`, which turns a
    record into a row, and `planner`, which loads what rows refer to and plans each row.
    """

    title_reader: type[TitleReader] = TitleReader
    # What the report says about the columns of the file
    reported_fields: Sequence[str] = ()

    cleaner: Any
    planner: Any

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
        """Raise `WarningsRefused` if a person must agree first, and has not."""
        if self.dry_run or self.options.accepts_warnings:
            return
        refused = [each for each in self.report.warnings if each.needs_consent]
        if refused:
            raise WarningsRefused([warning.describe() for warning in refused])

    def start(self, header: Header) -> None:
        """Prepare for the rows of a file. Raises `FileRefused`."""
        raise NotImplementedError

    def note_planned(self, rows: Sequence[Any], planned_rows: Sequence[Any]) -> None:
        """Remember what matters about a batch of valid rows, before it is written."""

    def write(self, rows: Sequence[Any]) -> None:
        """Write a batch of planned rows, and count it."""
        raise NotImplementedError

    def finish(self) -> None:
        """Do what can be done only after the last row."""

    def describe_subject(self) -> dict[str, Any]:
        """Return what the audit log says about the import besides the numbers."""
        return {}

    def _record_import(self) -> None:
        """Record which file was imported, without its name and content."""
        audit_log.record(
            audit_log.SecurityEvent.IMPORTED,
            actor=self.actor,
            details={
                **self.describe_subject(),
                "sha256": self.digest,
                "created": self.report.created,
                "changed": self.report.changed,
                "people": self.report.people,
                "ends": self.report.ends,
                "invited": self.report.invited,
            },
        )

    def _import_table(self, source: Source) -> None:
        titles = self.title_reader(self.options.mapping)
        table = source.read(self.options, titles)
        self.report.format = table.format
        header, records = self._read_header(table.records, titles)
        self.start(header)
        for batch in read_in_batches(self._skip(records, header)):
            self.batch = {record.line: record for record in batch}
            rows = self._clean(batch)
            planned_rows = self._plan(rows)
            self.valid_rows += len(planned_rows)
            self.note_planned(rows, planned_rows)
            # After the first problem, nothing more is written, but later rows are still
            # checked, so that people can fix all problems at once.
            if self.is_partial or not self.problems:
                self.write(planned_rows)
            if self.on_progress is not None:
                self.on_progress(batch[-1].line)
        self.finish()
        self.report.warnings.sort(key=lambda warning: warning.line)

    def _read_header(
        self, records: Iterator[Record], titles: TitleReader
    ) -> tuple[Header, Iterator[Record]]:
        """Return the header of a table, and the records after it."""
        sample = list(islice(records, SAMPLE))
        if not sample:
            message = _(
                "The file has no header line. Its first line must name the columns."
            )
            raise FileRefused(ImportProblem(message))
        index = titles.find_header(sample)
        for record in sample[:index]:
            self.report.skipped.append(SkippedRow(record.line, TITLE, record.cells))
        header = titles.read(sample[index])
        self.report.titles = header.titles
        fields = header.fields
        self.report.columns = [name for name in self.reported_fields if name in fields]
        self.report.ignored = header.ignored
        self.report.has_foreign_ids = header.has_foreign_ids
        return header, chain(sample[index + 1 :], records)

    def _skip(self, records: Iterable[Record], header: Header) -> Iterator[Record]:
        """Yield the records, without those that look like totals or headers."""
        for record in records:
            kind = find_kind(record, header)
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
        ends = sum(change.is_only_of_end for change in changes)
        self.report.ends += ends
        self.report.people += len(changes) - ends
        if self.send_mail:
            for change in changes:
                self.mailed_changes.append(mail.describe_keys(change))


class OrganizationImport(TableImport):
    """A running import of organizations, and of their people."""

    reported_fields = FIELDS

    def start(self, header: Header) -> None:
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

    def note_planned(
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
