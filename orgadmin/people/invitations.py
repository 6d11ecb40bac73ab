"""Inviting people by email, and accepting an invitation."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction

# The log stores reasons in English. They are translated where they are shown.
from django.utils.translation import gettext_noop as _

from orgadmin.access.membership_log import Event, MembershipChange, write_changes
from orgadmin.access.roles import ROLES_BY_KEY, Role
from orgadmin.models import Invitation, Organization, SignInAttempt, User
from orgadmin.models.sign_in_attempt import make_key
from orgadmin.people import mail
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import LastAdminError, change_roles, lock, may_assign

# How many invitations are sent in a DAY, including those that are sent again.
DAY = timedelta(days=1)
LIMIT_BY_PERSON = 50
LIMIT_TO_ORGANIZATION = 100

# Superusers may send this many times as many.
SUPERUSER_FACTOR = 10


class InvitationError(Exception):
    """The invitation cannot be accepted, or can no longer be accepted."""


class TooManyInvitations(Exception):
    """The person, or the organization, has sent too many invitations in a day."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until  # when more can be sent


@transaction.atomic
def invite(
    organization: Organization,
    email: str,
    role: Role,
    *,
    actor: User,
    is_limited: bool = True,
) -> Invitation:
    """Invite an email address to a role, whether or not a user has that address.

    Replaces an earlier invitation to the same organization and address. Sends no mail;
    the caller does. Imports, which only superusers can run, are not limited.
    Raises `PermissionDenied` if the actor may not assign the role,
    `TooManyInvitations` if the limit of a day is reached, and
    `Organization.DoesNotExist` if the organization has been deleted.
    """
    organization = Organization.objects.select_for_update(no_key=True).get(
        pk=organization.pk
    )
    _check_may_assign(actor, organization, role)
    if is_limited:
        _count(organization, actor)
    organization.invitations.filter(email__iexact=email).delete()
    _log_invitation_event(Event.INVITED, organization, email, role, actor)
    return organization.invitations.create(email=email, role=role.key, invited_by=actor)


def _count(organization: Organization, actor: User) -> None:
    """Count an invitation by the actor and to the organization.

    Raises `TooManyInvitations`, which undoes the counting, too.
    """
    factor = SUPERUSER_FACTOR if actor.is_superuser else 1
    limits = [
        (make_key("invitations by", actor.pk), LIMIT_BY_PERSON),
        (make_key("invitations to", organization.pk), LIMIT_TO_ORGANIZATION),
    ]
    for key, limit in limits:
        counted = SignInAttempt.objects.count_one(key, DAY)
        if counted.count > factor * limit:
            raise TooManyInvitations(counted.until)


@transaction.atomic
def revoke(invitation: Invitation, *, actor: User) -> None:
    """Delete an invitation, so that its link no longer works.

    Raises `PermissionDenied` if the actor may not assign the role that it offers.
    """
    organization = invitation.organization
    role = ROLES_BY_KEY[invitation.role]
    lock(Organization, [organization.pk])
    _check_may_assign(actor, organization, role)
    deleted, _details = Invitation.objects.filter(pk=invitation.pk).delete()
    if deleted:
        _log_invitation_event(
            Event.REVOKED, organization, invitation.email, role, actor
        )


def _check_may_assign(actor: User, organization: Organization, role: Role) -> None:
    permissions = Organization.objects.permissions_on(actor, organization.pk)
    if not may_assign(permissions, role):
        raise PermissionDenied(
            "You cannot offer a role with more permissions than you have."
        )


def _log_invitation_event(
    event: Event, organization: Organization, email: str, role: Role, actor: User
) -> None:
    change = MembershipChange(
        event,
        user_key=None,
        user_name=email,
        organization_key=organization.pk,
        organization_name=organization.name,
        role=role,
    )
    write_changes([change], actor=actor)


def find_invitations(**conditions: Any) -> list[Invitation]:
    """Return the invitations that can still be accepted."""
    invitations = Invitation.objects.filter(**conditions)
    invitations = invitations.select_related("organization", "invited_by")
    return [invitation for invitation in invitations if not invitation.expired]


def find_invitation(token: str) -> Invitation | None:
    """Return the invitation that a link contains, or None if the link is not valid.

    A link is not valid if it was changed, or if the invitation has expired or is gone.
    """
    try:
        pk = signing.loads(token, salt=mail.INVITATION_SALT)
    except signing.BadSignature:
        return None
    invitations = find_invitations(pk=pk)
    return invitations[0] if invitations else None


def accept(invitation: Invitation, user: User, *, save: bool) -> bool:
    """Give a user the role that they were invited to, and return whether that worked.

    It does not work if the account is inactive, if the invitation no longer exists, or
    if the person who sent the invitation can no longer assign the role. With `save`,
    the user is saved first, in the same transaction.
    """
    try:
        with transaction.atomic():
            _accept(invitation, user, save=save)
    except (
        InvitationError,
        PermissionDenied,
        LastAdminError,
        IntegrityError,
        Organization.DoesNotExist,
    ):
        return False
    return True


def _accept(invitation: Invitation, user: User, *, save: bool) -> None:
    if user.pk is not None:
        stored = lock(User, [user.pk]).get(user.pk)
        if stored is None or not stored.is_active:
            raise InvitationError("The account does not exist or is inactive.")
    if save:
        user.save()
    role = ROLES_BY_KEY[invitation.role]
    # If the inviter has been deleted, use a new user as the actor, because it has no
    # permissions. None would mean a command, which may do everything.
    actor = invitation.invited_by or User()
    change_roles(
        [RoleChange(user, invitation.organization, role)],
        actor=actor,
        reason=_("Accepted an invitation."),
    )
    deleted, _details = Invitation.objects.filter(pk=invitation.pk).delete()
    if not deleted:
        raise InvitationError("The invitation has already been accepted or revoked.")
