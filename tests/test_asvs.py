"""The table in docs/asvs.md, and requirements that no row of security.md covers."""

import ast
import json
import logging
import re
import shutil
from importlib import import_module
from pathlib import Path

from django.conf import settings
from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import SimpleTestCase, TestCase

from orgadmin.logs import LogFormatter
from orgadmin.models import User
from orgadmin.records.imports.workbooks import ENVIRONMENT
from tests.factories import create_organization, create_superuser, create_user
from tests.test_security import ROW_ID

PROJECT = Path(settings.BASE_DIR)
DOCS = PROJECT / "docs"
LOGIN = "/admin/login/"
LIST = "/admin/orgadmin/organization/"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin")

STATUSES = {"met", "not met", "not applicable"}

# Chapters and sections of the standard about roles that the site does not have: an
# OAuth resource server, an authorization server, and WebRTC.
OTHER_ROLES = ("10.3", "10.4", "10.6", "10.7", "17")

# How many requirements of level 2, and of level 3 in chapters 6, 7 and 16, the standard
# has outside of those sections.
REQUIREMENTS = 240


def read_requirements():
    """Return [number, level, wording, status, evidence] of each row of the table."""
    text = (DOCS / "asvs.md").read_text()
    rows = re.findall(r"(?m)^\| (\d+\.\d+\.\d+) (\|.*)\|$", text)
    return [[number, *split_row(cells)] for number, cells in rows]


def split_row(cells):
    return [cell.strip() for cell in cells.split("|")[1:]]


def exists(name):
    """Return whether a dotted name of a test, or the name of a setting, exists."""
    if name.isupper():
        return hasattr(settings, name)
    module_name, class_name, test = name.rsplit(".", 2)
    return hasattr(getattr(import_module(module_name), class_name), test)


def find_headings(path):
    """Return the anchors of the headings of a document, as GitHub makes them."""
    headings = re.findall(r"(?m)^#+ (.*)$", path.read_text())
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


class TableTests(SimpleTestCase):
    def test_every_requirement_is_listed_once_with_a_status(self):
        rows = read_requirements()
        numbers = [number for number, *_rest in rows]
        self.assertEqual(len(numbers), len(set(numbers)))
        self.assertEqual(len(numbers), REQUIREMENTS)
        in_order = sorted(numbers, key=lambda number: [*map(int, number.split("."))])
        self.assertEqual(numbers, in_order)
        for number, level, wording, status, _evidence in rows:
            with self.subTest(number=number):
                self.assertFalse(number.startswith(OTHER_ROLES))
                self.assertIn(level, {"1", "2", "3"})
                self.assertTrue(wording)
                self.assertIn(status, STATUSES)

    def test_the_summary_counts_the_rows(self):
        rows = read_requirements()
        text = (DOCS / "asvs.md").read_text()
        for status in STATUSES:
            count = sum(row[3] == status for row in rows)
            self.assertIn(f"| {status} | {count} |", text)

    def test_what_is_met_is_held_by_something_that_exists(self):
        security = (DOCS / "security.md").read_text()
        row_ids = set(re.findall(rf"(?m)^\| ({ROW_ID}) \|", security))
        for number, _level, _wording, status, evidence in read_requirements():
            with self.subTest(number=number):
                named_rows = set(re.findall(rf"\b{ROW_ID}\b", evidence))
                self.assertLessEqual(named_rows, row_ids)
                # Variables of the environment have a value after their name.
                names = re.findall(r"`([\w.]+)`", evidence)
                for name in names:
                    self.assertTrue(exists(name), name)
                documents = re.findall(r"\]\(([^)#]+)(?:#([^)]*))?\)", evidence)
                for path, anchor in documents:
                    document = DOCS / path
                    self.assertTrue(document.is_file(), path)
                    if anchor:
                        self.assertIn(anchor, find_headings(document))
                if status == "met":
                    self.assertTrue(named_rows or names or documents)
                else:
                    self.assertTrue(evidence, "Say why.")


