"""The rule's answers, remembered for one request."""

from orgadmin.access.roles import ACTIONS
from orgadmin.models import Organization, User


class Gate:
    """The rule's answers about one person. Lives as long as a request: the next one asks anew."""

    def __init__(self, user):
        self.user, self._any, self._rights = user, {}, {}

    @property
    def may_enter(self):
        """Whether the person may enter the admin: active, and platform staff or holding a right on an organization."""
        return self.user.is_active and (
            self.user.is_superuser or self.user.is_staff or self.holds_any("view")
        )

    def holds_any(self, action):
        """Whether there is an organization on which the person holds the right.
        Whoever may change one may view it: both questions are one query for org admins, two for reviewers."""
        if action not in self._any:
            self._any[action] = (
                any(
                    action in rights
                    for rights in (self.find_rights(None), *self._rights.values())
                )
                or (action == "view" and self.holds_any("change"))
                or Organization.objects.permitted(self.user, action).exists()
            )
        return self._any[action]

    def permits(self, action, pk):
        return action in self.find_rights(pk)

    def find_rights(self, pk):
        """Return the rights that the person holds on the organization `pk`, None for every one: at most one query."""
        if pk not in self._rights:
            self._rights[pk] = Organization.objects.permitted_actions(self.user, pk)
        return self._rights[pk]


def gate_of(request, anew=False):
    """Return the gate of the request's user, kept on the request; with `anew`, one that remembers no answer."""
    gate = getattr(request, "_gate", None)
    if anew or gate is None or gate.user is not request.user:
        gate = request._gate = Gate(request.user)
    return gate


def holds_more(user, than):
    """Tell whether `user`, were they active, may do anything that `than` may not: on the site or on an organization.
    Whoever sets somebody's password can act as that person, so nobody may edit a person who holds more."""
    if than.is_superuser:
        return False
    user = activate(user)  # a deactivated account can be activated
    if user.is_superuser or user.get_all_permissions() - than.get_all_permissions():
        return True
    rows = Organization.objects.order_by()
    more = (
        rows.permitted(user, act).exclude(pk__in=rows.permitted(than, act).values("pk"))
        for act in ACTIONS
    )
    return any(organizations.exists() for organizations in more)


def activate(user):
    """Return the user as if active, with no permissions remembered."""
    return User(
        pk=user.pk,
        is_active=True,
        is_staff=user.is_staff,
        is_superuser=user.is_superuser,
    )
