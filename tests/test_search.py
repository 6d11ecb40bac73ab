"""The search for organizations, and the stored text that it searches."""

from django.db import connection
from django.test import TestCase

from orgadmin.models import Organization
from orgadmin.models.fields import normalize

from .factories import create_organization, create_superuser, create_user

LIST = "/admin/orgadmin/organization/"


class NormalizeTests(TestCase):
    def test_removes_accents_and_unifies_letters(self):
        expected = {
            "Müller": "muller",
            "Mu\u0308ller": "muller",
            "STRASSE Straße": "strasse strasse",
            "İstanbul": "istanbul",
            "Ｆｕｌｌ ｗｉｄｔｈ": "full width",
            "ﬁnance №1": "finance no1",
            "Ångström": "angstrom",
            "Ελλάδα": "ελλαδα",
            "ΑΘΗΝΆΣ": "αθηνασ",
            "مُحَمَّد": "محمد",
            "दिल्ली": "दिलली",
            "東京": "東京",
        }
        for text, normal in expected.items():
            with self.subTest(text):
                self.assertEqual(normalize(text), normal)
                self.assertEqual(normalize(normal), normal)


class SearchTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.muller = create_organization(
            "Müller & Söhne",
            reference="Ré-77",
            address="Zürcher Weg 5\n8000 Zürich",
            tax_id="SECRET",
            notes="hushhush",
        )
        cls.other = create_organization("Other")

    def search(self, term, user=None):
        self.client.force_login(user or create_superuser(f"root {term!r}"))
        response = self.client.get(LIST, {"q": term})
        return list(response.context["cl"].result_list)

    def test_finds_parts_of_name_reference_and_address_without_accents(self):
        for term in (
            "muller",
            "MÜLL",
            "ulle",
            "sohne muller",
            "re-77",
            "é-7",
            "zurich",
            "weg 5",
            '"& söh"',
        ):
            with self.subTest(term):
                self.assertEqual(self.search(term), [self.muller])

    def test_takes_wildcards_literally_and_finds_nothing_by_an_accent_alone(self):
        for term in ("%", "_", "\u0301"):
            with self.subTest(term):
                self.assertEqual(self.search(term), [])

    def test_finds_nothing_by_a_confidential_field(self):
        for term in ("secret", "hush"):
            self.assertEqual(self.search(term), [])
            self.assertNotIn(term, self.muller.search_text)

    def test_finds_no_foreign_rows(self):
        anna = create_user("anna", admin_of=[self.other])
        self.assertEqual(self.search("muller", anna), [])


class StoredTextTests(TestCase):
    def read_text(self):
        """Return the stored search text of the only organization."""
        return Organization.objects.values_list("search_text", flat=True).get()

    def test_is_computed_however_an_organization_is_written(self):
        organization = create_organization("Ä")
        self.assertEqual(self.read_text(), "a\n\n")
        organization.name = "Ö"
        organization.save()
        self.assertEqual(self.read_text(), "o\n\n")
        organization.reference = "É"
        organization.save(update_fields=["reference"])
        self.assertEqual(self.read_text(), "o\ne\n")
        organization.address = "never saved"
        organization.save(update_fields=["phone"])
        self.assertEqual(self.read_text(), "o\ne\n")
        partly = Organization.objects.only("name").get()
        partly.name = "Ü"
        partly.save()
        self.assertEqual(self.read_text(), "u\ne\n")
        Organization.objects.update(address="Ê")
        self.assertEqual(self.read_text(), "u\ne\ne")
        organization.refresh_from_db()
        organization.name = "Ñ"
        Organization.objects.bulk_update([organization], ["name"])
        self.assertEqual(self.read_text(), "n\ne\ne")
        organization.delete()
        Organization.objects.bulk_create(
            [Organization(name="Å", search_text="ignored")]
        )
        self.assertEqual(self.read_text(), "a\n\n")

    def test_is_computed_from_stored_values_if_the_instance_is_stale(self):
        stale = create_organization("Alpha", reference=4711)
        other = Organization.objects.get()
        other.name = "Beta"
        other.save()
        stale.address = "Road 1"
        stale.save(update_fields=["address"])
        self.assertEqual(self.read_text(), "beta\n4711\nroad 1")

    def test_is_not_computed_if_other_columns_are_updated(self):
        create_organization("Ä")
        with self.assertNumQueries(5):  # savepoint, keys, update, history, release
            Organization.objects.update(phone="1")

    def test_may_be_missing_in_an_insert_by_an_older_release(self):
        organization = create_organization("Ä")
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO orgadmin_organization
                    (name, website, email, phone, address, tax_id, notes,
                    admin_id, reviewer_id)
                SELECT 'Older release', '', '', '', '', '', '',
                    reviewer_id + 1000, admin_id + 1000
                FROM orgadmin_organization
                WHERE id = %s
                """,
                [organization.pk],
            )
            self.assertEqual(Organization.objects.filter(search_text="").count(), 1)
            cursor.execute("DELETE FROM orgadmin_organization WHERE search_text = ''")
