import io

from django.core.management import CommandError, call_command
from django.test import TestCase

from ..factories import create_organization, create_user


class AssignTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.ada, self.anna = (
            create_user("ada", admin_of=[self.acme]),
            create_user("anna"),
        )

    def run_command(self, *arguments):
        out = io.StringIO()
        call_command("assign", *arguments, stdout=out)
        return out.getvalue()

    def test_gives_a_role_and_takes_it(self):
        self.assertEqual(
            self.run_command("anna", "Acme", "reviewer"), "anna is reviewer of Acme.\n"
        )
        self.assertEqual(list(self.anna.groups.all()), [self.acme.reviewer])
        again = self.run_command("anna", str(self.acme.pk), "reviewer")
        self.assertEqual(again, "Nothing was changed: it was so already.\n")
        self.assertEqual(
            self.run_command("anna", "Acme", "none"), "anna was taken out of Acme.\n"
        )
        self.assertFalse(self.anna.groups.exists())

    def test_acts_with_the_rights_of_a_person(self):
        for arguments in (
            ("anna", "Acme", "admin", "--as", "anna"),
            ("ada", "Acme", "none", "--as", "ada"),
        ):
            with self.assertRaisesMessage(CommandError, "may not do that"):
                self.run_command(*arguments)
        with self.assertRaisesMessage(CommandError, "There is no user “nobody”."):
            self.run_command("nobody", "Acme", "admin")
        self.assertEqual(list(self.ada.groups.all()), [self.acme.admin])
