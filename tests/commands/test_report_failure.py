import io

from django.core import mail
from django.core.management import call_command
from django.test import SimpleTestCase, override_settings


class ReportTests(SimpleTestCase):
    """SimpleTestCase allows no queries: the database may be what has failed."""

    def report(self):
        out = io.StringIO()
        call_command("report_failure", "orgadmin-backup.service", stdout=out)
        return out.getvalue()

    @override_settings(FAILURE_EMAIL=["ada@example.com", "bob@example.com"])
    def test_sends_mail_that_says_where_to_look(self):
        printed = self.report()
        (message,) = mail.outbox
        self.assertEqual(message.to, ["ada@example.com", "bob@example.com"])
        self.assertIn("orgadmin-backup.service has failed on", message.subject)
        self.assertIn("journalctl -u orgadmin-backup.service", message.body)
        self.assertEqual(printed, "Sent mail to ada@example.com, bob@example.com.\n")

    @override_settings(FAILURE_EMAIL=[])
    def test_without_an_address_it_says_that_nobody_is_told(self):
        self.assertIn("nobody gets mail", self.report())
        self.assertEqual(mail.outbox, [])
