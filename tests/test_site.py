"""Signing in to the admin site, and its home page."""

from unittest import mock

from django.contrib.auth import authenticate
from django.db import connection
from django.test import TestCase, tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orgadmin.access.roles import ADMIN
from orgadmin.accounts import throttle
from orgadmin.admin.home.home import MAX_CARDS, NAMED_PER_ROLE
from orgadmin.models import Organization, SignInAttempt, User
from orgadmin.models.organization_queryset import OrganizationQuerySet
from orgadmin.models.sign_in_attempt import WINDOW
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import change_roles

from .factories import create_organization, create_superuser, create_user, grant

LOGIN = "/admin/login/"
FRONT = "/admin/"


class SignInTests(TestCase):
    def sign_in(self, username, password="secret"):
        return self.client.post(
            LOGIN, {"username": username, "password": password, "next": "/admin/"}
        )

    @tag("D1")
    def test_admits_people_with_access_and_platform_staff(self):
        acme = create_organization()
        create_superuser("root")
        create_user("staff", is_staff=True)
        create_user("admin", admin_of=[acme])
        create_user("reviewer", reviewer_of=[acme])
        for username in ("root", "staff", "admin", "reviewer"):
            with self.subTest(username=username):
                self.assertRedirects(self.sign_in(username), "/admin/")
                self.client.logout()

    @tag("D2")
    def test_refuses_everyone_else_like_a_wrong_password(self):
        acme = create_organization()
        create_user(
            "inactive",
            admin_of=[acme],
            is_active=False,
            email="inactive@example.com",
        )
        create_user("admin", admin_of=[acme], email="admin@example.com")
        attempts = [
            ("inactive", "secret"),
            ("inactive@example.com", "secret"),
            ("admin@example.com", "wrong"),
            ("nobody@example.com", "secret"),
            ("admin", "wrong"),
            ("nobody", "secret"),
        ]
        messages = set()
        for username, password in attempts:
            response = self.sign_in(username, password)
            self.assertEqual(response.status_code, 200)
            self.assertNotIn("_auth_user_id", self.client.session)
            errors = str(response.context["form"].errors)
            messages.add(errors.replace(username, ""))
        self.assertEqual(len(messages), 1)

    @tag("D1")
    def test_finds_people_by_username_or_email_address_in_any_spelling(self):
        acme = create_organization()
        create_user("Ada", admin_of=[acme], email="Lovelace@Example.com")
        create_user("jörg", admin_of=[acme], email="jörg@münchen.example")
        for name in (
            "Ada",
            "ADA",
            " ada ",
            "ａｄａ",
            "lovelace@example.com",
            "LOVELACE@EXAMPLE.COM",
            "ｌｏｖｅｌａｃｅ＠example．com",
            "JÖRG",
            "JÖRG@MÜNCHEN.example",
            "jörg@xn--mnchen-3ya.example",
        ):
            with self.subTest(name):
                self.assertRedirects(self.sign_in(name), "/admin/")
                self.client.logout()

    @tag("D1")
    def test_a_wrong_password_is_not_said_to_depend_on_the_case_of_the_username(self):
        response = self.sign_in("ada", "wrong")
        self.assertNotContains(response, "case-sensitive")
        text = "The username or email address and the password do not match."
        self.assertContains(response, text)
        self.assertContains(response, "Username or email address")

    @tag("D1")
    def test_code_signs_in_with_the_exact_username(self):
        create_user("Ada@example.com", email="other@example.com")
        create_user("b", email="ada@example.com")
        self.assertTrue(
            self.client.login(username="Ada@example.com", password="secret")
        )
        user = authenticate(username="Ada@example.com", password="secret")
        self.assertEqual(user.username, "Ada@example.com")
        self.assertIsNone(authenticate(username="other@example.com", password="secret"))

    @tag("D1")
    def test_an_address_means_its_owner_rather_than_an_old_username(self):
        create_user("ada@example.com")
        owner = create_user("countess", email="ada@example.com")
        self.sign_in("ada@example.com")
        self.assertEqual(self.client.session["_auth_user_id"], str(owner.pk))

    @tag("D1")
    def test_an_old_username_still_works_on_a_device_that_its_owner_has_used(self):
        old = create_user("ada@example.com")
        self.sign_in("ada@example.com")
        self.client.post("/admin/logout/")
        create_user("countess", email="ada@example.com")
        self.sign_in("ada@example.com")
        self.assertEqual(self.client.session["_auth_user_id"], str(old.pk))

    def test_everyone_gets_the_page(self):
        outsider = create_user("outsider")
        inactive = create_user("inactive", is_active=False)
        for user in (None, outsider, inactive):
            if user:
                self.client.force_login(user)
            response = self.client.get(LOGIN)
            self.assertContains(response, 'name="username"')
            self.assertContains(response, 'name="password"')

    @tag("D14")
    def test_redirects_only_within_the_site(self):
        create_superuser("root")
        for target in (
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
        ):
            response = self.client.post(
                LOGIN, {"username": "root", "password": "secret", "next": target}
            )
            self.assertEqual(response["Location"], "/admin/")

    def test_the_root_leads_to_the_admin(self):
        self.assertRedirects(
            self.client.get("/"), "/admin/", fetch_redirect_response=False
        )


