"""Organizations from a CSV file."""

import csv
import io
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import EmailField
from django.db.models.functions import Lower
from django.http import StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from .history import log_label
from .mail import send_invitation
from .membership import change_roles, invite
from .models import Organization, User
from .roles import ACTIONS, CONFIDENTIAL_FIELDS, ROLES, Role

FIELDS = ("name", "reference", "website", "email", "phone", "address", "tax_id", "notes")
PEOPLE = {f"{role.key}s": role for role in ROLES}  # columns of e-mail addresses
ALIASES = {
    title: name
    for name, titles in {
        "name": "company, organization, organisation, company name",
        "reference": "ref",
        "website": "web, web site, url, homepage",
        "email": "e mail, mail, email address, e mail address",
        "phone": "tel, telephone, phone number",
        "address": "postal address",
        "tax_id": "tax id, tax number, vat id, vat number",
    }.items()
    for title in titles.split(", ")
}
BATCH = 1_000  # rows
SHOWN = 60  # characters of a refused value
FORMULA = r"^('*[=+\-@\t\r])"  # what a spreadsheet takes for a formula, disarmed or not
DISARMED = r"^'('*[=+\-@\t\r])"


def printable(text):
    """Return text as a terminal may show it: cut, and with what cannot be printed as its escape."""
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)


@dataclass
class Problem:
    """Why a line was refused. `line` counts from 1, the header's; None where the whole file is meant."""

    line: int | None
    column: str
    value: str
    message: str

    def __str__(self):
        parts = [_("line %d") % self.line] if self.line else []
        parts += [_("column “%s”") % printable(self.column)] if self.column else []
        if self.value:
            parts.append(f"“{printable(self.value)}”")
        return ": ".join([", ".join(parts), self.message] if parts else [self.message])


class ImportRefused(Exception):
    """The file was refused and nothing was changed; `problems` are all that were found."""

    def __init__(self, problems):
        super().__init__(f"{len(problems)} problems")
        self.problems = problems


@dataclass
class Report:
    """What an import did. Counts are organizations."""

    created: int = 0
    changed: int = 0
    unchanged: int = 0
    people: int = 0  # who got a role
    invited: int = 0
    ignored: list[str] = field(default_factory=list)  # columns
    has_key: bool = False  # a column "id" or "reference" tells which rows exist


class _DryRun(Exception):
    pass


@dataclass
class _Row:
    """What a line is to do."""

    line: int
    organization: Organization
    old: dict  # what the fields that differ were
    known: dict[Role, list[User]]  # who is to get a role
    unknown: dict[Role, list[str]]  # addresses that nobody has
    new: bool


def import_organizations(file, *, actor=None, dry_run=False, send_mail=False, progress=lambda lines: None, tell=None):
    """Create and change organizations, and give roles, as the CSV `file` (binary, UTF-8) says; return a Report.

    A row matches an organization by `id`, then by `reference`; any other row creates one. A cell that is empty
    empties the field; a column that is not there leaves it. The columns "admins" and "reviewers" hold e-mail addresses
    of people who get that role; nobody loses one but for another. With `send_mail` these are told, as the settings say,
    and unknown addresses are invited; without, an unknown address is refused. One transaction. As `actor`, a User, what
    the rule does not permit does not exist; None may everything. `progress` is called with the number of lines read,
    `tell` with (line, organization, [text]) for each that does something.

    Raises ImportRefused, with all problems, where a line is bad, and DatabaseError where the database is away. Some
    fifteen queries for 1,000 new rows, one for each that changes an organization, eight where it changes the name;
    memory for one batch and the keys.
    """
    importer = _Importer(file, actor, progress, send_mail, tell)
    try:
        with transaction.atomic():
            report = importer.run()
            if dry_run:
                raise _DryRun
    except _DryRun:
        return report
    except DatabaseError as error:
        if not isinstance(error, IntegrityError) and type(error) is not DatabaseError:
            raise
        text = _("Somebody else saved or deleted organizations of this file meanwhile. Import it again.")
        raise ImportRefused([Problem(None, "", "", text)]) from error
    return report


