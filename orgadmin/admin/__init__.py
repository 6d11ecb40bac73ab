"""The admin site: its pages, and the admin classes that check permissions for them."""

from orgadmin.admin import (  # noqa: F401 (pages and checks register themselves)
    access_reviews,
    audit_log,
    checks,
    contacts,
    groups,
    imports,
    membership_log,
    organizations,
    users,
)
