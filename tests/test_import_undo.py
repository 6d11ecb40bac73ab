"""Undoing an import: everything as before, except for what was changed since."""

import re
from datetime import timedelta
from unittest import mock

from django.contrib.auth.models import Group
from django.db import connection
from django.test import tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orgadmin.models import (
    AuditEvent,
    Import,
    Invitation,
    Membership,
    MembershipEvent,
    Organization,
    User,
)
from orgadmin.records.imports.options import Limits
from tests.mailing import queues_mail, work

from .factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from .test_stored_imports import StoredCase

FILE = (
    "reference,name,phone,admins,reviewers\n"
    "R1,Acme,2,bert@example.com,anna@example.com\n"
    "R2,New,3,anna@example.com,\n"
    "R3,Other,4,,unknown@example.com\n"
)
FIELDS = ("name", "reference", "website", "email", "phone", "address", "tax_id")


def take_snapshot():
    """Return all organizations, groups, roles with their ends, and invitations."""
    return {
        "organizations": list(Organization.objects.order_by("pk").values(*FIELDS)),
        "groups": sorted(Group.objects.values_list("pk", "name")),
        "roles": sorted(
            Membership.objects.values_list("user", "group", "ends_at"), key=str
        ),
        "invitations": list(Invitation.objects.values_list("email")),
    }


class UndoCase(StoredCase):
    def setUp(self):
        super().setUp()
        self.anna = create_user("anna", email="anna@example.com")
        self.bert = create_user("bert", email="bert@example.com")
        for user in (self.anna, self.bert):
            user.verify_email()
        set_role(self.acme, [self.anna, create_user("carl")], ADMIN)
        self.ends_at = timezone.now() + timedelta(days=30)
        Membership.objects.filter(user=self.anna).update(ends_at=self.ends_at)

    def import_file(self, text=FILE):
        preview = self.upload(text, send_mail="on")
        self.confirm(preview, accepts_warnings="on")
        self.stored = Import.objects.get()
        self.assertEqual(self.stored.state, "done")
        self.url = f"/admin/orgadmin/import/{self.stored.pk}/undo/"

    def preview_undo(self):
        response = self.client.get(self.url)
        self.assertEqual(response.status_code, 200)
        return response

    def undo(self, preview=None):
        preview = preview or self.preview_undo()
        seen = re.search(r'name="seen" value="(\w+)"', preview.text)[1]
        return self.client.post(self.url, {"seen": seen}, follow=True)


