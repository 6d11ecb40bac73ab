"""Real servers: several on one database, behind a pooler, and with lost connections."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import skipUnless
from urllib.parse import urlencode

from django.db import connection
from django.test import TransactionTestCase, tag

from orgadmin.accounts.throttle import LIMIT
from tests.scratch import scratch_database
from tests.servers import LIST, LOGIN, Person, read_form, serve

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
CREATE_PEOPLE = """
from tests.factories import *
create_superuser()
acme = create_organization()
for number in range(12):
    create_user(f"user-{number}", admin_of=[acme], email=f"user-{number}@example.com")
"""
CHANGE = f"{LIST}1/change/"
PEOPLE = f"{LIST}1/people/"


class ServersTestCase(TransactionTestCase):
    """Has a database with an organization, twelve admins and a superuser.

    Servers that a test starts end with the class.
    """

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.scratch = cls.enterClassContext(scratch_database())
        cls.scratch.run(CREATE_PEOPLE)

    @classmethod
    def start(cls, workers=1, **environment):
        """Start a server with these environment variables, and return its address."""
        server = serve(cls.scratch.environment | environment, workers)
        return cls.enterClassContext(server).address

    def enter(self, address, username):
        person = Person(address)
        self.assertTrue(person.sign_in(username), username)
        return person

    def save(self, person, **values):
        """Save the organization as the page shows it, except for these values."""
        form = read_form(person.get(CHANGE).text)
        response = person.post(CHANGE, form | values)
        self.assertEqual(response.status, 302, response.text)
        self.assertEqual(response.headers["Location"], f"{LIST}1/overview/")


class SeveralServersTests(ServersTestCase):
    """All changes at one server immediately affect the other."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addresses = [cls.start(workers=2), cls.start(workers=2)]

    @tag("D4")
    def test_a_person_who_is_removed_at_one_server_has_no_access_at_the_other(self):
        first, second = self.addresses
        root = self.enter(first, "root")
        anna = self.enter(first, "user-0")
        anna_at_second = Person(second, anna.cookies)
        self.assertEqual(
            anna_at_second.get(CHANGE).status,
            200,
            "A session of one server is valid at the other.",
        )
        self.remove_first_member(root)
        # Several times, so that all processes of the server answer.
        for _request in range(4):
            response = anna_at_second.get(CHANGE)
            self.assertEqual(response.headers.get("Location"), f"{LOGIN}?next={CHANGE}")

    def test_a_request_with_two_lengths_is_refused(self):
        """A proxy could see another end of the request than gunicorn does."""
        head = f"POST {LOGIN} HTTP/1.1\r\nHost: localhost\r\n"
        ambiguous = (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        )
        for rest in ambiguous:
            with self.subTest(rest=rest):
                with socket.create_connection(self.addresses[0], timeout=10) as client:
                    client.sendall((head + rest).encode())
                    answer = client.recv(100)
                self.assertRegex(answer, rb"^HTTP/1.1 (400|501)")

    def remove_first_member(self, person):
        page = person.get(PEOPLE).text
        pk = re.search(r"\?remove=(\d+)", page)[1]
        response = person.post(PEOPLE, {"user": pk, "remove": "", "confirmed": "1"})
        self.assertEqual(response.status, 302)

    @tag("D7")
    def test_guesses_are_limited_in_all_processes_together(self):
        # A limit that reads the count before it writes it lets more guesses through
        # only now and then. Hence three attempts.
        for username in ("user-8", "user-9", "user-10"):
            self.guess_at_once(username, LIMIT - 1)
            self.assertTrue(
                Person(self.addresses[0]).sign_in(username),
                "The last guess is within the limit.",
            )
            self.guess_at_once(username, LIMIT)
            for address in self.addresses:
                self.assertFalse(Person(address).sign_in(username))
        self.assertTrue(
            Person(self.addresses[1]).sign_in("user-11"),
            "Other people can sign in.",
        )

    def guess_at_once(self, username, times):
        """Guess a password this often, from browsers that send at the same time."""
        browsers = [Person(address) for address in self.addresses * 4]
        for browser in browsers:
            browser.get(LOGIN)
        guess = {"username": username, "password": "wrong"}
        with ThreadPoolExecutor(len(browsers)) as threads:
            futures = [
                threads.submit(self.send_until_checked, browser, guess)
                for browser in (browsers * 2)[:times]
            ]
        statuses = [future.result().status for future in futures]
        self.assertEqual(statuses, [200] * times)

    def send_until_checked(self, browser, guess):
        """Send a guess again for as long as the server is too busy to check it."""
        while True:
            response = browser.post(LOGIN, guess)
            if response.status != 503:
                return response

    def test_threads_of_all_processes_save_one_organization_at_once(self):
        people = [
            self.enter(self.addresses[number % 2], f"user-{number}")
            for number in range(2, 8)
        ]
        form = self.read_blank_form(people[0])
        with ThreadPoolExecutor(len(people)) as threads:
            futures = []
            for number in range(60):
                person = people[number % len(people)]
                data = form | {"phone": str(number)}
                futures.append(threads.submit(person.post, CHANGE, data))
        statuses = {future.result().status for future in futures}
        self.assertEqual(statuses, {302})
        output = self.scratch.run(
            "from orgadmin.models import *;"
            " print(Organization.objects.get().history.count())"
        )
        self.assertGreaterEqual(int(output), 61)

    def read_blank_form(self, person):
        """Return the form of the organization with all fields empty except its name.

        It does not contain the values that the page showed, so saves never conflict.
        """
        fields = {}
        for name in read_form(person.get(CHANGE).text):
            if not name.startswith("initial-"):
                fields[name] = ""
        return fields | {
            "name": "Acme",
            "contacts-TOTAL_FORMS": "0",
            "contacts-INITIAL_FORMS": "0",
        }


