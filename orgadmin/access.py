"""Who may enter, and the rule's answers remembered for the time of one request."""

from django.utils.functional import cached_property

from .models import Organization


class Gate:
    """The rule's answers about one person. Lives as long as a request: the next one asks anew."""

    def __init__(self, user):
        self.user = user
        self._actions = {}

    @cached_property
    def sees_any(self):
        """Whether there is an organization to see: at most one query."""
        return self.permits_everywhere("view") or Organization.objects.permitted(self.user).exists()

    @property
    def may_enter(self):
        """Whether the person may enter the admin: active, and platform staff or holding a right on an organization."""
        user = self.user
        return user.is_authenticated and user.is_active and (user.is_superuser or user.is_staff or self.sees_any)

    def permits(self, action, organization):
        """Whether the person holds the right `action` on `organization`: one query for all its rights."""
        if organization.pk not in self._actions:
            self._actions[organization.pk] = Organization.objects.permitted_actions(self.user, organization.pk)
        return action in self._actions[organization.pk]

    def permits_everywhere(self, action):
        return action in self._everywhere

    @cached_property
    def _everywhere(self):
        return Organization.objects.permitted_actions(self.user)


def gate_of(request):
    """Return the gate of the request's user. Kept on the request, not on the user, who may outlive it."""
    gate = getattr(request, "_gate", None)
    if gate is None or gate.user is not request.user:
        gate = request._gate = Gate(request.user)
    return gate
