"""The app and its admin site."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig
from django.utils.translation import gettext_lazy as _


class OrgadminConfig(AppConfig):
    name = "orgadmin"
    verbose_name = _("Records")

    def ready(self):
        from . import checks, ledger  # noqa: F401 (the checks register themselves)

        ledger.listen()


class AdminConfig(DjangoAdminConfig):
    default_site = "orgadmin.site.OrganizationAdminSite"
