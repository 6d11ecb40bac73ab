from django.db import connection
from django.test import TestCase

from orgadmin.models import Organization
from orgadmin.models.fields import normalize

from .factories import create_organization, create_superuser, create_user

LIST = "/admin/orgadmin/organization/"


class NormalizeTests(TestCase):
    def test_drops_what_people_leave_out(self):
        for text, normal in {
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
        }.items():
            with self.subTest(text):
                self.assertEqual(normalize(text), normal)
                self.assertEqual(normalize(normal), normal)


class SearchTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        values = {
            "reference": "Ré-77",
            "address": "Zürcher Weg 5\n8000 Zürich",
            "tax_id": "SECRET",
            "notes": "hushhush",
        }
        cls.muller = create_organization("Müller & Söhne", **values)
        cls.other = create_organization("Other")

    def search(self, term, user=None):
        self.client.force_login(user or create_superuser(f"root {term!r}"))
        return list(self.client.get(LIST, {"q": term}).context["cl"].result_list)

    def test_finds_by_a_piece_without_its_accents_in_name_reference_and_address(self):
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
            "%",
            "_",
            "\u0301",
        ):
            with self.subTest(term):
                self.assertEqual(
                    self.search(term), [] if term in "%_\u0301" else [self.muller]
                )

    def test_finds_nothing_by_a_confidential_field(self):
        for term in ("secret", "hush"):
            self.assertEqual(self.search(term), [])
            self.assertNotIn(term, self.muller.search_text)

    def test_finds_no_foreign_rows(self):
        self.assertEqual(
            self.search("muller", create_user("anna", admin_of=[self.other])), []
        )


class StoredTextTests(TestCase):
    def stored(self):
        return Organization.objects.values_list("search_text", flat=True).get()

    def test_follows_every_way_of_writing(self):
        organization = create_organization("Ä")
        self.assertEqual(self.stored(), "a\n\n")
        organization.name = "Ö"
        organization.save()
        self.assertEqual(self.stored(), "o\n\n")
        organization.reference = "É"
        organization.save(update_fields=["reference"])
        self.assertEqual(self.stored(), "o\ne\n")
        organization.address = "never saved"
        organization.save(update_fields=["phone"])
        self.assertEqual(self.stored(), "o\ne\n")
        partly = Organization.objects.only("name").get()
        partly.name = "Ü"
        partly.save()
        self.assertEqual(self.stored(), "u\ne\n")
        Organization.objects.update(address="Ê")
        self.assertEqual(self.stored(), "u\ne\ne")
        organization.refresh_from_db()
        organization.name = "Ñ"
        Organization.objects.bulk_update([organization], ["name"])
        self.assertEqual(self.stored(), "n\ne\ne")
        organization.delete()
        Organization.objects.bulk_create(
            [Organization(name="Å", search_text="ignored")]
        )
        self.assertEqual(self.stored(), "a\n\n")

    def test_tells_what_is_stored_and_not_what_a_stale_instance_holds(self):
        stale, other = (
            create_organization("Alpha", reference=4711),
            Organization.objects.get(),
        )
        other.name = "Beta"
        other.save()
        stale.address = "Road 1"
        stale.save(update_fields=["address"])
        self.assertEqual(self.stored(), "beta\n4711\nroad 1")

    def test_an_update_of_other_columns_computes_nothing(self):
        create_organization("Ä")
        with self.assertNumQueries(5):  # savepoint, keys, update, history, release
            Organization.objects.update(phone="1")

    def test_an_insert_that_does_not_know_the_column_goes_through(self):
        organization = create_organization("Ä")
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO orgadmin_organization"
                " (name, website, email, phone, address, tax_id, notes, admin_id, reviewer_id)"
                " SELECT 'Older release', '', '', '', '', '', '', reviewer_id + 1000, admin_id + 1000"
                " FROM orgadmin_organization WHERE id = %s",
                [organization.pk],
            )
            self.assertEqual(Organization.objects.filter(search_text="").count(), 1)
            cursor.execute("DELETE FROM orgadmin_organization WHERE search_text = ''")
