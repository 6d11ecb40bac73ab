"""Old sign-ins: what they can still do, and the page that asks for a recent one."""

import time
from dataclasses import dataclass

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client, SimpleTestCase, TestCase, override_settings, tag

from orgadmin.accounts import throttle
from orgadmin.accounts.company.openid import ANY_AGE
from orgadmin.admin.base import SuperuserOnlyAdmin
from orgadmin.admin.checks import check_admin_site
from orgadmin.admin.gated import GatedModelAdmin
from orgadmin.models import (
    AuditEvent,
    Contact,
    Invitation,
    MembershipEvent,
    Organization,
    SignInAttempt,
    User,
)
from tests.factories import (
    NO_CONTACTS,
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
)
from tests.forms_in_pages import read_form
from tests.identity import leave
from tests.test_company import CALLBACK, SIGN_IN, CompanyCase
from tests.test_matrix import ATTACK, World, fill, find_model, walk
from tests.test_sign_in import (
    LOGIN,
    RECOVERY_CODES,
    REMOVE,
    SET_UP,
    SignInCase,
    make_code,
)

ASKS = "Confirm it’s you"
ELEVEN_MINUTES = 11
# As old as a session of platform staff can be without expiring.
SEVEN_HOURS = 7 * 60
A_WEEK = 7 * 24 * 60

LIST = "/admin/orgadmin/organization/"
PEOPLE = "/admin/orgadmin/user/"
GROUPS = "/admin/auth/group/"
IMPORT = f"{LIST}import/"
NEW_PASSWORD = "correct horse battery staple"


def asks(response):
    """Return whether a response is the page that asks for the password."""
    return response.status_code == 200 and ASKS in response.content.decode()


class StepUpCase(SignInCase):
    def setUp(self):
        self.root = create_superuser("root", email="root@example.com")
        self.anna = create_user("anna", email="anna@example.com")
        self.client.force_login(self.root)

    def change_url(self, user):
        return f"{PEOPLE}{user.pk}/change/"

    def promote(self, user, **options):
        """Send the form of a person, with the box for superusers ticked."""
        data = {
            "username": user.username,
            "email": user.email,
            "is_active": "on",
            "is_superuser": "on",
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00",
        }
        return self.client.post(self.change_url(user), data, **options)

    def confirm(self, response, password="secret", **fields):
        """Fill in the page that asks for the password, and send it."""
        url = response.wsgi_request.get_full_path()
        data = read_form(response, "step-up-password") | {"step-up-password": password}
        return self.client.post(url, data | fields)

    def is_superuser(self, user):
        return User.objects.get(pk=user.pk).is_superuser


