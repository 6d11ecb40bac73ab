"""Removing all access of a person who leaves."""

from django.db import transaction

from orgadmin.models import OrganizationUserObjectPermission, User
from orgadmin.people.membership import change_roles, list_roles


@transaction.atomic
def dismiss(user, *, actor, reason=""):
    """Take a person out of everything and deactivate them; their sessions and their password no longer work.
    Raises LastAdminError where `actor` is no superuser and an organization would be left without an admin."""
    user = User.objects.select_for_update(no_key=True).get(pk=user.pk)
    organizations = {
        organization for organization, _role in list_roles(user)
    }  # each once, whoever gave both roles
    change_roles(
        [(user, organization, None) for organization in organizations],
        actor=actor,
        reason=reason,
    )
    user.groups.clear()
    user.user_permissions.clear()
    OrganizationUserObjectPermission.objects.filter(user=user).delete()
    user.socialaccount_set.all().delete()  # else the company's server would sign them in where they are activated again
    user.authenticator_set.all().delete()
    user.is_active = user.is_staff = user.is_superuser = False
    user.set_password(
        None
    )  # ends all sessions, also where the account is activated again
    user.save(update_fields=["is_active", "is_staff", "is_superuser", "password"])
