"""The admin site: its pages, and the gate in front of them."""

from orgadmin.admin import (  # noqa: F401 (pages register themselves)
    checks,
    contacts,
    groups,
    membership_log,
    organizations,
    users,
)