class ConfirmTests(StepUpCase):
    @tag("D26")
    def test_a_recent_sign_in_is_not_asked_again(self):
        self.assertFalse(asks(self.promote(self.anna)))
        self.assertTrue(self.is_superuser(self.anna))

    @tag("D26")
    def test_after_the_password_the_original_request_goes_on(self):
        age_sign_in(self.client, ELEVEN_MINUTES)
        page = self.promote(self.anna)
        self.assertTrue(asks(page))
        self.assertFalse(self.is_superuser(self.anna))
        response = self.confirm(page)
        self.assertRedirects(response, f"{PEOPLE}{self.anna.pk}/overview/")
        self.assertTrue(self.is_superuser(self.anna))
        self.assertFalse(asks(self.promote(self.root)))

    @tag("D26")
    def test_reading_stays_possible(self):
        age_sign_in(self.client, SEVEN_HOURS)
        urls = [self.change_url(self.anna), PEOPLE, f"{PEOPLE}{self.anna.pk}/leave/"]
        for url in [*urls, GROUPS, f"{PEOPLE}{self.anna.pk}/password/"]:
            response = self.client.get(url)
            self.assertEqual(response.status_code, 200)
            self.assertFalse(asks(response))

    @tag("D26")
    def test_a_wrong_password_is_refused_and_nothing_that_was_entered_is_lost(self):
        age_sign_in(self.client, ELEVEN_MINUTES)
        page = self.promote(self.anna)
        again = self.confirm(page, "wrong")
        self.assertContains(again, "The password is wrong")
        self.assertFalse(self.is_superuser(self.anna))
        self.confirm(again)
        self.assertTrue(self.is_superuser(self.anna))

    @tag("D26")
    def test_guessing_is_limited_for_each_person(self):
        age_sign_in(self.client, ELEVEN_MINUTES)
        page = self.promote(self.anna)
        for _attempt in range(throttle.LIMIT):
            self.confirm(page, "wrong")
        self.assertTrue(asks(self.confirm(page)))
        other = Client(REMOTE_ADDR="192.0.2.1")
        other.force_login(self.root)
        age_sign_in(other, ELEVEN_MINUTES)
        data = {"step-up-password": "secret", "post": "yes"}
        self.assertTrue(asks(other.post(f"{PEOPLE}{self.anna.pk}/delete/", data)))
        self.assertTrue(User.objects.filter(pk=self.anna.pk).exists())
        SignInAttempt.objects.all().delete()
        self.assertFalse(asks(self.confirm(page)))

    @tag("D26")
    def test_what_was_entered_is_stored_nowhere(self):
        age_sign_in(self.client, ELEVEN_MINUTES)
        url = f"{PEOPLE}{self.anna.pk}/password/"
        data = {
            "password1": NEW_PASSWORD,
            "password2": NEW_PASSWORD,
            "usable_password": "true",
        }
        page = self.client.post(url, data)
        self.assertTrue(asks(page))
        self.assertNotIn(NEW_PASSWORD, str(dict(self.client.session)))
        self.assertIn("no-store", page["Cache-Control"])
        self.confirm(page)
        self.anna.refresh_from_db()
        self.assertTrue(self.anna.check_password(NEW_PASSWORD))

    @tag("D26")
    def test_every_value_of_a_field_comes_back(self):
        bolt = create_organization("Bolt")
        nina = create_user("nina")
        age_sign_in(self.client, ELEVEN_MINUTES)
        people = {
            "add": "",
            "add-several": f"{self.anna}\n{nina}",
            "add-role": "reviewer",
        }
        page = self.client.post(f"{LIST}{bolt.pk}/people/", people)
        self.assertTrue(asks(page))
        self.confirm(page)
        self.assertEqual(bolt.reviewer.user_set.count(), 2)

    @tag("D26")
    def test_no_spelling_of_the_role_makes_an_admin_with_an_old_sign_in(self):
        bolt = create_organization("Bolt")
        nina = create_user("nina", reviewer_of=[bolt])
        age_sign_in(self.client, ELEVEN_MINUTES)
        change = {"user": nina.pk, "confirmed": ""}
        add = {"add": "", "add-who": "anna"}
        for data in (
            change | {"role": ["reviewer", "admin"]},
            change | {"role": ["admin", "reviewer"]},
            change | {"role": "admin", "remove": ""},
            change | {"role": " admin"},
            change | {"role": "admin", "add": ""},
            add | {"add-role": ["reviewer", "admin"]},
            add | {"add-role": " admin "},
        ):
            with self.subTest(data=data):
                self.client.post(f"{LIST}{bolt.pk}/people/", data)
                self.assertFalse(bolt.admin.user_set.exists())

    @tag("D8", "D26")
    def test_requires_a_csrf_token(self):
        client = Client(enforce_csrf_checks=True)
        client.force_login(self.root)
        age_sign_in(client, ELEVEN_MINUTES)
        data = {"step-up-password": "secret", "post": "yes"}
        response = client.post(f"{PEOPLE}{self.anna.pk}/delete/", data)
        self.assertEqual(response.status_code, 403)

    @tag("D26")
    def test_the_session_gets_a_new_key(self):
        age_sign_in(self.client, ELEVEN_MINUTES)
        before = self.client.session.session_key
        self.confirm(self.promote(self.anna))
        self.assertNotEqual(self.client.session.session_key, before)
        self.assertEqual(self.client.get("/admin/").status_code, 200)

    @tag("D26", "D31")
    def test_is_recorded(self):
        age_sign_in(self.client, ELEVEN_MINUTES)
        page = self.promote(self.anna)
        self.confirm(page, "wrong")
        event = AuditEvent.objects.first()
        self.assertEqual(event.event, "sign-in failed")
        self.assertEqual(event.user_key, self.root.pk)
        self.confirm(page)
        events = AuditEvent.objects.filter(event="identity confirmed")
        self.assertEqual(events.get().user_key, self.root.pk)

    @tag("D26")
    def test_a_file_is_chosen_after_the_password(self):
        age_sign_in(self.client, ELEVEN_MINUTES)
        page = self.client.get(IMPORT)
        self.assertTrue(asks(page))
        response = self.confirm(page)
        self.assertRedirects(response, IMPORT)
        self.assertContains(self.client.get(IMPORT), "Upload a file")

    @tag("D26")
    def test_a_file_that_was_sent_is_chosen_again(self):
        age_sign_in(self.client, ELEVEN_MINUTES)
        file = SimpleUploadedFile("new.csv", b"name\nNew\n")
        page = self.client.post(IMPORT, {"file": file})
        self.assertContains(page, "choose your file again")
        self.assertRedirects(self.confirm(page), IMPORT)

    @tag("D26")
    def test_an_import_that_was_previewed_goes_on_after_the_password(self):
        file = SimpleUploadedFile("new.csv", b"name\nNew\n")
        preview = self.client.post(IMPORT, {"file": file}, follow=True)
        age_sign_in(self.client, ELEVEN_MINUTES)
        url = preview.request["PATH_INFO"]
        page = self.client.post(url, read_form(preview, "seen"))
        self.assertTrue(asks(page))
        self.assertFalse(Organization.objects.exists())
        self.confirm(page)
        self.assertEqual(Organization.objects.get().name, "New")

    @tag("D26")
    def test_own_password_leads_to_the_page_that_asks_for_the_old_one(self):
        url = f"{PEOPLE}{self.root.pk}/password/"
        data = {
            "password1": NEW_PASSWORD,
            "password2": NEW_PASSWORD,
            "usable_password": "true",
        }
        for response in (self.client.get(url), self.client.post(url, data)):
            self.assertRedirects(response, "/admin/password_change/")
        self.root.refresh_from_db()
        self.assertTrue(self.root.check_password("secret"))

    @tag("D26")
    def test_own_password_needs_the_old_one_only(self):
        age_sign_in(self.client, SEVEN_HOURS)
        data = {
            "old_password": "secret",
            "new_password1": NEW_PASSWORD,
            "new_password2": NEW_PASSWORD,
        }
        response = self.client.post("/admin/password_change/", data)
        self.assertRedirects(response, "/admin/password_change/done/")


