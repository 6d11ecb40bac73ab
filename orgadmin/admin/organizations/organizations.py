"""The pages of organizations."""

from collections import Counter
from dataclasses import replace

from django.contrib import admin, messages
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import get_language, gettext_lazy as _, ngettext

from orgadmin.access.roles import CONFIDENTIAL_FIELDS, ROLES
from orgadmin.access.rule import is_active_superuser
from orgadmin.admin.delete_page import DELETIONS_SHOWN
from orgadmin.admin.forms import OrganizationForm
from orgadmin.admin.gated import GatedOrganizationAdmin
from orgadmin.admin.imports.import_export import ImportExportPages
from orgadmin.admin.lists.changelist import Sort
from orgadmin.admin.lists.rows import show_day
from orgadmin.admin.membership_log import MembershipLogPage
from orgadmin.admin.organizations.access import OrganizationAccessPage
from orgadmin.admin.organizations.archived import ArchivedPages, ArchivesOrganizations
from orgadmin.admin.organizations.contacts import ContactInline, ContactsPage
from orgadmin.admin.organizations.filters import (
    AdminsFilter,
    ChangedSinceFilter,
    CreatedSinceFilter,
    IncompleteFilter,
    InvitationsFilter,
    WaitingFilter,
)
from orgadmin.admin.organizations.overview import OverviewPage
from orgadmin.admin.organizations.people import PeoplePage
from orgadmin.admin.organizations.requests import RequestsPage
from orgadmin.admin.organizations.restore import RestorePage
from orgadmin.admin.organizations.review import ReviewPage
from orgadmin.admin.organizations.rows import (
    describe_admins,
    describe_state,
    find_people,
    render_badges,
)
from orgadmin.models import Membership, Organization, User
from orgadmin.models.fields import normalize
from orgadmin.people import archive


