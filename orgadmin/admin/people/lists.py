"""The filters of the list of people, and its columns that are not fields."""

from dataclasses import dataclass

from django.db import connection
from django.db.models import Exists, OuterRef, Q
from django.utils.html import escape
from django.utils.safestring import mark_safe
from django.utils.translation import (
    gettext as _,
    gettext_lazy,
    ngettext,
    pgettext,
    pgettext_lazy,
)

from orgadmin.access.ends import not_ended
from orgadmin.access.roles import ROLES_BY_KEY
from orgadmin.access.rule import SUPERUSERS_ONLY, is_active_superuser
from orgadmin.access.sql import placeholders
from orgadmin.admin.lists.filters import ChoiceFilter
from orgadmin.models import RoleHolder

# The maximum number of memberships that are counted for each person. Without a limit, a
# page would take longer for people with many organizations.
MAX_COUNTED_MEMBERSHIPS = 100

# Returns for each person: the ID, the number of unarchived organizations of which they
# are admin, the number of which they are reviewer, and the number of memberships. All
# numbers are about at most MAX_COUNTED_MEMBERSHIPS + 1 current memberships of the
# person. Parameters: the IDs of the people.
NUMBERS_OF_ROLES_SQL = """
    SELECT
        member.id,
        (
            SELECT COUNT(*)
            FROM ({first_memberships}) AS first_ones
            JOIN orgadmin_organization administered
                ON administered.admin_id = first_ones.group_id
                AND administered.archived_at IS NULL
        ),
        (
            SELECT COUNT(*)
            FROM ({first_memberships}) AS first_ones
            JOIN orgadmin_organization reviewed
                ON reviewed.reviewer_id = first_ones.group_id
                AND reviewed.archived_at IS NULL
        ),
        (SELECT COUNT(*) FROM ({first_memberships}) AS first_ones)
    FROM orgadmin_user member
    WHERE member.id IN ({users})
"""
FIRST_MEMBERSHIPS_SQL = """
    SELECT membership.group_id
    FROM orgadmin_user_groups membership
    WHERE membership.user_id = member.id AND {not_ended}
    LIMIT {limit}
"""


class RoleFilter(ChoiceFilter):
    """Finds people by role, for superusers only. Others must not see all roles.

    The labels are those of the badges in the list: "Platform staff" are superusers, and
    "Delegated staff" are other staff.
    """

    title = gettext_lazy("Role")
    parameter_name = "role"
    permission = SUPERUSERS_ONLY
    options = {
        "admin": gettext_lazy("Admin of an organization"),
        "reviewer": gettext_lazy("Reviewer of an organization"),
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
    """Return the condition that a person has a role in an organization."""
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
class NumbersOfRoles:
    """The numbers of organizations in which a person is admin, and is reviewer.

    If `are_minimum` is True, the actual numbers may be higher, because not all
    memberships were counted.
    """

    admin: int = 0
    reviewer: int = 0
    are_minimum: bool = False


def find_numbers_of_roles(users):
    """Return {user ID: NumbersOfRoles}. Runs one query."""
    pks = [user.pk for user in users]
    if not pks:
        return {}
    first_memberships = FIRST_MEMBERSHIPS_SQL.format(
        not_ended=not_ended(), limit=MAX_COUNTED_MEMBERSHIPS + 1
    )
    statement = NUMBERS_OF_ROLES_SQL.format(
        first_memberships=first_memberships, users=placeholders(pks)
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, pks)
        return {
            pk: NumbersOfRoles(
                admin, reviewer, are_minimum=total > MAX_COUNTED_MEMBERSHIPS
            )
            for pk, admin, reviewer, total in cursor.fetchall()
        }


def render_roles(user, numbers):
    """Return badges that summarize what a person can do on the site."""
    badges = []
    if user.is_superuser:
        badges.append(pgettext("kind of account", "Platform staff"))
    elif user.is_staff:
        badges.append(_("Delegated staff"))
    if numbers.admin:
        badges.append(describe_admin(numbers))
    if numbers.reviewer:
        badges.append(describe_reviewer(numbers))
    return mark_safe(
        " ".join(f'<span class="badge role">{escape(text)}</span>' for text in badges)
    )


def describe_admin(numbers):
    if numbers.are_minimum:
        return _("Admin of %d or more") % numbers.admin
    text = ngettext("Admin of %d", "Admin of %d", numbers.admin)
    return text % numbers.admin


def describe_reviewer(numbers):
    if numbers.are_minimum:
        return _("Reviewer of %d or more") % numbers.reviewer
    text = ngettext("Reviewer of %d", "Reviewer of %d", numbers.reviewer)
    return text % numbers.reviewer


def render_status(user):
    if user.is_active:
        return ""
    return mark_safe(f'<span class="badge warn">{escape(_("Inactive"))}</span>')
