"""Asks for confirmation before an organization loses its last active admin.

A page that ends someone's access shows the organizations that would have no active
admin. When a superuser confirms the change, the form sends the IDs of these
organizations. Other people cannot confirm it. If the change affects other organizations
by then, the guards in `models/guards.py` refuse it. `successors.py` asks who takes over
instead.
"""

from django.utils.translation import gettext as _

from orgadmin.admin.quotes import quote
from orgadmin.models import Organization
from orgadmin.models.guards import LastAdminError, LastSuperuserError
from orgadmin.models.validators import is_primary_key
from orgadmin.people.succession import SuccessionRefused

# The name of the hidden field or checkbox that confirms the change. Its value contains
# the IDs of the organizations on the page, such as "3 17".
CONFIRMATION_FIELD = "confirmed_organizations"

REFUSALS = (LastAdminError, LastSuperuserError, SuccessionRefused)

# The maximum number of organizations that a message names.
NAMES_SHOWN = 10


def read_confirmed(data):
    """Return the IDs of the organizations for which the person confirmed the change."""
    keys = data.get(CONFIRMATION_FIELD, "").split()
    return {int(key) for key in keys if is_primary_key(key)}


def list_organizations(organizations):
    """Return the names and IDs of up to NAMES_SHOWN organizations, as one text."""
    names = ", ".join(
        f"{quote(organization)} ({organization.pk})"
        for organization in organizations[:NAMES_SHOWN]
    )
    more = len(organizations) - NAMES_SHOWN
    if more <= 0:
        return names
    return _("%(names)s and %(number)d more") % {"names": names, "number": more}


def describe_refusal(error, user):
    """Return the message for a user whose change was refused by the guards.

    The message names the organizations only if the user can view all of them.
    """
    if isinstance(error, (LastSuperuserError, SuccessionRefused)):
        return str(error)
    pks = [organization.pk for organization in error.organizations]
    visible = Organization.objects.permitted(user).filter(pk__in=pks)
    if visible.count() < len(pks):
        return _(
            "Nothing was changed, because this person is the only active admin of an"
            " organization. Ask a superuser to make someone else an admin there first."
        )
    names = list_organizations(error.organizations)
    if user.is_superuser:
        text = _(
            "Nothing was changed, because no active admin would be left in %s. Read the"
            " list of organizations on this page, and confirm it."
        )
    else:
        text = _(
            "Nothing was changed, because no active admin would be left in %s. Make"
            " someone else an admin there first, or ask a superuser."
        )
    return text % names
