from itertools import product
from unittest import mock

from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.db import IntegrityError, NotSupportedError, connection, transaction
from django.db.models import Q
from django.test import TestCase, tag

from orgadmin.access.roles import PERMISSIONS
from orgadmin.models import Organization, OrganizationGroupObjectPermission, User
from orgadmin.records.doctor.doctor import examine_organizations

from .factories import create_organization, create_superuser, create_user, grant

ADMIN_RIGHTS = {"view", "change", "view_confidential", "manage_members"}


class RuleTests(TestCase):
    """The rule as a table: user -> {organization: permissions}.

    The list and the check of one object agree.
    """

    @classmethod
    def setUpTestData(cls):
        cls.a, cls.b, cls.c = (create_organization(name) for name in "ABC")

    def assert_rights(self, user, **expected):
        for name in "abc":
            organization, rights = getattr(self, name), set(expected.get(name, ()))
            with self.subTest(user=user, organization=name):
                self.assertEqual(
                    Organization.objects.permissions_on(user, organization.pk),
                    rights,
                )
        for action in PERMISSIONS:
            rows = {
                getattr(self, name)
                for name in "abc"
                if action in expected.get(name, ())
            }
            with self.subTest(user=user, action=action):
                self.assertEqual(
                    set(Organization.objects.permitted(user, action)), rows
                )
                self.assertEqual(
                    Organization.objects.permitted(user, action).count(), len(rows)
                )

    @tag("B11")
    def test_anonymous_and_outsider_have_nothing(self):
        self.assert_rights(AnonymousUser())
        self.assert_rights(create_user())

    def test_admin_of_one_and_reviewer_of_another(self):
        self.assert_rights(
            create_user(admin_of=[self.a], reviewer_of=[self.b]),
            a=ADMIN_RIGHTS,
            b={"view"},
        )

    def test_superuser_has_everything(self):
        self.assert_rights(
            create_superuser(), a=PERMISSIONS, b=PERMISSIONS, c=PERMISSIONS
        )

    @tag("D3")
    def test_inactive_people_have_nothing(self):
        self.assert_rights(create_superuser(is_active=False))
        self.assert_rights(create_user("a", is_active=False, admin_of=[self.a]))
        permissions = ["view_organization", "change_organization"]
        self.assert_rights(
            create_user("b", is_active=False, is_staff=True, permissions=permissions)
        )

    @tag("B8")
    def test_model_level_permission_counts_for_staff_only(self):
        permissions = ["view_organization", "change_organization"]
        both = {"view", "change"}
        self.assert_rights(
            create_user("staff", is_staff=True, permissions=permissions),
            a=both,
            b=both,
            c=both,
        )
        self.assert_rights(create_user("other", permissions=permissions))

    def test_model_level_permission_of_a_group_counts_too(self):
        user = create_user(is_staff=True)
        group = Group.objects.create(name="Auditors")
        group.permissions.add(Permission.objects.get(codename="view_organization"))
        user.groups.add(group)
        self.assert_rights(user, a={"view"}, b={"view"}, c={"view"})

    def test_staff_alone_is_no_right(self):
        self.assert_rights(create_user(is_staff=True))

    def test_no_right_counts_without_view(self):
        user = create_user(is_staff=True, permissions=["change_organization"])
        self.assert_rights(user)
        grant(user, "delete_organization", self.b)
        self.assert_rights(user)
        grant(user, "view_organization", self.a)
        self.assert_rights(user, a={"view", "change"})

    def test_direct_grants_count(self):
        user = create_user(reviewer_of=[self.b])
        grant(user, "view_organization", self.a)
        grant(user, "change_organization", self.a)
        grant(user, "change_organization", self.b)
        self.assert_rights(user, a={"view", "change"}, b={"view", "change"})

    def test_grants_of_any_group_count(self):
        user, group = create_user(), Group.objects.create(name="Friends")
        user.groups.add(group)
        permission = Permission.objects.get(codename="view_organization")
        self.c.group_grants.create(group=group, permission=permission)
        self.assert_rights(user, c={"view"})

    def test_leaving_the_group_ends_it(self):
        user = create_user(admin_of=[self.a])
        user.groups.clear()
        self.assert_rights(user)

    @tag("B12")
    def test_a_reused_id_inherits_nothing(self):
        user = create_user(admin_of=[self.a])
        grant(user, "view_organization", self.a)
        pk = self.a.pk
        self.a.delete()
        self.a = create_organization("A", pk=pk)
        self.assert_rights(user)

    def test_narrows_what_it_is_asked_of(self):
        user = create_user(admin_of=[self.a, self.b])
        self.assertEqual(
            list(Organization.objects.exclude(name="A").permitted(user)), [self.b]
        )

    def test_list_costs_one_query_and_object_check_one(self):
        user = create_user(admin_of=[self.a])
        for method, action in product(("permitted",), ("view", "change")):
            with self.assertNumQueries(1):
                list(getattr(Organization.objects, method)(user, action))
        with self.assertNumQueries(1):
            Organization.objects.permissions_on(user, self.a.pk)


