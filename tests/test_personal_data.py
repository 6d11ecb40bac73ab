"""Exporting and erasing what is stored about a person."""

import io
import json
from datetime import timedelta
from functools import partial
from unittest import mock, skipUnless

from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP
from allauth.socialaccount.models import SocialAccount
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection, models, transaction
from django.db.utils import DatabaseError
from django.test import (
    Client,
    SimpleTestCase,
    TestCase,
    TransactionTestCase,
    override_settings,
    tag,
)
from django.utils import timezone

from orgadmin.access import audit_log
from orgadmin.access.audit_log import SecurityEvent
from orgadmin.accounts import throttle
from orgadmin.accounts.reset_mail import answer_request
from orgadmin.models import (
    AcceptedInvitation,
    AccessRequest,
    AccessReview,
    AuditEvent,
    Contact,
    Import,
    ImportPart,
    Invitation,
    MembershipEvent,
    Organization,
    ReviewAnswer,
    ReviewNotice,
    ReviewScope,
    User,
)
from orgadmin.models.guards import LastSuperuserError
from orgadmin.models.look_alikes import make_key
from orgadmin.people import invitations, mail, outbox
from orgadmin.people.review_decisions import Decision, decide
from orgadmin.people.review_items import prepare
from orgadmin.people.reviews import start_review
from orgadmin.records import erasure, personal_data
from tests.auditing import write_typed_name
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    grant,
    set_role,
)
from tests.mailing import queues_mail, send_invitation
from tests.together import run_together

SECRET = "JBSWY3DPEHPK3PXP" * 2

# Everything that names the person to erase.
NEEDLES = [
    "zquillfeather",
    "zoë",
    "zo\\u00eb",
    "quillfeather",
    "z.quill@example.net",
    "zq@old.example.org",
]


def dump_database():
    """Return {table: all its rows as one text in lower case}.

    The content of sessions is included as it is before it is encoded.
    """
    texts = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            texts[table] = str(cursor.fetchall()).lower()
    sessions = [session.get_decoded() for session in Session.objects.all()]
    texts["decoded sessions"] = str(sessions).lower()
    parts = [part.read_text() for part in ImportPart.objects.all()]
    texts["decoded parts of imports"] = str(parts).lower()
    return texts


def find_needles():
    """Return the tables that name the person, each with what was found there."""
    found = {}
    for table, text in dump_database().items():
        needles = [needle for needle in NEEDLES if needle in text]
        if needles:
            found[table] = needles
    return found


