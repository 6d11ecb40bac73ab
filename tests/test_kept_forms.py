"""Forms that are sent after their session has ended."""

import re
import time
from unittest import mock

from django import forms
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.signing import TimestampSigner, b62_encode
from django.test import SimpleTestCase, TestCase, override_settings, tag

from orgadmin.accounts.sessions import kept_forms
from orgadmin.accounts.sessions.sessions import record_second_factor
from orgadmin.models import Contact, Invitation, Organization, User
from tests.factories import (
    REVIEWER,
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from tests.forms_in_pages import ORIGIN, Browser, read_form, read_forms
from tests.test_company import CompanyCase
from tests.test_matrix import World, fill, walk
from tests.test_passkeys import PasskeyCase
from tests.test_sessions import leave_idle
from tests.test_sign_in import ENTER_CODE, LOGIN, SignInCase

LIST = "/admin/orgadmin/organization/"
USERS = "/admin/orgadmin/user/"
ACCOUNT = "/admin/account/"
BACKEND = "django.contrib.auth.backends.ModelBackend"
NOT_SAVED = "You were signed out before this was saved."
CHECK_IT = f"{NOT_SAVED} Check it, then save."

# What a person typed, with everything that could get lost on the way.
TYPED = {
    "name": "Acme “& Söhne” <b>",
    "notes": "First line\r\n\r\nthird, with “quotes” & \u0627\u0644 \U0001f600",
    "phone": "+49 30 1234567",
    "contacts-TOTAL_FORMS": "1",
    "contacts-0-name": "New contact",
    "contacts-0-email": "new@example.com",
}


def purge(browser):
    Session.objects.all().delete()


def change_password_elsewhere(browser):
    user = User.objects.get(pk=browser.session["_auth_user_id"])
    user.set_password("secret")
    user.save()


def forget_session_cookie(browser):
    del browser.cookies["sessionid"]


def forget_cookies(browser):
    browser.cookies.clear()


# Each way in which a session ends while a form is open: {name: function}.
ENDS = {
    "idle": lambda browser: leave_idle(browser, 61),
    "too old": lambda browser: age_sign_in(browser, 12 * 60),
    "purged from the database": purge,
    "ended with all sessions": change_password_elsewhere,
    "cookie gone": forget_session_cookie,
    "all cookies gone": forget_cookies,
}


class KeptFormCase(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", email="ada@example.com", admin_of=[self.acme])
        self.eve = create_user("eve", email="eve@example.com", admin_of=[self.acme])
        self.url = f"{LIST}{self.acme.pk}/change/"
        self.record = f"{LIST}{self.acme.pk}/overview/"
        self.people = f"{LIST}{self.acme.pk}/people/"
        self.browser = Browser()

    def open_form(self, url=None, **typed):
        """Open the page of a form, and return what its form would send."""
        form = read_form(self.browser.get(url or self.url))
        for name, value in (typed or TYPED).items():
            form[name] = value if isinstance(value, list) else [value]
        return form

    def send(self, form, url=None, **options):
        return self.browser.send(url or self.url, form, **options)

    def leave_form(self, end=purge, **typed):
        """Send a form after its session has ended, and return what it contained."""
        self.begin_session()
        form = self.open_form(**typed)
        end(self.browser)
        self.assert_asks_to_sign_in(self.send(form))
        return form

    def begin_session(self):
        """Sign in as Ada. Where the password does not suffice, there is another way."""
        self.browser.sign_in()

    def assert_asks_to_sign_in(self, response):
        self.assertRedirects(response, LOGIN, fetch_redirect_response=False)
        self.assertContains(self.browser.get(LOGIN), NOT_SAVED)

    def assert_nothing_saved(self):
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.name, "Acme")
        self.assertEqual(self.acme.notes, "")
        self.assertFalse(Contact.objects.exists())

    def assert_returns(self, response, form, url=None):
        """Assert that a sign-in leads back to the form as it was."""
        url = url or self.url
        self.assertRedirects(response, url, fetch_redirect_response=False)
        page = self.browser.get(url)
        self.assertContains(page, CHECK_IT)
        returned = read_form(page)
        for name, values in form.items():
            if name != "csrfmiddlewaretoken":
                self.assertEqual(normalize(returned[name]), normalize(values), name)
        return page

    def assert_gets_nothing(self, url=None):
        """Assert that the page is as stored, and that nothing tells of the form."""
        page = self.browser.get(url or self.url)
        self.assertNotContains(page, NOT_SAVED)
        self.assertNotContains(page, "New contact")
        self.assertNotContains(page, "third, with")
        for session in Session.objects.all():
            self.assertNotIn(kept_forms.SESSION_KEY, session.get_decoded())


def normalize(values):
    return [value.replace("\r\n", "\n") for value in values]


@tag("D50")
class ReturnTests(KeptFormCase):
    """All the ways in which a session ends, and all people who sign in afterwards."""

    def test_the_same_person_finds_the_form_and_saves_it_once(self):
        for name, end in ENDS.items():
            with self.subTest(name):
                Contact.objects.all().delete()
                self.browser = Browser()
                contact = {"contacts-TOTAL_FORMS": "1", "contacts-0-name": "Bo"}
                form = self.leave_form(end, name=f"Saved {name}", **contact)
                self.assertFalse(Contact.objects.exists())
                page = self.assert_returns(self.browser.sign_in(), form)
                self.assertFalse(Contact.objects.exists())
                again = read_form(page)
                self.assertRedirects(self.send(again), self.record)
                self.acme.refresh_from_db()
                self.assertEqual(self.acme.name, f"Saved {name}")
                second = self.send(again, follow=True)
                self.assertContains(second, "It was saved only once")
                self.assertEqual(Contact.objects.count(), 1)

    def test_everything_that_was_typed_comes_back_unchanged(self):
        form = self.leave_form()
        self.assert_returns(self.browser.sign_in(), form)
        self.assert_nothing_saved()

    def test_another_person_gets_nothing_of_it(self):
        for name, end in ENDS.items():
            with self.subTest(name):
                self.browser = Browser()
                self.leave_form(end)
                response = self.browser.sign_in("eve")
                self.assertRedirects(response, "/admin/")
                self.assert_gets_nothing()
                self.browser.send("/admin/logout/", self.read_logout_form())
                # Not even the first person gets it now.
                self.browser.sign_in()
                self.assert_gets_nothing()
        self.assert_nothing_saved()

    def read_logout_form(self):
        return read_form(self.browser.get("/admin/"), "csrfmiddlewaretoken")

    def test_someone_who_has_not_signed_in_gets_nothing(self):
        form = self.leave_form()
        self.browser.sign_in(password="wrong")
        page = self.browser.get(self.url, follow=True)
        self.assertContains(page, 'name="password"')
        self.assertNotContains(page, "third, with")
        self.assert_returns(self.browser.sign_in(), form)

    def test_someone_whose_access_has_ended_gets_what_a_missing_page_gets(self):
        other = create_organization("Other")
        set_role(other, [self.ada], REVIEWER)
        self.leave_form()
        set_role(self.acme, [self.ada], None)
        self.browser.sign_in()
        hidden = self.browser.get(self.url, follow=True)
        missing = self.browser.get(f"{LIST}999999/change/", follow=True)
        self.assertEqual(hidden.redirect_chain, missing.redirect_chain)
        self.assertEqual(list_messages(hidden, self.acme.pk), list_messages(missing))
        self.assertNotContains(hidden, NOT_SAVED)

    def test_someone_who_can_only_view_it_now_sees_what_is_stored(self):
        self.leave_form()
        set_role(self.acme, [self.ada], REVIEWER)
        response = self.browser.sign_in()
        self.assertRedirects(response, self.url, fetch_redirect_response=False)
        self.assert_gets_nothing()

    def test_someone_who_may_not_sign_in_any_more_gets_nothing(self):
        self.leave_form()
        set_role(self.acme, [self.ada], None)
        self.browser.sign_in()
        page = self.browser.get(self.url, follow=True)
        self.assertNotContains(page, "third, with")
        self.assertNotContains(page, CHECK_IT)

    def test_the_form_comes_back_once(self):
        form = self.leave_form()
        self.assert_returns(self.browser.sign_in(), form)
        self.assert_gets_nothing()

    def test_the_form_waits_for_an_hour(self):
        for seconds, is_kept in ((60 * 60 - 10, True), (60 * 60 + 10, False)):
            with self.subTest(seconds):
                self.browser = Browser()
                form = self.leave_form()
                self.age_kept_form(seconds)
                response = self.browser.sign_in()
                if is_kept:
                    self.assert_returns(response, form)
                else:
                    self.assert_gets_nothing()

    def age_kept_form(self, seconds):
        session = self.browser.session
        session[kept_forms.SESSION_KEY]["until"] -= seconds
        session.save()

    def test_a_later_form_replaces_an_earlier_one(self):
        self.browser.sign_in()
        first = self.open_form()
        second = self.open_form(self.people, **{"add": "", "add-who": "x@y.org"})
        purge(self.browser)
        self.send(first)
        self.send(second, self.people)
        response = self.browser.sign_in()
        self.assertRedirects(response, self.people, fetch_redirect_response=False)
        self.assertContains(self.browser.get(self.people), 'value="x@y.org"')
        self.assert_gets_nothing()

    def test_what_someone_else_saved_meanwhile_is_not_overwritten_unseen(self):
        self.leave_form()
        Organization.objects.filter(pk=self.acme.pk).update(phone="+49 1")
        self.browser.sign_in()
        page = self.browser.get(self.url)
        self.assertContains(page, "changed this to “+49 1” after you opened the page")
        self.assertContains(page, TYPED["phone"])

    def test_the_sign_in_page_does_not_tell_which_form_it_was(self):
        self.browser.sign_in()
        form = self.open_form()
        purge(self.browser)
        response = self.send(form)
        page = self.browser.get(LOGIN)
        for text in (self.url, "orgadmin/organization", "third, with"):
            self.assertNotIn(text, response["Location"])
            self.assertNotContains(page, text)

    def test_another_tab_that_signs_in_first_changes_nothing_for_the_person(self):
        """The token of the first tab is wrong then, and the session is not."""
        self.browser.sign_in()
        form = self.open_form()
        purge(self.browser)
        self.browser.sign_in()
        self.assert_returns(self.send(form), form)
        self.assert_nothing_saved()

    def test_another_person_in_another_tab_gets_nothing(self):
        self.browser.sign_in()
        form = self.open_form()
        purge(self.browser)
        self.browser.sign_in("eve")
        response = self.send(form)
        self.assertContains(response, "This form has expired", status_code=403)
        self.assert_gets_nothing()

    def test_signing_out_discards_it(self):
        self.browser.sign_in()
        form = self.open_form()
        purge(self.browser)
        self.browser.sign_in()
        self.send(form)
        page = self.browser.get(LIST)
        self.browser.send("/admin/logout/", read_form(page, "csrfmiddlewaretoken"))
        self.browser.sign_in()
        self.assert_gets_nothing()


def list_messages(response, pk=999999):
    return [str(text).replace(str(pk), "X") for text in response.context["messages"]]


@tag("D50")
@override_settings(SECOND_FACTOR="optional")
class SecondFactorTests(SignInCase, KeptFormCase):
    def setUp(self):
        super().setUp()
        self.codes = {}  # {username: their recovery codes}
        for username in ("ada", "eve"):
            self.sign_in(username)
            _secret, self.codes[username] = self.set_up()
            self.client.logout()

    def enter_code(self, code):
        form = read_form(self.browser.get(ENTER_CODE), "code")
        return self.browser.send(ENTER_CODE, {**form, "code": code})

    def begin_session(self):
        self.browser = Browser()
        self.browser.force_login(User.objects.get(pk=self.ada.pk), BACKEND)
        session = self.browser.session
        record_second_factor(session, self.ada.authenticator_set.first())
        session.save()

    def test_the_same_person_finds_the_form_after_the_code(self):
        for name, end in ENDS.items():
            with self.subTest(name):
                form = self.leave_form(end)
                self.browser.sign_in()
                page = self.browser.get(self.url, follow=True)
                self.assertNotContains(page, "third, with")
                self.enter_code("000000")
                self.assertNotContains(
                    self.browser.get(self.url, follow=True), "third, with"
                )
                response = self.enter_code(self.codes["ada"].pop())
                self.assert_returns(response, form)

    def test_another_person_gets_nothing_of_it(self):
        for name, end in ENDS.items():
            with self.subTest(name):
                self.leave_form(end)
                self.browser.sign_in("eve")
                response = self.enter_code(self.codes["eve"].pop())
                self.assertRedirects(response, "/admin/")
                self.assert_gets_nothing()
        self.assert_nothing_saved()


@tag("D50")
class CompanyAccountTests(CompanyCase, KeptFormCase):
    def setUp(self):
        CompanyCase.setUp(self)
        self.eve = create_user("eve", email="eve@example.com", admin_of=[self.acme])
        self.eve.verify_email()
        self.url = f"{LIST}{self.acme.pk}/change/"
        self.record = f"{LIST}{self.acme.pk}/overview/"
        self.browser = self.client

    def send(self, form, url=None, **options):
        return self.client.post(url or self.url, form, **options)

    def begin_session(self):
        self.come()

    def test_the_same_person_finds_the_form(self):
        for name, end in ENDS.items():
            with self.subTest(name):
                form = self.leave_form(end)
                self.assert_returns(self.come(), form)

    def test_another_person_gets_nothing_of_it(self):
        for name, end in ENDS.items():
            with self.subTest(name):
                self.leave_form(end)
                response = self.come(sub="2", email="eve@example.com")
                self.assertRedirects(response, "/admin/")
                self.assert_gets_nothing()
        self.assert_nothing_saved()


@tag("D50")
class PasskeyTests(PasskeyCase):
    def leave_form(self, url):
        """Send a form after the session of Ada, who uses a passkey, has ended."""
        self.add_as_ada()
        self.sign_in_with_passkey()
        form = read_form(self.client.get(url)) | {"notes": ["Typed"]}
        purge(self.client)
        response = self.client.post(url, form)
        self.assertRedirects(response, LOGIN)

    def test_the_same_person_finds_the_form(self):
        url = f"{LIST}{self.acme.pk}/change/"
        self.leave_form(url)
        response = self.sign_in_with_passkey()
        self.assertRedirects(response, url, fetch_redirect_response=False)
        page = self.client.get(url)
        self.assertContains(page, CHECK_IT)
        self.assertEqual(read_form(page)["notes"], ["Typed"])

    def test_another_person_gets_nothing_of_it(self):
        create_user("eve", admin_of=[self.acme])
        url = f"{LIST}{self.acme.pk}/change/"
        self.leave_form(url)
        self.assertRedirects(self.sign_in("eve"), "/admin/")
        page = self.client.get(url)
        self.assertNotContains(page, NOT_SAVED)
        self.assertNotContains(page, "Typed")
        self.assertNotIn(kept_forms.SESSION_KEY, self.client.session)


@tag("D51")
class AttackTests(KeptFormCase):
    """Someone tries to fill in a form in the name of someone else."""

    def plant(self, key):
        """Send a form with a key, as a visitor with a valid token."""
        page = self.browser.get(LOGIN)
        token = read_form(page, "csrfmiddlewaretoken")["csrfmiddlewaretoken"]
        fields = {**TYPED, "csrfmiddlewaretoken": token, "form_key": key}
        return self.send(fields)

    def assert_not_kept(self):
        for session in Session.objects.all():
            self.assertNotIn(kept_forms.SESSION_KEY, session.get_decoded())
        self.browser.sign_in()
        self.assert_gets_nothing()

    def get_key(self, username, url=None):
        browser = Browser()
        browser.sign_in(username)
        return read_form(browser.get(url or self.url))["form_key"][0]

    def test_a_form_of_ones_own_account_does_not_reach_another(self):
        self.plant(self.get_key("eve"))
        response = self.browser.sign_in("ada")
        self.assertRedirects(response, "/admin/")
        self.assert_gets_nothing()

    def test_a_forged_key_is_not_kept(self):
        key = self.get_key("eve")
        forged = key.replace(f"{self.eve.pk}-", f"{self.ada.pk}-", 1)
        for planted in (forged, "guessed", "", f"{self.ada.pk}-x", key + "x"):
            with self.subTest(planted):
                response = self.plant(planted)
                self.assertRedirects(response, f"{LOGIN}?next={self.url}")
                self.assert_not_kept()
                self.browser = Browser()

    def test_a_key_counts_on_its_own_page_only(self):
        self.plant(self.get_key("ada", self.people))
        self.assert_not_kept()

    def test_a_key_counts_for_a_week(self):
        week_ago = time.time() - 7 * 24 * 60 * 60
        for seconds, is_kept in ((60, True), (-60, False)):
            with self.subTest(seconds):
                stamp = b62_encode(int(week_ago + seconds))
                with mock.patch.object(
                    TimestampSigner, "timestamp", return_value=stamp
                ):
                    key = self.get_key("ada")
                self.browser = Browser()
                self.plant(key)
                has_form = kept_forms.SESSION_KEY in self.browser.session
                self.assertEqual(has_form, is_kept)

    def test_another_site_cannot_replace_the_session(self):
        self.browser.sign_in()
        key = self.get_key("ada")
        for origin in ("https://evil.example", "null", None):
            with self.subTest(origin):
                browser = Browser()
                headers = {"Origin": origin} if origin else {}
                fields = {**TYPED, "form_key": key}
                response = browser.post(self.url, fields, headers=headers)
                self.assertEqual(response.status_code, 403)
                self.assertNotIn("sessionid", response.cookies)

    def test_the_session_gets_a_key_that_nobody_has_planted(self):
        session = self.browser.session
        session["planted"] = "1"
        session.save()
        self.browser.cookies["sessionid"] = session.session_key
        self.plant(self.get_key("ada"))
        self.assertNotEqual(self.browser.session.session_key, session.session_key)
        self.assertFalse(Session.objects.filter(pk=session.session_key).exists())

    def test_a_form_that_was_saved_and_is_sent_again_is_not_saved_twice(self):
        self.browser.sign_in()
        form = self.open_form()
        self.assertRedirects(self.send(form), self.record)
        purge(self.browser)
        self.send(form)
        self.browser.sign_in()
        again = read_form(self.browser.get(self.url))
        self.assertEqual(again["form_key"], form["form_key"])
        self.assertContains(self.send(again, follow=True), "It was saved only once")
        self.assertEqual(Contact.objects.count(), 1)

    def test_a_page_does_not_repeat_the_key_of_someone_else(self):
        key = self.get_key("eve")
        self.browser.sign_in()
        form = self.open_form(form_key=key, name="")
        page = self.send(form)
        self.assertContains(page, "This field is required")
        self.assertNotEqual(read_form(page)["form_key"], [key])

    def test_a_form_that_is_too_long_is_not_kept(self):
        self.browser.sign_in()
        form = self.open_form(notes="x" * kept_forms.MAX_SIZE)
        purge(self.browser)
        self.send(form)
        page = self.browser.get(LOGIN)
        self.assertContains(page, "What you entered was too long to be kept")
        self.assert_not_kept()

    def test_a_form_of_the_greatest_length_is_kept(self):
        notes = "\U0001f600" * 20_000
        form = self.leave_form(notes=notes, **{"initial-notes": notes})
        self.assert_returns(self.browser.sign_in(), form)

    def test_bytes_that_are_no_text_do_no_harm(self):
        self.leave_form(name="\0\x01\ufffd", **{"contacts-TOTAL_FORMS": "\0"})
        self.browser.sign_in()
        self.assertContains(self.browser.get(self.url), NOT_SAVED)
        for encoding in ("utf-8", "utf-7", "utf-16", "nothing"):
            form = self.open_form()
            purge(self.browser)
            self.send_bytes(form, encoding)
            self.browser.sign_in()
            self.assertEqual(self.browser.get(self.url).status_code, 200)
        self.assert_nothing_saved()

    def send_bytes(self, form, encoding):
        """Send fields that contain bytes instead of text."""
        token = form["csrfmiddlewaretoken"][0]
        fields = {
            "csrfmiddlewaretoken": token.encode(),
            "form_key": form["form_key"][0].encode(),
            "name": b"\xff\xfe\0 +2AA- \xed\xa0\x80",
        }
        body = b""
        for name, value in fields.items():
            disposition = f'form-data; name="{name}"'.encode()
            body += b"--B\r\nContent-Disposition: %s\r\n\r\n" % disposition
            body += value + b"\r\n"
        self.browser.generic(
            "POST",
            self.url,
            body + b"--B--\r\n",
            content_type=f"multipart/form-data; boundary=B; charset={encoding}",
            headers={"Origin": ORIGIN},
        )

    def test_files_are_not_kept(self):
        self.browser.sign_in()
        form = self.open_form()
        purge(self.browser)
        self.send({**form, "file": SimpleUploadedFile("a.csv", b"name\nNew\n")})
        with mock.patch.object(kept_forms.KeptForm, "make_data", autospec=True) as made:
            made.return_value = None
            self.browser.sign_in()
            self.browser.get(self.url)
        names = [name for name, _values in made.call_args.args[0].fields]
        self.assertIn("name", names)
        self.assertNotIn("file", names)

    def test_what_is_kept_is_encrypted(self):
        self.leave_form()
        kept = self.browser.session[kept_forms.SESSION_KEY]
        self.assertEqual(set(kept), {"owner", "until", "content"})
        self.assertTrue(kept["content"].startswith("fernet:"))
        for text in ("Acme", "New contact", "organization"):
            self.assertNotIn(text, str(kept))

    def test_a_form_of_an_earlier_secret_key_is_not_shown(self):
        self.leave_form()
        earlier = [settings.SECRET_KEY]
        with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=earlier):
            self.browser.sign_in()
        # The session is readable, because it was saved with the new key. The form in
        # it is not.
        with override_settings(SECRET_KEY="another"):
            self.assertIn(kept_forms.SESSION_KEY, self.browser.session)
            self.assertNotContains(self.browser.get(self.url), NOT_SAVED)


