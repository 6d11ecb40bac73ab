import io

from django.core.management import call_command
from django.test import TestCase

from orgadmin.models import Organization
from tests.factories import create_organization


class DoctorTests(TestCase):
    def run_command(self, *arguments):
        """Return the exit status and the lines printed."""
        out = io.StringIO()
        try:
            call_command("doctor", *arguments, stdout=out)
        except SystemExit as error:
            return error.code, out.getvalue().splitlines()
        return 0, out.getvalue().splitlines()

    def test_errors_set_the_exit_status_until_they_are_repaired(self):
        acme = create_organization("Acme")
        name = f"Acme (ID {acme.pk})"
        note = f"note: no active admin: {name}: nobody looks after it"
        self.assertEqual(
            self.run_command(),
            (0, [note, "0 errors.", "1 note: no active admin (1)."]),
        )
        acme.group_grants.filter(permission__codename="change_organization").delete()
        issue = (
            f"permissions: {name}: its admin group lacks: change_organization"
            f" ({acme.pk})"
        )
        status, lines = self.run_command()
        self.assertEqual(status, 1)
        self.assertIn(f"error: {issue}", lines)
        self.assertIn("1 error: permissions (1).", lines)
        self.assertEqual(
            lines[-1], "Run “manage.py doctor --fix” to repair the errors."
        )
        status, lines = self.run_command("--fix")
        self.assertEqual(status, 0)
        self.assertIn(f"repaired: {issue}", lines)
        self.assertIn("1 error repaired: permissions (1).", lines)
        self.assertEqual(self.run_command()[0], 0)

    def test_many_issues_of_a_kind_are_counted(self):
        Organization.objects.bulk_create(Organization(name="Acme") for _ in range(50))
        _, lines = self.run_command()
        self.assertEqual(len(lines), 22)
        self.assertEqual(lines[-1], "50 notes: no active admin (50).")
