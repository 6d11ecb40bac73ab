"""AcceptedInvitation: remembers whose link in an invitation was used."""

from django.db import models
from django.utils import timezone

from orgadmin.models.organization import Organization
from orgadmin.models.user import User


class AcceptedInvitation(models.Model):
    """The link of an invitation that was accepted, as a hash, and by whom.

    `Invitation` has only rows that can still be accepted. With this one, the person who
    opens the used link again gets to the organization. It gives no access.
    """

    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    # The previous release deletes people and organizations without knowing this table,
    # so the database must not refuse that. Rows without their owner lead nowhere.
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="+", db_constraint=False
    )
    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="+", db_constraint=False
    )
    accepted_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.user_id} in {self.organization_id}"
