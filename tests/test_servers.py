"""Real servers: several at once on one database, behind a pooler, and when their connections are cut."""

import os
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import skipUnless
from urllib.parse import urlencode

from django.db import connection
from django.test import TransactionTestCase, tag

from orgadmin.accounts.throttle import LIMIT

from .scratch import scratch_database
from .servers import LIST, Person, read_form, serve

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
PEOPLE = """
from tests.factories import *
create_superuser()
acme = create_organization()
for number in range(12):
    create_user(f"user-{number}", admin_of=[acme], email=f"user-{number}@example.com")
"""
CHANGE = f"{LIST}1/change/"


class ServersTestCase(TransactionTestCase):
    """Has a database with an organization and its admins, and servers that end with the class."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.scratch = cls.enterClassContext(scratch_database())
        cls.scratch.migrate()
        cls.scratch.run(PEOPLE)

    @classmethod
    def start(cls, workers=1, url=None, **values):
        environment = cls.scratch.environment | {
            "DATABASE_URL": url or cls.scratch.environment["DATABASE_URL"]
        }
        return cls.enterClassContext(serve(environment | values, workers)).address

    def enter(self, address, username):
        person = Person(address)
        self.assertTrue(person.sign_in(username), username)
        return person

    def save(self, person, **values):
        """Save the organization as the page shows it, with other values."""
        answer = person.post(CHANGE, read_form(person.get(CHANGE).text) | values)
        self.assertEqual(
            (answer.status, answer.headers["Location"]), (302, LIST), answer.text
        )


class SeveralServersTests(ServersTestCase):
    """What one does, the other knows at the next request."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addresses = [cls.start(workers=2), cls.start(workers=2)]

    @tag("D4")
    def test_who_is_taken_out_at_one_is_out_at_the_other_at_once(self):
        one, other = self.addresses
        root, anna = self.enter(one, "root"), self.enter(one, "user-0")
        there = Person(other, anna.cookies)
        self.assertEqual(
            there.get(CHANGE).status, 200, "a session of one is valid at the other"
        )
        pk = re.search(r'name="user" value="(\d+)"', root.get(f"{LIST}1/people/").text)[
            1
        ]
        answer = root.post(
            f"{LIST}1/people/", {"user": pk, "remove": "", "confirmed": "1"}
        )
        self.assertEqual(answer.status, 302)
        for _ in range(4):  # each of its processes
            self.assertEqual(
                there.get(CHANGE).headers.get("Location"),
                "/admin/login/?next=" + CHANGE,
            )

    @tag("D7")
    def test_the_limit_of_guesses_counts_in_all_processes_together(self):
        people = [Person(address) for address in self.addresses * 4]
        for person in people:
            person.get("/admin/login/")

        def guess(username, times):
            def ask(person):
                return person.post(
                    "/admin/login/", {"username": username, "password": "wrong"}
                ).status

            with ThreadPoolExecutor(len(people)) as threads:
                self.assertEqual(
                    list(threads.map(ask, (people * 2)[:times])), [200] * times
                )

        for username in (
            "user-8",
            "user-9",
            "user-10",
        ):  # who reads, then writes, lets more through only now and then
            guess(username, LIMIT - 1)
            self.assertTrue(
                Person(self.addresses[0]).sign_in(username),
                "the last guess that is allowed",
            )
            guess(username, LIMIT)
            for address in self.addresses:
                self.assertFalse(Person(address).sign_in(username))
        self.assertTrue(
            Person(self.addresses[1]).sign_in("user-11"), "others are not held up"
        )

    def test_threads_of_all_processes_save_one_organization_at_once(self):
        people = [
            self.enter(self.addresses[number % 2], f"user-{number}")
            for number in range(2, 8)
        ]
        fields = dict.fromkeys(read_form(people[0].get(CHANGE).text), "") | {
            "name": "Acme"
        }
        fields = {
            name: value
            for name, value in fields.items()
            if not name.startswith("initial-")
        }

        def save(number):
            data = fields | {
                "phone": str(number),
                "contacts-TOTAL_FORMS": "0",
                "contacts-INITIAL_FORMS": "0",
            }
            return people[number % len(people)].post(CHANGE, data).status

        with ThreadPoolExecutor(len(people)) as threads:
            self.assertEqual(set(threads.map(save, range(60))), {302})
        out = self.scratch.run(
            "from orgadmin.models import *; print(Organization.objects.get().history.count())"
        )
        self.assertGreaterEqual(int(out), 61)