class GuessingTests(TestCase):
    def sign_in(self, password, username="root", **extra):
        self.client.post(LOGIN, {"username": username, "password": password}, **extra)
        signed_in = "_auth_user_id" in self.client.session
        self.client.logout()
        return signed_in

    @tag("D7")
    def test_is_refused_after_some_failures_like_a_wrong_password(self):
        create_superuser("root")
        first = self.client.post(LOGIN, {"username": "root", "password": "wrong"})
        for number in range(throttle.LIMIT - 1):
            self.assertFalse(self.sign_in(f"wrong {number}"))
            # These are not attempts, so the count of failures stays the same.
            for password in ("", "\0"):
                self.sign_in(password)
        self.assertFalse(self.sign_in("secret"))
        last = self.client.post(LOGIN, {"username": "ROOT", "password": "secret"})
        self.assertEqual(first.context["form"].errors, last.context["form"].errors)
        self.assertTrue(self.sign_in("secret", REMOTE_ADDR="192.0.2.1"))

    def test_can_go_on_after_a_while_and_after_a_success(self):
        create_superuser("root")
        for _ in range(3):
            for number in range(throttle.LIMIT - 1):
                self.sign_in(f"wrong {number}")
            self.assertTrue(self.sign_in("secret"))
        for number in range(throttle.LIMIT):
            self.sign_in(f"wrong {number}")
        self.assertFalse(self.sign_in("secret"))
        SignInAttempt.objects.update(since=timezone.now() - WINDOW)
        self.assertTrue(self.sign_in("secret"))
        SignInAttempt.objects.update(since=timezone.now() - WINDOW)
        counted_before = set(SignInAttempt.objects.values_list("pk", flat=True))
        self.assertFalse(self.sign_in("wrong", username="another"))
        self.assertFalse(SignInAttempt.objects.filter(pk__in=counted_before).exists())

    def test_counts_usernames_that_nobody_has(self):
        for _ in range(throttle.LIMIT):
            self.sign_in("wrong", username="nobody")
        self.assertFalse(throttle.count_attempt("sign-in", "NOBODY\n127.0.0.1"))
        self.assertTrue(throttle.count_attempt("sign-in", "NOBODY\n127.0.0.2"))


class EntryTests(TestCase):
    def test_a_signed_in_person_without_access_is_asked_to_sign_in(self):
        self.client.force_login(create_user("outsider"))
        for url in (
            "/admin/",
            "/admin/orgadmin/organization/",
            "/admin/jsi18n/",
        ):
            self.assertRedirects(self.client.get(url), f"{LOGIN}?next={url}")

    @tag("A33")
    def test_members_change_their_password(self):
        self.client.force_login(create_user(admin_of=[create_organization()]))
        data = {
            "old_password": "secret",
            "new_password1": "correct horse battery",
            "new_password2": "correct horse battery",
        }
        response = self.client.post("/admin/password_change/", data)
        self.assertEqual(response.status_code, 302)
        self.assertTrue(User.objects.get().check_password("correct horse battery"))


