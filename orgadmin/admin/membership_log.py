"""The page of the membership log."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from orgadmin.admin.gated import SuperuserOnlyAdmin
from orgadmin.models import MembershipEvent


@admin.register(MembershipEvent)
class LedgerAdmin(SuperuserOnlyAdmin):
    list_display = [
        "at",
        "user_name",
        "event",
        "role",
        "organization_name",
        "actor_name",
        "reason",
    ]
    list_display_links = None
    list_filter = ["event", "role"]
    search_fields = ["user_name", "organization_name", "actor_name"]
    search_help_text = _("Search by person, organization, or who did it.")

    def may(self, request, action, obj=None):
        return action == "view" and super().may(request, action)
