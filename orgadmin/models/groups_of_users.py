"""Makes Django's own managers replace expired memberships.

The row of an expired membership remains until the worker removes it, usually within a
minute. Django would find the row and leave it unchanged, so `user.groups.add(group)`
would silently do nothing. Therefore, `add()` and `set()` first remove this row, as the
worker would do, and then add a new membership without an end.
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
    """Mixin for the managers `user.groups` and `group.user_set`.

    If the chosen memberships exist but have ended, they are replaced by new ones.
    """

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
        """Remove and log the memberships of these objects that have ended.

        `objs` are groups for `user.groups`, or users for `group.user_set`. Locks the
        users, as the worker does, so that each end is logged only once.
        """
        if getattr(self.instance, "is_from_fixture", False):
            # The fixture itself contains the ends of the memberships.
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
        # remove() sends the signal that records changes of other groups in the audit
        # log.
        for row in rows.filter(group__in=others).select_related("user", "group"):
            row.user.groups.remove(row.group)
        rows.delete()


class RenewingDescriptor(ManyToManyDescriptor):
    """Django's descriptor for one side of the relation, with a `RenewingManager`."""

    @cached_property
    def related_manager_cls(self) -> Any:
        manager = super().related_manager_cls
        return type("RenewingRelatedManager", (RenewingManager, manager), {})


def renew_ended_memberships(user_model: type[User]) -> None:
    """Make `user.groups` and `group.user_set` use `RenewingManager`."""
    relation = user_model._meta.get_field("groups").remote_field
    for side, name, reverse in (
        (user_model, "groups", False),
        (Group, "user_set", True),
    ):
        setattr(side, name, RenewingDescriptor(relation, reverse=reverse))
