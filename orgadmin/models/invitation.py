"""Invitation: a role in an organization, offered to an email address."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from math import ceil
from typing import Self

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _, gettext_noop

from orgadmin.access.batches import split_into_batches
from orgadmin.access.membership_log import Event, MembershipChange, write_changes
from orgadmin.access.roles import ROLES, get_role
from orgadmin.access.rule import belongs_to_archived
from orgadmin.models.addresses import fold_email
from orgadmin.models.fields import LineEmailField
from orgadmin.models.organization import Organization
from orgadmin.models.user import User
from orgadmin.models.user_queryset import list_lower_spellings

TOKEN_SALT = "orgadmin.invitation"

BATCH = 1_000  # changes for which one query looks up invitations


def find_oldest_pending(now: datetime) -> datetime:
    """Return the `sent_at` of an invitation that expires at `now`."""
    return now - timedelta(days=settings.INVITATION_DAYS)


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def pending(self) -> Self:
        """Return the invitations that can be accepted: those that are not `expired`."""
        now = timezone.now()
        never_ends = Q(membership_ends_at=None)
        return self.filter(
            never_ends | Q(membership_ends_at__gt=now),
            sent_at__gt=find_oldest_pending(now),
        )

    def expired(self) -> Self:
        """Return the invitations that can no longer be accepted."""
        now = timezone.now()
        oldest = find_oldest_pending(now)
        # Both conditions can use the index of `sent_at`.
        return self.filter(
            Q(sent_at__lte=oldest) | Q(sent_at__gt=oldest, membership_ends_at__lte=now)
        )

    def of_unarchived(self) -> Self:
        """Leave out invitations to archived organizations, which cannot be accepted."""
        return self.exclude(belongs_to_archived("organization"))

    def to_email(self, email: str) -> Self:
        """Return the invitations to an email address, in any spelling.

        The database treats more characters as equal than `is_same_email()`. Before an
        invitation gives someone access, check it with `is_same_email()`.
        """
        return self.to_emails([email])

    def to_emails(self, emails: Collection[str]) -> Self:
        """Return the invitations to any of these addresses, as `to_email()` does."""
        rows = self.annotate(lower_email=Lower("email"))
        return rows.filter(lower_email__in=list_lower_spellings(emails))

    def revoke(self, *, actor: User | None, reason: str = "") -> int:
        """Delete and log these invitations, and return their number."""
        with transaction.atomic(using=self.db):
            locked = self.select_for_update(of=("self",)).order_by("pk")
            invitations = list(locked.select_related("organization"))
            changes = [invitation.describe_revocation() for invitation in invitations]
            write_changes(changes, actor=actor, reason=reason)
            pks = [invitation.pk for invitation in invitations]
            self.model._base_manager.using(self.db).filter(pk__in=pks).delete()
        return len(invitations)

    revoke.queryset_only = True  # type: ignore[attr-defined]

    def revoke_outdated(
        self, changes: Sequence[MembershipChange], *, actor: User | None
    ) -> None:
        """Revoke and log the invitations that are outdated by these changes of roles.

        A change only outdates invitations of the same person to the same organization.
        Runs two queries per BATCH changes, and a few more if there are such
        invitations.
        """
        outdated: list[int] = []
        for batch in split_into_batches(changes, BATCH):
            outdated += self._find_outdated(batch)
        if outdated:
            self.filter(pk__in=outdated).revoke(
                actor=actor, reason=gettext_noop("The role of the person has changed.")
            )

    def _find_outdated(self, changes: Collection[MembershipChange]) -> list[int]:
        """Return the IDs of the invitations that are outdated by these changes."""
        people = {change.user_key for change in changes} - {None}
        if not people:
            return []
        users = User.objects.using(self.db).filter(pk__in=people).exclude(email="")
        emails = dict(users.order_by().values_list("pk", "email"))
        # {(organization ID, normal form of the email address): changes}
        changes_by_key = defaultdict(list)
        for change in changes:
            if change.user_key in emails:
                email = fold_email(emails[change.user_key])
                changes_by_key[change.organization_key, email].append(change)
        organizations = {organization for organization, _email in changes_by_key}
        if not organizations:
            return []
        rows = self.filter(organization__in=organizations).to_emails(emails.values())
        outdated = []
        for invitation in rows.order_by():
            key = (invitation.organization_id, fold_email(invitation.email))
            role = get_role(invitation.role)
            if any(change.outdates(role) for change in changes_by_key[key]):
                outdated.append(invitation.pk)
        return outdated


class Invitation(models.Model):
    """A role in an organization, offered to the owner of an email address.

    The row is deleted when the invitation is accepted or revoked. The link in the email
    contains a secret, of which only a hash is stored. After the invitation was
    accepted, `AcceptedInvitation` has this hash.
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
    # The end of the offered membership, or None if it has no end.
    membership_ends_at = models.DateTimeField(null=True)
    # None until the first link is created, and for invitations of earlier releases.
    token_hash = models.CharField(max_length=64, null=True, unique=True, editable=False)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["email"]
        indexes = [
            models.Index(fields=["sent_at", "organization"], name="invitation_sent"),
        ]
        constraints = [
            models.UniqueConstraint(
                "organization", Lower("email"), name="unique_invitation"
            ),
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def expires_at(self) -> datetime:
        """When it expires: after INVITATION_DAYS, or at the end of the membership."""
        last = self.sent_at + timedelta(days=settings.INVITATION_DAYS)
        return min(last, self.membership_ends_at or last)

    @property
    def expired(self) -> bool:
        return self.expires_at <= timezone.now()

    @property
    def days_left(self) -> int:
        """For how many days it can still be accepted, rounded up."""
        return ceil((self.expires_at - timezone.now()) / timedelta(days=1))

    def describe_revocation(self) -> MembershipChange:
        """Return the change to log when this invitation is revoked."""
        return MembershipChange(
            Event.REVOKED,
            user_key=None,
            user_name=self.email,
            organization_key=self.organization_id,
            organization_name=self.organization.name,
            role=get_role(self.role),
        )

    def make_token(self, seed: str = "") -> str:
        """Return a secret for the link, and store its hash. Other links stop working.

        The same `seed` gives the same secret; without a seed, the secret is random.
        Nobody can compute it without the site's secret key. Raises
        `Invitation.DoesNotExist` if the invitation no longer exists.
        """
        seed = seed or secrets.token_urlsafe()
        digest = salted_hmac(TOKEN_SALT, f"{self.pk} {seed}", algorithm="sha256")
        token = urlsafe_b64encode(digest.digest()).decode().rstrip("=")
        self.token_hash = hash_token(token)
        stored = Invitation.objects.filter(pk=self.pk)
        if not stored.update(token_hash=self.token_hash):
            raise Invitation.DoesNotExist("It has been accepted or revoked.")
        return token


def hash_token(token: str) -> str:
    return sha256(token.encode()).hexdigest()