@override_settings(SECOND_FACTOR="optional")
class SecondFactorTests(StepUpCase):
    """Confirming who you are with a second factor."""

    def setUp(self):
        super().setUp()
        self.secret, self.codes = self.set_up()
        age_sign_in(self.client, ELEVEN_MINUTES)

    @tag("D15", "D26")
    def test_asks_for_the_code_too(self):
        page = self.promote(self.anna)
        self.assertContains(page, 'name="step-up-code"')
        code = make_code(self.secret, 1)
        cases = [
            ("secret", "000000", False),
            ("wrong", code, False),
            ("secret", "", False),
            ("secret", code, True),
        ]
        for password, entered, expected in cases:
            with self.subTest(password=password, entered=entered):
                self.confirm(page, password, **{"step-up-code": entered})
                self.assertEqual(self.is_superuser(self.anna), expected)

    @tag("D15", "D26")
    def test_a_code_counts_once(self):
        code = {"step-up-code": make_code(self.secret, 1)}
        self.confirm(self.promote(self.anna), **code)
        age_sign_in(self.client, ELEVEN_MINUTES)
        again = self.confirm(self.promote(self.root), **code)
        self.assertContains(again, "The password or the code is wrong")

    @tag("D15", "D26")
    def test_a_recovery_code_counts(self):
        self.confirm(self.promote(self.anna), **{"step-up-code": self.codes[0]})
        self.assertTrue(self.is_superuser(self.anna))

    @tag("D15", "D26")
    def test_the_pages_of_the_second_factor_ask(self):
        for url in (REMOVE, RECOVERY_CODES, f"{RECOVERY_CODES}generate/"):
            for response in (self.client.get(url), self.client.post(url)):
                self.assertTrue(asks(response), url)
        self.assertTrue(Authenticator.objects.filter(type="totp").exists())
        page = self.client.post(REMOVE)
        self.confirm(page, **{"step-up-code": make_code(self.secret, 1)})
        self.assertFalse(Authenticator.objects.exists())

    @tag("D15", "D26")
    def test_setting_one_up_asks(self):
        Authenticator.objects.all().delete()
        self.assertTrue(asks(self.client.get(SET_UP)))
        self.assertTrue(asks(self.client.post(SET_UP, {"code": "000000"})))
        self.assertNotIn("000000", str(dict(self.client.session)))

    @tag("D15", "D26")
    def test_own_password_asks_for_the_code(self):
        data = {
            "old_password": "secret",
            "new_password1": NEW_PASSWORD,
            "new_password2": NEW_PASSWORD,
        }
        page = self.client.post("/admin/password_change/", data)
        self.assertTrue(asks(page))
        self.confirm(page, **{"step-up-code": make_code(self.secret, 1)})
        self.root.refresh_from_db()
        self.assertTrue(self.root.check_password(NEW_PASSWORD))


