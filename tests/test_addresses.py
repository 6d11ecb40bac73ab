"""Usernames and email addresses in several spellings, which mean the same person."""

import io
import os
from contextlib import redirect_stdout
from unittest import mock

from django.core import mail
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, models, transaction
from django.test import (
    SimpleTestCase,
    TestCase,
    override_settings,
    tag,
)

from orgadmin.models import AuditEvent, Invitation, User
from orgadmin.models.addresses import (
    fold_email,
    fold_username,
    is_same_email,
    list_spellings,
    normalize_email,
)
from orgadmin.people import invitations
from orgadmin.records.imports.organizations import import_organizations
from tests.factories import (
    ADMIN,
    REVIEWER,
    as_file,
    create_organization,
    create_superuser,
    create_user,
    run_doctor,
)
from tests.mailing import read_link, send_invitation
from tests.migrating import migrate, models_at
from tests.migration_case import MigrationCase

SAME = [
    ("ada@example.com", "ADA@Example.COM"),
    ("jörg@example.com", "JÖRG@example.com"),
    ("ada@münchen.example", "ada@xn--mnchen-3ya.example"),
    ("ada@münchen.example", "ADA@MÜNCHEN.example"),
    ("ada@straße.example", "ada@xn--strae-oqa.example"),
    ("ada@bücher.münchen.example", "ada@xn--bcher-kva.münchen.example"),
]
# They can belong to different people.
DIFFERENT = [
    ("kim@example.com", "\N{KELVIN SIGN}im@example.com"),
    ("mike@example.com", "mıke@example.com"),
    ("steve@example.com", "\N{LATIN SMALL LETTER LONG S}teve@example.com"),
    ("strasse@example.com", "straße@example.com"),
    ("ada@strasse.example", "ada@straße.example"),
    ("ada@munchen.example", "ada@münchen.example"),
    ("ada@example.com", "аda@example.com"),  # a Cyrillic a
    ("ada@example.com", "ａda@example.com"),
    ("ada@example.com", "ada@example.org"),
    ("ada@a_b.example", "ada@ab.example"),
]
TYPED = {
    "Ada@Example.com": "Ada@example.com",
    "ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ": "ada@example.com",
    "ada@MÜNCHEN.example": "ada@xn--mnchen-3ya.example",
    "ada@münchen。example": "ada@xn--mnchen-3ya.example",
    "ada@straße.example": "ada@xn--strae-oqa.example",
    "\N{KELVIN SIGN}im@example.com": "\N{KELVIN SIGN}im@example.com",
    "ada@i❤.example": "ada@i❤.example",
    "nobody": "nobody",
    "": "",
}

READABLE = "ada@münchen.example"
ENCODED = "ada@xn--mnchen-3ya.example"


class FoldTests(SimpleTestCase):
    @tag("D19")
    def test_spellings_of_one_address_are_the_same(self):
        for first, second in SAME:
            with self.subTest(first=first, second=second):
                self.assertTrue(is_same_email(first, second))

    @tag("D19")
    def test_addresses_that_can_belong_to_different_people_are_not_the_same(self):
        for first, second in DIFFERENT:
            with self.subTest(first=first, second=second):
                self.assertFalse(is_same_email(first, second))

    def test_a_typed_address_gets_its_normal_form(self):
        for typed, expected in TYPED.items():
            with self.subTest(typed):
                self.assertEqual(normalize_email(typed), expected)
                self.assertEqual(normalize_email(expected), expected)

    def test_lists_both_spellings_of_a_domain(self):
        for address in (READABLE, ENCODED, READABLE.upper()):
            self.assertEqual(list_spellings(address), [ENCODED, READABLE])
        for broken in ("ada@xn--.example", "ada", "", "ada@xn--zzzzzzzz99999.example"):
            self.assertEqual(list_spellings(broken), [broken])

    def test_usernames_are_the_same_in_any_case_and_width(self):
        for username in ("ada", "Ada", "ＡＤＡ", "\N{MATHEMATICAL BOLD CAPITAL A}da"):
            self.assertEqual(fold_username(username), "ada")
        self.assertEqual(fold_username("STRASSE"), fold_username("straße"))
        self.assertEqual(fold_username("JÖRG"), fold_username("jo\u0308rg"))
        self.assertNotEqual(fold_username("ada"), fold_username("аda"))

    def test_a_normal_form_fits_into_its_column(self):
        self.assertEqual(len(fold_username("\ufdfa" * 150)), 255)
        self.assertEqual(len(fold_email("x" * 600)), 512)


