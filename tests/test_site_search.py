"""The search on the whole site: what it finds, in which order, and what it shows."""

from unittest import SkipTest, mock

from django.db import connection
from django.test import SimpleTestCase, TestCase, tag
from django.test.utils import CaptureQueriesContext

from orgadmin.models import AuditEvent, Contact, Organization
from orgadmin.records.marking import mark_matches
from orgadmin.records.search import MAX_HITS

from .factories import create_organization, create_superuser, create_user

SEARCH = "/admin/search/"


def join(parts):
    """Return the text of parts, with brackets around those that match."""
    return "".join(f"[{part.text}]" if part.is_match else part.text for part in parts)


class MarkingTests(SimpleTestCase):
    def test_marks_what_matches_without_case_and_accents(self):
        examples = {
            ("Müller & Söhne", "muller"): "[Müller] & Söhne",
            ("Mu\u0308ller", "mu"): "[Mu\u0308]ller",
            ("Mu\u0308", "mu"): "[Mu\u0308]",
            ("STRASSE Straße", "strasse"): "[STRASSE] [Straße]",
            ("Straße", "as"): "Str[aß]e",
            ("ﬁnance", "fi"): "[ﬁ]nance",
            ("aaa", "aa"): "[aa]a",
            ("Acme", "x"): "Acme",
            ("", "x"): "",
        }
        for (text, word), expected in examples.items():
            with self.subTest(text, word=word):
                self.assertEqual(join(mark_matches(text, [word])), expected)

    def test_marks_several_words(self):
        self.assertEqual(
            join(mark_matches("One two three", ["three", "on"])), "[On]e two [three]"
        )

    def test_cuts_a_long_text_around_the_first_match(self):
        text = "x" * 500 + "needle" + "y" * 500
        cut = join(mark_matches(text, ["needle"]))
        self.assertIn("x[needle]y", cut)
        self.assertTrue(cut.startswith("…x"))
        self.assertTrue(cut.endswith("y…"))
        self.assertLess(len(cut), 150)


class SearchCase(TestCase):
    def search(self, user, text):
        """Return {name of the model: what is found}."""
        self.client.force_login(user)
        response = self.client.get(SEARCH, {"q": text})
        self.assertEqual(response.status_code, 200)
        self.response = response
        return {
            group.model_admin.opts.model_name: [
                str(result.hit.row) for result in group.results
            ]
            for group in response.context["groups"]
        }


