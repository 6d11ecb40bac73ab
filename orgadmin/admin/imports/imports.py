"""The list of imports, and the page of each one, for superusers.

Until the file has been imported, only the person who uploaded it can open the page of
the import. For everyone else, the page does not exist.
"""

from dataclasses import dataclass, replace

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db import transaction
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _, ngettext_lazy

from orgadmin.access.roles import get_role
from orgadmin.access.rule import SUPERUSERS_ONLY
from orgadmin.admin.base import SuperuserOnlyAdmin
from orgadmin.admin.downloads import CSV, XLSX, respond_with_rows
from orgadmin.admin.imports.import_form import PreviewForm
from orgadmin.admin.lists.changelist import get_page
from orgadmin.admin.once import note_sent
from orgadmin.models import (
    ColumnMapping,
    Import,
    ImportPart,
    Invitation,
    Organization,
    User,
)
from orgadmin.models.guards import LastAdminError
from orgadmin.people.ends import plan_end
from orgadmin.people.outbox import is_queued
from orgadmin.people.unsent import find_state
from orgadmin.records.exports import record_export
from orgadmin.records.import_jobs import (
    is_being_undone,
    is_few,
    is_given_up,
    is_small,
    start_again,
    start_importing,
    start_preparing,
    start_undoing,
)
from orgadmin.records.imports.file_columns import fit_mapping
from orgadmin.records.imports.organizations import record_refusal
from orgadmin.records.imports.parts import PartList
from orgadmin.records.imports.problems import ImportProblem, ImportRefused
from orgadmin.records.imports.stored_imports import (
    Choices,
    PreviewOutdated,
    carry_out_import,
    explain_outdated,
    find_title_reader_class,
    list_left_out,
    list_warnings,
    prepare_preview,
    read_format,
    read_report,
    store_records,
)
from orgadmin.records.imports.undo import (
    AlreadyUndone,
    UndoOutdated,
    explain_not_undone,
    may_undo,
    plan_undo,
    read_time,
    undo_import,
)

# The maximum number of problems, warnings and skipped rows that a page lists. Further
# ones are counted.
MAX_LISTED = 100

# The number of imported rows on a page.
ROWS_PER_PAGE = 200

# {number in the report of an import: sentence about it}
RESULTS = {
    "created": ngettext_lazy(
        "%d organization was created.", "%d organizations were created."
    ),
    "changed": ngettext_lazy(
        "%d organization was changed.", "%d organizations were changed."
    ),
    "people": ngettext_lazy(
        "%d person was given a role.", "%d people were given a role."
    ),
    "ends": ngettext_lazy(
        "The last day of %d person was changed.",
        "The last days of %d people were changed.",
    ),
    "invited": ngettext_lazy("%d person was invited.", "%d people were invited."),
}


@dataclass(frozen=True)
class ImportStep:
    """The effects of a line of the file on an organization."""

    line: int
    organization: str
    texts: list[str]


@dataclass(frozen=True)
class ImportedRow:
    """A line of the file that was imported, and the organization that it changed."""

    line: int
    key: int
    organization: Organization | None  # None if it can no longer be viewed
    is_new: bool
    fields: list[str]
    people: list[str]  # a text about each person whose role was changed


@dataclass(frozen=True)
class RestoredRow:
    """An organization, and its fields that are restored if the import is undone."""

    organization: Organization
    fields: list[str]


