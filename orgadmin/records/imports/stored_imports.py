"""Imports in the browser: a file is uploaded and read once, and confirmed later.

The records of the file are stored, together with a preview. When the author confirms
the import, it uses the stored records. If the import would do anything else than the
preview has shown, nothing is imported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, BinaryIO

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from orgadmin.models import Import, ImportPart, User
from orgadmin.models.text import remove_invisible
from orgadmin.people.changes import RoleChange
from orgadmin.records.columns import FIELDS
from orgadmin.records.imports.file_columns import (
    ColumnPreview,
    fit_mapping,
    preview_columns,
)
from orgadmin.records.imports.file_records import SAMPLE_SIZE, Record
from orgadmin.records.imports.header import TitleReader
from orgadmin.records.imports.options import PAGE_LIMITS, ImportOptions
from orgadmin.records.imports.organizations import (
    ImportReport,
    OrganizationImport,
    TableImport,
    import_table,
    list_rejected,
)
from orgadmin.records.imports.parts import (
    PartList,
    PartWriter,
    open_stored_file,
    store_file,
)
from orgadmin.records.imports.people import PeopleImport
from orgadmin.records.imports.preview import RowPreview
from orgadmin.records.imports.problems import (
    FileRefused,
    ImportProblem,
    ImportRefused,
)
from orgadmin.records.imports.source import hash_file
from orgadmin.records.imports.tables import Format, Table, read_table

MAX_FILE_NAME = 255  # characters

# {what the rows of a file are about: class that imports them}
SUBJECTS: dict[str, type[TableImport]] = {
    Import.Subject.ORGANIZATIONS: OrganizationImport,
    Import.Subject.PEOPLE: PeopleImport,
}

# The parts that are deleted after the import, because only the preview needs them
PREVIEW_KINDS = (
    ImportPart.Kind.FILE,
    ImportPart.Kind.RECORDS,
    ImportPart.Kind.PREVIEW,
    ImportPart.Kind.WARNINGS,
    ImportPart.Kind.SKIPPED,
)


class PreviewOutdated(Exception):
    """The import would do something else than its preview shows."""


@dataclass(frozen=True)
class Choices:
    """The choices of the author of an import."""

    options: ImportOptions
    send_mail: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the choices as JSON data, as in `Import.choices`."""
        stored = asdict(self.options)
        del stored["limits"]
        stored["mapping"] = dict(self.options.mapping)
        stored["targets"] = dict(self.options.targets)
        stored["clear_blank"] = sorted(self.options.clear_blank)
        return {**stored, "send_mail": self.send_mail}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Choices:
        values = {**stored, "clear_blank": tuple(stored["clear_blank"])}
        send_mail = values.pop("send_mail")
        return cls(ImportOptions(**values, limits=PAGE_LIMITS), send_mail)


@dataclass(frozen=True)
class StoredWarning:
    """A warning in the preview of an import."""

    text: str
    word: str
    line: int = 0
    # The existing organization that a new row may duplicate
    resembled: int | None = None
    resembled_name: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class StoredReport:
    """The report of an import, as stored for its preview.

    The fields are as in `ImportReport`. The lists of skipped rows, warnings and
    problems can be long. They are stored separately, and read when they are needed.
    """

    created: int = 0
    changed: int = 0
    unchanged: int = 0
    people: int = 0
    ends: int = 0
    invited: int = 0
    cleared: int = 0
    rows: int = 0
    format: Format = field(default_factory=Format)
    columns: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    has_key: bool = True
    has_foreign_ids: bool = False
    needs_consent: bool = False
    number_skipped: int = 0
    number_of_warnings: int = 0
    number_of_problems: int = 0
    number_rejected: int = 0  # rows that are left out
    valid_rows: int = 0  # rows without problems, if there are problems
    titles: Sequence[str] = ()


@dataclass(frozen=True)
class StoredSource:
    """The records that were read from the file of an import."""

    stored: Import

    def hash(self) -> str:
        return self.stored.sha256

    def read(self, options: ImportOptions, titles: TitleReader) -> Table:
        return Table(read_format(self.stored), self.list_records())

    def list_records(self) -> Iterator[Record]:
        """Yield the records. Raises `FileRefused` where the file could not be read."""
        for line, cells in PartList(self.stored, ImportPart.Kind.RECORDS):
            yield Record(line, cells)
        problem = self.stored.summary.get("read_problem")
        if problem is not None:
            raise FileRefused(ImportProblem(**problem))