class CompanyTests(CompanyCase):
    """People who sign in with the company's provider and have no password."""

    def setUp(self):
        super().setUp()
        User.objects.filter(pk=self.ada.pk).update(is_superuser=True)
        self.ada.refresh_from_db()
        self.ada.set_unusable_password()
        self.ada.save()
        self.anna = create_user("anna")
        self.delete_url = f"{PEOPLE}{self.anna.pk}/delete/"
        self.client = Client(enforce_csrf_checks=True)
        self.client.get(LOGIN)
        self.sign_in_there()

    def sign_in_there(self, **claims):
        """Sign in at the provider, as in another tab of the same browser.

        Returns the address at the provider to which the site has led.
        """
        url = leave(self.client, SIGN_IN, self.token())
        self.client.get(CALLBACK, self.visit(url, **claims))
        self.assertTrue(self.is_signed_in())
        return url

    def token(self):
        return {"csrfmiddlewaretoken": self.client.cookies["csrftoken"].value}

    def delete_anna(self, **fields):
        return self.client.post(
            self.delete_url, self.token() | {"post": "yes"} | fields
        )

    def has_anna(self):
        return User.objects.filter(pk=self.anna.pk).exists()

    @tag("D16", "D26")
    def test_sign_in_there_again_and_continue_in_the_first_tab(self):
        age_sign_in(self.client, ELEVEN_MINUTES)
        page = self.delete_anna()
        self.assertTrue(asks(page))
        self.assertNotContains(page, 'type="password"')
        fields = read_form(page, "step-up-continue")
        early = self.client.post(self.delete_url, fields)
        self.assertContains(early, "You have not signed in again yet")
        self.assertTrue(self.has_anna())
        self.sign_in_there()
        self.assertEqual(self.client.post(self.delete_url, fields).status_code, 302)
        self.assertFalse(self.has_anna())

    @tag("D16", "D26")
    def test_the_provider_asks_for_the_password_although_it_knows_the_person(self):
        self.assertIn("prompt=login&max_age=0", self.sign_in_there())
        self.client.post("/admin/logout/", self.token())
        self.client.get(LOGIN)
        self.assertNotIn("prompt", self.sign_in_there())

    @tag("D39")
    def test_the_provider_is_always_asked_to_say_when_it_asked(self):
        self.client.post("/admin/logout/", self.token())
        self.client.get(LOGIN)
        self.assertIn(f"&max_age={ANY_AGE}", self.sign_in_there())

    def come_back(self, **claims):
        """Return from the provider, and return the page that follows."""
        url = leave(self.client, SIGN_IN, self.token())
        answer = self.visit(url, **claims)
        return self.client.get(CALLBACK, answer, follow=True)

    @tag("D16", "D26", "D39")
    def test_the_provider_must_have_asked_for_the_password_again(self):
        """`auth_time` says when the provider last asked."""
        now = time.time()
        cases = [
            ({}, True),
            ({"auth_time": int(now)}, True),
            ({"auth_time": now - 30}, True),
            ({"auth_time": now + 30}, True),
            ({"auth_time": int(now) - 120}, False),
            ({"auth_time": 0}, False),
            ({"auth_time": -1}, False),
            ({"auth_time": str(int(now))}, False),
            ({"auth_time": True}, False),
            ({"auth_time": None}, True),
            ({"auth_time": float("inf")}, False),
            ({"auth_time": float("nan")}, False),
        ]
        for claims, expected in cases:
            with self.subTest(claims):
                age_sign_in(self.client, ELEVEN_MINUTES)
                page = self.come_back(**claims)
                self.assertTrue(self.is_signed_in())
                self.assertEqual(not asks(self.delete_anna(post="")), expected)
                self.assertEqual(
                    "did not ask for your password" in page.content.decode(),
                    not expected and type(claims["auth_time"]) is int,
                )
        events = AuditEvent.objects.filter(event="provider refused")
        self.assertIn("not signed in again", str(events.values_list("details")))

    @tag("D16", "D26", "D39")
    def test_signing_out_first_does_not_help(self):
        """The provider still knows the person, so anyone there could come back."""
        an_hour_ago = int(time.time()) - 3600
        self.client.post("/admin/logout/", self.token())
        self.client.get(LOGIN)
        self.sign_in_there(auth_time=an_hour_ago)
        self.assertEqual(self.client.get(PEOPLE).status_code, 200)
        self.assertTrue(asks(self.delete_anna()))
        self.assertTrue(self.has_anna())
        self.sign_in_there(auth_time=int(time.time()))
        self.assertFalse(asks(self.delete_anna()))

    @tag("D16", "D26")
    def test_only_the_forms_of_the_same_person_remain_valid(self):
        before = self.token()
        bob = create_superuser("bob", email="bob@example.com")
        bob.verify_email()
        self.sign_in_there(sub="2", email="bob@example.com")
        response = self.client.post(self.delete_url, before | {"post": "yes"})
        self.assertEqual(response.status_code, 403)

    @tag("D26")
    def test_without_a_new_sign_in_no_field_helps(self):
        age_sign_in(self.client, ELEVEN_MINUTES)
        for field in ("step-up-password", "step-up-continue", "step-up-reopen"):
            self.assertTrue(asks(self.delete_anna(**{field: ""})))
        self.assertTrue(self.has_anna())


