"""Records changes of permissions and groups in the audit log.

Changes of people's roles in organizations are in the membership log instead.

Django's related managers, such as `user.user_permissions`, do not call any method of a
model, so a signal is the only way to detect what they change. Code that uses such a
manager must set `changed_by` on its user or group, to say who makes the change.
Otherwise, the audit log does not name an actor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db import models
from django.db.models.signals import m2m_changed

from orgadmin.access.audit_log import SecurityEvent, record, record_all
from orgadmin.access.groups import get_owner_relation
from orgadmin.access.roles import ROLES
from orgadmin.access.signals import find_changed_links

if TYPE_CHECKING:
    from orgadmin.models import User

# {action of the signal: how the audit log names it}
VERBS = {"post_add": "added", "pre_remove": "removed", "pre_clear": "removed"}


def record_group_event(
    event: SecurityEvent, group: Group, *, actor: User | None, **details: Any
) -> None:
    """Record an event about a group, such as its deletion."""
    record(
        event,
        actor=actor,
        details={"group": group.pk, **details},
        personal={"group": group.name},
    )


def list_permissions(group: Group) -> list[str]:
    """Return the model-level permissions of a group, such as "orgadmin.view_user"."""
    return name_permissions(group.permissions.all())


def name_permissions(permissions: models.QuerySet[Permission]) -> list[str]:
    """Return the names of permissions, such as "orgadmin.view_user"."""
    return [
        f"{permission.content_type.app_label}.{permission.codename}"
        for permission in permissions.select_related("content_type")
    ]


def record_permissions_of_users(sender: Any, action: str, **signal: Any) -> None:
    """Record changes of `user.user_permissions`."""
    if action not in VERBS:
        return
    links = find_changed_links(sender, "user", "permission", **signal)
    permissions = Permission.objects.filter(pk__in=links.values("permission"))
    names = name_permissions(permissions)
    if names:
        record_for_users(
            links,
            details={VERBS[action]: names},
            personal={},
            instance=signal["instance"],
        )


def record_groups_of_users(sender: Any, action: str, **signal: Any) -> None:
    """Record changes of `user.groups`, except the groups of organizations."""
    if action not in VERBS:
        return
    links = find_changed_links(sender, "user", "group", **signal)
    groups = exclude_role_groups(Group.objects.filter(pk__in=links.values("group")))
    names_by_pk = dict(groups.values_list("pk", "name"))
    if names_by_pk:
        record_for_users(
            links.filter(group__in=list(names_by_pk)),
            details={f"groups {VERBS[action]}": list(names_by_pk)},
            personal={"groups": ", ".join(names_by_pk.values())},
            instance=signal["instance"],
        )


def record_permissions_of_groups(sender: Any, action: str, **signal: Any) -> None:
    """Record changes of `group.permissions`."""
    if action not in VERBS:
        return
    links = find_changed_links(sender, "group", "permission", **signal)
    permissions = Permission.objects.filter(pk__in=links.values("permission"))
    names = name_permissions(permissions)
    for group in Group.objects.filter(pk__in=links.values("group")):
        record_group_event(
            SecurityEvent.PERMISSIONS_CHANGED,
            group,
            actor=getattr(signal["instance"], "changed_by", None),
            **{VERBS[action]: names},
        )


def exclude_role_groups(groups: models.QuerySet) -> models.QuerySet:
    """Leave out the groups of organizations."""
    for role in ROLES:
        groups = groups.filter(**{f"{get_owner_relation(role)}__isnull": True})
    return groups


def record_for_users(
    links: models.QuerySet,
    *,
    details: dict[str, Any],
    personal: dict[str, str],
    instance: models.Model,
) -> None:
    """Record a change of permissions for each user that the links belong to.

    `instance` is the object whose manager made the change, such as the user in
    `user.groups.add()`.
    """
    users = get_user_model()._base_manager.filter(pk__in=links.values("user"))
    record_all(
        SecurityEvent.PERMISSIONS_CHANGED,
        cast(Any, users),
        actor=getattr(instance, "changed_by", None),
        details=details,
        personal=personal,
    )


def list_receivers() -> list[tuple[Any, Any]]:
    """Return a list of (receiver, sender) for the signal `m2m_changed`."""
    User = get_user_model()
    return [
        (record_permissions_of_users, User.user_permissions.through),
        (record_groups_of_users, User.groups.through),
        (record_permissions_of_groups, Group.permissions.through),
    ]


def connect_signals() -> None:
    for receiver, sender in list_receivers():
        m2m_changed.connect(receiver, sender=sender)


def disconnect_signals() -> None:
    for receiver, sender in list_receivers():
        m2m_changed.disconnect(receiver, sender=sender)
