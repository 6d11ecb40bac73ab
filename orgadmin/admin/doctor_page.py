"""The page that shows superusers what the last run of the doctor has found."""

from __future__ import annotations

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from orgadmin.access.rule import is_active_superuser
from orgadmin.models import DoctorRun


def doctor_run_view(request: HttpRequest) -> HttpResponse:
    """Show how many errors of each kind remain, and what to do about them."""
    if not is_active_superuser(request.user):
        raise Http404
    context = {
        **admin.site.each_context(request),
        "title": _("Errors found by doctor"),
        "run": DoctorRun.objects.order_by("pk").last(),
    }
    return render(request, "admin/orgadmin/doctor_run.html", context)
