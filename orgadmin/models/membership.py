"""Membership: a person in a group, and when this ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Case, When
from django.db.models.functions import Now

from orgadmin.access.ends import is_current

if TYPE_CHECKING:
    from orgadmin.models.user import User


class MembershipQuerySet(models.QuerySet["Membership"]):
    def current(self) -> Self:
        """Leave out memberships that have ended, but whose rows still exist.

        The worker removes these rows, usually within a minute. tests/test_reads.py
        fails for code that reads memberships without deciding whether ended ones count.
        """
        return self.filter(is_current())

    def ended(self) -> Self:
        """Return the memberships that have ended, but whose rows still exist."""
        return self.filter(ends_at__lte=Now())

    def tell_ended(self) -> Self:
        """Add the attribute `has_ended` to each membership."""
        has_ended = Case(When(ends_at__lte=Now(), then=True), default=False)
        return self.annotate(has_ended=has_ended)

    def groups_of(self, user: User) -> models.QuerySet[Group]:
        """Return the groups in which a user has a current membership."""
        rows = self.current().filter(user=user)
        return Group.objects.filter(pk__in=rows.values("group"))

    def users_in(self, groups: Any) -> models.QuerySet[Any, Any]:
        """Return the IDs of users with a current membership in any of these groups."""
        return self.current().filter(group__in=groups).values("user")


class Membership(models.Model):
    """A row of the table behind `User.groups`, with its end.

    Django manages the table as part of `User.groups`, and ignores the end.
    `orgadmin.access.ends` explains what the end means.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="memberships",
    )
    group = models.ForeignKey(
        Group,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="memberships",
    )
    ends_at = models.DateTimeField(null=True)

    if TYPE_CHECKING:
        has_ended: bool  # after `tell_ended()`

    objects = MembershipQuerySet.as_manager()

    class Meta:
        managed = False
        db_table = "orgadmin_user_groups"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.user_id} in {self.group_id}"

    def _save_table(
        self,
        raw: bool = False,
        cls: Any = None,
        force_insert: bool = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Any = None,
    ) -> bool:
        """Save the row. When a fixture is loaded, create it or update only its end.

        A fixture contains each membership twice: among the groups of its user, and here
        with its end. The one that is loaded first creates the row, and the database
        chooses the ID.
        """
        if not raw:
            # Django's type hints leave out this method.
            saves: Any = super()
            return saves._save_table(
                raw, cls, force_insert, force_update, using, update_fields
            )
        row = Membership(
            user_id=self.user_id, group_id=self.group_id, ends_at=self.ends_at
        )
        Membership.objects.using(using).bulk_create(
            [row],
            update_conflicts=True,
            unique_fields=["user", "group"],
            update_fields=["ends_at"],
        )
        return False
