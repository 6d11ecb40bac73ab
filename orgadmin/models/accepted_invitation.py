"""AcceptedInvitation: the link of an accepted invitation, and who accepted it."""

from django.db import models
from django.utils import timezone

from orgadmin.models.organization import Organization
from orgadmin.models.user import User


class AcceptedInvitation(models.Model):
    """The hash of an accepted invitation's link, and the user who accepted it.

    `Invitation` contains only invitations that were not accepted yet. If a person opens
    the link again later, this row redirects them to the organization. It does not give
    access.
    """

    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    # The previous release does not know this table and can delete people and
    # organizations, so the foreign keys have no constraints. Rows whose user or
    # organization was deleted have no effect.
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="+", db_constraint=False
    )
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="+", db_constraint=False
    )
    accepted_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.user_id} in {self.organization_id}"