class _Importer:
    def __init__(self, file, actor, progress, send_mail, tell):
        self.file, self.actor, self.progress, self.send_mail, self.tell = file, actor, progress, send_mail, tell
        self.problems, self.report = [], Report()
        self.seen = {"id": {}, "reference": {}}  # key -> line
        self.matched, self.given_up = {}, set()  # id -> line; references that organizations of this file had before
        self.created = set()  # ids that did not exist before the file
        everything = Organization.objects.all()
        self.changeable = everything if actor is None else everything.permitted(actor, "change")
        self.rights = set(ACTIONS) if actor is None else everything.permitted_actions(actor)
        self.may_all = actor is None or (actor.is_active and actor.is_superuser)

    def run(self):
        records = self._read_records()
        self._read_header(*next(records, (1, [])))
        batch = []
        for line, cells in records:
            batch.append((line, cells))
            if len(batch) == BATCH:
                self._take(batch)
                self.progress(line)
                batch = []
        self._take(batch)
        if self.problems:
            raise ImportRefused(sorted(self.problems, key=lambda problem: problem.line or 0))
        return self.report

    def _refuse(self, line, column, value, message):
        self.problems.append(Problem(line, column, value, message))

    def _refuse_file(self, message, line=None, column="", value=""):
        self._refuse(line, column, value, message)
        raise ImportRefused(self.problems)

    # Reading

    def _read_lines(self):
        """Yield the decoded lines of the file."""
        for number, line in enumerate(self.file, 1):
            if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                self._refuse_file(_("The file is UTF-16. Save it as “CSV UTF-8” and import that."))
            if number == 1 and line.startswith(b"PK\x03\x04"):
                self._refuse_file(_("This is a workbook, not a CSV file. Save it as “CSV UTF-8” and import that."))
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                text = _("This is not UTF-8. Save the file as “CSV UTF-8” and import that.")
                before = line[max(error.start - 20, 0) : error.start].decode("utf-8", "replace")
                self._refuse_file(text, number, value=before.strip() + "\ufffd")

    def _read_records(self):
        """Yield (number of its first line, cells) of each record that is not empty."""
        lines, skipped = self._read_lines(), 0
        first = next(lines, "")
        if first.startswith("sep="):  # how a spreadsheet names its delimiter
            first, skipped = next(lines, ""), 1
        if not first.strip():
            self._refuse_file(_("The file has no header line. Its first line must name the columns."))
        reader = csv.reader(chain([first], lines), delimiter=_find_delimiter(first), strict=True)
        while True:
            line = reader.line_num + 1 + skipped
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                text = (
                    _("This line is not well-formed CSV (%s). Look for a quotation mark without its partner.") % error
                )
                if "new-line character" in str(error):
                    text = _("The lines end as on old Macintoshes. Save the file as “CSV UTF-8” and import that.")
                elif "field limit" in str(error):
                    text = _("A cell is longer than any field. Look for a quotation mark without its partner.")
                self._refuse_file(text, line)
            if any(cell.strip() for cell in cells):
                yield line, [re.sub(DISARMED, r"\1", cell.strip()) for cell in cells]

    def _read_header(self, line, cells):
        self.header, self.columns = cells, {}
        for position, cell in enumerate(cells):
            name = _find_field(cell)
            if name is None:
                self.report.ignored.append(printable(cell) or _("(column %d, without a name)") % (position + 1))
            elif name in self.columns:
                text = _("This column means “%(field)s”, as column “%(other)s” does. Remove one of them.")
                values = {"field": name, "other": cells[self.columns[name]]}
                self._refuse_file(text % values, line, cell)
            else:
                self.columns[name] = position
        if "name" not in self.columns:
            text = _("There is no column “name”; the columns are: %s. Name the column that holds the names “name”.")
            self._refuse_file(text % ", ".join(printable(cell) or "-" for cell in cells), line)
        self.report.has_key = bool({"id", "reference"} & set(self.columns))

    # Checking and writing

    def _take(self, batch):
        rows = [row for line, cells in batch if (row := self._read_row(line, cells))]
        keys = {key: [values[key] for _, values in rows if values.get(key)] for key in self.seen}
        by_id = {row.pk: row for row in self.changeable.filter(pk__in=set(keys["id"]) - self.created)}
        by_reference = {row.reference: row for row in self.changeable.filter(reference__in=keys["reference"])}
        taken = dict(Organization.objects.filter(reference__in=keys["reference"]).values_list("reference", "pk"))
        confidential = set()
        if not self.may_all:
            found = {row.pk for row in (*by_id.values(), *by_reference.values())}
            permitted = Organization.objects.permitted(self.actor, "view_confidential")
            confidential = set(permitted.filter(pk__in=found).values_list("pk", flat=True))
        users = self._find_people(rows)
        todo = []
        for line, values in rows:
            people = {role: values.pop(column) for column, role in PEOPLE.items() if column in values}
            pk, reference = values.pop("id", None), values.get("reference")
            if pk and pk not in by_id:
                text = _("There is no such organization, or you may not change it. Leave the id empty to create one.")
                self._refuse(line, self._title("id"), str(pk), text)
                continue
            organization = by_id.get(pk) or by_reference.get(reference)
            if organization and (other := self.matched.setdefault(organization.pk, line)) != line:
                text = _("Line %d changes the same organization (id %d). Keep one of them.")
                self._refuse(line, "", "", text % (other, organization.pk))
                continue
            if organization is None and "add" not in self.rights:
                self._refuse(line, "", "", _("You may not create organizations. Ask platform staff to do it."))
                continue
            before = organization or Organization()
            different = [name for name, value in values.items() if getattr(before, name) != value]
            if not self._may_write(line, organization, different, confidential):
                continue
            known = {role: [users[email] for email in emails if email in users] for role, emails in people.items()}
            unknown = {role: [email for email in emails if email not in users] for role, emails in people.items()}
            if not self._may_invite(line, unknown):
                continue
            # As it was before the file, wherever a batch ends.
            if reference and (reference in self.given_up or taken.get(reference, before.pk) != before.pk):
                self._refuse(line, self._title("reference"), reference, _("Another organization has this reference."))
                continue
            if "reference" in different and organization:
                self.given_up.add(organization.reference)
            old = {name: getattr(before, name) for name in different}
            for name in different:
                setattr(before, name, values[name])
            todo.append(_Row(line, before, old, known, unknown, organization is None))
        if not self.problems:
            self._write(todo)

    def _read_row(self, line, cells):
        """Return (line, {field: value}) of a row whose cells are all right, else None."""
        if len(cells) != len(self.header):
            text = _("This line has %(cells)d cells, the header has %(columns)d.")
            self._refuse(line, "", "", text % {"cells": len(cells), "columns": len(self.header)})
            return None
        before, values = len(self.problems), {}
        for name, position in self.columns.items():
            values[name] = self._clean(line, name, cells[position])
        roles = Counter(email for column in PEOPLE for email in values.get(column) or ())
        for email in (email for email, count in roles.items() if count > 1):
            self._refuse(line, "", email, _("This person is to get two roles here. Keep one of them."))
        for key in ("id", "reference"):
            value = values.get(key)
            if value and (other := self.seen[key].setdefault(value, line)) != line:
                text = _("Line %d has this %s already. Keep one of them.") % (other, key)
                self._refuse(line, self._title(key), str(value), text)
        return (line, values) if len(self.problems) == before else None

    def _find_people(self, rows):
        """Return {e-mail address in lower case: User}."""
        emails = {email for _, values in rows for column in PEOPLE for email in values.get(column, ())}
        users = User.objects.annotate(address=Lower("email")).filter(address__in=emails) if emails else ()
        return {user.address: user for user in users}

    def _may_invite(self, line, unknown):
        for column, role in PEOPLE.items():
            for email in unknown.get(role, ()) if not (self.send_mail and self.actor) else ():
                text = _("Nobody has this e-mail address. Add the person first, or have the import send invitations.")
                self._refuse(line, self._title(column), email, text)
                return False
        return True

    def _clean(self, line, name, cell):
        if name in PEOPLE:
            return self._clean_people(line, name, cell)
        if name == "id":
            if not cell or re.fullmatch("[1-9][0-9]{0,17}", cell):
                return int(cell) if cell else None
            text = _("An id is a whole number. Leave it empty to create an organization.")
            return self._refuse(line, self._title(name), cell, text)
        if name == "name" and not cell:
            return self._refuse(line, self._title(name), "", _("The name is missing. Every organization needs one."))
        try:
            # A website without a scheme is completed, as the form does.
            bare = name == "website" and cell and "://" not in cell
            value = Organization._meta.get_field(name).clean(f"https://{cell}" if bare else cell, None)
        except ValidationError as error:
            return self._refuse(line, self._title(name), cell, " ".join(error.messages))
        return value or None if name == "reference" else value

    def _clean_people(self, line, name, cell):
        emails = list(dict.fromkeys(re.split(r"[\s;,]+", cell.lower().strip(" ;,")))) if cell else []
        for email in emails:
            try:
                EmailField().clean(email, None)
            except ValidationError as error:
                self._refuse(line, self._title(name), email, " ".join(error.messages))
        return emails

    def _may_write(self, line, organization, different, confidential):
        if self.may_all:
            return True
        refused = ["reference"] if "reference" in different else []
        if organization.pk not in confidential if organization else "view_confidential" not in self.rights:
            # Whether or not the value differs: the answer must not tell.
            refused += [name for name in CONFIDENTIAL_FIELDS if name in self.columns]
        refused += [column for column in PEOPLE if column in self.columns]  # it would tell who is known
        for name in refused:
            self._refuse(line, self._title(name), "", _("You may not change this field. Remove the column."))
        return not refused

    def _title(self, name):
        return self.header[self.columns[name]]

    def _write(self, todo):
        new = [row.organization for row in todo if row.new]
        changed = [row for row in todo if row.old and not row.new]
        for row in todo:
            row.organization._history_user = self.actor
        self.created |= {organization.pk for organization in Organization.objects.bulk_create(new)}
        for row in changed:
            row.organization.save(update_fields=list(row.old))
        if self.actor:
            self._log(new, ADDITION, {"added": {}})
            for fields in {tuple(row.old) for row in changed}:
                labels = [log_label(Organization._meta.get_field(name)) for name in fields]
                same = [row.organization for row in changed if tuple(row.old) == fields]
                self._log(same, CHANGE, {"changed": {"fields": labels}})
        done = self._give_roles(todo)
        self.report.created += len(new)
        self.report.changed += len(changed)
        for row in todo:
            texts = [self._describe(row)] * (row.new or bool(row.old)) + done[row.organization.pk]
            self.report.unchanged += not texts
            if self.tell and texts:
                self.tell(row.line, row.organization, texts)

    def _describe(self, row):
        if row.new:
            names = [str(getattr(row.organization, role.key)) for role in ROLES]
            return _("created, with the groups %s") % ", ".join(f"“{name}”" for name in names)
        values = [(name, old or "", getattr(row.organization, name) or "") for name, old in row.old.items()]
        return "; ".join(f"{name}: “{old}” → “{new}”" for name, old, new in values)

    def _give_roles(self, todo):
        """Give roles and invite; return {organization id: [what was done]}."""
        done = defaultdict(list)
        wanted = [(user, row.organization, role) for row in todo for role in row.known for user in row.known[role]]
        if wanted:
            for user, organization, role in change_roles(wanted, actor=self.actor, notify=self.send_mail):
                done[organization.pk].append(_("%(user)s becomes %(role)s") % {"user": user, "role": role.label})
                self.report.people += 1
        offers = [
            (row.organization, role, email) for row in todo for role in row.unknown for email in row.unknown[role]
        ]
        for organization, role, email in offers:
            if not organization.invitations.filter(email__iexact=email, role=role.key).exists():
                invitation = invite(organization, email, role, actor=self.actor)
                transaction.on_commit(partial(send_invitation, invitation))
                done[organization.pk].append(_("%(email)s is invited: %(role)s") % {"email": email, "role": role.label})
                self.report.invited += 1
        return done

    def _log(self, organizations, flag, message):
        LogEntry.objects.log_actions(self.actor.pk, organizations, flag, [message])


