"""The filters of the list of people, and its columns that are not fields."""

from dataclasses import dataclass

from django.db import connection
from django.db.models import Exists, OuterRef, Q
from django.utils.html import escape
from django.utils.safestring import mark_safe
from django.utils.text import format_lazy
from django.utils.translation import (
    gettext as _,
    gettext_lazy,
    ngettext,
    pgettext,
    pgettext_lazy,
)

from orgadmin.access.ends import not_ended
from orgadmin.access.roles import ROLES, ROLES_BY_KEY, Role
from orgadmin.access.rule import SUPERUSERS_ONLY, is_active_superuser
from orgadmin.access.sql import placeholders
from orgadmin.admin.lists.filters import ChoiceFilter
from orgadmin.models import RoleHolder

# The maximum number of memberships that are counted for each person. Without a limit, a
# page would take longer for people with many organizations.
MAX_COUNTED_MEMBERSHIPS = 100

# Returns for each person: the ID, the number of memberships, and for each role, the
# number of unarchived organizations. Reads at most MAX_COUNTED_MEMBERSHIPS + 1 current
# memberships of each person. The ORM cannot join a subquery with a LIMIT. Parameters:
# the IDs of the people.
ROLE_COUNTS_SQL = """
    SELECT
        member.id,
        (SELECT COUNT(*) FROM ({first_memberships}) AS first_ones),
        {numbers}
    FROM orgadmin_user member
    WHERE member.id IN ({users})
"""
ROLE_COUNT_SQL = """
    (
        SELECT COUNT(*)
        FROM ({first_memberships}) AS first_ones
        JOIN orgadmin_organization organization
            ON organization.{role}_id = first_ones.group_id
            AND organization.archived_at IS NULL
    )
"""
FIRST_MEMBERSHIPS_SQL = """
    SELECT membership.group_id
    FROM orgadmin_user_groups membership
    WHERE membership.user_id = member.id AND {not_ended}
    LIMIT {limit}
"""


class RoleFilter(ChoiceFilter):
    """Finds people by role, for superusers only. Others must not see all roles.

    As in the badges of the list, "Platform staff" are superusers, and "Delegated staff"
    are other staff.
    """

    title = gettext_lazy("Role")
    parameter_name = "role"
    permission = SUPERUSERS_ONLY
    options = {
        role.key: format_lazy(
            gettext_lazy("{role} of an organization"), role=role.label
        )
        for role in ROLES
    } | {
        "superuser": pgettext_lazy("kind of account", "Platform staff"),
        "staff": gettext_lazy("Delegated staff"),
    }

    def narrow(self, queryset):
        if self.value == "superuser":
            return queryset.filter(is_superuser=True)
        if self.value == "staff":
            return queryset.filter(is_staff=True, is_superuser=False)
        return queryset.filter(holds_role(ROLES_BY_KEY[self.value]))


def holds_role(role):
    """Return the condition that a person has a role in an unarchived organization."""
    holders = RoleHolder.objects.current(role)
    return Exists(holders.filter(user=OuterRef("pk")))


class StatusFilter(ChoiceFilter):
    """Finds active or inactive people.

    Everyone who can view the list can see which accounts are active. Superusers have
    more options.
    """

    title = gettext_lazy("Status")
    parameter_name = "status"
    permission = "view"
    options = {
        "active": gettext_lazy("Active"),
        "inactive": gettext_lazy("Inactive"),
    }
    options_for_superusers = {
        "cannot-sign-in": gettext_lazy("Has a role, but cannot sign in"),
        "never": gettext_lazy("Has never signed in"),
    }

    def list_options(self):
        if is_active_superuser(self.request.user):
            return self.options | self.options_for_superusers
        return self.options

    def narrow(self, queryset):
        if self.value == "active":
            return queryset.filter(is_active=True)
        if self.value == "never":
            return queryset.filter(last_login=None)
        if self.value == "cannot-sign-in":
            return queryset.filter(is_inactive_with_role())
        # The only other value is "inactive".
        return queryset.filter(is_active=False)


def is_inactive_with_role():
    """Return the condition that a person is inactive and has a role.

    Most inactive people do not have a role. To find those who have one quickly, the
    database starts with the role holders that are marked as possibly inactive.
    """
    holders = RoleHolder.objects.current().filter(may_be_inactive=True)
    return Q(Exists(holders.filter(user=OuterRef("pk"))), is_active=False)


@dataclass(frozen=True)
class RoleCounts:
    """The numbers of organizations in which a person holds each role.

    If `are_minimum` is True, the actual numbers may be higher, because not all
    memberships were counted.
    """

    by_role: dict[Role, int]
    are_minimum: bool


NO_ROLES = RoleCounts(dict.fromkeys(ROLES, 0), are_minimum=False)


def count_roles(users):
    """Return {user ID: RoleCounts}. Runs one query."""
    pks = [user.pk for user in users]
    if not pks:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(build_role_counts_sql(pks), pks)
        return {
            pk: RoleCounts(
                dict(zip(ROLES, numbers)), are_minimum=total > MAX_COUNTED_MEMBERSHIPS
            )
            for pk, total, *numbers in cursor.fetchall()
        }


def build_role_counts_sql(pks):
    """Return ROLE_COUNTS_SQL with a placeholder for each ID."""
    first_memberships = FIRST_MEMBERSHIPS_SQL.format(
        not_ended=not_ended(), limit=MAX_COUNTED_MEMBERSHIPS + 1
    )
    numbers = [
        ROLE_COUNT_SQL.format(first_memberships=first_memberships, role=role.key)
        for role in ROLES
    ]
    return ROLE_COUNTS_SQL.format(
        first_memberships=first_memberships,
        numbers=", ".join(numbers),
        users=placeholders(pks),
    )


def render_roles(user, counts):
    """Return badges that summarize what a person can do on the site."""
    badges = []
    if user.is_superuser:
        badges.append(pgettext("kind of account", "Platform staff"))
    elif user.is_staff:
        badges.append(_("Delegated staff"))
    for role, number in counts.by_role.items():
        if number:
            badges.append(describe_number(role, number, counts.are_minimum))
    return mark_safe(
        " ".join(f'<span class="badge role">{escape(text)}</span>' for text in badges)
    )


def describe_number(role, number, is_minimum):
    """Return in how many organizations a person holds a role, such as "Admin of 2"."""
    if is_minimum:
        text = _("%(role)s of %(number)d or more")
    else:
        text = ngettext("%(role)s of %(number)d", "%(role)s of %(number)d", number)
    return text % {"role": role.label, "number": number}


def render_status(user):
    if user.is_active:
        return ""
    return mark_safe(f'<span class="badge warn">{escape(_("Inactive"))}</span>')
