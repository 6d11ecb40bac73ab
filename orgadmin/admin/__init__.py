"""The admin site: its pages, and the admin classes that check permissions for them."""

# Pages and checks register themselves when they are imported.
from orgadmin.admin import audit_log, checks, membership_log  # noqa: F401
from orgadmin.admin.imports import imports  # noqa: F401
from orgadmin.admin.organizations import contacts, organizations  # noqa: F401
from orgadmin.admin.people import groups, users  # noqa: F401
from orgadmin.admin.reviews import access_reviews  # noqa: F401
