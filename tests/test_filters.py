"""The filters of lists: what they find and show, and for which people."""

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from django.contrib.auth.models import Permission
from django.db import connection
from django.test import TestCase, override_settings, tag
from django.utils import timezone

from orgadmin.access.roles import ADMIN
from orgadmin.admin.people import lists as people_lists
from orgadmin.models import Contact, Invitation, Membership, Organization, User

from .factories import create_organization, create_superuser, create_user, set_role

LIST = "/admin/orgadmin/organization/"
PEOPLE = "/admin/orgadmin/user/"
CONTACTS = "/admin/orgadmin/contact/"

COMPLETE = {
    "website": "https://example.com",
    "email": "a@example.com",
    "phone": "1",
    "address": "Road 1",
    "tax_id": "T",
}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def set_times(organization, **times):
    """Set times that only the database writes."""
    columns = ", ".join(f"{name} = %s" for name in times)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE orgadmin_organization SET {columns} WHERE id = %s",
            [*times.values(), organization.pk],
        )


class ListCase(TestCase):
    address = LIST

    def get_list(self, query=""):
        response = self.client.get(f"{self.address}{query}")
        self.assertEqual(response.status_code, 200, query)
        return response.context["cl"]

    def find(self, query):
        """Return the names of the rows."""
        return [str(row) for row in self.get_list(query).result_list]


