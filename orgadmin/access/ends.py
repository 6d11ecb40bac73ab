"""When a membership counts: until its end, by the clock of the database.

Application servers may have wrong clocks. The database has one clock, so a membership
ends at the same moment for all of them. The moment at which it ends no longer counts.
"""

from django.db import connections
from django.db.models import Q
from django.db.models.functions import Now

from orgadmin.access.sql import CLOCKS

# {database: the condition}, for statements that name the table "membership"
NOT_ENDED = {
    vendor: f"(membership.ends_at IS NULL OR membership.ends_at > {clock})"
    for vendor, clock in CLOCKS.items()
}


def not_ended(using: str = "default") -> str:
    """Return the condition in SQL that a membership counts."""
    return NOT_ENDED[connections[using].vendor]


def is_current(path: str = "") -> Q:
    """Return the condition for querysets that a membership counts.

    `path` leads to the membership, such as "memberships__".
    """
    return Q(**{f"{path}ends_at": None}) | Q(**{f"{path}ends_at__gt": Now()})
