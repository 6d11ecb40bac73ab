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
from orgadmin.models import Contact, Organization, User


class CheckTests(SimpleTestCase):
    def check(self, *registered, models=()):
        """Return the ids of the errors in a site with these (model, admin class)."""
        site = admin.AdminSite()
        for model, admin_class in registered:
            site.register(model, admin_class)
        errors = list(check_admin_site(None, site=site, models=models or [User]))
        for error in errors:
            self.assertTrue(error.msg and error.hint)
        return [error.id.removeprefix("orgadmin.") for error in errors]

    def make(self, base=GatedOrganizationAdmin, **attributes):
        return type("Made", (base,), attributes)

    def make_with_path(self, path, **attributes):
        return self.make(GatedModelAdmin, organization_path=path, **attributes)

    def test_the_project_is_in_order(self):
        self.assertEqual([*check_admin_site(None), *check_roles(None)], [])

    def test_a_role_must_view(self):
        role = roles.Role("editor", "Editor", "Editor", ("change",))
        with self.swap(checks, "ROLES", (role,)):
            [error] = check_roles(None)
        self.assertEqual(
            error.msg,
            "Role 'editor' has permissions on organizations that it may not view.",
        )

    def swap(self, module, name, value):
        return mock.patch.object(module, name, value)

    def test_every_registered_admin_asks_the_rule_or_is_for_superusers(self):
        for admin_class in (admin.ModelAdmin, None):
            self.assertEqual(self.check((LogEntry, admin_class)), ["E002"])
            self.assertEqual(self.check((Organization, admin_class)), ["E002"])
        self.assertEqual(
            self.check((LogEntry, SuperuserOnlyAdmin), (Organization, self.make())), []
        )

    @tag("A31")
    def test_every_inline_asks_the_rule(self):
        plain = type("Inline", (admin.TabularInline,), {"model": Contact})
        gated = type(
            "Inline",
            (GatedTabularInline,),
            {"model": Contact, "organization_path": "organization"},
        )
        stacked = type(
            "Inline",
            (Gated, admin.StackedInline),
            {"model": Contact, "organization_path": "organization"},
        )
        self.assertEqual(
            self.check((Organization, self.make(inlines=[stacked]))), ["E003"]
        )
        lost = type(
            "Inline",
            (GatedTabularInline,),
            {"model": Contact, "organization_path": "name"},
        )
        self.assertEqual(
            self.check((Organization, self.make(inlines=[plain]))), ["E003"]
        )
        self.assertEqual(
            self.check((Organization, self.make(inlines=[lost]))), ["E004"]
        )
        self.assertEqual(self.check((Organization, self.make(inlines=[gated]))), [])

    def test_the_path_leads_to_an_organization(self):
        self.assertEqual(
            self.check((Group, self.make_with_path("administrators_of"))), ["E004"]
        )
        for path in (
            "",
            "name",
            "nothing",
            None,
            "organization__admin",
            "organization__admin__nothing",
        ):
            with self.subTest(path=path):
                self.assertEqual(
                    self.check((Contact, self.make_with_path(path))), ["E004"]
                )
        self.assertEqual(self.check((Contact, self.make_with_path("organization"))), [])

    def test_organizations_and_what_belongs_to_them_have_classes_of_their_own(self):
        self.assertEqual(self.check((Contact, GatedOrganizationAdmin)), ["E004"])
        for path in (None, "", "organization"):
            with self.subTest(path=path):
                self.assertEqual(
                    self.check((Organization, self.make_with_path(path))), ["E004"]
                )

    @isolate_apps("orgadmin.apps.OrgadminConfig")
    def test_only_organizations_have_confidential_fields(self):
        class Visit(models.Model):  # noqa: DJ008
            organization = models.ForeignKey(Organization, models.CASCADE)
            notes = models.TextField()

            class Meta:
                app_label = "orgadmin"

        def check(**options):
            return self.check(
                (Visit, self.make_with_path("organization", **options)),
                models=[Visit],
            )

        self.assertEqual(check(list_display=["notes"], search_fields=["notes"]), [])
        self.assertEqual(check(search_fields=["organization__notes"]), ["E006"])

    @isolate_apps("orgadmin.apps.OrgadminConfig")
    def test_a_model_that_leads_to_organizations_is_gated_or_named(self):
        class Visit(models.Model):  # noqa: DJ008
            contact = models.ForeignKey(Contact, models.CASCADE)

            class Meta:
                app_label = "orgadmin"

        self.assertEqual(self.check(models=[Visit]), ["E005"])
        self.assertEqual(
            self.check((Visit, SuperuserOnlyAdmin), models=[Visit]), ["E005"]
        )
        gated = self.make_with_path("contact__organization")
        self.assertEqual(self.check((Visit, gated), models=[Visit]), [])
        with self.swap(checks, "UNGATED", {"orgadmin.Visit": "because"}):
            self.assertEqual(self.check(models=[Visit]), [])

    @tag("A5", "A6", "A8", "A16")
    def test_options_that_show_or_change_more_are_refused(self):
        def undeclared(modeladmin, request, queryset):
            pass

        class AllValues(admin.AllValuesFieldListFilter):
            pass

        bad = [
            {"search_fields": ["name", "notes"]},
            {"search_fields": ["=tax_id"]},
            {"list_display": ["name", "tax_id"]},
            {"ordering": ["-notes"]},
            {"list_filter": ["admin"]},
            {"list_filter": ["contacts"]},
            {"list_filter": [("contacts__name", AllValues)]},
            {"list_filter": ["tax_id"]},
            {"list_filter": ["admin__name"]},
            {"list_filter": [("admin__name", AllValues)]},
            {"list_filter": [("tax_id", AllValues)]},
            {"date_hierarchy": "created"},
            {"list_display": ["name", "phone"], "list_editable": ["phone"]},
            {"actions": [undeclared]},
            {"search_fields": ["notes__startswith"]},
            {"search_fields": ["admin__name"]},
            {"ordering": [models.F("notes").desc()]},
            {"list_display": ["name", "reviewer"]},
            {"list_filter": [("admin", admin.RelatedOnlyFieldListFilter)]},
            {"get_search_fields": lambda self, request: ["notes"]},
            {"get_inlines": lambda self, request, obj: []},
        ]
        for options in bad:
            with self.subTest(options):
                self.assertEqual(
                    self.check((Organization, self.make(**options))), ["E006"]
                )

        @admin.action(permissions=["change"])
        def declared(modeladmin, request, queryset):
            pass

        class Own(admin.SimpleListFilter):
            title = parameter_name = "own"

        good = [
            {"list_filter": [Own]},
            {"list_filter": ["phone"]},
            {"list_filter": [("contacts", admin.RelatedOnlyFieldListFilter)]},
            {"actions": [declared]},
        ]
        for options in good:
            with self.subTest(options):
                self.assertEqual(self.check((Organization, self.make(**options))), [])
