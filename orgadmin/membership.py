"""The only writer of memberships: who is admin or reviewer of which organization."""

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce

from .models import Organization, User
from .roles import ROLES


@transaction.atomic
def set_role(organization, users, role):
    """Make `role` the one role of `users` in the organization; None takes them out. Return how many changed."""
    through = User.groups.through.objects
    ids = [user.pk for user in users]
    changed = 0
    for other in ROLES:
        members = through.filter(group=getattr(organization, other.attname), user__in=ids)
        if other is role:
            missing = set(ids).difference(members.values_list("user", flat=True))
            group = getattr(organization, role.key)
            group.user_set.add(*missing)
            changed += len(missing)
        else:
            removed, _ = members.delete()
            changed += 0 if role else removed
    return changed


def list_members(organization):
    """Return the memberships of the organization's groups, by user name, with `user` at hand."""
    groups = [getattr(organization, role.attname) for role in ROLES]
    return User.groups.through.objects.filter(group__in=groups).select_related("user").order_by("user__username", "pk")


def count_members(organizations):
    """Return the organizations with their groups, and how many people are in each as `admin_count` and so on."""
    memberships = User.groups.through.objects.order_by().values("group")
    counts = {
        f"{role.key}_count": Coalesce(
            Subquery(memberships.filter(group=OuterRef(role.attname)).values(count=Count("pk"))), 0
        )
        for role in ROLES
    }
    return organizations.select_related(*(role.key for role in ROLES)).annotate(**counts)


def find_double_roles(groups):
    """Return the organizations of which `groups` hold both the admin and the reviewer group."""
    groups = [group.pk for group in groups]
    return Organization.objects.filter(admin__in=groups, reviewer__in=groups)


def replace_roles(before, chosen):
    """Return `chosen` groups without those of `before` that another role in the same organization replaces.

    `before` and `chosen` are sets of groups. Raises ValueError, with the organizations, where both roles are new.
    """
    unclear, replaced = [], set()
    for organization in find_double_roles(chosen):
        old = {getattr(organization, role.attname) for role in ROLES} & {group.pk for group in before}
        if len(old) == 1:
            replaced |= old
        else:
            unclear.append(organization)
    if unclear:
        raise ValueError(unclear)
    return Group.objects.filter(pk__in=[group.pk for group in chosen if group.pk not in replaced])