@tag("D50")
class PageTests(KeptFormCase):
    """Each page with a form."""

    def come_back(self, url, form):
        purge(self.browser)
        self.send(form, url)
        response = self.browser.sign_in(self.username)
        return self.assert_returns(response, form, url)

    def test_platform_staff_add_and_change_objects(self):
        create_superuser("root")
        self.username = "root"
        self.browser.sign_in("root")
        forms_of_pages = {
            f"{LIST}add/": {"name": "New", "notes": "third, with"},
            f"{LIST}add/?_popup=1": {"name": "New", "notes": "third, with"},
            "/admin/orgadmin/contact/add/": {
                "name": "New",
                "organization": str(self.acme.pk),
            },
            "/admin/auth/group/add/": {"name": "New"},
            f"{USERS}{self.eve.pk}/change/": {
                "first_name": "Eve",
                "groups": [str(self.acme.reviewer_id)],
            },
        }
        for url, typed in forms_of_pages.items():
            with self.subTest(url):
                self.come_back(url, self.open_form(url, **typed))
        self.assertEqual(Organization.objects.count(), 1)
        self.assertEqual(list(self.eve.groups.all()), [self.acme.admin])

    def test_passwords_are_left_out(self):
        create_superuser("root")
        self.browser.sign_in("root")
        url = f"{USERS}add/"
        password = "correct horse battery staple"
        typed = {"username": "new", "password1": password, "password2": password}
        form = self.open_form(url, **typed, usable_password="true")
        purge(self.browser)
        self.send(form, url)
        self.browser.sign_in("root")
        page = self.browser.get(url)
        self.assertContains(page, CHECK_IT)
        self.assertContains(page, 'value="new"')
        self.assertNotContains(page, password)

    def test_an_invitation_is_not_sent_before_the_button_is_pressed_again(self):
        self.username = "ada"
        self.browser.sign_in()
        typed = {"add-who": "new@example.com", "add-role": "reviewer"}
        form = self.open_form(self.people, **typed, add="")
        del form["add"]
        purge(self.browser)
        self.send({**form, "add": "1"}, self.people)
        page = self.assert_returns(self.browser.sign_in(), form, self.people)
        self.assertFalse(Invitation.objects.exists())
        again = {**read_form(page), "add": "1"}
        for _click in range(2):
            self.send(again, self.people)
        self.assertEqual(Invitation.objects.count(), 1)
        self.assertEqual(len(mail.outbox), 1)

    def test_nobody_is_offboarded_by_the_return(self):
        create_superuser("root")
        self.username = "root"
        self.browser.sign_in("root")
        url = f"{USERS}{self.eve.pk}/leave/"
        form = self.open_form(url, reason="Has left")
        purge(self.browser)
        self.send({**form, "confirmed": "Offboard eve"}, url)
        page = self.assert_returns(self.browser.sign_in("root"), form, url)
        self.eve.refresh_from_db()
        self.assertTrue(self.eve.is_active)
        self.send({**read_form(page), "confirmed": "Offboard eve"}, url)
        self.eve.refresh_from_db()
        self.assertFalse(self.eve.is_active)

    def test_each_form_of_the_account_page(self):
        rows = [
            # (one of its fields, what was typed; None is a box that is not checked)
            ("name-first_name", {"name-first_name": "Adah", "name-last_name": ""}),
            ("email-email", {"email-email": "not an address yet"}),
            ("language-language", {"language-language": "de"}),
            ("mail-mail_accepted", {"mail-mail_accepted": None}),
        ]
        self.browser.sign_in()
        for field, typed in rows:
            with self.subTest(field):
                form = read_form(self.browser.get(ACCOUNT), field)
                for name, value in typed.items():
                    form[name] = [value]
                    if value is None:
                        del form[name]
                purge(self.browser)
                self.assert_asks_to_sign_in(self.send(form, ACCOUNT))
                response = self.browser.sign_in()
                self.assertRedirects(response, ACCOUNT, fetch_redirect_response=False)
                page = self.browser.get(ACCOUNT)
                self.assertContains(page, CHECK_IT)
                self.assertContains(page, "data-unsaved", count=1)
                self.assertNotContains(page, "errorlist")
                [returned] = [
                    other
                    for other in read_forms(page)
                    if other.get("section") == form["section"]
                ]
                for left_out in ("csrfmiddlewaretoken", "form_key"):
                    returned.pop(left_out)
                    form.pop(left_out)
                self.assertEqual(returned, form)
                self.assertNotContains(self.browser.get(ACCOUNT), CHECK_IT)
        self.ada.refresh_from_db()
        self.assertEqual((self.ada.first_name, self.ada.language), ("", ""))
        self.assertTrue(self.ada.mail_accepted)
        self.assertEqual(mail.outbox, [])

    def test_another_person_gets_nothing_of_a_form_of_the_account_page(self):
        self.browser.sign_in()
        form = read_form(self.browser.get(ACCOUNT), "name-first_name")
        purge(self.browser)
        self.send({**form, "name-first_name": ["New contact"]}, ACCOUNT)
        self.browser.sign_in("eve")
        self.assert_gets_nothing(ACCOUNT)

    def test_someone_without_access_gets_a_form_of_the_account_page_back(self):
        create_user("zoe")
        self.browser.sign_in("zoe")
        form = read_form(self.browser.get(ACCOUNT), "name-first_name")
        purge(self.browser)
        self.send({**form, "name-first_name": ["Zoë"]}, ACCOUNT)
        response = self.browser.sign_in("zoe")
        self.assertRedirects(response, ACCOUNT, fetch_redirect_response=False)
        self.assertContains(self.browser.get(ACCOUNT), 'value="Zoë"')

    def test_a_button_without_fields_shows_the_page(self):
        invitation = self.acme.invitations.create(email="a@b.org", role="reviewer")
        self.browser.sign_in()
        form = self.open_form(self.people, invitation=str(invitation.pk), revoke="")
        purge(self.browser)
        self.send(form, self.people)
        self.browser.sign_in()
        page = self.browser.get(self.people)
        self.assertNotContains(page, NOT_SAVED)
        self.assertTrue(Invitation.objects.exists())

    def test_members_are_not_removed_by_the_return(self):
        self.browser.sign_in()
        form = self.open_form(
            self.people, user=str(self.eve.pk), remove="", confirmed="1", reason="x"
        )
        purge(self.browser)
        self.send(form, self.people)
        self.browser.sign_in()
        self.browser.get(self.people)
        self.assertEqual(list(self.eve.groups.all()), [self.acme.admin])

    def test_a_page_whose_form_has_no_key_keeps_nothing(self):
        self.browser.sign_in()
        url = "/admin/password_change/"
        form = read_form(self.browser.get(url), "old_password")
        purge(self.browser)
        response = self.send({**form, "old_password": "secret"}, url)
        self.assertRedirects(response, f"{LOGIN}?next={url}")
        self.assertNotIn(kept_forms.SESSION_KEY, self.browser.session)


