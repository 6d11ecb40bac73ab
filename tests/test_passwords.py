"""The rules for new passwords, on every way to set one."""

import io
import os
import threading
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import TestCase, override_settings, tag

from orgadmin.models import User
from orgadmin.people import invitations
from tests.factories import ADMIN, create_organization, create_superuser, create_user
from tests.mailing import read_link, send_invitation

SHORT = "plum kettle"  # 11 characters
MEMBERS_ONLY = "plum kettle 9z"  # 14 characters
GOOD = "plum kettle violin"
BREACHED = "1qaz2wsx3edc4rfv"
UNICODE = "Ωmega  \N{SNOWMAN} \N{GRINNING FACE} naïve "
LONG = "plum kettle violin " * 20

TOO_SHORT = "This password is too short."
KNOWN = "Attackers know this password from a data breach."
NAMES = "do not count towards the length"


class Handler(BaseHTTPRequestHandler):
    """Answers as the service for breached passwords does."""

    def do_GET(self):
        self.server.requests.append((self.path, self.headers["Add-Padding"]))
        prefix = self.path.rpartition("/")[2]
        lines = ["0" * 35 + ":0"]
        for digest, count in self.server.counts.items():
            if digest.startswith(prefix):
                lines.append(f"{digest[5:]}:{count}")
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write("\r\n".join(lines).encode())

    def log_message(self, *args):
        """Keep the output of the tests free of requests."""


