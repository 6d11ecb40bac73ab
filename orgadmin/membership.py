"""The only writer of memberships: who is admin or reviewer of which organization."""

from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

from .models import Organization, User
from .roles import ROLES


@transaction.atomic
def set_role(organization, users, role):
    """Make `role` the one role of `users` in the organization; None takes them out. Return the users that it changed.

    Raises Organization.DoesNotExist where it was deleted meanwhile.
    """
    organization = _lock([organization.pk]).get()
    through = User.groups.through.objects.filter(group__in=organization.group_ids)
    group = getattr(organization, role.attname) if role else None
    before = {}
    for user, held in through.filter(user__in=[user.pk for user in users]).values_list("user", "group"):
        before.setdefault(user, set()).add(held)
    after = {group} if role else set()
    changed = [user for user in users if before.get(user.pk, set()) != after]
    through.filter(user__in=[user.pk for user in changed]).exclude(group=group).delete()
    if role:
        getattr(organization, role.key).user_set.add(*changed)
    return changed


@transaction.atomic
def set_groups(user, chosen):
    """Make `chosen` the groups of `user`. A new role in an organization replaces the one that was there.

    Raises ValueError, with the organizations, where both roles in an organization are new.
    """
    ids = {group.pk for group in (*chosen, *user.groups.all())}
    list(_lock(Organization.objects.filter(Q(admin__in=ids) | Q(reviewer__in=ids)).values("pk")))
    user.groups.set(replace_roles(set(user.groups.all()), set(chosen)))


def _lock(pks):
    """Return organizations, locked: their memberships change one after the other, so that nobody gets both roles."""
    return Organization.objects.filter(pk__in=pks).order_by("pk").select_for_update(no_key=True)


def list_members(organization):
    """Return the memberships of the organization's groups, by user name, with `user` at hand."""
    memberships = User.groups.through.objects.filter(group__in=organization.group_ids)
    return memberships.select_related("user").order_by("user__username", "pk")


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