class BulkCreateTests(TestCase):
    def test_returns_organizations_with_keys_groups_and_permissions(self):
        organizations = Organization.objects.bulk_create(
            Organization(name="Acme") for _ in range(3)
        )
        names = [organization.admin.name for organization in organizations]
        self.assertEqual(names, ["Acme Admin", "Acme 1 Admin", "Acme 2 Admin"])
        self.assertEqual(OrganizationGroupObjectPermission.objects.count(), 15)
        self.assertEqual(set(Organization.objects.all()), set(organizations))

    def test_refuses_to_ignore_or_update_conflicts(self):
        for arguments in ({"ignore_conflicts": True}, {"update_conflicts": True}):
            with self.subTest(arguments), self.assertRaises(NotSupportedError):
                Organization.objects.bulk_create(
                    [Organization(name="Acme")], **arguments
                )
        self.assertFalse(Group.objects.exists())

    def test_an_option_that_is_none_is_refused(self):
        for organizations in ([], [Organization(name="Acme")]):
            with self.assertRaises(TypeError):
                Organization.objects.bulk_create(organizations, ignore_conflict=True)

    def test_costs_queries_by_the_batch(self):
        # On SQLite, the ORM inserts with at most 999 parameters, hence 71 organizations
        # at a time, and history is a statement of its own.
        inserts, history = (14 + 1, 1) if connection.vendor == "sqlite" else (1, 0)
        Organization.objects.create(
            name="First"
        )  # asks for the permissions, which then are remembered
        with self.assertNumQueries(
            6 + inserts
        ):  # savepoint, groups, names, groups, organizations, grants, release
            Organization.objects.bulk_create(
                [Organization(name=f"Name {n % 90}") for n in range(990)]
            )
        with self.assertNumQueries(
            2 + 3 * (3 + history)
        ):  # no name is looked up where all are free
            Organization.objects.bulk_create(
                [Organization(name=f"Other {n}") for n in range(210)], batch_size=70
            )

    def test_can_be_tried_again_after_a_rollback(self):
        organizations = [Organization(name="Acme"), Organization(name="Acme")]
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Organization.objects.bulk_create(organizations)
            raise ZeroDivisionError
        for organization in organizations:
            organization.pk = None
        Organization.objects.bulk_create(organizations)
        self.assertEqual(Group.objects.count(), 4)

    def test_can_be_tried_again_after_a_failure(self):
        create_organization(reference="R")
        organizations = [
            Organization(name="Good"),
            Organization(name="Bad", reference="R"),
        ]
        with self.assertRaises(IntegrityError):
            Organization.objects.bulk_create(organizations, batch_size=1)
        organizations[1].reference = None
        Organization.objects.bulk_create(organizations, batch_size=1)
        self.assertEqual(Group.objects.count(), 6)

    def test_refuses_a_batch_size_that_is_none(self):
        for size in (0, -1):
            with self.assertRaises(ValueError):
                Organization.objects.bulk_create(
                    [Organization(name="Acme")], batch_size=size
                )

    def test_a_failure_leaves_nothing(self):
        create_organization(reference="R")
        organizations = [
            Organization(name="Good"),
            Organization(name="Bad", reference="R"),
        ]
        with self.assertRaises(IntegrityError):
            Organization.objects.bulk_create(organizations, batch_size=1)
        self.assertEqual(Group.objects.count(), 2)
        other = create_organization(
            "Somebody else's"
        )  # on SQLite it gets the key that the first of them had
        organizations[0].save()
        other.refresh_from_db()
        self.assertEqual(
            (other.name, Organization.objects.count(), Group.objects.count()),
            ("Somebody else's", 3, 6),
        )
        self.assertFalse([issue for issue in examine_organizations() if issue.is_error])


class KeysTests(TestCase):
    def test_takes_a_key_as_a_text_as_save_does(self):
        Organization.objects.bulk_create([Organization(pk="79", name="z")])
        self.assertEqual(Organization.objects.get(pk=79).group_grants.count(), 5)


class LockedWaysTests(TestCase):
    """Methods that lock rows first take any queryset that Django's own take."""

    def test_updates_over_a_join_and_of_distinct_rows_once(self):
        acme, beta = create_organization("Acme"), create_organization("Beta")
        for number in range(2):
            acme.contacts.create(name=f"Contact {number}")
        for rows in (
            Organization.objects.filter(contacts__name__startswith="Contact"),
            Organization.objects.filter(Q(contacts__name="Contact 1") | Q(name="Acme")),
            Organization.objects.filter(name="Acme").distinct(),
        ):
            before = acme.history.count()
            with mock.patch("orgadmin.models.organization_queryset.BATCH", 1):
                rows.update(phone="1")
            self.assertEqual(
                (acme.history.count(), beta.history.count()), (before + 1, 1)
            )

    def test_deletes_people_by_an_outer_join(self):
        kept = create_user(admin_of=[create_organization()])
        create_user("gone")
        self.assertEqual(User.objects.filter(groups=None).delete()[0], 1)
        self.assertEqual(list(User.objects.all()), [kept])
        with self.assertRaises(TypeError):
            User.objects.values("pk").delete()
