"""About which organizations a person reads in activity."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from orgadmin.gate.answers import Gate
from orgadmin.models import Organization

# Of how many organizations people see the activity.
MAX_OWN = 1_000


class Scope:
    """What the rule permits the reader of activity."""

    def __init__(self, gate: Gate, own_pks: list[int] | None = None) -> None:
        """`own_pks` are the organizations that the person may view, if known."""
        self.gate = gate
        self.user: Any = gate.user
        self.sees_all = gate.permits_everywhere("view")
        self._own_pks = own_pks

    @cached_property
    def own_pks(self) -> list[int]:
        """The organizations that the person reads about, unless it is all of them."""
        if self._own_pks is not None:
            return self._own_pks
        organizations = Organization.objects.permitted(self.user)
        return list(organizations.values_list("pk", flat=True)[:MAX_OWN])

    @cached_property
    def managed_pks(self) -> list[int]:
        """Those of these organizations whose members the person may manage."""
        if self._own_pks is not None:
            permits = self.gate.permits
            return [pk for pk in self._own_pks if permits("manage_members", pk)]
        managed = Organization.objects.permitted(self.user, "manage_members")
        return list(managed.values_list("pk", flat=True)[:MAX_OWN])
