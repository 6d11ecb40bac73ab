import csv
import io

from django.core.management import call_command
from django.test import TestCase, tag
from django.utils import timezone

from orgadmin.models import MembershipEvent
from orgadmin.records.exports import list_events
from orgadmin.records.imports.workbooks import read_workbook
from tests.factories import (
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)


class LogFileTests(TestCase):
    """Files of the membership log identify people and organizations by their IDs."""

    def setUp(self):
        self.root = create_superuser()
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", admin_of=[self.acme])
        self.bob = create_user("bob")
        self.eve = create_user("eve")
        for user in (self.bob, self.eve):
            set_role(self.acme, [user], REVIEWER, actor=self.ada)
        set_role(self.acme, [self.bob], None, actor=self.root)
        self.eve.username = "eva"
        self.eve.save()
        self.bob.username = "robert"
        self.bob.save()
        self.acme.name = "Acme 2"
        self.acme.save()

    def read_rows(self, user, query="csv=1"):
        """Return (person, user_id, person_now, by, by_id) of each row."""
        self.client.force_login(user)
        url = f"/admin/orgadmin/organization/{self.acme.pk}/ledger/?{query}"
        text = self.client.get(url).getvalue().decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text)))
        for row in rows:
            self.assertEqual(row["organization_id"], str(self.acme.pk))
            self.assertEqual(row["organization"], "Acme")
            self.assertEqual(row["organization_now"], "Acme 2")
        names = ("person", "user_id", "person_now", "by", "by_id")
        return [tuple(row[name] for name in names) for row in rows]

    def test_names_are_recorded_ones_and_present_ones_beside_the_ids(self):
        ada_id, bob_id, eve_id, root_id = (
            str(user.pk) for user in (self.ada, self.bob, self.eve, self.root)
        )
        self.assertEqual(
            self.read_rows(self.root),
            [
                ("bob", bob_id, "robert", "root", root_id),
                ("eve", eve_id, "eva", "ada", ada_id),
                ("bob", bob_id, "robert", "ada", ada_id),
                ("ada", ada_id, "ada", "", ""),
            ],
        )

    @tag("A27")
    def test_admins_learn_no_new_names_of_people_who_left_and_no_ids_of_staff(self):
        ada_id, bob_id, eve_id = (
            str(user.pk) for user in (self.ada, self.bob, self.eve)
        )
        self.assertEqual(
            self.read_rows(self.ada),
            [
                ("bob", bob_id, "", "Platform staff", ""),
                ("eve", eve_id, "eva", "ada", ada_id),
                ("bob", bob_id, "", "ada", ada_id),
                ("ada", ada_id, "ada", "", ""),
            ],
        )

    def test_a_workbook_has_the_same_rows(self):
        url = f"/admin/orgadmin/organization/{self.acme.pk}/ledger/"
        for user in (self.root, self.ada):
            self.client.force_login(user)
            text = self.client.get(f"{url}?csv=1").getvalue().decode("utf-8-sig")
            content = self.client.get(f"{url}?xlsx=1").getvalue()
            sheet = read_workbook(
                io.BytesIO(content), "", max_rows=100, max_text=100_000
            )
            rows = [record.cells for record in sheet.records]
            self.assertEqual(rows, list(csv.reader(io.StringIO(text))))

    def test_the_members_of_a_day_have_the_same_columns(self):
        today = timezone.localdate().isoformat()
        ada_id, eve_id = str(self.ada.pk), str(self.eve.pk)
        self.assertEqual(
            self.read_rows(self.root, f"csv=1&on={today}"),
            [("ada", ada_id, "ada", "", ""), ("eve", eve_id, "eva", "ada", ada_id)],
        )

    def test_what_was_deleted_has_no_present_name(self):
        self.eve.delete()
        self.acme.delete()
        out = io.StringIO()
        call_command("members", "--on", timezone.localdate().isoformat(), stdout=out)
        self.assertEqual(list(csv.DictReader(io.StringIO(out.getvalue()))), [])
        rows = list(list_events(MembershipEvent.objects.order_by("pk")))
        last = dict(zip(rows[0], rows[-1], strict=True))
        self.assertEqual(
            last["organization_id"], MembershipEvent.objects.first().organization_key
        )
        self.assertIsNone(last["organization_now"])
        now = rows[0].index("person_now")
        of_eve = [row for row in rows if row[2] in {"eve", "eva"}]
        self.assertEqual([row[now] for row in of_eve], [None, None])
