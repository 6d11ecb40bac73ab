from django.contrib.admin.models import LogEntry
from django.test import TestCase

from orgadmin.admin import base, changelist
from orgadmin.admin.changelist import LongChangeList
from orgadmin.models import Organization

from .factories import create_organization, create_superuser, create_user

LIST = "/admin/orgadmin/organization/"


class LongListTests(TestCase):
    """With a limit of 300 rows, of 350 there are: pages of a hundred."""

    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        # Twins on both sides of a limit, so that the key decides.
        names = (
            [f"Name {number:03}" for number in range(290)]
            + ["Twin"] * 40
            + [f"Zoo {number:02}" for number in range(20)]
        )
        cls.rows = Organization.objects.bulk_create(
            Organization(name=name) for name in names
        )

    def setUp(self):
        for module in (base, changelist):
            self.enterContext(self.settings())
            original = module.LIMIT
            module.LIMIT = 300
            self.addCleanup(setattr, module, "LIMIT", original)
        self.client.force_login(self.root)

    def get(self, query=""):
        response = self.client.get(f"{LIST}{query}")
        return response, response.context and response.context.get("cl")

    def read_all(self, query=""):
        """Return the rows of all pages, by the links that they show."""
        rows, start = [], f"?{query}"
        while start:
            for page in (1, 2, 3):
                _, cl = self.get(f"{start}&p={page}")
                rows += cl.result_list if cl else []
                following = cl.next_string if cl else ""
            start = following
        return rows

    def test_counts_to_the_limit_and_says_more_beyond(self):
        self.assertContains(self.get()[0], "More than 300 organizations")
        self.assertNotContains(self.get()[0], "350 organizations")
        self.assertContains(self.get("?q=zoo")[0], "20 organizations")
        self.assertContains(self.get("?q=zoo+19")[0], "1 organization\n")

    def test_goes_on_after_the_last_row_without_losing_or_repeating_one(self):
        self.assertEqual(self.read_all(), self.rows)
        self.assertEqual(self.read_all("o=-1"), self.rows[::-1])

    def test_leads_back_to_the_start(self):
        page = self.get(f"?after={self.rows[10].pk}")
        self.assertContains(page[0], '<a href="?">Back to the start</a>')
        self.assertEqual(page[1].result_list[0], self.rows[11])

    def test_a_new_search_or_order_begins_anew(self):
        _, cl = self.get(f"?after={self.rows[10].pk}&q=Name")
        self.assertEqual(cl.get_query_string({"o": "-1"}), "?o=-1&q=Name")
        self.assertEqual(
            cl.get_query_string({"p": 2}), f"?after={self.rows[10].pk}&p=2&q=Name"
        )
        self.assertNotIn("after", cl.params)

    def test_a_page_that_is_not_there_leads_to_the_list(self):
        queries = [
            "?p=4",
            "?p=0",
            "?p=-1",
            "?p=99999999999999999999",
            "?after=0",
            "?after=x",
            "?after=%00",
        ]
        queries += [
            f"?after={self.rows[0].pk}&o=2",
            "?after=99999999999999999999999",
            "?q=zoo&p=2",
        ]
        for query in queries:
            with self.subTest(query):
                self.assertRedirects(self.get(query)[0], f"{LIST}?e=1")

    def test_a_row_that_one_may_not_see_is_no_place(self):
        own = create_organization("Own")
        self.client.force_login(create_user("anna", admin_of=[own]))
        foreign, missing = (
            self.get(f"?after={self.rows[0].pk}")[0],
            self.get("?after=999999")[0],
        )
        self.assertEqual(foreign.headers["Location"], missing.headers["Location"])
        self.assertEqual(self.get(f"?after={own.pk}")[0].status_code, 200)

    def test_orders_by_a_column_that_may_be_empty_end_at_the_limit(self):
        _, cl = self.get("?o=2&p=3")
        self.assertEqual(cl.next_string, "")
        self.assertEqual(len(cl.result_list), 100)

    def test_asks_one_query_for_a_page_that_is_the_last(self):
        self.get("?q=zoo")
        with self.assertNumQueries(3):  # session, user, rows
            self.get("?q=zoo")
        with self.assertNumQueries(4):  # and the count
            self.get()

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
        self.assertEqual(
            (Organization.objects.count(), LogEntry.objects.count()), (350, 0)
        )
        self.client.post(f"{LIST}?q=zoo", data)
        self.assertEqual(Organization.objects.count(), 330)

    def test_the_key_runs_with_the_first_column(self):
        for query, ordering in (
            ("", ["name", "pk"]),
            ("?o=-1", ["-name", "-pk"]),
            ("?o=2", ["reference", "pk"]),
        ):
            cl = self.get(query)[1]
            self.assertIsInstance(cl, LongChangeList)
            self.assertEqual(list(cl.queryset.query.order_by), ordering)
