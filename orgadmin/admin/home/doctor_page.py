"""The page on which superusers see what the doctor found, and whether backups work."""

from __future__ import annotations

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from orgadmin.access.rule import is_active_superuser
from orgadmin.models import DoctorRun
from orgadmin.records.backup_status import find_backup_problem


def doctor_run_view(request: HttpRequest) -> HttpResponse:
    """Show how many errors of each kind the last run found, and how to repair them.

    For everyone except superusers, the page does not exist.

    Also shows problems with the backups, if the backups report their state to the site.
    """
    if not is_active_superuser(request.user):
        raise Http404
    context = {
        **admin.site.each_context(request),
        "title": _("Errors found by doctor"),
        "run": DoctorRun.objects.order_by("pk").last(),
        "backup_problem": find_backup_problem(),
    }
    return render(request, "admin/orgadmin/doctor_run.html", context)
