"""What needs the attention of platform staff: numbers that lead to filtered lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection, models
from django.db.models import Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import ngettext

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.access.rule import is_active_superuser
from orgadmin.access.sql import write_constant
from orgadmin.admin.people.lists import is_inactive_with_role
from orgadmin.gate.answers import get_gate
from orgadmin.models import (
    AccessRequest,
    AuditEvent,
    DoctorRun,
    Invitation,
    Organization,
    ReviewSection,
    User,
)
from orgadmin.people.ends import FORESEEN, loses_last_admin
from orgadmin.people.unsent import OutboxState
from orgadmin.records.backup_status import find_backup_problem

# The maximum number of rows that are counted.
MAX_COUNT = 1_000

# How long refused imports are counted if no later import succeeds.
REFUSED_IMPORTS_SHOWN_FOR = timedelta(days=30)


@dataclass(frozen=True)
class Concern:
    """A number of things that need attention, and the page that lists them."""

    count: int
    text: str  # describes what was counted, in the singular or plural
    url: str

    @property
    def number(self) -> str:
        """The formatted number, such as "1,000+"."""
        if self.count > MAX_COUNT:
            return f"{number_format(MAX_COUNT, force_grouping=True)}+"
        return number_format(self.count, force_grouping=True)


@dataclass(frozen=True)
class Count:
    """Rows to count, with the text about their number and the page that lists them."""

    rows: models.QuerySet
    describe: Callable[[int], str]
    url: str


def list_concerns(
    request: HttpRequest, outbox: OutboxState | None
) -> list[Concern] | None:
    """Return what needs attention. Concerns with the number 0 are left out.

    `outbox` is the state of the outbox, or None if nothing is wrong with it. Returns
    None for people who are not allowed to see the numbers. Runs one query, and one more
    for superusers.
    """
    gate = get_gate(request)
    if not gate.permits_everywhere("manage_members"):
        # Only people who manage the members of an organization are allowed to see who
        # its admins are and who was invited.
        return None
    counts = list_admin_counts() + list_waiting_counts()
    is_superuser = is_active_superuser(request.user)
    if is_superuser:
        counts += list_site_counts()
    numbers = count_all([count.rows for count in counts])
    concerns = [
        Concern(number, count.describe(number), count.url)
        for count, number in zip(counts, numbers)
    ]
    if outbox is not None:
        concerns.append(describe_unsent_mail(outbox.given_up))
    if is_superuser:
        concerns.append(examine_last_doctor_run())
        concerns.append(examine_backups())
    return [concern for concern in concerns if concern.count]


def list_admin_counts() -> list[Count]:
    """Return what to count about the admins of organizations."""
    organizations = reverse("admin:orgadmin_organization_changelist")
    rows = Organization.objects.unarchived().order_by()
    return [
        Count(
            rows.filter(active_admins=write_constant(0)),
            lambda count: ngettext(
                "organization without an active admin",
                "organizations without an active admin",
                count,
            ),
            f"{organizations}?admins=none",
        ),
        Count(
            rows.filter(active_admins=write_constant(1)),
            lambda count: ngettext(
                "organization with only one admin",
                "organizations with only one admin",
                count,
            ),
            f"{organizations}?admins=one",
        ),
        Count(
            rows.filter(loses_last_admin(timezone.now() + FORESEEN)),
            lambda count: ngettext(
                "organization whose admins' access ends within 30 days",
                "organizations whose admins' access ends within 30 days",
                count,
            ),
            f"{organizations}?admins=ending",
        ),
    ]


def list_waiting_counts() -> list[Count]:
    """Return what to count about invitations, requests and access reviews."""
    organizations = reverse("admin:orgadmin_organization_changelist")
    invitations = Invitation.objects.of_unarchived()
    requests = AccessRequest.objects.open().of_unarchived()
    sections = ReviewSection.objects.waiting().of_unarchived()
    return [
        Count(
            invitations.expired().order_by().values("organization").distinct(),
            lambda count: ngettext(
                "organization with an expired invitation",
                "organizations with expired invitations",
                count,
            ),
            f"{organizations}?invitations=expired",
        ),
        Count(
            requests.order_by().values("organization").distinct(),
            lambda count: ngettext(
                "organization with a request for access",
                "organizations with requests for access",
                count,
            ),
            f"{organizations}?waiting=requests",
        ),
        Count(
            sections.order_by().values("organization_key").distinct(),
            lambda count: ngettext(
                "organization without an answer in an access review",
                "organizations without an answer in an access review",
                count,
            ),
            f"{organizations}?waiting=review",
        ),
    ]


def list_site_counts() -> list[Count]:
    """Return what to count for superusers only."""
    people = reverse("admin:orgadmin_user_changelist")
    audit_log = reverse("admin:orgadmin_auditevent_changelist")
    reviews = reverse("admin:orgadmin_accessreview_changelist")
    unanswered = ReviewSection.objects.unanswered().order_by()
    unanswered = unanswered.filter(review__completed_at=None)
    return [
        Count(
            unanswered.filter(organization_key=None),
            lambda count: ngettext(
                "access review that waits for platform staff",
                "access reviews that wait for platform staff",
                count,
            ),
            reviews,
        ),
        Count(
            find_members_who_cannot_sign_in(),
            lambda count: ngettext(
                "member who cannot sign in", "members who cannot sign in", count
            ),
            f"{people}?status=cannot-sign-in",
        ),
        Count(
            find_refused_imports(),
            lambda count: ngettext("refused import", "refused imports", count),
            f"{audit_log}?event=import+refused",
        ),
    ]


def find_members_who_cannot_sign_in() -> models.QuerySet[User]:
    return User.objects.filter(is_inactive_with_role()).order_by()


def find_refused_imports() -> models.QuerySet[AuditEvent]:
    """Return the imports that were refused after the last successful import.

    Leaves out imports that were refused more than REFUSED_IMPORTS_SHOWN_FOR ago.
    """
    events = AuditEvent.objects.order_by()
    imports = events.filter(event=SecurityEvent.IMPORTED).order_by("-at", "-pk")
    since = timezone.now() - REFUSED_IMPORTS_SHOWN_FOR
    last_import = Coalesce(Subquery(imports.values("at")[:1]), since)
    refused = events.filter(event=SecurityEvent.IMPORT_REFUSED, at__gt=since)
    return refused.filter(at__gt=last_import)


def describe_unsent_mail(count: int) -> Concern:
    text = ngettext(
        "email that could not be sent", "emails that could not be sent", count
    )
    return Concern(count, text, reverse("admin:unsent_mail"))


def examine_last_doctor_run() -> Concern:
    run = DoctorRun.objects.order_by("pk").last()
    count = run.total if run is not None else 0
    text = ngettext("error found by doctor", "errors found by doctor", count)
    return Concern(count, text, reverse("admin:doctor_run"))


def examine_backups() -> Concern:
    count = 0 if find_backup_problem() is None else 1
    text = ngettext("problem with the backups", "problems with the backups", count)
    return Concern(count, text, reverse("admin:doctor_run"))


def count_all(querysets: Sequence[models.QuerySet]) -> list[int]:
    """Return the number of rows of each queryset, at most MAX_COUNT + 1.

    Runs one query.
    """
    columns = []
    parameters: list[Any] = []
    for queryset in querysets:
        rows = queryset[: MAX_COUNT + 1]
        if not rows.query.distinct:
            rows = queryset.values("pk")[: MAX_COUNT + 1]
        sql, values = rows.query.sql_with_params()
        columns.append(f"(SELECT COUNT(*) FROM ({sql}) AS counted)")
        parameters += values
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(columns)}", parameters)
        return list(cursor.fetchone())
