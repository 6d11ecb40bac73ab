"""The import page and the export."""

import base64
import hashlib
import io

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.urls import path
from django.utils.translation import gettext_lazy as _

from orgadmin.admin.forms import ImportForm
from orgadmin.records.csv_files import respond_with_csv
from orgadmin.records.exports import list_organizations
from orgadmin.records.imports import ImportRefused, import_organizations


class ExchangePages:
    """Beside the list of organizations: its export, for whoever sees it, and the import, for superusers."""

    def get_urls(self):
        pages = {"import": self.import_view, "export": self.export_view}
        wrap, name = self.admin_site.admin_view, "orgadmin_organization_{}".format
        return [
            path(f"{page}/", wrap(view), name=name(page))
            for page, view in pages.items()
        ] + super().get_urls()

    def export_view(self, request):
        """Download the list as it is searched and sorted: each row that the person sees, and of it what they see."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            changelist = self.get_changelist_instance(request)
            changelist.after = ""  # from the start
            organizations = changelist.get_queryset(request)
        except IncorrectLookupParameters as error:
            raise SuspiciousOperation("The list has no such page or filter.") from error
        return respond_with_csv(
            "organizations", list_organizations(organizations, request.user)
        )

    def import_view(self, request):
        """Show what a file would do; then do it, if it still would do the same."""
        if not (request.user.is_active and request.user.is_superuser):
            raise PermissionDenied
        form, context = ImportForm(request.POST or None, request.FILES or None), {}
        if form.is_valid():
            form.initial["text"] = base64.b64encode(
                form.cleaned_data["content"]
            ).decode()
            try:
                context |= self._run(request.user, form.cleaned_data, dry_run=True)
                if request.POST.get("seen") == context["digest"]:
                    report = self._run(request.user, form.cleaned_data, dry_run=False)[
                        "report"
                    ]
                    text = _(
                        "%(created)d organizations were created and %(changed)d changed, %(people)d people added."
                    )
                    return self.answer(request, text % vars(report), to="../")
            except ImportRefused as error:
                context["problems"] = error.problems
        return self.render_page(
            request, None, "import", _("Import organizations"), form=form, **context
        )

    def _run(self, user, data, dry_run):
        """Return what the file does, and a digest that tells whether it is the same another time."""
        steps, options = (
            [],
            {"actor": user, "send_mail": data["send_mail"], "dry_run": dry_run},
        )
        options["tell"] = lambda line, organization, texts: steps.append(
            (line, str(organization), texts)
        )
        report = import_organizations(io.BytesIO(data["content"]), **options)
        digest = hashlib.sha256(
            repr((steps, data["content"], data["send_mail"])).encode("utf-8", "replace")
        )
        return {"steps": steps, "report": report, "digest": digest.hexdigest()}
