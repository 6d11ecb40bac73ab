"""The stock admin over the floor, and the usual way: guardian's shortcuts in the methods that tutorials name."""

from django.contrib import admin
from guardian.shortcuts import get_objects_for_user

from .models import FLOORS, UsualOrganization

usual, floor = admin.AdminSite("usual"), admin.AdminSite("floor")


class Listing:
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


@admin.register(UsualOrganization, site=usual)
class UsualAdmin(Listing, admin.ModelAdmin):
    list_display = ["name", "admin", "reference", "website", "email"]
    readonly_fields = ["reference", "admin"]

    def get_queryset(self, request):
        if request.user.is_superuser:
            return super().get_queryset(request)
        return get_objects_for_user(request.user, ["peers.view_usualorganization"])

    def may(self, request, action, obj):
        if obj is None:
            return get_objects_for_user(
                request.user, [f"peers.{action}_usualorganization"]
            ).exists()
        return request.user.has_perm(f"peers.{action}_usualorganization", obj)

    def has_module_permission(self, request):
        return self.may(request, "view", None)

    def has_view_permission(self, request, obj=None):
        return self.may(request, "view", obj)

    def has_change_permission(self, request, obj=None):
        return self.may(request, "change", obj)


for organization, contact in FLOORS.values():
    inline = type("Inline", (admin.TabularInline,), {"model": contact, "extra": 0})
    floor.register(
        organization,
        type("FloorAdmin", (Listing, admin.ModelAdmin), {"inlines": [inline]}),
    )
