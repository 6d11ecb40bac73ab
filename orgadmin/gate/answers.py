"""The gate: asks the access rule, and remembers its answers during one request."""

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

    A gate is used for only one request. The next request asks the rule again, so that
    changes of a person's access take effect at once.
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

        Asks the rule only once per organization, and then remembers the answer.
        """
        if pk not in self._permissions:
            self._permissions[pk] = Organization.objects.permissions_on(self.user, pk)
        return self._permissions[pk]

    def learn(self, pks: Collection[int]) -> None:
        """Load the answers for several organizations with one query."""
        unknown = [pk for pk in pks if pk not in self._permissions]
        if unknown:
            self.find_sources(unknown)

    def find_sources(self, pks: Collection[int]) -> dict[int, Sources]:
        """Return {organization ID: {permission: its sources}}.

        Also remembers the permissions. For inactive people and visitors, there are no
        sources. Otherwise, this runs one query; for staff, Django may run more.
        """
        if not isinstance(self.user, User) or not self.user.is_active:
            return {pk: {} for pk in pks}
        found = Organization.objects.find_sources([self.user], pks)
        sources_by_organization = {pk: found[self.user.pk, pk] for pk in pks}
        for pk, sources in sources_by_organization.items():
            self._permissions[pk] = get_effective_permissions(sources)
        return sources_by_organization

    @cached_property
    def permissions_everywhere(self) -> frozenset[str]:
        """The permissions that the user has on all unarchived organizations."""
        return Organization.objects.permissions_everywhere(self.user)

    def has_any(self, permission: str) -> bool:
        """Return whether the user has a permission on at least one organization."""
        if permission not in self._has_any:
            self._has_any[permission] = self._find_any(permission)
        return self._has_any[permission]

    def _find_any(self, permission: str) -> bool:
        """Do what `has_any()` does, without remembering the answer."""
        if self.permits_everywhere(permission):
            return True
        if any(permission in known for known in self._permissions.values()):
            return True
        # "change" implies "view", and pages need both answers. If the user is an admin
        # of any organization, asking for "change" first gives both with one query.
        if permission == "view" and self.has_any("change"):
            return True
        return Organization.objects.permitted(self.user, permission).exists()


class ArchiveGate(Gate):
    """The gate of the pages about archived organizations, which superusers can open.

    The rule itself does not give anyone access to archived organizations.
    """

    def permissions_on(self, pk: int) -> frozenset[str]:
        if not is_active_superuser(self.user):
            return frozenset()
        return frozenset(PERMISSIONS)


def get_gate(request: HttpRequest) -> Gate:
    """Return the gate of the request's user, which is stored on the request."""
    gate = getattr(request, "_gate", None)
    if gate is None or gate.user is not request.user:
        return renew_gate(request)
    return gate


def renew_gate(request: HttpRequest) -> Gate:
    """Give the request a new gate without any answers, and return it.

    Call this after waiting for a lock, because the answers may have changed.
    """
    gate = Gate(request.user)
    request._gate = gate  # type: ignore[attr-defined]
    return gate


def holds_more_than(user: User, other: User) -> bool:
    """Return whether a user has a permission that the other user does not have.

    `user` is treated as active even if they are not, because the account can be
    activated. If this returns True, the other user must not edit `user`. Otherwise, the
    other user could deactivate someone with more permissions, for example.
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
    """Return an active user with the same ID and flags, without cached permissions.

    The result is only for permission checks. It lacks all other fields, so it must not
    be saved.
    """
    return User(
        pk=user.pk,
        is_active=True,
        is_staff=user.is_staff,
        is_superuser=user.is_superuser,
    )
