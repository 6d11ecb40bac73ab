"""Create organizations and people, and do what the tests of several modules do."""

import io
import time

from django.contrib.auth.models import Permission
from django.core.management import call_command

from orgadmin.access.roles import ROLES_BY_KEY
from orgadmin.models import Organization, User
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import change_roles
from orgadmin.records.id_keys import make_id_key

ADMIN = ROLES_BY_KEY["admin"]
REVIEWER = ROLES_BY_KEY["reviewer"]

# What the form of an organization without contacts sends about contacts.
NO_CONTACTS = {
    "contacts-TOTAL_FORMS": "0",
    "contacts-INITIAL_FORMS": "0",
}


def create_organization(name="Acme", **values):
    return Organization.objects.create(name=name, **values)


def set_role(organization, users, role, **options):
    """Give users a role in an organization instead of any other; None removes them.

    Returns the users whose role that changed.
    """
    wanted = [RoleChange(user, organization, role) for user in users]
    return [change.user for change in change_roles(wanted, **options)]


def create_user(
    username="anna", *, admin_of=(), reviewer_of=(), permissions=(), **values
):
    """Create a user with roles in organizations.

    `permissions` are the codenames of model-level permissions.
    """
    user = User.objects.create_user(username, password="secret", **values)
    for organization in admin_of:
        set_role(organization, [user], ADMIN, notify=False)
    for organization in reviewer_of:
        set_role(organization, [user], REVIEWER, notify=False)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def create_superuser(username="root", **values):
    return User.objects.create_superuser(username, password="secret", **values)


def grant(user, codename, organization):
    """Grant a user an object permission directly, past the roles."""
    permission = Permission.objects.get(codename=codename)
    organization.user_grants.create(user=user, permission=permission)


def refresh_sign_in(client):
    """Set a session's sign-in to the current time, even if a test moves the clock."""
    session = client.session
    session["signed_in"] = time.time()
    session["last_seen"] = time.time()
    session.save()


def age_sign_in(client, minutes):
    """Set the sign-in of a client's session to some minutes ago."""
    session = client.session
    session["signed_in"] -= minutes * 60
    session.save()


def run_doctor(*arguments):
    """Return the exit status of `manage.py doctor`, and what it prints."""
    out = io.StringIO()
    try:
        call_command("doctor", *arguments, stdout=out)
    except SystemExit as error:
        return error.code, out.getvalue()
    return 0, out.getvalue()


def as_file(text):
    return io.BytesIO(text.encode())


def id_cells(pk):
    """Return the cells "id" and "id_key" that an export has for an organization."""
    return f"{pk},{make_id_key(pk)}"