@contextmanager
def password_service(counts=(), status=200):
    """Start a service that knows {password: how often it was seen}."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    server.status = status
    server.counts = {
        sha1(password.encode()).hexdigest().upper(): count
        for password, count in dict(counts).items()
    }
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/range"
        with override_settings(PWNED_PASSWORDS_URL=url):
            yield server
    finally:
        server.shutdown()
        server.server_close()


class WaysTests(TestCase):
    """Each way to set a password, for members and for platform staff."""

    def setUp(self):
        self.acme = create_organization("Acme")
        self.member = create_user("ada", email="ada@example.com", admin_of=[self.acme])
        self.root = create_superuser("root", email="root@example.com")

    def change_own(self, user, password):
        self.client.force_login(user)
        data = {
            "old_password": "secret",
            "new_password1": password,
            "new_password2": password,
        }
        return self.client.post("/admin/password_change/", data)

    def reset(self, user, password):
        self.client.logout()
        self.client.post("/admin/password_reset/", {"email": user.email})
        form_url = self.client.get(read_link(), follow=True).redirect_chain[-1][0]
        data = {"new_password1": password, "new_password2": password}
        return self.client.post(form_url, data)

    def set_as_superuser(self, user, password):
        self.client.force_login(create_superuser(f"boss{User.objects.count()}"))
        url = f"/admin/orgadmin/user/{user.pk}/password/"
        data = {
            "usable_password": "true",
            "set-password": "1",
            "password1": password,
            "password2": password,
        }
        return self.client.post(url, data)

    def has_password(self, user, password):
        return User.objects.get(pk=user.pk).check_password(password)

    @tag("D32")
    def test_every_page_refuses_what_is_too_short_or_breached(self):
        ways = (self.change_own, self.reset, self.set_as_superuser)
        refused = (
            (self.member, SHORT, TOO_SHORT),
            (self.member, BREACHED, KNOWN),
            (self.root, MEMBERS_ONLY, TOO_SHORT),
            (self.root, BREACHED, KNOWN),
        )
        for way in ways:
            for user, password, error in refused:
                with self.subTest(way.__name__, user=user, password=password):
                    response = way(user, password)
                    self.assertContains(response, error)
                    self.assertTrue(self.has_password(user, "secret"))

    @tag("D32")
    def test_every_page_accepts_long_passwords_of_any_characters(self):
        for way in (self.change_own, self.reset, self.set_as_superuser):
            for user, password in (
                (self.member, MEMBERS_ONLY),
                (self.member, "918273645546"),
                (self.root, UNICODE),
                (self.root, LONG),
            ):
                with self.subTest(way.__name__, user=user, password=password):
                    current = User.objects.get(pk=user.pk)
                    current.set_password("secret")
                    current.save()
                    way(current, password)
                    self.assertTrue(self.has_password(user, password))
                    self.assertFalse(self.has_password(user, password[:-1]))

    @tag("D32")
    def test_an_invitation_refuses_a_short_password(self):
        invitation = invitations.invite(
            self.acme, "nora@example.com", ADMIN, actor=self.root
        )
        send_invitation(invitation)
        data = {"new_password1": SHORT, "new_password2": SHORT}
        response = self.client.post(read_link(), data)
        self.assertContains(response, TOO_SHORT)
        self.assertFalse(User.objects.filter(email="nora@example.com").exists())

    @tag("D32")
    def test_a_new_account_needs_a_good_password(self):
        self.client.force_login(self.root)
        data = {
            "username": "nora",
            "usable_password": "true",
            "password1": SHORT,
            "password2": SHORT,
        }
        response = self.client.post("/admin/orgadmin/user/add/", data)
        self.assertContains(response, TOO_SHORT)

    def test_a_password_from_before_the_rule_still_works(self):
        data = {"username": "root", "password": "secret"}
        self.client.post("/admin/login/", data)
        self.assertEqual(self.client.get("/admin/").status_code, 200)

    def sign_in(self, username, password):
        self.client.logout()
        data = {"username": username, "password": password, "next": "/admin/"}
        return self.client.post("/admin/login/", data, follow=True)

    @tag("D32")
    def test_staff_with_a_short_password_are_asked_to_change_it_when_they_sign_in(self):
        warning = "Your password has fewer than 15 characters"
        self.assertContains(self.sign_in("root", "secret"), warning)
        self.assertNotContains(self.sign_in("root", "wrong"), warning)
        self.assertNotContains(self.sign_in("ada", "secret"), warning)
        self.root.set_password(GOOD)
        self.root.save()
        self.assertNotContains(self.sign_in("root", GOOD), warning)

    @tag("D32")
    def test_browsers_fill_in_and_paste_passwords_of_any_length(self):
        self.client.force_login(self.root)
        pages = {
            "/admin/password_change/": ["current-password", "new-password"],
            f"/admin/orgadmin/user/{self.member.pk}/password/": ["new-password"],
            "/admin/orgadmin/user/add/": ["new-password"],
        }
        for page, purposes in pages.items():
            html = self.client.get(page).content.decode()
            fields = [tag for tag in html.split("<") if 'type="password"' in tag]
            self.assertTrue(fields)
            for field in fields:
                self.assertNotIn("maxlength", field)
                self.assertTrue(
                    any(f'autocomplete="{purpose}"' in field for purpose in purposes),
                    field,
                )
        self.client.logout()
        self.assertContains(
            self.client.get("/admin/login/"), 'autocomplete="current-password"'
        )


class CommandTests(TestCase):
    def create_superuser(self, password, **options):
        environment = {
            "DJANGO_SUPERUSER_PASSWORD": password,
            "DJANGO_SUPERUSER_USERNAME": "boss",
            "DJANGO_SUPERUSER_EMAIL": "boss@example.com",
        }
        with mock.patch.dict(os.environ, environment):
            call_command("createsuperuser", "--no-input", verbosity=0)

    @tag("D32")
    def test_createsuperuser_refuses_a_short_password_of_the_environment(self):
        for password in (SHORT, MEMBERS_ONLY, BREACHED, "boss-example 12"):
            with self.assertRaises(CommandError):
                self.create_superuser(password)
        self.assertFalse(User.objects.exists())
        self.create_superuser(GOOD)
        self.assertTrue(User.objects.get().check_password(GOOD))

    @tag("D32")
    def test_createsuperuser_asks_again_for_a_short_password(self):
        module = "django.contrib.auth.management.commands.createsuperuser"
        passwords = [MEMBERS_ONLY, MEMBERS_ONLY, GOOD, GOOD]
        errors = io.StringIO()
        terminal = mock.Mock(**{"isatty.return_value": True})
        with (
            mock.patch(f"{module}.getpass.getpass", side_effect=passwords),
            mock.patch("builtins.input", return_value="n"),
        ):
            call_command(
                "createsuperuser",
                username="boss",
                email="boss@example.com",
                stdin=terminal,
                stdout=io.StringIO(),
                stderr=errors,
            )
        self.assertIn("at least 15 characters", errors.getvalue())
        self.assertTrue(User.objects.get().is_superuser)
        self.assertTrue(User.objects.get().check_password(GOOD))

    def test_createsuperuser_explains_that_an_address_is_taken(self):
        create_user("ada", email="Boss@Example.com")
        with self.assertRaisesRegex(CommandError, "Someone else has the email address"):
            self.create_superuser(GOOD)
        with self.assertRaisesRegex(CommandError, "Someone else has the email address"):
            call_command("createsuperuser", email=" boss@example.com")
        self.assertEqual(User.objects.count(), 1)

    def test_createsuperuser_asks_again_for_an_address_that_is_taken(self):
        create_user("ada", email="Boss@Example.com")
        module = "django.contrib.auth.management.commands.createsuperuser"
        addresses = ["boss@example.com", "other@example.com"]
        errors = io.StringIO()
        with (
            mock.patch(f"{module}.getpass.getpass", return_value=GOOD),
            mock.patch("builtins.input", side_effect=addresses),
        ):
            call_command(
                "createsuperuser",
                username="boss",
                stdin=mock.Mock(**{"isatty.return_value": True}),
                stdout=io.StringIO(),
                stderr=errors,
            )
        self.assertIn("Someone else has the email address", errors.getvalue())
        self.assertEqual(User.objects.get(username="boss").email, addresses[1])

    @tag("D32")
    def test_changepassword_knows_who_is_staff(self):
        create_user("ada", is_staff=True)
        module = "django.contrib.auth.management.commands.changepassword"
        with (
            mock.patch(f"{module}.getpass.getpass", return_value=MEMBERS_ONLY),
            self.assertRaises(CommandError),
        ):
            call_command(
                "changepassword", "ada", stdout=io.StringIO(), stderr=io.StringIO()
            )


class KnownWordsTests(TestCase):
    def setUp(self):
        acme = create_organization("Müller Brothers GmbH")
        self.ada = create_user(
            "alovelace",
            first_name="Augusta",
            last_name="Lovelace",
            email="countess@engine.example",
            admin_of=[acme],
        )

    @tag("D33")
    def test_names_do_not_count_towards_the_length(self):
        for password in (
            "alovelace-2026",
            "Lovelace12Augusta",
            "countess-engine",
            "MULLER brothers 26",
            "testserver2026",
            "organizations1",
            "orgadmin-orgadmin",
        ):
            with (
                self.subTest(password),
                override_settings(BASE_URL="https://testserver.example"),
                self.assertRaisesMessage(ValidationError, NAMES),
            ):
                validate_password(password, self.ada)

    @tag("D33")
    def test_a_name_in_a_long_password_does_no_harm(self):
        validate_password("augusta plum kettle", self.ada)

    @tag("D33")
    def test_the_organization_of_an_invitation_is_known_too(self):
        harbor = create_organization("Harbor Lights")
        actor = create_superuser()
        invitations.invite(harbor, "nora@example.com", ADMIN, actor=actor)
        with self.assertRaisesMessage(ValidationError, "“harbor”, “lights”"):
            validate_password("harbor-lights-9", User(email="nora@example.com"))

    @tag("D33")
    def test_an_address_that_nobody_verified_does_not_reveal_who_is_invited(self):
        """Someone may put it on an account, and then try passwords for it."""
        harbor = create_organization("Harbor Lights")
        actor = create_superuser()
        invitations.invite(harbor, "nora@example.com", ADMIN, actor=actor)
        puppet = create_user("puppet", email="nora@example.com")
        validate_password("harbor-lights-9", puppet)
        puppet.verify_email()
        with self.assertRaises(ValidationError):
            validate_password("harbor-lights-9", puppet)

    @tag("D33")
    def test_an_address_that_looks_the_same_does_not_reveal_who_is_invited(self):
        harbor = create_organization("Harbor Lights")
        actor = create_superuser()
        invitations.invite(harbor, "kim@example.com", ADMIN, actor=actor)
        puppet = create_user("puppet", email="\N{KELVIN SIGN}im@example.com")
        puppet.verify_email()
        validate_password("harbor-lights-9", puppet)

    @tag("D33")
    def test_other_organizations_are_not_revealed(self):
        create_organization("Plum Kettle")
        validate_password("plum-kettle-9", self.ada)


class ServiceTests(TestCase):
    @tag("D32")
    def test_a_password_that_the_service_knows_is_refused(self):
        with password_service({GOOD: 3}) as server:
            with self.assertRaisesMessage(ValidationError, KNOWN):
                validate_password(GOOD)
        digest = sha1(GOOD.encode()).hexdigest().upper()
        self.assertEqual(server.requests, [(f"/range/{digest[:5]}", "true")])

    @tag("D32")
    def test_padding_and_other_passwords_are_not_refused(self):
        with password_service({GOOD: 0, LONG: 5}):
            validate_password(GOOD)

    @tag("D32")
    def test_a_service_that_fails_lets_the_password_through_and_is_logged(self):
        for status in (500, 302):
            with (
                password_service({GOOD: 3}, status=status),
                self.assertLogs("orgadmin.passwords", "WARNING") as logs,
            ):
                validate_password(GOOD)
        self.assertNotIn(sha1(GOOD.encode()).hexdigest()[:5].upper(), str(logs.output))
        with (
            override_settings(PWNED_PASSWORDS_URL="http://127.0.0.1:9/range"),
            self.assertLogs("orgadmin.passwords", "WARNING"),
        ):
            validate_password(GOOD)

    def test_nobody_is_asked_unless_the_setting_says_so(self):
        with mock.patch("requests.get") as get:
            validate_password(GOOD)
        get.assert_not_called()
