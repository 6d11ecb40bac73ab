"""The pages that import and export organizations."""

from django.core.exceptions import PermissionDenied
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.translation import gettext_lazy as _

from orgadmin.access.rule import is_active_superuser
from orgadmin.admin.downloads import CSV, XLSX, respond_with_rows
from orgadmin.admin.imports.import_form import UploadForm
from orgadmin.admin.imports.imports import get_import_url, list_own_waiting
from orgadmin.admin.lists.changelist import list_all_rows
from orgadmin.models import Import
from orgadmin.records.exports import list_organizations, record_export
from orgadmin.records.import_jobs import is_small, start_preparing
from orgadmin.records.imports.options import REQUEST_LIMITS
from orgadmin.records.imports.stored_imports import (
    prepare_preview,
    store_records,
    store_upload,
)
from orgadmin.records.imports.template import ORGANIZATIONS, respond_with_template


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
                "import/template/",
                protect(self.template_view),
                name="orgadmin_organization_import_template",
            ),
            path(
                "export/",
                protect(self.export_view),
                {"kind": CSV},
                name="orgadmin_organization_export",
            ),
            path(
                "export/xlsx/",
                protect(self.export_view),
                {"kind": XLSX},
                name="orgadmin_organization_export_workbook",
            ),
        ]
        return urls + super().get_urls()

    def export_view(self, request, kind):
        """Download the list as a file, with the search, filters and order of the page.

        The file contains only rows and fields that the person can view.
        """
        organizations = list_all_rows(self, request)
        record_export("organizations", actor=request.user, filters=sorted(request.GET))
        rows = list_organizations(organizations, request.user)
        url = reverse("admin:orgadmin_organization_changelist")
        return respond_with_rows(request, kind, "organizations", rows, page=url)

    def import_view(self, request):
        """Show the form, or store its file and redirect to the preview.

        Raises `PermissionDenied` for everyone except superusers.
        """
        if not is_active_superuser(request.user):
            raise PermissionDenied
        form = UploadForm(request.POST or None, request.FILES or None)
        if form.is_valid():
            stored = upload_file(request, form, Import.Subject.ORGANIZATIONS)
            return redirect(get_import_url(stored))
        title = _("Import organizations")
        return self.render_page(
            request,
            obj=None,
            template="import",
            title=title,
            form=form,
            waiting=list_own_waiting(request.user),
        )

    def template_view(self, request):
        """Download a workbook to fill in.

        Raises `PermissionDenied` for everyone except superusers.
        """
        if not is_active_superuser(request.user):
            raise PermissionDenied
        return respond_with_template(ORGANIZATIONS)


def upload_file(request, form, subject):
    """Store a file, and make its preview, or queue the preview of a large file.

    `subject` is a value of `Import.Subject`. Returns the stored import.
    """
    file = form.cleaned_data["file"]
    choices = form.make_choices()
    stored = store_upload(file, file.name, choices, actor=request.user, subject=subject)
    if file.size <= REQUEST_LIMITS.size:
        store_records(stored)
        if is_small(stored):
            prepare_preview(stored, actor=request.user)
            return stored
    start_preparing(stored)
    return stored
