"""Importing organizations and their people from CSV."""

import csv
import re
from collections import Counter, defaultdict, namedtuple
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from types import SimpleNamespace

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DatabaseError, IntegrityError, models, transaction
from django.utils.translation import gettext as _

from orgadmin.access.roles import CONFIDENTIAL_FIELDS, ROLES
from orgadmin.models import Organization, User
from orgadmin.people.changes import RoleChange
from orgadmin.people.invitations import invite
from orgadmin.people.mail import send_invitation
from orgadmin.people.membership import change_roles
from orgadmin.records.columns import PEOPLE, _find_field
from orgadmin.records.csv_files import DISARMED

BATCH = 1_000  # rows


SHOWN = 60  # characters of a refused value


# What a line is to do. `old`: {field that differs: what it was}; `people`: [(role, e-mail address)].
ImportRow = namedtuple("_Row", "line organization old people new")


def printable(text):
    """Return text as a terminal may show it: cut, and with what cannot be printed as its escape."""
    return "".join(
        c if c.isprintable() else repr(c)[1:-1] for c in text[:SHOWN]
    ) + "…" * (len(text) > SHOWN)


class ImportProblem(namedtuple("Problem", "line column value message")):
    """Why a line was refused. `line` counts from 1, the header's; None where the whole file is meant."""

    def __str__(self):
        parts = [_("line %d") % self.line] if self.line else []
        parts += [_("column “%s”") % printable(self.column)] if self.column else []
        parts += [f"“{printable(self.value)}”"] if self.value else []
        return ": ".join([", ".join(parts), self.message] if parts else [self.message])


class ImportRefused(Exception):
    """The file was refused and nothing was changed; `problems` are all that were found."""

    problems = property(lambda self: self.args[0])


def import_organizations(
    file,
    *,
    actor=None,
    dry_run=False,
    send_mail=False,
    progress=lambda lines: None,
    tell=None,
):
    """Create and change organizations, and give roles, as the CSV `file` (binary, UTF-8) says, in one transaction.
    Return how many were `created`, `changed`, `unchanged`, `people` who got a role and `invited`; which columns were
    `ignored`; and `has_key`, whether a column tells which rows exist.
    A row matches an organization by `id`, then by `reference`; any other creates one. An empty cell empties the field,
    a column that is not there leaves it. The columns "admins" and "reviewers" hold e-mail addresses of people who get
    that role; with `send_mail` they are told, and unknown addresses invited, else refused. As `actor`, a User, what the
    rule does not permit does not exist; None may everything. `progress` gets the number of lines read, `tell` (line,
    organization, [text]) for each that does something. Raises ImportRefused, with all problems, and DatabaseError.
    Some 15 queries for 1,000 new rows, two for a changed one, eleven for a renamed one; memory for a batch and keys."""
    try:
        with transaction.atomic():
            report = _Importer(file, actor, progress, send_mail, tell).run()
            if dry_run:
                transaction.set_rollback(True)
            return report
    except (DatabaseError, Organization.DoesNotExist, PermissionDenied) as error:
        if isinstance(error, DatabaseError) and type(error) not in (
            DatabaseError,
            IntegrityError,
        ):
            raise
        text = _(
            "Somebody else saved or deleted organizations of this file meanwhile. Import it again."
        )
        raise ImportRefused([ImportProblem(None, "", "", text)]) from error


