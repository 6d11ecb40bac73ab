"""Emails about access that ends soon. `end_reminders.py` decides who gets them.

The outbox passes `language` to each task: the language of the person who caused the
email. Nobody has caused these emails, so the tasks ignore `language`. People who have
not chosen a language get the site's default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from django.conf import settings
from django.urls import reverse
from django_tasks import TaskContext, task

from orgadmin.access.roles import Role
from orgadmin.access.sql import read_clock
from orgadmin.models import Membership, Organization, User
from orgadmin.people import outbox
from orgadmin.people.ends import SOON, PlannedEnd, loses_last_admin
from orgadmin.people.held_roles import find_group_owners
from orgadmin.people.mail import find_people_page, find_recipients, name_person
from orgadmin.people.membership import find_end_of_last_admin
from orgadmin.people.message import escape_for_mail, write_message
from orgadmin.people.security_mail import list_superusers

# An email lists this many ends, and says how many more there are.
MAX_ENDS = 20


class EndKeys(TypedDict):
    """The end of a membership, as stored in the arguments of a task."""

    membership: int
    ends_at: str  # in ISO format


@dataclass(frozen=True)
class _RoleThatEnds:
    """A membership whose end date has not changed since the task was added."""

    user: User
    organization: Organization
    role: Role
    ends_at: datetime

    def describe(self) -> dict[str, Any]:
        """Return the values for a template, with names escaped."""
        return {
            "person": escape_for_mail(name_person(self.user)),
            "organization": escape_for_mail(self.organization.name),
            "role": self.role.label,
            "day": PlannedEnd(self.ends_at),
        }


@task(takes_context=True)
def remind_member(
    context: TaskContext, *, user: int, ends: list[EndKeys], more: int, language: str
) -> None:
    """Remind a person of their roles that end soon.

    Skips roles that the person no longer has, roles in archived organizations, and
    roles whose end date has changed since the task was added. `language` is ignored,
    because nobody caused this email.
    """
    member = find_recipients("mail_own_roles").filter(pk=user).first()
    if member is None:
        return
    roles = [row for row in _find_roles(ends) if row.user == member]
    if not roles:
        return
    message = write_message(
        "own_end",
        to=member.email,
        recipient=member,
        language=settings.LANGUAGE_CODE,
        trusted_values={
            "ends": [row.describe() for row in roles],
            "contact": settings.ACCESS_CONTACT,
        },
        more=more,
    )
    outbox.deliver(message, context)


@task(takes_context=True)
def remind_admin(
    context: TaskContext, *, user: int, ends: list[EndKeys], more: int, language: str
) -> None:
    """Remind an admin of other people's roles that end soon.

    Skips organizations that are archived or of which the recipient is no longer an
    admin, roles that have ended in the meantime, and roles whose end date has changed
    since the task was added. `language` is ignored, because nobody caused this email.
    """
    admin = find_recipients("mail_people").filter(pk=user).first()
    if admin is None:
        return
    own_groups = set(Membership.objects.groups_of(admin).values_list("pk", flat=True))
    roles = [
        row for row in _find_roles(ends) if row.organization.admin_id in own_groups
    ]
    if not roles:
        return
    message = write_message(
        "members_end",
        to=admin.email,
        recipient=admin,
        language=settings.LANGUAGE_CODE,
        trusted_values={
            "ends": [row.describe() for row in roles],
            "page": find_people_page({row.organization.pk for row in roles}),
        },
        more=more,
    )
    outbox.deliver(message, context)


@task(takes_context=True)
def warn_superuser(
    context: TaskContext,
    *,
    user: int,
    organizations: list[int],
    more: int,
    language: str,
) -> None:
    """Warn a superuser of organizations that soon lose their last active admin.

    Skips organizations for which this is no longer true. `language` is ignored, because
    nobody caused this email.
    """
    superuser = list_superusers().filter(pk=user).exclude(email="").first()
    if superuser is None:
        return
    losing = Organization.objects.unarchived().filter(
        loses_last_admin(read_clock() + SOON), pk__in=organizations
    )
    ends = []
    for organization in losing:
        ends_at = find_end_of_last_admin(organization)
        if ends_at is not None:
            name = escape_for_mail(organization.name)
            ends.append({"organization": name, "day": PlannedEnd(ends_at)})
    if not ends:
        return
    page = f"{reverse('admin:orgadmin_organization_changelist')}?admins=ending"
    message = write_message(
        "last_admins_end",
        to=superuser.email,
        recipient=superuser,
        language=settings.LANGUAGE_CODE,
        trusted_values={"ends": ends, "page": settings.BASE_URL + page},
        more=more,
    )
    outbox.deliver(message, context)


def _find_roles(ends: Sequence[EndKeys]) -> list[_RoleThatEnds]:
    """Return the memberships that have not ended, and whose end has not changed.

    Leaves out archived organizations.
    """
    ends_by_membership = {keys["membership"]: keys["ends_at"] for keys in ends}
    rows = (
        Membership.objects.current()
        .filter(pk__in=ends_by_membership)
        .select_related("user")
    )
    members = list(rows.order_by("ends_at", "pk"))
    owners = find_group_owners({row.group_id for row in members})
    found = []
    for row in members:
        if row.ends_at is None or row.ends_at.isoformat() != ends_by_membership[row.pk]:
            continue
        owner = owners.get(row.group_id)
        if owner is None or owner.organization.archived_at is not None:
            continue
        role = _RoleThatEnds(row.user, owner.organization, owner.role, row.ends_at)
        found.append(role)
    return found
