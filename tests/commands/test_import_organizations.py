import io
import tempfile
from pathlib import Path
from unittest import mock

from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import TestCase

from orgadmin.models import Organization

from ..factories import create_superuser


class ImportOrganizationsTests(TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name, "file.csv")

    def run_command(self, text, *arguments):
        self.file.write_text(text)
        out, err = io.StringIO(), io.StringIO()
        try:
            call_command(
                "import_organizations", self.file, *arguments, stdout=out, stderr=err
            )
        except CommandError as error:
            return out.getvalue(), err.getvalue(), str(error)
        return out.getvalue(), err.getvalue(), None

    def test_says_what_it_did(self):
        out, _, error = self.run_command("name,Colour\nAcme,red\n")
        self.assertIsNone(error)
        self.assertEqual(
            out.splitlines(),
            [
                "Columns not used: Colour.",
                "There is no column id or reference: each line creates an organization, again each time.",
                "1 organizations created, 0 changed, 0 left as they were; 0 people given a role, 0 invited.",
            ],
        )

    def test_a_dry_run_says_what_would_happen(self):
        out, _, _ = self.run_command("name,reference\nAcme,R1\n", "--dry-run")
        line, summary = out.splitlines()
        self.assertRegex(
            line,
            r"^line 2: Acme \(id \d+\): created, with the groups “Acme Admin”, “Acme Reviewer”$",
        )
        self.assertEqual(
            summary,
            "1 organizations would be created, 0 would be changed, 0 left as they were; 0 people would be given a role,"
            " 0 would be invited. Nothing was changed: this was a dry run.",
        )
        self.assertFalse(Organization.objects.exists())

    def test_a_refused_file_is_an_error_with_all_problems(self):
        _, err, error = self.run_command("name,email\n,x\nAcme,y\n")
        self.assertEqual(
            len([line for line in err.splitlines() if line.startswith("line ")]), 3
        )
        self.assertEqual(
            error, "Nothing was imported: mend the 3 problems above, and try again."
        )

    def test_says_which_file_or_user_is_not_there(self):
        self.assertEqual(
            self.run_command("name\nAcme\n", "--as", "nobody")[2],
            "There is no user “nobody”.",
        )
        with self.assertRaisesMessage(
            CommandError, "'nowhere.csv' cannot be read: No such file or directory."
        ):
            call_command("import_organizations", "nowhere.csv")
        with self.assertRaisesMessage(
            CommandError, "cannot be read: embedded null byte."
        ):
            call_command("import_organizations", "a\0b")
        self.assertIn(
            "cannot be read",
            self.run_command("name\nAcme\n", "--as", "\udcff")[2] or "",
        )
        with self.assertRaisesMessage(CommandError, "cannot be read: Is a directory."):
            call_command("import_organizations", str(self.file.parent))

    def test_imports_as_a_person(self):
        create_superuser("root")
        self.assertIsNone(self.run_command("name\nAcme\n", "--as", "root")[2])

    def test_says_when_the_database_is_away(self):
        with mock.patch(
            "orgadmin.records.imports.Organization.objects.bulk_create",
            side_effect=OperationalError("gone"),
        ):
            error = self.run_command("name\nAcme\n")[2]
        self.assertEqual(
            error, "Nothing was imported: the database refused (gone). Try again."
        )
