"""The admin pages that ours are compared with.

`floor_site` is the stock admin over tables that hold one person's organizations only.
`usual_site` filters one large table with guardian's shortcuts, as tutorials do.
"""

from django.contrib import admin
from django.template.response import TemplateResponse
from guardian.shortcuts import get_objects_for_user

from benchmarks.peers.models import FLOORS, UsualOrganization


class StockSite(admin.AdminSite):
    """An admin site with Django's own templates, which this project replaces."""

    def admin_view(self, view, cacheable=False):
        inner = super().admin_view(view, cacheable)

        def view_with_stock_templates(request, *args, **kwargs):
            response = inner(request, *args, **kwargs)
            if isinstance(response, TemplateResponse):
                response.using = "stock"
            return response

        return view_with_stock_templates


floor_site = StockSite("floor")
usual_site = StockSite("usual")


class OrganizationAdmin(admin.ModelAdmin):
    list_display = ["name", "reference", "website", "email", "phone"]
    search_fields = ["name", "reference", "address"]
    ordering = ["name"]
    view_on_site = False
    fieldsets = [
        (None, {"fields": ["name", "reference"]}),
        ("Contact", {"fields": ["website", "email", "phone", "address"]}),
        ("Confidential", {"fields": ["tax_id", "notes"]}),
    ]
    readonly_fields = ["reference"]


@admin.register(UsualOrganization, site=usual_site)
class UsualOrganizationAdmin(OrganizationAdmin):
    list_display = ["name", "admin", "reference", "website", "email"]
    readonly_fields = ["reference", "admin"]

    def get_queryset(self, request):
        if request.user.is_superuser:
            return super().get_queryset(request)
        return get_objects_for_user(request.user, ["peers.view_usualorganization"])

    def is_permitted(self, request, action, obj):
        permission = f"peers.{action}_usualorganization"
        if obj is None:
            return get_objects_for_user(request.user, [permission]).exists()
        return request.user.has_perm(permission, obj)

    def has_module_permission(self, request):
        return self.is_permitted(request, "view", None)

    def has_view_permission(self, request, obj=None):
        return self.is_permitted(request, "view", obj)

    def has_change_permission(self, request, obj=None):
        return self.is_permitted(request, "change", obj)


def make_inline(contact):
    class ContactInline(admin.TabularInline):
        model = contact
        extra = 0

    return ContactInline


for floor in FLOORS.values():
    inline = make_inline(floor.contact)
    floor_site.register(floor.organization, OrganizationAdmin, inlines=[inline])
