"""AccessLink and AccessRequest: how people ask an organization for a role."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.access.roles import ROLES
from orgadmin.access.sql import write_constant
from orgadmin.models.fields import LongLineField
from orgadmin.models.organization import Organization

# How long admins can answer a request. After that, the person can ask again.
LIFETIME = timedelta(days=14)


class Outcome(models.TextChoices):
    """What admins have decided about a request. Expired requests are also OPEN."""

    OPEN = "", _("not decided")
    APPROVED = "approved", _("approved")
    DECLINED = "declined", _("declined")


class AccessLink(models.Model):
    """The link with which people can ask for a role in an organization.

    The link contains a secret, of which only a hash is stored. If an organization has
    no row, nobody can ask for a role.
    """

    # No constraint, so that the previous release can still delete organizations. A row
    # can then remain without its organization; it has no effect.
    organization = models.OneToOneField(
        Organization, models.CASCADE, related_name="access_link", db_constraint=False
    )
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"Access link {self.pk}"


class AccessRequestQuerySet(models.QuerySet["AccessRequest"]):
    def open(self) -> Self:
        """Return the requests that are not answered and have not expired.

        Leaves out requests of deactivated accounts, which cannot get a role. Includes
        requests to archived organizations.
        """
        return self.filter(
            # Written as a constant, so that SQLite can use a partial index.
            outcome=write_constant(Outcome.OPEN.value),
            asked_at__gt=timezone.now() - LIFETIME,
            user__is_active=True,
        )

    def of_unarchived(self) -> Self:
        """Leave out the requests of archived organizations."""
        archived = Organization.objects.archived().order_by()
        return self.exclude(organization__in=archived.values("pk"))


class AccessRequest(models.Model):
    """A person's last request for a role in an organization, and its outcome.

    The person's next request to the same organization replaces the row.
    """

    organization = models.ForeignKey(
        Organization,
        models.CASCADE,
        related_name="access_requests",
        db_constraint=False,
        # The index of the constraint below begins with this column.
        db_index=False,
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="access_requests",
        db_constraint=False,
    )
    # The organization's name when the person asked. The person does not learn its
    # current name unless they get a role.
    organization_name = models.CharField(max_length=255)
    role = models.CharField(
        max_length=20, choices=[(role.key, role.label) for role in ROLES]
    )
    reason = LongLineField(_("reason"), max_length=500, blank=True)
    asked_at = models.DateTimeField(default=timezone.now)
    outcome = models.CharField(
        max_length=20, choices=Outcome.choices, blank=True, default=Outcome.OPEN
    )
    # The reason that the person sees if the request is declined.
    answer = LongLineField(_("reason"), max_length=500, blank=True)
    decided_at = models.DateTimeField(null=True)
    # For exports of personal data. The person who asked does not see who decided.
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="+",
        db_constraint=False,
    )

    objects = AccessRequestQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "user"], name="unique_access_request"
            ),
        ]

    def __str__(self) -> str:
        return f"Access request {self.pk}"

    @property
    def expires_at(self) -> datetime:
        return self.asked_at + LIFETIME

    @property
    def is_open(self) -> bool:
        """Whether the request is not answered and has not expired."""
        return self.outcome == Outcome.OPEN and self.expires_at > timezone.now()
