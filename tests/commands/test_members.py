import csv
import io
from datetime import timedelta

from django.core.management import CommandError, call_command
from django.test import TestCase
from django.utils import timezone

from ..factories import create_organization, create_user, set_role


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

    def test_refuses_what_it_does_not_know(self):
        for arguments in (("Nothing",), ("--on", "yesterday")):
            with self.subTest(arguments=arguments):
                with self.assertRaises(CommandError):
                    self.list_members(*arguments)