@skipUnless(connection.vendor == "postgresql", "SQLite has no connections to lose")
class LostConnectionTests(ServersTestCase):
    """What PostgreSQL or the network cut off is made anew, and nobody sees it."""

    def test_the_next_requests_work(self):
        for pool in (
            "0",
            "2",
        ):  # of a pool, each lost connection costs a wait: one second, two, four
            address = self.start(DATABASE_POOL=pool)
            people = [self.enter(address, f"user-{number}") for number in range(4)]
            with self.subTest(pool=pool), ThreadPoolExecutor(len(people)) as threads:
                for _ in range(2):
                    statuses = list(
                        threads.map(lambda person: person.get(CHANGE).status, people)
                    )
                    self.assertEqual(statuses, [200] * len(people))
                    self.assertGreater(self.cut(), 0)
                self.save(people[0], phone=f"1{pool}")

    def cut(self):
        """End all connections to the database; return how many there were."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [self.scratch.name],
            )
            return cursor.rowcount


@skipUnless(connection.vendor == "postgresql", "a pooler of PostgreSQL")
@skipUnless(PGBOUNCER, "PgBouncer is missing: apt-get install pgbouncer")
class PoolerTests(ServersTestCase):
    """Behind PgBouncer, which gives each transaction another connection, nothing may be kept from one to the next."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        settings = dict(connection.get_connection_params())
        names = ("host", "port", "user", "password")
        server = " ".join(
            f"{name}='{settings[name]}'" for name in names if settings.get(name)
        )
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        lines = [
            "[databases]",
            f"* = {server}",
            "[pgbouncer]",
            "listen_addr =",
            f"unix_socket_dir = {folder}",
        ]
        lines += ["auth_type = any", "pool_mode = transaction", "default_pool_size = 2"]
        folder.joinpath("ini").write_text("\n".join(lines))
        owner = None  # root may not run it: whoever may reach PostgreSQL's socket does
        if os.geteuid() == 0:
            owner = (
                Path(settings["host"]).owner()
                if settings.get("host", "").startswith("/")
                else "nobody"
            )
            shutil.chown(folder, owner)
        pooler = subprocess.Popen(
            [PGBOUNCER, "-q", folder / "ini"], user=owner, stderr=subprocess.DEVNULL
        )
        cls.addClassCleanup(pooler.wait)
        cls.addClassCleanup(pooler.kill)
        query = urlencode(
            {"host": folder, "port": 6432, "disable_server_side_cursors": "true"}
        )
        cls.address = cls.start(
            url=f"postgres://anybody@/{cls.scratch.name}?{query}", PGOPTIONS=""
        )

    def test_people_work(self):
        anna, root = (
            self.enter(self.address, "user-0"),
            self.enter(self.address, "root"),
        )
        for number in range(4):
            self.save(anna, phone=str(number))
        self.assertIn("Acme", anna.get(LIST).text)
        self.assertIn("user-3", anna.get(f"{LIST}1/people/").text)
        content = b"name,reference,admins\nNew,R1,user-1@example.com\n"
        shown = root.post(f"{LIST}import/", {}, {"file": ("file.csv", content)}).text
        self.assertEqual(root.post(f"{LIST}import/", read_form(shown)).status, 302)
        self.assertIn("New,R1", "".join(root.get(f"{LIST}export/").text.split('"')))
        with ThreadPoolExecutor(4) as threads:
            people = list(
                threads.map(
                    lambda number: self.enter(self.address, f"user-{number}"), range(4)
                )
            )
            self.assertEqual(
                set(
                    threads.map(
                        lambda who: who.get(f"{LIST}export/").status, people * 5
                    )
                ),
                {200},
            )
