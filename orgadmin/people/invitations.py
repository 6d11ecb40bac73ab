"""Inviting people by email, and accepting an invitation."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction

# The log stores reasons in English. They are translated where they are shown.
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy, gettext_noop as _

from orgadmin.access.membership_log import Event, MembershipChange, write_changes
from orgadmin.access.roles import Role, get_role
from orgadmin.models import (
    AcceptedInvitation,
    Invitation,
    Organization,
    OrganizationUserObjectPermission,
    SignInAttempt,
    User,
)
from orgadmin.models.addresses import fold_email, is_same_email
from orgadmin.models.invitation import hash_token
from orgadmin.models.sign_in_attempt import make_key
from orgadmin.models.user import CredentialsChanged
from orgadmin.people import outbox
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.ends import has_same_day
from orgadmin.people.mail import notify_accepted, send_invitation
from orgadmin.people.membership import (
    EndInThePast,
    change_roles,
    find_role,
    lock,
    may_assign,
    require_future,
)

# How many invitations can be sent per DAY, including those that are sent again.
DAY = timedelta(days=1)
LIMIT_BY_SENDER = 50
LIMIT_TO_ORGANIZATION = 100

# The limits are this many times higher for superusers.
SUPERUSER_FACTOR = 10


class InvitationError(Exception):
    """The invitation cannot be accepted.

    `explanation` is shown to the person who opened the link.
    """

    explanation: ClassVar[str | Promise] = ""


class InvitationGone(InvitationError):
    """The invitation does not exist, was accepted or revoked, or was replaced.

    This error is also raised if its organization is archived. The text is the same in
    all cases, so that people who guess links learn nothing.
    """

    explanation = gettext_lazy(
        "It was already used, it was revoked, or a newer email replaced it. If you have"
        " accepted the invitation, sign in. Otherwise, ask the person who invited you,"
        " or another admin of the organization, for a new invitation."
    )


class InvitationExpired(InvitationError):
    explanation = gettext_lazy(
        "It has expired. Ask the person who invited you, or another admin of the"
        " organization, for a new invitation."
    )


class InviterLostAccess(InvitationError):
    """The person who sent the invitation can no longer assign the role."""

    explanation = gettext_lazy(
        "The person who invited you can no longer give you this role. Ask another admin"
        " of the organization for a new invitation."
    )


class AccountInactive(InvitationError):
    explanation = gettext_lazy(
        "The account with this email address is deactivated. Ask platform staff to"
        " activate it."
    )


class AccountChanged(InvitationError):
    """The account has changed since the page was shown."""

    explanation = gettext_lazy(
        "The account with this email address has changed. Open the link in the email"
        " again."
    )


class TooManyInvitations(Exception):
    """Too many invitations were sent in a day, by the person or to the organization."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until  # when the next one can be sent


@transaction.atomic
def invite(
    organization: Organization,
    email: str,
    role: Role,
    *,
    actor: User,
    is_limited: bool = True,
    ends_at: datetime | None = None,
) -> Invitation:
    """Invite an email address to a role, whether or not a user has that address.

    Replaces an earlier invitation to the same organization and address. The address is
    stored in its normal form. `ends_at` is the end of the offered membership. Does not
    send an email; the caller must do that. Imports and bulk changes, which only
    superusers can run, set `is_limited=False`.

    Raises `PermissionDenied` if the actor may not assign the role,
    `TooManyInvitations`, `EndInThePast`, or `Organization.DoesNotExist` if the
    organization was deleted or archived.
    """
    require_future([ends_at])
    unarchived = Organization.objects.unarchived()
    organization = unarchived.select_for_update(no_key=True).get(pk=organization.pk)
    _check_may_assign(actor, organization, role)
    if is_limited:
        _count_invitation(organization, actor)
    email = fold_email(email)
    organization.invitations.to_email(email).delete()
    _log_invited(organization, email, role, actor, ends_at)
    return organization.invitations.create(
        email=email, role=role.key, invited_by=actor, membership_ends_at=ends_at
    )


