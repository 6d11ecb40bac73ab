from unittest import mock

from django.db import OperationalError
from django.db.migrations.executor import MigrationExecutor
from django.test import TestCase


class HealthTests(TestCase):
    def test_is_well(self):
        for url in ("/healthz", "/livez"):
            response = self.client.get(url)
            self.assertEqual((response.status_code, response.content), (200, b"ok\n"))
            self.assertIn("no-cache", response["Cache-Control"])

    def test_says_what_is_wrong(self):
        cases = [
            ({"return_value": [("a", False)]}, b"there are unapplied migrations\n"),
            ({"side_effect": OperationalError}, b"the database does not answer\n"),
        ]
        for behaviour, text in cases:
            with mock.patch.object(MigrationExecutor, "migration_plan", **behaviour):
                response = self.client.get("/healthz")
                self.assertEqual((response.status_code, response.content), (503, text))
                self.assertEqual(self.client.get("/livez").status_code, 200)
