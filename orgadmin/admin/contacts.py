"""The pages of contacts."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from orgadmin.admin.gated import GatedModelAdmin, GatedTabularInline
from orgadmin.models import Contact


class ContactInline(GatedTabularInline):
    """The contacts of an organization, on its page."""

    model = Contact
    organization_path = "organization"


@admin.register(Contact)
class ContactAdmin(GatedModelAdmin):
    """The contacts of all organizations that a person may view."""

    organization_path = "organization"
    list_display = ["name", "role", "organization", "email", "phone"]
    list_select_related = ["organization"]
    sortable_by = ["name"]
    search_fields = ["name", "role", "email", "organization__name"]
    search_help_text = _("Search by name, role, email or organization.")
