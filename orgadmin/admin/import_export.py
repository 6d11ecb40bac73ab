"""The import page and the export."""

import base64
import hashlib
import io
from dataclasses import dataclass, replace
from functools import partial

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.urls import path, reverse
from django.utils.translation import gettext_lazy as _, ngettext

from orgadmin.access.rule import is_active_superuser
from orgadmin.admin.changelist import list_all_rows
from orgadmin.admin.import_form import ImportForm
from orgadmin.admin.once import AlreadySent, note_sent
from orgadmin.records.csv_files import respond_with_csv
from orgadmin.records.exports import list_organizations, record_export
from orgadmin.records.imports import (
    ImportRefused,
    ImportReport,
    import_organizations,
    record_refusal,
)

# How many problems, warnings and skipped rows a page lists. It says how many more there
# are.
MAX_LISTED = 100


@dataclass(frozen=True)
class ImportStep:
    """The effects of a line of the file on an organization."""

    line: int
    organization: str
    texts: list[str]


@dataclass(frozen=True)
class ImportRun:
    """An import, or the preview of one.

    The digest identifies the file, its options and its effects. The preview page sends
    it back when the person confirms. If it differs from that of a second preview, the
    data has changed in the meantime, and the person has not seen what would happen now.
    """

    steps: list[ImportStep]
    report: ImportReport
    digest: str


class ImportExportPages:
    """The pages import/ and export/ beside the list of organizations."""

    def get_urls(self):
        protect = self.admin_site.admin_view
        urls = [
            path(
                "import/",
                protect(self.import_view),
                name="orgadmin_organization_import",
            ),
            path(
                "export/",
                protect(self.export_view),
                name="orgadmin_organization_export",
            ),
        ]
        return urls + super().get_urls()

    def export_view(self, request):
        """Download the list as CSV, with the search, filters and order of the page.

        The file has the rows and the fields that the person may view.
        """
        organizations = list_all_rows(self, request)
        record_export("organizations", actor=request.user, filters=sorted(request.GET))
        rows = list_organizations(organizations, request.user)
        return respond_with_csv("organizations", rows)

    def import_view(self, request):
        """Preview an import, or carry it out. For superusers only.

        The preview carries the file and the digest of what it shows. When these are
        sent back, the file is imported if it would still have the same effects.
        Otherwise, the response is a new preview.
        """
        if not is_active_superuser(request.user):
            raise PermissionDenied
        form = ImportForm(request.POST or None, request.FILES or None)
        context = {"form": form}
        if form.is_valid():
            content = form.cleaned_data["content"]
            form.initial["text"] = base64.b64encode(content).decode()
            try:
                report = self._import_if_seen(request, form)
                text = describe_import(report)
                return self.redirect_with_message(request, text, to="../")
            except AlreadySent as error:
                return self.respond_to_second(request, error.location)
            except NotSeen as error:
                context |= describe_preview(error.preview, form)
                context["needs_tick"] = error.needs_tick
            except ImportRefused as error:
                context["problems"] = error.problems[:MAX_LISTED]
                context["problem_count"] = len(error.problems)
                if "seen" in request.POST:
                    record_refusal(error, actor=request.user)
        title = _("Import organizations")
        return self.render_page(request, None, "import", title, **context)

    @transaction.atomic
    def _import_if_seen(self, request, form):
        """Import a file, if the person has seen what it does. Returns the report.

        Raises `NotSeen` if not, and `AlreadySent` if the file was imported when the
        person confirmed before. Nothing is written then.
        """
        wants_preview = "preview" in request.POST
        seen = "" if wants_preview else request.POST.get("seen")
        if seen:
            note_sent(
                request, location=reverse("admin:orgadmin_organization_changelist")
            )
        preview = run_import(form, request.user, dry_run=True)
        if seen != preview.digest:
            raise NotSeen(preview)
        if preview.report.needs_consent and not form.cleaned_data["accepts_warnings"]:
            raise NotSeen(preview, needs_tick=True)
        return run_import(form, request.user, dry_run=False).report


class NotSeen(Exception):
    """The person has not seen what the import would do now.

    Or they have seen warnings, and have not ticked that the rows are imported.
    """

    def __init__(self, preview, *, needs_tick=False):
        super().__init__()
        self.preview = preview
        self.needs_tick = needs_tick


def describe_preview(preview, form):
    """Return what the template shows of a preview."""
    report = preview.report
    return {
        "steps": preview.steps,
        "report": report,
        "digest": preview.digest,
        "fields": form.list_preview_fields(report),
        "consent_fields": form.list_consent_fields(report),
        "skipped": report.skipped[:MAX_LISTED],
        "warnings": report.warnings[:MAX_LISTED],
    }


def run_import(form, user, *, dry_run):
    """Import the file of a valid form, or preview the import. Returns an ImportRun.

    `import_view()` compares the digests of two previews, to import only what the person
    has seen.

    Raises `ImportRefused` if the file has problems.
    """
    steps = []
    data = form.cleaned_data
    options = form.make_options()
    report = import_organizations(
        io.BytesIO(data["content"]),
        actor=user,
        options=options,
        send_mail=data["send_mail"],
        dry_run=dry_run,
        on_row=partial(add_step, steps),
    )
    # The tick that accepts the warnings is set after the person has seen them. The form
    # in the preview has the sheet and the encoding that were found.
    choices = replace(
        options,
        accepts_warnings=False,
        encoding=report.format.encoding,
        sheet=report.format.sheet,
    )
    description = repr((steps, data["content"], data["send_mail"], choices))
    digest = hashlib.sha256(description.encode("utf-8", "replace"))
    return ImportRun(steps, report, digest.hexdigest())


def add_step(steps, row):
    # Keep the organization as text. The instance itself changes when the transaction of
    # a preview is rolled back.
    steps.append(ImportStep(row.line, str(row.organization), row.effects))


def describe_import(report):
    """Return a message with the numbers of created and changed rows."""
    created = ngettext(
        "%d organization was created.",
        "%d organizations were created.",
        report.created,
    )
    changed = ngettext(
        "%d organization was changed.",
        "%d organizations were changed.",
        report.changed,
    )
    people = ngettext(
        "%d person was given a role.",
        "%d people were given a role.",
        report.people,
    )
    texts = [created % report.created, changed % report.changed, people % report.people]
    if report.ends:
        ends = ngettext(
            "The last day of %d person was changed.",
            "The last days of %d people were changed.",
            report.ends,
        )
        texts.append(ends % report.ends)
    return " ".join(texts)