class Recorder:
    """Records what each row does, for the preview, for an undo, and as a hash."""

    def __init__(self) -> None:
        self.previews = PartWriter(ImportPart.Kind.PREVIEW)
        self.changes = PartWriter(ImportPart.Kind.CHANGES)
        self.hash = hashlib.sha256()

    def add(self, row: RowPreview) -> None:
        self.previews.add([row.line, row.title, row.effects])
        seen = [row.line, row.title, row.effects_to_compare]
        self.hash.update(repr(seen).encode("utf-8", "replace"))
        self.changes.add(make_change_item(row))

    def add_rejected(self, report: ImportReport) -> None:
        """Record the rows that are left out. Call this after the import."""
        lines = [row.line for row in report.rejected]
        self.hash.update(repr(lines).encode())

    def make_digest(self, stored: Import, choices: Choices) -> str:
        """Return a hash of the file, the choices, and the effects of the rows.

        Ignores whether the person accepts the warnings, because they can only decide
        this after they have seen the preview.
        """
        options = replace(choices.options, accepts_warnings=False)
        seen = replace(choices, options=options).to_dict()
        # The database may change the order of the keys.
        chosen = json.dumps(seen, sort_keys=True)
        parts = (stored.sha256, read_format(stored), chosen)
        digest = self.hash.copy()
        digest.update(repr(parts).encode("utf-8", "replace"))
        return digest.hexdigest()


def make_change_item(row: RowPreview) -> dict[str, Any]:
    """Return what a row has changed, as JSON data for an undo."""
    organization = row.organization
    names = FIELDS if row.is_new else row.old_values
    return {
        "line": row.line,
        "organization": organization.pk,
        "is_new": row.is_new,
        "before": row.old_values,
        "after": {name: getattr(organization, name) for name in names},
        "roles": [
            make_role_item(change, end)
            for change, end in zip(row.people.role_changes, row.people.previous_ends)
        ],
        "invitations": [invitation.pk for invitation in row.people.invitations],
    }


def make_role_item(change: RoleChange, end: datetime | None) -> dict[str, Any]:
    """Return a role change as JSON data. `end` is the previous end."""
    return {
        "user": change.user.pk,
        "role": change.role.key if change.role else None,
        "before": change.previous.key if change.previous else None,
        "end_before": end.isoformat() if end is not None else None,
        "end": change.ends_at.isoformat() if change.ends_at is not None else None,
    }


def find_title_reader_class(subject: str) -> type[TitleReader]:
    return SUBJECTS[subject].title_reader_class


def read_format(stored: Import) -> Format:
    values = stored.summary.get("format", {})
    return Format(**{**values, "sheets": tuple(values.get("sheets", ()))})


def read_report(stored: Import) -> StoredReport:
    values = stored.summary.get("report", {})
    return StoredReport(**values, format=read_format(stored))


def read_columns(stored: Import) -> list[ColumnPreview]:
    return [ColumnPreview(**values) for values in stored.summary.get("columns", ())]


def list_left_out(stored: Import) -> Iterator[list[str]]:
    """Yield a header, and the rows that the import leaves out, with their problems."""
    report = read_report(stored)
    parts = PartList(stored, ImportPart.Kind.PROBLEMS)
    rejected = (cells for _line, cells in parts)
    return list_rejected(report.titles, rejected)


def list_warnings(stored: Import, end: int) -> list[StoredWarning]:
    """Return the warnings of the preview before the index `end`."""
    warnings = PartList(stored, ImportPart.Kind.WARNINGS)[:end]
    return [StoredWarning(*values) for values in warnings]


def clean_file_name(name: str) -> str:
    """Return the name of an uploaded file as it is stored."""
    return remove_invisible(name.replace("\0", "")).strip()[-MAX_FILE_NAME:]


# The steps of an import


@transaction.atomic
def store_upload(
    file: BinaryIO,
    name: str,
    choices: Choices,
    *,
    actor: User,
    subject: str = Import.Subject.ORGANIZATIONS,
) -> Import:
    """Store an uploaded file, and return the new import."""
    stored = Import.objects.create(
        actor_key=actor.pk,
        subject=subject,
        file_name=clean_file_name(name),
        sha256=hash_file(file),
        choices=choices.to_dict(),
    )
    store_file(stored, file)
    return stored


def store_records(stored: Import) -> None:
    """Read an uploaded file, and store its records and its format.

    If the file cannot be read completely, stores the reason, and the records up to that
    point.
    """
    with open_stored_file(stored) as file:
        _store_records(stored, file)


def _store_records(stored: Import, file: BinaryIO) -> None:
    """Read a file, and store its records and its format, as `store_records()` does."""
    choices = Choices.from_dict(stored.choices)
    writer = PartWriter(ImportPart.Kind.RECORDS)
    sample: list[Record] = []
    summary: dict[str, Any] = {}
    # A record of a CSV file can have several lines.
    last_line = 0
    try:
        reader_class = find_title_reader_class(stored.subject)
        title_reader = reader_class(choices.options.mapping)
        table = read_table(file, choices.options, title_reader)
        summary["format"] = asdict(table.format)
        # Later steps use the same encoding and sheet.
        options = replace(
            choices.options,
            encoding=table.format.encoding or None,
            sheet=table.format.sheet,
        )
        choices = replace(choices, options=options)
        for record in table.records:
            writer.add([record.line, record.cells])
            last_line = record.line
            if len(sample) < SAMPLE_SIZE:
                sample.append(record)
    except FileRefused as error:
        summary["read_problem"] = asdict(error.problem)
    reader_class = find_title_reader_class(stored.subject)
    choices = fit_columns(choices, sample, reader_class)
    summary["records"] = writer.count
    summary["last_line"] = last_line
    with transaction.atomic():
        writer.save(stored)
        stored.summary = summary
        stored.choices = choices.to_dict()
        stored.save(update_fields=["summary", "choices"])