class SearchTests(SearchCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization(
            "Acme Müller",
            reference="R1",
            address="Hafenstraße 7",
            tax_id="SECRET-1",
            notes="hushhush",
        )
        Contact.objects.create(
            organization=cls.acme, name="Muller, Eva", email="eva@example.com"
        )
        cls.ada = create_user("muller", email="ada@example.com", admin_of=[cls.acme])
        cls.root = create_superuser()

    def test_finds_organizations_contacts_and_people_for_superusers(self):
        self.assertEqual(
            self.search(self.root, "muller"),
            {
                "organization": ["Acme Müller"],
                "contact": ["Muller, Eva"],
                "user": ["muller"],
            },
        )

    @tag("A42")
    def test_finds_nothing_that_the_person_may_not_see(self):
        outsider = create_user("out", admin_of=[create_organization("Other")])
        self.assertEqual(self.search(outsider, "muller"), {})
        self.assertEqual(
            self.search(self.ada, "muller"),
            {"organization": ["Acme Müller"], "contact": ["Muller, Eva"]},
        )
        viewer = create_user("v", is_staff=True, permissions=["view_organization"])
        self.assertNotIn("user", self.search(viewer, "muller"))
        manager = create_user("m", is_staff=True, permissions=["view_user"])
        self.assertEqual(self.search(manager, "muller"), {"user": ["muller"]})

    @tag("A42")
    def test_finds_nothing_by_a_confidential_field(self):
        for text in ("secret", "secret-1", "hush", "hushhush"):
            for user in (self.root, self.ada):
                self.assertEqual(self.search(user, text), {})

    def test_marks_and_names_the_field_that_matches(self):
        self.search(self.ada, "hafenstrasse")
        self.assertContains(self.response, "Address:")
        self.assertContains(self.response, "<mark>Hafenstraße</mark> 7")
        self.search(self.ada, "müll")
        self.assertContains(self.response, "Acme <mark>Müll</mark>er")
        self.search(self.ada, "eva@")
        self.assertContains(self.response, "<mark>eva@</mark>example.com")

    def test_shows_the_organization_of_a_contact(self):
        self.search(self.ada, "eva")
        self.assertContains(self.response, "Acme Müller")

    @tag("E1")
    def test_escapes_what_it_shows(self):
        create_organization("<b>bold</b> & co")
        self.search(self.root, "<b>bold")
        self.assertContains(
            self.response, "<mark>&lt;b&gt;bold</mark>&lt;/b&gt; &amp; co"
        )
        self.assertNotContains(self.response, "<b>bold")

    def test_leads_to_the_lists_with_the_same_search(self):
        self.search(self.root, "muller & co")
        self.search(self.root, "muller")
        for name in ("organization", "contact", "user"):
            self.assertContains(self.response, f"/admin/orgadmin/{name}/?q=muller")

    def test_says_what_to_do_if_there_is_nothing(self):
        self.assertEqual(self.search(self.root, "zzzz"), {})
        self.assertContains(self.response, "Nothing that you can see matches “zzzz”.")
        self.assertContains(self.response, "Check the spelling")
        self.assertEqual(self.search(self.root, " "), {})
        self.assertContains(self.response, "Enter a few letters")

    def test_takes_any_text(self):
        for text in ("\0", "\u0301", "%", "_", '"', "'", "\\", "a" * 5_000, "a " * 300):
            with self.subTest(text[:5]):
                self.search(self.root, text)
        self.assertEqual(self.search(self.root, "m%r"), {})

    def test_a_quotation_mark_alone_finds_nothing(self):
        for text in ('"', "'", '""', "' \""):
            self.assertEqual(self.search(self.root, text), {})

    def test_a_short_text_finds_what_names_start_with(self):
        found = self.search(self.root, "ac")
        self.assertEqual(found, {"organization": ["Acme Müller"]})
        self.assertContains(self.response, "at least 3 characters")
        self.assertEqual(self.search(self.root, "cm"), {})

    def test_the_search_of_earlier_releases_leads_here(self):
        self.client.force_login(self.root)
        response = self.client.get("/admin/?q=a%26b")
        self.assertRedirects(response, f"{SEARCH}?q=a%26b")

    def test_records_who_looks_for_people(self):
        events = AuditEvent.objects.filter(event="people viewed")
        self.search(self.root, "hafenstrasse")
        self.assertFalse(events.exists())
        self.search(self.root, "muller")
        self.search(self.root, "muller")
        self.assertEqual(events.count(), 1)


class RankingTests(SearchCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        for name, values in {
            "Zeta": {"address": "Acme Road 1"},
            "The Acme of it": {},
            "acme two": {},
            "Ácme one": {},
            "Other": {"reference": "acme"},
        }.items():
            create_organization(name, **values)

    def test_the_reference_comes_first_then_names_that_start_with_the_text(self):
        expected = ["Other", "Ácme one", "acme two", "The Acme of it", "Zeta"]
        self.assertEqual(self.search(self.root, "acme"), {"organization": expected})

    def test_org_admins_get_the_same_order_of_their_own(self):
        own = Organization.objects.exclude(name="acme two")
        ada = create_user("ada", admin_of=own)
        expected = ["Other", "Ácme one", "The Acme of it", "Zeta"]
        self.assertEqual(self.search(ada, "acme"), {"organization": expected})

    def test_finds_all_words_in_any_order(self):
        self.assertEqual(
            self.search(self.root, "it acme"), {"organization": ["The Acme of it"]}
        )
        self.assertEqual(
            self.search(self.root, '"acme of"'), {"organization": ["The Acme of it"]}
        )

    def test_shows_a_few_of_many_and_the_list_has_the_others(self):
        Organization.objects.bulk_create(
            Organization(name=f"Bulk {number}") for number in range(20)
        )
        found = self.search(self.root, "bulk")
        self.assertEqual(len(found["organization"]), MAX_HITS)

    def test_a_text_that_is_found_by_its_first_query_runs_no_other(self):
        Organization.objects.bulk_create(
            Organization(name=f"Bulk {number}") for number in range(20)
        )
        Contact.objects.bulk_create(
            Contact(
                name=f"Bulk {number}", sort_name=f"bulk {number}", organization_id=pk
            )
            for number, pk in enumerate(
                Organization.objects.values_list("pk", flat=True)
            )
        )
        self.client.force_login(self.root)
        self.client.get(SEARCH)
        with CaptureQueriesContext(connection) as queries:
            self.client.get(SEARCH, {"q": "bulk"})
        rows = [query["sql"] for query in queries if "LIMIT 6" in query["sql"]]
        found = [sql for sql in rows if 'FROM "orgadmin_user"' not in sql]
        # Organizations: by reference, then by name. Contacts: by name.
        self.assertEqual(len([sql for sql in found if "sort_name" in sql]), 3)

    def test_one_query_finds_the_organizations_of_people_who_have_a_few(self):
        ada = create_user("ada", admin_of=Organization.objects.all())
        self.client.force_login(ada)
        self.client.get(SEARCH)
        with CaptureQueriesContext(connection) as queries:
            self.client.get(SEARCH, {"q": "acme"})
        rows = [query["sql"] for query in queries if "LIMIT 6" in query["sql"]]
        # Organizations, contacts, and on PostgreSQL contacts with similar names.
        self.assertLessEqual(len(rows), 3)

    def test_contacts_are_found_by_their_organization_last(self):
        zeta = Organization.objects.get(name="acme two")
        zeta.contacts.create(name="Eve")
        zeta.contacts.create(name="Adam Acme")
        self.assertEqual(
            self.search(self.root, "acme")["contact"], ["Adam Acme", "Eve"]
        )


class SimilarNameTests(SearchCase):
    @classmethod
    def setUpClass(cls):
        if connection.vendor != "postgresql":
            raise SkipTest("Only PostgreSQL finds similar names.")
        super().setUpClass()

    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.acme = create_organization("Internationale Handelsgesellschaft")
        cls.other = create_organization("Internationale Spedition")
        cls.acme.contacts.create(name="Margarethe Oberhauser")

    def test_tolerates_a_typing_error(self):
        found = self.search(self.root, "Handelsgeselschaft")
        self.assertEqual(found, {"organization": [self.acme.name]})
        self.assertContains(self.response, "Similar name")
        found = self.search(self.root, "oberhausser")
        self.assertEqual(found, {"contact": ["Margarethe Oberhauser"]})

    def test_finds_a_typing_error_anywhere(self):
        for typed in ("nternationale Spedition", "Spediton", "Internatoinale Sped"):
            found = self.search(self.root, typed)
            self.assertIn(self.other.name, found["organization"], typed)

    def test_first_compares_names_that_start_alike(self):
        self.client.force_login(self.root)
        for typed, is_found in (("Internationalle", True), ("Sped1tion", False)):
            with CaptureQueriesContext(connection) as queries:
                self.client.get(SEARCH, {"q": typed})
            compared = [sql["sql"] for sql in queries if " <% " in sql["sql"]]
            compared = [sql for sql in compared if "orgadmin_organization" in sql]
            self.assertEqual(compared == [], is_found, typed)

    @tag("A42")
    def test_finds_no_similar_names_of_others(self):
        ada = create_user("ada", admin_of=[self.other])
        self.assertEqual(self.search(ada, "Handelsgeselschaft"), {})
        self.assertEqual(
            self.search(ada, "Speditionn"), {"organization": [self.other.name]}
        )

    def test_does_without_the_extension(self):
        with mock.patch("orgadmin.records.search.has_trigrams", return_value=False):
            self.assertEqual(self.search(self.root, "Handelsgeselschaft"), {})
