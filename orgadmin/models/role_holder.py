"""RoleHolder: the end of each person's roles, for filters of lists."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from orgadmin.access.roles import ROLES, Role

# Stands for "no end". The triggers use the same value.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)


class RoleHolderQuerySet(models.QuerySet["RoleHolder"]):
    def current(self, *roles: Role) -> Self:
        """Return the people who hold one of these roles now. Default: any role."""
        condition = Q()
        for role in roles or ROLES:
            condition |= Q(**{f"{role.key}_until__gt": Now()})
        return self.filter(condition)


class RoleHolder(models.Model):
    """A person who is an admin or reviewer of an organization that is not archived.

    Database triggers update the rows, so that lists can be filtered and counted without
    reading all memberships. The access rule does not read this table.

    `admin_until` and `reviewer_until` are the latest ends of the person's memberships,
    or NEVER if a membership has no end. They are NULL if there is no such membership.
    Memberships that have ended count until the worker removes them; use `current()` to
    leave them out.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="+",
    )
    admin_until = models.DateTimeField(null=True)
    reviewer_until = models.DateTimeField(null=True)
    # False only for active people. If it is True, the account must be looked up.
    may_be_inactive = models.BooleanField()

    objects = RoleHolderQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(
                fields=["admin_until"],
                name="holder_admin",
                condition=Q(admin_until__isnull=False),
            ),
            models.Index(
                fields=["reviewer_until"],
                name="holder_reviewer",
                condition=Q(reviewer_until__isnull=False),
            ),
            models.Index(
                fields=["user"],
                name="holder_inactive",
                condition=Q(may_be_inactive=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id}"