def fit_columns(
    choices: Choices, sample: Sequence[Record], reader_class: type[TitleReader]
) -> Choices:
    """Return the choices, with the mapping limited to columns of the file.

    `sample` contains the first records of the file.
    """
    if not choices.options.mapping:
        return choices
    columns = preview_columns(sample, reader_class(choices.options.mapping))
    mapping = fit_mapping(columns, choices.options.mapping, reader_class)
    return replace(choices, options=replace(choices.options, mapping=mapping))


def prepare_preview(
    stored: Import,
    *,
    actor: User,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Determine what an import would do, and store it as a preview.

    If the import would be refused, the preview contains the problems. Raises
    `Import.DoesNotExist` if the import was canceled in the meantime.
    """
    choices = Choices.from_dict(stored.choices)
    recorder = Recorder()
    problems: list[ImportProblem] = []
    valid_rows = 0
    report = ImportReport()
    try:
        report = import_table(
            StoredSource(stored),
            subject=SUBJECTS[stored.subject],
            actor=actor,
            options=choices.options,
            send_mail=choices.send_mail,
            dry_run=True,
            on_row=recorder.add,
            on_progress=on_progress,
        )
    except ImportRefused as error:
        problems += error.problems
        valid_rows = error.valid_rows
        recorder = Recorder()
    recorder.add_rejected(report)
    source = StoredSource(stored)
    reader_class = find_title_reader_class(stored.subject)
    title_reader = reader_class(choices.options.mapping)
    columns = preview_columns(source.list_records(), title_reader)
    with transaction.atomic():
        # Another request may prepare the same import.
        Import.objects.select_for_update(no_key=True).get(pk=stored.pk)
        save_preview(stored, recorder, report, problems)
        stored.summary["report"]["valid_rows"] = valid_rows
        stored.summary["columns"] = [asdict(column) for column in columns]
        stored.digest = recorder.make_digest(stored, choices)
        stored.state = Import.State.WAITING
        stored.line = 0
        stored.save(update_fields=["summary", "digest", "state", "line"])


def save_preview(
    stored: Import,
    recorder: Recorder,
    report: ImportReport,
    problems: list[ImportProblem],
) -> None:
    """Save the lists of the preview as parts, and set the report in `summary`.

    The caller saves `stored`.
    """
    lists: dict[str, list[Any]] = {
        ImportPart.Kind.PROBLEMS: [asdict(problem) for problem in problems]
        or [[row.line, row.list_cells()] for row in report.rejected],
        ImportPart.Kind.WARNINGS: [
            [str(row), row.word, row.line, row.resembled, row.resembled_name]
            for row in report.warnings
        ],
        ImportPart.Kind.SKIPPED: [str(row) for row in report.skipped],
    }
    for kind, items in lists.items():
        writer = PartWriter(kind)
        for item in items:
            writer.add(item)
        writer.save(stored)
    recorder.previews.save(stored)
    stored.summary["report"] = {
        **count_report(report),
        "rows": recorder.previews.count,
        "columns": report.columns,
        "ignored": report.ignored,
        "has_key": report.has_key,
        "has_foreign_ids": report.has_foreign_ids,
        "needs_consent": report.needs_consent,
        "number_skipped": len(report.skipped),
        "number_of_warnings": len(report.warnings),
        "number_of_problems": len(problems),
        "number_rejected": len(report.rejected),
        "titles": list(report.titles),
    }


def count_report(report: ImportReport) -> dict[str, int]:
    names = (
        *("created", "changed", "unchanged"),
        *("people", "ends", "invited", "cleared"),
    )
    return {name: getattr(report, name) for name in names}


@transaction.atomic
def carry_out_import(
    stored: Import,
    *,
    actor: User,
    on_progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Carry out an import whose preview was confirmed, in one transaction.

    The caller must prevent anyone else from carrying out the same import.

    Raises `ImportRefused`, and `PreviewOutdated` if the import would do anything else
    than the preview shows.
    """
    choices = Choices.from_dict(stored.choices)
    recorder = Recorder()
    report = import_table(
        StoredSource(stored),
        subject=SUBJECTS[stored.subject],
        actor=actor,
        options=choices.options,
        send_mail=choices.send_mail,
        on_row=recorder.add,
        on_progress=on_progress,
    )
    recorder.add_rejected(report)
    if recorder.make_digest(stored, choices) != stored.digest:
        raise PreviewOutdated
    stored.parts.filter(kind__in=PREVIEW_KINDS).delete()
    recorder.changes.save(stored)
    stored.summary["report"] |= {
        **count_report(report),
        "rows": recorder.changes.count,
        "number_of_problems": 0,
    }
    stored.state = Import.State.DONE
    stored.finished_at = timezone.now()
    stored.notice = ""
    stored.save()
    return report


def explain_outdated() -> str:
    return _(
        "Nothing was imported, because something has changed in the meantime. Read the"
        " preview again."
    )
