"""Organizations and people for tests."""

import io

from django.contrib.auth.models import Permission

from orgadmin.access.roles import ROLES_BY_KEY
from orgadmin.models import Organization, User
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import change_roles

ADMIN, REVIEWER = ROLES_BY_KEY["admin"], ROLES_BY_KEY["reviewer"]
NO_CONTACTS = {
    "contacts-TOTAL_FORMS": "0",
    "contacts-INITIAL_FORMS": "0",
}  # of the page of an organization


def create_organization(name="Acme", **values):
    return Organization.objects.create(name=name, **values)


def set_role(organization, users, role, **options):
    """Make `role` the one role of `users` there, None takes them out; return those whose role that changed."""
    changes = change_roles(
        [RoleChange(user, organization, role) for user in users], **options
    )
    return [change.user for change in changes]


def create_user(
    username="anna", *, admin_of=(), reviewer_of=(), permissions=(), **values
):
    """Create a user with roles in organizations, and model-level permissions named by codename."""
    user = User.objects.create_user(username, password="secret", **values)
    for organization in admin_of:
        set_role(organization, [user], ADMIN)
    for organization in reviewer_of:
        set_role(organization, [user], REVIEWER)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def create_superuser(username="root", **values):
    return User.objects.create_superuser(username, password="secret", **values)


def grant(user, codename, organization):
    """Give a direct object permission, as somebody might by hand."""
    permission = Permission.objects.get(codename=codename)
    organization.user_grants.create(user=user, permission=permission)


def as_file(text):
    return io.BytesIO(text.encode())
