"""What the list of people shows and filters by, besides fields."""

from dataclasses import dataclass

from django.db import connection
from django.db.models import Exists, OuterRef, Q
from django.utils.html import escape
from django.utils.safestring import mark_safe
from django.utils.translation import gettext as _, gettext_lazy, ngettext

from orgadmin.access.ends import not_ended
from orgadmin.access.roles import ROLES, ROLES_BY_KEY
from orgadmin.access.rule import SUPERUSERS_ONLY, is_active_superuser
from orgadmin.access.sql import placeholders
from orgadmin.admin.filters import ChoiceFilter
from orgadmin.models import Membership, Organization

# In how many organizations people have each role. Parameters: the IDs of the people.
# With joins, PostgreSQL would read all organizations.
NUMBERS_OF_ROLES = """
    SELECT
        membership.user_id,
        COUNT((
            SELECT 1
            FROM orgadmin_organization administered
            WHERE administered.admin_id = membership.group_id
                AND administered.archived_at IS NULL
        )),
        COUNT((
            SELECT 1
            FROM orgadmin_organization reviewed
            WHERE reviewed.reviewer_id = membership.group_id
                AND reviewed.archived_at IS NULL
        ))
    FROM orgadmin_user_groups membership
    WHERE membership.user_id IN ({users}) AND {not_ended}
    GROUP BY membership.user_id
"""


class RoleFilter(ChoiceFilter):
    """Only superusers may know who has which role."""

    title = gettext_lazy("Role")
    parameter_name = "role"
    permission = SUPERUSERS_ONLY
    options = {
        "admin": gettext_lazy("Admin of an organization"),
        "reviewer": gettext_lazy("Reviewer of an organization"),
        "superuser": gettext_lazy("Platform staff"),
        "staff": gettext_lazy("Delegated staff"),
    }

    def narrow(self, queryset):
        if self.value == "superuser":
            return queryset.filter(is_superuser=True)
        if self.value == "staff":
            return queryset.filter(is_staff=True, is_superuser=False)
        role = ROLES_BY_KEY[self.value]
        groups = Organization.objects.unarchived().order_by().values(role.key)
        return queryset.filter(pk__in=Membership.objects.users_in(groups))


class StatusFilter(ChoiceFilter):
    """Everyone who may view the list may know which accounts are active."""

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
        inactive = queryset.filter(is_active=False)
        if self.value == "cannot-sign-in":
            return inactive.filter(has_role())
        return inactive


def has_role():
    """Return the condition that a person has a role somewhere.

    For a group that is of one kind or the other, PostgreSQL would read all
    organizations.
    """
    condition = Q()
    for role in ROLES:
        groups = Organization.objects.unarchived().order_by().values(role.key)
        memberships = Membership.objects.current().filter(
            user=OuterRef("pk"), group__in=groups
        )
        condition |= Q(Exists(memberships))
    return condition


@dataclass(frozen=True)
class NumbersOfRoles:
    """In how many organizations a person is admin, and in how many reviewer."""

    admin: int = 0
    reviewer: int = 0


def find_numbers_of_roles(users):
    """Return {user ID: NumbersOfRoles} of those who have a role. Runs one query."""
    pks = [user.pk for user in users]
    if not pks:
        return {}
    statement = NUMBERS_OF_ROLES.format(users=placeholders(pks), not_ended=not_ended())
    with connection.cursor() as cursor:
        cursor.execute(statement, pks)
        return {
            pk: NumbersOfRoles(admin, reviewer)
            for pk, admin, reviewer in cursor.fetchall()
        }


def render_roles(user, numbers):
    """Return badges that sum up what a person may do."""
    badges = []
    if user.is_superuser:
        badges.append(_("Platform staff"))
    elif user.is_staff:
        badges.append(_("Delegated staff"))
    if numbers.admin:
        text = ngettext("Admin of %d", "Admin of %d", numbers.admin)
        badges.append(text % numbers.admin)
    if numbers.reviewer:
        text = ngettext("Reviewer of %d", "Reviewer of %d", numbers.reviewer)
        badges.append(text % numbers.reviewer)
    return mark_safe(
        " ".join(f'<span class="badge role">{escape(text)}</span>' for text in badges)
    )


def render_status(user):
    if user.is_active:
        return ""
    return mark_safe(f'<span class="badge warn">{escape(_("Inactive"))}</span>')