@admin.register(Import)
class ImportAdmin(SuperuserOnlyAdmin):
    """The pages on which imports are confirmed, shown and undone.

    Files are uploaded on other pages, beside the lists of organizations and people.
    `stored` is the `Import`, whose author is the person who uploaded the file.
    """

    pages = {
        "overview": SUPERUSERS_ONLY,
        "left_out": SUPERUSERS_ONLY,
        "undo": SUPERUSERS_ONLY,
    }
    list_display = ["created_at", "file", "subject", "author", "state", "result"]
    ordering = ["-pk"]
    sortable_by = []

    def is_permitted(self, request, permission, obj=None):
        return permission == "view" and super().is_permitted(request, permission)

    def get_queryset(self, request):
        return super().get_queryset(request).readable_by(request.user)

    def prepare_rows(self, request, rows):
        add_authors(rows)

    @admin.display(description=Import._meta.get_field("file_name").verbose_name)
    def file(self, stored):
        return str(stored)

    @admin.display(description=Import._meta.get_field("actor_key").verbose_name)
    def author(self, stored):
        return stored.author

    @admin.display(description=_("Result"))
    def result(self, stored):
        return describe_import(stored) if stored.is_done else ""

    def change_view(self, request, object_id, form_url="", extra_context=None):
        """Redirect to the overview of the import. An import cannot be edited."""
        stored = self.get_object(request, unquote(object_id))
        if stored is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return HttpResponseRedirect(self.get_record_url(stored))

    # The page of an import

    def overview_view(self, request, stored):
        """Show the state of an import, or handle a button that its author used."""
        if request.method == "POST" and stored.actor_key == request.user.pk:
            response = self._handle_button(request, stored)
            if response is not None:
                return response
        if stored.is_done:
            return self._show_done(request, stored)
        if stored.is_running or stored.state == Import.State.FAILED:
            return self._show_running(request, stored)
        report = read_report(stored)
        if report.number_of_problems:
            return self._show_problems(request, stored, report)
        form = PreviewForm(stored, report, request.POST or None)
        return self._show_preview(request, stored, report, form)

    def _handle_button(self, request, stored):
        """Do what the author chose. Returns None if a choice is wrong or missing."""
        url = self.get_record_url(stored)
        if "cancel" in request.POST:
            return self._cancel(request, stored)
        if "again" in request.POST and is_given_up(stored):
            start_again(stored)
            return HttpResponseRedirect(url)
        if stored.state != Import.State.WAITING:
            # If the form was sent twice, this raises `AlreadySent`, and the page shows
            # a message about it.
            note_sent(request, url)
            return HttpResponseRedirect(url)
        if request.POST.get("subject") in Import.Subject.values:
            self._change_subject(request, stored, request.POST["subject"])
            return HttpResponseRedirect(url)
        return self._handle_form(request, stored)

    def _handle_form(self, request, stored):
        """Save the choices in the form of the preview, or import the file.

        Returns None if a choice is wrong or missing.
        """
        url = self.get_record_url(stored)
        report = read_report(stored)
        form = PreviewForm(stored, report, request.POST)
        if not form.is_valid():
            return None
        if "delete_columns" in request.POST:
            return self._delete_columns(request, form)
        if "use_columns" in request.POST and form.cleaned_data.get("saved"):
            self._use_columns(request, stored, form)
            return HttpResponseRedirect(url)
        choices = form.make_choices()
        needs_preview = is_other_choice(choices, form.chosen)
        if "save_columns" in request.POST:
            self._save_columns(request, stored, form)
            if not needs_preview:
                return HttpResponseRedirect(url)
        if needs_preview or "preview" in request.POST:
            self._update(request, stored, choices)
            return HttpResponseRedirect(url)
        if request.POST.get("seen") != stored.digest:
            return self.redirect_with_message(
                request, explain_outdated(), messages.WARNING, url
            )
        if report.number_of_problems:
            return HttpResponseRedirect(url)
        if report.needs_consent and not choices.options.accepts_warnings:
            return None
        return self._confirm(request, stored, choices)

    def _use_columns(self, request, stored, form):
        """Make a new preview with the saved columns that the person chose."""
        choices = form.make_choices()
        saved = form.cleaned_data["saved"]
        mapping = fit_mapping(
            form.columns, saved.fields, find_title_reader_class(stored.subject)
        )
        options = replace(choices.options, mapping=mapping)
        self._update(request, stored, replace(choices, options=options))

    def _save_columns(self, request, stored, form):
        """Save what the columns are imported as, so that other files can use it."""
        name = form.cleaned_data["save_as"]
        if not name:
            text = _("Enter a name for the columns.")
            self.message_user(request, text, messages.WARNING)
            return
        others = ColumnMapping.objects.exclude(subject=stored.subject)
        if others.filter(name=name).exists():
            text = _(
                "The name “%s” is used for the columns of another kind of file. Enter"
                " another name."
            )
            self.message_user(request, text % name, messages.WARNING)
            return
        values = {"fields": form.list_all_columns(), "saved_at": timezone.now()}
        ColumnMapping.objects.update_or_create(
            subject=stored.subject, name=name, defaults=values
        )
        text = _("The columns were saved as “%s”.") % name
        self.message_user(request, text)

    def _delete_columns(self, request, form):
        saved = form.cleaned_data.get("saved")
        if saved is None:
            return self.redirect_with_message(
                request, _("Choose saved columns first."), messages.WARNING
            )
        name = saved.name
        saved.delete()
        text = _("The saved columns “%s” were deleted.") % name
        return self.redirect_with_message(request, text)

    def _cancel(self, request, stored):
        """Delete an import, unless it is done or a worker is carrying it out."""
        rows = Import.objects.filter(pk=stored.pk)
        if is_given_up(stored):
            cancelled = rows.exclude(state__in=Import.DONE_STATES)
        else:
            cancelled = rows.filter(state__in=Import.CANCELLABLE_STATES)
        deleted, _numbers = cancelled.delete()
        if not deleted:
            text = _("The import has already started, and can no longer be canceled.")
            return self.redirect_with_message(request, text, messages.WARNING)
        text = _("The import was canceled. Nothing was imported.")
        url = get_upload_url(stored.subject)
        return self.redirect_with_message(request, text, to=url)

    def _change_subject(self, request, stored, subject):
        """Treat the file as another kind of import, such as people, and preview it."""
        choices = Choices.from_dict(stored.choices)
        # These choices refer to columns that the new kind of file does not have.
        options = replace(choices.options, mapping={}, targets={}, clear_blank=())
        stored.subject = subject
        stored.choices = replace(choices, options=options).to_dict()
        stored.save(update_fields=["subject", "choices"])
        self._prepare_again(request, stored, is_read_again=True)

    def _update(self, request, stored, choices):
        """Store other choices, and make a new preview."""
        old = Choices.from_dict(stored.choices).options
        new = choices.options
        stored.choices = choices.to_dict()
        stored.save(update_fields=["choices"])
        is_read_again = (old.encoding, old.sheet) != (new.encoding, new.sheet)
        self._prepare_again(request, stored, is_read_again=is_read_again)

    def _prepare_again(self, request, stored, *, is_read_again):
        """Make a new preview. For a large file, a worker does this later.

        If `is_read_again` is True, the uploaded file is also read again.
        """
        if is_small(stored):
            if is_read_again:
                store_records(stored)
            prepare_preview(stored, actor=request.user)
            return
        if is_read_again:
            stored.summary = {}
        stored.notice = ""
        stored.state = Import.State.PREPARING
        with transaction.atomic():
            stored.save(update_fields=["summary", "notice", "state"])
            start_preparing(stored)

    def _confirm(self, request, stored, choices):
        """Import a small file, or queue a large one.

        If the file can no longer be imported as the preview shows, makes a new preview
        instead.
        """
        url = self.get_record_url(stored)
        stored.choices = choices.to_dict()
        if not is_small(stored):
            return self._queue(request, stored)
        try:
            with transaction.atomic():
                note_sent(request, url)
                self._carry_out(request, stored)
        except PreviewOutdated:
            text = explain_outdated()
        except ImportRefused as error:
            record_refusal(error, actor=request.user)
            text = _("Nothing was imported.")
        else:
            return self.redirect_with_message(request, describe_import(stored), to=url)
        stored.refresh_from_db()
        prepare_preview(stored, actor=request.user)
        return self.redirect_with_message(request, text, messages.WARNING, url)

    def _queue(self, request, stored):
        """Queue a large file, so that a worker imports it."""
        url = self.get_record_url(stored)
        with transaction.atomic():
            note_sent(request, url)
            waiting = {"choices": stored.choices, "notice": "", "line": 0}
            if stored.move([Import.State.WAITING], Import.State.QUEUED, **waiting):
                start_importing(stored)
        return HttpResponseRedirect(url)

    def _carry_out(self, request, stored):
        """Import a small file. Call this in a transaction.

        Raises `PreviewOutdated` or `ImportRefused` if nothing may be imported.
        """
        locked = Import.objects.select_for_update(no_key=True)
        if not locked.filter(pk=stored.pk, state=Import.State.WAITING).exists():
            raise PreviewOutdated
        carry_out_import(stored, actor=request.user)

    def left_out_view(self, request, stored):
        """Download the rows that an import leaves out, with the reasons.

        If it does not leave out any rows, redirects to the import.

        The file is a workbook if the import file was one. Otherwise, it is a CSV file.
        """
        if not read_report(stored).number_rejected:
            return HttpResponseRedirect(self.get_record_url(stored))
        record_export("rows of an import", actor=request.user, stored=stored.pk)
        kind = XLSX if read_format(stored).sheet else CSV
        rows = list_left_out(stored)
        url = self.get_record_url(stored)
        return respond_with_rows(request, kind, "not-imported", rows, page=url)

    # Undoing

    def undo_view(self, request, stored):
        """Show what undoing an import would change, or undo it.

        If the import cannot be undone, or no longer, redirects to it with a message.
        """
        url = self.get_record_url(stored)
        if not may_undo(stored) or is_being_undone(stored):
            text = explain_not_undone(AlreadyUndone())
            return self.redirect_with_message(request, text, messages.WARNING, url)
        if request.method == "POST":
            return self._undo(request, stored, url)
        plan = plan_undo(stored, actor=request.user)
        return self.render_page(
            request,
            stored,
            "undo",
            _("Undo import of “%s”?") % stored,
            stored=stored,
            plan=plan,
            numbers=plan.count(),
            deleted=plan.deleted[:MAX_LISTED],
            restored=[
                RestoredRow(organization, list(values))
                for organization, values in plan.restored[:MAX_LISTED]
            ],
            roles=plan.roles[:MAX_LISTED],
            kept=plan.kept[:MAX_LISTED],
            record_url=url,
        )

    def _undo(self, request, stored, url):
        """Undo an import. For a large import, a worker does this later."""
        seen = request.POST.get("seen", "")
        try:
            with transaction.atomic():
                note_sent(request, url)
                if not is_few(read_report(stored).rows):
                    start_undoing(stored, actor=request.user, seen=seen)
                    return HttpResponseRedirect(url)
                undo_import(stored, actor=request.user, seen=seen)
        except (AlreadyUndone, UndoOutdated, LastAdminError) as error:
            text = explain_not_undone(error)
            return self.redirect_with_message(request, text, messages.WARNING)
        return self.redirect_with_message(request, _("The import was undone."), to=url)

    # What the page of an import shows

    def _show_running(self, request, stored):
        """Show the progress of an import, or that the worker gave it up."""
        return self._render(
            request,
            stored,
            total=stored.summary.get("last_line", 0),
            is_given_up=is_given_up(stored),
            is_cancellable=stored.state in Import.CANCELLABLE_STATES,
            outbox=find_state() if is_queued() else None,
        )

    def _show_problems(self, request, stored, report):
        rows = PartList(stored, ImportPart.Kind.PROBLEMS)[:MAX_LISTED]
        problems = [ImportProblem(**problem) for problem in rows]
        other = next((each.subject for each in problems if each.subject), "")
        form = PreviewForm(stored, report)
        return self._render(
            request,
            stored,
            form=form,
            kept_inputs=form.list_kept_inputs(),
            unchanged_inputs=form.list_unchanged_inputs(),
            problem_fields=form.list_problem_fields(),
            reading_fields=form.list_reading_fields(),
            columns=form.list_columns(),
            saved_fields=form.list_saved_field(),
            problems=problems,
            other_subject=other,
            problem_count=report.number_of_problems,
            valid_rows=report.valid_rows,
        )

    def _show_preview(self, request, stored, report, form):
        page = get_page(
            request, PartList(stored, ImportPart.Kind.PREVIEW), size=ROWS_PER_PAGE
        )
        page.object_list = [ImportStep(*item) for item in page.object_list]
        return self._render(
            request,
            stored,
            form=form,
            report=report,
            page=page,
            fields=form.list_preview_fields(),
            columns=form.list_columns(),
            saved_fields=form.list_saved_field(),
            shown_fields=form.list_shown_fields(),
            target_fields=form.list_target_fields(),
            skipped=PartList(stored, ImportPart.Kind.SKIPPED)[:MAX_LISTED],
            warnings=list_warnings(stored, MAX_LISTED),
            left_out=list_problems(stored) if report.number_rejected else [],
            left_out_url=self.get_page_url("left_out", stored),
            needs_tick=report.needs_consent and request.method == "POST",
        )

    def _show_done(self, request, stored):
        page = get_page(
            request, PartList(stored, ImportPart.Kind.CHANGES), size=ROWS_PER_PAGE
        )
        page.object_list = list_imported(page.object_list, request.user)
        add_authors([stored])
        report = read_report(stored)
        undone_by = User.objects.filter(pk=stored.undone_by_key).first()
        return self._render(
            request,
            stored,
            report=report,
            result=describe_import(stored),
            page=page,
            left_out_url=self.get_page_url("left_out", stored),
            has_left_out=has_left_out(stored),
            may_undo=may_undo(stored),
            is_being_undone=is_being_undone(stored),
            undo_url=self.get_page_url("undo", stored),
            undone=stored.summary.get("undone"),
            undone_by=undone_by,
            kept=PartList(stored, ImportPart.Kind.SKIPPED)[:MAX_LISTED],
        )

    def _render(self, request, stored, **context):
        return self.render_page(
            request,
            stored,
            "overview",
            str(stored),
            stored=stored,
            is_about_people=stored.subject == Import.Subject.PEOPLE,
            upload_url=get_upload_url(stored.subject),
            **context,
        )


