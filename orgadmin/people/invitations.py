"""Inviting people by email, and accepting an invitation."""

from __future__ import annotations

from typing import Any

from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction

# The log stores reasons in English. They are translated where they are shown.
from django.utils.translation import gettext_noop as _

from orgadmin.access.membership_log import Event, MembershipChange, write_changes
from orgadmin.access.roles import ROLES_BY_KEY, Role
from orgadmin.models import Invitation, Organization, User
from orgadmin.people import mail
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import LastAdminError, change_roles, lock, may_assign


class InvitationError(Exception):
    """The invitation cannot be accepted, or no longer."""


@transaction.atomic
def invite(
    organization: Organization, email: str, role: Role, *, actor: User
) -> Invitation:
    """Offer a role to whoever reads the mail at an address, whether known or not.

    Replaces an earlier invitation of the same address. The caller sends the mail.
    Raises `PermissionDenied` if the actor may not assign the role, and
    `Organization.DoesNotExist` if the organization has been deleted.
    """
    organization = Organization.objects.select_for_update(no_key=True).get(
        pk=organization.pk
    )
    _check_may_assign(actor, organization, role)
    organization.invitations.filter(email__iexact=email).delete()
    _write_to_log(Event.INVITED, organization, email, role, actor)
    return organization.invitations.create(email=email, role=role.key, invited_by=actor)


@transaction.atomic
def revoke(invitation: Invitation, *, actor: User) -> None:
    """Delete an invitation, so that its link no longer works.

    Raises `PermissionDenied` if the actor may not assign its role.
    """
    organization = invitation.organization
    role = ROLES_BY_KEY[invitation.role]
    lock(Organization, [organization.pk])
    _check_may_assign(actor, organization, role)
    deleted, _details = Invitation.objects.filter(pk=invitation.pk).delete()
    if deleted:
        _write_to_log(Event.REVOKED, organization, invitation.email, role, actor)


def _check_may_assign(actor: User, organization: Organization, role: Role) -> None:
    permissions = Organization.objects.permissions_on(actor, organization.pk)
    if not may_assign(permissions, role):
        raise PermissionDenied(
            "You cannot offer a role with more permissions than you have."
        )


def _write_to_log(
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
    """Return the invitation of a link, or None if the link does not work any more."""
    try:
        pk = signing.loads(token, salt=mail.INVITATION_SALT)
    except signing.BadSignature:
        return None
    invitations = find_invitations(pk=pk)
    return invitations[0] if invitations else None


def accept(invitation: Invitation, user: User, *, save: bool) -> bool:
    """Give a user the role that they were invited to. Returns whether that worked.

    With `save`, the user is saved first. It does not work if the account is inactive,
    the invitation is gone, or the person who sent it could no longer assign the role.
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
    # If the person who invited was deleted, an unsaved user stands in for them, who may
    # do nothing. None would be a command, which may do everything.
    actor = invitation.invited_by or User()
    change_roles(
        [RoleChange(user, invitation.organization, role)],
        actor=actor,
        reason=_("Accepted an invitation."),
    )
    deleted, _details = Invitation.objects.filter(pk=invitation.pk).delete()
    if not deleted:
        raise InvitationError("The invitation was accepted or revoked meanwhile.")
