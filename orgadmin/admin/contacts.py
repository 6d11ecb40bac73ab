"""The pages of contacts."""

from django.contrib import admin
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from orgadmin.admin.changelist import get_page
from orgadmin.admin.gated import GatedModelAdmin, GatedTabularInline
from orgadmin.models import Contact
from orgadmin.models.validators import is_primary_key


class ContactInline(GatedTabularInline):
    """The first contacts of an organization, on its page."""

    model = Contact
    organization_path = "organization"
    page = "contacts"


class ContactsPage:
    """The page contacts/ below an organization."""

    def contacts_view(self, request, organization):
        """Show all contacts of an organization, with links that edit each of them."""
        return self.render_page(
            request,
            organization,
            "contacts",
            _("Contacts: %s") % organization,
            page=get_page(request, organization.contacts.all()),
            can_change=self.has_change_permission(request, organization),
        )


@admin.register(Contact)
class ContactAdmin(GatedModelAdmin):
    """The contacts of all organizations that a person may view.

    The links on the page of an organization's contacts end with ?organization=<key>.
    They lead back to that page after the contact was saved or deleted.
    """

    organization_path = "organization"
    list_display = ["name", "role", "organization", "email", "phone"]
    list_select_related = ["organization"]
    sortable_by = ["name"]
    search_fields = ["name", "role", "email", "organization__name"]
    search_help_text = _("Search by name, role, email or organization.")

    def response_post_save_add(self, request, obj):
        response = super().response_post_save_add(request, obj)
        return go_back_to_organization(request) or response

    def response_post_save_change(self, request, obj):
        response = super().response_post_save_change(request, obj)
        return go_back_to_organization(request) or response

    def response_delete(self, request, obj_display, obj_id):
        # Django's own response has a message, so it is made in any case.
        response = super().response_delete(request, obj_display, obj_id)
        return go_back_to_organization(request) or response


def go_back_to_organization(request):
    """Redirect to the contacts of the organization that the person came from, if any.

    The page itself checks whether they may view the organization.
    """
    key = request.GET.get("organization", "")
    if not is_primary_key(key):
        return None
    url = reverse("admin:orgadmin_organization_contacts", args=[key])
    return HttpResponseRedirect(url)
