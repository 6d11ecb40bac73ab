"""Inviting people, and accepting an invitation."""

from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.utils.translation import gettext_noop as _

from orgadmin.access.membership_log import Event, append
from orgadmin.access.roles import ROLES_BY_KEY
from orgadmin.models import Invitation, Organization, User
from orgadmin.people import mail
from orgadmin.people.membership import LastAdminError, _lock, change_roles, may_give


@transaction.atomic
def invite(organization, email, role, *, actor):
    """Offer `role` to whoever reads the mail at `email`, known or not; return the Invitation, still to be sent.
    Raises PermissionDenied where `actor` may not give that role, Organization.DoesNotExist where that is gone."""
    organization = Organization.objects.select_for_update(no_key=True).get(
        pk=organization.pk
    )
    if not may_give(
        Organization.objects.permitted_actions(actor, organization.pk), role
    ):
        raise PermissionDenied(
            "Nobody offers a role with rights that they do not hold."
        )
    organization.invitations.filter(email__iexact=email).delete()
    append(
        [(Event.INVITED, (None, email), (organization.pk, organization.name), role)],
        actor=actor,
    )
    return organization.invitations.create(email=email, role=role.key, invited_by=actor)


@transaction.atomic
def withdraw(invitation, *, actor):
    """Take an invitation back: its link is dead. Raises PermissionDenied where `actor` may not give that role."""
    organization, role = invitation.organization, ROLES_BY_KEY[invitation.role]
    _lock(Organization, [organization.pk])
    if not may_give(
        Organization.objects.permitted_actions(actor, organization.pk), role
    ):
        raise PermissionDenied("Nobody takes back what they could not offer.")
    if Invitation.objects.filter(pk=invitation.pk).delete()[0]:
        append(
            [
                (
                    Event.WITHDRAWN,
                    (None, invitation.email),
                    (organization.pk, organization.name),
                    role,
                )
            ],
            actor=actor,
        )


def find_invitations(**conditions):
    """Return the invitations that can still be accepted."""
    found = Invitation.objects.filter(**conditions).select_related(
        "organization", "invited_by"
    )
    return [invitation for invitation in found if not invitation.expired]


def read_invitation(token):
    """Return the invitation that the token of a link is for, or None where the link no longer works."""
    try:
        return next(
            iter(find_invitations(pk=signing.loads(token, salt=mail.SALT))), None
        )
    except signing.BadSignature:
        return None


def accept(invitation, user, *, save):
    """Give `user`, who is saved first if `save`, the role that they were invited to; tell whether it was possible.
    It is not where the invitation is gone, or where who sent it could not give the role any more."""
    try:
        with transaction.atomic():
            if user.pk and not any(
                row.is_active for row in _lock(User, [user.pk]).values()
            ):
                return False
            if save:
                user.save()
            role, actor = ROLES_BY_KEY[invitation.role], invitation.invited_by or User()
            change_roles(
                [(user, invitation.organization, role)],
                actor=actor,
                reason=_("Accepted an invitation."),
            )
            if not Invitation.objects.filter(pk=invitation.pk).delete()[0]:
                raise Invitation.DoesNotExist
    except (
        PermissionDenied,
        LastAdminError,
        IntegrityError,
        Invitation.DoesNotExist,
        Organization.DoesNotExist,
    ):
        return False
    return True