def write_csv(rows):
    """Yield the lines of a CSV file. A cell that a spreadsheet would run as a formula begins with an apostrophe."""
    writer = csv.writer(_Echo())
    for row in rows:
        yield writer.writerow([re.sub(FORMULA, r"'\1", str("" if cell is None else cell)) for cell in row])


class _Echo:
    write = staticmethod(str)


def respond_with_csv(name, rows):
    """Return a response that streams rows as the file <name>-<date>.csv; it begins with a mark that says UTF-8."""
    lines = chain(["\ufeff"], write_csv(rows))
    filename = f"{name}-{timezone.localdate().isoformat()}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)


def list_organizations(organizations, user):
    """Yield a header and a row for each of `organizations`, a queryset of what `user` may view: a file to import again.

    Confidential cells are empty where the user may not see them; superusers get the people, too. Memory for one batch.
    """
    people = PEOPLE if user.is_superuser else {}
    yield "id", *FIELDS, *people
    for batch in batched(organizations.iterator(chunk_size=BATCH), BATCH):
        confidential = Organization.objects.permitted(user, "view_confidential").order_by()
        confidential = set(confidential.filter(pk__in=[row.pk for row in batch]).values_list("pk", flat=True))
        addresses = defaultdict(list)
        if people:
            groups = [group for row in batch for group in row.group_ids]
            members = User.groups.through.objects.filter(group__in=groups).exclude(user__email="")
            for group, email in members.order_by("user__email").values_list("group", "user__email"):
                addresses[group].append(email)
        for row in batch:
            hidden = () if row.pk in confidential else CONFIDENTIAL_FIELDS
            yield (
                row.pk,
                *(None if name in hidden else getattr(row, name) for name in FIELDS),
                *("; ".join(addresses[getattr(row, role.attname)]) for role in people.values()),
            )


def batched(rows, size):
    """Yield lists of `size` rows."""
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


def list_events(events):
    """Yield a header and a row for each event of the ledger."""
    yield "at", "event", "person", "organization_id", "organization", "role", "by", "reason"
    for event in events:
        at = timezone.localtime(event.at).isoformat(timespec="seconds")
        what = (event.event, event.user_name, event.organization_key, event.organization_name, event.role)
        yield at, *what, event.actor_name, event.reason


def _find_delimiter(line):
    """Return the delimiter under which the header line has most columns that are known."""

    def count_known(delimiter):
        try:
            cells = next(csv.reader(io.StringIO(line), delimiter=delimiter), [])
        except csv.Error:
            return 0  # told when the file is read
        return sum(_find_field(cell) is not None for cell in cells)

    return max(",;\t", key=count_known)


def _find_field(title):
    """Return the field that a column title such as "Organization Name" or "E-mail" means, or None."""
    words = " ".join(re.findall(r"[^\W_]+", title)).lower()
    if words not in ALIASES:
        words = re.sub("^organi[sz]ation ", "", words)
    name = ALIASES.get(words, words.replace(" ", "_"))
    return name if name in (*FIELDS, *PEOPLE, "id") else None
