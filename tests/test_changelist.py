"""Lists with more rows than are counted."""

from unittest import mock

from django.contrib.admin.models import LogEntry
from django.test import TestCase

from orgadmin.admin import base
from orgadmin.admin.lists import changelist
from orgadmin.admin.lists.changelist import LongChangeList
from orgadmin.models import Organization

from .factories import create_organization, create_superuser, create_user

LIST = "/admin/orgadmin/organization/"


class LongListTests(TestCase):
    """350 organizations in pages of 100, with a limit of 300."""

    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        names = [f"Name {number:03}" for number in range(290)]
        # Rows of one name on both sides of the limit, so that the key decides.
        names += ["Twin"] * 40
        names += [f"Zoo {number:02}" for number in range(20)]
        cls.rows = Organization.objects.bulk_create(
            Organization(name=name) for name in names
        )

    def setUp(self):
        self.enterContext(mock.patch.object(changelist, "ROW_LIMIT", 300))
        self.enterContext(mock.patch.object(base, "ACTION_LIMIT", 300))
        self.client.force_login(self.root)

    def get_list(self, query=""):
        """Return the change list of a successful response."""
        response = self.client.get(f"{LIST}{query}")
        self.assertEqual(response.status_code, 200)
        return response.context["cl"]

    def read_all(self, query=""):
        """Return the rows of all pages, in the order in which their links lead on."""
        rows = []
        start = f"?{query}"
        while start:
            following = ""
            for page in (1, 2, 3):
                response = self.client.get(f"{LIST}{start}&p={page}")
                change_list = response.context["cl"]
                if change_list.page_num == page:
                    rows += change_list.result_list
                    following = change_list.next_string
            start = following
        return rows

    def test_counts_to_the_limit_and_says_more_beyond(self):
        response = self.client.get(LIST)
        self.assertContains(response, "More than 300 organizations")
        self.assertNotContains(response, "350 organizations")
        self.assertContains(self.client.get(f"{LIST}?q=zoo"), "20 organizations")
        self.assertContains(self.client.get(f"{LIST}?q=zoo+19"), "1 organization\n")

    def test_goes_on_after_the_last_row_without_losing_or_repeating_one(self):
        self.assertEqual(self.read_all(), self.rows)
        self.assertEqual(self.read_all("o=-1"), self.rows[::-1])

    def test_leads_back_to_the_start(self):
        response = self.client.get(f"{LIST}?after={self.rows[10].pk}")
        self.assertContains(response, '<a href="?">Back to the start</a>')
        change_list = response.context["cl"]
        self.assertEqual(change_list.result_list[0], self.rows[11])

    def test_a_new_search_or_order_starts_at_the_beginning(self):
        pk = self.rows[10].pk
        change_list = self.get_list(f"?after={pk}&q=Name")
        self.assertEqual(change_list.get_query_string({"o": "-1"}), "?o=-1&q=Name")
        self.assertEqual(
            change_list.get_query_string({"p": 2}), f"?after={pk}&p=2&q=Name"
        )
        self.assertNotIn("after", change_list.params)

    def test_a_page_that_does_not_exist_is_the_first_one(self):
        queries = [
            "?p=4",
            "?p=0",
            "?p=-1",
            "?p=99999999999999999999",
            "?after=0",
            "?after=x",
            "?after=%00",
            f"?after={self.rows[0].pk}&o=2",
            "?after=99999999999999999999999",
            "?q=zoo&p=2",
        ]
        for query in queries:
            with self.subTest(query):
                change_list = self.get_list(query)
                self.assertEqual((change_list.page_num, change_list.after), (1, ""))
                self.assertNotIn("after", change_list.get_query_string({"p": 2}))
                self.assertTrue(change_list.result_list)

    def test_a_row_that_a_person_may_not_see_is_answered_like_a_missing_one(self):
        own = create_organization("Own")
        self.client.force_login(create_user("anna", admin_of=[own]))
        foreign = self.get_list(f"?after={self.rows[0].pk}")
        missing = self.get_list("?after=999999")
        for change_list in (foreign, missing):
            self.assertEqual(change_list.result_list, [own])
            self.assertEqual(change_list.after, "")
        self.assertEqual(self.get_list(f"?after={own.pk}").result_list, [])

    def test_a_list_sorted_by_a_column_that_may_be_empty_ends_at_the_limit(self):
        change_list = self.get_list("?o=2&p=3")
        self.assertEqual(change_list.next_string, "")
        self.assertEqual(len(change_list.result_list), 100)

    def test_the_only_page_is_not_counted(self):
        self.get_list("?q=zoo")
        with self.assertNumQueries(4):  # session, user, rows, their admins
            self.get_list("?q=zoo")
        with self.assertNumQueries(5):  # the same, and the count
            self.get_list()

    def test_an_action_on_more_rows_than_are_counted_is_refused(self):
        data = {
            "action": "delete_selected",
            "select_across": "true",
            "_selected_action": self.rows[0].pk,
            "post": "yes",
        }
        response = self.client.post(LIST, data, follow=True)
        self.assertContains(
            response, "too many for one action. Search or filter the list first."
        )
        self.assertNotContains(response, "across all pages")
        self.assertEqual(Organization.objects.count(), 350)
        self.assertEqual(LogEntry.objects.count(), 0)
        self.client.post(f"{LIST}?q=zoo", data)
        self.assertEqual(Organization.objects.unarchived().count(), 330)

    def test_goes_on_in_the_order_of_times(self):
        pks = [row.pk for row in self.rows]
        self.assertEqual([row.pk for row in self.read_all("o=created")], pks)
        self.assertEqual([row.pk for row in self.read_all("o=-changed")], pks[::-1])

    def test_the_key_has_the_direction_of_the_first_column(self):
        expected = {
            "": ["sort_name", "pk"],
            "?o=-1": ["-sort_name", "-pk"],
            "?o=2": ["reference", "pk"],
            "?o=-created": ["-created_at", "-pk"],
            "?o=changed.-name": ["changed_at", "pk"],
            # These cannot be sorted by, or do not exist.
            "?o=3": ["sort_name", "pk"],
            "?o=website": ["sort_name", "pk"],
            "?o=sort_name": ["sort_name", "pk"],
            "?o=99.x.-": ["sort_name", "pk"],
            "?o=%00": ["sort_name", "pk"],
        }
        for query, ordering in expected.items():
            with self.subTest(query):
                change_list = self.get_list(query)
                self.assertIsInstance(change_list, LongChangeList)
                self.assertEqual(list(change_list.queryset.query.order_by), ordering)
