"""The pages of the admin site."""

from collections import Counter

from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.contrib.auth.admin import (
    GroupAdmin as DjangoGroupAdmin,
    UserAdmin as DjangoUserAdmin,
)
from django.contrib.auth.models import Group
from django.db import transaction
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _, gettext_noop, ngettext

from .access import holds_more
from .exchange import ExchangePages
from .forms import OrganizationForm, UserForm
from .gate import GatedModelAdmin, GatedTabularInline, SuperuserOnlyAdmin
from .membership import Membership
from .models import Contact, MembershipEvent, Organization, User
from .people import PeoplePages, PersonPages
from .roles import CONFIDENTIAL_FIELDS, ROLES
from .search import normalize

DELETIONS_SHOWN = 100
OWNERS = [
    Organization._meta.get_field(role.key).related_query_name() for role in ROLES
]  # of a group


class ContactInline(GatedTabularInline):
    model = Contact
    organization_path = "organization"


@admin.register(Contact)
class ContactAdmin(GatedModelAdmin):
    organization_path = "organization"
    list_display = ["name", "role", "organization", "email", "phone"]
    list_select_related = ["organization"]
    sortable_by = ["name"]
    search_fields = ["name", "role", "email", "organization__name"]
    search_help_text = _("Search by name, role, e-mail or organization.")


@admin.register(Organization)
class OrganizationAdmin(ExchangePages, PeoplePages, GatedModelAdmin):
    organization_path = ""
    pages = {
        "people": "manage_members",
        "ledger": "manage_members",
        "access": "manage_members",
        "restore": None,
    }
    form = OrganizationForm
    inlines = [ContactInline]
    list_display = ["name", "reference", "website", "email", "phone"]
    search_fields = ["search_text__contains"]
    search_help_text = _("Search by name, reference or address.")
    sortable_by = ["name", "reference"]  # what has an index

    fieldsets = [
        (None, {"fields": ["name", "reference"]}),
        (_("Contact"), {"fields": ["website", "email", "phone", "address"]}),
        (
            _("Confidential: for its admins and platform staff only"),
            {"fields": CONFIDENTIAL_FIELDS},
        ),
        (_("Groups"), {"fields": [role.key for role in ROLES]}),
    ]

    def get_fieldsets(self, request, obj=None):
        fieldsets = super().get_fieldsets(request, obj)
        return (
            fieldsets
            if obj
            else [(None, {"fields": ["name", "reference", "namesake"]}), *fieldsets[1:]]
        )

    def get_readonly_fields(self, request, obj=None):
        groups = [role.key for role in ROLES]
        return groups if request.user.is_superuser else [*groups, "reference"]

    def get_search_results(self, request, queryset, search_term):
        text = normalize(search_term)
        if search_term.strip() and not text.strip():  # nothing but marks
            return queryset.none(), False
        return super().get_search_results(request, queryset, text)

    def response_add(self, request, obj, post_url_continue=None):
        response = super().response_add(request, obj, post_url_continue)
        if request.user.is_superuser:
            link = reverse("admin:orgadmin_organization_people", args=[obj.pk])
            text = format_html(
                _('Nobody looks after it yet. <a href="{}">Add its people</a>.'), link
            )
            self.message_user(request, text, messages.WARNING)
        return response

    def get_deleted_objects(self, objs, request):
        """Say what goes with the organizations: their groups, and how many people lose access."""
        pks = [organization.pk for organization in objs]
        total = {
            self.opts.verbose_name_plural: len(pks),
            Group._meta.verbose_name_plural: len(ROLES) * len(pks),
            Contact._meta.verbose_name_plural: Contact.objects.filter(
                organization__in=pks
            ).count(),
        }
        shown, deleted = self.model.objects.filter(pk__in=pks[:DELETIONS_SHOWN]), []
        owner = {group: row.pk for row in shown for group in row.group_ids}
        members = Membership.objects.filter(group__in=owner).values_list(
            "group", "user"
        )
        people_in = Counter(
            pk for pk, _user in {(owner[group], user) for group, user in members}
        )
        for row in shown:
            text = ngettext(
                "%(count)d person loses access",
                "%(count)d people lose access",
                people_in[row.pk],
            )
            deleted.append(
                f"{row} ({row.reference or row.pk}): {text % {'count': people_in[row.pk]}}"
            )
        if len(pks) > DELETIONS_SHOWN:
            deleted.append(_("… and %d more") % (len(pks) - DELETIONS_SHOWN))
        return deleted, total, set(), []


@admin.register(User)
class UserAdmin(PersonPages, SuperuserOnlyAdmin, DjangoUserAdmin):
    """People. Staff with the model-level permissions for users manage those who hold no more than they do.
    Roles and rights are given by superusers only; others see neither these nor the names of groups."""

    form = UserForm
    pages = {"access": None, "leave": None}
    actions = ["remove_second_factor"]
    list_filter = ["is_staff", "is_superuser", "is_active"]
    autocomplete_fields = ["groups"]
    readonly_fields = ["last_login", "date_joined"]

    def may(self, request, action, obj=None):
        user = request.user
        permissions = [
            f"orgadmin.view_{self.opts.model_name}",
            f"orgadmin.{action}_{self.opts.model_name}",
        ]
        delegated = (
            action != "delete" and user.is_staff and user.is_active
        )  # rights and the trail may go along
        return super().may(request, action) or delegated and user.has_perms(permissions)

    def has_change_permission(self, request, obj=None):
        return super().has_change_permission(request, obj) and (
            obj is None or not holds_more(obj, request.user)
        )

    def get_fieldsets(self, request, obj=None):
        if request.user.is_superuser or not obj:
            fieldsets = super().get_fieldsets(request, obj)
            return [*fieldsets, (None, {"fields": ["confirmed"]})] if obj else fieldsets
        person = {"fields": ["first_name", "last_name", "email", "is_active"]}
        return [(None, {"fields": ["username", "password"]}), (_("Person"), person)]

    @admin.action(
        permissions=["delete"],
        description=_("Remove the second factor, as of somebody who lost the phone"),
    )
    @transaction.atomic
    def remove_second_factor(self, request, queryset):
        """For superusers: user managers delete nobody. One's own takes a sign-in of now."""
        for user in queryset.filter(
            pk__in=Authenticator.objects.exclude(user=request.user.pk).values("user")
        ):
            user.authenticator_set.all().delete()
            self.log_change(request, user, gettext_noop("Removed the second factor."))
            self.message_user(request, _("The password alone signs %s in now.") % user)

    def describe_choice(self, user):
        """Say enough of a person to choose the right one."""
        return " · ".join(
            filter(None, [user.username, user.get_full_name(), user.email])
        )

    def history_view(self, request, object_id, extra_context=None):
        if not request.user.is_superuser:  # it names organizations
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return super().history_view(request, object_id, extra_context)


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
