"""Removing all access of a person who leaves."""

from django.db import transaction

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import OrganizationUserObjectPermission, User
from orgadmin.people.changes import RoleChange
from orgadmin.people.company_accounts import remove_company_accounts
from orgadmin.people.membership import change_roles, list_roles
from orgadmin.people.second_factors import remove_second_factors


@transaction.atomic
def offboard(user: User, *, actor: User, reason: str = "") -> None:
    """Remove all access of a person and deactivate their account.

    Their sessions end, and their password no longer works, even if the account is
    activated again. Raises `LastAdminError` if the actor is not a superuser and an
    organization would be left without an active admin.
    """
    user = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    user.changed_by = actor
    # A set, because a person has both roles in an organization if one of them was added
    # without `membership`.
    organizations = {row.organization for row in list_roles(user)}
    changes = [RoleChange(user, organization, None) for organization in organizations]
    change_roles(changes, actor=actor, reason=reason)
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
