"""The system checks: what `manage.py check` refuses."""

from unittest import mock

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db import models
from django.test import SimpleTestCase, tag
from django.test.utils import isolate_apps

from orgadmin.access import roles
from orgadmin.admin import checks
from orgadmin.admin.base import SuperuserOnlyAdmin
from orgadmin.admin.checks import check_admin_site, check_roles
from orgadmin.admin.gated import (
    Gated,
    GatedModelAdmin,
    GatedOrganizationAdmin,
    GatedTabularInline,
)
from orgadmin.admin.lists.changelist import Sort
from orgadmin.admin.lists.filters import ChoiceFilter
from orgadmin.models import Contact, Organization, User


class PlainInline(admin.TabularInline):
    model = Contact


class StackedInline(Gated, admin.StackedInline):
    model = Contact
    organization_path = "organization"


class GatedInline(GatedTabularInline):
    model = Contact
    organization_path = "organization"


class LostInline(GatedTabularInline):
    model = Contact
    organization_path = "name"


class AllValuesFilter(admin.AllValuesFieldListFilter):
    pass


class DjangoFilter(admin.SimpleListFilter):
    title = "own"
    parameter_name = "own"


class OwnFilter(ChoiceFilter):
    title = "own"
    parameter_name = "own"
    permission = "manage_members"


class UndeclaredFilter(ChoiceFilter):
    title = "own"
    parameter_name = "own"


class UnaskedFilter(OwnFilter):
    def queryset(self, request, queryset):
        return queryset.filter(name="Acme")


def undeclared_action(modeladmin, request, queryset):
    pass


@admin.action(permissions=["change"])
def declared_action(modeladmin, request, queryset):
    pass


