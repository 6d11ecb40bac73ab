"""The pages on which superusers import people, and export the list of people."""

from django.core.exceptions import PermissionDenied
from django.shortcuts import redirect
from django.urls import path, reverse
from django.utils.translation import gettext_lazy as _

from orgadmin.access.rule import is_active_superuser
from orgadmin.admin.downloads import CSV, XLSX, respond_with_rows
from orgadmin.admin.imports.import_export import upload_file
from orgadmin.admin.imports.import_form import PeopleUploadForm
from orgadmin.admin.imports.imports import get_import_url, list_own_waiting
from orgadmin.admin.lists.changelist import list_all_rows
from orgadmin.models import Import
from orgadmin.records.export_people import list_people
from orgadmin.records.exports import record_export
from orgadmin.records.imports.template import PEOPLE, respond_with_template


class PeopleFilePages:
    """The pages import/ and export/ beside the list of people."""

    def get_urls(self):
        protect = self.admin_site.admin_view
        export_view = protect(self.export_list_view)
        urls = [
            path("import/", protect(self.import_view), name="orgadmin_user_import"),
            path(
                "import/template/",
                protect(self.template_view),
                name="orgadmin_user_import_template",
            ),
            path(
                "export/",
                export_view,
                {"kind": CSV},
                name="orgadmin_user_export_list",
            ),
            path(
                "export/xlsx/",
                export_view,
                {"kind": XLSX},
                name="orgadmin_user_export_list_workbook",
            ),
        ]
        return urls + super().get_urls()

    def export_list_view(self, request, kind):
        """Download the list of people with their roles.

        The file follows the search, filters and order of the page. Raises
        `PermissionDenied` for everyone except superusers.
        """
        if not is_active_superuser(request.user):
            raise PermissionDenied
        people = list_all_rows(self, request)
        record_export("people", actor=request.user, filters=sorted(request.GET))
        url = reverse("admin:orgadmin_user_changelist")
        return respond_with_rows(request, kind, "people", list_people(people), page=url)

    def import_view(self, request):
        """Show the form, or store its file and redirect to the preview.

        Raises `PermissionDenied` for everyone except superusers.
        """
        if not is_active_superuser(request.user):
            raise PermissionDenied
        form = PeopleUploadForm(request.POST or None, request.FILES or None)
        if form.is_valid():
            stored = upload_file(request, form, Import.Subject.PEOPLE)
            return redirect(get_import_url(stored))
        return self.render_page(
            request,
            obj=None,
            template="import",
            title=_("Import people"),
            form=form,
            waiting=list_own_waiting(request.user),
        )

    def template_view(self, request):
        """Download a workbook to fill in.

        Raises `PermissionDenied` for everyone except superusers.
        """
        if not is_active_superuser(request.user):
            raise PermissionDenied
        return respond_with_template(PEOPLE)