def list_problems(stored):
    """Return up to MAX_LISTED rows that an import leaves out, as (line, problem)."""
    rows = PartList(stored, ImportPart.Kind.PROBLEMS)[:MAX_LISTED]
    return [(line, cells[-1]) for line, cells in rows]


def has_left_out(stored):
    """Return whether any rows were left out and are still stored."""
    if not read_report(stored).number_rejected:
        return False
    return stored.parts.filter(kind=ImportPart.Kind.PROBLEMS).exists()


def get_upload_url(subject):
    """Return the URL of the page on which files of a kind are uploaded."""
    if subject == Import.Subject.PEOPLE:
        return reverse("admin:orgadmin_user_import")
    return reverse("admin:orgadmin_organization_import")


def get_import_url(stored):
    return reverse("admin:orgadmin_import_overview", args=[stored.pk])


def list_own_waiting(user):
    """Return up to MAX_LISTED unfinished imports of a person, as (import, URL)."""
    waiting = Import.objects.filter(actor_key=user.pk).exclude(
        state__in=Import.DONE_STATES
    )
    return [(stored, get_import_url(stored)) for stored in waiting[:MAX_LISTED]]


def is_other_choice(choices, chosen):
    """Return whether the choices differ from those on which the preview is based.

    Ignores `accepts_warnings`, which does not change the preview.
    """
    options = replace(choices.options, accepts_warnings=False)
    shown = replace(chosen.options, accepts_warnings=False)
    return (
        replace(choices, options=options).to_dict()
        != replace(chosen, options=shown).to_dict()
    )


