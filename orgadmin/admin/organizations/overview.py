"""The page on which people read an organization."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType

from orgadmin.access.roles import ADMIN, CONFIDENTIAL_FIELDS
from orgadmin.admin.links import LINKS, add_links
from orgadmin.admin.refused import may_see_admins
from orgadmin.admin.reviews.notices import find_open_requests, find_waiting
from orgadmin.gate.answers import get_gate
from orgadmin.models import Membership, Organization
from orgadmin.models.phone_numbers import format_phone
from orgadmin.people import membership
from orgadmin.people.ends import plan_end
from orgadmin.records.columns import FIELDS
from orgadmin.records.history import (
    Position,
    describe_author,
    is_author_known,
    read_history,
)

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

# The fields that the page lists, in this order. The name and the reference are shown in
# the heading instead.
DETAIL_FIELDS = [name for name in FIELDS if name not in ("name", "reference")]

# The maximum numbers of rows that the page shows.
ADMINS_SHOWN = 5
INVITATIONS_SHOWN = 3
CONTACTS_SHOWN = 5
CHANGES_SHOWN = 3


@dataclass(frozen=True)
class Detail:
    """A field that has a value. `link` is "" if the value is not shown as a link."""

    label: "StrOrPromise"
    text: str
    link: str
    is_confidential: bool


@dataclass(frozen=True)
class FirstRows:
    """The first rows of a list, and whether there are more."""

    rows: list
    has_more: bool


class OverviewPage:
    """The page overview/ below an organization."""

    def overview_view(self, request, organization):
        """Show an organization, limited to what the person can see.

        Besides loading the organization and the person's permissions, runs up to 6
        queries for the changes and 1 for the contacts. Runs 2 more queries if the
        person can see the admins, and 3 more for invitations, reviews and requests if
        they manage members.
        """
        permissions = get_gate(request).permissions_on(organization.pk)
        changes = self._read_last_changes(request, organization)
        contacts = find_first(organization.contacts.all(), CONTACTS_SHOWN)
        add_links(contacts.rows)
        context = {
            "details": list_details(organization, permissions),
            "missing": list_missing(organization, permissions),
            "contacts": contacts,
            "changes": changes,
            "last_change": changes[0] if changes else None,
            "permissions": permissions,
        }
        if may_see_admins(permissions):
            context["admins"] = find_first_admins(organization)
        if "manage_members" in permissions:
            invitations = organization.invitations.order_by("sent_at", "pk")
            first = find_first(invitations, INVITATIONS_SHOWN)
            for invitation in first.rows:
                invitation.end = plan_end(invitation.membership_ends_at)
            context["invitations"] = first
            context["review"] = find_waiting([organization.pk]).get(organization.pk)
            found = find_open_requests([organization.pk])
            context["requests"] = found.get(organization.pk)
        return self.render_page(
            request, organization, "overview", str(organization), **context
        )

    def _read_last_changes(self, request, organization):
        """Return the newest changes that the person can see, with their authors."""
        page = read_history(
            list_log_entries(organization),
            organization,
            get_gate(request),
            Position(),
            limit=CHANGES_SHOWN,
        )
        for entry in page.entries:
            entry.author = describe_author(entry) if is_author_known(entry) else ""
        return page.entries


def list_log_entries(organization):
    """Return the entries about an organization in Django's admin log, with authors."""
    entries = LogEntry.objects.filter(
        object_id=str(organization.pk),
        content_type=ContentType.objects.get_for_model(Organization),
    )
    return entries.select_related("user")


def is_visible(name, permissions):
    return name not in CONFIDENTIAL_FIELDS or "view_confidential" in permissions


def list_details(organization, permissions):
    """Return the fields that have a value and are visible with these permissions."""
    details = []
    for name in DETAIL_FIELDS:
        value = getattr(organization, name)
        if not value or not is_visible(name, permissions):
            continue
        make_link = LINKS.get(name)
        detail = Detail(
            label=Organization._meta.get_field(name).verbose_name,
            text=format_phone(value) if name == "phone" else value,
            link=make_link(value) if make_link else "",
            is_confidential=name in CONFIDENTIAL_FIELDS,
        )
        details.append(detail)
    return details


def list_missing(organization, permissions):
    """Return the labels of the WANTED_FIELDS that are empty.

    Leaves out fields that are not visible with these permissions.
    """
    sees_confidential = "view_confidential" in permissions
    names = organization.find_missing_fields(sees_confidential=sees_confidential)
    return [Organization._meta.get_field(name).verbose_name for name in names]


def find_first(rows, number):
    """Return the first rows of a queryset, up to `number`. Runs one query."""
    first = list(rows[: number + 1])
    return FirstRows(first[:number], has_more=len(first) > number)


def find_first_admins(organization):
    """Return the first active admins, as `Member` in `FirstRows`, sorted by name.

    Runs two queries.
    """
    memberships = (
        Membership.objects.current()
        .filter(group=getattr(organization, ADMIN.attname), user__is_active=True)
        .select_related("user")
        .order_by("user__sort_name", "pk")
    )
    first = find_first(memberships, ADMINS_SHOWN)
    members = membership.describe_members(organization, first.rows)
    return FirstRows(members, first.has_more)