def _count_invitation(organization: Organization, actor: User) -> None:
    """Count an invitation by the actor and to the organization.

    Raises `TooManyInvitations`. This also rolls back the counting.
    """
    factor = SUPERUSER_FACTOR if actor.is_superuser else 1
    limits = [
        (make_key("invitations by", actor.pk), LIMIT_BY_SENDER),
        (make_key("invitations to", organization.pk), LIMIT_TO_ORGANIZATION),
    ]
    for key, limit in limits:
        counted = SignInAttempt.objects.count_one(key, DAY)
        if counted.count > factor * limit:
            raise TooManyInvitations(counted.until)


def is_offered(
    invitation: Invitation | None, role: Role, end: MembershipEnd | None
) -> bool:
    """Return whether an invitation can be accepted and offers a role until an end.

    `end` is None if any end will do. Ends on the same day are the same.
    """
    if invitation is None or invitation.expired or invitation.role != role.key:
        return False
    return end is None or has_same_day(invitation.membership_ends_at, end.at)


@transaction.atomic
def revoke(invitation: Invitation, *, actor: User) -> None:
    """Delete an invitation, so that its link no longer works.

    Raises `PermissionDenied` if the actor may not assign the offered role.
    """
    organization = invitation.organization
    role = get_role(invitation.role)
    lock(Organization, [organization.pk])
    _check_may_assign(actor, organization, role)
    Invitation.objects.filter(pk=invitation.pk).revoke(actor=actor)


def decline(invitation: Invitation) -> bool:
    """Delete an invitation that the invited person does not want.

    Returns whether it still existed. The log records no actor, because its readers must
    only learn the invited address.
    """
    rows = Invitation.objects.filter(pk=invitation.pk)
    return bool(rows.revoke(actor=None, reason=_("The invited person declined.")))


def _check_may_assign(actor: User, organization: Organization, role: Role) -> None:
    """Raise `PermissionDenied` unless `may_assign()` allows the role."""
    permissions = Organization.objects.permissions_on(actor, organization.pk)
    if not may_assign(permissions, role):
        raise PermissionDenied(
            "You cannot offer a role with more permissions than you have."
        )


def _log_invited(
    organization: Organization,
    email: str,
    role: Role,
    actor: User,
    ends_at: datetime | None,
) -> None:
    change = MembershipChange(
        Event.INVITED,
        user_key=None,
        user_name=email,
        organization_key=organization.pk,
        organization_name=organization.name,
        role=role,
        ends_at=ends_at,
    )
    write_changes([change], actor=actor)


def find_invitations(email: str) -> list[Invitation]:
    """Return the invitations to an email address that can still be accepted."""
    invitations = Invitation.objects.of_unarchived().to_email(email).order_by("pk")
    found = []
    for invitation in invitations.select_related("organization", "invited_by"):
        if is_same_email(invitation.email, email) and not invitation.expired:
            found.append(invitation)
    return found


def resend_invitations(email: str) -> None:
    """Send the links of all invitations to an address again, because a visitor asked.

    The emails have a lower priority than emails that signed-in people wait for.
    """
    resend = send_invitation.using(priority=outbox.FOR_VISITORS)
    for invitation in find_invitations(email):
        outbox.enqueue(resend, invitation=invitation.pk)


def find_invitation(token: str) -> Invitation:
    """Return the invitation whose link contains this secret.

    Raises `InvitationGone`, or `InvitationExpired` if the invitation has expired. Only
    someone who has the secret can learn that an invitation has expired.
    """
    invitation = (
        Invitation.objects.of_unarchived()
        .filter(token_hash=hash_token(token))
        .select_related("organization", "invited_by")
        .first()
    )
    if invitation is None:
        raise InvitationGone
    if invitation.expired:
        raise InvitationExpired
    return invitation


def find_accepted(token: str) -> AcceptedInvitation | None:
    """Return the row about an accepted invitation's link with this secret, or None."""
    return AcceptedInvitation.objects.filter(token_hash=hash_token(token)).first()


def may_choose_password(user: User) -> bool:
    """Return whether an invitation's link may set the password of an account.

    The same condition applies to linking the account with a company account. It holds
    only if nobody has used the account yet, and the account does not give access to
    anything. Otherwise, the person already has a way to sign in, and the link must not
    bypass a company's provider or a second factor. The account may also belong to
    someone else.
    """
    is_special = user.is_staff_or_superuser or not user.is_active
    if is_special or user.last_login is not None or user.has_usable_password():
        return False
    # Includes expired memberships, which also show that the account belongs to someone.
    if user.groups.exists() or user.user_permissions.exists():
        return False
    tables = (OrganizationUserObjectPermission, SocialAccount, Authenticator)
    return not any(table.objects.filter(user=user).exists() for table in tables)