class UniqueNameTests(TestCase):
    def setUp(self):
        self.ada = create_user("ada", email="ada@example.com")

    def assert_taken(self, **values):
        with self.assertRaises(IntegrityError), transaction.atomic():
            User.objects.create_user(**values)

    @tag("D41")
    def test_the_database_refuses_other_spellings(self):
        create_user("jörg", email=READABLE)
        for username in ("ADA", "ａｄａ", "JÖRG"):
            self.assert_taken(username=username)
        for email in ("ADA@example.com", ENCODED):
            self.assert_taken(username="new", email=email)
        create_user("nobody")
        create_user("nobody2", email="")

    @tag("D41")
    def test_every_way_to_store_a_name_keeps_its_normal_form(self):
        self.ada.username = "Countess"
        self.ada.save(update_fields=["username"])
        User.objects.filter(pk=self.ada.pk).update(email="Countess@Example.com")
        User.objects.bulk_create([User(username="Bert", email="Bert@example.com")])
        for username in ("Countess", "Bert"):
            stored = User.objects.get(username=username)
            self.assertEqual(stored.username_fold, username.lower())
            self.assertEqual(stored.email_fold, f"{username.lower()}@example.com")
        stored.email = ""
        stored.save()
        stored.refresh_from_db()
        self.assertIsNone(stored.email_fold)

    def find_faults(self, **values):
        user = User(password="x", **values)
        with self.assertRaises(ValidationError) as caught:
            user.full_clean()
        return caught.exception.message_dict

    @tag("D41")
    def test_forms_say_what_is_taken(self):
        faults = self.find_faults(username="ADA")
        self.assertIn("Someone else has this username.", str(faults["username"]))
        create_user("jörg", email=READABLE)
        faults = self.find_faults(username="new", email=ENCODED)
        self.assertIn("Someone else has this email address.", str(faults["email"]))

    @tag("D41")
    def test_a_username_is_not_the_address_of_someone_else(self):
        faults = self.find_faults(username="ADA@example.com")
        self.assertIn("the email address of someone else", str(faults["username"]))
        self.ada.username = "ada@example.com"
        self.ada.full_clean()

    @tag("D41")
    def test_an_address_is_not_what_someone_else_needs_to_sign_in(self):
        bert = create_user("bert@example.com")
        faults = self.find_faults(username="new", email="Bert@example.com")
        self.assertIn("signs in with this address", str(faults["email"]))
        bert.email = "other@example.com"
        bert.save()
        User(username="new", email="Bert@example.com", password="x").full_clean()

    @tag("D41")
    def test_pages_say_what_is_taken(self):
        self.client.force_login(create_superuser())
        data = {
            "username": "ADA",
            "password1": "ab8&Zq!uvw-12",
            "password2": "ab8&Zq!uvw-12",
        }
        response = self.client.post("/admin/orgadmin/user/add/", data)
        self.assertIn("username", response.context["adminform"].form.errors)

    @tag("D41")
    def test_createsuperuser_says_what_is_taken(self):
        for username, email, error in (
            ("ADA", "new@example.com", "already taken"),
            ("ada@EXAMPLE.com", "new@example.com", "email address of someone else"),
            ("new", "ADA@example.com", "Someone else has the email address"),
        ):
            environment = {"DJANGO_SUPERUSER_PASSWORD": "plum kettle violin"}
            with (
                self.subTest(username=username, email=email),
                mock.patch.dict(os.environ, environment),
                self.assertRaisesRegex(CommandError, error),
            ):
                call_command(
                    "createsuperuser", "--no-input", username=username, email=email
                )
        self.assertEqual(User.objects.count(), 1)

    def test_commands_find_people_in_any_case(self):
        acme = create_organization("Acme")
        out = io.StringIO()
        with self.assertRaises(SystemExit), redirect_stdout(out):
            call_command("explain", "ADA", str(acme.pk), stdout=out)
        self.assertIn("ada", out.getvalue())


