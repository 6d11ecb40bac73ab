from django.contrib.admin.models import LogEntry
from django.test import TestCase, tag

from orgadmin.models import Organization
from orgadmin.records.imports import import_organizations
from tests.factories import (
    NO_CONTACTS,
    as_file,
    create_organization,
    create_superuser,
    create_user,
)

LIST = "/admin/orgadmin/organization/"


class HistoryTests(TestCase):
    """Each change of an organization: its old and new values, who made it, and when."""

    def setUp(self):
        self.staff = create_superuser()
        self.acme = create_organization("Acme", phone="1", tax_id="T1")
        self.admin = create_user("ada", admin_of=[self.acme])
        self.url = f"{LIST}{self.acme.pk}/history/"

    def change(self, user, **values):
        self.client.force_login(user)
        data = NO_CONTACTS | {"name": "Acme", "phone": "1", "tax_id": "T1"} | values
        self.client.post(f"{LIST}{self.acme.pk}/change/", data)

    def read(self, user):
        """Return (username, message) of each entry on the page, newest first."""
        self.client.force_login(user)
        entries = self.client.get(self.url).context["action_list"]
        return [(entry.user.username, entry.get_change_message()) for entry in entries]

    def test_shows_old_and_new_values_newest_first_and_once(self):
        self.change(self.admin, phone="2", tax_id="T2")
        lines = "Phone: from “1” to “2”.\nTax ID: from “T1” to “T2”."
        self.assertEqual(self.read(self.admin), [("ada", lines), ("unknown", "Added.")])
        self.assertContains(self.client.get(self.url), "Phone: from “1” to “2”.<br>")

    @tag("A27")
    def test_hides_confidential_fields_and_platform_staff_from_reviewers(self):
        # With a dash, which no random token in a page has.
        self.change(self.staff, phone="2", tax_id="T-2")
        self.change(self.staff, phone="2", tax_id="T-3")
        self.assertEqual(
            self.read(create_user("remi", reviewer_of=[self.acme])),
            [("Platform staff", "Phone: from “1” to “2”."), ("unknown", "Added.")],
        )
        response = self.client.get(self.url)
        self.assertNotContains(response, "T-2")
        self.assertNotContains(response, "/restore/")
        change = "Tax ID: from “T-2” to “T-3”."
        self.assertIn(("Platform staff", change), self.read(self.admin))
        self.assertIn(("root", change), self.read(self.staff))

    def test_keeps_what_only_the_admin_log_says(self):
        added_contact = [{"added": {"name": "contact", "object": "x"}}]
        for message in (added_contact, "By hand."):
            LogEntry.objects.log_actions(self.staff.pk, [self.acme], 2, message)
        self.assertEqual(
            {message for _username, message in self.read(self.staff)},
            {"Added contact “x”.", "By hand.", "Added."},
        )

    def read_records(self, organization):
        """Return (type, name, phone) of each history record, oldest first."""
        records = organization.history.order_by("history_id")
        return list(records.values_list("history_type", "name", "phone"))

    def test_records_changes_that_are_made_in_bulk(self):
        first, second = Organization.objects.bulk_create(
            [Organization(name="A"), Organization(name="B")]
        )
        Organization.objects.filter(name="A").update(name="A2")
        second.phone = "9"
        Organization.objects.bulk_update([first, second], ["phone"])
        import_organizations(
            as_file(f"id,name,phone\n{second.pk},B,10\n"), actor=self.staff
        )
        self.assertEqual(
            self.read_records(first), [("+", "A", ""), ("~", "A2", ""), ("~", "A2", "")]
        )
        self.assertEqual(
            self.read_records(second),
            [("+", "B", ""), ("~", "B", "9"), ("~", "B", "10")],
        )
        self.assertEqual(second.history.first().history_user, self.staff)

    def test_records_a_deletion(self):
        Organization.objects.filter(pk=self.acme.pk).delete(actor=self.staff)
        record = Organization.history.filter(name="Acme").first()
        self.assertEqual(record.history_type, "-")
        self.assertEqual(record.history_user, self.staff)

    def test_a_partial_save_records_what_is_stored(self):
        organization = Organization.objects.get(pk=self.acme.pk)
        organization.name = "Not written"
        organization.phone = "5"
        organization.save(update_fields=["phone"])
        record = self.acme.history.first()
        self.assertEqual((record.name, record.phone), ("Acme", "5"))


class RestoreTests(TestCase):
    def setUp(self):
        self.client.force_login(create_superuser())
        self.acme = create_organization("Acme", phone="1", reference="R1")
        self.first = self.acme.history.get()
        self.acme.name = "Beta"
        self.acme.phone = "2"
        self.acme.reference = None
        self.acme.save()
        self.url = f"{LIST}{self.acme.pk}/restore/?to="

    def test_shows_the_changes_and_then_makes_them(self):
        history = self.client.get(f"{LIST}{self.acme.pk}/history/")
        self.assertContains(history, f"restore/?to={self.first.pk}")
        response = self.client.get(f"{self.url}{self.first.pk}")
        self.assertContains(response, "Phone: from “2” to “1”.")
        response = self.client.post(f"{self.url}{self.first.pk}", follow=True)
        self.assertContains(response, "“Acme” was restored to the version of")
        self.acme = Organization.objects.get()
        self.assertEqual(
            (self.acme.name, self.acme.phone, self.acme.reference), ("Acme", "1", "R1")
        )
        self.assertEqual(self.acme.admin.name, "Acme Admin")
        self.assertEqual(self.acme.history.first().history_user.username, "root")
        self.assertContains(
            self.client.get(f"{self.url}{self.first.pk}"),
            "There is nothing to restore.",
        )

    def test_a_version_that_is_no_longer_possible_is_refused(self):
        create_organization("Other", reference="R1")
        response = self.client.post(f"{self.url}{self.first.pk}", follow=True)
        self.assertContains(
            response,
            "This version cannot be restored: Another organization has this reference.",
        )
        self.assertEqual(Organization.objects.get(pk=self.acme.pk).name, "Beta")

    def test_a_version_of_another_organization_does_not_exist(self):
        other = create_organization("Other").history.get()
        for key in (other.pk, 999_999, "x", ""):
            for method in (self.client.get, self.client.post):
                self.assertRedirects(
                    method(f"{self.url}{key}"), "/admin/", fetch_redirect_response=False
                )
        self.assertEqual(Organization.objects.get(pk=self.acme.pk).name, "Beta")