class CardTests(TestCase):
    def setUp(self):
        self.acme = create_organization(
            "Acme", website="https://acme.example", phone="1", address="1 Road"
        )
        self.beta = create_organization("Beta", tax_id="SECRET")
        create_organization("Foreign", phone="CANARY")
        self.ada = create_user(
            "ada", first_name="Ada", admin_of=[self.acme], reviewer_of=[self.beta]
        )
        self.client.force_login(self.ada)

    def get_cards(self, response):
        """Return {name of the organization: card}."""
        cards = response.context["cards"]
        return {card.organization.name: card for card in cards}

    def count_queries(self):
        with CaptureQueriesContext(connection) as queries:
            self.client.get(FRONT)
        return len(queries)

    @tag("A42", "A44")
    def test_do_not_tell_that_a_confidential_field_is_empty(self):
        editor = create_user("editor")
        for codename in ("view_organization", "change_organization"):
            grant(editor, codename, self.acme)
        self.client.force_login(editor)
        [card] = self.get_cards(self.client.get(FRONT)).values()
        self.assertEqual([str(name) for name in card.missing], ["email"])

    @tag("A42")
    def test_show_of_each_organization_what_the_role_there_may_see(self):
        create_user("bob", first_name="Bob", last_name="Builder", admin_of=[self.acme])
        create_user("gone", is_active=False, reviewer_of=[self.acme])
        create_user("zoe-k", admin_of=[self.beta])
        response = self.client.get(FRONT)
        cards = self.get_cards(response)
        self.assertEqual(list(cards), ["Acme", "Beta"])
        acme = cards["Acme"]
        beta = cards["Beta"]
        self.assertEqual(acme.role.key, "admin")
        self.assertEqual(beta.role.key, "reviewer")
        self.assertEqual([person.username for person in acme.people], ["bob"])
        self.assertEqual([str(name) for name in acme.missing], ["email", "tax ID"])
        self.acme.refresh_from_db()
        self.assertEqual(acme.changed_at, self.acme.changed_at)
        for name in ("people", "more", "missing", "changed_at"):
            self.assertIsNone(getattr(beta, name), name)
        self.assertContains(response, "Bob Builder")
        for hidden in ("zoe-k", "CANARY", "Foreign", "SECRET"):
            self.assertNotContains(response, hidden)

    def test_name_a_few_people_and_count_the_others(self):
        for number in range(NAMED_PER_ROLE + 2):
            create_user(f"person-{number}", admin_of=[self.acme])
        response = self.client.get(FRONT)
        card = self.get_cards(response)["Acme"]
        self.assertEqual(len(card.people), NAMED_PER_ROLE)
        self.assertEqual(card.more, 2)
        self.assertContains(response, "and 2 more")

    def test_leave_out_an_organization_whose_access_ends_while_the_page_is_made(self):
        find_sources = OrganizationQuerySet.find_sources

        def remove_first(queryset, users, pks):
            self.ada.groups.remove(self.acme.admin)
            return find_sources(queryset, users, pks)

        with mock.patch.object(OrganizationQuerySet, "find_sources", remove_first):
            response = self.client.get(FRONT)
        self.assertEqual(list(self.get_cards(response)), ["Beta"])
        self.assertNotContains(response, "1 Road")

    def join_many(self, count):
        """Make Ada an admin of this number of other organizations."""
        organizations = Organization.objects.bulk_create(
            Organization(name=f"Many {number}") for number in range(count)
        )
        # Django's `groups.add()` adds them in any order, and the order decides how many
        # organizations have both a new member and another new entry.
        change_roles(
            [
                RoleChange(self.ada, organization, ADMIN)
                for organization in organizations
            ],
            notify=False,
        )

    def test_take_the_same_queries_for_some_and_for_many(self):
        self.client.get(FRONT)
        self.assertEqual(self.count_queries(), 9)
        self.join_many(100)
        cards = self.get_cards(self.client.get(FRONT))
        self.assertEqual(len(cards), MAX_CARDS)
        # The others ask about the organizations that have no card, and name those that
        # Ada has joined.
        queries = self.count_queries()
        self.assertEqual(queries, 20)
        self.join_many(100)
        self.assertEqual(self.count_queries(), queries)

    def test_are_not_for_people_who_can_view_every_organization(self):
        staff = create_user("staff", is_staff=True, permissions=["view_organization"])
        for user in (create_superuser(), staff):
            self.client.force_login(user)
            self.assertNotIn("cards", self.client.get(FRONT).context)
