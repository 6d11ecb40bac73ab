"""The account page: what people change about themselves, and where they see it."""

import re
import time
from datetime import timedelta
from unittest import mock

from allauth.mfa.models import Authenticator
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.management import call_command
from django.test import Client, TestCase, override_settings, tag
from django.utils import timezone

from orgadmin.accounts import throttle
from orgadmin.accounts.sessions.browsers import find_browser
from orgadmin.accounts.sessions.own_sessions import MAX_SHOWN
from orgadmin.accounts.sessions.session_store import SessionStore
from orgadmin.accounts.sessions.sessions import SEEN_EVERY
from orgadmin.accounts.tokens import make_new_email_token
from orgadmin.models import AuditEvent, User, UserSession
from tests.auditing import list_events
from tests.factories import (
    ADMIN,
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)

PAGE = "/admin/account/"
END = "/admin/account/end-session/"
LIST = "/admin/orgadmin/organization/"
LINK = re.compile(r"/admin/new-email/\S+")

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)


class AccountCase(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.anna = create_user(
            "anna", email="anna@example.com", first_name="Anna", admin_of=[self.acme]
        )
        self.client.force_login(self.anna)

    def send(self, section, client=None, **values):
        """Send one of the forms, and return the response."""
        data = {f"{section}-{name}": value for name, value in values.items()}
        return (client or self.client).post(PAGE, {"section": section, **data})

    def read_anna(self):
        return User.objects.get(pk=self.anna.pk)


class PageTests(AccountCase):
    @tag("D49")
    def test_visitors_are_asked_to_sign_in(self):
        for method in (self.client.get, self.client.post):
            for url in (PAGE, END, "/admin/sign-out-elsewhere/"):
                self.client.logout()
                with self.subTest(url=url, method=method.__name__):
                    self.assertRedirects(method(url), f"/admin/login/?next={url}")

    @tag("D49")
    def test_people_without_access_have_an_account_too(self):
        nobody = create_user("nobody")
        self.client.force_login(nobody)
        self.assertContains(self.client.get(PAGE), "You have no role")
        self.assertRedirects(self.send("name", first_name="Nora"), f"{PAGE}#name")
        nobody.refresh_from_db()
        self.assertEqual(nobody.first_name, "Nora")

    def test_every_page_links_to_it(self):
        self.assertContains(self.client.get(LIST), f'href="{PAGE}">Your account</a>')

    def test_it_says_how_people_sign_in(self):
        response = self.client.get(PAGE)
        self.assertContains(response, "/admin/password_change/")
        self.assertNotContains(response, "Second factor")
        self.anna.set_unusable_password()
        self.anna.save()
        self.client.force_login(self.anna)
        self.assertNotContains(self.client.get(PAGE), "/admin/password_change/")

    @override_settings(SECOND_FACTOR="optional")
    def test_it_says_whether_there_is_a_second_factor(self):
        self.assertContains(self.client.get(PAGE), "Set up a second factor")
        app = Authenticator.objects.create(user=self.anna, type="totp", data={})
        session = self.client.session
        session["second_factor"] = {"id": app.pk, "type": "totp"}
        session.save()
        response = self.client.get(PAGE)
        self.assertContains(response, "Authenticator app.")
        self.assertContains(response, "Change second factor")
        Authenticator.objects.create(user=self.anna, type="webauthn", data={})
        self.assertContains(self.client.get(PAGE), "Passkey and authenticator app.")

    def test_it_shows_the_first_organizations_that_the_person_may_view(self):
        create_organization("Foreign")
        hidden = create_organization("Hidden", pk=770077)
        set_role(hidden, [self.anna], ADMIN)
        hidden.group_grants.all().delete()
        response = self.client.get(PAGE)
        self.assertContains(response, f"{LIST}{self.acme.pk}/overview/")
        self.assertNotContains(response, "Foreign")
        self.assertNotContains(response, "Hidden")
        self.assertNotContains(response, "All your organizations")

    def test_it_takes_the_same_queries_for_many_organizations(self):
        self.client.get(PAGE)
        with self.assertNumQueries(8):
            self.client.get(PAGE)
        for number in range(25):
            organization = create_organization(f"Number {number:02}")
            set_role(organization, [self.anna], ADMIN)
        with self.assertNumQueries(8):
            response = self.client.get(PAGE)
        self.assertContains(response, "All your organizations as a list")
        self.assertContains(response, "Number 18")
        self.assertNotContains(response, "Number 19")


class NameTests(AccountCase):
    def test_people_change_their_name(self):
        response = self.send("name", first_name="Änne", last_name="Ash")
        self.assertRedirects(response, f"{PAGE}#name")
        anna = self.read_anna()
        self.assertEqual(anna.get_full_name(), "Änne Ash")
        self.assertEqual(anna.email, "anna@example.com")

    def test_platform_staff_see_the_change_in_the_history(self):
        self.send("name", first_name="Anna", last_name="Ash")
        entry = LogEntry.objects.get(object_id=str(self.anna.pk))
        self.assertEqual(entry.user, self.anna)
        self.assertIn("Last name", entry.get_change_message())
        self.send("name", first_name="Anna", last_name="Ash")
        self.assertEqual(LogEntry.objects.count(), 1)

    def test_an_error_is_shown_next_to_the_field_and_changes_nothing(self):
        response = self.send("name", first_name="A" * 151, last_name="Ash")
        self.assertContains(response, "at most 150 characters")
        self.assertContains(response, 'aria-invalid="true"')
        self.assertEqual(self.read_anna().last_name, "")

    @tag("D49")
    def test_a_form_changes_nothing_else(self):
        values = {
            "username": "root",
            "email": "new@example.com",
            "is_superuser": "on",
            "is_staff": "on",
            "password": "x",
            "user": "1",
        }
        before = User.objects.filter(pk=self.anna.pk).values().get()
        for section in ("name", "language", "mail", "nothing"):
            kept = {"first_name": "Anna", "mail_own_roles": "on"}
            kept |= {"mail_people": "on", "mail_accepted": "on"}
            self.send(section, **values, **kept)
        self.client.post(PAGE, values)
        self.assertEqual(User.objects.filter(pk=self.anna.pk).values().get(), before)


class MailChoiceTests(AccountCase):
    def test_people_turn_mail_off_and_on(self):
        self.send("mail", mail_people="on")
        anna = self.read_anna()
        self.assertFalse(anna.mail_own_roles or anna.mail_accepted)
        self.assertTrue(anna.mail_people)
        self.send("mail", mail_own_roles="on", mail_accepted="on")
        anna = self.read_anna()
        self.assertTrue(anna.mail_own_roles and anna.mail_accepted)
        self.assertFalse(anna.mail_people)


class EmailTests(AccountCase):
    NEW = "anna@new.example.com"

    def ask(self, address=NEW, client=None):
        """Ask for another address, and return the response."""
        mail.outbox.clear()
        with self.captureOnCommitCallbacks(execute=True):
            return self.send("email", client, email=address)

    def read_link(self):
        return LINK.search(mail.outbox[0].body)[0]

    def open(self, link, client=None):
        mail.outbox.clear()
        with self.captureOnCommitCallbacks(execute=True):
            return (client or self.client).post(link)

    @tag("D47")
    def test_the_address_changes_when_the_link_at_the_new_one_is_used(self):
        response = self.ask()
        self.assertRedirects(response, f"{PAGE}#email")
        self.assertEqual([message.to for message in mail.outbox], [[self.NEW]])
        link = self.read_link()
        self.assertContains(self.client.get(link), self.NEW)
        self.assertEqual(self.read_anna().email, "anna@example.com")
        self.assertRedirects(self.open(link), PAGE)
        anna = self.read_anna()
        self.assertEqual(anna.email, self.NEW)
        self.assertTrue(anna.has_verified_email)

    @tag("D47")
    def test_the_old_address_is_told_and_other_sessions_end(self):
        other = Client()
        other.force_login(self.anna)
        self.ask()
        self.open(self.read_link())
        told = {message.to[0] for message in mail.outbox}
        self.assertEqual(told, {"anna@example.com", self.NEW})
        self.assertEqual(other.get(LIST).status_code, 302)
        self.assertEqual(self.client.get(LIST).status_code, 200)
        event = AuditEvent.objects.get(event="email changed")
        self.assertEqual(event.actor_key, self.anna.pk)

    @tag("D47")
    def test_the_link_works_once(self):
        self.ask()
        link = self.read_link()
        self.open(link)
        self.assertContains(self.open(link), "does not work")
        # Also not when the account has its old address again.
        User.objects.filter(pk=self.anna.pk).update(email="anna@example.com")
        self.client.force_login(self.read_anna())
        self.assertContains(self.open(link), "does not work")
        self.assertEqual(self.read_anna().email, "anna@example.com")

    @tag("D47")
    def test_the_link_works_for_an_hour(self):
        for minutes, works in ((61, False), (59, True)):
            now = time.time()
            with mock.patch("time.time", return_value=now - minutes * 60):
                self.ask()
            text = self.client.get(self.read_link()).content.decode()
            with self.subTest(minutes=minutes):
                self.assertEqual("does not work" not in text, works)

    @tag("D47")
    def test_the_link_works_only_in_the_account_that_asked(self):
        self.ask()
        link = self.read_link()
        ben = create_user("ben", email="ben@example.com")
        browser = Client()
        self.assertRedirects(browser.get(link), f"/admin/login/?next={link}")
        browser.force_login(ben)
        response = browser.get(link)
        self.assertContains(response, "does not work")
        self.assertNotContains(response, self.NEW)
        self.open(link, browser)
        for user, email in ((self.anna, "anna@example.com"), (ben, "ben@example.com")):
            user.refresh_from_db()
            self.assertEqual(user.email, email)

    @tag("D47")
    def test_the_link_ends_with_the_sessions(self):
        self.ask()
        link = self.read_link()
        self.anna.end_sessions()
        self.client.force_login(self.read_anna())
        self.assertContains(self.open(link), "does not work")

    @tag("D47")
    def test_a_taken_address_gets_the_same_answer_as_a_free_one(self):
        ben = create_user("ben", email="Ben@Example.com")
        free = self.ask("free@example.com")
        free_page = self.client.get(PAGE).content.decode()
        taken = self.ask("ben@example.com")
        taken_page = self.client.get(PAGE).content.decode()
        self.assertEqual(free.status_code, taken.status_code)
        self.assertEqual(free.headers["Location"], taken.headers["Location"])
        without_token = re.compile(r'(csrfmiddlewaretoken|form_key)" value="[^"]+"')
        self.assertEqual(
            without_token.sub("", free_page).replace("free@", "ben@"),
            without_token.sub("", taken_page),
        )
        (message,) = mail.outbox
        self.assertEqual(message.to, [ben.email])
        self.assertIn("Nothing was changed", message.body)
        self.assertNotIn("anna", message.body)
        self.assertIsNone(LINK.search(message.body))

    @tag("D47")
    def test_an_address_that_is_taken_meanwhile_stays_with_its_owner(self):
        self.ask()
        link = self.read_link()
        create_user("ben", email=self.NEW.upper())
        self.assertContains(
            self.client.post(link, follow=True), "Someone else has this email address"
        )
        self.assertEqual(self.read_anna().email, "anna@example.com")
        self.assertEqual(self.client.get(LIST).status_code, 200)

    @tag("D47")
    def test_it_needs_a_recent_sign_in(self):
        age_sign_in(self.client, 11)
        mail.outbox.clear()
        response = self.ask()
        self.assertContains(response, "Confirm it’s you")
        self.assertEqual(mail.outbox, [])
        data = {
            "section": "email",
            "email-email": self.NEW,
            "step-up-password": "secret",
        }
        self.assertRedirects(self.client.post(PAGE, data), f"{PAGE}#email")
        self.assertEqual(mail.outbox[0].to, [self.NEW])

    def test_the_other_forms_need_none(self):
        age_sign_in(self.client, 11)
        self.assertRedirects(self.send("name", first_name="A"), f"{PAGE}#name")

    @tag("D47")
    def test_mail_is_limited(self):
        for number in range(throttle.LIMIT):
            self.ask(f"free{number}@example.com")
        response = self.ask()
        self.assertContains(response, "Wait 15 minutes")
        self.assertEqual(mail.outbox, [])

    def test_wrong_addresses_are_refused_next_to_the_field(self):
        for address in ("anna", "ANNA@example.com", "", "a@b@c.example"):
            with self.subTest(address):
                response = self.ask(address)
                self.assertContains(response, 'class="errorlist"')
                self.assertEqual(mail.outbox, [])

    def test_a_token_of_another_kind_is_no_link(self):
        token = make_new_email_token(self.anna, self.NEW)
        response = self.client.get(f"/admin/confirm-email/{token}/")
        self.assertContains(response, "does not work")


class SessionTests(AccountCase):
    """Where people are signed in."""

    def sign_in(self, user=None, browser=IPHONE, address="198.51.100.7"):
        client = Client(headers={"User-Agent": browser}, REMOTE_ADDR=address)
        credentials = {"username": (user or self.anna).username, "password": "secret"}
        client.post("/admin/login/", credentials)
        return client

    def find_row(self, client):
        return UserSession.objects.get(session_key=client.session.session_key)

    def end(self, row):
        data = {"session": row.pk, "confirmed": "1"}
        return self.client.post(END, data, follow=True)

    @tag("D48")
    def test_it_asks_first(self):
        other = self.sign_in()
        row = self.find_row(other)
        response = self.client.post(END, {"session": row.pk})
        self.assertContains(response, "<h1>Sign out Safari on iPhone?</h1>")
        self.assertContains(response, f'name="session" value="{row.pk}"')
        self.assertContains(response, 'href="/admin/account/#sessions"')
        self.assertEqual(other.get(LIST).status_code, 200)

    @tag("D48")
    def test_it_lists_each_session(self):
        self.sign_in()
        response = self.client.get(PAGE)
        self.assertContains(response, "Safari on iPhone")
        self.assertContains(response, "198.51.100.0/24")
        self.assertNotContains(response, "198.51.100.7")
        self.assertContains(response, "Unknown browser")
        self.assertContains(response, "<br>This session", count=1)
        self.assertContains(response, 'aria-label="Sign out Safari on iPhone', count=1)
        self.assertContains(response, 'name="session"', count=1)

    @tag("D48")
    def test_no_page_contains_the_key_of_a_session(self):
        other = self.sign_in()
        text = self.client.get(PAGE).content.decode()
        for client in (self.client, other):
            self.assertNotIn(client.session.session_key, text)

    @tag("D48")
    def test_what_is_sent_as_a_browser_is_never_shown(self):
        self.sign_in(browser="<b>Call +1 555 Firefox/1.0", address="not an address")
        response = self.client.get(PAGE)
        self.assertContains(response, "Firefox")
        self.assertNotContains(response, "Call")
        self.assertNotIn("Call", str(self.find_other_content()))

    def find_other_content(self):
        keys = UserSession.objects.exclude(session_key=self.client.session.session_key)
        key = keys.values_list("session_key", flat=True)[0]
        return Session.objects.get(session_key=key).get_decoded()

    @tag("D48")
    def test_people_see_and_end_only_their_own(self):
        ben = create_user("ben", admin_of=[self.acme])
        other = self.sign_in(ben)
        self.assertNotContains(self.client.get(PAGE), "iPhone")
        row = self.find_row(other)
        self.assertEqual(other.get(LIST).status_code, 200)
        self.assertContains(self.end(row), "You are no longer signed in there.")
        self.assertTrue(UserSession.objects.filter(pk=row.pk).exists())
        self.assertNotIn("session ended", list_events(ben))
        for value in ("", "x", "1" * 30, "-1"):
            response = self.client.post(END, {"session": value}, follow=True)
            self.assertContains(response, "You are no longer signed in there.")

    @tag("D48")
    def test_ending_one_takes_effect_at_its_next_request(self):
        other = self.sign_in()
        third = self.sign_in()
        self.assertEqual(other.get(LIST).status_code, 200)
        self.assertContains(
            self.end(self.find_row(other)), "You were signed out there."
        )
        self.assertEqual(other.get(LIST).status_code, 302)
        self.assertEqual(third.get(LIST).status_code, 200)
        self.assertEqual(self.client.get(LIST).status_code, 200)
        event = AuditEvent.objects.get(event="session ended")
        self.assertEqual((event.user_key, event.actor_key), (self.anna.pk,) * 2)

    @tag("D48")
    def test_a_session_that_gets_a_new_key_can_still_be_ended(self):
        other = self.sign_in()
        row = self.find_row(other)
        age_sign_in(other, 11)
        data = {"section": "email", "email-email": "n@example.com"}
        other.post(PAGE, data | {"step-up-password": "secret"})
        self.assertNotEqual(other.session.session_key, row.session_key)
        self.assertEqual(self.find_row(other), row)
        self.end(row)
        self.assertEqual(other.get(LIST).status_code, 302)

    @tag("D48")
    def test_a_session_that_is_ended_while_it_gets_a_new_key_stays_ended(self):
        other = self.sign_in()
        row = self.find_row(other)
        age_sign_in(other, 11)

        def end_meanwhile(*arguments, **options):
            self.end(row)
            return True

        data = {"section": "email", "email-email": "n@example.com"}
        with mock.patch("orgadmin.accounts.step_up.check_own_password", end_meanwhile):
            response = other.post(PAGE, data | {"step-up-password": "secret"})
        self.assertEqual(response.status_code, 400)
        self.assertEqual(other.get(LIST).status_code, 302)
        self.assertEqual(UserSession.objects.count(), 1)

    @tag("D48")
    def test_this_session_cannot_be_ended_here(self):
        self.end(self.find_row(self.client))
        self.assertEqual(self.client.get(LIST).status_code, 200)

    @tag("D48")
    def test_sessions_that_have_ended_vanish(self):
        ended = self.sign_in()
        ended.post("/admin/logout/")
        idle = self.sign_in()
        session = idle.session
        session["last_seen"] -= 61 * 60
        session.save()
        expired = self.sign_in()
        Session.objects.filter(session_key=expired.session.session_key).update(
            expire_date=timezone.now() - timedelta(minutes=1)
        )
        self.assertNotContains(self.client.get(PAGE), "iPhone")
        self.sign_in()
        self.assertContains(self.client.get(PAGE), 'aria-label="Sign out Safari')
        self.client.post("/admin/sign-out-elsewhere/")
        self.assertNotContains(self.client.get(PAGE), "iPhone")

    @tag("D48")
    def test_the_cleanup_forgets_sessions_that_have_ended(self):
        self.sign_in().post("/admin/logout/")
        expired = self.sign_in()
        Session.objects.filter(session_key=expired.session.session_key).update(
            expire_date=timezone.now() - timedelta(minutes=1)
        )
        self.assertEqual(UserSession.objects.count(), 3)
        call_command("clearsessions")
        self.assertEqual(UserSession.objects.get(), self.find_row(self.client))

    def test_a_page_with_very_many_sessions_says_so(self):
        for _number in range(MAX_SHOWN + 1):
            Client().force_login(self.anna)
        response = self.client.get(PAGE)
        self.assertContains(response, 'name="session"', count=MAX_SHOWN - 1)
        self.assertContains(response, "This session")
        self.assertContains(response, "on more devices")

    def test_ended_sessions_are_not_counted_as_more(self):
        for _number in range(MAX_SHOWN + 1):
            Client().force_login(self.anna)
        self.anna.end_sessions()
        self.client.force_login(self.anna)
        response = self.client.get(PAGE)
        self.assertContains(response, "This session")
        self.assertNotContains(response, "on more devices")

    def test_an_open_session_is_listed_behind_many_ended_ones(self):
        other = self.sign_in()
        for _number in range(MAX_SHOWN + 1):
            client = Client()
            client.force_login(self.anna)
            session = client.session
            session["signed_in"] = 1
            session.save()
        response = self.client.get(PAGE)
        row = self.find_row(other)
        self.assertContains(response, f'name="session" value="{row.pk}"')

    def test_a_session_of_the_previous_release_is_listed_when_it_is_used(self):
        key = self.client.session.session_key
        content = dict(self.client.session.items())
        for name in ("began", "listed"):
            del content[name]
        content["last_seen"] -= SEEN_EVERY + 1
        Session.objects.filter(session_key=key).update(
            session_data=SessionStore().encode(content)
        )
        UserSession.objects.all().delete()
        self.client.get(LIST)
        self.assertEqual(self.find_row(self.client).user, self.anna)
        self.assertContains(self.client.get(PAGE), "Unknown browser")

    def test_ordinary_pages_do_not_use_the_list(self):
        self.client.get(LIST)
        with mock.patch(
            "orgadmin.accounts.sessions.session_store.UserSession"
        ) as table:
            self.client.get(LIST)
        self.assertEqual(table.mock_calls, [])

    def test_deleting_a_person_deletes_the_list_of_their_sessions(self):
        create_superuser()
        self.acme.delete()
        User.objects.filter(pk=self.anna.pk).delete()
        self.assertFalse(UserSession.objects.exists())


class BrowserTests(TestCase):
    def test_browsers_are_recognized(self):
        chrome = "Mozilla/5.0 {} AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0"
        windows = chrome.format("(Windows NT 10.0; Win64; x64)")
        examples = {
            FIREFOX: "Firefox on Linux",
            IPHONE: "Safari on iPhone",
            f"{windows} Safari/537.36": "Chrome on Windows",
            f"{windows} Safari/537.36 Edg/138.0": "Edge on Windows",
            f"{windows} Safari/537.36 OPR/120.0": "Opera on Windows",
            chrome.format("(Linux; Android 15; SM-S911B)"): "Chrome on Android",
            chrome.format("(X11; CrOS x86_64)"): "Chrome on ChromeOS",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.5 Safari/605": (
                "Safari on macOS"
            ),
            "curl/8.0": "Unknown browser",
            "": "Unknown browser",
            "Firefox/1": "Firefox",
        }
        for text, name in examples.items():
            with self.subTest(text):
                self.assertEqual(str(find_browser(text)), name)