FORM = re.compile(r'<form[^>]*method="post".*?</form>', re.DOTALL)
TEXT_FIELD = re.compile(r'<textarea|<input type="(text|email|url)"')
SIGNED_KEY = re.compile(r'name="form_key" value="\d+-[^"]+:[^"]+:[^"]+"')


@tag("D50")
class EveryPageTests(TestCase):
    """Each page with a form keeps what people typed, or is listed as an exception."""

    def test_pages_that_keep_nothing_are_known(self):
        world = World()
        self.client.force_login(world.users["superuser"])
        keeping = set()
        not_keeping = set()
        for route in walk():
            for page in fill(route, world):
                response = self.client.get(page.url)
                for form in find_forms_with_text(response):
                    if SIGNED_KEY.search(form):
                        keeping.add(page.label)
                    else:
                        not_keeping.add(page.label)
        self.assertGreater(len(keeping), 8)
        self.assertEqual(
            not_keeping,
            {
                # The only text is the username of a hidden field for password managers.
                "orgadmin/user/<id>/password/",
                # The username is a confirmation, which must be typed again.
                "orgadmin/user/<object_id>/erase/",
                # Who takes over, too: the page shows what will be deleted.
                "orgadmin/user/<object_id>/delete/",
                # People upload a file here, which cannot be kept. The page therefore
                # asks who they are before it shows the form.
                "orgadmin/organization/import/",
                "orgadmin/user/import/",
                # For visitors.
                "password_reset/",
            },
        )


