"""Ways around the gate that no other test is about, and the table of all ways in docs/security.md."""

import ast
import re
from pathlib import Path
from unittest import mock

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.db import connection
from django.test import Client, SimpleTestCase, TestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext
from django.urls import get_resolver
from guardian.admin import GuardedModelAdminMixin  # noqa: TID251 (to see that nothing derives from it)
from guardian.conf import settings as guardian_settings

from orgadmin.gate.answers import Gate
from orgadmin.models import Organization, User

from .factories import NO_CONTACTS, create_organization, create_superuser, create_user
from .mutants.mutant import apply_edit, list_mutants
from .test_matrix import walk

LOGIN = "/admin/login/"
LIST = "/admin/orgadmin/organization/"


class TableTests(SimpleTestCase):
    """Each row of the table is named by a test, and each name is a row."""

    def test_every_way_is_covered_by_a_test_that_names_it(self):
        text = Path(settings.BASE_DIR, "docs/security.md").read_text()
        rows = re.findall(r"^\| ([A-F]\d+) \|", text, re.MULTILINE)
        self.assertEqual(len(rows), len(set(rows)))
        named = {}
        for path in Path(settings.BASE_DIR, "tests").rglob("test_*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                for decorator in getattr(node, "decorator_list", ()):
                    if getattr(getattr(decorator, "func", None), "id", "") == "tag":
                        for argument in decorator.args:
                            named.setdefault(argument.value, []).append(
                                f"{path.name}:{node.name}"
                            )
        named = {
            name: where
            for name, where in named.items()
            if re.fullmatch(r"[A-F]\d+", name)
        }
        self.assertEqual(set(rows) - set(named), set(), "rows without a test")
        self.assertEqual(
            set(named) - set(rows), set(), "tests of rows that are not there"
        )
        self.assertEqual(len(rows), 97)


class LibraryTests(TestCase):
    @tag("B1", "B2", "B3", "B4", "B5", "B6", "B7")
    def test_guardians_pages_are_not_mounted(self):
        for model_admin in admin.site._registry.values():
            self.assertNotIsInstance(model_admin, GuardedModelAdminMixin)
        for route in walk():
            self.assertNotIn("permissions", route)

    @tag("B9", "B10", "B13")
    def test_guardian_is_set_up_closed(self):
        self.assertIsNone(guardian_settings.ANONYMOUS_USER_NAME)
        self.assertFalse(guardian_settings.LEGACY_GLOBAL_PERMS_GROUP_UNION)
        self.assertFalse(guardian_settings.AUTO_PREFETCH)
        self.assertFalse(User.objects.exists())

    @tag("B11")
    def test_visitors_are_answered_and_have_nothing(self):
        create_organization()
        self.assertEqual(self.client.get(LOGIN).status_code, 200)
        self.assertFalse(Gate(AnonymousUser()).may_enter)
        self.assertFalse(Organization.objects.permitted(AnonymousUser()).exists())

    @tag("A40")
    def test_admindocs_is_not_installed(self):
        self.assertFalse(apps.is_installed("django.contrib.admindocs"))

    @tag("A29", "C8")
    def test_the_log_is_not_registered(self):
        self.assertNotIn(
            "logentry", {model._meta.model_name for model in admin.site._registry}
        )

    @tag("C10")
    def test_history_is_shown_by_our_own_gate_only(self):
        for model_admin in admin.site._registry.values():
            self.assertNotIn(
                "simple_history",
                {base.__module__.split(".")[0] for base in type(model_admin).__mro__},
            )

    @tag("D8")
    def test_no_view_is_exempt_from_csrf(self):
        def views(patterns):
            for pattern in patterns:
                yield from (
                    views(pattern.url_patterns)
                    if hasattr(pattern, "url_patterns")
                    else [pattern.callback]
                )

        for view in views(get_resolver().url_patterns):
            self.assertFalse(getattr(view, "csrf_exempt", False), view)


class SessionTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization()
        cls.user = create_user(admin_of=[cls.acme])

    @tag("A39")
    def test_an_unknown_name_takes_the_work_of_a_known_one(self):
        for username in ("anna", "nobody"):
            with mock.patch.object(
                MD5PasswordHasher,
                "encode",
                autospec=True,
                side_effect=MD5PasswordHasher.encode,
            ) as encode:
                self.client.post(LOGIN, {"username": username, "password": "wrong"})
            self.assertEqual(encode.call_count, 1, username)

    @tag("D5")
    def test_signing_in_changes_the_session_key(self):
        self.client.get(LOGIN)
        session = self.client.session
        session["planted"] = "1"
        session.save()
        before = session.session_key
        self.client.post(LOGIN, {"username": "anna", "password": "secret"})
        self.assertNotEqual(self.client.session.session_key, before)

    @tag("D6", "A33")
    def test_a_new_password_ends_the_other_sessions(self):
        other = Client()
        for client in (self.client, other):
            client.force_login(self.user)
        new = "correct horse battery"
        wrong = {"old_password": "wrong", "new_password1": new, "new_password2": new}
        self.assertEqual(
            self.client.post("/admin/password_change/", wrong).status_code, 200
        )
        self.client.post("/admin/password_change/", wrong | {"old_password": "secret"})
        self.assertEqual(self.client.get(LIST).status_code, 200)
        self.assertEqual(other.get(LIST).status_code, 302)

    @tag("D8")
    def test_a_post_without_a_token_is_refused(self):
        client = Client(enforce_csrf_checks=True)
        client.force_login(self.user)
        url = f"{LIST}{self.acme.pk}/change/"
        self.assertEqual(
            client.post(url, NO_CONTACTS | {"name": "New"}).status_code, 403
        )
        self.assertEqual(
            client.post(LOGIN, {"username": "anna", "password": "secret"}).status_code,
            403,
        )

    @tag("D9", "D10")
    def test_headers_forbid_frames_and_whatever_is_not_ours(self):
        self.client.force_login(self.user)
        for url in (LOGIN, LIST, "/admin/password_change/", "/nothing"):
            response = self.client.get(url)
            self.assertEqual(response["X-Frame-Options"], "DENY")
            for part in (
                "default-src 'self'",
                "object-src 'none'",
                "base-uri 'none'",
                "frame-ancestors 'none'",
            ):
                self.assertIn(part, response["Content-Security-Policy"])
            self.assertNotIn("unsafe", response["Content-Security-Policy"])

    @tag("D11")
    def test_other_hosts_are_refused(self):
        for headers in (
            {"host": "evil.example"},
            {"host": "127.0.0.1", "x-forwarded-host": "evil.example"},
        ):
            response = self.client.get(LOGIN, headers=headers)
            self.assertNotIn("evil.example", response.content.decode())
        with override_settings(ALLOWED_HOSTS=["orgs.example.com"]):
            self.assertEqual(
                self.client.get(LOGIN, headers={"host": "evil.example"}).status_code,
                400,
            )

    @tag("D12")
    def test_the_session_cookie_is_kept_from_scripts_and_other_sites(self):
        self.client.post(LOGIN, {"username": "anna", "password": "secret"})
        cookie = self.client.cookies[settings.SESSION_COOKIE_NAME]
        self.assertTrue(cookie["httponly"])
        self.assertEqual(cookie["samesite"], "Lax")

    @tag("B13", "D4")
    def test_two_requests_share_no_answer(self):
        self.client.force_login(self.user)
        for change, status in (
            (self.user.groups.clear, 302),
            (lambda: self.user.groups.add(self.acme.admin), 200),
        ):
            change()
            self.assertEqual(self.client.get(LIST).status_code, status)

    @tag("C9")
    def test_an_org_admin_removes_no_admin(self):
        self.client.force_login(self.user)
        self.client.post(
            f"{LIST}{self.acme.pk}/people/", {"user": self.user.pk, "remove": ""}
        )
        self.assertTrue(self.user.groups.exists())


class InputTests(TestCase):
    @tag("E1", "A37")
    def test_markup_in_every_text_is_text(self):
        evil = "<img src=x onerror=alert(1)>"
        texts = ("reference", "phone", "address", "tax_id", "notes")
        acme = create_organization(evil, **{name: f"{name}{evil}" for name in texts})
        acme.contacts.create(name=evil, role=evil)
        root = create_superuser(first_name=evil, last_name=evil)
        self.client.force_login(root)
        data = NO_CONTACTS | {"name": evil + "2", "website": evil}
        for response in (
            self.client.get(LIST),
            self.client.get(f"{LIST}{acme.pk}/change/"),
            self.client.post(f"{LIST}{acme.pk}/change/", data),
            self.client.post(f"{LIST}add/", NO_CONTACTS | {"name": evil}),
            self.client.get(f"{LIST}{acme.pk}/people/"),
            self.client.get(f"{LIST}{acme.pk}/delete/"),
            self.client.post(
                f"{LIST}{acme.pk}/people/",
                {"add": "1", "users": root.pk, "role": "admin"},
                follow=True,
            ),
            self.client.get(f"{LIST}{acme.pk}/people/"),
            self.client.get(f"/admin/orgadmin/user/{root.pk}/history/"),
            self.client.get("/admin/orgadmin/contact/"),
            self.client.get("/admin/auth/group/"),
            self.client.get("/admin/"),
            self.client.get(f"{LIST}{evil}/change/", follow=True),
        ):
            self.assertNotContains(response, "<img src=x")

    @tag("E2")
    def test_a_website_is_linked_only_where_it_is_one(self):
        acme = create_organization()
        Organization.objects.update(website="javascript:alert(1)")
        self.client.force_login(create_user(reviewer_of=[acme]))
        for url in (LIST, f"{LIST}{acme.pk}/change/"):
            self.assertNotContains(self.client.get(url), 'href="javascript:')

    @tag("E6")
    def test_more_than_a_form_holds_is_refused(self):
        acme = create_organization()
        self.client.force_login(create_user(admin_of=[acme]))
        url = f"{LIST}{acme.pk}/change/"
        many = NO_CONTACTS | {
            f"field{number}": "x"
            for number in range(settings.DATA_UPLOAD_MAX_NUMBER_FIELDS)
        }
        self.assertEqual(self.client.post(url, many).status_code, 400)
        large = NO_CONTACTS | {"name": "x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE}
        self.assertEqual(self.client.post(url, large).status_code, 400)

    @tag("B8")
    def test_a_permission_of_an_organizations_group_opens_nothing_for_its_members(self):
        own, foreign = create_organization("Own"), create_organization("Foreign")
        user = create_user(admin_of=[own])
        own.admin.permissions.add(Permission.objects.get(codename="view_organization"))
        self.assertEqual(list(Organization.objects.permitted(user)), [own])
        self.assertEqual(
            Organization.objects.permissions_on(user, foreign.pk), frozenset()
        )

    @tag("A15")
    def test_order_tells_nothing_about_what_is_hidden(self):
        first, last = (
            create_organization("A", reference="2"),
            create_organization("B", reference="1"),
        )
        self.client.force_login(create_user(admin_of=[first, last]))
        orders = [
            list(self.client.get(f"{LIST}?o={column}").context["cl"].queryset)
            for column in range(1, 9)
        ]
        for number in range(5):
            create_organization(f"Hidden {number}", reference=f"1.{number}")
        again = [
            list(self.client.get(f"{LIST}?o={column}").context["cl"].queryset)
            for column in range(1, 9)
        ]
        self.assertEqual(orders, again)

    @tag("D4")
    def test_groups_are_read_by_each_request(self):
        acme = create_organization()
        user = create_user(admin_of=[acme])
        self.client.force_login(user)
        self.client.get(LIST)
        with CaptureQueriesContext(connection) as queries:
            self.client.get(LIST)
        self.assertTrue(
            any(User.groups.through._meta.db_table in query["sql"] for query in queries)
        )
        Group.objects.filter(pk=acme.admin_id).update(name="Renamed")
        self.assertNotContains(self.client.get(LIST), "Renamed")


class MutantTests(SimpleTestCase):
    """`make mutants` breaks the code; here only that it still can."""

    def test_every_mutant_applies_and_names_rows_of_the_table(self):
        mutants = list_mutants()
        self.assertGreaterEqual(len(mutants), 20)
        text = Path(settings.BASE_DIR, "docs/security.md").read_text()
        for mutant in mutants:
            with self.subTest(mutant=mutant.name):
                for edit in mutant.edits:
                    original = Path(settings.BASE_DIR, edit.file).read_text()
                    self.assertNotEqual(apply_edit(edit, original), original)
                for row in mutant.rows:
                    self.assertIn(f"| {row} |", text)
        self.assertIn(
            f"{len(mutants)} mutants, {len(mutants)} caught.",
            Path(settings.BASE_DIR, "docs/mutants.md").read_text(),
        )