class PersonCase(TestCase):
    """A person who left traces in every table, and people who did not."""

    def setUp(self):
        self.root = create_superuser("root", email="root@example.com")
        self.acme = create_organization(
            "Acme",
            email="z.quill@example.net",
            notes="Ask Zoë Quillfeather (Z.Quill@example.net). Not zz.quill@x.example.",
        )
        self.other = create_organization("Other", notes="Ask Zoe Quill.")
        with self.captureOnCommitCallbacks(execute=True):
            self.zoe = self.create_person()
            self.leave_traces()

    def create_person(self):
        user = create_user(
            "zquillfeather",
            first_name="Zoë",
            last_name="Quillfeather",
            email="ZQ@old.example.org",
            permissions=["add_user"],
        )
        user.verify_email()
        user.email = "Z.Quill@example.net"
        user.changed_by = self.root
        user.save()
        user.verify_email()
        return user

    def leave_traces(self):
        zoe = self.zoe
        acme = self.acme
        ben = create_user("ben", email="ben@example.com")
        invitations.invite(acme, "zq@old.example.org", ADMIN, actor=self.root)
        set_role(
            acme, [zoe], ADMIN, actor=self.root, reason="Zoë replaces her brother."
        )
        set_role(acme, [ben], REVIEWER, actor=zoe, reason="As z.quill@example.net said")
        invitations.invite(self.other, "z.quill@example.net", ADMIN, actor=self.root)
        invitations.invite(acme, "carl@example.com", REVIEWER, actor=zoe)
        invitations.invite(acme, "dora@example.com", REVIEWER, actor=self.root)
        grant(zoe, "view_organization", self.other)
        AcceptedInvitation.objects.create(
            token_hash="hash", user=zoe, organization=self.acme
        )
        AccessRequest.objects.create(
            user=zoe,
            organization=self.other,
            organization_name="Other",
            role="reviewer",
            reason="Zoë Quillfeather needs it.",
        )
        acme.contacts.create(name="Zoë Quillfeather", email="z.quill@example.net")
        acme._history_user = zoe
        acme.phone = "1"
        acme.save()
        SocialAccount.objects.create(user=zoe, provider="company", uid="1")
        EmailAddress.objects.create(user=zoe, email="z.quill@example.net")
        TOTP.activate(zoe, SECRET)
        self.log(self.root, zoe, "zquillfeather")
        self.log(zoe, ben, "ben")
        message = [{"added": {"name": "contact", "object": "Zoë Quillfeather"}}]
        self.log(zoe, acme, "Acme", message)
        message = [{"changed": {"fields": ["ZQuillfeather"]}}]
        self.log(self.root, acme, "Acme", message)
        write_typed_name("z.quill@example.net")
        audit_log.record(
            SecurityEvent.PROVIDER_REFUSED,
            user=ben,
            actor=zoe,
            personal={"email": "z.quill@example.net"},
        )
        throttle.count_attempt("mail", "z.quill@example.net")
        self.leave_mail()
        self.leave_review(ben)
        self.leave_imports()
        self.browser = Client()
        self.browser.force_login(zoe)

    def leave_review(self, ben):
        """Create access reviews about the person, and decisions by the person."""
        due_on = timezone.localdate() + timedelta(days=30)
        review = start_review(ReviewScope.ALL, due_on=due_on)
        # The person was a superuser then.
        AccessReview.objects.update(
            started_by_key=self.zoe.pk,
            started_by_name=str(self.zoe),
            closed_by_key=self.zoe.pk,
            closed_by_name=str(self.zoe),
        )
        prepare(review.pk)
        section = review.sections.get(organization_key=self.acme.pk)
        [item] = section.items.filter(user_key=ben.pk)
        reason = "As Z.Quill@example.net says"
        for number in range(2):
            decision = Decision(item.pk, ReviewAnswer.CONFIRMED, number=number)
            decide(section, [decision], actor=self.zoe, reason=reason)
        ReviewNotice.objects.create(
            review=review,
            organization_key=self.acme.pk,
            user_key=self.zoe.pk,
            user_name="zquillfeather",
            kind="start",
        )

    def leave_imports(self):
        """Create imports by the person, and others that contain the person."""
        for actor in (self.zoe, self.root):
            for state in (Import.State.WAITING, Import.State.DONE):
                stored = Import.objects.create(
                    actor_key=actor.pk, file_name="Zoë Quillfeather.csv", state=state
                )
                content = ImportPart.pack([["New", "z.quill@example.net"]])
                stored.parts.create(kind="changes", number=0, content=content)

    def leave_mail(self):
        """Add mail to the outbox: three messages to the person, and one about them."""
        ben = User.objects.get(username="ben")
        invitation = Invitation.objects.get(email="zq@old.example.org")
        values = {"organization": self.acme.pk, "role": "admin"}
        with queues_mail():
            send_invitation(invitation)
            outbox.enqueue(answer_request, address="Z.Quill@example.net")
            outbox.enqueue(mail.tell_member, person=self.zoe.pk, **values)
            outbox.enqueue(mail.tell_admin, user=ben.pk, person=self.zoe.pk, **values)

    def log(self, user, obj, text, message=""):
        LogEntry.objects.create(
            user=user,
            content_type=ContentType.objects.get_for_model(obj),
            object_id=obj.pk,
            object_repr=text,
            action_flag=CHANGE,
            change_message=json.dumps(message),
        )

    def erase(self, *options, answer=""):
        """Run the command, and return what it printed."""
        out = io.StringIO()
        with (
            self.captureOnCommitCallbacks(execute=True),
            mock.patch("builtins.input", return_value=answer),
        ):
            call_command("erase_person", "zquillfeather", *options, stdout=out)
        return out.getvalue()

    def export(self):
        out = io.StringIO()
        errors = io.StringIO()
        call_command("export_person", "zquillfeather", stdout=out, stderr=errors)
        return json.loads(out.getvalue())


