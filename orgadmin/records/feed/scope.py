"""The organizations whose activity a person can see."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from orgadmin.gate.answers import Gate
from orgadmin.models import Organization

# People who cannot view all organizations see the activity of at most this many.
MAX_OWN = 1_000


class Scope:
    """The organizations whose activity the gate's user can see."""

    def __init__(self, gate: Gate, own_pks: list[int] | None = None) -> None:
        """`own_pks` are the organizations that the person can view, if known."""
        self.gate = gate
        self.user: Any = gate.user
        self.sees_all = gate.permits_everywhere("view")
        self._own_pks = own_pks

    @cached_property
    def own_pks(self) -> list[int]:
        """IDs of the organizations that the person can view, at most MAX_OWN.

        Not used if the person can view all organizations.
        """
        if self._own_pks is not None:
            return self._own_pks
        organizations = Organization.objects.permitted(self.user)
        return list(organizations.values_list("pk", flat=True)[:MAX_OWN])

    @cached_property
    def managed_pks(self) -> list[int]:
        """IDs of organizations whose members the person can manage, at most MAX_OWN."""
        if self._own_pks is not None:
            permits = self.gate.permits
            return [pk for pk in self._own_pks if permits("manage_members", pk)]
        managed = Organization.objects.permitted(self.user, "manage_members")
        return list(managed.values_list("pk", flat=True)[:MAX_OWN])