class CheckTests(SimpleTestCase):
    def check(self, admin_classes, models=()):
        """Return the ids of the errors in a site with these {model: admin class}."""
        site = admin.AdminSite()
        for model, admin_class in admin_classes.items():
            site.register(model, admin_class)
        errors = list(check_admin_site(None, site=site, models=models or [User]))
        for error in errors:
            self.assertTrue(error.msg)
            self.assertTrue(error.hint)
        return [error.id.removeprefix("orgadmin.") for error in errors]

    def check_options(self, **options):
        """Return the ids of the errors in an admin class of Organization."""
        admin_class = type("Made", (GatedOrganizationAdmin,), options)
        return self.check({Organization: admin_class})

    def make_with_path(self, path, **options):
        return type("Made", (GatedModelAdmin,), {"organization_path": path, **options})

    def test_the_project_has_no_errors(self):
        self.assertEqual(list(check_admin_site(None)), [])
        self.assertEqual(list(check_roles(None)), [])

    def test_a_role_must_have_the_permission_to_view(self):
        role = roles.Role("editor", "Editor", "Editor", ("change",))
        with mock.patch.object(checks, "ROLES", (role,)):
            [error] = check_roles(None)
        self.assertEqual(
            error.msg,
            "Role 'editor' has permissions on organizations that it cannot view.",
        )

    def test_every_registered_admin_asks_the_rule_or_is_for_superusers(self):
        for admin_class in (admin.ModelAdmin, None):
            self.assertEqual(self.check({LogEntry: admin_class}), ["E002"])
            self.assertEqual(self.check({Organization: admin_class}), ["E002"])
        self.assertEqual(
            self.check(
                {LogEntry: SuperuserOnlyAdmin, Organization: GatedOrganizationAdmin}
            ),
            [],
        )

    @tag("A31")
    def test_every_inline_asks_the_rule(self):
        self.assertEqual(self.check_options(inlines=[StackedInline]), ["E003"])
        self.assertEqual(self.check_options(inlines=[PlainInline]), ["E003"])
        self.assertEqual(self.check_options(inlines=[LostInline]), ["E004"])
        self.assertEqual(self.check_options(inlines=[GatedInline]), [])

    def test_the_path_leads_to_an_organization(self):
        group_admin = self.make_with_path("administrators_of")
        # Groups are also not to be changed with an old sign-in.
        self.assertEqual(self.check({Group: group_admin}), ["E004", "E007"])
        for path in (
            "",
            "name",
            "nothing",
            None,
            "organization__admin",
            "organization__admin__nothing",
        ):
            with self.subTest(path=path):
                contact_admin = self.make_with_path(path)
                self.assertEqual(self.check({Contact: contact_admin}), ["E004"])
        contact_admin = self.make_with_path("organization")
        self.assertEqual(self.check({Contact: contact_admin}), [])

    def test_organizations_and_what_belongs_to_them_have_their_own_classes(self):
        self.assertEqual(self.check({Contact: GatedOrganizationAdmin}), ["E004"])
        for path in (None, "", "organization"):
            with self.subTest(path=path):
                organization_admin = self.make_with_path(path)
                self.assertEqual(
                    self.check({Organization: organization_admin}), ["E004"]
                )

    @isolate_apps("orgadmin.apps.OrgadminConfig")
    def test_only_organizations_have_confidential_fields(self):
        class Visit(models.Model):  # noqa: DJ008
            organization = models.ForeignKey(Organization, models.CASCADE)
            notes = models.TextField()

            class Meta:
                app_label = "orgadmin"

        own_notes = self.make_with_path(
            "organization", list_display=["notes"], search_fields=["notes"]
        )
        self.assertEqual(self.check({Visit: own_notes}, [Visit]), [])
        confidential_notes = self.make_with_path(
            "organization", search_fields=["organization__notes"]
        )
        self.assertEqual(self.check({Visit: confidential_notes}, [Visit]), ["E006"])

    @isolate_apps("orgadmin.apps.OrgadminConfig")
    def test_a_model_that_leads_to_organizations_is_gated_or_named(self):
        class Visit(models.Model):  # noqa: DJ008
            contact = models.ForeignKey(Contact, models.CASCADE)

            class Meta:
                app_label = "orgadmin"

        self.assertEqual(self.check({}, [Visit]), ["E005"])
        self.assertEqual(self.check({Visit: SuperuserOnlyAdmin}, [Visit]), ["E005"])
        gated = self.make_with_path("contact__organization")
        self.assertEqual(self.check({Visit: gated}, [Visit]), [])
        with mock.patch.object(checks, "UNGATED", {"orgadmin.Visit": "because"}):
            self.assertEqual(self.check({}, [Visit]), [])

    @tag("A5", "A6", "A8", "A16", "A52")
    def test_options_that_show_or_change_more_are_refused(self):
        refused = [
            {"search_fields": ["name", "notes"]},
            {"search_fields": ["=tax_id"]},
            {"list_display": ["name", "tax_id"]},
            {"ordering": ["-notes"]},
            {"list_filter": ["admin"]},
            {"list_filter": ["contacts"]},
            {"list_filter": [("contacts__name", AllValuesFilter)]},
            {"list_filter": ["tax_id"]},
            {"list_filter": ["admin__name"]},
            {"list_filter": [("admin__name", AllValuesFilter)]},
            {"list_filter": [("tax_id", AllValuesFilter)]},
            {"list_filter": [DjangoFilter]},
            {"list_filter": [UndeclaredFilter]},
            {"list_filter": [UnaskedFilter]},
            {"list_filter": ["changed_at"]},
            {"list_display": ["name", "changed_at"]},
            {"list_display": ["name", "active_admins"]},
            {"sorts": {"changed": Sort("changed_at")}},
            {"date_hierarchy": "created"},
            {"list_display": ["name", "phone"], "list_editable": ["phone"]},
            {"actions": [undeclared_action]},
            {"search_fields": ["notes__startswith"]},
            {"search_fields": ["admin__name"]},
            {"ordering": [models.F("notes").desc()]},
            {"list_display": ["name", "reviewer"]},
            {"list_filter": [("admin", admin.RelatedOnlyFieldListFilter)]},
            {"get_search_fields": lambda self, request: ["notes"]},
            {"get_inlines": lambda self, request, obj: []},
        ]
        for options in refused:
            with self.subTest(options):
                self.assertEqual(self.check_options(**options), ["E006"])

    def test_other_options_are_allowed(self):
        allowed = [
            {"list_filter": [OwnFilter]},
            {"sorts": {"changed": Sort("changed_at", "view_confidential")}},
            {"list_filter": ["phone"]},
            {"list_filter": [("contacts", admin.RelatedOnlyFieldListFilter)]},
            {"actions": [declared_action]},
        ]
        for options in allowed:
            with self.subTest(options):
                self.assertEqual(self.check_options(**options), [])
