"""The answers of the access rule, remembered for the time of one request."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from django.http import HttpRequest

from orgadmin.access.roles import PERMISSIONS
from orgadmin.models import Organization, User

if TYPE_CHECKING:
    from orgadmin.access.rule import Visitor


class Gate:
    """What the rule says about one user.

    A gate lives as long as a request. The next request asks the rule again, so that a
    change of someone's access is effective at once.
    """

    def __init__(self, user: Visitor) -> None:
        self.user = user
        self._permissions: dict[int, frozenset[str]] = {}  # by organization id
        self._has_any: dict[str, bool] = {}  # by permission

    @property
    def may_enter(self) -> bool:
        """Whether the user may enter the admin.

        They must be active, and be platform staff or have access to an organization.
        """
        if not self.user.is_active:
            return False
        return self.user.is_superuser or self.user.is_staff or self.has_any("view")

    def permits(self, permission: str, pk: int) -> bool:
        """Return whether the user has a permission on one organization."""
        return permission in self.permissions_on(pk)

    def permits_everywhere(self, permission: str) -> bool:
        """Return whether the user has a permission on all organizations."""
        return permission in self.permissions_everywhere

    def permissions_on(self, pk: int) -> frozenset[str]:
        """Return the user's permissions on one organization. At most one query."""
        if pk not in self._permissions:
            self._permissions[pk] = Organization.objects.permissions_on(self.user, pk)
        return self._permissions[pk]

    @cached_property
    def permissions_everywhere(self) -> frozenset[str]:
        return Organization.objects.permissions_everywhere(self.user)

    def has_any(self, permission: str) -> bool:
        """Return whether the user has a permission on at least one organization."""
        if permission not in self._has_any:
            self._has_any[permission] = self._find_any(permission)
        return self._has_any[permission]

    def _find_any(self, permission: str) -> bool:
        if self.permits_everywhere(permission):
            return True
        if any(permission in known for known in self._permissions.values()):
            return True
        # Pages ask for both. Whoever may change an organization may view it, so asking
        # for "change" first answers both questions for org admins in one query.
        if permission == "view" and self.has_any("change"):
            return True
        return Organization.objects.permitted(self.user, permission).exists()


def get_gate(request: HttpRequest) -> Gate:
    """Return the gate of the request's user, which is kept on the request."""
    gate = getattr(request, "_gate", None)
    if gate is None or gate.user is not request.user:
        return renew_gate(request)
    return gate


def renew_gate(request: HttpRequest) -> Gate:
    """Return a gate that remembers nothing: while waiting, the answers may change."""
    gate = Gate(request.user)
    request._gate = gate  # type: ignore[attr-defined]
    return gate


def holds_more_than(user: User, other: User) -> bool:
    """Return whether a user could do anything that the other user cannot.

    An inactive user counts as active, because the account can be activated. Whoever can
    set a person's password can act as that person, so nobody may edit a person who
    holds more than they do.
    """
    if other.is_superuser:
        return False
    user = as_active(user)
    if user.is_superuser:
        return True
    if user.get_all_permissions() - other.get_all_permissions():
        return True
    organizations = Organization.objects.order_by()
    for permission in PERMISSIONS:
        permitted_to_other = organizations.permitted(other, permission).values("pk")
        more = organizations.permitted(user, permission).exclude(
            pk__in=permitted_to_other
        )
        if more.exists():
            return True
    return False


def as_active(user: User) -> User:
    """Return a copy of the user that is active and remembers no permissions."""
    return User(
        pk=user.pk,
        is_active=True,
        is_staff=user.is_staff,
        is_superuser=user.is_superuser,
    )
