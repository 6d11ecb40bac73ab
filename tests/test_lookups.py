"""The parameters in the URL of a list: those of its filters, and no others."""

from unittest import mock

from django.contrib.admin import (
    AllValuesFieldListFilter,
    BooleanFieldListFilter,
    DateFieldListFilter,
    EmptyFieldListFilter,
    RelatedFieldListFilter,
    RelatedOnlyFieldListFilter,
)
from django.contrib.auth.models import Group
from django.test import TestCase, tag

from orgadmin.admin.membership_log import MembershipLogAdmin
from orgadmin.admin.people.users import UserAdmin

from .factories import create_organization, create_superuser, create_user, set_role

USERS = "/admin/orgadmin/user/"
LOG = "/admin/orgadmin/membershipevent/"

FILTERS = [
    "is_staff",
    "date_joined",
    "groups",
    ("is_active", BooleanFieldListFilter),
    ("last_login", DateFieldListFilter),
    ("last_login", EmptyFieldListFilter),
    ("email", EmptyFieldListFilter),
    ("username", AllValuesFieldListFilter),
    ("user_permissions", RelatedFieldListFilter),
    ("groups", RelatedOnlyFieldListFilter),
]


@tag("A9", "F1")
class LookupTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.anna = create_user("anna", email="anna@example.com")
        cls.anna.groups.add(Group.objects.create(name="Friends"))

    def setUp(self):
        self.client.force_login(self.root)

    def open_all_choices(self, url):
        """Follow each link of each filter. Returns the number of links."""
        number = 0
        changelist = self.client.get(url).context["cl"]
        for spec in changelist.filter_specs:
            for choice in spec.choices(changelist):
                address = url + choice["query_string"]
                with self.subTest(filter=type(spec).__name__, address=address):
                    response = self.client.get(address)
                    self.assertEqual(response.status_code, 200)
                    number += 1
        return number

    def test_filters_of_all_kinds_work(self):
        for declared in FILTERS:
            with mock.patch.object(UserAdmin, "list_filter", [declared]):
                self.assertGreater(self.open_all_choices(USERS), 1)

    def test_filters_by_choices_work(self):
        set_role(create_organization(), [self.anna], None)
        create_user("ada", admin_of=[create_organization("Acme")])
        self.assertTrue(MembershipLogAdmin.list_filter)
        self.assertGreater(self.open_all_choices(LOG), 1)

    def test_filters_by_empty_values_find_the_right_rows(self):
        declared = [("email", EmptyFieldListFilter)]
        with mock.patch.object(UserAdmin, "list_filter", declared):
            response = self.client.get(f"{USERS}?email__isempty=0")
        self.assertEqual(list(response.context["cl"].queryset), [self.anna])

    def test_lookups_of_other_kinds_are_ignored(self):
        queries = [
            "email=anna@example.com",
            "email__startswith=a",
            "email__isnull=1",
            "password__isempty=1",
            "date_joined=2026-01-01",
            "date_joined__year=2026",
            "date_joined__isempty=1",
            "is_staff__gte=1",
            "groups__name=Friends",
            "groups__name__startswith=F",
            "groups__id=1",
            "date_joined__gte=x",
            "date_joined__gte=0001-01-01",
            "date_joined__gte=9999-12-31+23:59:59-10:00",
            "date_joined__lt=2026-13-45",
            "username=%00",
        ]
        declared = [
            "is_staff",
            "date_joined",
            "groups",
            ("email", EmptyFieldListFilter),
            ("username", AllValuesFieldListFilter),
        ]
        with mock.patch.object(UserAdmin, "list_filter", declared):
            for query in queries:
                with self.subTest(query=query):
                    response = self.client.get(f"{USERS}?{query}")
                    self.assertEqual(response.status_code, 200)
                    changelist = response.context["cl"]
                    self.assertCountEqual(
                        changelist.result_list, [self.root, self.anna]
                    )
                    self.assertNotIn("WHERE", str(changelist.queryset.query))
                    self.assertEqual(changelist.chips, [])
                    self.assertEqual(changelist.get_query_string(), "?")

    def test_values_that_a_filter_of_django_does_not_understand_are_ignored(self):
        with mock.patch.object(UserAdmin, "list_filter", ["groups", "is_staff"]):
            for query in ("groups__id__exact=x", "is_staff__exact=maybe"):
                response = self.client.get(f"{USERS}?{query}")
                self.assertEqual(response.status_code, 200)
                self.assertEqual(len(response.context["cl"].result_list), 2)
