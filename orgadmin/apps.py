"""The app and its admin site."""

from django.apps import AppConfig
from django.contrib.admin.apps import SimpleAdminConfig
from django.utils.translation import gettext_lazy as _


class OrgadminConfig(AppConfig):
    name = "orgadmin"
    verbose_name = _("Records")

    def ready(self):
        from orgadmin import admin  # noqa: F401 (pages and checks register themselves)
        from orgadmin.access import membership_log

        membership_log.connect_signal()


class AdminConfig(SimpleAdminConfig):
    """Knows the pages of this app only: those that libraries bring do not ask the rule."""

    default_site = "orgadmin.admin.site.OrganizationAdminSite"
