"""RoleHolder: until when a person holds each role, by which lists are filtered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from orgadmin.access.roles import ROLES, Role

# Stands for memberships without an end, as in the triggers.
NEVER = datetime(9999, 12, 31, tzinfo=UTC)


class RoleHolderQuerySet(models.QuerySet["RoleHolder"]):
    def current(self, *roles: Role) -> Self:
        """Return those who hold one of these roles now. Without roles: any role."""
        condition = Q()
        for role in roles or ROLES:
            condition |= Q(**{f"{role.key}_until__gt": Now()})
        return self.filter(condition)


class RoleHolder(models.Model):
    """A person who is admin or reviewer of an organization that is not archived.

    Triggers of the database keep the rows, so that lists can be filtered and counted
    without reading all memberships. The access rule does not read them.

    `admin_until` and `reviewer_until` are the latest ends of the person's memberships,
    and far in the future if one has no end. They are NULL without a membership.
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
    # False only for active people. Who may be inactive must be looked up.
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
