"""The texts and languages of emails, and names that try to change them."""

import io
import json
from collections import Counter
from datetime import UTC, datetime
from html.parser import HTMLParser
from unittest import mock

from django.conf import settings
from django.core import mail
from django.db import connection
from django.test import TestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext
from django.utils import translation
from django_tasks_db.models import DBTaskResult

from orgadmin.access.roles import ADMIN, ROLES
from orgadmin.models import Invitation, Organization, User
from orgadmin.people import invitations
from orgadmin.people.changes import RoleChange
from orgadmin.people.mail import MAX_CHANGES
from orgadmin.people.membership import change_roles
from orgadmin.people.message import Line, write_html
from orgadmin.records.imports.organizations import import_organizations
from tests.factories import (
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from tests.mail_server import run_mail_server
from tests.mailing import queues_mail, send_invitation, work

ACCOUNT = "http://127.0.0.1:8000/admin/account/"

INJECTIONS = [
    "Acme\r\nBcc: victims@evil.example",
    "Acme\nSubject: You have won",
    "Acme\r\n\r\n<h1>Your account is locked</h1>",
    "Acme%0d%0aBcc: victims@evil.example",
    "=?utf-8?q?=0d=0aBcc:_victims=40evil.example?=",
    "Acme\u2028Bcc: victims@evil.example",
    "--===============boundary==\nContent-Type: text/html",
    "http://evil.example/unlock",
    "https://evil.example",
    "Open the site: http://127.0.0.1:8000/evil",
    "http://127.0.0.1:8000/admin/evil",
    "www.evil.example",
    "evil.example/admin",
    "<a href='http://evil.example'>Accept the invitation</a>",
    '"><a href="//evil.example">here</a>',
    "<img src=x onerror=alert(1)>",
    "</p><script>alert(1)</script>",
    "</title></head><body><form action=//evil.example>",
    "<style>body{display:none}</style>",
    "&lt;b&gt;&#60;i&#62;<!--",
    "{{ link }}{% include 'mail/base.html' %}",
    "javascript:alert(1)",
]


class Page(HTMLParser):
    """The tags, the links and the text of an HTML part."""

    def __init__(self, html):
        super().__init__()
        self.tags = Counter()
        self.attributes = Counter()
        self.links = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        for name, value in attrs:
            self.attributes[name] += 1
            if name in ("href", "src", "action"):
                self.links.append(value)

    def handle_data(self, data):
        self.text += data


def read_html(message):
    """Return the HTML part of a message in `mail.outbox`."""
    [alternative] = message.alternatives
    return Page(alternative.content)


class TextCase(TestCase):
    def setUp(self):
        self.root = create_superuser("root", email="root@example.com")
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", email="ada@example.com", admin_of=[self.acme])
        self.anna = create_user("anna", email="anna@example.com")
        mail.outbox.clear()

    def invite(self, email="new@example.com"):
        invitation = invitations.invite(
            self.acme, email, REVIEWER, actor=self.ada, is_limited=False
        )
        mail.outbox.clear()
        send_invitation(invitation)
        [message] = mail.outbox
        return message

    def change(self, role, actor=None):
        mail.outbox.clear()
        set_role(self.acme, [self.anna], role, actor=actor)
        [message] = mail.outbox
        return message


class LanguageTests(TextCase):
    @override_settings(TIME_ZONE="America/New_York")
    def test_invitations_name_the_end_in_the_zone_of_the_person_or_the_site(self):
        sent_at = datetime(2030, 1, 1, 23, 30, tzinfo=UTC)
        self.invite()
        Invitation.objects.update(sent_at=sent_at)
        mail.outbox.clear()
        send_invitation(Invitation.objects.get())
        self.assertIn("Jan. 8, 2030, 6:30 p.m. (America/New_York)", self.last_body())
        User.objects.filter(pk=self.anna.pk).update(
            language="de", time_zone="Asia/Tokyo"
        )
        Invitation.objects.update(email="anna@example.com")
        send_invitation(Invitation.objects.get())
        self.assertIn("9. Januar 2030 08:30 (Asia/Tokyo)", self.last_body())

    def last_body(self):
        return mail.outbox[-1].body

    def test_mail_is_in_the_language_of_the_recipient_not_of_the_actor(self):
        for chosen, expected in (("", "en-us"), ("de", "de"), ("en", "en")):
            User.objects.filter(pk=self.anna.pk).update(language=chosen)
            with translation.override("de"):
                message = self.change(REVIEWER)
                set_role(self.acme, [self.anna], None)
            self.assertIn(f'lang="{expected}"', message.alternatives[0].content)

    def test_buttons_have_no_colon_in_any_language(self):
        for text in (
            "Accept the invitation:",
            "Accept the invitation\u00a0:",
            "Accept the invitation：",
        ):
            self.assertEqual(Line(text, "https://…").label, "Accept the invitation")

    def test_a_wrong_time_zone_does_not_stop_mail(self):
        User.objects.filter(pk=self.anna.pk).update(time_zone="Mars/Base")
        self.assertIn("(UTC)", self.invite("anna@example.com").body)


class WordingTests(TextCase):
    def test_invitations_say_who_invites_to_what_and_what_to_do(self):
        self.ada.verify_email()
        message = self.invite()
        for text in (
            "ada, whose email address is ada@example.com, invited you to the"
            " organization “Acme” as Reviewer.",
            str(REVIEWER.description),
            "The invitation is valid until",
            "You get no access unless you accept.",
            "If you are not sure, ask ada@example.com.",
        ):
            self.assertIn(text, message.body)
        page = read_html(message)
        [link] = page.links
        self.assertIn(f"Accept the invitation: {link}\n", message.body)
        self.assertEqual(page.attributes["class"], 1)

    def test_role_changes_name_the_old_and_the_new_role_and_whom_to_ask(self):
        self.ada.verify_email()
        gained = self.change(REVIEWER, actor=self.ada)
        changed = self.change(ADMIN, actor=self.root)
        lost = self.change(None, actor=self.ada)
        self.assertIn("ada gave you access to “Acme” as Reviewer.", gained.body)
        self.assertIn(str(REVIEWER.description), gained.body)
        self.assertIn("write to ada@example.com", gained.body)
        self.assertIn(
            "Platform staff changed your role in “Acme” from Reviewer to Admin.",
            changed.body,
        )
        self.assertIn(str(ADMIN.description), changed.body)
        self.assertNotIn("root", changed.body)
        self.assertIn("You were Admin, and no longer have a role there.", lost.body)
        # Only the link that the mail is about is a button.
        self.assertEqual(read_html(gained).attributes["class"], 1)
        self.assertEqual(read_html(lost).attributes["class"], 0)
        for message in (gained, changed, lost):
            self.assertTrue(message.body.endswith(f"{ACCOUNT}\n"))
            self.assertEqual(message.to, ["anna@example.com"])

    def test_an_actor_whose_account_was_deleted_is_not_taken_for_platform_staff(self):
        with queues_mail():
            set_role(self.acme, [self.anna], REVIEWER, actor=self.ada)
            mail.outbox.clear()
            User.objects.filter(pk=self.ada.pk).delete()
            work()
        [message] = mail.outbox
        self.assertIn("Someone gave you access to “Acme” as Reviewer.", message.body)

    def test_both_parts_say_the_same(self):
        for message in (self.invite(), self.change(REVIEWER)):
            page = read_html(message)
            text = message.body
            for link in sorted(page.links, key=len, reverse=True):
                text = text.replace(link, "")
                page.text = page.text.replace(link, "")
            words = page.text.partition("}\n  \n")[2].replace(":", "").split()
            self.assertEqual(words, text.replace(":", "").split())

    def test_each_role_says_what_it_allows(self):
        for role in ROLES:
            self.assertTrue(role.description)

    def test_html_escapes_the_text(self):
        page = Page(write_html("<b>", "<b>x</b>\n<!--\n\nhttp://127.0.0.1:8000/x\n"))
        self.assertEqual((page.tags["b"], page.tags["a"]), (0, 1))
        self.assertIn("<!--", page.text)


class ChoiceTests(TextCase):
    def test_people_can_turn_off_mail_about_roles_and_not_about_security(self):
        self.anna.mail_own_roles = False
        self.anna.save()
        set_role(self.acme, [self.anna], REVIEWER)
        self.assertEqual(mail.outbox, [])

    @override_settings(NOTIFY_ADMINS=True, NOTIFY_PEOPLE=False)
    def test_admins_can_turn_off_mail_about_other_people(self):
        create_user("bea", email="bea@example.com", admin_of=[self.acme])
        User.objects.filter(pk=self.ada.pk).update(mail_people=False)
        mail.outbox.clear()
        message = self.change(REVIEWER)
        self.assertEqual(message.to, ["bea@example.com"])
        self.assertTrue(message.body.endswith(f"{ACCOUNT}\n"))

    def accept(self):
        invitation = invitations.invite(
            self.acme, "anna@example.com", REVIEWER, actor=self.ada
        )
        mail.outbox.clear()
        with self.captureOnCommitCallbacks(execute=True):
            invitations.accept(invitation, self.anna, account_is_unused=False)
        return [message for message in mail.outbox if message.to == [self.ada.email]]

    def test_inviters_are_told_of_accepted_invitations(self):
        [message] = self.accept()
        self.assertIn("“anna” accepted your invitation to “Acme”", message.body)
        self.assertEqual(
            message.subject, "Your invitation on 127.0.0.1:8000 was accepted"
        )
        self.assertTrue(message.body.endswith(f"{ACCOUNT}\n"))

    def test_inviters_can_turn_that_off(self):
        User.objects.filter(pk=self.ada.pk).update(mail_accepted=False)
        self.assertEqual(self.accept(), [])

    @override_settings(NOTIFY_PEOPLE=False)
    def test_operators_can_turn_that_off(self):
        self.assertEqual(self.accept(), [])

    def test_deactivated_people_get_none(self):
        User.objects.filter(pk=self.anna.pk).update(is_active=False)
        set_role(self.acme, [self.anna], REVIEWER)
        self.assertEqual(mail.outbox, [])


@override_settings(NOTIFY_ADMINS=True)
class ManyChangesTests(TextCase):
    def test_each_person_gets_one_message_about_many_changes(self):
        rows = [create_organization(f"Org {number}") for number in range(25)]
        bea = create_user("bea", email="bea@example.com", admin_of=rows)
        mail.outbox.clear()
        change_roles([RoleChange(self.anna, row, REVIEWER) for row in rows])
        sent = {message.to[0]: message.body for message in mail.outbox}
        self.assertEqual(len(mail.outbox), 2)
        for address in (bea.email, self.anna.email):
            self.assertEqual(sent[address].count("“Org "), MAX_CHANGES)
            self.assertIn("There are 5 more changes.", sent[address])

    def test_an_import_of_several_batches_sends_each_person_one_message(self):
        self.anna.verify_email()
        rows = "".join(f"Org {number},anna@example.com\n" for number in range(5))
        file = io.BytesIO(f"name,reviewers\n{rows}".encode())
        with (
            mock.patch("orgadmin.records.batches.BATCH", 2),
            self.captureOnCommitCallbacks(execute=True),
        ):
            import_organizations(file, actor=self.root, send_mail=True)
        [message] = mail.outbox
        self.assertEqual(message.to, ["anna@example.com"])
        self.assertEqual(message.body.count("“Org "), 5)

    def test_mail_about_many_people_costs_the_change_two_queries(self):
        people = [User(username=f"p{n}", email=f"p{n}@example.com") for n in range(60)]
        User.objects.bulk_create(people)
        people = list(User.objects.filter(username__startswith="p"))
        counts = []
        with queues_mail():
            for number in (1, 60):
                set_role(self.acme, people, None)
                DBTaskResult.objects.all().delete()
                with CaptureQueriesContext(connection) as queries:
                    set_role(self.acme, people[:number], REVIEWER)
                counts.append(len(queries))
                self.assertEqual(DBTaskResult.objects.count(), 2)
        self.assertEqual(counts[0], counts[1])

    @tag("J2")
    def test_tasks_hold_only_keys(self):
        with queues_mail():
            set_role(self.acme, [self.anna], REVIEWER, actor=self.ada)
            texts = json.dumps(list(DBTaskResult.objects.values_list("args_kwargs")))
        self.assertNotRegex(texts, r"Acme|anna|\bada\b|@")


class InjectionTests(TextCase):
    """Names in mail that went over SMTP, with both parts parsed as programs do."""

    def setUp(self):
        super().setUp()
        self.enterContext(queues_mail())
        self.enterContext(override_settings(NOTIFY_ADMINS=True))
        create_user("bea", email="bea@example.com", admin_of=[self.acme])
        self.server = self.enterContext(run_mail_server())
        smtp = override_settings(
            EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
            EMAIL_HOST="127.0.0.1",
            EMAIL_PORT=self.server.port,
        )
        self.enterContext(smtp)
        DBTaskResult.objects.all().delete()

    def send_all(self, name):
        """Send one of each email that contains names. Return what the server got."""
        self.server.messages.clear()
        Organization.objects.filter(pk=self.acme.pk).update(name=name)
        people = User.objects.filter(pk__in=[self.ada.pk, self.anna.pk])
        people.update(first_name=name[:150], last_name="")
        self.acme.refresh_from_db()
        set_role(self.acme, [self.anna], None)
        DBTaskResult.objects.all().delete()
        invitation = invitations.invite(
            self.acme, self.anna.email, REVIEWER, actor=self.ada, is_limited=False
        )
        send_invitation(invitation)
        work()
        invitation.refresh_from_db()
        self.anna.refresh_from_db()
        invitations.accept(invitation, self.anna, account_is_unused=False)
        work()
        return sorted(
            self.server.messages, key=lambda each: (each["Subject"], each["To"])
        )

    @tag("H5")
    def test_names_add_no_header_no_link_and_no_tag(self):
        expected = self.send_all("Acme")
        self.assertEqual(len(expected), 4)
        for name in INJECTIONS:
            with self.subTest(name):
                messages = self.send_all(name)
                self.assertEqual(len(messages), len(expected))
                for message, harmless in zip(messages, expected, strict=True):
                    self.compare(message, harmless)

    def compare(self, message, harmless):
        self.assertEqual(message.keys(), harmless.keys())
        for header in ("Subject", "To", "From"):
            self.assertEqual(message[header], harmless[header])
        kinds = [part.get_content_type() for part in message.walk()]
        self.assertEqual(kinds, ["multipart/alternative", "text/plain", "text/html"])
        text = message.get_body(["plain"]).get_content()
        harmless_text = harmless.get_body(["plain"]).get_content()
        self.assertEqual(len(text.splitlines()), len(harmless_text.splitlines()))
        self.assertEqual(text.count("http://"), harmless_text.count("http://"))
        self.assertNotIn("evil.example", text)
        page = Page(message.get_body(["html"]).get_content())
        harmless_page = Page(harmless.get_body(["html"]).get_content())
        self.assertEqual(page.tags, harmless_page.tags)
        self.assertEqual(page.attributes, harmless_page.attributes)
        self.assertEqual(len(page.links), len(harmless_page.links))
        for link in page.links:
            self.assertTrue(link.startswith(f"{settings.BASE_URL}/"), link)
            self.assertNotIn("evil", link)
        self.assertNotIn("evil.example", page.text)
