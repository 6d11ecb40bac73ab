"""Phone numbers: stored and shown in a readable form, if they are certain."""

from django.test import SimpleTestCase, TestCase, override_settings

from orgadmin.models import Contact, Organization
from orgadmin.models.phone_numbers import format_phone, make_phone_link, parse_phone
from orgadmin.records.csv_files import write_csv
from orgadmin.records.exports import list_organizations
from orgadmin.records.imports.organizations import import_organizations

from .factories import (
    NO_CONTACTS,
    as_file,
    create_organization,
    create_superuser,
    create_user,
)

# What people type, and what is stored and shown
READABLE = {
    "+493099887766": "+49 30 99887766",
    "0049 (0)30/998877-66": "+49 30 99887766",
    "+44 20 7946 0018": "+44 20 7946 0018",
    "+41446681800 ext. 12": "+41 44 668 18 00 ext. 12",
    "+41 44 668 18 00 x12": "+41 44 668 18 00 ext. 12",
}

# What is kept, because it is not certain what it means
KEPT = (
    "",
    "030 998877",
    "+49",
    "+1 555 0100",
    "+999 123456789",
    "+493099887766 (mornings)",
    "+49 30 998877 or +49 30 998878",
    "4.91512E+11",
    "0800 REVERSE",
    "ask Eve",
    "٠٣٠ ٩٩٨٨٧٧",
    "+" * 50,
)


class PhoneNumberTests(SimpleTestCase):
    def setUp(self):
        parse_phone.cache_clear()
        self.addCleanup(parse_phone.cache_clear)

    def test_a_certain_number_is_readable_and_stays_so(self):
        for text, expected in READABLE.items():
            with self.subTest(text):
                self.assertEqual(format_phone(text), expected)
                self.assertEqual(format_phone(expected), expected)

    def test_everything_else_stays_as_typed(self):
        for text in KEPT:
            with self.subTest(text):
                self.assertEqual(format_phone(text), text)

    def test_a_setting_names_the_country_of_local_numbers(self):
        with override_settings(PHONE_REGION="DE"):
            self.assertEqual(format_phone("030 99887766"), "+49 30 99887766")
            self.assertEqual(format_phone("+41446681800"), "+41 44 668 18 00")
            self.assertEqual(format_phone("ask Eve"), "ask Eve")

    def test_links_have_the_form_of_rfc_3966(self):
        links = {
            "+493099887766": "tel:+49-30-99887766",
            "+41446681800 ext. 12": "tel:+41-44-668-18-00;ext=12",
            "030 / 998877": "tel:030998877",
            "030 998877 ext. 12": "tel:030998877;ext=12",
            "030 998877 #12": "tel:030998877;ext=12",
            "7 x1234": "",
            "12": "",
            "ask Eve": "",
            "+49 30?x=1;ext=2#": "",
            "javascript:alert(1)": "",
        }
        for text, expected in links.items():
            with self.subTest(text):
                self.assertEqual(make_phone_link(text), expected)


class StoredNumberTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme", reference="R1", phone="+493099887766")
        self.admin = create_user("ada", admin_of=[self.acme])

    def change(self, phone):
        self.client.force_login(self.admin)
        url = f"/admin/orgadmin/organization/{self.acme.pk}/change/"
        self.client.post(url, NO_CONTACTS | {"name": "Acme", "phone": phone})
        self.acme.refresh_from_db()
        return self.acme.phone

    def test_a_form_stores_the_readable_form(self):
        self.assertEqual(self.change("004930998877"), "+49 30 998877")
        self.assertEqual(self.change("ask Eve"), "ask Eve")

    def test_a_number_that_nobody_changed_stays_as_it_is(self):
        self.assertEqual(self.change("+493099887766"), "+493099887766")
        self.assertEqual(self.acme.history.count(), 1)

    def test_a_contact_has_the_same_rules(self):
        self.client.force_login(self.admin)
        self.client.post(
            "/admin/orgadmin/contact/add/",
            {"name": "Eve", "organization": self.acme.pk, "phone": "+41446681800"},
        )
        self.assertEqual(Contact.objects.get().phone, "+41 44 668 18 00")

    def test_an_import_stores_the_readable_form(self):
        import_organizations(as_file("reference,name,phone\nR1,Acme,+41446681800\n"))
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.phone, "+41 44 668 18 00")

    def test_an_exported_file_changes_nothing(self):
        for number, text in enumerate([*READABLE, *READABLE.values(), *KEPT]):
            create_organization(f"Company {number}", phone=text)
        before = list(Organization.objects.order_by("pk").values())
        rows = list_organizations(Organization.objects.all(), create_superuser())
        text = "".join(write_csv(rows))
        report = import_organizations(as_file(text))
        self.assertEqual((report.created, report.changed), (0, 0))
        self.assertEqual(list(Organization.objects.order_by("pk").values()), before)
