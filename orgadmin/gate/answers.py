"""The answers of the access rule, remembered during one request."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING

from django.http import HttpRequest

from orgadmin.access.roles import PERMISSIONS
from orgadmin.access.rule import (
    Sources,
    get_effective_permissions,
    is_active_superuser,
)
from orgadmin.models import Organization, User

if TYPE_CHECKING:
    from orgadmin.access.rule import Visitor


class Gate:
    """Answers what one user may do, and remembers the answers.

    A gate is used for one request only. The next request asks the rule again, so a
    change of someone's access takes effect at once.
    """

    def __init__(self, user: Visitor) -> None:
        self.user = user
        self._permissions: dict[int, frozenset[str]] = {}  # by organization ID
        self._has_any: dict[str, bool] = {}  # by permission

    @property
    def may_enter(self) -> bool:
        """Whether the user may enter the admin.

        They must be active. They must also be a superuser or staff, or be able to view
        at least one organization.
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
        """Return the user's permissions on one organization.

        Asks the rule only once for each organization.
        """
        if pk not in self._permissions:
            self._permissions[pk] = Organization.objects.permissions_on(self.user, pk)
        return self._permissions[pk]

    def learn(self, pks: Collection[int]) -> None:
        """Ask the rule about several organizations at once. Runs one query."""
        unknown = [pk for pk in pks if pk not in self._permissions]
        if unknown:
            self.find_sources(unknown)

    def find_sources(self, pks: Collection[int]) -> dict[int, Sources]:
        """Return {organization ID: why the user has which permission there}.

        Remembers the permissions. Runs one query.
        """
        if not isinstance(self.user, User) or not self.user.is_active:
            return {pk: {} for pk in pks}
        found = Organization.objects.find_sources([self.user], pks)
        sources_of = {pk: found[self.user.pk, pk] for pk in pks}
        for pk, sources in sources_of.items():
            self._permissions[pk] = get_effective_permissions(sources)
        return sources_of

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
        # "change" implies "view", and pages ask for both. So asking for "change" first
        # answers both questions in one query if the user is an admin somewhere.
        if permission == "view" and self.has_any("change"):
            return True
        return Organization.objects.permitted(self.user, permission).exists()


class ArchiveGate(Gate):
    """The answers for the pages of archived organizations, which superusers can open.

    The rule gives nobody access to these organizations.
    """

    def permissions_on(self, pk: int) -> frozenset[str]:
        if not is_active_superuser(self.user):
            return frozenset()
        return frozenset(PERMISSIONS)


def get_gate(request: HttpRequest) -> Gate:
    """Return the gate of the request's user, which is kept on the request."""
    gate = getattr(request, "_gate", None)
    if gate is None or gate.user is not request.user:
        return renew_gate(request)
    return gate


def renew_gate(request: HttpRequest) -> Gate:
    """Give the request a new gate, which remembers nothing, and return it.

    Call this after waiting for a lock: the answers may have changed in that time.
    """
    gate = Gate(request.user)
    request._gate = gate  # type: ignore[attr-defined]
    return gate


def holds_more_than(user: User, other: User) -> bool:
    """Return whether a user could do anything that the other user cannot.

    An inactive user counts as active, because the account can be activated. Nobody may
    edit a person who has more permissions than they have: they could deactivate that
    person, for example.
    """
    if other.is_superuser:
        return False
    active_user = as_active(user)
    if active_user.is_superuser:
        return True
    if active_user.get_all_permissions() - other.get_all_permissions():
        return True
    organizations = Organization.objects.order_by()
    for permission in PERMISSIONS:
        permitted_to_other = organizations.permitted(other, permission).values("pk")
        permitted_only_to_user = organizations.permitted(
            active_user, permission
        ).exclude(pk__in=permitted_to_other)
        if permitted_only_to_user.exists():
            return True
    return False


def as_active(user: User) -> User:
    """Return a copy of the user that is active and has no cached permissions."""
    return User(
        pk=user.pk,
        is_active=True,
        is_staff=user.is_staff,
        is_superuser=user.is_superuser,
    )
