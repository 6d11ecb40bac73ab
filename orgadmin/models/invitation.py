"""Invitation: a role in an organization, offered to an email address."""

from __future__ import annotations

import secrets
from datetime import timedelta
from hashlib import sha256

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.access.roles import ROLES
from orgadmin.models.fields import LineEmailField
from orgadmin.models.organization import Organization
from orgadmin.models.user import User


class Invitation(models.Model):
    """A role in an organization, offered to the person who reads an email address.

    The row is deleted when the invitation is accepted or revoked. The link in the mail
    contains a secret, of which only a hash is stored.
    """

    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="invitations"
    )
    email = LineEmailField(_("email"))
    role = models.CharField(
        max_length=20, choices=[(role.key, role.label) for role in ROLES]
    )
    invited_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    sent_at = models.DateTimeField(default=timezone.now)
    # None until the first link is made. Invitations of earlier releases have none.
    token_hash = models.CharField(max_length=64, null=True, unique=True, editable=False)

    class Meta:
        ordering = ["email"]
        constraints = [
            models.UniqueConstraint(
                "organization", Lower("email"), name="unique_invitation"
            ),
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def expired(self) -> bool:
        lifetime = timedelta(days=settings.INVITATION_DAYS)
        return self.sent_at <= timezone.now() - lifetime

    def make_token(self) -> str:
        """Return a new secret for the link. Earlier links no longer work.

        Raises `Invitation.DoesNotExist` if the invitation is gone.
        """
        token = secrets.token_urlsafe()
        self.token_hash = hash_token(token)
        stored = Invitation.objects.filter(pk=self.pk)
        if not stored.update(token_hash=self.token_hash):
            raise Invitation.DoesNotExist("It has been accepted or revoked.")
        return token


def hash_token(token: str) -> str:
    return sha256(token.encode()).hexdigest()
