"""A site that reads a real standby, whose delay and failures the tests force."""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from unittest import skipUnless
from urllib.parse import urlsplit

from django.db import connection
from django.test import TransactionTestCase, tag
from django.urls import resolve

from orgadmin.access.replica import PAUSE
from orgadmin.access.replica_pages import PAGES
from tests.postgres import find_tools_path
from tests.replicas import copy_database, run_pair
from tests.scratch import PROJECT, scratch_database
from tests.servers import LIST, LOGIN, Person, read_form, serve

CREATE_PEOPLE = """
from tests.factories import *
create_superuser()
acme = create_organization("Acme")
beta = create_organization("Beta")
create_user("anna", admin_of=[acme], reviewer_of=[beta], email="anna@example.com")
create_user("ben", admin_of=[acme, beta], email="ben@example.com")
create_user("carla", admin_of=[acme], email="carla@example.com")
from orgadmin.models import Contact
Contact.objects.create(organization=acme, name="Acme Contact")
"""
ACME = f"{LIST}1/"
TOKEN = "metrics"
ANNA = "(SELECT id FROM orgadmin_user WHERE username = 'anna')"

# Pages that anna can open, and what they show of Acme as long as she is its admin.
PAGES_WITH_ACME = {
    LIST: "Acme",
    f"{LIST}?q=acme": "Acme",
    f"{LIST}export/": "Acme",
    f"{ACME}history/": "Acme",
    f"{ACME}ledger/": "Acme",
    "/admin/orgadmin/contact/": "Acme Contact",
    "/admin/search/?q=acme": "Acme",
    "/admin/all-activity/": "Acme",
}

# Other pages that read the replica. Superusers can open them.
PAGES_OF_SUPERUSERS = [
    "/admin/auth/group/",
    "/admin/auth/group/1/history/",
    "/admin/orgadmin/contact/1/history/",
    "/admin/orgadmin/membershipevent/",
    "/admin/orgadmin/user/",
    "/admin/orgadmin/user/1/history/",
    "/admin/orgadmin/user/export/",
    "/admin/orgadmin/user/export/xlsx/",
    f"{LIST}export/xlsx/",
    "/admin/autocomplete/?app_label=orgadmin&model_name=contact"
    "&field_name=organization&term=",
]

# What ends or narrows anna's access to Acme, and how to undo it.
REVOCATIONS = {
    "removed from the group": (
        f"DELETE FROM orgadmin_user_groups WHERE user_id = {ANNA} AND group_id ="
        " (SELECT admin_id FROM orgadmin_organization WHERE id = 1)",
        f"INSERT INTO orgadmin_user_groups (user_id, group_id) SELECT {ANNA}, admin_id"
        " FROM orgadmin_organization WHERE id = 1",
    ),
    "membership that ends": (
        "UPDATE orgadmin_user_groups SET ends_at = now() WHERE group_id ="
        " (SELECT admin_id FROM orgadmin_organization WHERE id = 1)"
        f" AND user_id = {ANNA}",
        "UPDATE orgadmin_user_groups SET ends_at = NULL",
    ),
    "archived organization": (
        "UPDATE orgadmin_organization SET archived_at = now() WHERE id = 1",
        "UPDATE orgadmin_organization SET archived_at = NULL WHERE id = 1",
    ),
    "permissions of the group": (
        "UPDATE orgadmin_organizationgroupobjectpermission"
        " SET content_object_id = 2 WHERE content_object_id = 1 AND group_id ="
        " (SELECT admin_id FROM orgadmin_organization WHERE id = 1)",
        "UPDATE orgadmin_organizationgroupobjectpermission"
        " SET content_object_id = 1 WHERE group_id ="
        " (SELECT admin_id FROM orgadmin_organization WHERE id = 1)",
    ),
}