@dataclass(frozen=True)
class Action:
    """A request, and the roles for which it changes something."""

    url: str
    data: dict
    roles: tuple[str, ...]
    needs_recent_sign_in: bool = True


AGES = {"fresh": 0, "11 minutes": ELEVEN_MINUTES, "a week": A_WEEK}


@override_settings(SECOND_FACTOR="optional")
class TableTests(TestCase):
    """Action, age of the session, second factor and role: what happens."""

    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme")
        cls.anna = create_user("anna", email="anna@example.com")
        cls.nina = create_user("nina", reviewer_of=[cls.acme])
        cls.bea = create_user("bea", admin_of=[cls.acme])
        cls.group = Group.objects.create(name="Friends")
        cls.link = SocialAccount.objects.create(
            user=cls.anna, provider="company", uid="1"
        )
        cls.users = {
            "superuser": create_superuser("root"),
            "user manager": create_user(
                "manager",
                is_staff=True,
                permissions=["view_user", "add_user", "change_user"],
            ),
            "organization admin": create_user("ada", admin_of=[cls.acme]),
        }

    def list_actions(self):
        anna = f"{PEOPLE}{self.anna.pk}/"
        person = {"username": "anna", "email": "anna@example.com", "is_active": "on"}
        email = {"email": "new@example.com"}
        dates = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00"}
        flags = {"is_staff": "on", "is_superuser": "on"}
        password = {
            "password1": NEW_PASSWORD,
            "password2": NEW_PASSWORD,
            "usable_password": "true",
        }
        chosen = {ACTION_CHECKBOX_NAME: [self.anna.pk]}
        root = ("superuser",)
        managers = ("superuser", "user manager")
        acme = f"{LIST}{self.acme.pk}/"
        admins = ("superuser", "organization admin")
        several = {"add": "", "add-several": "anna, nina"}
        return {
            "email": Action(f"{anna}change/", person | dates | email, root),
            "activation": Action(
                f"{anna}change/", person | dates | {"is_active": ""}, managers
            ),
            "link to set a password": Action(f"{anna}password_link/", {}, managers),
            "flags": Action(f"{anna}change/", person | dates | flags, root),
            "password": Action(f"{anna}password/", password, root),
            "deletion": Action(f"{anna}delete/", {"post": "yes"}, root),
            "offboarding": Action(f"{anna}leave/", {"confirmed": "1"}, root),
            "company account": Action(
                f"{anna}company/", {"account": self.link.pk}, root
            ),
            "sign out": Action(f"{anna}sign_out/", {}, root),
            "factors of one person": Action(f"{anna}second_factor/", {}, root),
            "bulk deletion": Action(
                PEOPLE, chosen | {"action": "delete_selected", "post": "yes"}, root
            ),
            "factors": Action(
                PEOPLE, chosen | {"action": "remove_second_factor", "post": "yes"}, root
            ),
            "group": Action(f"{GROUPS}{self.group.pk}/change/", {"name": "Foes"}, root),
            "several roles": Action(
                f"{acme}people/", several | {"add-role": "admin"}, root
            ),
            "one admin": Action(
                f"{acme}people/", {"user": self.nina.pk, "role": "admin"}, admins
            ),
            "one new admin": Action(
                f"{acme}people/",
                {"add": "", "add-who": "anna", "add-role": "admin"},
                root,
            ),
            "one invited admin": Action(
                f"{acme}people/",
                {"add": "", "add-who": "new@example.com"} | {"add-role": "admin"},
                admins,
            ),
            "one new reviewer": Action(
                f"{acme}people/",
                {"add": "", "add-who": "anna", "add-role": "reviewer"},
                root,
                needs_recent_sign_in=False,
            ),
            "several invitations": Action(
                f"{acme}people/",
                {"add": "", "add-who": "a@example.com, b@example.com"}
                | {"add-role": "reviewer"},
                admins,
            ),
            "invitations in two fields": Action(
                f"{acme}people/",
                {"add": "", "add-who": "a@example.com", "add-several": "b@example.com"}
                | {"add-role": "reviewer"},
                admins,
            ),
            "one invited reviewer": Action(
                f"{acme}people/",
                {"add": "", "add-who": "new@example.com"} | {"add-role": "reviewer"},
                admins,
                needs_recent_sign_in=False,
            ),
            "one removal": Action(
                f"{acme}people/",
                {"user": self.nina.pk, "remove": "", "confirmed": ""},
                admins,
                needs_recent_sign_in=False,
            ),
            "one admin who becomes a reviewer": Action(
                f"{acme}people/",
                {"user": self.bea.pk, "role": "reviewer", "confirmed": ""},
                admins,
                needs_recent_sign_in=False,
            ),
            "organization": Action(
                f"{acme}change/",
                NO_CONTACTS | {"name": "Renamed"},
                admins,
                needs_recent_sign_in=False,
            ),
            "archiving of an organization": Action(
                f"{acme}delete/", {"post": "yes"}, root
            ),
        }

    def read_state(self):
        """Return everything that the actions could change."""
        return [
            *User.objects.order_by("pk").values(
                "pk", "email", "password", "is_superuser", "is_active", "session_epoch"
            ),
            *User.groups.through.objects.order_by("pk").values(),
            *Group.objects.order_by("pk").values("pk", "name"),
            *Organization.objects.order_by("pk").values(
                "pk", "name", "archived_at", "trashed_at"
            ),
            *Invitation.objects.order_by("pk").values("pk", "email", "role"),
            *Authenticator.objects.order_by("pk").values("pk"),
            *SocialAccount.objects.order_by("pk").values("pk"),
            *AuditEvent.objects.filter(event="password link requested").values("pk"),
        ]

    def act(self, action, user, age, factor):
        """Return the outcome: "done", "asked", "signed out" or "refused"."""
        client = Client()
        client.force_login(user)
        Authenticator.objects.create(user=self.anna, type="totp", data={})
        if factor != "none":
            app = Authenticator.objects.create(user=user, type="totp", data={})
        if factor == "used":
            session = client.session
            session["second_factor"] = {"id": app.pk, "type": "totp"}
            session.save()
        age_sign_in(client, AGES[age])
        before = self.read_state()
        response = client.post(action.url, action.data)
        if self.read_state() != before:
            return "done"
        if asks(response):
            return "asked"
        if "_auth_user_id" not in client.session:
            return "signed out"
        return "refused"

    def expect(self, action, role, age, factor):
        if age == "a week" or factor == "not used":
            return "signed out"
        if age == "11 minutes" and action.needs_recent_sign_in:
            return "asked"
        return "done" if role in action.roles else "refused"

    @tag("D15", "D26")
    def test_each_action_by_age_of_the_session_second_factor_and_role(self):
        for name, action in self.list_actions().items():
            for role, user in self.users.items():
                for age in AGES:
                    for factor in ("none", "used", "not used"):
                        self.check_outcome(name, action, role, user, age, factor)

    def check_outcome(self, name, action, role, user, age, factor):
        before = transaction.savepoint()
        with self.subTest(name, role=role, age=age, factor=factor):
            outcome = self.act(action, user, age, factor)
            self.assertEqual(outcome, self.expect(action, role, age, factor))
        transaction.savepoint_rollback(before)


