"""What commands print of text that people typed."""

import importlib
import io
import pkgutil
import tempfile
from pathlib import Path
from unittest import mock

from django.core.management import CommandError, call_command
from django.test import TestCase, override_settings, tag

from orgadmin.management import commands
from orgadmin.management.output import EscapedCommand
from orgadmin.models import Organization, User

from ..factories import ADMIN, create_organization, create_superuser, id_cells, set_role

# A name that deletes the line before it, turns the text around and begins a new line.
EVIL = "A\x1b[1A\x1b[2K\x9b\u202e\u2066\u200b\u2028\nfake line"

# Commands that print no text of people: they extend Django's own.
OF_DJANGO = {
    "changepassword",
    "createsuperuser",
    "loaddata",
    "migrate",
    "sqlsequencereset",
}


def list_commands():
    return [module.name for module in pkgutil.iter_modules(commands.__path__)]


class OutputTests(TestCase):
    def setUp(self):
        self.evil = create_organization(EVIL, address=EVIL)
        self.namesake = create_organization(EVIL)
        self.user = User.objects.create_user(EVIL, email="a@b.de")
        create_superuser("root")
        set_role(self.evil, [self.user], ADMIN, reason=EVIL)

    def run_command(self, *arguments, **options):
        """Run a command as manage.py does, and return everything that it prints."""
        stdout = io.StringIO()
        stderr = io.StringIO()
        arguments = [str(argument) for argument in arguments]
        try:
            call_command(*arguments, stdout=stdout, stderr=stderr, **options)
        except CommandError as error:
            # `run_from_argv()` would print the error in this way.
            module = importlib.import_module(f"{commands.__name__}.{arguments[0]}")
            command = module.Command(stdout=stdout, stderr=stderr)
            command.stderr.write(f"CommandError: {error}")
        except SystemExit:
            pass
        return stdout.getvalue() + stderr.getvalue()

    def assert_escaped(self, text):
        self.assertIn("A\\x1b[1A", text)
        for line in text.replace("\r\n", "\n").split("\n"):
            self.assertTrue(line.isprintable(), ascii(line))
            self.assertFalse(line.startswith("fake"))

    @tag("E8")
    def test_every_command_escapes_what_it_prints(self):
        for name in list_commands():
            if name not in OF_DJANGO:
                module = importlib.import_module(f"{commands.__name__}.{name}")
                with self.subTest(command=name):
                    self.assertTrue(issubclass(module.Command, EscapedCommand))

    @tag("E8")
    def test_explain(self):
        self.assert_escaped(self.run_command("explain", EVIL, self.evil.pk))
        self.assert_escaped(self.run_command("explain", "root", EVIL))
        self.assert_escaped(self.run_command("explain", EVIL + "x", self.evil.pk))
        self.assert_escaped(self.run_command("explain", "root", self.evil.pk, EVIL))

    @tag("E8")
    def test_an_unclear_name_lists_each_organization_on_a_line(self):
        text = self.run_command("explain", "root", EVIL)
        for organization in (self.evil, self.namesake):
            self.assertRegex(text, f"(?m)^{organization.pk}  A")

    @tag("E8")
    def test_assign(self):
        for role in ("reviewer", "reviewer", "none", "none"):
            self.assert_escaped(self.run_command("assign", EVIL, self.evil.pk, role))

    @tag("E8")
    def test_members(self):
        self.assert_escaped(self.run_command("members"))

    @tag("E8")
    def test_doctor(self):
        Organization.objects.filter(pk=self.evil.pk)
        self.evil.admin.name = "Old Admin"
        self.evil.admin.save()
        self.assert_escaped(self.run_command("doctor"))

    @tag("E8")
    def test_import(self):
        cell = EVIL.replace("\n", " ").replace("\u2028", " ")
        cells = id_cells(self.evil.pk)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "file.csv")
            for column in ("address", "phone", cell):
                file.write_text(f'id,id_key,name,{column}\n{cells},New,"{cell}"\n')
                self.assert_escaped(
                    self.run_command("import_organizations", file, "--dry-run")
                )
            file.write_text(f'id,id_key,name,address\n{cells},New,"A\n\x1bfake"\n')
            text = self.run_command("import_organizations", file, "--dry-run")
            self.assertNotIn("\x1b", text)

    @override_settings(DEBUG=True)
    def test_demo_keeps_its_lines(self):
        with mock.patch("orgadmin.management.demo.is_loaded", return_value=False):
            lines = self.run_command("demo").splitlines()
        self.assertEqual(lines[0], "")
        self.assertIn("Sign in at", lines[1])
        self.assertEqual(len(lines), 7)
