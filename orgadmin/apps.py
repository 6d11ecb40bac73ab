"""The app and its admin site."""

from django.apps import AppConfig
from django.contrib.admin.apps import SimpleAdminConfig
from django.utils.translation import gettext_lazy as _


class OrgadminConfig(AppConfig):
    name = "orgadmin"
    verbose_name = _("Records")

    def ready(self):
        from . import checks, ledger  # noqa: F401 (the checks register themselves)

        ledger.listen()


class AdminConfig(SimpleAdminConfig):
    """Knows the pages of this app only: those that libraries bring do not ask the rule."""

    default_site = "orgadmin.site.OrganizationAdminSite"

    def ready(self):
        super().ready()
        from . import admin  # noqa: F401 (the pages register themselves)