class EveryPageTests(TestCase):
    """No page about people or groups changes anything with an old sign-in."""

    @classmethod
    def setUpTestData(cls):
        cls.world = World()
        cls.pages = [page for route in walk() for page in fill(route, cls.world)]

    @tag("D26")
    def test_every_post_below_people_and_groups_asks(self):
        client = Client()
        client.force_login(self.world.users["superuser"])
        age_sign_in(client, ELEVEN_MINUTES)
        count = 0
        for page in self.pages:
            model = find_model(page.url)
            model_admin = admin.site._registry.get(model)
            if model is None or isinstance(model_admin, GatedModelAdmin):
                continue
            count += 1
            for data in (ATTACK, {"confirmed": "1"}, {}):
                with self.subTest(page.url, data=data):
                    self.assertTrue(asks(client.post(page.url, data)))
        self.assertGreater(count, 25)

    @tag("D26")
    def test_every_other_post_that_does_not_ask_is_known(self):
        """A new page asks for a recent sign-in, or is added to this list."""
        client = Client()
        pk = self.world.users["superuser"].pk
        doors = set()
        for page in self.pages:
            client.force_login(User.objects.get(pk=pk))
            age_sign_in(client, ELEVEN_MINUTES)
            if not asks(client.post(page.url)):
                doors.add(page.label)
        self.assertEqual(
            doors,
            {
                # These change or show one's own account. The account page asks before
                # the email address is changed, and only then is there a link.
                "account/",
                "activity/",
                "language/",
                "new-email/<token>/",
                # These confirm the address that the account already has.
                "confirm-email/",
                "confirm-email/<token>/",
                # Sends an invitation to the address that it was sent to before.
                "no-organization/",
                # Asks for access, which someone else decides about.
                "request-access/<token>/",
                # Leads back to one's own view of the site.
                "stop-viewing/",
                # Visitors use these, or they end sessions.
                "invitation/<token>/",
                "lock-out/<token>/",
                "account/end-session/",
                "login/",
                "logout/",
                "oidc/<provider_id>/departure/<key>/",
                "oidc/<provider_id>/login/",
                "oidc/<provider_id>/login/callback/",
                "oidc/<provider_id>/send-invitation/",
                "oidc/<provider_id>/sign-out/",
                "oidc/<provider_id>/signed-out/",
                "oidc/<provider_id>/back-channel-logout/",
                "password_reset/",
                "password_reset/done/",
                "reset/<uidb64>/<token>/",
                "reset/done/",
                "second-factor/",
                "second-factor/authenticate/",
                "second-factor/passkeys/options/<purpose>/",
                "second-factor/passkeys/sign-in/",
                "sign-out-elsewhere/",
                # Tells when the session ends, or extends it.
                "stay-signed-in/",
                # This page asks for the old password.
                "password_change/",
                # Records of organizations.
                "orgadmin/contact/",
                "orgadmin/contact/add/",
                "orgadmin/contact/<object_id>/change/",
                "orgadmin/contact/<object_id>/delete/",
                "orgadmin/organization/add/",
                "orgadmin/organization/<object_id>/change/",
                "orgadmin/organization/<object_id>/people/",
                "orgadmin/organization/<object_id>/requests/",
                "orgadmin/organization/<object_id>/restore/",
                # Asks if a role is given, as the page of people does.
                "orgadmin/organization/<object_id>/review/",
            },
        )


class CheckTests(SimpleTestCase):
    """The system check E007."""

    def find_errors(self, model, admin_class):
        site = admin.AdminSite()
        site.register(model, admin_class)
        errors = check_admin_site(None, site=site, models=[])
        return [error for error in errors if error.id == "orgadmin.E007"]

    @tag("D26")
    def test_classes_about_people_are_closed_to_old_sign_ins(self):
        class Overrides(SuperuserOnlyAdmin):
            def needs_recent_sign_in(self, request, name):
                return False

        class Names(SuperuserOnlyAdmin):
            open_to_old_sign_ins = ("change_view",)

        for model in (User, Group, MembershipEvent):
            for admin_class in (Overrides, Names):
                self.assertTrue(self.find_errors(model, admin_class))
            self.assertFalse(self.find_errors(model, SuperuserOnlyAdmin))

    @tag("D26")
    def test_classes_of_what_belongs_to_organizations_may_be_open(self):
        class ContactAdmin(GatedModelAdmin):
            organization_path = "organization"

        self.assertFalse(self.find_errors(Contact, ContactAdmin))