@skipUnless(connection.vendor == "postgresql", "SQLite has no connections to lose")
class LostConnectionTests(ServersTestCase):
    """Connections that are cut are opened again, and nobody notices."""

    def test_the_next_requests_work_without_a_pool(self):
        self.check_requests_after_a_cut(pool_size="0")

    def test_the_next_requests_work_with_a_pool(self):
        # Each lost connection of a pool costs a wait: one second, then two, then four.
        self.check_requests_after_a_cut(pool_size="2")

    def check_requests_after_a_cut(self, pool_size):
        address = self.start(DATABASE_POOL=pool_size)
        people = [self.enter(address, f"user-{number}") for number in range(4)]
        with ThreadPoolExecutor(len(people)) as threads:
            for _round in range(2):
                futures = [threads.submit(person.get, CHANGE) for person in people]
                statuses = [future.result().status for future in futures]
                self.assertEqual(statuses, [200] * len(people))
                self.assertGreater(self.cut_connections(), 0)
        self.save(people[0], phone=f"1{pool_size}")

    def cut_connections(self):
        """End all connections to the database; return how many there were."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT pg_terminate_backend(pid)
                FROM pg_stat_activity
                WHERE datname = %s
                """,
                [self.scratch.name],
            )
            return cursor.rowcount


@skipUnless(connection.vendor == "postgresql", "PgBouncer is for PostgreSQL")
@skipUnless(PGBOUNCER, "PgBouncer is missing: apt-get install pgbouncer")
class PoolerTests(ServersTestCase):
    """PgBouncer gives each transaction another connection.

    So nothing may be kept on a connection from one transaction to the next.
    """

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.start_pooler(folder)
        options = {
            "host": folder,
            "port": 6432,
            "disable_server_side_cursors": "true",
        }
        url = f"postgres://anybody@/{cls.scratch.name}?{urlencode(options)}"
        cls.address = cls.start(DATABASE_URL=url, PGOPTIONS="")

    @classmethod
    def start_pooler(cls, folder):
        """Start PgBouncer, which listens on a socket in the folder."""
        settings = connection.get_connection_params()
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(cls.make_configuration(folder, settings))
        owner = None
        if os.geteuid() == 0:
            # PgBouncer refuses to run as root, so it runs as the owner of PostgreSQL's
            # socket, who can connect to it.
            host = settings.get("host", "")
            owner = Path(host).owner() if host.startswith("/") else "nobody"
            shutil.chown(folder, owner)
        pooler = subprocess.Popen(
            [PGBOUNCER, "-q", configuration], user=owner, stderr=subprocess.DEVNULL
        )
        cls.addClassCleanup(pooler.wait)
        cls.addClassCleanup(pooler.kill)

    @staticmethod
    def make_configuration(folder, settings):
        server = " ".join(
            f"{name}='{settings[name]}'"
            for name in ("host", "port", "user", "password")
            if settings.get(name)
        )
        return f"""\
[databases]
* = {server}
[pgbouncer]
listen_addr =
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = 2
"""

    def test_people_save_and_see_what_was_saved(self):
        anna = self.enter(self.address, "user-0")
        for number in range(4):
            self.save(anna, phone=str(number))
        self.assertIn("Acme", anna.get(LIST).text)
        self.assertIn("user-3", anna.get(PEOPLE).text)

    def test_a_superuser_imports_and_exports(self):
        root = self.enter(self.address, "root")
        content = b"name,reference,admins\nNew,R1,user-1@example.com\n"
        preview = root.post(f"{LIST}import/", {}, {"file": ("file.csv", content)})
        address = preview.headers["Location"]
        response = root.post(address, read_form(root.get(address).text))
        self.assertEqual(response.status, 302)
        export = root.get(f"{LIST}export/").text.replace('"', "")
        self.assertIn("New,R1", export)

    def test_several_people_export_at_once(self):
        people = [self.enter(self.address, f"user-{number}") for number in range(4)]
        with ThreadPoolExecutor(len(people)) as threads:
            futures = [
                threads.submit(person.get, f"{LIST}export/") for person in people * 5
            ]
        statuses = {future.result().status for future in futures}
        self.assertEqual(statuses, {200})