class ExportTests(PersonCase):
    @tag("D36")
    def test_each_section_has_what_is_stored(self):
        exported = self.export()
        self.assertEqual(exported["format"], "orgadmin person 1")
        account = exported["account"]
        self.assertEqual(account["username"], "zquillfeather")
        self.assertEqual(account["earlier_addresses"], ["zq@old.example.org"])
        self.assertTrue(account["has_password"])
        counts = {
            name: len(rows) for name, rows in exported.items() if type(rows) is list
        }
        self.assertGreaterEqual(counts.pop("audit_log"), 5)
        expected = {
            "roles": 1,
            "permissions": 2,
            "membership_log": 5,
            # A role, and a permission on the other organization.
            "access_reviews": 2,
            "review_answers": 5,
            "imports": 2,
            "history": 1,
            "admin_log": 3,
            "invitations": 3,
            "accepted_invitations": 1,
            "access_requests": 1,
            "contacts": 1,
            "second_factors": 1,
            "company_accounts": 1,
            "email_addresses": 1,
            "sessions": 1,
            "attempts": 2,
            "unsent_mail": 3,
        }
        self.assertEqual(counts, expected)

    @tag("D36")
    def test_it_has_no_secrets_and_names_nobody_else(self):
        text = json.dumps(self.export())
        for secret in (
            self.zoe.password,
            SECRET,
            "fernet:",
            self.browser.session.session_key,
            "ben@example.com",
            "carl@example.com",
            '"ben"',
            '"root"',
        ):
            self.assertNotIn(secret, text)

    @tag("D36")
    def test_the_export_is_recorded(self):
        self.export()
        event = AuditEvent.objects.latest("pk")
        self.assertEqual(event.event, SecurityEvent.PERSON_EXPORTED)
        self.assertEqual(event.user_key, self.zoe.pk)