@admin.register(Organization)
class OrganizationAdmin(
    ArchivedPages,
    ImportExportPages,
    OverviewPage,
    ReviewPage,
    PeoplePage,
    RequestsPage,
    ContactsPage,
    MembershipLogPage,
    OrganizationAccessPage,
    RestorePage,
    ArchivesOrganizations,
    GatedOrganizationAdmin,
):
    pages = {
        "overview": "view",
        "contacts": "view",
        "people": "manage_members",
        "requests": "manage_members",
        "ledger": "manage_members",
        "access": "manage_members",
        "restore": "change",
        "review": "manage_members",
    }
    tabs = {
        "overview": _("Overview"),
        "people": _("People"),
        "contacts": _("Contacts"),
        "access": _("Access"),
        "history": _("History"),
    }
    page_labels = {
        "delete": _("Archive"),
        "ledger": _("Membership log"),
        "requests": _("Requests for access"),
        "restore": _("Restore an earlier version"),
        "review": _("Review access"),
    }
    parent_tabs = {
        "change": "overview",
        "delete": "overview",
        "ledger": "people",
        "requests": "people",
        "restore": "history",
        "review": "people",
    }
    # The pages "people", "requests" and "review" still require a recent sign-in for
    # some requests. See their methods `needs_recent_sign_in()`.
    open_to_old_sign_ins = (
        "add_view",
        "change_view",
        "people",
        "requests",
        "restore",
        "review",
    )
    closed_to_old_sign_ins = ("import_view",)
    form = OrganizationForm
    actions = ["delete_selected", "give_role"]
    inlines = [ContactInline]
    list_display = ["name", "reference", "admins", "status", "changed"]
    column_permissions = {
        "admins": "manage_members",
        "changed": "view_confidential",
    }
    list_filter = [
        AdminsFilter,
        IncompleteFilter,
        InvitationsFilter,
        WaitingFilter,
        ChangedSinceFilter,
        CreatedSinceFilter,
    ]
    search_fields = ["search_text__contains"]
    search_help_text = _("Search by name, reference or address.")
    # The index on this column leaves out archived organizations, as the list does.
    count_column = "sort_name"
    # Only these columns have an index for sorting.
    sorts = {
        "name": Sort("sort_name"),
        "reference": Sort("reference"),
        "created": Sort("created_at", label=_("Created")),
        "changed": Sort("changed_at", permission="view_confidential"),
    }

    fieldsets = [
        (None, {"fields": ["name", "reference"]}),
        (_("Contact"), {"fields": ["website", "email", "phone", "address"]}),
        (
            _("Confidential: only admins and platform staff can see this"),
            {"fields": CONFIDENTIAL_FIELDS},
        ),
        (_("Groups"), {"fields": [role.key for role in ROLES]}),
    ]

    def get_fieldsets(self, request, obj=None):
        fieldsets = super().get_fieldsets(request, obj)
        # OrganizationForm asks for confirmation with these hidden fields.
        hidden = []
        if obj is None:
            hidden.append("namesake")
        if is_active_superuser(request.user):
            hidden.append("freed_reference")
        heading, options = fieldsets[0]
        names = (heading, {**options, "fields": [*options["fields"], *hidden]})
        return [names, *fieldsets[1:]]

    def save_model(self, request, obj, form, change):
        if form.taken_reference:
            archive.free_reference(form.taken_reference, actor=request.user)
        super().save_model(request, obj, form, change)

    def get_readonly_fields(self, request, obj=None):
        groups = [role.key for role in ROLES]
        if request.user.is_superuser:
            return groups
        return [*groups, "reference"]

    def leave_out_long_texts(self, rows):
        """Return the rows of the list without long texts and search keys.

        The list shows whether the address is missing, but not the address itself, so
        `lacks_address` replaces it.
        """
        is_empty = ExpressionWrapper(Q(address=""), BooleanField())
        rows = rows.annotate(lacks_address=is_empty)
        return rows.defer("address", "notes", "search_text", "name_key")

    def prepare_rows(self, request, rows):
        super().prepare_rows(request, rows)
        managed = [row for row in rows if self._knows(request, "manage_members", row)]
        people = find_people(managed)
        for row in rows:
            row.sees_confidential = self._knows(request, "view_confidential", row)
            row.people = None
        for row in managed:
            row.people = people[row.pk]

    @admin.display(description=_("Admins"))
    def admins(self, organization):
        if organization.people is None:
            return ""
        return describe_admins(organization, organization.people)

    @admin.display(description=_("Status"))
    def status(self, organization):
        state = describe_state(organization, organization.people)
        if not organization.sees_confidential:
            state = replace(state, missing=None)
        return render_badges(state, get_language())

    @admin.display(description=_("Last change"))
    def changed(self, organization):
        if not organization.sees_confidential:
            return ""
        return show_day(organization.changed_at)

    def find_hidden_columns(self, request, rows):
        hidden = super().find_hidden_columns(request, rows)
        if {"admins", "changed"} <= hidden:
            hidden.add("status")
        return hidden

    # Giving a role in many organizations

    def has_manage_members_permission(self, request):
        """Return whether to offer actions that change roles.

        Django calls this method for actions with the permission "manage_members".
        """
        return is_active_superuser(request.user)

    @admin.action(
        permissions=["manage_members"], description=_("Give someone a role here…")
    )
    def give_role(self, request, queryset):
        """Ask who gets a role in the selected organizations."""
        keys = " ".join(str(pk) for pk in queryset.values_list("pk", flat=True))
        people_admin = self.admin_site.get_model_admin(User)
        return people_admin.show_give_form(request, chosen=keys)

    def response_action(self, request, queryset, **kwargs):
        """Run an action.

        For all rows of the list, "give_role" passes on the query string of the list
        instead of the IDs of the rows, so the list can have any length.
        """
        is_giving = request.POST.get("action") == "give_role"
        offered = "give_role" in self.get_actions(request)
        if is_giving and offered and self._selects_all(request):
            people_admin = self.admin_site.get_model_admin(User)
            listed = f"?{request.GET.urlencode()}"
            return people_admin.show_give_form(request, listed=listed)
        return super().response_action(request, queryset, **kwargs)

    def get_search_results(self, request, queryset, search_term):
        text = normalize(search_term)
        if search_term.strip() and not text.strip():
            # The search text contains only characters that `normalize` removes, such
            # as accents. Django would treat it as an empty search and return all rows.
            return queryset.none(), False
        return super().get_search_results(request, queryset, text)

    def response_add(self, request, obj, post_url_continue=None):
        response = super().response_add(request, obj, post_url_continue)
        if request.user.is_superuser:
            link = reverse("admin:orgadmin_organization_people", args=[obj.pk])
            text = _(
                'This organization has no members yet. <a href="{}">Add people</a>.'
            )
            self.message_user(request, format_html(text, link), messages.WARNING)
        return response

    def get_deleted_objects(self, objs, request):
        """Describe what will be archived, and how many people will lose access.

        Django's own method would list every related row, including permissions.
        """
        pks = [organization.pk for organization in objs]
        numbers = {self.opts.verbose_name_plural: len(pks)}
        # `objs` can have any order, so the organizations are loaded again by name.
        shown = list(self.model.objects.filter(pk__in=pks[:DELETIONS_SHOWN]))
        people = count_people(shown)
        lines = [
            describe_loss(organization, people[organization.pk])
            for organization in shown
        ]
        if len(pks) > DELETIONS_SHOWN:
            lines.append(_("… and %d more") % (len(pks) - DELETIONS_SHOWN))
        # Archiving requires only the permission to delete the organization, which
        # Django checks elsewhere. No related row can prevent it.
        missing_permissions = set()
        protected = []
        return lines, numbers, missing_permissions, protected


def count_people(organizations):
    """Return {organization ID: number of its members}. Runs one query."""
    pks_by_group = {}
    for organization in organizations:
        for group_id in organization.group_ids:
            pks_by_group[group_id] = organization.pk
    memberships = Membership.objects.current().filter(group__in=pks_by_group)
    # A person who is in several groups of an organization is counted once.
    members = {
        (pks_by_group[group_id], user_id)
        for group_id, user_id in memberships.values_list("group", "user")
    }
    return Counter(pk for pk, _user_id in members)


def describe_loss(organization, number_of_people):
    """Return the line for an organization on the page that asks before archiving."""
    text = ngettext(
        "%(count)d person loses access",
        "%(count)d people lose access",
        number_of_people,
    )
    consequence = text % {"count": number_of_people}
    key = organization.reference or organization.pk
    return f"{organization} ({key}): {consequence}"
