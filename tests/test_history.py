import tempfile
from io import StringIO

from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.test import TestCase, tag

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.models import AuditEvent, Organization
from orgadmin.records.history import describe_author
from orgadmin.records.imports.organizations import import_organizations
from orgadmin.records.versions import restore_version
from tests.factories import (
    NO_CONTACTS,
    as_file,
    create_organization,
    create_superuser,
    create_user,
    grant,
    id_cells,
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
            as_file(f"id,id_key,name,phone\n{id_cells(second.pk)},B,10\n"),
            actor=self.staff,
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


class MeansTests(TestCase):
    """Imports and commands are shown as the authors of their changes."""

    def setUp(self):
        self.root = create_superuser(first_name="Mary")
        self.acme = create_organization("Acme", reference="R1")
        self.admin = create_user("ada", admin_of=[self.acme])
        self.text = "reference,name,phone\nR1,Acme,{}\n"

    def run_command(self, phone, **options):
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.text.format(phone).encode())
            file.flush()
            call_command(
                "import_organizations", file.name, stdout=StringIO(), **options
            )

    def read_authors(self, user):
        """Return the author of each entry on the history page, newest first."""
        self.client.force_login(user)
        response = self.client.get(f"{LIST}{self.acme.pk}/history/")
        entries = response.context["action_list"]
        return [describe_author(entry) for entry in entries], response

    def test_an_import_names_the_person_who_made_it(self):
        import_organizations(as_file(self.text.format(1)), actor=self.root)
        self.run_command(2, actor="root")
        authors, response = self.read_authors(self.root)
        self.assertEqual(
            authors, ["Import by Mary (root)", "Import by Mary (root)", "unknown"]
        )
        self.assertContains(response, "Import by Mary (root)")
        authors, response = self.read_authors(self.admin)
        staff = "Import by Platform staff"
        self.assertEqual(authors, [staff, staff, "unknown"])
        self.assertNotContains(response, "Mary")

    def test_a_command_is_named_if_it_acts_for_nobody(self):
        self.run_command(1)
        expected = ["Command import_organizations", "unknown"]
        for user in (self.root, self.admin):
            self.assertEqual(self.read_authors(user)[0], expected)
        self.assertEqual(self.acme.history.first().history_user, None)

    def test_a_change_after_an_import_is_not_part_of_it(self):
        import_organizations(as_file(self.text.format(1)), actor=self.root)
        self.acme.refresh_from_db()
        self.acme.phone = "2"
        self.acme._history_user = self.root
        self.acme.save()
        authors, _response = self.read_authors(self.root)
        self.assertEqual(authors, ["Mary (root)", "Import by Mary (root)", "unknown"])

    def test_an_import_without_a_person_and_command_has_no_author(self):
        import_organizations(as_file(self.text.format(1)))
        self.assertEqual(self.read_authors(self.root)[0], ["unknown", "unknown"])


