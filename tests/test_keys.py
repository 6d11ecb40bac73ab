import io
import tempfile
from datetime import timedelta
from pathlib import Path
from unittest import skipUnless

from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.core import serializers
from django.core.management import call_command
from django.db import connection, models
from django.test import TestCase, TransactionTestCase, tag
from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import (
    AccessReview,
    AuditEvent,
    Contact,
    KeptLogEntry,
    LaterDecision,
    MembershipEvent,
    Organization,
    ReviewDecision,
    ReviewItem,
    ReviewNotice,
    ReviewSection,
    User,
)
from orgadmin.records.doctor.key_check import REUSED_ID, examine_keys
from orgadmin.records.erasure import erase_person
from orgadmin.records.keys import COLUMNS, read_sequence
from tests.factories import (
    ADMIN,
    create_organization,
    create_superuser,
    create_user,
    run_doctor,
    set_role,
)

TABLES = (Organization, User, Contact, Group)

SECRETS = ("Secret Corp", "DE-SECRET-1", "olga", "Merger talks", "Hidden contact")


def restart_sequences():
    """Make each sequence continue after the highest key that is left.

    Django's `sqlsequencereset` does so, and so does a copy into another database.
    """
    with connection.cursor() as cursor:
        for model in TABLES:
            highest = max(model.objects.values_list("pk", flat=True), default=0)
            table = model._meta.db_table
            if connection.vendor == "sqlite":
                cursor.execute(
                    "UPDATE sqlite_sequence SET seq = %s WHERE name = %s",
                    [highest, table],
                )
            else:
                cursor.execute(
                    "SELECT setval(pg_get_serial_sequence(%s, 'id'), %s, %s)",
                    [table, highest or 1, highest > 0],
                )


# The logs are left out: PostgreSQL refuses to load the same rows again.
DUMPED = (
    "auth.group",
    "orgadmin.user",
    "orgadmin.organization",
    "orgadmin.contact",
    "admin.logentry",
)