class ErasureTests(PersonCase):
    @tag("D36")
    def test_nothing_in_the_database_names_the_person(self):
        traces = {
            "account_emailaddress",
            "django_admin_log",
            "orgadmin_auditevent",
            "orgadmin_contact",
            "orgadmin_historicalorganization",
            "orgadmin_import",
            "decoded parts of imports",
            "orgadmin_invitation",
            "orgadmin_membershipevent",
            "orgadmin_organization",
            "orgadmin_user",
        }
        self.assertGreaterEqual(find_needles().keys(), traces)
        self.erase("--yes", "--replace-texts")
        self.assertEqual(find_needles(), {})
        # What others have imported remains as an entry of the list.
        self.assertEqual(Import.objects.filter(state=Import.State.DONE).count(), 2)

    @tag("D36")
    def test_the_logs_still_explain_every_membership(self):
        self.erase("--yes")
        pseudonym = f"erased-{self.zoe.pk}"
        events = MembershipEvent.objects.filter(user_key=self.zoe.pk).order_by("pk")
        self.assertEqual([event.event for event in events], ["joined", "left"])
        self.assertEqual({event.user_name for event in events}, {pseudonym})
        self.assertIn("replaces her brother", events[0].reason)
        version = Organization.history.get(history_user=self.zoe.pk)
        self.assertEqual(version.phone, "1")
        user = User.objects.get(pk=self.zoe.pk)
        self.assertEqual(
            (str(user), user.username_key), (pseudonym, make_key(pseudonym))
        )
        self.assertTrue(LogEntry.objects.filter(user=self.zoe.pk).exists())
        self.assertEqual(list(audit_log.verify()), [])
        event = AuditEvent.objects.latest("pk")
        self.assertEqual(event.event, SecurityEvent.PERSON_ERASED)
        self.assertEqual((event.user_key, event.user_name), (self.zoe.pk, pseudonym))

    @tag("D36")
    def test_others_keep_what_is_theirs(self):
        self.erase("--yes", "--replace-texts")
        self.acme.refresh_from_db()
        self.assertEqual(
            self.acme.notes,
            f"Ask erased-{self.zoe.pk} (erased-{self.zoe.pk}). Not zz.quill@x.example.",
        )
        self.assertEqual(self.acme.email, "")
        self.other.refresh_from_db()
        self.assertEqual(self.other.notes, "Ask Zoe Quill.")
        # Invitations that the person sent end with their access. Others stay.
        emails = list(Invitation.objects.values_list("email", flat=True))
        self.assertEqual(emails, ["dora@example.com"])
        self.assertTrue(
            MembershipEvent.objects.filter(user_name="ben", event="joined").exists()
        )

    @tag("D36")
    def test_a_username_that_is_a_word_of_the_admin_log_breaks_no_message(self):
        user = create_user("fields", first_name="changed")
        message = [{"changed": {"fields": ["Fields", "Phone"]}}]
        self.log(user, self.other, "Other", message)
        report = erasure.erase_person(user, replaces_texts=True)
        entry = LogEntry.objects.get(user=user)
        expected = f"Changed {report.pseudonym} and Phone."
        self.assertEqual(entry.get_change_message(), expected)

    @tag("D36")
    def test_a_text_that_becomes_longer_still_fits(self):
        user = create_user("x", first_name="A", last_name="B", email="a@b.de")
        self.other.address = "A B " * 250
        self.other.save()
        self.log(self.root, self.other, "x " * 100)
        pseudonym = erasure.erase_person(user, replaces_texts=True).pseudonym
        self.other.refresh_from_db()
        self.assertTrue(self.other.address.startswith(f"{pseudonym} {pseudonym} "))
        self.assertLessEqual(len(self.other.address), 1000)

    @tag("D36")
    def test_the_person_has_no_access_left(self):
        self.assertEqual(self.browser.get("/admin/").status_code, 200)
        self.erase("--yes")
        self.assertEqual(self.browser.get("/admin/").status_code, 302)
        user = User.objects.get(pk=self.zoe.pk)
        self.assertFalse(user.is_active or user.has_usable_password())
        self.assertFalse(Organization.objects.permitted(user).exists())
        self.assertFalse(user.groups.exists() or user.user_permissions.exists())
        self.assertFalse(SocialAccount.objects.exists())
        self.assertFalse(AcceptedInvitation.objects.exists())
        self.assertFalse(AccessRequest.objects.exists())
        self.assertFalse(Contact.objects.exists())

    @tag("D36")
    def test_a_dry_run_prints_the_same_report_and_changes_nothing(self):
        before = dump_database()
        planned = self.erase("--dry-run")
        self.assertEqual(dump_database(), before)
        self.assertIn(f"would become “erased-{self.zoe.pk}”", planned)
        self.assertIn(f"No active admin remains: Acme (ID {self.acme.pk})", planned)
        done = self.erase("--yes")
        self.assertEqual(done.splitlines()[1:], planned.splitlines()[1:])

    @tag("D36")
    def test_the_command_asks_for_the_username(self):
        with self.assertRaisesMessage(CommandError, "Nothing was changed"):
            self.erase(answer="y")
        self.assertTrue(User.objects.filter(username="zquillfeather").exists())
        self.erase(answer="zquillfeather")
        self.assertFalse(User.objects.filter(username="zquillfeather").exists())

    @tag("D36")
    def test_the_last_active_superuser_is_kept(self):
        create_superuser("gone", is_active=False)
        with self.assertRaises(LastSuperuserError):
            erasure.erase_person(self.root)
        create_superuser("second")
        erasure.erase_person(self.root)

    @tag("D36")
    def test_an_earlier_address_that_someone_else_has_is_theirs(self):
        create_user("heir", email="zq@old.example.org")
        self.erase("--yes")
        self.assertTrue(Invitation.objects.filter(email__startswith="zq@old").exists())
        self.assertTrue(User.objects.filter(email="zq@old.example.org").exists())

    def test_a_second_erasure_finds_nothing(self):
        self.erase("--yes", "--replace-texts")
        report = erasure.erase_person(User.objects.get(pk=self.zoe.pk))
        self.assertEqual(report.pseudonym, f"erased-{self.zoe.pk}")
        self.assertEqual(find_needles(), {})

    @tag("D36")
    def test_both_logs_stay_append_only_otherwise(self):
        self.erase("--yes")
        if connection.vendor != "postgresql":
            return
        statements = (
            "UPDATE orgadmin_membershipevent SET user_name = 'x'",
            "UPDATE orgadmin_auditevent SET user_name = 'x'",
            "SET LOCAL orgadmin.erasing = 'on';"
            " UPDATE orgadmin_membershipevent SET role = 'x'",
            "SET LOCAL orgadmin.erasing = 'on'; DELETE FROM orgadmin_membershipevent",
        )
        for statement in statements:
            with (
                self.subTest(statement),
                self.assertRaises(DatabaseError),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(statement)


class MistakenIdentityTests(PersonCase):
    """Data that is not about the person is kept, and not exported."""

    def put_address_of_another(self):
        """Someone puts the address of another person on their account."""
        self.acme.contacts.create(name="Victor", email="victor@example.com")
        with self.captureOnCommitCallbacks(execute=True):
            invitations.invite(
                self.other, "victor@example.com", REVIEWER, actor=self.root
            )
            self.zoe.refresh_from_db()
            self.zoe.email = "victor@example.com"
            self.zoe.save()

    @tag("D36")
    def test_an_address_that_nobody_verified_exports_nothing(self):
        self.put_address_of_another()
        exported = self.export()
        self.assertEqual(exported["account"]["email"], "victor@example.com")
        for section in ("contacts", "invitations", "membership_log"):
            self.assertNotIn("victor", json.dumps(exported[section]).lower())
        # It does not hide what the account really received before.
        self.assertEqual(len(exported["contacts"]), 1)

    @tag("D36")
    def test_an_address_that_nobody_verified_erases_nothing_of_its_owner(self):
        self.put_address_of_another()
        report = self.erase("--yes", "--replace-texts")
        self.assertIn("Not included", report)
        self.assertIn("victor@example.com (3 rows)", report)
        self.assertTrue(Contact.objects.filter(name="Victor").exists())
        self.assertTrue(Invitation.objects.filter(email="victor@example.com").exists())
        events = MembershipEvent.objects.filter(user_name="victor@example.com")
        self.assertTrue(events.exists())
        self.assertEqual(User.objects.get(pk=self.zoe.pk).email, "")

    @tag("D36")
    def test_an_address_that_databases_take_for_that_of_another_is_not(self):
        for letter, written_as in (("k", "\N{KELVIN SIGN}"), ("s", "\u017f")):
            name = f"{letter}im"
            address = f"{name}@example.com"
            similar = f"{written_as}im@example.com"
            self.acme.contacts.create(name=name, email=address)
            with self.captureOnCommitCallbacks(execute=True):
                invitations.invite(self.other, address, REVIEWER, actor=self.root)
            self.zoe.refresh_from_db()
            self.zoe.email = similar
            self.zoe.save()
            self.zoe.verify_email()
            self.acme.contacts.create(name="Zoë", email=similar)
            with self.subTest(letter=letter):
                person = personal_data.find_person(self.zoe)
                self.assertIn(similar, person.addresses)
                exported = json.dumps(self.export(), ensure_ascii=False)
                self.assertNotIn(address, exported)
        self.erase("--yes")
        self.assertEqual(Contact.objects.filter(name="Zoë").count(), 0)
        self.assertEqual(Contact.objects.filter(name__in=("kim", "sim")).count(), 2)
        for address in ("kim@example.com", "sim@example.com"):
            self.assertTrue(Invitation.objects.filter(email=address).exists())
            events = MembershipEvent.objects.filter(user_name=address)
            self.assertTrue(events.exists())

    @tag("D36")
    def test_an_earlier_address_that_nobody_verified_is_not_included(self):
        self.put_address_of_another()
        self.zoe.email = "new@example.net"
        self.zoe.save()
        self.zoe.verify_email()
        person = personal_data.find_person(self.zoe)
        self.assertNotIn("victor@example.com", person.addresses)
        self.assertEqual(
            person.addresses,
            {"new@example.net", "z.quill@example.net", "zq@old.example.org"},
        )
        self.assertEqual(person.other_addresses, {"victor@example.com"})

    @tag("D36")
    def test_a_superuser_can_include_an_address(self):
        self.put_address_of_another()
        self.erase("--yes", "--include", "Victor@Example.com")
        self.assertFalse(Contact.objects.filter(name="Victor").exists())

    @tag("D36")
    def test_no_other_address_can_be_included(self):
        self.acme.contacts.create(name="Ben", email="ben@example.com")
        self.erase("--yes", "--include", "ben@example.com")
        self.assertTrue(Contact.objects.filter(name="Ben").exists())

    @tag("D36")
    def test_a_name_like_that_of_an_organization_changes_no_text_about_it(self):
        notes = "Acme GmbH pays late. Notes on the company."
        self.other.notes = notes
        self.other.save()
        user = create_user("notes", first_name="Acme", last_name="GmbH")
        ben = User.objects.get(username="ben")
        set_role(self.other, [ben], ADMIN, reason="Acme GmbH asked for it. See notes.")
        self.log(self.root, self.other, "Acme GmbH", [{"added": {"name": "notes"}}])
        before = self.read_texts()
        report = erasure.erase_person(user)
        self.assertEqual(self.read_texts(), before)
        found = {str(texts.label): texts.keys for texts in report.texts}
        self.assertIn(
            (self.other.pk,),
            [keys for label, keys in found.items() if "notes of org" in label],
        )
        self.assertGreaterEqual(len(found), 3)

    def read_texts(self):
        return [
            *Organization.objects.order_by("pk").values_list("notes", "address"),
            *Organization.history.order_by("pk").values_list("notes", "address"),
            *MembershipEvent.objects.order_by("pk").values_list("reason"),
            *LogEntry.objects.order_by("pk").values_list(
                "object_repr", "change_message"
            ),
        ]

    @tag("D36")
    def test_the_author_is_replaced_by_key_without_the_option(self):
        self.erase("--yes")
        pseudonym = f"erased-{self.zoe.pk}"
        authors = MembershipEvent.objects.filter(actor_key=self.zoe.pk)
        self.assertEqual({event.actor_name for event in authors}, {pseudonym})
        versions = Organization.history.filter(history_user_key=self.zoe.pk)
        self.assertEqual({row.history_user_name for row in versions}, {pseudonym})
        about = LogEntry.objects.filter(
            content_type=ContentType.objects.get_for_model(User),
            object_id=str(self.zoe.pk),
        )
        self.assertEqual({entry.object_repr for entry in about}, {pseudonym})
        self.acme.refresh_from_db()
        self.assertIn("Zoë Quillfeather", self.acme.notes)


class RaceTests(TransactionTestCase):
    """Two erasures that begin at the same time."""

    @skipUnless(connection.vendor == "postgresql", "only PostgreSQL has two writers")
    @tag("D36")
    def test_two_superusers_cannot_erase_each_other_at_the_same_time(self):
        users = [create_superuser("root"), create_superuser("second")]

        def is_refused(user, actor):
            try:
                erasure.erase_person(user, actor=actor)
            except LastSuperuserError:
                return True
            return False

        refusals = run_together(
            partial(is_refused, *users), partial(is_refused, *reversed(users))
        )
        self.assertEqual(sorted(refusals), [False, True])
        active = User.objects.filter(is_superuser=True, is_active=True)
        self.assertEqual(active.count(), 1)


@override_settings(SECOND_FACTOR="off")
class PageTests(PersonCase):
    def setUp(self):
        super().setUp()
        self.client.force_login(self.root)
        self.url = f"/admin/orgadmin/user/{self.zoe.pk}/"

    @tag("D36")
    def test_the_pages_list_what_a_superuser_has_to_decide(self):
        self.zoe.refresh_from_db()
        self.zoe.email = "victor@example.com"
        self.zoe.save()
        self.acme.contacts.create(name="Victor", email="victor@example.com")
        for page in ("erase/", "export/"):
            response = self.client.get(self.url + page)
            self.assertContains(response, "Include victor@example.com (1 entry)")
        response = self.client.get(f"{self.url}erase/")
        self.assertContains(response, "Also replace the name")
        self.assertContains(response, f"(IDs of organizations): 1 ({self.acme.pk})")
        self.acme.refresh_from_db()
        self.assertIn("Zoë Quillfeather", self.acme.notes)
        response = self.client.post(
            f"{self.url}export/", {"include": "victor@example.com"}
        )
        content = b"".join(response.streaming_content).decode()
        self.assertIn("Victor", content)
        data = {"username": "zquillfeather", "include": "victor@example.com"}
        confirmed = {"confirmed_organizations": str(self.acme.pk)}
        self.client.post(
            f"{self.url}erase/", data | confirmed | {"replace_texts": "on"}
        )
        self.acme.refresh_from_db()
        self.assertNotIn("Zoë Quillfeather", self.acme.notes)
        self.assertFalse(Contact.objects.filter(name="Victor").exists())

    @tag("D36")
    def test_superusers_download_the_export(self):
        self.assertContains(self.client.get(f"{self.url}export/"), "as JSON")
        response = self.client.post(f"{self.url}export/")
        self.assertIn("attachment", response["Content-Disposition"])
        exported = json.loads(b"".join(response.streaming_content))
        self.assertEqual(exported["account"]["username"], "zquillfeather")
        event = AuditEvent.objects.latest("pk")
        self.assertEqual(event.actor_key, self.root.pk)

    @tag("D36")
    def test_superusers_erase_after_they_entered_the_username(self):
        page = f"{self.url}erase/"
        self.assertContains(self.client.get(page), f"erased-{self.zoe.pk}")
        response = self.client.post(page, {"username": "other"})
        self.assertContains(response, "Nothing was erased")
        self.assertTrue(User.objects.filter(username="zquillfeather").exists())
        data = {"username": "zquillfeather", "confirmed_organizations": self.acme.pk}
        data["replace_texts"] = "on"
        response = self.client.post(page, data, follow=True)
        self.assertContains(response, "The person was erased")
        self.assertEqual(find_needles(), {})

    @tag("D36")
    def test_nobody_erases_themselves(self):
        create_superuser("second")
        page = f"/admin/orgadmin/user/{self.root.pk}/erase/"
        response = self.client.post(page, {"username": "root"}, follow=True)
        self.assertContains(response, "You cannot erase yourself")
        self.assertTrue(User.objects.filter(username="root").exists())

    @tag("D36")
    def test_others_get_the_response_for_a_missing_person(self):
        manager = create_user(
            "manager",
            is_staff=True,
            permissions=["view_user", "change_user", "delete_user"],
        )
        for user in (manager, create_user("ada", admin_of=[self.other])):
            self.client.force_login(user)
            for page in ("export", "erase"):
                for method in (self.client.get, self.client.post):
                    response = method(f"{self.url}{page}/")
                    self.assertRedirects(response, "/admin/")


class CoverageTests(SimpleTestCase):
    """A new table or a new field of users is not forgotten."""

    # The tables that contain texts or belong to users, and why these are all handled.
    HANDLED = {
        "account.EmailAddress": "exported and deleted",
        "account.EmailConfirmation": "deleted with its address; never used",
        "admin.LogEntry": "exported, and names are replaced",
        "auth.Group": "names no people",
        "auth.Permission": "names no people",
        "contenttypes.ContentType": "names no people",
        "django_tasks_database.DBTaskResult": "exported and deleted",
        "guardian.GroupObjectPermission": "never used",
        "guardian.UserObjectPermission": "never used",
        "mfa.Authenticator": "exported without secrets, and deleted",
        "orgadmin.AcceptedInvitation": "exported and deleted",
        "orgadmin.AccessLink": "has no personal data: a hash",
        "orgadmin.AccessRequest": "exported and deleted",
        "orgadmin.AccessReview": "exported, and names are replaced",
        "orgadmin.AuditEvent": "exported, and names are replaced",
        "orgadmin.BulkJob": "has keys, and a reason until the change is made",
        "orgadmin.ColumnMapping": "names no people: titles of columns",
        "orgadmin.Contact": "exported and deleted by address",
        "orgadmin.DoctorRun": "has no personal data: numbers of errors",
        "orgadmin.HistoricalOrganization": "exported, and names are replaced",
        "orgadmin.Import": "exported; deleted, or the name of the file is",
        "orgadmin.ImportPart": "deleted with what the person has not confirmed",
        "orgadmin.Invitation": "exported, and deleted by address",
        "orgadmin.KeptLogEntry": "exported, and names are replaced",
        "orgadmin.LaterDecision": "exported, and names are replaced",
        "orgadmin.MailWorker": "has no personal data: the name of a process",
        "orgadmin.Membership": "the same table as User_groups",
        "orgadmin.MembershipEvent": "exported, and names are replaced",
        "orgadmin.Organization": "names are replaced",
        "orgadmin.OrganizationUserObjectPermission": "exported and deleted",
        "orgadmin.ReviewDecision": "exported, and names are replaced",
        "orgadmin.ReviewItem": "exported, and names are replaced",
        "orgadmin.ReviewNotice": "exported, and names are replaced",
        "orgadmin.ReviewSection": "names no people",
        "orgadmin.RoleHolder": "says what the memberships say, and goes with them",
        "orgadmin.SentForm": "has no personal data: a hash, and the URL of a page",
        "orgadmin.SignInAttempt": "exported and deleted, or deleted after a while",
        "orgadmin.User": "exported and emptied",
        "orgadmin.User_groups": "exported as roles, and deleted",
        "orgadmin.UserSession": "exported as sessions, and deleted",
        "orgadmin.User_user_permissions": "exported and deleted",
        "sessions.Session": "exported without content, and deleted",
        "socialaccount.SocialAccount": "exported and deleted",
        "socialaccount.SocialApp": "never used",
        "socialaccount.SocialToken": "never used",
    }

    # The fields of users that the export leaves out.
    LEFT_OUT = {
        "password",
        "session_epoch",
        "username_key",
        "username_fold",
        "email_fold",
        "sort_name",
    }

    def test_every_table_with_personal_data_is_handled(self):
        labels = set()
        for model in apps.get_models(include_auto_created=True):
            if any(is_personal(field) for field in model._meta.concrete_fields):
                labels.add(model._meta.label)
        self.assertEqual(labels, set(self.HANDLED))

    def test_every_field_of_a_user_is_exported(self):
        fields = {field.name for field in User._meta.concrete_fields}
        person = personal_data.Person(User(), frozenset())
        exported = set(personal_data.make_account_row(person))
        self.assertEqual(fields - exported, self.LEFT_OUT)


def is_personal(field):
    if isinstance(field, models.CharField | models.TextField | models.JSONField):
        return True
    return field.related_model is User