class OrganizationFilterTests(ListCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.alone = create_organization("Alone", **COMPLETE)
        cls.empty = create_organization("Empty", **COMPLETE)
        cls.full = create_organization("Full", **COMPLETE)
        cls.poor = create_organization("Poor", **COMPLETE | {"tax_id": ""})
        cls.mary = create_user("mary", admin_of=[cls.alone, cls.full])
        cls.john = create_user("john", admin_of=[cls.full, cls.poor])
        cls.gone = create_user("gone", admin_of=[cls.empty, cls.poor], is_active=False)
        old = timezone.now() - timedelta(days=400)
        Invitation.objects.create(organization=cls.full, email="a@x.com", role="admin")
        Invitation.objects.create(
            organization=cls.poor, email="a@x.com", role="admin", sent_at=old
        )
        # The offered role has ended, although the invitation was sent recently.
        Invitation.objects.create(
            organization=cls.alone,
            email="a@x.com",
            role="admin",
            membership_ends_at=timezone.now(),
        )
        for organization in (cls.alone, cls.empty, cls.full):
            set_times(organization, created_at=LONG_AGO, changed_at=LONG_AGO)
        set_times(cls.full, changed_at=datetime(2026, 3, 4, 12, tzinfo=UTC))

    def setUp(self):
        self.client.force_login(self.root)

    def test_each_finds_its_rows(self):
        expected = {
            "?admins=none": ["Empty"],
            "?admins=one": ["Alone", "Poor"],
            "?incomplete=1": ["Poor"],
            "?invitations=pending": ["Full"],
            "?invitations=expired": ["Alone", "Poor"],
            "?changed_since=2026-03-04": ["Full", "Poor"],
            "?changed_since=2026-03-05": ["Poor"],
            "?created_since=2020-01-02": ["Poor"],
            "?admins=one&incomplete=1": ["Poor"],
            "?admins=one&q=alone": ["Alone"],
        }
        for query, names in expected.items():
            with self.subTest(query):
                self.assertEqual(self.find(query), names)

    def test_the_constants_of_partial_indexes_are_no_parameters(self):
        for query in ("?admins=none", "?admins=one", "?incomplete=1"):
            with self.subTest(query):
                rows = self.get_list(query).queryset
                self.assertEqual(rows.query.sql_with_params()[1], ())

    @override_settings(TIME_ZONE="America/New_York")
    def test_a_day_begins_in_the_time_zone_of_the_person(self):
        moment = datetime(2026, 3, 5, 3, tzinfo=UTC)
        set_times(self.full, changed_at=moment)
        self.assertEqual(self.find("?changed_since=2026-03-04"), ["Full", "Poor"])
        self.assertEqual(self.find("?changed_since=2026-03-05"), ["Poor"])

    def test_what_has_no_meaning_is_ignored(self):
        everything = ["Alone", "Empty", "Full", "Poor"]
        for query in (
            "?admins=two",
            "?admins=",
            "?admins=%00",
            "?incomplete=0",
            "?invitations=x",
            "?changed_since=",
            "?changed_since=yesterday",
            "?created_since=0001-01-01",
            "?created_since=9999-12-31",
            "?created_since=2026-02-30",
            "?created_since=%00",
            f"?created_since={'1' * 5_000}",
            "?active_admins=0",
            "?active_admins__exact=0",
            "?changed_at__gte=2026-01-01",
            "?sort_name__startswith=a",
            "?utm_source=x",
            "?role=admin",
        ):
            with self.subTest(query[:40]):
                changelist = self.get_list(query)
                names = [str(row) for row in changelist.result_list]
                self.assertEqual(names, everything)
                self.assertEqual(changelist.chips, [])
                self.assertEqual(changelist.get_query_string({"p": 2}), "?p=2")

    def test_a_date_that_is_none_is_explained_at_its_field(self):
        response = self.client.get(f"{LIST}?changed_since=soon&admins=one")
        self.assertContains(response, "“soon” is not a date. Write it like 2")
        self.assertContains(response, '<details class="filters" open>')
        self.assertContains(response, 'aria-describedby="filter-changed_since-error"')
        # The other filter is still there.
        self.assertEqual(len(response.context["cl"].chips), 1)

    def test_chips_remove_one_filter_each(self):
        response = self.client.get(
            f"{LIST}?admins=one&changed_since=2026-03-04&q=o&o=-changed"
        )
        changelist = response.context["cl"]
        first, second = changelist.chips
        self.assertEqual((first.title, first.text), ("Admins", "Only one active admin"))
        self.assertEqual(
            (second.title, second.text), ("Changed since", "March 4, 2026")
        )
        self.assertEqual(first.url, "?changed_since=2026-03-04&o=-changed&q=o")
        self.assertEqual(second.url, "?admins=one&o=-changed&q=o")
        self.assertContains(response, 'href="?o=-changed&amp;q=o">Clear all</a>')

    def test_the_form_keeps_the_search(self):
        response = self.client.get(f"{LIST}?admins=one&q=o")
        self.assertContains(response, '<input type="hidden" name="q" value="o">')
        self.assertContains(response, '<option value="one" selected>')
        # The search keeps the filters.
        self.assertContains(response, '<input type="hidden" name="admins" value="one">')

    def test_an_export_has_the_rows_of_the_filter(self):
        response = self.client.get(f"{LIST}export/?admins=none")
        text = response.getvalue().decode()
        self.assertIn("Empty", text)
        self.assertNotIn("Alone", text)

    def test_an_export_with_a_filter_that_has_no_meaning_is_refused(self):
        for query in ("admins=two", "changed_since=soon", "nonsense=1"):
            response = self.client.get(f"{LIST}export/?{query}")
            self.assertEqual(response.status_code, 400, query)

    @tag("A52")
    def test_each_finds_only_rows_of_which_the_person_may_know_it(self):
        """A reviewer of all, who is admin of one, learns nothing about the others."""
        organizations = Organization.objects.all()
        anna = create_user("anna", reviewer_of=[self.alone, self.empty, self.poor])
        set_role(self.full, [anna], ADMIN)
        set_role(self.full, [self.john, self.mary], None)
        self.client.force_login(anna)
        self.assertEqual(len(self.find("")), organizations.count())
        expected = {
            "?admins=none": [],
            "?admins=one": ["Full"],
            "?incomplete=1": [],
            "?invitations=pending": ["Full"],
            "?invitations=expired": [],
            "?changed_since=2019-01-01": ["Full"],
            # Everyone who may view an organization may know since when it exists.
            "?created_since=2020-01-02": ["Poor"],
        }
        for query, names in expected.items():
            with self.subTest(query):
                self.assertEqual(self.find(query), names)

    @tag("A52")
    def test_the_order_of_changes_is_only_for_those_who_may_know_all(self):
        anna = create_user("anna", reviewer_of=[self.alone])
        set_role(self.full, [anna], ADMIN)
        self.client.force_login(anna)
        for query in ("?o=changed", "?o=-changed"):
            self.assertEqual(self.find(query), ["Alone", "Full"])
        set_role(self.alone, [anna], ADMIN)
        self.assertEqual(self.find("?o=-changed"), ["Full", "Alone"])

    def test_reviewers_are_offered_no_filter_that_finds_nothing(self):
        self.client.force_login(create_user("anna", reviewer_of=[self.alone]))
        changelist = self.get_list()
        names = [spec.parameter_name for spec in changelist.offered_filters]
        self.assertEqual(names, ["created_since"])
        options = [option.value for option in changelist.sort_options]
        self.assertEqual(options, ["name", "reference", "created"])

    def test_delegated_staff_may_know_what_their_permissions_say(self):
        codenames = ["view_organization", "manage_members_organization"]
        staff = create_user("staff", is_staff=True)
        staff.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        self.client.force_login(staff)
        self.assertEqual(self.find("?admins=none"), ["Empty"])
        self.assertEqual(self.find("?incomplete=1"), [])
        self.assertEqual(self.find("?o=-changed"), self.find(""))


class OrganizationColumnTests(ListCase):
    def setUp(self):
        self.acme = create_organization("Acme", reference="A-1", **COMPLETE)
        self.zeta = create_organization("Zeta")
        self.root = create_superuser()

    def get_page(self, user, query=""):
        self.client.force_login(user)
        return self.client.get(f"{LIST}{query}")

    def test_admins_are_named_and_the_others_counted(self):
        for name in ("Ida", "Tom", "Uli", "Vera"):
            create_user(name.lower(), first_name=name, admin_of=[self.acme])
        create_user("gone", first_name="Gone", admin_of=[self.acme], is_active=False)
        response = self.get_page(self.root)
        self.assertContains(response, "Ida, Tom, 2 more")
        self.assertNotContains(response, "Gone")

    def test_the_status_says_what_is_to_be_done(self):
        create_user("ida", admin_of=[self.acme])
        Invitation.objects.create(organization=self.zeta, email="a@x.com", role="admin")
        response = self.get_page(self.root)
        for text in (
            '<span class="badge warn">Only one admin</span>',
            '<span class="badge bad">No active admin</span>',
            '<span class="badge warn">5 missing</span>',
            '<span class="badge ">1 invitation pending</span>',
        ):
            self.assertContains(response, text)
        Invitation.objects.update(membership_ends_at=timezone.now())
        self.assertNotContains(self.get_page(self.root), "invitation pending")
        create_user("tom", admin_of=[self.acme])
        response = self.get_page(self.root)
        self.assertContains(response, '<span class="badge good">Complete</span>')

    def test_the_status_says_if_the_access_of_all_admins_ends_soon(self):
        badge = "Access of all admins ends soon"
        ida = create_user("ida", admin_of=[self.acme])
        tom = create_user("tom", admin_of=[self.acme])
        gone = create_user("gone", admin_of=[self.acme], is_active=False)
        memberships = Membership.objects.filter(group=self.acme.admin)
        soon = timezone.now() + timedelta(days=9)
        memberships.filter(user=ida).update(ends_at=soon)
        self.assertNotContains(self.get_page(self.root), badge)
        memberships.filter(user=tom).update(ends_at=soon)
        self.assertTrue(memberships.filter(user=gone, ends_at=None).exists())
        self.assertContains(self.get_page(self.root), badge, 1)
        self.assertContains(self.get_page(self.root, "?admins=ending"), badge, 1)
        late = timezone.now() + timedelta(days=99)
        memberships.filter(user=tom).update(ends_at=late)
        self.assertNotContains(self.get_page(self.root), badge)
        memberships.filter(user=tom).update(ends_at=timezone.now())
        self.assertContains(self.get_page(self.root), badge, 1)

    @tag("A53")
    def test_reviewers_see_names_and_references_only(self):
        create_user("ida", first_name="Ida", last_name="Stone", admin_of=[self.acme])
        rita = create_user("rita", reviewer_of=[self.acme])
        response = self.get_page(rita)
        names = [column.name for column in response.context["cl"].columns]
        self.assertEqual(names, ["name", "reference"])
        for text in ("Ida Stone", "Only one admin", "Complete", "badge"):
            self.assertNotContains(response, text)

    @tag("A53")
    def test_rows_show_what_the_person_may_see_of_each(self):
        create_user("ida", first_name="Ida", last_name="Stone", admin_of=[self.acme])
        anna = create_user("anna", reviewer_of=[self.acme], admin_of=[self.zeta])
        response = self.get_page(anna)
        self.assertNotContains(response, "Ida Stone")
        self.assertContains(response, "5 missing")
        self.assertEqual(response.content.decode().count("Only one admin"), 1)

    def test_texts_are_escaped_and_rows_lead_to_the_overview(self):
        evil = create_organization("<script>", reference="<b>")
        response = self.get_page(self.root)
        self.assertNotContains(response, "<script>&lt;")
        self.assertContains(
            response,
            f'<a class="name" href="{LIST}{evil.pk}/overview/">&lt;script&gt;</a>',
        )
        self.assertContains(response, "&lt;b&gt;")

    def test_cells_say_what_they_contain_on_phones(self):
        response = self.get_page(self.root)
        self.assertContains(response, 'data-label="Reference">A-1</td>')

    def test_headers_sort_and_say_the_direction(self):
        response = self.get_page(self.root)
        self.assertContains(response, 'aria-sort="ascending"><a href="?o=-name">Name')
        self.assertContains(response, '<a href="?o=reference">Reference</a>')
        response = self.get_page(self.root, "?o=-name")
        self.assertContains(response, 'aria-sort="descending"><a href="?o=name">Name')


class ActionTests(ListCase):
    address = CONTACTS

    def setUp(self):
        self.acme = create_organization("Acme")
        self.zeta = create_organization("Zeta")
        for organization in (self.acme, self.zeta):
            Contact.objects.create(organization=organization, name=organization.name)

    def assert_checkboxes(self, expected):
        response = self.client.get(CONTACTS)
        text = response.content.decode()
        self.assertEqual(text.count('class="action-select"'), expected)
        self.assertEqual('name="action"' in text, expected > 0)
        self.assertEqual("action-toggle" in text, expected > 0)

    @tag("A53")
    def test_people_get_checkboxes_for_rows_that_they_can_use_an_action_on(self):
        anna = create_user("anna", reviewer_of=[self.acme])
        self.client.force_login(anna)
        self.assert_checkboxes(0)
        set_role(self.zeta, [anna], ADMIN)
        self.assert_checkboxes(1)
        self.assertContains(self.client.get(CONTACTS), ">Acme</a>")
        self.client.force_login(create_superuser())
        self.assert_checkboxes(2)

    def test_org_admins_can_use_no_action_on_organizations(self):
        self.client.force_login(create_user("anna", admin_of=[self.acme]))
        self.assertNotContains(self.client.get(LIST), "action-select")

    def test_an_admin_elsewhere_sees_no_action_on_a_page_without_own_rows(self):
        anna = create_user("anna", reviewer_of=[self.acme], admin_of=[self.zeta])
        self.client.force_login(anna)
        self.assertNotContains(self.client.get(f"{CONTACTS}?q=acme"), "action-select")


class PeopleFilterTests(ListCase):
    address = PEOPLE

    @classmethod
    def setUpTestData(cls):
        acme = create_organization("Acme")
        cls.root = create_superuser()
        create_user("ada", first_name="Ada", admin_of=[acme])
        create_user("rita", reviewer_of=[acme])
        create_user("gone", admin_of=[acme], is_active=False)
        create_user("left", is_active=False, last_login=LONG_AGO)
        cls.staff = create_user("staff", is_staff=True)
        permission = Permission.objects.get(codename="view_user")
        cls.staff.user_permissions.add(permission)
        User.objects.filter(username="root").update(last_login=LONG_AGO)

    def test_each_finds_its_rows(self):
        self.client.force_login(self.root)
        expected = {
            "?role=admin": ["ada", "gone"],
            "?role=reviewer": ["rita"],
            "?role=superuser": ["root"],
            "?role=staff": ["staff"],
            "?status=active": ["ada", "rita", "root", "staff"],
            "?status=inactive": ["gone", "left"],
            "?status=cannot-sign-in": ["gone"],
            "?status=never": ["ada", "gone", "rita", "staff"],
            "?role=admin&status=active": ["ada"],
            "?role=x&status=y": ["ada", "gone", "left", "rita", "root", "staff"],
        }
        for query, names in expected.items():
            with self.subTest(query):
                self.assertEqual(self.find(query), names)

    @tag("A52")
    def test_delegated_staff_learn_nothing_about_roles(self):
        self.client.force_login(self.staff)
        everybody = self.find("")
        self.assertEqual(len(everybody), 6)
        for query in (
            "?role=admin",
            "?role=superuser",
            "?status=cannot-sign-in",
            "?status=never",
        ):
            self.assertEqual(self.find(query), everybody)
        self.assertEqual(self.find("?status=inactive"), ["gone", "left"])
        response = self.client.get(PEOPLE)
        names = [column.name for column in response.context["cl"].columns]
        self.assertEqual(names, ["person", "status"])
        for text in ("Admin of", "Platform staff", "Never"):
            self.assertNotContains(response, text)

    def test_the_list_sums_up_roles(self):
        self.client.force_login(self.root)
        response = self.client.get(PEOPLE)
        for text in ("Admin of 1", "Reviewer of 1", "Platform staff", "Inactive"):
            self.assertContains(response, text)

    def test_counts_no_more_than_the_first_memberships_of_each_person(self):
        number = people_lists.MAX_COUNTED_MEMBERSHIPS + 1
        Organization.objects.bulk_create(
            Organization(name=f"Org {position}") for position in range(number)
        )
        create_user(
            "busy", admin_of=Organization.objects.filter(name__startswith="Org")
        )
        self.client.force_login(self.root)
        self.assertContains(self.client.get(PEOPLE), f"Admin of {number} or more")
        with patch.object(people_lists, "MAX_COUNTED_MEMBERSHIPS", number):
            self.assertContains(self.client.get(PEOPLE), f"Admin of {number}<")

    def test_takes_as_many_queries_for_many_people(self):
        self.client.force_login(self.root)
        self.get_list()
        with self.assertNumQueries(4):  # session, user, rows, numbers of roles
            self.get_list()
