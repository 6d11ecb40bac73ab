from django.contrib.admin.models import LogEntry
from django.test import TestCase, tag

from orgadmin.models import Organization
from orgadmin.records.imports import import_organizations

from .factories import (
    NO_CONTACTS,
    as_file,
    create_organization,
    create_superuser,
    create_user,
)

LIST = "/admin/orgadmin/organization/"


class HistoryTests(TestCase):
    """Each change of an organization, with before and after, who and when."""

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
        self.client.force_login(user)
        entries = self.client.get(self.url).context["action_list"]
        return [(entry.user.username, entry.get_change_message()) for entry in entries]

    def test_tells_before_and_after_newest_first_and_once(self):
        self.change(self.admin, phone="2", tax_id="T2")
        told = self.read(self.admin)
        lines = "Phone: from “1” to “2”.\nTax ID: from “T1” to “T2”."
        self.assertEqual(told, [("ada", lines), ("unknown", "Added.")])
        self.assertContains(self.client.get(self.url), "Phone: from “1” to “2”.<br>")

    @tag("A27")
    def test_without_confidential_fields_for_reviewers_and_without_names_of_platform_staff(
        self,
    ):
        self.change(self.staff, phone="2", tax_id="T-2")
        self.change(self.staff, phone="2", tax_id="T-3")
        told = self.read(create_user("remi", reviewer_of=[self.acme]))
        self.assertEqual(
            told,
            [("platform staff", "Phone: from “1” to “2”."), ("unknown", "Added.")],
        )
        self.assertNotContains(
            self.client.get(self.url), "T-2"
        )  # with a dash, which no random token in a page has
        self.assertNotContains(self.client.get(self.url), "/restore/")
        self.assertIn(
            ("platform staff", "Tax ID: from “T-2” to “T-3”."), self.read(self.admin)
        )
        self.assertIn(("root", "Tax ID: from “T-2” to “T-3”."), self.read(self.staff))

    def test_what_the_log_alone_tells_stays(self):
        LogEntry.objects.log_actions(
            self.staff.pk,
            [self.acme],
            2,
            [{"added": {"name": "contact", "object": "x"}}],
        )
        LogEntry.objects.log_actions(self.staff.pk, [self.acme], 2, "By hand.")
        self.assertEqual(
            {text for _, text in self.read(self.staff)},
            {"Added contact “x”.", "By hand.", "Added."},
        )

    def test_ways_that_change_many_at_once_are_told(self):
        rows = Organization.objects.bulk_create(
            [Organization(name="A"), Organization(name="B")]
        )
        Organization.objects.filter(name="A").update(name="A2")
        rows[1].phone = "9"
        Organization.objects.bulk_update(rows, ["phone"])
        import_organizations(
            as_file(f"id,name,phone\n{rows[1].pk},B,10\n"), actor=self.staff
        )
        history = [
            [
                (row.history_type, row.name, row.phone)
                for row in reversed(org.history.all())
            ]
            for org in rows
        ]
        self.assertEqual(history[0], [("+", "A", ""), ("~", "A2", ""), ("~", "A2", "")])
        self.assertEqual(
            history[1], [("+", "B", ""), ("~", "B", "9"), ("~", "B", "10")]
        )
        self.assertEqual(rows[1].history.first().history_user, self.staff)
        Organization.objects.filter(pk=rows[0].pk).delete(actor=self.staff)
        gone = Organization.history.filter(name="A2").first()
        self.assertEqual((gone.history_type, gone.history_user), ("-", self.staff))

    def test_a_partial_save_records_what_is_stored(self):
        organization = Organization.objects.get(pk=self.acme.pk)
        organization.name, organization.phone = "Not written", "5"
        organization.save(update_fields=["phone"])
        record = self.acme.history.first()
        self.assertEqual((record.name, record.phone), ("Acme", "5"))


class PutBackTests(TestCase):
    def setUp(self):
        self.client.force_login(create_superuser())
        self.acme = create_organization("Acme", phone="1", reference="R1")
        self.first = self.acme.history.get()
        self.acme.name, self.acme.phone, self.acme.reference = "Beta", "2", None
        self.acme.save()
        self.url = f"{LIST}{self.acme.pk}/restore/?to="

    def test_shows_what_changes_and_then_changes_it(self):
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

    def test_what_is_no_longer_possible_is_refused(self):
        create_organization("Other", reference="R1")
        response = self.client.post(f"{self.url}{self.first.pk}", follow=True)
        self.assertContains(
            response,
            "This version cannot be restored: Another organization has this reference.",
        )
        self.assertEqual(Organization.objects.get(pk=self.acme.pk).name, "Beta")

    def test_a_record_of_another_organization_is_as_if_it_were_not_there(self):
        other = create_organization("Other").history.get()
        for key in (other.pk, 999_999, "x", ""):
            for method in (self.client.get, self.client.post):
                self.assertRedirects(
                    method(f"{self.url}{key}"), "/admin/", fetch_redirect_response=False
                )
        self.assertEqual(Organization.objects.get(pk=self.acme.pk).name, "Beta")
