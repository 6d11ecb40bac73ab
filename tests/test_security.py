"""The table in docs/security.md, and its rows that no other module tests."""

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
from guardian.admin import GuardedModelAdminMixin  # noqa: TID251 (nothing may use it)
from guardian.conf import settings as guardian_settings

from orgadmin.accounts.company.back_channel import back_channel_view
from orgadmin.gate.answers import Gate
from orgadmin.models import Organization, User
from tests.factories import (
    NO_CONTACTS,
    create_organization,
    create_superuser,
    create_user,
)
from tests.mutants.mutant import apply_edit, list_mutants
from tests.test_matrix import walk

LOGIN = "/admin/login/"
LIST = "/admin/orgadmin/organization/"
CREDENTIALS = {"username": "anna", "password": "secret"}

# The ID of a row, such as "A17".
ROW_ID = r"[A-Z]\d+"


def list_views(patterns):
    """Return the views of URL patterns, and of those that they include."""
    views = []
    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            views += list_views(pattern.url_patterns)
        else:
            views.append(pattern.callback)
    return views


def find_tags(path):
    """Return the tags in a file that are IDs of rows."""
    tags = set()
    for node in ast.walk(ast.parse(path.read_text())):
        for decorator in getattr(node, "decorator_list", ()):
            if getattr(getattr(decorator, "func", None), "id", "") == "tag":
                tags |= {argument.value for argument in decorator.args}
    return {name for name in tags if re.fullmatch(ROW_ID, name)}


class TableTests(SimpleTestCase):
    """Each row has a test with its tag, and each tag is in the table."""

    def test_every_row_is_covered_by_a_test_with_its_tag(self):
        text = Path(settings.BASE_DIR, "docs/security.md").read_text()
        rows = re.findall(rf"^\| ({ROW_ID}) \|", text, re.MULTILINE)
        self.assertEqual(len(rows), len(set(rows)), "An ID is used twice.")
        tags = set()
        for path in Path(settings.BASE_DIR, "tests").rglob("test_*.py"):
            tags |= find_tags(path)
        self.assertEqual(set(rows) - tags, set(), "These rows have no test.")
        self.assertEqual(tags - set(rows), set(), "The table lacks these rows.")


class LibraryTests(TestCase):
    """What libraries bring is not used where it bypasses the access rule."""

    @tag("B1", "B2", "B3", "B4", "B5", "B6", "B7")
    def test_guardians_pages_are_not_mounted(self):
        for model_admin in admin.site._registry.values():
            self.assertNotIsInstance(model_admin, GuardedModelAdminMixin)
        for route in walk():
            self.assertNotIn("permissions", route)

    @tag("B9", "B10", "B13")
    def test_the_settings_of_guardian_open_nothing(self):
        self.assertIsNone(guardian_settings.ANONYMOUS_USER_NAME)
        self.assertFalse(guardian_settings.LEGACY_GLOBAL_PERMS_GROUP_UNION)
        self.assertFalse(guardian_settings.AUTO_PREFETCH)
        self.assertFalse(User.objects.exists())

    @tag("B11")
    def test_visitors_can_sign_in_and_have_no_access(self):
        create_organization()
        self.assertEqual(self.client.get(LOGIN).status_code, 200)
        self.assertFalse(Gate(AnonymousUser()).may_enter)
        self.assertFalse(Organization.objects.permitted(AnonymousUser()).exists())

    @tag("A40")
    def test_admindocs_is_not_installed(self):
        self.assertFalse(apps.is_installed("django.contrib.admindocs"))

    @tag("A29", "C8")
    def test_the_log_of_the_admin_has_no_pages(self):
        self.assertNotIn(
            "logentry", {model._meta.model_name for model in admin.site._registry}
        )

    @tag("C10")
    def test_no_page_of_simple_history_is_used(self):
        for model_admin in admin.site._registry.values():
            bases = type(model_admin).__mro__
            packages = {base.__module__.split(".")[0] for base in bases}
            self.assertNotIn("simple_history", packages)

    @tag("D8")
    def test_no_view_is_exempt_from_csrf_except_that_for_a_providers_server(self):
        patterns = get_resolver("tests.urls").url_patterns
        views = [*list_views(get_resolver().url_patterns), *list_views(patterns)]
        exempt = {view for view in views if getattr(view, "csrf_exempt", False)}
        self.assertEqual(exempt, {back_channel_view})


class SessionTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization()
        cls.user = create_user(admin_of=[cls.acme])

    @tag("A39")
    def test_an_unknown_username_takes_as_long_as_a_known_one(self):
        """Hashing the password is what takes the time."""
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
        self.client.post(LOGIN, CREDENTIALS)
        self.assertNotEqual(self.client.session.session_key, before)

    @tag("D6", "A33")
    def test_a_new_password_ends_the_other_sessions(self):
        other = Client()
        for client in (self.client, other):
            client.force_login(self.user)
        url = "/admin/password_change/"
        new = "correct horse battery"
        data = {"new_password1": new, "new_password2": new}
        response = self.client.post(url, data | {"old_password": "wrong"})
        self.assertEqual(response.status_code, 200)
        self.client.post(url, data | {"old_password": "secret"})
        self.assertEqual(self.client.get(LIST).status_code, 200)
        self.assertEqual(other.get(LIST).status_code, 302)

    @tag("D8")
    def test_a_post_without_a_token_is_refused(self):
        client = Client(enforce_csrf_checks=True)
        client.force_login(self.user)
        url = f"{LIST}{self.acme.pk}/change/"
        saved = client.post(url, NO_CONTACTS | {"name": "New"})
        self.assertEqual(saved.status_code, 403)
        self.assertEqual(client.post(LOGIN, CREDENTIALS).status_code, 403)

    @tag("D9", "D10")
    def test_headers_forbid_frames_and_content_of_other_sites(self):
        self.client.force_login(self.user)
        directives = [
            "default-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
        for url in (LOGIN, LIST, "/admin/password_change/", "/nothing"):
            response = self.client.get(url)
            self.assertEqual(response["X-Frame-Options"], "DENY")
            policy = response["Content-Security-Policy"]
            for directive in directives:
                self.assertIn(directive, policy)
            self.assertNotIn("unsafe", policy)

    @tag("D11")
    def test_other_hosts_are_refused(self):
        evil = {"host": "evil.example"}
        forwarded = {"host": "127.0.0.1", "x-forwarded-host": "evil.example"}
        for headers in (evil, forwarded):
            response = self.client.get(LOGIN, headers=headers)
            self.assertNotIn("evil.example", response.content.decode())
        with override_settings(ALLOWED_HOSTS=["orgs.example.com"]):
            response = self.client.get(LOGIN, headers=evil)
            self.assertEqual(response.status_code, 400)

    @tag("D12")
    def test_scripts_and_other_sites_do_not_get_the_session_cookie(self):
        self.client.post(LOGIN, CREDENTIALS)
        cookie = self.client.cookies[settings.SESSION_COOKIE_NAME]
        self.assertTrue(cookie["httponly"])
        self.assertEqual(cookie["samesite"], "Lax")

    @tag("B13", "D4")
    def test_a_change_of_access_is_effective_in_the_next_request(self):
        self.client.force_login(self.user)
        self.user.groups.clear()
        self.assertEqual(self.client.get(LIST).status_code, 302)
        self.user.groups.add(self.acme.admin)
        self.assertEqual(self.client.get(LIST).status_code, 200)

    @tag("C9")
    def test_the_last_admin_cannot_be_removed(self):
        self.client.force_login(self.user)
        self.client.post(
            f"{LIST}{self.acme.pk}/people/", {"user": self.user.pk, "remove": ""}
        )
        self.assertTrue(self.user.groups.exists())


class InputTests(TestCase):
    @tag("E1", "A37")
    def test_no_text_of_a_person_becomes_markup(self):
        evil = "<img src=x onerror=alert(1)>"
        texts = ("reference", "phone", "address", "tax_id", "notes")
        acme = create_organization(evil, **{name: f"{name}{evil}" for name in texts})
        acme.contacts.create(name=evil, role=evil)
        root = create_superuser(first_name=evil, last_name=evil)
        self.client.force_login(root)
        page = f"{LIST}{acme.pk}/"
        website = NO_CONTACTS | {"name": evil + "2", "website": evil}
        namesake = NO_CONTACTS | {"name": evil}
        member = {"add": "1", "add-who": "root", "add-role": "admin"}
        responses = [
            self.client.get(LIST),
            self.client.get(f"{page}change/"),
            self.client.post(f"{page}change/", website),
            self.client.post(f"{LIST}add/", namesake),
            self.client.get(f"{page}people/"),
            self.client.get(f"{page}delete/"),
            self.client.post(f"{page}people/", member, follow=True),
            self.client.get(f"{page}people/"),
            self.client.get(f"/admin/orgadmin/user/{root.pk}/history/"),
            self.client.get("/admin/orgadmin/contact/"),
            self.client.get("/admin/auth/group/"),
            self.client.get("/admin/"),
            self.client.get(f"{LIST}{evil}/change/", follow=True),
        ]
        for response in responses:
            self.assertNotContains(response, "<img src=x")

    @tag("E2")
    def test_a_website_is_a_link_only_if_it_is_a_web_address(self):
        acme = create_organization()
        Organization.objects.update(website="javascript:alert(1)")
        self.client.force_login(create_user(reviewer_of=[acme]))
        for url in (LIST, f"{LIST}{acme.pk}/change/"):
            self.assertNotContains(self.client.get(url), 'href="javascript:')

    @tag("E6")
    def test_refuses_a_form_with_too_many_fields(self):
        fields = range(settings.DATA_UPLOAD_MAX_NUMBER_FIELDS)
        self.assert_form_refused({f"field{number}": "x" for number in fields})

    @tag("E6")
    def test_refuses_a_form_that_is_too_large(self):
        self.assert_form_refused({"name": "x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE})

    def assert_form_refused(self, data):
        acme = create_organization()
        self.client.force_login(create_user(admin_of=[acme]))
        response = self.client.post(f"{LIST}{acme.pk}/change/", NO_CONTACTS | data)
        self.assertEqual(response.status_code, 400)

    @tag("B8")
    def test_a_model_level_permission_of_a_role_group_gives_its_members_nothing(self):
        own = create_organization("Own")
        foreign = create_organization("Foreign")
        user = create_user(admin_of=[own])
        own.admin.permissions.add(Permission.objects.get(codename="view_organization"))
        self.assertEqual(list(Organization.objects.permitted(user)), [own])
        self.assertEqual(
            Organization.objects.permissions_on(user, foreign.pk), frozenset()
        )

    @tag("A15")
    def test_the_order_reveals_nothing_about_hidden_organizations(self):
        first = create_organization("A", reference="2")
        last = create_organization("B", reference="1")
        self.client.force_login(create_user(admin_of=[first, last]))
        before = [self.list_ordered_by(column) for column in range(1, 9)]
        for number in range(5):
            create_organization(f"Hidden {number}", reference=f"1.{number}")
        after = [self.list_ordered_by(column) for column in range(1, 9)]
        self.assertEqual(before, after)

    def list_ordered_by(self, column):
        response = self.client.get(LIST, {"o": column})
        return list(response.context["cl"].queryset)

    @tag("D4")
    def test_every_request_reads_the_groups_of_the_user(self):
        acme = create_organization()
        user = create_user(admin_of=[acme])
        self.client.force_login(user)
        self.client.get(LIST)
        with CaptureQueriesContext(connection) as queries:
            self.client.get(LIST)
        table = User.groups.through._meta.db_table
        self.assertTrue(any(table in query["sql"] for query in queries))
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
