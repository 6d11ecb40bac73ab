import io
from datetime import timedelta

from django.core.management import CommandError, call_command
from django.test import TestCase, tag
from django.utils import timezone
from django.utils.formats import date_format

from orgadmin.access.ends import find_start_of_next_day
from orgadmin.models import Membership, MembershipEvent
from tests.factories import create_organization, create_user


class AssignTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", admin_of=[self.acme])
        self.anna = create_user("anna")

    def run_command(self, *arguments):
        out = io.StringIO()
        call_command("assign", *arguments, stdout=out)
        return out.getvalue()

    def test_assigns_a_role_and_removes_it(self):
        self.assertEqual(
            self.run_command("anna", "Acme", "reviewer"),
            "anna is now reviewer of Acme.\n",
        )
        self.assertEqual(list(self.anna.groups.all()), [self.acme.reviewer])
        again = self.run_command("anna", str(self.acme.pk), "reviewer")
        self.assertEqual(again, "No changes: anna is already reviewer of Acme.\n")
        self.assertEqual(
            self.run_command("anna", "Acme", "none"), "anna was removed from Acme.\n"
        )
        self.assertEqual(
            self.run_command("anna", "Acme", "none"),
            "No changes: anna is not a member of Acme.\n",
        )
        self.assertFalse(self.anna.groups.exists())

    def test_until_a_day(self):
        today = timezone.localdate()
        later = today + timedelta(days=30)
        shown = date_format(later, "DATE_FORMAT")
        self.assertEqual(
            self.run_command("anna", "Acme", "reviewer", "--until", later.isoformat()),
            f"anna is now reviewer of Acme until {shown}.\n",
        )
        row = Membership.objects.get(user=self.anna)
        self.assertEqual(row.ends_at, find_start_of_next_day(later))
        # Another role keeps the end.
        self.assertEqual(
            self.run_command("anna", "Acme", "admin"),
            f"anna is now admin of Acme until {shown}.\n",
        )
        self.assertEqual(
            self.run_command("anna", "Acme", "admin", "--until", later.isoformat()),
            f"No changes: anna is already admin of Acme until {shown}.\n",
        )
        self.run_command("anna", "Acme", "admin", "--until", today.isoformat())
        self.assertEqual(
            Membership.objects.get(user=self.anna).ends_at,
            find_start_of_next_day(today),
        )

    def test_refuses_days_that_are_over_and_ends_of_nothing(self):
        yesterday = timezone.localdate() - timedelta(days=1)
        for role, day in (
            ("reviewer", yesterday.isoformat()),
            ("reviewer", "9999-12-31"),
            ("reviewer", "tomorrow"),
            ("none", timezone.localdate().isoformat()),
        ):
            with self.subTest(day=day), self.assertRaises(CommandError):
                self.run_command("anna", "Acme", role, "--until", day)
        self.assertFalse(self.anna.groups.exists())

    def test_acts_with_the_permissions_of_a_person(self):
        for arguments, expected in (
            (
                ("anna", "Acme", "admin", "--as", "anna"),
                "anna does not have the permissions for this change.",
            ),
            (
                ("ada", "Acme", "none", "--as", "ada"),
                "Acme would be left without an active admin.",
            ),
        ):
            with self.assertRaisesMessage(CommandError, expected):
                self.run_command(*arguments)
        with self.assertRaisesMessage(CommandError, "There is no user “nobody”."):
            self.run_command("nobody", "Acme", "admin")
        self.assertEqual(list(self.ada.groups.all()), [self.acme.admin])

    @tag("E12", "E13")
    def test_cleans_the_reason_and_refuses_one_that_is_too_long(self):
        for reason in ("x" * 501, "a\x1bb", "\ufdfa" * 28):
            with self.assertRaisesMessage(CommandError, "The reason is not valid: "):
                self.run_command("anna", "Acme", "reviewer", "--reason", reason)
        self.assertFalse(self.anna.groups.exists())
        self.run_command("anna", "Acme", "reviewer", "--reason", " New\u00a0 here")
        self.assertEqual(MembershipEvent.objects.first().reason, "New here")
