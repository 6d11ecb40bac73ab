"""The pages of organizations."""

from collections import Counter

from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _, ngettext

from orgadmin.access.roles import CONFIDENTIAL_FIELDS, ROLES
from orgadmin.admin.contacts import ContactInline
from orgadmin.admin.forms import OrganizationForm
from orgadmin.admin.gated import GatedModelAdmin
from orgadmin.admin.import_export import ExchangePages
from orgadmin.admin.organization_people import PeoplePages
from orgadmin.models import Contact, Organization
from orgadmin.models.fields import normalize
from orgadmin.people.membership import Membership

DELETIONS_SHOWN = 100


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
