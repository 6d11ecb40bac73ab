"""Removes all access of people who leave."""

from collections.abc import Collection, Mapping

from django.db import transaction

# The log stores reasons in English. They are translated where they are shown.
from django.utils.translation import gettext_noop as _

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import Invitation, OrganizationUserObjectPermission, User
from orgadmin.models.guards import keep_a_superuser, lock_users
from orgadmin.people import mail
from orgadmin.people.changes import RoleChange
from orgadmin.people.company_accounts import remove_company_accounts
from orgadmin.people.held_roles import list_all_roles
from orgadmin.people.membership import change_roles
from orgadmin.people.second_factors import remove_second_factors
from orgadmin.people.succession import hand_over


@transaction.atomic
def offboard(
    user: User,
    *,
    actor: User,
    reason: str = "",
    confirmed: Collection[int] = (),
    successors: Mapping[int, User] | None = None,
) -> None:
    """Remove all access of a person and deactivate their account.

    Works like `offboard_all()`. Raises `User.DoesNotExist` if the account was deleted.
    """
    offboarded = offboard_all(
        [user],
        actor=actor,
        reason=reason,
        confirmed=confirmed,
        successors=successors,
    )
    if not offboarded:
        raise User.DoesNotExist("The person has been deleted.")


@transaction.atomic
def offboard_all(
    users: Collection[User],
    *,
    actor: User,
    reason: str = "",
    confirmed: Collection[int] = (),
    successors: Mapping[int, User] | None = None,
) -> list[User]:
    """Remove all access of people and deactivate their accounts.

    Their sessions end, and their passwords stop working, even if the accounts are
    activated again. The invitations that they sent are revoked. `successors` is as in
    `hand_over()`, and `confirmed` is as in `change_roles()`. Returns the people as
    stored, without deleted ones.

    Raises the exceptions of `hand_over()`, `LastSuperuserError`, and `LastAdminError`
    if an organization would be left without an active admin.
    """
    pks = [user.pk for user in users]
    changes = hand_over(users, successors or {}, actor=actor, notify=False)
    locked = lock_users(pks, using="default")
    keep_a_superuser(locked, using="default")
    changes += change_roles(
        [
            RoleChange(row.user, row.organization, role=None)
            for row in list_all_roles(locked)
        ],
        actor=actor,
        reason=reason,
        confirmed=confirmed,
        notify=False,
    )
    # One call for all changes, so that nobody gets an email for each of them.
    mail.notify(changes, actor)
    Invitation.objects.filter(invited_by__in=pks).revoke(
        actor=actor, reason=_("The person who sent it was offboarded.")
    )
    for user in locked:
        _close_account(user, actor)
    return locked


def _close_account(user: User, actor: User) -> None:
    """Remove all access that does not come from roles, and deactivate the account."""
    user.changed_by = actor
    # This includes the rows of expired memberships.
    user.groups.clear()
    user.user_permissions.clear()
    _remove_object_permissions(user, actor)
    # Otherwise, they could sign in with their company account or with their second
    # factor as soon as the account is activated again.
    remove_company_accounts(user, actor=actor)
    remove_second_factors(user, actor=actor)
    user.is_active = False
    user.is_staff = False
    user.is_superuser = False
    # A new password hash also ends all sessions of the user.
    user.set_password(None)
    user.save(update_fields=["is_active", "is_staff", "is_superuser", "password"])


def _remove_object_permissions(user: User, actor: User) -> None:
    """Remove and record the permissions that a user has personally on organizations."""
    permissions = OrganizationUserObjectPermission.objects.filter(user=user)
    keys = permissions.values_list("content_object", flat=True)
    organizations = sorted(set(keys))
    if organizations:
        permissions.delete()
        record(
            SecurityEvent.PERMISSIONS_CHANGED,
            user=user,
            actor=actor,
            details={"organizations": organizations},
        )