def add_authors(rows):
    """Set `author` to the user who uploaded each import. Runs one query.

    The author is None if the account no longer exists.
    """
    users = User.objects.in_bulk({stored.actor_key for stored in rows})
    for stored in rows:
        stored.author = users.get(stored.actor_key)


def list_imported(items, user):
    """Return the changes of an import as `ImportedRow`. Runs up to three queries."""
    keys = [item["organization"] for item in items]
    viewable = Organization.objects.permitted(user, "view").only("name")
    organizations = viewable.in_bulk(keys)
    people = PeopleNames(items)
    return [
        ImportedRow(
            item["line"],
            item["organization"],
            organizations.get(item["organization"]),
            item["is_new"],
            list(item["before"]),
            people.describe(item),
        )
        for item in items
    ]


class PeopleNames:
    """Describes the people whose roles an import changed, or whom it invited."""

    def __init__(self, items):
        roles = [role for item in items for role in item["roles"]]
        pks = [pk for item in items for pk in item["invitations"]]
        users = {role["user"] for role in roles}
        self.users = User.objects.in_bulk(users) if users else {}
        self.invitations = Invitation.objects.in_bulk(pks) if pks else {}

    def describe(self, item):
        """Return a text about each person in a row."""
        texts = [self.describe_role(role) for role in item["roles"]]
        for pk in item["invitations"]:
            if pk in self.invitations:
                texts.append(_("%s was invited") % self.invitations[pk].email)
            else:
                texts.append(_("an invitation that was accepted or revoked"))
        return texts

    def describe_role(self, role):
        user = self.users.get(role["user"])
        values = {
            "person": name_user(user) if user else _("ID %d") % role["user"],
            "role": get_role(role["role"]).label,
            "day": plan_end(read_time(role["end"])),
        }
        if values["day"] is None:
            return _("%(person)s: %(role)s") % values
        return _("%(person)s: %(role)s, until %(day)s") % values


def name_user(user):
    """Return the full name of a person, with their email address or username.

    Returns their label if they do not have a full name.
    """
    full_name = user.get_full_name()
    return f"{full_name} ({user.email or user.username})" if full_name else user.label


def describe_import(stored):
    """Return a message with the numbers of changes, without those that are zero."""
    report = read_report(stored)
    numbers = {name: getattr(report, name) for name in RESULTS}
    texts = [text % numbers[name] for name, text in RESULTS.items() if numbers[name]]
    return " ".join(texts) or _("Nothing was changed.")
