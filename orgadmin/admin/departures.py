"""Pages that end someone's access ask before nobody is left in charge.

They show the organizations that would have no active admin, and send the IDs of these
organizations back in a field, once someone has confirmed it. The guards in
`models/guards.py` refuse to write anything if other organizations would be affected by
then. `successors.py` asks who takes over instead.
"""

from django.utils.translation import gettext as _

from orgadmin.admin.quotes import quote
from orgadmin.models import Organization
from orgadmin.models.guards import LastAdminError, LastSuperuserError
from orgadmin.models.validators import is_primary_key
from orgadmin.people.succession import SuccessionRefused

# The hidden field, or the checkbox. Its value is "3 17": the IDs of the organizations
# on the page.
CONFIRMED = "confirmed_organizations"

REFUSALS = (LastAdminError, LastSuperuserError, SuccessionRefused)

NAMES_SHOWN = 10


def read_confirmed(data):
    """Return the IDs of the organizations that the person saw and confirmed."""
    keys = data.get(CONFIRMED, "").split()
    return {int(key) for key in keys if is_primary_key(key)}


def list_organizations(organizations):
    """Return the names and IDs of organizations, at most NAMES_SHOWN of them."""
    names = ", ".join(
        f"{quote(organization)} ({organization.pk})"
        for organization in organizations[:NAMES_SHOWN]
    )
    more = len(organizations) - NAMES_SHOWN
    if more <= 0:
        return names
    return _("%(names)s and %(number)d more") % {"names": names, "number": more}


def describe_refusal(error, user):
    """Return the message for a user whose change the guards have refused.

    Names only organizations that the user may view.
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
