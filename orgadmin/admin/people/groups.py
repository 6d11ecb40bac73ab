"""The pages of groups."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.access.groups import get_owner_relation
from orgadmin.access.permission_log import list_permissions, record_group_event
from orgadmin.access.roles import ROLES
from orgadmin.admin.base import SuperuserOnlyAdmin
from orgadmin.admin.people.permission_names import NamesPermissions
from orgadmin.models import Organization

# The relations that lead from a group to the organization that owns it.
OWNER_RELATIONS = [get_owner_relation(role) for role in ROLES]


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(NamesPermissions, SuperuserOnlyAdmin, DjangoGroupAdmin):
    """The admin of groups. A group that an organization owns cannot be edited here."""

    list_display = ["name", "organization"]
    list_select_related = OWNER_RELATIONS
    readonly_fields = ["organization"]

    @admin.display(description=_("organization"))
    def organization(self, group):
        owner = find_owner(group)
        if owner is None:
            return "-"
        link = reverse("admin:orgadmin_organization_overview", args=[owner.pk])
        return format_html('<a href="{}">{}</a>', link, owner)

    def get_queryset(self, request):
        """Return the groups, without those of archived organizations.

        Forms offer only these groups as choices.
        """
        groups = super().get_queryset(request)
        for role in ROLES:
            owners = Organization.objects.archived().order_by()
            groups = groups.exclude(Exists(owners.filter(**{role.key: OuterRef("pk")})))
        return groups

    def save_model(self, request, obj, form, change):
        # The signal handler in access/permission_log.py reads this.
        obj.changed_by = request.user
        super().save_model(request, obj, form, change)
        if change and "name" in form.changed_data:
            record_group_event(SecurityEvent.GROUP_RENAMED, obj, actor=request.user)

    def delete_model(self, request, obj):
        self.delete_queryset(request, self.model.objects.filter(pk=obj.pk))

    @transaction.atomic
    def delete_queryset(self, request, queryset):
        """Delete groups, and record which permissions their members lose."""
        for group in queryset:
            record_group_event(
                SecurityEvent.GROUP_DELETED,
                group,
                actor=request.user,
                permissions=list_permissions(group),
                members=group.memberships.current().count(),
            )
        super().delete_queryset(request, queryset)

    def has_change_permission(self, request, obj=None):
        if not super().has_change_permission(request, obj):
            return False
        return obj is None or find_owner(obj) is None


def find_owner(group):
    """Return the organization that owns a group, or None."""
    for relation in OWNER_RELATIONS:
        if hasattr(group, relation):
            return getattr(group, relation)
    return None
