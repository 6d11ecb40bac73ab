import io

from django.core.management import CommandError, call_command
from django.test import TestCase, tag

from orgadmin.models import MembershipEvent
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
