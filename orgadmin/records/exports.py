"""Exporting organizations and the membership log."""

from collections import defaultdict
from itertools import islice

from django.utils import timezone

from orgadmin.access.roles import CONFIDENTIAL_FIELDS
from orgadmin.models import Organization, User
from orgadmin.records.columns import FIELDS, PEOPLE
from orgadmin.records.imports import BATCH


def list_organizations(organizations, user):
    """Yield a header and a row for each of `organizations`, a queryset of what `user` may view.
    Confidential cells are empty where the user may not see them; superusers get the people, and a file to import."""
    people = PEOPLE if user.is_superuser else {}
    yield "id", *FIELDS, *people
    rows = organizations.iterator(chunk_size=BATCH)
    for batch in iter(lambda: list(islice(rows, BATCH)), []):
        confidential = Organization.objects.permitted(
            user, "view_confidential"
        ).order_by()
        confidential = set(
            confidential.filter(pk__in=[row.pk for row in batch]).values_list(
                "pk", flat=True
            )
        )
        addresses = defaultdict(list)
        groups = [group for row in batch for group in row.group_ids] if people else []
        members = User.groups.through.objects.filter(group__in=groups).exclude(
            user__email=""
        )
        for group, email in members.order_by("user__email").values_list(
            "group", "user__email"
        ):
            addresses[group].append(email)
        for row in batch:
            hidden = () if row.pk in confidential else CONFIDENTIAL_FIELDS
            values = (None if name in hidden else getattr(row, name) for name in FIELDS)
            yield (
                row.pk,
                *values,
                *(
                    "; ".join(addresses[getattr(row, role.attname)])
                    for role in people.values()
                ),
            )


def list_events(events):
    """Yield a header and a row for each event of the ledger."""
    yield (
        "at",
        "event",
        "person",
        "organization_id",
        "organization",
        "role",
        "by",
        "reason",
    )
    for event in events:
        what = (
            event.event,
            event.user_name,
            event.organization_key,
            event.organization_name,
            event.role,
        )
        yield (
            timezone.localtime(event.at).isoformat(timespec="seconds"),
            *what,
            event.actor_name,
            event.reason,
        )
