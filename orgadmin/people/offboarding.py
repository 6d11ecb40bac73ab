"""Removing all access of a person who leaves."""

from collections.abc import Collection

from django.db import transaction

# The log stores reasons in English. They are translated where they are shown.
from django.utils.translation import gettext_noop as _

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import Invitation, OrganizationUserObjectPermission, User
from orgadmin.models.guards import keep_a_superuser, lock_users
from orgadmin.people.changes import RoleChange
from orgadmin.people.company_accounts import remove_company_accounts
from orgadmin.people.membership import change_roles, list_roles
from orgadmin.people.second_factors import remove_second_factors


@transaction.atomic
def offboard(
    user: User, *, actor: User, reason: str = "", confirmed: Collection[int] = ()
) -> None:
    """Remove all access of a person and deactivate their account.

    Their sessions end, and their password no longer works, even if the account is
    activated again. The invitations that they sent are revoked. `confirmed` is as in
    `change_roles()`. Raises `User.DoesNotExist`, `LastSuperuserError`, and
    `LastAdminError` if an organization would be left without an active admin.
    """
    locked = lock_users([user.pk], using="default")
    if not locked:
        raise User.DoesNotExist("The person has been deleted.")
    user = locked[0]
    keep_a_superuser(locked, using="default")
    user.changed_by = actor
    # A set, because a person has both roles in an organization if one of them was added
    # without `membership`.
    organizations = {row.organization for row in list_roles(user)}
    changes = [RoleChange(user, organization, None) for organization in organizations]
    change_roles(changes, actor=actor, reason=reason, confirmed=confirmed)
    Invitation.objects.filter(invited_by=user).revoke(
        actor=actor, reason=_("The person who sent it was offboarded.")
    )
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