class RestoreTests(TestCase):
    def setUp(self):
        self.client.force_login(create_superuser())
        self.acme = create_organization("Acme", phone="1", reference="R-1")
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
        self.assertContains(response, "of “Acme” was restored.")
        self.acme = Organization.objects.get()
        self.assertEqual(
            (self.acme.name, self.acme.phone, self.acme.reference), ("Acme", "1", "R-1")
        )
        self.assertEqual(self.acme.admin.name, "Acme Admin")
        self.assertEqual(self.acme.history.first().history_user.username, "root")
        self.assertContains(
            self.client.get(f"{self.url}{self.first.pk}"),
            "There is nothing to restore.",
        )

    def restore_as(self, user, record=None, **data):
        self.client.force_login(user)
        key = (record or self.first).pk
        return self.client.post(f"{self.url}{key}", data, follow=True)

    @tag("C14")
    def test_admins_restore_what_they_may_change(self):
        admin = create_user("ada", admin_of=[self.acme])
        self.client.force_login(admin)
        response = self.client.get(f"{self.url}{self.first.pk}")
        self.assertContains(response, "Phone: from “2” to “1”.")
        self.assertNotContains(response, "R-1")
        self.assertContains(response, "Reference stays as it is now")
        self.assertContains(response, "Contacts and people are not part of a version.")
        self.restore_as(admin)
        self.acme = Organization.objects.get()
        self.assertEqual(
            (self.acme.name, self.acme.phone, self.acme.reference), ("Acme", "1", None)
        )
        self.assertEqual(self.acme.history.count(), 3)
        self.assertEqual(self.acme.history.first().history_user, admin)
        event = AuditEvent.objects.get(event=SecurityEvent.VERSION_RESTORED)
        self.assertEqual(event.actor_key, admin.pk)

    @tag("C14")
    def test_confidential_fields_stay_if_the_person_may_not_see_them(self):
        self.acme.tax_id = "Old tax"
        self.acme.phone = "4"
        self.acme.save()
        record = self.acme.history.first()
        self.acme.tax_id = "New tax"
        self.acme.phone = "3"
        self.acme.save()
        editor = self.create_editor()
        self.client.force_login(editor)
        response = self.client.get(f"{self.url}{record.pk}")
        for text in ("Old tax", "New tax"):
            self.assertNotContains(response, text)
        self.restore_as(editor, record)
        self.acme.refresh_from_db()
        self.assertEqual((self.acme.tax_id, self.acme.phone), ("New tax", "4"))

    def create_editor(self):
        """Create someone who may edit the organization except confidential fields."""
        editor = create_user("eddie")
        for codename in ("view_organization", "change_organization"):
            grant(editor, codename, self.acme)
        return editor

    @tag("C14", "A44")
    def test_nobody_learns_when_a_confidential_field_has_changed(self):
        self.acme.tax_id = "Tax"
        self.acme.save()
        hidden = self.acme.history.first()
        self.client.force_login(self.create_editor())
        self.assertEqual(self.client.get(f"{self.url}{self.first.pk}").status_code, 200)
        for key in (hidden.pk, 999_999):
            for method in (self.client.get, self.client.post):
                self.assertRedirects(
                    method(f"{self.url}{key}"), "/admin/", fetch_redirect_response=False
                )

    @tag("C10")
    def test_reviewers_cannot_restore_a_version(self):
        reviewer = create_user("remi", reviewer_of=[self.acme])
        self.client.force_login(reviewer)
        for method in (self.client.get, self.client.post):
            response = method(f"{self.url}{self.first.pk}")
            self.assertEqual(response.status_code, 403)
        self.assertEqual(Organization.objects.get().phone, "2")
        history = self.client.get(f"{LIST}{self.acme.pk}/history/")
        self.assertNotContains(history, "/restore/")

    @tag("C14")
    def test_nothing_is_restored_if_the_difference_has_changed_meanwhile(self):
        page = self.client.get(f"{self.url}{self.first.pk}")
        Organization.objects.update(address="New street")
        url = f"{self.url}{self.first.pk}"
        data = {"seen": page.context["seen"]}
        response = self.client.post(url, data, follow=True)
        self.assertContains(response, "someone has changed the organization")
        self.assertContains(response, "Address: “New street” removed.")
        self.assertEqual(Organization.objects.get().phone, "2")
        self.client.post(url, {"seen": response.context["seen"]})
        self.assertEqual(Organization.objects.get().phone, "1")

    @tag("C14")
    def test_a_permission_that_was_lost_meanwhile_does_not_count(self):
        reviewer = create_user("remi", reviewer_of=[self.acme])
        with self.assertRaises(PermissionDenied):
            restore_version(self.acme, self.first, actor=reviewer)
        self.assertEqual(Organization.objects.get().phone, "2")

    def test_a_version_that_is_no_longer_possible_is_refused(self):
        create_organization("Other", reference="R-1")
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