class PreviousReleaseTests(TestCase):
    """Rows that the previous release writes during the upgrade."""

    def setUp(self):
        self.ada = create_user("Ada", email=READABLE, is_staff=True)
        self.write(username_fold=None, email_fold=None)

    def write(self, **values):
        """Write a row as the previous release does."""
        models.QuerySet(User).filter(pk=self.ada.pk).update(**values)

    def signs_in(self, name):
        data = {"username": name, "password": "secret"}
        self.client.post("/admin/login/", data)
        signed_in = "_auth_user_id" in self.client.session
        self.client.logout()
        return signed_in

    @tag("D41")
    def test_people_are_found(self):
        for name in ("Ada", READABLE, ENCODED, READABLE.upper()):
            with self.subTest(name):
                self.assertTrue(self.signs_in(name))
        self.assertEqual(User.objects.find_by_email(ENCODED), self.ada)

    @tag("D41")
    def test_outdated_normal_forms_mislead_nobody(self):
        self.write(username_fold="bert", email_fold="bert@example.com")
        for name in ("bert", "bert@example.com"):
            self.assertFalse(self.signs_in(name))
        self.assertTrue(self.signs_in("Ada"))
        self.assertIsNone(User.objects.find_by_email("bert@example.com"))

    @tag("D41")
    def test_the_doctor_repairs_normal_forms(self):
        for values in (
            {"username_fold": None, "email_fold": None},
            {"username_fold": "bert", "email_fold": "bert@example.com"},
            {"email": "", "email_fold": "bert@example.com"},
        ):
            self.write(**values)
            status, out = run_doctor()
            self.assertEqual(status, 1)
            self.assertIn("outdated normal form", out)
            self.assertEqual(run_doctor("--fix")[0], 0)
            self.assertEqual(run_doctor()[0], 0)
            self.ada.refresh_from_db()
            self.assertEqual(self.ada.username_fold, "ada")
            expected = ENCODED if self.ada.email else None
            self.assertEqual(self.ada.email_fold, expected)

    @tag("D41")
    def test_the_doctor_reports_people_who_cannot_be_told_apart(self):
        create_user("bert")
        self.write(username="BERT")
        status, out = run_doctor("--fix")
        self.assertEqual(status, 1)
        self.assertIn("“BERT” and “bert”", out)
        self.ada.refresh_from_db()
        self.assertIsNone(self.ada.username_fold)

    def test_the_doctor_notes_usernames_that_are_the_address_of_someone_else(self):
        create_user(ENCODED)
        status, out = run_doctor("--fix")
        self.assertEqual(status, 0)
        self.assertIn("is the email address of “Ada”", out)


class FollowTests(TestCase):
    """A username that was made from the email address."""

    def setUp(self):
        acme = create_organization()
        invitation = invitations.invite(
            acme, "nora@example.com", ADMIN, actor=create_superuser()
        )
        send_invitation(invitation)
        link = read_link()
        password = "correct horse battery"
        self.client.post(link, {"new_password1": password, "new_password2": password})
        self.nora = User.objects.get(email="nora@example.com")

    def change_email(self, email):
        user = User.objects.get(pk=self.nora.pk)
        user.email = email
        user.save()
        self.nora.refresh_from_db()

    def test_follows_the_address(self):
        self.assertEqual(self.nora.username, "nora@example.com")
        self.change_email("nora@new.example")
        self.assertEqual(self.nora.username, "nora@new.example")
        self.assertEqual(self.nora.username_fold, "nora@new.example")
        events = AuditEvent.objects.about(self.nora).filter(event="username changed")
        self.assertEqual(events.count(), 1)

    def test_stays_if_the_new_one_is_taken_or_the_address_is_removed(self):
        create_user("NORA@new.example")
        self.change_email("nora@new.example")
        self.assertEqual(self.nora.username, "nora@example.com")

    def test_stays_if_the_address_is_removed(self):
        self.change_email("")
        self.assertEqual(self.nora.username, "nora@example.com")

    def test_stays_if_it_was_chosen(self):
        User.objects.filter(pk=self.nora.pk).update(username="nora")
        self.change_email("nora@new.example")
        self.assertEqual(self.nora.username, "nora")


