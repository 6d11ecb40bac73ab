import io
from unittest import mock

from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import TestCase

from orgadmin.models import Organization
from tests.factories import create_organization, create_user


class ExplainTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme", address="Here")
        create_user("anna", admin_of=[cls.acme])

    def run_command(self, *arguments):
        """Return the exit status and what was printed."""
        out = io.StringIO()
        err = io.StringIO()
        try:
            call_command("explain", *map(str, arguments), stdout=out, stderr=err)
        except CommandError as error:
            return error.returncode, err.getvalue() + str(error)
        except SystemExit as error:
            return error.code, out.getvalue()
        return 0, out.getvalue()

    def test_answers_by_id_and_by_name_and_sets_the_exit_status(self):
        may = (
            f"anna may view Acme (ID {self.acme.pk}).\n  view: is in its Admin group\n"
        )
        for organization in (self.acme.pk, "Acme"):
            self.assertEqual(self.run_command("anna", organization), (0, may))
        status, text = self.run_command("anna", "Acme", "delete")
        self.assertEqual(status, 1)
        self.assertTrue(
            text.startswith(f"anna may not delete Acme (ID {self.acme.pk}).\n")
        )

    def test_an_unclear_question_has_an_exit_status_of_its_own(self):
        other = create_organization("Acme", address="There")
        status, text = self.run_command("anna", "Acme")
        self.assertEqual(status, 2)
        for organization in (self.acme, other):
            self.assertIn(f"{organization.pk}  Acme  {organization.address}", text)
        self.assertEqual(
            self.run_command("nobody", self.acme.pk), (2, "There is no user “nobody”.")
        )
        self.assertEqual(self.run_command("anna", "Nowhere")[0], 2)
        self.assertEqual(self.run_command("anna", "9" * 30)[0], 2)
        self.assertEqual(self.run_command("anna", self.acme.pk, "eat")[0], 2)

    def test_an_id_that_is_also_a_name_is_unclear(self):
        create_organization(str(self.acme.pk))
        self.assertEqual(self.run_command("anna", self.acme.pk)[0], 2)

    def test_an_error_of_the_database_is_no_answer(self):
        with mock.patch.object(
            Organization.objects, "filter", side_effect=OperationalError("gone")
        ):
            status, text = self.run_command("anna", "Acme")
        self.assertEqual(
            (status, text), (2, "The question could not be answered: gone")
        )

    def test_a_name_of_digits_is_found_if_it_is_no_id(self):
        create_organization("4711")
        self.assertEqual(self.run_command("anna", "4711")[0], 1)
