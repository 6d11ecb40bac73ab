"""Lets Django's own managers renew memberships that have ended by their date.

The row of such a membership remains for a minute or so. Django would find it, and leave
it as it is: `user.groups.add(group)` would do nothing, and say nothing. So `add()` and
`set()` remove it first, as the worker would, and then add a new one, without an end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import Group
from django.db import models, router, transaction
from django.db.models.fields.related_descriptors import ManyToManyDescriptor
from django.utils.functional import cached_property

from orgadmin.access.membership_log import write_ended_memberships
from orgadmin.access.permission_log import exclude_role_groups
from orgadmin.models.guards import lock_users
from orgadmin.models.membership import Membership

if TYPE_CHECKING:
    from orgadmin.models.user import User


class RenewingManager:
    """What `user.groups` and `group.user_set` have before Django's own methods."""

    if TYPE_CHECKING:
        instance: models.Model
        through: type[models.Model]
        source_field_name: str
        target_field_name: str
        _get_target_ids: Any

    def add(self, *objs: Any, **options: Any) -> None:
        with transaction.atomic(using=self._find_database()):
            self._remove_ended(objs)
            manager: Any = super()
            manager.add(*objs, **options)

    add.alters_data = True  # type: ignore[attr-defined]

    def set(self, objs: Iterable[Any], **options: Any) -> None:
        chosen = tuple(objs)
        with transaction.atomic(using=self._find_database()):
            self._remove_ended(chosen)
            manager: Any = super()
            manager.set(chosen, **options)

    set.alters_data = True  # type: ignore[attr-defined]

    def _find_database(self) -> str:
        return router.db_for_write(self.through, instance=self.instance)

    def _remove_ended(self, objs: Iterable[Any]) -> None:
        """Remove the rows of memberships that have ended, and log it.

        Locks their users, as the worker does, so only one of them does it.
        """
        if getattr(self.instance, "is_from_fixture", False):
            # A fixture contains the ends, too.
            return
        using = self._find_database()
        keys = self._get_target_ids(self.target_field_name, objs)
        ended = Membership.objects.using(using).ended()
        rows = ended.filter(
            **{self.source_field_name: self.instance.pk},
            **{f"{self.target_field_name}__in": keys},
        )
        users = set(rows.values_list("user", flat=True))
        if not users:
            return
        lock_users(users, using=using)
        write_ended_memberships(rows)
        groups = Group.objects.using(using).filter(pk__in=rows.values("group"))
        others = set(exclude_role_groups(groups).values_list("pk", flat=True))
        # The audit log records changes of groups that are no roles. These have ended.
        for row in rows.filter(group__in=others).select_related("user", "group"):
            row.user.groups.remove(row.group)
        rows.delete()


class RenewingDescriptor(ManyToManyDescriptor):
    @cached_property
    def related_manager_cls(self) -> Any:
        manager = super().related_manager_cls
        return type("RenewingRelatedManager", (RenewingManager, manager), {})


def renew_ended_memberships(user_model: type[User]) -> None:
    """Give both sides of the relation between users and groups such a manager."""
    relation = user_model._meta.get_field("groups").remote_field
    for side, name, reverse in (
        (user_model, "groups", False),
        (Group, "user_set", True),
    ):
        setattr(side, name, RenewingDescriptor(relation, reverse=reverse))