class SpellingsMeetTests(TestCase):
    """An account and an invitation whose domains are spelled differently."""

    def setUp(self):
        self.acme = create_organization("Acme")
        self.root = create_superuser()

    @tag("D19")
    def test_an_invitation_is_stored_in_its_normal_form(self):
        self.client.force_login(self.root)
        page = f"/admin/orgadmin/organization/{self.acme.pk}/people/"
        for typed in ("ＡＤＡ＠münchen.example", "ada@XN--MNCHEN-3YA.example"):
            data = {"add": "1", "add-who": typed, "add-role": "reviewer"}
            self.client.post(page, data)
            self.assertEqual(Invitation.objects.get().email, ENCODED)

    @tag("D19")
    def test_an_account_accepts_an_invitation_to_the_other_spelling(self):
        for number, (first, second) in enumerate(((READABLE, ENCODED),) * 2):
            if number:
                first, second = second, first
            user = create_user(f"ada{number}", email=first)
            invitation = invitations.invite(
                self.acme, second, REVIEWER, actor=self.root
            )
            send_invitation(invitation)
            self.client.force_login(user)
            self.client.post(read_link())
            self.assertTrue(user.groups.contains(self.acme.reviewer))
            user.delete()

    @tag("D19")
    def test_an_invitation_of_the_previous_release_is_found(self):
        user = create_user("ada", email=ENCODED)
        Invitation.objects.create(
            organization=self.acme, email=READABLE, role="admin", invited_by=self.root
        )
        self.assertEqual(len(invitations.find_invitations(user.email)), 1)
        invitations.invite(self.acme, ENCODED, REVIEWER, actor=self.root)
        self.assertEqual(Invitation.objects.get().role, "reviewer")

    @tag("D19")
    def test_an_invitation_to_an_address_that_looks_the_same_is_not_found(self):
        invitations.invite(
            self.acme, "\N{KELVIN SIGN}im@example.com", ADMIN, actor=self.root
        )
        self.assertEqual(invitations.find_invitations("kim@example.com"), [])

    def test_a_password_reset_finds_the_other_spelling(self):
        create_user("ada", email=READABLE)
        for typed in (ENCODED, READABLE, "ＡＤＡ＠münchen.example"):
            mail.outbox.clear()
            self.client.post("/admin/password_reset/", {"email": typed})
            self.assertEqual([message.to for message in mail.outbox], [[ENCODED]])

    @tag("D19")
    def test_an_import_finds_the_other_spelling(self):
        ada = create_user("ada", email=READABLE)
        steve = create_user("steve", email="steve@example.com")
        for user in (ada, steve):
            user.verify_email()
        file = as_file(
            f"name,admins\nBolt,ada@XN--mnchen-3ya.example {READABLE}"
            " \N{LATIN SMALL LETTER LONG S}teve@example.com\n"
        )
        import_organizations(file, actor=self.root, send_mail=True)
        bolt = ada.groups.get().administrators_of
        self.assertEqual(bolt.name, "Bolt")
        self.assertFalse(steve.groups.exists())


@override_settings(SECOND_FACTOR="off")
class MigrationTests(MigrationCase):
    """What the migrations do with existing people."""

    step = "0038"

    def setUp(self):
        super().setUp()
        self.users = models_at("0038_accepted_invitation")("orgadmin", "User").objects

    @tag("D41")
    def test_fill_the_normal_forms_of_everyone(self):
        for number in range(3):
            self.users.create(username=f"Ada{number}", email=f"ADA{number}@x.example")
        self.users.create(username="jörg", email=READABLE)
        self.users.create(username="bert")
        migrate()
        for user in User.objects.all():
            self.assertEqual(user.username_fold, fold_username(user.username))
            self.assertEqual(user.email_fold, fold_email(user.email) or None)
        migrate("0038")
        migrate()

    @tag("D41")
    def test_report_people_who_cannot_be_told_apart_and_change_nothing(self):
        for username, email in (
            ("ada", READABLE),
            ("ADA", ENCODED),
            ("Ａda", ""),
            ("bert", ""),
        ):
            self.users.create(username=username, email=email)
        with self.assertRaises(IntegrityError) as caught:
            migrate()
        text = str(caught.exception)
        self.assertIn("'ada', 'ADA', 'Ａda'", text)
        self.assertIn(f"'{READABLE}', '{ENCODED}'", text)
        self.assertIn("Nothing was changed.", text)
        self.assertNotIn("bert", text)
        self.users.filter(username="ADA").update(username="countess", email="")
        self.users.filter(username="Ａda").delete()
        migrate()
        self.assertEqual(User.objects.get(username="ada").email_fold, ENCODED)
