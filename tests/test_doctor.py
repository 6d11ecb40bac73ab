from django.contrib.auth.models import Group, Permission
from django.db import models
from django.test import TestCase

from orgadmin.models import Organization, OrganizationGroupObjectPermission
from orgadmin.records.doctor.doctor import examine_organizations
from tests.factories import create_organization, create_user, grant
from tests.test_models import InvariantMixin, expected_grants, grants_of


class DoctorTests(InvariantMixin, TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.user = create_user(admin_of=[self.acme])

    def find(self, **options):
        return [
            (issue.kind, issue.organization, issue.is_error)
            for issue in examine_organizations(**options)
            if issue.kind != "no active admin"
        ]

    def assert_repaired(self, kind, organization=None):
        """Assert that `fix` repairs this error, and that no other error is left."""
        organization = organization or self.acme
        self.assertIn((kind, organization, True), self.find())
        self.assertIn((kind, organization, True), self.find(fix=True))
        self.assertEqual([issue for issue in self.find() if issue[2]], [])

    def test_healthy_organizations_have_no_issues(self):
        self.assertEqual(list(examine_organizations()), [])

    def test_missing_permissions_are_granted(self):
        self.acme.group_grants.filter(
            permission__codename="change_organization"
        ).delete()
        self.assert_repaired("permissions")
        self.assert_invariant(1)

    def test_extra_permissions_are_removed(self):
        other = create_organization("Other")
        for organization, codename in (
            (self.acme, "delete_organization"),
            (other, "view_organization"),
        ):
            permission = Permission.objects.get(codename=codename)
            organization.group_grants.create(
                group=self.acme.admin, permission=permission
            )
        self.assert_repaired("permissions")
        self.assert_invariant(2)

    def test_a_changed_role_table_reaches_the_groups(self):
        OrganizationGroupObjectPermission.objects.filter(
            group=self.acme.reviewer
        ).delete()
        self.assert_repaired("permissions")
        self.assertEqual(grants_of(self.acme), expected_grants(self.acme))

    def test_a_model_level_permission_of_a_group_is_removed(self):
        self.acme.reviewer.permissions.add(
            Permission.objects.get(codename="view_organization")
        )
        self.assert_repaired("model-level permission")
        self.assertFalse(self.acme.reviewer.permissions.exists())

    def test_an_outdated_group_name_is_repaired(self):
        Organization.objects.update(name="New")
        self.assert_repaired("group name")
        self.acme.refresh_from_db()
        self.assertEqual(
            (self.acme.admin.name, self.acme.reviewer.name),
            ("New Admin", "New Reviewer"),
        )

    def test_a_group_of_two_organizations_is_replaced_as_reviewer_group(self):
        other = create_organization("Other")
        lost = other.reviewer
        models.QuerySet.update(
            Organization.objects.filter(pk=other.pk), reviewer=self.acme.admin
        )
        lost.delete()
        self.assert_repaired("shared group", other)
        self.assert_invariant(2)
        other.refresh_from_db()
        self.assertEqual(other.reviewer.name, "Other Reviewer")
        self.assertFalse(
            Organization.objects.filter(pk=other.pk).permitted(self.user).exists()
        )
        self.assertTrue(
            Organization.objects.filter(pk=self.acme.pk)
            .permitted(self.user, "change")
            .exists()
        )

    def test_an_outdated_search_text_is_repaired(self):
        models.QuerySet.update(
            Organization.objects.filter(pk=self.acme.pk),
            name="Bäcker",
            search_text="acme",
        )
        Group.objects.filter(pk=self.acme.admin_id).update(name="Bäcker Admin")
        Group.objects.filter(pk=self.acme.reviewer_id).update(name="Bäcker Reviewer")
        self.assert_repaired("search text", self.acme)
        self.assertTrue(
            Organization.objects.filter(search_text__contains="backer").exists()
        )

    def test_notes_are_reported_and_never_repaired(self):
        friends = Group.objects.create(name="Friends")
        self.acme.group_grants.create(
            group=friends,
            permission=Permission.objects.get(codename="view_organization"),
        )
        grant(self.user, "view_organization", self.acme)
        Group.objects.filter(pk=self.acme.reviewer_id).update(name="The boss's friends")
        create_user("away", reviewer_of=[self.acme], is_active=False)
        other = create_organization("Other")
        expected = {
            ("permission of another group", self.acme, False),
            ("personal permission", self.acme, False),
            ("renamed group", self.acme, False),
            ("inactive member", self.acme, False),
        }
        for fix in (False, True, False):
            self.assertEqual(set(self.find(fix=fix)), expected)
        without_admin = [
            issue.organization
            for issue in examine_organizations()
            if issue.kind == "no active admin"
        ]
        self.assertEqual(without_admin, [other])

    def test_runs_as_many_queries_for_many_organizations(self):
        Organization.objects.bulk_create(
            Organization(name=f"Name {number}") for number in range(300)
        )
        # Two savepoints with their releases, two reads of organizations, eight checks.
        with self.assertNumQueries(14):
            list(examine_organizations())
