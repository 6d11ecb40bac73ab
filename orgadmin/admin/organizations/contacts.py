"""The pages of contacts."""

from urllib.parse import urlsplit

from django.contrib import admin
from django.contrib.admin.options import IS_POPUP_VAR
from django.http import HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from orgadmin.admin.gated import GatedModelAdmin, GatedTabularInline
from orgadmin.admin.links import add_links
from orgadmin.admin.lists.changelist import Sort, get_page
from orgadmin.models import Contact, Organization
from orgadmin.models.validators import is_primary_key


class ContactInline(GatedTabularInline):
    """The first contacts of an organization, on the form of the organization."""

    model = Contact
    organization_path = "organization"
    page = "contacts"
    # If the names are not listed, Django builds a form just to find them.
    fields = ["name", "role", "email", "phone"]


class ContactsPage:
    """The page contacts/ below an organization."""

    def contacts_view(self, request, organization):
        """Show all contacts of an organization, with links to edit each contact."""
        page = get_page(request, organization.contacts.all())
        add_links(page)
        return self.render_page(
            request,
            organization,
            "contacts",
            _("Contacts"),
            page=page,
            can_change=self.has_change_permission(request, organization),
        )


@admin.register(Contact)
class ContactAdmin(GatedModelAdmin):
    """The contacts of all organizations that a person can view.

    Links from an organization's contacts page have the parameter ?organization=<key>.
    With this parameter, the person returns to that page after the contact is saved or
    deleted, and the breadcrumbs above the form link to it. "Save and add another" opens
    a form in which the same organization is already chosen.
    """

    organization_path = "organization"
    list_display = ["name", "role", "organization", "email", "phone"]
    list_select_related = ["organization"]
    sorts = {"name": Sort("sort_name")}
    search_fields = ["name", "role", "email", "organization__name"]
    search_help_text = _("Search by name, role, email or organization.")

    def formfield_for_dbfield(self, db_field, request, **kwargs):
        """Remove the icons that open the organization in another window."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "organization" and field is not None:
            field.widget.can_change_related = False
            field.widget.can_view_related = False
        return field

    def render_change_form(
        self, request, context, add=False, change=False, form_url="", obj=None
    ):
        context["organization"] = find_organization(request)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def render_delete_form(self, request, context):
        context["organization"] = find_organization(request)
        return super().render_delete_form(request, context)

    def get_object(self, request, object_id, from_field=None):
        if self._is_saving(request) and is_primary_key(object_id):
            chosen = request.POST.get("organization", "")
            others = [int(chosen)] if is_primary_key(chosen) else []
            Contact.objects.filter(pk=object_id).lock_organizations(others=others)
        return super().get_object(request, object_id, from_field)

    def response_add(self, request, obj, post_url_continue=None):
        response = super().response_add(request, obj, post_url_continue)
        return stay_with_organization(request, obj, response)

    def response_change(self, request, obj):
        response = super().response_change(request, obj)
        return stay_with_organization(request, obj, response)

    def response_post_save_add(self, request, obj):
        response = super().response_post_save_add(request, obj)
        return go_back_to_organization(request) or response

    def response_post_save_change(self, request, obj):
        response = super().response_post_save_change(request, obj)
        return go_back_to_organization(request) or response

    def response_delete(self, request, obj_display, obj_id):
        # Django's method also adds a message, so it is always called.
        response = super().response_delete(request, obj_display, obj_id)
        return go_back_to_organization(request) or response


def stay_with_organization(request, contact, response):
    """Add the organization to the URL of a response that leads to another form.

    Returns other responses unchanged.
    """
    key = find_organization_key(request)
    if "_addanother" in request.POST:
        key = key or contact.organization_id
    elif "_continue" not in request.POST:
        key = None
    if key is None or IS_POPUP_VAR in request.POST:
        return response
    return HttpResponseRedirect(add_organization(response.url, key))


def add_organization(url, key):
    """Return a URL with the parameter ?organization=<key> added."""
    parts = urlsplit(url)
    query = QueryDict(parts.query, mutable=True)
    query["organization"] = key
    return parts._replace(query=query.urlencode()).geturl()


def find_organization_key(request):
    """Return the key of the organization that the person came from, or None."""
    key = request.GET.get("organization", "")
    return key if is_primary_key(key) else None


def find_organization(request):
    """Return the organization that the person came from, or None.

    Returns None if the person cannot view it.
    """
    key = find_organization_key(request)
    if key is None:
        return None
    return Organization.objects.permitted(request.user).filter(pk=key).first()


def go_back_to_organization(request):
    """Return a redirect to the contacts page that the person came from, or None.

    That page itself checks whether the person can view the organization.
    """
    key = find_organization_key(request)
    if key is None:
        return None
    url = reverse("admin:orgadmin_organization_contacts", args=[key])
    return HttpResponseRedirect(url)