class ReplicaTestCase(TransactionTestCase):
    """Has two servers with two organizations and their admins, and a site."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pair = cls.enterClassContext(run_pair())
        cls.primary, cls.standby = cls.pair.primary, cls.pair.standby
        with scratch_database() as scratch:
            scratch.run(CREATE_PEOPLE)
            url = scratch.environment["DATABASE_URL"]
            copy_database(url, cls.primary, path=find_tools_path())
        cls.environment = os.environ | {
            "DATABASE_URL": cls.primary.url,
            "DATABASE_REPLICA_URL": cls.standby.url,
            "DEBUG": "true",
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "METRICS_TOKEN": TOKEN,
        }
        cls.address = cls.start()

    @classmethod
    def start(cls, **environment):
        """Start a server with these environment variables, and return its address."""
        server = serve(cls.environment | environment)
        return cls.enterClassContext(server).address

    def enter(self, username, address=None):
        person = Person(address or self.address)
        self.assertTrue(person.sign_in(username), username)
        return person

    def count_reads(self, address=None):
        """Return how many requests have read the replica."""
        person = Person(address or self.address)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        text = person.ask("GET", "/metrics", headers=headers).text
        pattern = r'orgadmin_replica_requests_total\{choice="replica"\} (\S+)'
        found = re.search(pattern, text)
        return float(found[1]) if found else 0

    @contextmanager
    def assert_reads_primary(self):
        before = self.count_reads()
        yield
        self.assertEqual(self.count_reads(), before)

    def read_replica(self, person, page):
        """Open a page until it is read from the replica, and return that response.

        On a busy machine, the replica may be late.
        """
        deadline = time.monotonic() + 3 * PAUSE
        while True:
            before = self.count_reads()
            response = person.get(page)
            if self.count_reads() > before:
                return response
            self.assertLess(time.monotonic(), deadline, "Nothing reads the replica.")
            time.sleep(0.1)

    def save(self, person, **values):
        """Save Acme as the page shows it, except for these values."""
        page = f"{ACME}change/"
        form = read_form(person.get(page).text)
        response = person.post(page, form | values)
        self.assertEqual(response.status, 302, response.text)


@skipUnless(connection.vendor == "postgresql", "SQLite has no replicas.")
class ReplicaTests(ReplicaTestCase):
    def setUp(self):
        self.pair.wait()

    def test_lists_search_history_and_exports_are_read_from_the_replica(self):
        anna = self.enter("anna")
        for page, text in PAGES_WITH_ACME.items():
            with self.subTest(page=page):
                response = self.read_replica(anna, page)
                self.assertEqual(response.status, 200)
                self.assertIn(text, response.text)

    def test_superusers_read_the_replica_too(self):
        root = self.enter("root")
        for page in PAGES_OF_SUPERUSERS:
            with self.subTest(page=page):
                self.assertEqual(self.read_replica(root, page).status, 200)

    def test_forms_and_the_account_are_read_from_the_primary(self):
        anna = self.enter("anna")
        with self.assert_reads_primary():
            for page in (f"{ACME}change/", f"{ACME}people/", "/admin/account/"):
                self.assertEqual(anna.get(page).status, 200)

    @tag("D90")
    def test_whoever_loses_access_sees_nothing_at_once(self):
        anna = self.enter("anna")
        for what, (revoke, restore) in REVOCATIONS.items():
            self.read_replica(anna, LIST)
            with self.pair.paused():
                held = self.standby.execute("SELECT * FROM orgadmin_user_groups")
                self.primary.execute(revoke)
                try:
                    for page in PAGES_WITH_ACME:
                        with self.subTest(what=what, page=page):
                            self.assert_shows_no_acme(anna.get(page))
                    self.assertEqual(
                        self.standby.execute("SELECT * FROM orgadmin_user_groups"),
                        held,
                        "The replica must still know the old memberships.",
                    )
                finally:
                    self.primary.execute(restore)
            self.assertIn("Acme", self.read_replica(anna, LIST).text)

    def assert_shows_no_acme(self, response):
        if response.status == 302:
            self.assertEqual(response.headers["Location"], "/admin/")
            return
        self.assertEqual(response.status, 200)
        # A search repeats what was searched for.
        self.assertNotIn("Acme", response.text)

    @tag("D90")
    def test_whoever_is_deactivated_or_demoted_is_so_at_once(self):
        root = self.enter("root")
        user = "UPDATE orgadmin_user SET is_active = {}, is_superuser = {}"
        user += " WHERE username = 'root'"
        with self.pair.paused():
            try:
                self.primary.execute(user.format("true", "false"))
                self.assertNotIn("Acme", root.get(LIST).text)
                self.primary.execute(user.format("false", "true"))
                response = root.get(LIST)
                self.assertEqual(response.headers["Location"], f"{LOGIN}?next={LIST}")
            finally:
                self.primary.execute(user.format("true", "true"))

    @tag("D90")
    def test_the_removal_on_the_people_page_has_an_effect_at_once(self):
        root = self.enter("root")
        carla = self.enter("carla")
        self.assertIn("Acme", carla.get(LIST).text)
        user = "SELECT id FROM orgadmin_user WHERE username = 'carla'"
        pk = str(self.primary.read(user))
        with self.pair.paused():
            data = {"user": pk, "remove": "", "confirmed": "1"}
            response = root.post(f"{ACME}people/", data)
            self.assertEqual(response.status, 302)
            self.assertNotIn("Acme", carla.get(LIST).text)

    def test_people_see_what_they_wrote(self):
        ben = self.enter("ben")
        with self.pair.paused():
            self.save(ben, phone="555 0101")
            with self.assert_reads_primary():
                self.assertIn("555 0101", ben.get(f"{LIST}export/").text)
        response = self.read_replica(ben, f"{LIST}export/")
        self.assertIn("555 0101", response.text)

    def test_a_replica_that_stands_still_delays_no_page_for_long(self):
        anna = self.enter("anna")
        self.read_replica(anna, LIST)
        address = self.start()
        anna_elsewhere = Person(address, anna.cookies)
        with self.standby.frozen():
            # The first process has a connection, and the second one has none.
            for person in (anna, anna_elsewhere):
                started = time.monotonic()
                response = person.get(LIST)
                seconds = time.monotonic() - started
                self.assertEqual(response.status, 200)
                self.assertIn("Acme", response.text)
                # Most of it is the page itself, on a busy machine.
                self.assertLess(seconds, 6)
        self.read_replica(anna, LIST)

    def test_a_replica_that_is_down_is_left_out_and_used_again(self):
        anna = self.enter("anna")
        self.read_replica(anna, LIST)
        self.standby.stop()
        try:
            for page, text in PAGES_WITH_ACME.items():
                response = anna.get(page)
                self.assertEqual(response.status, 200)
                self.assertIn(text, response.text)
        finally:
            self.standby.start()
        self.read_replica(anna, LIST)

    def test_the_doctor_says_how_far_the_replica_is(self):
        findings = self.run_doctor()
        self.assertRegex(findings["replica"], r"has replayed everything after \d+ ms")
        self.assertIn("commits do not wait", findings["failover"])
        self.set_synchronous_standbys("standby")
        try:
            self.assertIn("commits wait", self.run_doctor()["failover"])
        finally:
            self.set_synchronous_standbys("")

    def set_synchronous_standbys(self, names):
        self.primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.primary.execute("SELECT pg_reload_conf()")

    def run_doctor(self):
        """Return {check: text} of `doctor --deploy`."""
        done = subprocess.run(
            [sys.executable, "manage.py", "doctor", "--deploy"],
            env=self.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
        )
        lines = [line.split(": ", 2) for line in done.stdout.splitlines()]
        return {line[1]: line[2] for line in lines if len(line) == 3}

    def test_each_page_is_in_these_tests(self):
        pages = [*PAGES_WITH_ACME, *PAGES_OF_SUPERUSERS]
        names = {resolve(urlsplit(page).path).view_name for page in pages}
        self.assertEqual(names, PAGES)


@skipUnless(connection.vendor == "postgresql", "SQLite has no replicas.")
class FailoverTests(ReplicaTestCase):
    def test_a_promoted_standby_is_no_replica_and_can_be_the_primary(self):
        ben = self.enter("ben")
        self.save(ben, phone="555 0102")
        self.pair.wait()
        self.standby.promote()
        # It knows nothing of this, and could write as well.
        self.save(ben, phone="555 0103")
        with self.assert_reads_primary():
            self.assertIn("555 0103", ben.get(f"{LIST}export/").text)
        self.primary.stop()
        after = self.start(DATABASE_URL=self.standby.url, DATABASE_REPLICA_URL="")
        ben = self.enter("ben", after)
        self.assertIn("555 0102", ben.get(f"{LIST}export/").text)
        self.save(ben, phone="555 0104")
        self.assertIn("555 0104", ben.get(f"{LIST}export/").text)
