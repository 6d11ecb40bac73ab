import io
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import TestCase, tag

from orgadmin.models import Organization

from ..factories import create_superuser
from ..import_corpus.workbook_files import make_workbook


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
        """Write a text or bytes into a file, and import it."""
        content = text if isinstance(text, bytes) else text.encode()
        self.file.write_bytes(content)
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
                "No line has an ID or a reference, so each line creates an"
                " organization. If you import the file again, it creates them again.",
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
            r"^line 2: Acme: created, with the groups “Acme Admin”,"
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

    def test_reads_the_file_as_the_arguments_say(self):
        book = {"A": [["name"], ["First"]], "B": [["Wer", "X"], ["Second", "y"]]}
        output = self.run_command(
            make_workbook(book), "--sheet", "B", "--map", "Wer=name", "--dry-run"
        )
        self.assertIn("Read as workbook, sheet “B”.", output.out)
        self.assertIn("line 2: Second", output.out)
        content = "name\nРоссия\n".encode("cp1251")
        output = self.run_command(content, "--encoding", "windows-1251")
        self.assertIn("Read as CSV, Windows-1251, separated by commas.", output.out)
        self.assertTrue(Organization.objects.filter(name="Россия").exists())

    def test_names_arguments_that_it_does_not_know(self):
        for arguments, error in (
            (
                ["--encoding", "hex"],
                "There is no encoding 'hex'. Choose one of: UTF-8,",
            ),
            (["--map", "Firma"], "Write 'Firma' as TITLE=FIELD."),
            (["--clear-blank", "name"], "invalid choice: 'name'"),
        ):
            output = self.run_command("name\nAcme\n", *arguments)
            self.assertIn(error, output.error or "")
        self.assertFalse(Organization.objects.exists())

    def test_empties_the_fields_that_the_arguments_name(self):
        Organization(name="Acme", reference="R1", phone="1", email="a@b.de").save()
        text = "reference,name,phone,email\nR1,Acme,,\n"
        output = self.run_command(text, "--clear-blank", "phone")
        self.assertIn("Values: 1 emptied.", output.out)
        organization = Organization.objects.get()
        self.assertEqual((organization.phone, organization.email), ("", "a@b.de"))

    @tag("E15")
    def test_refuses_warnings_in_dry_runs_too(self):
        text = "name,phone\nAcme,4.9E+11\n"
        refused = (
            "Nothing was imported. Look at the warning above. To import these rows as"
            " they are, add --accept-warnings."
        )
        output = self.run_command(text, "--dry-run")
        self.assertEqual(output.error, refused)
        self.assertIn("line 2: Acme", output.out)
        self.assertIn("Warning: line 2, column “phone”, “4.9E+11”: damaged", output.out)
        output = self.run_command(text)
        self.assertEqual(output.error, refused)
        self.assertIn("line 2, column “phone”, “4.9E+11”: damaged number.", output.err)
        self.assertFalse(Organization.objects.exists())
        self.assertIsNone(self.run_command(text, "--accept-warnings").error)
        self.assertEqual(Organization.objects.get().phone, "4.9E+11")

    def test_matches_by_name(self):
        Organization(name="Acme").save()
        output = self.run_command("name,phone\nacme,7\n", "--match", "name")
        self.assertIn("Organizations: 0 created, 1 changed, 0 unchanged.", output.out)

    def test_prints_the_first_problems_and_how_many_more_there_are(self):
        output = self.run_command("name,email\n" + "New,x\n" * 510)
        self.assertEqual(output.err.count("Enter a valid email address."), 500)
        self.assertIn("… and 10 more", output.err)

    def test_reads_a_pipe(self):
        pipe = self.file.with_name("pipe")
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=["name\nAcme\n"])
        writer.start()
        out = io.StringIO()
        call_command("import_organizations", pipe, stdout=out, stderr=out)
        writer.join()
        self.assertTrue(Organization.objects.exists())

    def test_imports_as_a_person(self):
        create_superuser("root")
        self.assertIsNone(self.run_command("name\nAcme\n", "--as", "root").error)

    def test_says_when_the_database_fails(self):
        with mock.patch(
            "orgadmin.records.imports.writing.Organization.objects.bulk_create",
            side_effect=OperationalError("gone"),
        ):
            output = self.run_command("name\nAcme\n")
        self.assertEqual(
            output.error,
            "Nothing was imported. The database failed: gone. Try again.",
        )
