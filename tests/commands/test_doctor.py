import os

from allauth.mfa.models import Authenticator
from django.test import TestCase, TransactionTestCase, override_settings, tag

from config.providers import GroupRole, OpenIDProvider
from orgadmin.access.audit_log import SecurityEvent, record_all
from orgadmin.models import AuditEvent, Organization
from tests.auditing import tamper_with_audit_log
from tests.factories import create_organization, create_user, run_doctor

EMPTY = "The audit log is empty."


def run_command(*arguments):
    """Return the exit status and the lines printed."""
    status, text = run_doctor(*arguments)
    return status, text.splitlines()


class DoctorTests(TestCase):
    def test_errors_set_the_exit_status_until_they_are_repaired(self):
        acme = create_organization("Acme")
        name = f"Acme (ID {acme.pk})"
        note = f"note: no active admin: {name}: nobody looks after it"
        self.assertEqual(
            run_command(),
            (0, [note, "0 errors.", "1 note: no active admin (1).", EMPTY]),
        )
        acme.group_grants.filter(permission__codename="change_organization").delete()
        issue = (
            f"permissions: {name}: its admin group lacks: change_organization"
            f" ({acme.pk})"
        )
        status, lines = run_command()
        self.assertEqual(status, 1)
        self.assertIn(f"error: {issue}", lines)
        self.assertIn("1 error: permissions (1).", lines)
        self.assertEqual(
            lines[-1], "Run “manage.py doctor --fix” to repair the errors."
        )
        status, lines = run_command("--fix")
        self.assertEqual(status, 0)
        self.assertIn(f"repaired: {issue}", lines)
        self.assertIn("1 error repaired: permissions (1).", lines)
        self.assertEqual(run_command()[0], 0)

    def test_many_issues_of_a_kind_are_counted(self):
        Organization.objects.bulk_create(Organization(name="Acme") for _ in range(50))
        _, lines = run_command()
        self.assertEqual(len(lines), 23)
        self.assertEqual(lines[-2], "50 notes: no active admin (50).")

    @tag("D35")
    def test_does_not_advise_a_repair_of_what_cannot_be_repaired(self):
        data = {"secret": "fernet:of-a-lost-key"}
        Authenticator.objects.create(user=create_user(), type="totp", data=data)
        for arguments in ([], ["--fix"]):
            with self.subTest(arguments):
                status, lines = run_command(*arguments)
                self.assertEqual(status, 1)
                self.assertIn("1 error: second factors (1).", lines)
                self.assertEqual(lines[-1], EMPTY)


class AuditLogTests(TransactionTestCase):
    def setUp(self):
        record_all(SecurityEvent.EXPORTED, [None] * 3)

    def test_prints_where_the_log_ends(self):
        last = AuditEvent.objects.get(position=3)
        _, lines = run_command()
        line = f"The audit log ends at position 3 with hash {last.hash}."
        self.assertEqual(lines[-1], line)

    @tag("G2")
    def test_a_broken_chain_is_an_error_that_cannot_be_repaired(self):
        tamper_with_audit_log(
            "UPDATE orgadmin_auditevent SET network = 'x' WHERE position = 2"
        )
        for arguments in ([], ["--fix"]):
            with self.subTest(arguments):
                status, lines = run_command(*arguments)
                self.assertEqual(status, 1)
                self.assertIn(
                    "error: audit log: position 2: the event was changed", lines
                )
                self.assertIn("1 error: audit log (1).", lines)
                self.assertRegex(lines[-1], "cannot be repaired")
                self.assertNotIn("--fix", lines[-1])

    def test_each_remedy_is_a_line(self):
        tamper_with_audit_log(
            "UPDATE orgadmin_auditevent SET network = 'x' WHERE position = 2"
        )
        create_organization("Acme").group_grants.all().delete()
        _, lines = run_command()
        repair, compare = lines[-2:]
        self.assertEqual(repair, "Run “manage.py doctor --fix” to repair the errors.")
        self.assertRegex(compare, "^A broken audit log cannot be repaired")

    def test_seals_what_was_left_unsealed_for_a_minute(self):
        tamper_with_audit_log(
            "UPDATE orgadmin_auditevent SET position = NULL, hash = ''"
            " WHERE position = 3"
        )
        self.assertEqual(run_command()[1][0], "0 errors.")
        tamper_with_audit_log(
            "UPDATE orgadmin_auditevent SET at = '2026-01-01 00:00:00+00:00'"
            " WHERE position IS NULL"
        )
        note = "note: unsealed events: 1 were not sealed within a minute"
        status, lines = run_command()
        self.assertEqual((status, lines[0]), (0, note))
        self.assertTrue(AuditEvent.objects.filter(position=None).exists())
        status, lines = run_command("--fix")
        self.assertEqual((status, lines[0]), (0, f"{note}; they are sealed now"))
        self.assertFalse(AuditEvent.objects.filter(position=None).exists())
        self.assertEqual(run_command()[1][0], "0 errors.")

    @tag("G3")
    def test_a_repair_is_recorded(self):
        Organization(name="Acme").save()
        Organization.objects.update(name="New")
        run_command()
        self.assertFalse(AuditEvent.objects.filter(event="repaired").exists())
        run_command("--fix")
        event = AuditEvent.objects.get(event="repaired")
        self.assertEqual(event.actor_key, None)
        self.assertEqual(
            event.details, {"group name": 2, "ID of the system user": os.getuid()}
        )


class CompanyTests(TestCase):
    def test_a_reference_in_the_settings_that_no_organization_has_is_an_error(self):
        create_organization("Acme", reference="C-1")
        roles = tuple(GroupRole("staff", "admin", name) for name in ("C-1", "C-2"))
        provider = OpenIDProvider(
            "partner", "Partner", "https://id.example.com", "us", "x", roles=roles
        )
        with override_settings(OIDC_PROVIDERS=[provider]):
            status, lines = run_command()
        self.assertEqual(status, 1)
        text = "the settings of partner map groups to the reference “C-2”"
        self.assertIn(
            f"error: unknown reference: {text}, which no organization has", lines
        )
        self.assertNotIn("C-1", "".join(lines))