def accept(invitation: Invitation, user: User, *, account_is_unused: bool) -> Role:
    """Give a user the role that they were invited to, and return their role.

    If they already have a role with the same or more permissions, they keep it.

    Someone who has the link receives emails at the invited address, so it becomes the
    verified address of the account. With `account_is_unused`, `user` is a new account,
    or one for which `may_choose_password()` is true. It is saved here, with its new
    password if it has one. Otherwise, `user` is the person who is signed in.

    Raises an `InvitationError`, without changing anything.
    """
    try:
        with transaction.atomic():
            return _accept(invitation, user, account_is_unused=account_is_unused)
    except PermissionDenied as error:
        raise InviterLostAccess from error
    except Organization.DoesNotExist as error:
        raise InvitationGone from error
    except EndInThePast as error:
        raise InvitationExpired from error
    except (IntegrityError, CredentialsChanged) as error:
        # Someone else now has the email address, or the account has changed.
        raise AccountChanged from error


def _accept(invitation: Invitation, user: User, *, account_is_unused: bool) -> Role:
    """Do what `accept()` does, in its transaction. Also raises other exceptions."""
    user = _save_account(invitation, user, account_is_unused=account_is_unused)
    # The organization may have been archived after the page was shown. Once it is
    # locked, nobody can archive it until the end of this transaction.
    if not lock(Organization, [invitation.organization_id], unarchived=True):
        raise InvitationGone
    _use_up(invitation)
    role = _assign_role(invitation, user)
    _remember_link(invitation, user)
    notify_accepted(invitation, user, role)
    return role


def _use_up(invitation: Invitation) -> None:
    """Delete an invitation, so that nobody can accept it again.

    Raises `InvitationGone` if it has been deleted or replaced in the meantime.

    The user and the organization are locked. Therefore, nobody can remove the user from
    the organization at the same time, which would revoke the invitation.
    """
    unused = Invitation.objects.filter(
        pk=invitation.pk, token_hash=invitation.token_hash
    )
    deleted, _rows = unused.delete()
    if not deleted:
        raise InvitationGone


def _remember_link(invitation: Invitation, user: User) -> None:
    """Store the hash of the link, so that it redirects the user to the organization.

    The link does this from now on, after the invitation was accepted. An invitation for
    which no email was sent does not have a link.
    """
    if invitation.token_hash is not None:
        AcceptedInvitation.objects.create(
            token_hash=invitation.token_hash,
            user=user,
            organization=invitation.organization,
        )


def _save_account(
    invitation: Invitation, user: User, *, account_is_unused: bool
) -> User:
    """Lock and check the account, save it if it is unused, and verify its address.

    Other transactions that change the user's roles wait until this one ends. Raises
    `AccountChanged` or `AccountInactive`.
    """
    user.changed_by = user
    if user.pk is not None:
        stored = lock(User, [user.pk]).get(user.pk)
        if stored is None or not is_same_email(stored.email, invitation.email):
            raise AccountChanged
        if not stored.is_active:
            raise AccountInactive
        if account_is_unused and not may_choose_password(stored):
            raise AccountChanged
        if not account_is_unused:
            user = stored
            user.changed_by = stored
    if account_is_unused:
        user.save()
    user.verify_email()
    return user


def _assign_role(invitation: Invitation, user: User) -> Role:
    """Give a locked user the role of the invitation, unless they have a higher one."""
    role = get_role(invitation.role)
    current = find_role(invitation.organization, user)
    if current is not None and current.includes(role):
        return current
    # If the inviter was deleted, the actor is an unsaved user, who has no permissions.
    # None would stand for a command, which may do everything.
    actor = invitation.invited_by or User()
    end = MembershipEnd(invitation.membership_ends_at)
    change_roles(
        [RoleChange(user, invitation.organization, role, end=end)],
        actor=actor,
        reason=_("Accepted an invitation."),
    )
    return role
