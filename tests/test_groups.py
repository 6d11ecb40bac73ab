from unittest import mock

from django.contrib.auth.models import Group
from django.db import IntegrityError, connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext

from orgadmin.access import groups
from orgadmin.access.groups import NameSeries, find_free_names
from orgadmin.access.roles import FIRST_RANDOM_NUMBER, ROLES
from orgadmin.models import Organization

from .factories import create_organization

ADMIN, REVIEWER = ROLES[:2]


def find(*names):
    return find_free_names(
        [NameSeries.of(name, ADMIN) for name in names], using="default"
    )


def take(*names):
    Group.objects.bulk_create(Group(name=name) for name in names)


class FindFreeNamesTests(TestCase):
    def test_takes_the_name_without_a_number_first(self):
        self.assertEqual(find("Acme"), ["Acme Admin"])

    def test_takes_the_first_free_number_also_in_a_gap(self):
        take("Acme Admin", "Acme 1 Admin", "Acme 3 Admin")
        self.assertEqual(
            find("Acme", "Acme", "Acme"),
            ["Acme 2 Admin", "Acme 4 Admin", "Acme 5 Admin"],
        )

    def test_goes_through_the_names_one_after_the_other(self):
        self.assertEqual(
            find("X", "X", "X 1", "X"),
            ["X Admin", "X 1 Admin", "X 1 1 Admin", "X 2 Admin"],
        )
        self.assertEqual(find("X", "X 1", "X"), ["X Admin", "X 1 Admin", "X 2 Admin"])

    def test_asks_for_no_more_names_at_once_than_a_database_takes(self):
        names = [f"Name {number}" for number in range(30)]
        take(*(f"{name}{number} Admin" for name in names for number in ("", " 1")))
        with (
            mock.patch.object(groups, "CHUNK", 500),
            CaptureQueriesContext(connection) as queries,
        ):
            self.assertEqual(find(*names), [f"{name} 2 Admin" for name in names])
        asked = [query["sql"].count(" Admin") for query in queries]
        self.assertEqual((sum(asked), max(asked)), (30 * 100, 500))

    def test_asks_for_no_name_twice(self):
        take("Taken Admin", "Taken 1 Admin")
        with CaptureQueriesContext(connection) as queries:
            self.assertEqual(
                find("Taken", "Free", "Free too"),
                ["Taken 2 Admin", "Free Admin", "Free too Admin"],
            )
        self.assertEqual([query["sql"].count("'Free") for query in queries], [4, 0])

    def test_numbers_each_role_on_its_own(self):
        take("Acme Admin")
        names = find_free_names(
            [NameSeries.of("Acme", ADMIN), NameSeries.of("Acme", REVIEWER)],
            using="default",
        )
        self.assertEqual(names, ["Acme 1 Admin", "Acme Reviewer"])

    def test_takes_any_free_number_beyond_the_first_hundred(self):
        take(
            "Acme Admin",
            *(f"Acme {number} Admin" for number in range(1, FIRST_RANDOM_NUMBER)),
        )
        names = find(*["Acme"] * 20)
        numbers = [int(name.split()[1]) for name in names]
        self.assertEqual(len(set(numbers)), 20)
        self.assertTrue(all(number >= FIRST_RANDOM_NUMBER for number in numbers))

    def test_costs_at_most_two_queries_however_many_names_are_taken(self):
        with self.assertNumQueries(1):
            find("Acme")
        take("Acme Admin", "Acme 1 Admin")
        with self.assertNumQueries(1):
            find("Acme")
        take(*(f"Acme {number} Admin" for number in range(2, 5_000)))
        with self.assertNumQueries(2):
            find("Acme")

    def test_costs_queries_by_the_batch_and_not_by_the_row(self):
        with self.assertNumQueries(2):  # of many names, first the low numbers
            find(*["Acme"] * 150, *(f"Name {number}" for number in range(50)))

    def test_distinguishes_names_as_the_database_does(self):
        take("ACME Admin", "Acme  Admin", "Acmé Admin")
        self.assertEqual(find("Acme"), ["Acme Admin"])


class LostRaceTests(TestCase):
    """Another writer takes a name between the check and the write."""

    def steal_once(self, *stolen):
        thieves = list(stolen)

        def find_and_lose(wanted, *, using):
            names = find_free_names(wanted, using=using)
            if thieves:
                take(*thieves)
                thieves.clear()
            return names

        return mock.patch.object(groups, "find_free_names", find_and_lose)

    def test_a_new_organization_takes_the_next_name(self):
        take("Acme Admin")
        with self.steal_once("Acme 1 Admin"):
            organization = create_organization("Acme")
        self.assertEqual(
            (organization.admin.name, organization.reviewer.name),
            ("Acme 2 Admin", "Acme Reviewer"),
        )
        self.assertNotIn(
            organization.admin,
            Group.objects.filter(name__in=["Acme Admin", "Acme 1 Admin"]),
        )

    def test_bulk_creation_takes_the_next_name(self):
        take("A Admin", "B Reviewer")
        with self.steal_once("A 1 Admin", "B 1 Reviewer"):
            first, second = Organization.objects.bulk_create(
                [Organization(name="A"), Organization(name="B")]
            )
        names = [
            first.admin.name,
            first.reviewer.name,
            second.admin.name,
            second.reviewer.name,
        ]
        self.assertEqual(names, ["A 2 Admin", "A Reviewer", "B Admin", "B 2 Reviewer"])

    def test_a_renamed_organization_takes_the_next_name(self):
        organization = create_organization("Old")
        organization.name = "New"
        with self.steal_once("New Reviewer"):
            organization.save()
        organization.refresh_from_db()
        self.assertEqual(
            (organization.admin.name, organization.reviewer.name),
            ("New Admin", "New 1 Reviewer"),
        )

    def test_a_rename_that_never_wins_says_so_and_changes_nothing(self):
        organization = create_organization("Old")
        take("New Admin")
        with mock.patch.object(
            groups, "find_free_names", return_value=["New Admin", "New Reviewer"]
        ):
            organization.name = "New"
            with self.assertRaises(IntegrityError):
                organization.save()
        organization.refresh_from_db()
        self.assertEqual(
            (organization.name, organization.admin.name), ("Old", "Old Admin")
        )
