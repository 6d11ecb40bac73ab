"""The app, and its admin site."""

from django.apps import AppConfig
from django.contrib.admin.apps import SimpleAdminConfig
from django.utils.translation import gettext_lazy as _


class OrgadminConfig(AppConfig):
    name = "orgadmin"
    verbose_name = _("Records")

    def ready(self):
        # These modules register their pages and checks when they are imported.
        from orgadmin import admin, metrics  # noqa: F401
        from orgadmin.access import audit_log, membership_log, permission_log
        from orgadmin.accounts.sessions import sessions
        from orgadmin.people import security_mail

        membership_log.connect_signal()
        permission_log.connect_signals()
        sessions.connect_signal()
        # This method can run more than once: tests that change INSTALLED_APPS call it
        # again.
        for listener in (security_mail.send_mail_about, metrics.count_event):
            if listener not in audit_log.listeners:
                audit_log.listeners.append(listener)


class AdminConfig(SimpleAdminConfig):
    """Django's admin with our admin site, and without autodiscovery.

    Autodiscovery would add the admin classes of libraries, which do not apply the
    access rule.
    """

    default_site = "orgadmin.admin.site.OrganizationAdminSite"