class UndoTests(UndoCase):
    @tag("C32")
    def test_restores_every_field_group_role_end_and_invitation(self):
        before = take_snapshot()
        self.import_file()
        self.assertEqual(Organization.objects.count(), 3)
        self.assertNotEqual(take_snapshot(), before)
        response = self.undo()
        self.assertContains(response, "The import was undone.")
        self.assertContains(response, "2 organizations that the import created")
        self.assertEqual(take_snapshot(), before)

    def test_changes_nothing_before_it_is_confirmed(self):
        self.import_file()
        before = take_snapshot()
        response = self.preview_undo()
        self.assertContains(response, "Nothing was undone yet.")
        for text in ("New", "Other", "phone", "bert", "no role"):
            self.assertContains(response, text)
        self.assertEqual(take_snapshot(), before)

    @tag("C32")
    def test_keeps_and_lists_what_was_changed_since(self):
        self.import_file()
        new = Organization.objects.get(name="New")
        new.phone = "5"
        new.save()
        self.acme.refresh_from_db()
        self.acme.phone = "6"
        self.acme.save()
        Organization.objects.get(name="Other").contacts.create(name="Dora")
        response = self.undo()
        self.assertContains(response, "line 2, Acme: was changed after the import")
        self.assertContains(response, "line 3, New: was changed after the import")
        self.assertContains(response, "line 4, Other: now has people, contacts")
        phones = Organization.objects.order_by("pk").values_list("phone", flat=True)
        self.assertEqual(list(phones), ["6", "5", "4"])
        # The roles in the organization that was changed are put back nevertheless.
        self.assertFalse(self.bert.groups.filter(pk=self.acme.admin_id).exists())

    def test_offers_no_undo_that_would_change_nothing(self):
        self.import_file("name,reference\nNew,R9\n")
        Organization.objects.filter(name="New").update(reference="R10")
        response = self.preview_undo()
        self.assertContains(response, "Undoing this import would change nothing.")
        self.assertContains(response, "Unchanged: 1 row")
        for text in ("Nothing was undone yet", "deleted permanently"):
            self.assertNotContains(response, text)
        self.assertNotContains(response, 'class="button danger"')

    def test_keeps_what_got_people_since(self):
        self.import_file()
        new = Organization.objects.get(name="New")
        set_role(new, [self.bert], REVIEWER)
        self.assertContains(self.undo(), "line 3, New: now has people, contacts")
        self.assertTrue(Organization.objects.filter(name="New").exists())

    def test_keeps_roles_that_were_changed_since(self):
        self.import_file()
        set_role(self.acme, [self.bert], REVIEWER)
        self.assertContains(self.undo(), "role was changed after the import")
        self.assertTrue(self.bert.groups.filter(pk=self.acme.reviewer_id).exists())

    def test_does_not_take_a_reference_from_another_organization(self):
        self.acme.reference = None
        self.acme.name = "Acme"
        self.acme.save()
        self.import_file("name,reference\nNew,R9\n")
        Organization.objects.filter(name="New").update(reference="R10")
        create_organization("Third", reference="R9")
        self.assertContains(self.undo(), "line 2, New: was changed after the import")

    def test_what_is_gone_stays_gone(self):
        self.import_file()
        Organization.objects.get(name="New").delete()
        self.assertContains(self.undo(), "was archived or deleted")

    def test_is_refused_the_second_time(self):
        self.import_file()
        preview = self.preview_undo()
        self.undo(preview)
        for response in (self.undo(preview), self.client.get(self.url, follow=True)):
            self.assertContains(response, "This import has already been undone")
        events = AuditEvent.objects.filter(event="import undone")
        self.assertEqual(events.count(), 1)

    def test_does_only_what_was_shown(self):
        self.import_file()
        preview = self.preview_undo()
        Organization.objects.filter(name="New").update(phone="9")
        response = self.undo(preview)
        self.assertContains(response, "something has changed in the meantime")
        self.assertEqual(Organization.objects.count(), 3)

    def test_is_recorded(self):
        self.import_file()
        self.undo()
        event = AuditEvent.objects.get(event="import undone")
        self.assertEqual(event.actor_key, self.root.pk)
        self.assertEqual(event.details["deleted"], 2)
        reasons = MembershipEvent.objects.filter(reason="An import was undone.")
        self.assertTrue(reasons.exists())
        version = self.acme.history.latest("pk")
        self.assertEqual((version.phone, version.history_user), ("1", self.root))

    @tag("C9")
    def test_leaves_no_organization_without_an_admin(self):
        self.import_file()
        carl = self.acme.admin.user_set.get(username="carl")
        set_role(self.acme, [carl], None)
        # Anna has been a reviewer since the import, and is inactive now.
        self.anna.is_active = False
        self.anna.save()
        before = take_snapshot()
        response = self.undo()
        self.assertContains(response, "no active admin would be left in: Acme")
        self.assertEqual(take_snapshot(), before)

    @tag("A41")
    def test_is_for_superusers(self):
        self.import_file()
        for user in (
            create_user("ada", admin_of=[self.acme]),
            create_user("s", is_staff=True, permissions=["change_organization"]),
        ):
            self.client.force_login(user)
            for ask in (self.client.get, self.client.post):
                self.assertRedirects(ask(self.url), "/admin/")
        self.assertEqual(Organization.objects.count(), 3)

    def test_other_superusers_can_undo_it(self):
        self.import_file()
        self.client.force_login(create_superuser("other"))
        self.assertContains(self.undo(), "The import was undone.")

    def test_one_that_waits_cannot_be_undone(self):
        self.upload(FILE, send_mail="on")
        url = f"/admin/orgadmin/import/{Import.objects.get().pk}/undo/"
        response = self.client.get(url)
        self.assertRedirects(response, url.replace("undo", "overview"))

    @queues_mail()
    def test_a_worker_undoes_large_ones(self):
        before = take_snapshot()
        self.import_file()
        with mock.patch(
            "orgadmin.records.import_jobs.REQUEST_LIMITS", Limits(rows=1, size=1)
        ):
            response = self.undo()
        self.assertContains(response, "The import is being undone.")
        self.assertEqual(Organization.objects.count(), 3)
        work()
        self.assertEqual(take_snapshot(), before)

    def test_costs_the_same_queries_for_more_created_rows(self):
        counts = []
        for number in (3, 60):
            rows = "".join(f"N {number} {row}\n" for row in range(number))
            Import.objects.all().delete()
            self.import_file(f"name\n{rows}")
            with self.subTest(number), CaptureQueriesContext(connection) as queries:
                self.preview_undo()
            counts.append(len(queries))
        self.assertEqual(*counts)


class ActivityTests(UndoCase):
    """The undo of an import is one entry in recent activity."""

    def test_superusers_see_one_entry_for_the_import_and_one_for_its_undo(self):
        self.import_file()
        self.undo()
        page = self.client.get("/admin/all-activity/").text
        for text in (
            "Undo of an import",
            "2 organizations deleted, 1 organization changed",
            "2 organizations added, 1 organization changed",
        ):
            self.assertEqual(page.count(text), 1, text)
        for part in ("Deleted.", "phone: ", "role changed"):
            self.assertNotIn(part, page)

    def test_admins_see_one_entry_for_what_it_did_to_their_organizations(self):
        beta = create_organization("Beta", reference="B1", phone="5")
        create_user("dora", admin_of=[self.acme, beta])
        self.import_file("reference,name,phone\nR1,Acme,2\nB1,Beta,6\n")
        self.undo()
        self.client.force_login(User.objects.get(username="dora"))
        page = self.client.get("/admin/").text
        self.assertEqual(page.count("Changed."), 2)