def find_forms_with_text(response):
    """Return the HTML of each form of a page in which people type something."""
    if response.streaming or response.status_code != 200:
        return []
    forms_of_page = FORM.findall(response.content.decode())
    return [form for form in forms_of_page if TEXT_FIELD.search(form)]


def list_form_classes(parent=forms.BaseForm):
    for form in parent.__subclasses__():
        yield form
        yield from list_form_classes(form)


@tag("D50")
class SecretNameTests(SimpleTestCase):
    def test_all_passwords_and_codes_of_the_site_have_such_a_name(self):
        names = set()
        for form in list_form_classes():
            for name, field in getattr(form, "base_fields", {}).items():
                if is_secret_field(field):
                    names.add(name)
        self.assertGreater(len(names), 4)
        for name in names:
            self.assertTrue(kept_forms.is_secret(name), name)
            self.assertTrue(kept_forms.is_secret(f"prefix-{name}"), name)

    def test_other_names(self):
        for name in ("name", "notes", "usable_password", "contacts-0-name", "code_of"):
            self.assertFalse(kept_forms.is_secret(name), name)
        self.assertTrue(kept_forms.is_secret("csrfmiddlewaretoken"))


def is_secret_field(field):
    if isinstance(field.widget, forms.PasswordInput):
        return True
    return field.widget.attrs.get("autocomplete") == "one-time-code"