class DangerousFunctionTests(SimpleTestCase):
    # Modules that run commands, read XML, or create objects from untrusted data.
    MODULES = {
        "ctypes",
        "dill",
        "jinja2",
        "lxml",
        "marshal",
        "pickle",
        "shelve",
        "subprocess",
        "xml",
        "yaml",
    }
    FUNCTIONS = {"eval", "exec", "compile", "__import__", "system", "popen", "Template"}

    # It starts the reader of workbooks in a process of its own, which needs a limit.
    RUNS_A_PROGRAM = "workbooks.py"

    # re.compile does not compile code, and Template.objects is not a template.
    ALLOWED = {"re.compile"}

    def test_the_site_uses_none(self):
        files = [
            *(PROJECT / "orgadmin").rglob("*.py"),
            *(PROJECT / "config").glob("*.py"),
        ]
        self.assertGreater(len(files), 50)
        for path in files:
            for node in ast.walk(ast.parse(path.read_text())):
                with self.subTest(path=path.name, line=getattr(node, "lineno", 0)):
                    found = self.MODULES & set(self.list_imports(node))
                    if path.name == self.RUNS_A_PROGRAM:
                        found -= {"subprocess"}
                    self.assertFalse(found)
                    if isinstance(node, ast.Call):
                        self.assert_harmless(ast.unparse(node.func))

    def test_the_reader_of_workbooks_is_started_without_a_shell(self):
        tree = ast.parse(
            (PROJECT / "orgadmin/records/imports/workbooks.py").read_text()
        )
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        started = [call for call in calls if "subprocess" in ast.unparse(call.func)]
        self.assertEqual(
            [ast.unparse(call.func) for call in started], ["subprocess.run"]
        )
        options = {keyword.arg: keyword.value for keyword in started[0].keywords}
        self.assertNotIn("shell", options)
        # What it gets of the environment has no settings of the site.
        self.assertEqual(ENVIRONMENT, ("LD_LIBRARY_PATH", "PATH"))
        self.assertEqual(ast.unparse(options["env"]), "environment")

    def list_imports(self, node):
        """Return the top-level packages that a statement imports."""
        if isinstance(node, ast.Import):
            return [alias.name.split(".")[0] for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            return [(node.module or "").split(".")[0]]
        return []

    def assert_harmless(self, function):
        if function not in self.ALLOWED:
            self.assertNotIn(function.rpartition(".")[2], self.FUNCTIONS)


class ContentTypeTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization()
        cls.root = create_superuser()

    def test_texts_have_a_charset(self):
        self.client.force_login(self.root)
        urls = ("/healthz", "/livez", LOGIN, LIST, f"{LIST}export/", "/nothing")
        for url in urls:
            with self.subTest(url=url):
                response = self.client.get(url)
                self.assertRegex(response["Content-Type"], r"^text/\w+; charset=utf-8$")

    def test_downloads_have_fixed_names(self):
        self.client.force_login(self.root)
        page = f"{LIST}{self.acme.pk}/"
        urls = (
            f"{LIST}export/",
            f"{page}people/export/",
            f"{page}membership-log/export/",
        )
        for url in urls:
            response = self.client.get(url, {"filename": "x", "name": "x"})
            if response.status_code == 200:
                self.assertRegex(
                    response["Content-Disposition"], r'^attachment; filename="[\w.-]+"$'
                )


class NewDatabaseTests(TestCase):
    def test_has_no_accounts(self):
        self.assertFalse(User.objects.exists())


class PasswordFieldTests(TestCase):
    LONG = (
        "a long sentence that only this person knows, of 80 characters, with ümläuts!"
    )

    @classmethod
    def setUpTestData(cls):
        cls.user = create_user(admin_of=[create_organization()])

    def test_hide_what_is_typed_and_allow_password_managers(self):
        signed_out = self.client.get(LOGIN).text
        self.client.force_login(self.user)
        signed_in = self.client.get("/admin/password_change/").text
        for page in (signed_out, signed_in):
            fields = re.findall(r'<input[^>]*name="[^"]*password[^"]*"[^>]*>', page)
            self.assertTrue(fields)
            for field in fields:
                self.assertIn('type="password"', field)
                self.assertRegex(field, r'autocomplete="(current|new)-password"')
                self.assertNotIn("onpaste", field)
        script = (PROJECT / "static/orgadmin/orgadmin.js").read_text()
        self.assertNotIn("paste", script)

    def test_a_long_password_is_accepted(self):
        self.assertGreater(len(self.LONG), 64)
        self.client.force_login(self.user)
        data = {
            "old_password": "secret",
            "new_password1": self.LONG,
            "new_password2": self.LONG,
        }
        response = self.client.post("/admin/password_change/", data)
        self.assertEqual(response.status_code, 302)

    def test_a_password_is_checked_as_it_was_typed(self):
        self.user.set_password(f" {self.LONG} ")
        self.user.save()
        wrong = (self.LONG, f" {self.LONG}", f" {self.LONG.upper()} ", self.LONG[:72])
        for password in wrong:
            self.assertFalse(self.sign_in(password), password)
        self.assertTrue(self.sign_in(f" {self.LONG} "))

    def sign_in(self, password):
        data = {"username": "anna", "password": password}
        return self.client.post(LOGIN, data).status_code == 302


class SessionTokenTests(TestCase):
    def test_a_key_has_128_bits(self):
        keys = {SessionStore()._get_new_session_key() for _ in range(20)}
        self.assertEqual(len(keys), 20)
        for key in keys:
            self.assertGreaterEqual(len(VALID_KEY_CHARS) ** len(key), 2**128)

    def test_a_session_ends_at_sign_out(self):
        self.client.force_login(create_superuser())
        copied = self.client.cookies[settings.SESSION_COOKIE_NAME].value
        self.client.post("/admin/logout/")
        self.client.cookies[settings.SESSION_COOKIE_NAME] = copied
        self.assertEqual(self.client.get(LIST).status_code, 302)
        self.assertFalse(Session.objects.filter(session_key=copied).exists())

    def test_every_page_offers_to_sign_out(self):
        acme = create_organization()
        self.client.force_login(create_superuser())
        page = f"{LIST}{acme.pk}/"
        for url in ("/admin/", LIST, f"{page}change/", f"{page}people/"):
            self.assertContains(self.client.get(url), 'action="/admin/logout/"')


class UploadTests(TestCase):
    # The button that imports what the preview shows.
    BUTTON = 'value="Import organizations"'

    def test_only_text_files_that_are_csv_are_imported(self):
        self.client.force_login(create_superuser())
        csv = b"name\nAcme\n"
        image = b"\x89PNG\r\n\x1a\n"
        for name, content in (("a.png", csv), ("a.csv", image), ("a.exe", csv)):
            with self.subTest(name=name):
                response = self.preview(name, content)
                self.assertNotContains(response, self.BUTTON)
                self.assertContains(response, "error")
        self.assertContains(self.preview("a.csv", csv), self.BUTTON)

    def preview(self, name, content):
        file = SimpleUploadedFile(name, content)
        return self.client.post(f"{LIST}import/", {"file": file}, follow=True)


class LogTests(SimpleTestCase):
    def test_a_line_break_stays_in_its_line(self):
        record = logging.makeLogRecord({"msg": 'a\n{"level": "FORGED"}\r\n\x1b[2J'})
        line = LogFormatter("%(message)s").format(record)
        self.assertEqual(len(line.splitlines()), 1)
        self.assertNotIn("\x1b", line)
        self.assertNotEqual(json.loads(line).get("level"), "FORGED")


class DocumentedFileTests(SimpleTestCase):
    GUIDE = (DOCS / "deployment.md").read_text()

    def test_a_release_has_no_git_folder(self):
        script = (DOCS / "deployment/orgadmin-release").read_text()
        clones = re.findall(r'run\("git", "clone", .*, release\)\n(.*)', script)
        self.assertEqual(len(clones), 1)
        self.assertEqual(clones[0].strip(), 'shutil.rmtree(release / ".git")')
        self.assertNotRegex(self.GUIDE, "git clone .*/srv")

    def test_only_root_and_the_service_read_the_settings(self):
        self.assertIn(
            "install -m 640 -g orgadmin orgadmin.env /etc/orgadmin.env", self.GUIDE
        )
        self.assertIn("install -m 600 /dev/null /etc/orgadmin-backup.env", self.GUIDE)


class NginxTests(SimpleTestCase):
    """What docs/deployment/nginx.conf does for the site."""

    CONFIGURATION = (DOCS / "deployment/nginx.conf").read_text()

    def find(self, directive):
        return re.findall(rf"(?m)^\s*{directive} (.*);", self.CONFIGURATION)

    def test_offers_current_protocols_and_ciphers(self):
        for protocols in self.find("ssl_protocols"):
            self.assertEqual(protocols, "TLSv1.2 TLSv1.3")
        (ciphers,) = self.find("ssl_ciphers")
        for cipher in ciphers.split(":"):
            self.assertRegex(cipher, r"^ECDHE-.*(GCM|CHACHA20-POLY1305)")
        self.assertIn("return 301 https://", self.CONFIGURATION)

    def test_overwrites_the_headers_that_the_site_trusts(self):
        headers = dict(value.split() for value in self.find("proxy_set_header"))
        self.assertEqual(headers["X-Forwarded-Proto"], "$scheme")
        self.assertEqual(headers["X-Forwarded-For"], "$remote_addr")
        self.assertEqual(headers["X-Request-ID"], "$request_id")

    def test_its_own_responses_have_the_headers_of_the_site(self):
        headers = dict(
            re.findall(r"(?m)^    add_header (\S+) (\$\w+) always;", self.CONFIGURATION)
        )
        expected = {
            "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
            "Content-Security-Policy": "frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
        }
        self.assertEqual(headers.keys(), expected.keys())
        for name, value in expected.items():
            upstream = "$upstream_http_" + name.lower().replace("-", "_")
            start = f"map {upstream} {headers[name]} {{"
            block = self.CONFIGURATION.partition(start)[2].partition("}")[0]
            self.assertIn('default "";', block, "A header would be there twice.")
            self.assertIn(value, block)

    def test_lists_no_folders(self):
        self.assertNotIn("autoindex", self.CONFIGURATION)
        folders = re.findall(r"(?m)^\s*(?:root|alias) (.*);", self.CONFIGURATION)
        # For the files that a certificate authority fetches.
        self.assertEqual(folders, ["/var/www/orgadmin"])