class _Importer:
    def __init__(self, file, actor, progress, send_mail, tell):
        self.file, self.actor, self.progress, self.send_mail, self.tell = (
            file,
            actor,
            progress,
            send_mail,
            tell,
        )
        self.report = SimpleNamespace(
            created=0,
            changed=0,
            unchanged=0,
            people=0,
            invited=0,
            ignored=[],
            has_key=False,
        )
        self.problems = []
        self.seen = {"id": {}, "reference": {}}  # key -> line
        self.matched, self.given_up = (
            {},
            set(),
        )  # id -> line; references that organizations of this file had before
        self.created = set()  # ids that did not exist before the file
        asker = (
            User(is_superuser=True) if actor is None else actor
        )  # a command may everything
        self.may_all = asker.is_active and asker.is_superuser
        self.rights = Organization.objects.permissions_everywhere(asker)
        self.changeable = Organization.objects.permitted(asker, "change")

    def run(self):
        records = self._read_records()
        self._read_header(*next(records, (1, [])))
        for batch in iter(lambda: list(islice(records, BATCH)), []):
            self._take(batch)
            self.progress(batch[-1][0])
        if self.problems:
            raise ImportRefused(
                sorted(self.problems, key=lambda problem: problem.line or 0)
            )
        return self.report

    def _refuse(self, message, line=None, *names, value=""):
        """Add a problem, or one for each field of `names`, and raise ImportRefused: suppressed where a line is bad."""
        columns = [self.header[self.columns[name]] for name in names] or [""]
        self.problems += [
            ImportProblem(line, column, value, message) for column in columns
        ]
        raise ImportRefused(self.problems)

    def _read_lines(self):
        """Yield the decoded lines of the file."""
        for number, line in enumerate(self.file, 1):
            if number == 1 and line.startswith(b"PK\x03\x04"):
                self._refuse(
                    _(
                        "This is a workbook, not a CSV file. Save it as “CSV UTF-8” and import that."
                    )
                )
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                text = _(
                    "This is not UTF-8. Save the file as “CSV UTF-8” and import that."
                )
                before = line[max(error.start - 20, 0) : error.start].decode(
                    "utf-8", "replace"
                )
                self._refuse(text, number, value=before.strip() + "\ufffd")

    def _read_records(self):
        """Yield (number of its first line, cells) of each record that is not empty."""
        lines = self._read_lines()
        first = next(lines, "")
        if not first.strip():
            self._refuse(
                _("The file has no header line. Its first line must name the columns.")
            )
        delimiter = max(
            ",;\t",
            key=lambda delimiter: sum(
                map(bool, map(_find_field, first.split(delimiter)))
            ),
        )
        reader, line = (
            csv.reader(chain([first], lines), delimiter=delimiter, strict=True),
            1,
        )
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield (
                        line,
                        [re.sub(DISARMED, r"\1", cell.strip()) for cell in cells],
                    )
                line = reader.line_num + 1
        except csv.Error as error:
            text = (
                _(
                    "This line is not well-formed CSV (%s). Look for a quotation mark without its partner."
                )
                % error
            )
            self._refuse(text, line)

    def _read_header(self, line, cells):
        self.header, names = cells, [_find_field(cell) for cell in cells]
        self.columns = {name: position for position, name in enumerate(names) if name}
        for number, (name, cell) in enumerate(zip(names, cells), 1):
            if name is None:
                self.report.ignored.append(
                    printable(cell) or _("(column %d, without a name)") % number
                )
            elif names.count(name) > 1:
                text = _(
                    "This column means “%(field)s”, as column “%(other)s” does. Remove one of them."
                )
                self._refuse(text % {"field": name, "other": cell}, line, name)
        if "name" not in self.columns:
            text = _(
                "There is no column “name”; the columns are: %s. Name the column that holds the names “name”."
            )
            self._refuse(
                text % ", ".join(printable(cell) or "-" for cell in cells), line
            )
        # Whoever may not all must not be told who is known, or whether a confidential value differs.
        self.closed = [
            name for name in (*CONFIDENTIAL_FIELDS, *PEOPLE) if name in self.columns
        ]
        self.report.has_key = "id" in self.columns or "reference" in self.columns

    def _take(self, batch):
        rows = [row for line, cells in batch if (row := self._read_row(line, cells))]
        keys = {
            key: [values[key] for _, values in rows if values.get(key)]
            for key in self.seen
        }
        by_id = {
            row.pk: row
            for row in self.changeable.filter(pk__in=set(keys["id"]) - self.created)
        }
        by_reference = {
            row.reference: row
            for row in self.changeable.filter(reference__in=keys["reference"])
        }
        taken = dict(
            Organization.objects.filter(reference__in=keys["reference"]).values_list(
                "reference", "pk"
            )
        )
        emails = {
            email
            for _, values in rows
            for column in PEOPLE
            for email in values.get(column, ())
        }
        users = User.objects.annotate(address=models.functions.Lower("email")).filter(
            address__in=emails
        )
        users, todo = {user.address: user for user in users}, []

        def plan(line, values):
            people = [
                (role, email)
                for column, role in PEOPLE.items()
                for email in values.pop(column, ())
            ]
            pk, reference = values.pop("id", None), values.get("reference")
            if pk and pk not in by_id:
                text = _(
                    "There is no such organization, or you may not change it. Leave the id empty to create one."
                )
                self._refuse(text, line, "id", value=str(pk))
            organization = by_id.get(pk) or by_reference.get(reference)
            if (
                organization
                and (other := self.matched.setdefault(organization.pk, line)) != line
            ):
                text = _(
                    "Line %d changes the same organization (id %d). Keep one of them."
                )
                self._refuse(text % (other, organization.pk), line)
            if organization is None and "add" not in self.rights:
                self._refuse(
                    _("You may not create organizations. Ask platform staff to do it."),
                    line,
                )
            before = organization or Organization()
            old = {
                name: getattr(before, name)
                for name, value in values.items()
                if getattr(before, name) != value
            }
            if not self.may_all and (
                closed := self.closed + ["reference"] * ("reference" in old)
            ):
                self._refuse(
                    _("You may not change this field. Remove the column."),
                    line,
                    *closed,
                )
            for role, email in people:
                if email not in users and not (self.send_mail and self.actor):
                    text = _(
                        "Nobody has this e-mail address. Add the person first, or have the import send mail."
                    )
                    self._refuse(text, line, f"{role.key}s", value=email)
            # As it was before the file, wherever a batch ends.
            if reference and (
                reference in self.given_up
                or taken.get(reference, before.pk) != before.pk
            ):
                self._refuse(
                    _("Another organization has this reference."),
                    line,
                    "reference",
                    value=reference,
                )
            self.given_up.add(old.get("reference"))  # or None, which nobody asks for
            before._history_user = self.actor
            for name in old:
                setattr(before, name, values[name])
            todo.append(ImportRow(line, before, old, people, organization is None))

        for row in rows:
            with suppress(ImportRefused):
                plan(*row)
        if not self.problems:
            self._write(todo, users)

    def _read_row(self, line, cells):
        """Return (line, {field: value}) of a row whose cells are all right, else None."""
        values = {}
        with suppress(ImportRefused):
            if len(cells) != len(self.header):
                text = _("This line has %(cells)d cells, the header has %(columns)d.")
                self._refuse(
                    text % {"cells": len(cells), "columns": len(self.header)}, line
                )
            for name, position in self.columns.items():
                with suppress(ImportRefused):
                    values[name] = self._clean(line, name, cells[position])
            roles = Counter(
                email for column in PEOPLE for email in values.get(column, ())
            )
            for email in (email for email, count in roles.items() if count > 1):
                self._refuse(
                    _("This person is to get two roles here. Keep one of them."),
                    line,
                    value=email,
                )
            for key, lines in self.seen.items():
                if (value := values.get(key)) and (
                    other := lines.setdefault(value, line)
                ) != line:
                    text = _("Line %d has this %s already. Keep one of them.") % (
                        other,
                        key,
                    )
                    self._refuse(text, line, key, value=str(value))
            return (line, values) if len(values) == len(self.columns) else None

    def _clean(self, line, name, cell):
        if name == "id":
            if cell and not re.fullmatch("[1-9][0-9]{0,17}", cell):
                text = _(
                    "An id is a whole number. Leave it empty to create an organization."
                )
                self._refuse(text, line, name, value=cell)
            return int(cell) if cell else None
        field = (
            models.EmailField()
            if name in PEOPLE
            else Organization._meta.get_field(name)
        )
        parts = (
            dict.fromkeys(filter(None, re.split(r"[\s;,]+", cell.lower())))
            if name in PEOPLE
            else [cell]
        )
        cleaned = []
        for part in parts:
            # A website without a scheme is completed, as the form does.
            full = (
                f"https://{part}"
                if name == "website" and part and "://" not in part
                else part
            )
            try:
                cleaned.append(field.clean(full, None))
            except ValidationError as error:
                self._refuse(" ".join(error.messages), line, name, value=part)
        return cleaned if name in PEOPLE else cleaned[0] or (None if field.null else "")

    def _write(self, todo, users):
        new = Organization.objects.bulk_create(
            [row.organization for row in todo if row.new]
        )
        self.created |= {organization.pk for organization in new}
        changed = [row for row in todo if row.old and not row.new]
        for row in changed:
            row.organization.save(update_fields=list(row.old))
        done = self._give_roles(todo, users)
        self.report.created += len(new)
        self.report.changed += len(changed)
        if self.tell:
            models.prefetch_related_objects(new, *(role.key for role in ROLES))
        for row in todo:
            get = partial(getattr, row.organization)
            texts = [
                f"{name}: “{old or ''}” → “{get(name) or ''}”"
                for name, old in row.old.items()
            ]
            if row.new:
                names = ", ".join(f"“{get(role.key)}”" for role in ROLES if self.tell)
                texts = [_("created, with the groups %s") % names]
            texts += done[row.organization.pk]
            self.report.unchanged += not texts
            if self.tell and texts:
                self.tell(row.line, row.organization, texts)

    def _give_roles(self, todo, users):
        """Give roles and invite; return {organization id: [what was done]}."""
        done = defaultdict(list)
        people = [
            (row.organization, role, email)
            for row in todo
            for role, email in row.people
        ]
        wanted = [
            RoleChange(users[email], organization, role)
            for organization, role, email in people
            if email in users
        ]
        changes = (
            change_roles(wanted, actor=self.actor, notify=self.send_mail)
            if wanted
            else ()
        )
        for change in changes:
            done[change.organization.pk].append(
                _("%(user)s becomes %(role)s")
                % {"user": change.user, "role": change.role.label}
            )
        self.report.people += len(changes)
        for organization, role, email in people:
            if (
                email not in users
                and not organization.invitations.filter(
                    email__iexact=email, role=role.key
                ).exists()
            ):
                transaction.on_commit(
                    partial(
                        send_invitation,
                        invite(organization, email, role, actor=self.actor),
                    )
                )
                done[organization.pk].append(
                    _("%(email)s is invited: %(role)s")
                    % {"email": email, "role": role.label}
                )
                self.report.invited += 1
        return done