def load(*, models=DUMPED, rows=None):
    """Dump models, and load the file. Rows replace the dump if they are given."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.json")
        if rows is None:
            call_command("dumpdata", *models, natural_foreign=True, output=str(path))
        else:
            path.write_text(rows)
        call_command("loaddata", str(path), verbosity=0)


class DeletedOrganizationMixin:
    """An organization with members, a history and a contact, which is deleted."""

    def setUp(self):
        super().setUp()
        self.root = create_superuser()
        self.gone = create_organization(
            "Secret Corp", tax_id="DE-SECRET-1", notes="Merger talks"
        )
        self.contact = self.gone.contacts.create(name="Hidden contact")
        self.olga = create_user("olga", admin_of=[self.gone])
        self.gone_pk = self.gone.pk
        self.olga_pk = self.olga.pk
        self.contact_pk = self.contact.pk
        self.log_entry_about("Contact", self.contact_pk, "Hidden contact")
        self.log_entry_about("Organization", self.gone_pk, "Secret Corp")
        self.gone.delete()
        self.olga.delete()

    def log_entry_about(self, model, key, text):
        content_type = ContentType.objects.get(
            app_label="orgadmin", model=model.lower()
        )
        LogEntry.objects.create(
            user=self.root,
            content_type=content_type,
            object_id=str(key),
            object_repr=text,
            action_flag=DELETION,
            change_message=f"Merger talks {text}",
        )


class LoadedKeysTests(DeletedOrganizationMixin, TestCase):
    def assert_new_rows_have_new_keys(self):
        new = create_organization("New")
        self.assertGreater(new.pk, self.gone_pk)
        self.assertGreater(create_user("new").pk, self.olga_pk)
        self.assertGreater(new.contacts.create(name="New").pk, self.contact_pk)

    @tag("G7")
    def test_a_moved_site_does_not_issue_the_keys_of_deleted_rows(self):
        restart_sequences()
        load()
        self.assert_new_rows_have_new_keys()

    def test_a_fixture_without_organizations_does_not_lower_the_sequences(self):
        load(rows="[]")
        load(models=["orgadmin.user"])
        self.assert_new_rows_have_new_keys()

    @tag("G7")
    def test_the_new_organization_shows_nothing_of_the_old_one(self):
        restart_sequences()
        load()
        new = create_organization("New")
        admin = create_user("new", admin_of=[new])
        contact = new.contacts.create(name="New")
        base = "/admin/orgadmin"
        pages = [
            "/admin/",
            f"{base}/organization/",
            f"{base}/organization/export/",
            f"{base}/contact/{contact.pk}/history/",
            "/admin/activity/",
        ]
        for page in ("change", "history", "people", "ledger", "access"):
            pages.append(f"{base}/organization/{new.pk}/{page}/")
        pages.append(f"{base}/organization/{new.pk}/ledger/?csv=")
        self.client.force_login(admin)
        for page in pages:
            with self.subTest(page):
                response = self.client.get(page)
                self.assertEqual(response.status_code, 200)
                text = response.getvalue().decode()
                for secret in SECRETS:
                    self.assertNotIn(secret, text)

    def test_explicit_keys_of_a_fixture_are_not_issued_again(self):
        key = self.olga_pk + 1_000
        user = User(pk=key, username="x")
        rows = serializers.serialize("json", [user])
        load(rows=rows)
        User.objects.get(pk=key).delete()
        self.assertGreater(create_user("new").pk, key)

    @tag("G7")
    def test_the_keys_of_each_log_are_remembered(self):
        # Higher than what other tests have used, which PostgreSQL does not roll back.
        key = max(read_sequence(model, "default") for model in COLUMNS)
        entries = [
            (Organization, lambda: add_event(organization_key=key)),
            (Organization, lambda: add_record(key)),
            (User, lambda: add_event(user_key=key)),
            (User, lambda: add_event(actor_key=key)),
            (User, lambda: AuditEvent.objects.create(user_key=key)),
            (User, lambda: AuditEvent.objects.create(actor_key=key)),
            (Organization, lambda: record_details({"organizations": [1, key]})),
            (Organization, lambda: record_details({"organization": key})),
            (Group, lambda: record_details({"group": key})),
            (Group, lambda: record_details({"groups added": [key]})),
            (Organization, lambda: add_review_item(organization_key=key)),
            (Organization, lambda: add_review_notice(organization_key=key)),
            (Organization, lambda: add_section(key)),
            (User, lambda: add_review_item(user_key=key)),
            (User, lambda: add_review_item(added_by_key=key)),
            (User, lambda: add_review_decision(key)),
            (User, lambda: add_later_decision(key)),
            (User, lambda: add_review_notice(user_key=key)),
            (User, lambda: add_review(started_by_key=key)),
            (User, lambda: add_review(closed_by_key=key)),
            (Contact, lambda: self.log_entry_about("Contact", key, "x")),
            (LogEntry, lambda: keep_entry(key)),
        ]
        for model, add in entries:
            key += 10_000
            with self.subTest(key=key):
                add()
                status, text = run_doctor()
                self.assertEqual(status, 1, text)
                self.assertIn(f"IDs up to {key} have been used", text)
                self.assertIn(str(model._meta.verbose_name), text)
                self.assertEqual(run_doctor("--fix")[0], 0)
                self.assertEqual(run_doctor()[0], 0)

    def test_a_number_of_organizations_is_no_key(self):
        """Events about many of them may say how many there were."""
        key = self.gone_pk + 10_000
        for name in ("organizations", "groups added", "groups removed"):
            record_details({name: key})
        self.assertEqual(run_doctor()[0], 0)


def add_event(**keys):
    values = {"event": "left", "role": "admin", "organization_key": 1} | keys
    MembershipEvent.objects.create(user_name="x", organization_name="x", **values)


def add_record(key):
    Organization.history.create(id=key, name="x", history_date=timezone.now())


def keep_entry(key):
    KeptLogEntry.objects.create(
        entry_key=key,
        user_key=1,
        user_name="x",
        object_repr="x",
        action_flag=DELETION,
        action_time=timezone.now(),
    )


def add_review(**keys):
    today = timezone.localdate()
    return AccessReview.objects.create(scope="all", due_on=today, **keys)


def add_section(key):
    return ReviewSection.objects.create(review=add_review(), organization_key=key)


def add_review_item(**keys):
    section = add_section(None)
    return ReviewItem.objects.create(section=section, key="x", path="member", **keys)


def add_review_decision(key):
    item = add_review_item()
    ReviewDecision.objects.create(item=item, answer="confirmed", actor_key=key)


def add_later_decision(key):
    item = add_review_item()
    LaterDecision.objects.create(item=item, number=1, answer="confirmed", actor_key=key)


def add_review_notice(**keys):
    values = {"organization_key": 1, "user_key": 1} | keys
    ReviewNotice.objects.create(review=add_review(), kind="start", **values)


def record_details(details):
    record(SecurityEvent.EXPORTED, details=details)


class SequenceTests(DeletedOrganizationMixin, TransactionTestCase):
    """The sequences of a live site, which transactions do not roll back."""

    def test_the_doctor_does_not_lower_a_sequence(self):
        newest = create_organization("Newest")
        newest_pk = newest.pk
        newest.delete()
        self.assertEqual(run_doctor("--fix")[0], 0)
        self.assertGreater(create_organization("New").pk, newest_pk)

    @tag("G7")
    def test_a_group_that_the_doctor_creates_has_a_new_key(self):
        acme = create_organization("Acme")
        other = create_organization("Other")
        models.QuerySet.update(
            Organization.objects.filter(pk=other.pk), reviewer=acme.admin
        )
        key = Group.objects.latest("pk").pk + 1
        record_details({"group": key})
        self.assertEqual(run_doctor("--fix")[0], 0)
        other.refresh_from_db()
        self.assertGreater(other.reviewer_id, key)

    def test_a_flush_leaves_nothing_that_names_a_key(self):
        call_command("flush", interactive=False, verbosity=0)
        for model in (
            MembershipEvent,
            AuditEvent,
            LogEntry,
            Organization.history.model,
        ):
            self.assertFalse(model._base_manager.exists(), model)
        self.assertEqual(run_doctor()[0], 0)

    @skipUnless(connection.vendor == "postgresql", "SQLite has no such statements")
    @tag("G7")
    def test_what_sqlsequencereset_prints_does_not_restart_sequences(self):
        restart_sequences()
        out = io.StringIO()
        call_command("sqlsequencereset", "orgadmin", "auth", stdout=out, no_color=True)
        with connection.cursor() as cursor:
            cursor.execute(out.getvalue())
        self.assertGreater(create_organization("New").pk, self.gone_pk)
        self.assertGreater(create_user("new").pk, self.olga_pk)
        # Other tables are reset as Django does it.
        self.assertIn("orgadmin_invitation", out.getvalue())
        self.assertIn("auth_permission", out.getvalue())

    @skipUnless(connection.vendor == "postgresql", "SQLite has no such statements")
    @tag("G7")
    def test_what_sqlsequencereset_printed_before_does_not_lower_sequences(self):
        out = io.StringIO()
        call_command("sqlsequencereset", "orgadmin", stdout=out, no_color=True)
        later = create_organization("Later")
        later_pk = later.pk
        later.delete()
        with connection.cursor() as cursor:
            cursor.execute(out.getvalue())
        self.assertGreater(create_organization("New").pk, later_pk)

    @skipUnless(connection.vendor == "sqlite", "PostgreSQL alters tables in place")
    def test_migrations_that_copy_a_table_keep_its_sequence(self):
        call_command("migrate", "orgadmin", "0029", verbosity=0)
        call_command("migrate", verbosity=0)
        self.assertGreater(create_organization("New").pk, self.gone_pk)
        self.assertGreater(create_user("new").pk, self.olga_pk)


class ReusedKeyTests(TestCase):
    """The doctor finds keys that an earlier release has issued twice."""

    def find_reused(self):
        return [
            (issue.organization, issue.text)
            for issue in examine_keys()
            if issue.kind == REUSED_ID
        ]

    def delete_organization(self, name="Old", rename_to=None, members=1):
        organization = create_organization(name)
        create_user("olga", admin_of=[organization] * members)
        if rename_to:
            organization.name = rename_to
            organization.save()
        pk = organization.pk
        organization.delete()
        return pk

    def create_again(self, pk, name):
        organization = Organization(pk=pk, name=name)
        organization.save(force_insert=True)
        return organization

    @tag("G7")
    def test_an_organization_with_the_key_of_a_deleted_one_is_an_error(self):
        pk = self.delete_organization()
        new = self.create_again(pk, "New")
        text = "the organization “Old”, which was deleted, had the same ID"
        self.assertEqual(self.find_reused(), [(new, text)])
        for arguments in ([], ["--fix"]):
            status, output = run_doctor(*arguments)
            self.assertEqual(status, 1)
            self.assertIn(f"error: reused ID: New (ID {pk}): {text}", output)
            self.assertIn("A reused ID cannot be repaired", output)

    def test_a_rename_hides_nothing(self):
        pk = self.delete_organization("First", rename_to="Old")
        new = self.create_again(pk, "New")
        for name in ("Old", "First", "Other"):
            new.name = name
            new.save()
            self.assertEqual(len(self.find_reused()), 1, name)

    def test_each_log_alone_is_enough(self):
        history = Organization.history.model.objects
        pk = self.delete_organization()
        new = self.create_again(pk, "New")
        earlier = history.filter(id=pk, name="Old")
        with self.subTest("deleted, but not created"):
            history.filter(id=pk, history_type="+").delete()
            self.assertEqual(len(self.find_reused()), 1)
        with self.subTest("only the end of memberships"):
            history.filter(id=pk).delete()
            self.assertEqual(len(self.find_reused()), 1)
        with self.subTest("only older events"):
            other_pk = new.pk + 1
            add_event(organization_key=other_pk, event="invited")
            self.create_again(other_pk, "Other")
            self.assertEqual(len(self.find_reused()), 2)
        self.assertFalse(earlier.exists())

    def test_an_organization_that_a_fixture_brings_back_is_no_error(self):
        organization = create_organization("First")
        organization.name = "Second"
        organization.save()
        rows = serializers.serialize(
            "json", [organization.admin, organization.reviewer, organization]
        )
        organization.name = "Third"
        organization.save()
        organization.delete()
        load(rows=rows)
        self.assertEqual(self.find_reused(), [])
        organization = Organization.objects.get()
        organization.name = "Fourth"
        organization.save()
        self.assertEqual(self.find_reused(), [])
        names = organization.history.order_by("history_id").values_list(
            "name", flat=True
        )
        self.assertEqual(
            list(names), ["First", "Second", "Third", "Third", "Second", "Fourth"]
        )

    def test_another_organization_that_a_fixture_brings_is_an_error(self):
        organization = create_organization("Old")
        rows = serializers.serialize(
            "json", [organization.admin, organization.reviewer, organization]
        )
        organization.delete()
        load(rows=rows.replace("Old", "New"))
        self.assertEqual(len(self.find_reused()), 1)

    def test_renamed_and_rejoined_is_no_error(self):
        acme = create_organization("Acme")
        anna = create_user("anna", admin_of=[acme])
        for number in range(3):
            acme.name = f"Acme {number}"
            acme.save()
            anna.username = f"anna-{number}"
            anna.save()
            set_role(acme, [anna], None)
            set_role(acme, [anna], ADMIN, reason="The account was deleted.")
        self.assertEqual(self.find_reused(), [])

    def test_a_slow_clock_is_no_error(self):
        acme = create_organization("Acme")
        record_date = timezone.now() + timedelta(minutes=1)
        acme.history.update(history_date=record_date)
        create_user(admin_of=[acme])
        acme.name = "Acme 2"
        acme.save()
        self.assertEqual(self.find_reused(), [])

    def test_a_user_with_the_key_of_a_deleted_one_is_an_error(self):
        acme = create_organization("Acme")
        olga = create_user("olga", admin_of=[acme])
        pk = olga.pk
        olga.delete()
        new = User(pk=pk, username="new")
        new.save(force_insert=True)
        text = f"new (ID {pk}): the user olga, who was deleted, had the same ID"
        self.assertEqual(self.find_reused(), [(None, text)])
        new.username = "olga"
        new.save()
        self.assertEqual(len(self.find_reused()), 1)

    def test_the_membership_log_is_enough_for_a_user(self):
        pk = create_user().pk + 1
        add_event(user_key=pk, reason="The account was deleted.")
        user = User(pk=pk, username="new")
        # This records nothing, like a release that had no audit log.
        user.save_base(raw=True, force_insert=True)
        self.assertEqual(len(self.find_reused()), 1)

    def test_a_user_that_a_fixture_brings_back_is_no_error(self):
        olga = create_user("olga", admin_of=[create_organization()])
        rows = serializers.serialize("json", [olga])
        olga.delete()
        load(rows=rows)
        self.assertEqual(self.find_reused(), [])
        user = User.objects.get()
        user.username = "maria"
        user.save()
        self.assertEqual(self.find_reused(), [])

    def test_an_erased_person_is_no_error(self):
        olga = create_user("olga", admin_of=[create_organization()])
        erase_person(olga)
        self.assertEqual(self.find_reused(), [])
