import csv
import io
from datetime import timedelta

from django.core.management import CommandError, call_command
from django.test import TestCase
from django.utils import timezone

from orgadmin.access.ends import find_start_of_next_day
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.membership import change_roles

from ..clocks import time
from ..factories import ADMIN, create_organization, create_user, set_role


class MembersTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        beta = create_organization("Beta")
        create_user("ada", admin_of=[self.acme])
        gone = create_user("gone", reviewer_of=[self.acme, beta])
        set_role(self.acme, [gone], None)

    def list_members(self, *arguments):
        """Return (person, organization, role) of each member that is printed."""
        out = io.StringIO()
        call_command("members", *arguments, stdout=out)
        return [
            (row["person"], row["organization"], row["role"])
            for row in csv.DictReader(io.StringIO(out.getvalue()))
        ]

    def test_lists_who_is_a_member(self):
        self.assertEqual(
            self.list_members(),
            [("ada", "Acme", "admin"), ("gone", "Beta", "reviewer")],
        )
        self.assertEqual(self.list_members("Acme"), [("ada", "Acme", "admin")])

    def test_lists_who_was_a_member_at_the_end_of_a_day(self):
        today = timezone.localdate()
        yesterday = today - timedelta(days=1)
        self.assertEqual(
            self.list_members("Acme", "--on", today.isoformat()),
            [("ada", "Acme", "admin")],
        )
        self.assertEqual(self.list_members("--on", yesterday.isoformat()), [])

    def test_counts_ends(self):
        today = timezone.localdate()
        end = MembershipEnd(find_start_of_next_day(today))
        anna = create_user("anna")
        change_roles([RoleChange(anna, self.acme, ADMIN, end=end)])
        expected = [("ada", "Acme", "admin"), ("anna", "Acme", "admin")]
        self.assertEqual(self.list_members("Acme"), expected)
        self.assertEqual(self.list_members("Acme", "--on", str(today)), expected)
        with time(end.at):
            self.assertEqual(self.list_members("Acme"), expected[:1])
            self.assertEqual(self.list_members("Acme", "--on", str(today)), expected)
            tomorrow = str(today + timedelta(days=1))
            on_next_day = self.list_members("Acme", "--on", tomorrow)
        self.assertEqual(on_next_day, expected[:1])

    def test_prints_until_when(self):
        end = MembershipEnd(find_start_of_next_day(timezone.localdate()))
        anna = create_user("anna")
        change_roles([RoleChange(anna, self.acme, ADMIN)])
        change_roles([RoleChange(anna, self.acme, ADMIN, end=end)])
        out = io.StringIO()
        call_command("members", "Acme", stdout=out)
        rows = csv.DictReader(io.StringIO(out.getvalue()))
        ends = {row["person"]: row["until"] for row in rows}
        self.assertEqual(ends, {"ada": "", "anna": end.at.isoformat()})

    def test_refuses_what_it_does_not_know(self):
        for arguments in (("Nothing",), ("--on", "yesterday")):
            with self.subTest(arguments=arguments):
                with self.assertRaises(CommandError):
                    self.list_members(*arguments)
