from unittest import mock

from django.db import OperationalError
from django.db.migrations.executor import MigrationExecutor
from django.test import TestCase


class HealthTests(TestCase):
    def test_answers_ok(self):
        for url in ("/healthz", "/livez"):
            response = self.client.get(url)
            self.assertEqual(response.status_code, 200)
            self.assertEqual(response.content, b"ok\n")
            self.assertIn("no-cache", response["Cache-Control"])

    def assert_problem(self, expected, **behavior):
        """Check the answers if finding unapplied migrations has this outcome."""
        with mock.patch.object(MigrationExecutor, "migration_plan", **behavior):
            response = self.client.get("/healthz")
            self.assertEqual(response.status_code, 503)
            self.assertEqual(response.content, expected)
            self.assertEqual(self.client.get("/livez").status_code, 200)

    def test_says_that_there_are_unapplied_migrations(self):
        self.assert_problem(
            b"there are unapplied migrations\n", return_value=[("a", False)]
        )

    def test_says_that_the_database_does_not_answer(self):
        self.assert_problem(
            b"the database does not answer\n", side_effect=OperationalError
        )
