import io
import tempfile
from pathlib import Path

from django.core.management import CommandError, call_command
from django.test import TestCase

from orgadmin.models import Invitation, Membership

from ..factories import create_organization, create_superuser, create_user


class ImportPeopleTests(TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name, "file.csv")
        self.rest = Path(folder.name, "rest.csv")
        self.acme = create_organization("Acme", reference="R1")
        self.mary = create_user("mary", email="mary@example.com")

    def run_command(self, text, *arguments):
        """Import a file. Returns what was printed, and the text of the error."""
        self.file.write_text(text)
        out = io.StringIO()
        err = io.StringIO()
        try:
            call_command(
                "import_people", str(self.file), *arguments, stdout=out, stderr=err
            )
        except CommandError as error:
            return out.getvalue() + err.getvalue(), str(error)
        return out.getvalue(), None

    def is_admin(self):
        return Membership.objects.filter(user=self.mary, group=self.acme.admin).exists()

    def test_gives_roles_and_says_so_in_numbers(self):
        text = "email,reference,role\nmary@example.com,R1,admin\n"
        output, error = self.run_command(text)
        self.assertIsNone(error)
        self.assertIn("Rows: 0 unchanged, 0 skipped, 0 warnings.", output)
        self.assertIn("People: 1 given a role, 0 invited.", output)
        self.assertTrue(self.is_admin())

    def test_a_dry_run_prints_each_line_and_changes_nothing(self):
        text = "Mail,Kundennr,Rolle\nmary@example.com,R1,Administratorin\n"
        output, error = self.run_command(text, "--dry-run")
        self.assertIsNone(error)
        line = f"line 2: mary@example.com, Acme (ID {self.acme.pk}): role: “Admin”"
        self.assertIn(line, output)
        self.assertIn("This was a dry run: nothing was changed.", output)
        self.assertFalse(self.is_admin())

    def test_columns_can_be_chosen_and_organizations_matched_by_name(self):
        text = "Wer,Wo,Was\nmary@example.com,Acme,admin\n"
        _output, error = self.run_command(
            text,
            *("--map", "Wer=email", "--map", "Wo=organization", "--map", "Was=role"),
            *("--match", "name"),
        )
        self.assertIsNone(error)
        self.assertTrue(self.is_admin())

    def test_rows_with_problems_can_be_left_out(self):
        text = (
            "email,reference,role\n"
            "mary@example.com,R1,admin\n"
            "new@example.com,R1,admin\n"
        )
        output, error = self.run_command(text)
        self.assertIn("line 3, column “email”, “new@example.com”", output)
        self.assertIn("Nothing was imported", error)
        self.assertFalse(self.is_admin())
        _output, error = self.run_command(text, "--partial", str(self.rest))
        self.assertIsNone(error)
        self.assertTrue(self.is_admin())
        self.assertIn("new@example.com,R1,admin", self.rest.read_text())

    def test_invites_on_behalf_of_a_superuser(self):
        create_superuser("root")
        text = "email,reference,role\nnew@example.com,R1,admin\n"
        _output, error = self.run_command(text, "--send-mail")
        self.assertIn("Use --as", error)
        _output, error = self.run_command(text, "--send-mail", "--as", "mary")
        self.assertIn("Nothing was imported", error)
        self.assertFalse(Invitation.objects.exists())
        _output, error = self.run_command(text, "--send-mail", "--as", "root")
        self.assertIsNone(error)
        self.assertEqual(Invitation.objects.get().email, "new@example.com")
