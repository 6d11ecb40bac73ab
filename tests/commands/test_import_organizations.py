import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import TestCase

from orgadmin.models import Organization

from ..factories import create_superuser


@dataclass(frozen=True)
class Output:
    out: str
    err: str
    error: str | None  # the text of the CommandError; None: the command succeeded


class ImportOrganizationsTests(TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name, "file.csv")

    def run_command(self, text, *arguments):
        self.file.write_text(text)
        out = io.StringIO()
        err = io.StringIO()
        error_text = None
        try:
            call_command(
                "import_organizations", self.file, *arguments, stdout=out, stderr=err
            )
        except CommandError as error:
            error_text = str(error)
        return Output(out.getvalue(), err.getvalue(), error_text)

    def test_says_what_it_did(self):
        output = self.run_command("name,Colour\nAcme,red\n")
        self.assertIsNone(output.error)
        self.assertEqual(
            output.out.splitlines(),
            [
                "Read as CSV, UTF-8, separated by commas.",
                "Columns not used: Colour.",
                "There is no column that identifies organizations, so each line"
                " creates an organization. If you import the file again, it creates"
                " them again.",
                "Organizations: 1 created, 0 changed, 0 unchanged.",
                "Values: 0 emptied. Rows: 0 skipped, 0 warnings.",
                "People: 0 given a role, 0 invited.",
            ],
        )

    def test_a_dry_run_says_what_would_happen(self):
        output = self.run_command("name,reference\nAcme,R1\n", "--dry-run")
        row, *summary = output.out.splitlines()
        self.assertRegex(
            row,
            r"^line 2: Acme \(ID \d+\): created, with the groups “Acme Admin”,"
            r" “Acme Reviewer”; reference: “R1”$",
        )
        self.assertEqual(
            summary,
            [
                "Read as CSV, UTF-8, separated by commas.",
                "Organizations: 1 would be created, 0 would be changed, 0 unchanged.",
                "Values: 0 would be emptied. Rows: 0 skipped, 0 warnings.",
                "People: 0 would be given a role, 0 would be invited.",
                "This was a dry run: nothing was changed.",
            ],
        )
        self.assertFalse(Organization.objects.exists())

    def test_a_refused_file_is_an_error_with_all_problems(self):
        output = self.run_command("name,email\n,x\nAcme,y\n")
        lines = output.err.splitlines()
        problems = [line for line in lines if line.startswith("line ")]
        self.assertEqual(len(problems), 3)
        self.assertEqual(
            output.error,
            "Nothing was imported. Fix the 3 problems above and try again.",
        )

    def test_says_which_file_or_user_does_not_exist(self):
        self.assertEqual(
            self.run_command("name\nAcme\n", "--as", "nobody").error,
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
            self.run_command("name\nAcme\n", "--as", "\udcff").error or "",
        )
        with self.assertRaisesMessage(CommandError, "cannot be read: Is a directory."):
            call_command("import_organizations", str(self.file.parent))

    def test_imports_as_a_person(self):
        create_superuser("root")
        self.assertIsNone(self.run_command("name\nAcme\n", "--as", "root").error)

    def test_says_when_the_database_fails(self):
        with mock.patch(
            "orgadmin.records.import_writing.Organization.objects.bulk_create",
            side_effect=OperationalError("gone"),
        ):
            output = self.run_command("name\nAcme\n")
        self.assertEqual(
            output.error,
            "Nothing was imported. The database failed: gone. Try again.",
        )
