"""The pages of groups."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from orgadmin.access.roles import ROLES
from orgadmin.admin.gated import SuperuserOnlyAdmin
from orgadmin.models import Organization

OWNERS = [
    Organization._meta.get_field(role.key).related_query_name() for role in ROLES
]  # of a group


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(SuperuserOnlyAdmin, DjangoGroupAdmin):
    list_display = ["name", "organization"]
    list_select_related = OWNERS
    readonly_fields = ["organization"]

    @admin.display(description=_("organization"))
    def organization(self, group):
        if owner := next(
            (getattr(group, name) for name in OWNERS if hasattr(group, name)), None
        ):
            link = reverse("admin:orgadmin_organization_change", args=[owner.pk])
            return format_html('<a href="{}">{}</a>', link, owner)
        return "-"

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and not any(
            hasattr(obj, name) for name in OWNERS
        )
