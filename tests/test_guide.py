"""Commands of docs/deployment.md, run on a folder that stands for a machine.

PostgreSQL, PgBouncer, age and the programs of this project are real. What changes the
system itself, such as systemctl, only writes a log.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from unittest import skipUnless
from urllib.parse import urlsplit

import psycopg
from django.test import SimpleTestCase

from config.env_file import read_env_file
from tests.guide import machine, read_blocks

SBIN = f"{os.environ['PATH']}:/usr/sbin:/sbin"
POSTGRES_BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
PGBOUNCER = shutil.which("pgbouncer", path=SBIN)
AGE = shutil.which("age")

# The blocks that tests run: headings, and the numbers of blocks below them.
RUN = {
    "2. A release": {1, 2},
    "3. The database": {0, 1},
    "5. nginx": {1},  # NginxTests in tests/test_deployment.py
    "Copies on another machine": {0, 2, 3},
    "Restoring": {0, 1},
    "Moving to a new machine": {0, 1, 3, 5},
    "A new version of PostgreSQL": {3},
    "SECRET_KEY": {0},  # KeyRotationTests in tests/test_deployment.py
    "The password of the database": {0, 1},
    "10. PgBouncer": {0},
    "The pooler with TLS": {2},
    "12. Without systemd": {0},
}

CERTIFICATE = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    " -addext subjectAltName=DNS:localhost"
)


def find_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def as_postgres(*command):
    """Return a command as a user who may run PostgreSQL, which root may not."""
    if os.geteuid() != 0:
        return command
    return ("/usr/sbin/runuser", "-u", "postgres", "--", *command)


class MarkTests(SimpleTestCase):
    def test_all_commands_are_run_or_the_page_says_why_not(self):
        blocks = read_blocks()
        self.assertGreater(len(blocks), 30)
        for block in blocks:
            is_run = block.number in RUN.get(block.heading, ())
            with self.subTest(heading=block.heading, number=block.number):
                self.assertNotEqual(is_run, bool(block.mark))
        found = {(block.heading, block.number) for block in blocks}
        for heading, numbers in RUN.items():
            self.assertLessEqual({(heading, number) for number in numbers}, found)

    def test_units_are_enabled_and_disabled_by_their_full_names(self):
        """systemctl stop accepts a pattern, and systemctl disable does not."""
        for block in read_blocks():
            for line in block.text.replace("\\\n", "").splitlines():
                if re.match(r"systemctl .*\b(enable|disable)\b", line):
                    self.assertNotIn("*", line)


class FileTests(SimpleTestCase):
    """Commands that need no database."""

    def setUp(self):
        context = machine()
        self.machine = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)

    def test_a_machine_is_set_up_with_a_key_of_its_own(self):
        self.machine.run_blocks("2. A release", 1, 2)
        variables = read_env_file(self.machine.folder / "etc/orgadmin.env")
        self.assertRegex(variables["SECRET_KEY"].value, r"\A[0-9a-f]{64}\Z")
        installed = {
            path.name
            for path in (self.machine.folder / "usr/local/bin").iterdir()
            if os.access(path, os.X_OK)
        }
        self.assertLess({"orgadmin", "orgadmin-backup", "orgadmin-offsite"}, installed)
        units = self.machine.folder / "etc/systemd/system"
        self.assertTrue((units / "orgadmin-check.timer").exists())

    def test_nothing_is_forgotten_when_the_site_moves(self):
        moved = {
            "etc/orgadmin.env": "SECRET_KEY=x\n",
            "etc/orgadmin-offsite/key": "private",
            "etc/nginx/sites-available/orgadmin": "server {}",
            "etc/ssl/orgadmin/key.pem": "private",
            "etc/systemd/system/orgadmin@.service.d/override.conf": "[Service]",
            "var/backups/orgadmin/orgadmin-2.dump": "new",
        }
        for name, text in moved.items():
            self.machine.write_file(name, text).chmod(0o600)
        old = self.machine.write_file("var/backups/orgadmin/orgadmin-1.dump", "old")
        os.utime(old, (0, 0))
        self.machine.run_blocks("Moving to a new machine", 0)
        self.assertEqual(
            self.machine.list_commands(),
            [
                "systemctl stop orgadmin@* orgadmin-worker.service",
                "systemctl start orgadmin-backup.service",
            ],
        )
        with machine() as new:
            shutil.move(self.machine.folder / "root/orgadmin.tar", new.folder / "root")
            commands = next(
                block.text
                for block in read_blocks()
                if block.heading == "Moving to a new machine" and block.number == 1
            )
            new.run(commands.replace("--directory /", f"--directory {new.folder}"))
            for name, text in moved.items():
                self.assertEqual((new.folder / name).read_text(), text)
                self.assertEqual((new.folder / name).stat().st_mode & 0o777, 0o600)
            self.assertFalse((new.folder / old.relative_to(old.parents[3])).exists())

    def test_the_old_machine_never_starts_the_site_again(self):
        self.machine.run_blocks("Moving to a new machine", 5)
        (command,) = self.machine.list_commands()
        self.assertTrue(command.startswith("systemctl disable --now "))
        disabled = set(command.split()[3:])
        for server in "ab":
            self.assertIn(f"orgadmin@{server}.service", disabled)
        for path in self.machine.deployment.iterdir():
            if path.suffix == ".timer" or path.name == "orgadmin-worker.service":
                self.assertIn(path.name, disabled)

    def test_cron_and_logrotate_get_their_files(self):
        for name in ("cron.d", "logrotate.d"):
            (self.machine.folder / "etc" / name).mkdir()
        self.machine.run_blocks("12. Without systemd", 0)
        lines = (self.machine.folder / "etc/cron.d/orgadmin").read_text().splitlines()
        variables = dict(line.split("=", 1) for line in lines[:3])
        # Otherwise, cron only searches /usr/bin and /bin, which do not have runuser.
        for name in ("runuser", "flock"):
            self.assertIsNotNone(shutil.which(name, path=variables["PATH"]), name)
        self.assertIn("/usr/local/bin", variables["PATH"])
        # doctor looks for the status of the backup there.
        settings = read_env_file(self.machine.deployment / "orgadmin.env")
        folder = Path(variables["STATE_DIRECTORY"])
        self.assertEqual(str(folder / "status"), settings["BACKUP_STATUS"].value)
        self.assertTrue(folder.is_dir())
        self.assertEqual(len(lines), 9)
        for line in lines[3:]:
            # Five fields for the time, a user, and a command.
            self.assertRegex(line, r"^([\d*]+ ){5}(root|orgadmin-backup) \S")
            # cron would end the command there.
            self.assertNotIn("%", line)

    @skipUnless(AGE, "age is missing: apt-get install age")
    def test_copies_are_encrypted_and_complete(self):
        self.set_up_copies()
        self.machine.write_file("var/backups/orgadmin/orgadmin-1.dump", "a dump")
        printed = self.send()
        self.assertIn("Copied orgadmin-1.dump", printed)
        (copy,) = self.copies.iterdir()
        self.assertNotIn(b"a dump", copy.read_bytes())
        commands = next(
            block.text
            for block in read_blocks()
            if block.heading == "Copies on another machine" and block.number == 3
        )
        commands = commands.replace("orgadmin-….dump.age", str(copy))
        self.machine.run(commands.splitlines()[0])
        decrypted = self.machine.folder / "orgadmin.dump"
        self.assertEqual(decrypted.read_text(), "a dump")
        dumps = self.machine.folder / "var/backups/orgadmin"
        self.assertEqual(len(list(dumps.iterdir())), 1)

    @skipUnless(AGE, "age is missing: apt-get install age")
    def test_a_copy_that_does_not_arrive_in_full_does_not_count(self):
        self.set_up_copies()
        self.machine.write_file("var/backups/orgadmin/orgadmin-1.dump", "a dump" * 999)
        # The connection breaks.
        self.write_ssh("head -c 100 |")
        with self.assertRaisesRegex(AssertionError, "did not arrive in full"):
            self.send()
        self.assertEqual(list(self.copies.iterdir()), [])
        self.write_ssh("")
        self.send()
        self.assertEqual(len(list(self.copies.iterdir())), 1)

    @skipUnless(AGE, "age is missing: apt-get install age")
    def test_each_backup_is_copied(self):
        self.machine.run_blocks("Copies on another machine", 2)
        units = self.machine.folder / "etc/systemd/system"
        drop_in = units / "orgadmin-backup.service.d/offsite.conf"
        self.assertEqual(
            drop_in.read_text(), "[Unit]\nOnSuccess=orgadmin-offsite.service\n"
        )

    def set_up_copies(self):
        """Create the keys, and a program in place of ssh."""
        self.machine.run("age-keygen --output orgadmin.key 2>/dev/null")
        key = (self.machine.folder / "orgadmin.key").read_text()
        public = re.search(r"public key: (age1\w+)", key)[1]
        self.machine.write_tool("ssh-keyscan", '#!/bin/sh\necho "$3 ssh-ed25519 x"\n')
        self.machine.write_tool("chgrp", "#!/bin/sh\n")
        self.copies = self.machine.folder / "copies"
        self.copies.mkdir()
        self.write_ssh("")
        setup = next(
            block.text
            for block in read_blocks()
            if block.heading == "Copies on another machine" and block.number == 0
        )
        printed = self.machine.run(setup.replace("age1…", public))
        self.assertTrue(printed.startswith("ssh-ed25519 "))

    def write_ssh(self, filter):
        """Stand in for ssh and sshd. The filter changes what is sent."""
        accept = self.machine.deployment / "orgadmin-accept"
        self.machine.write_tool(
            "ssh",
            '#!/bin/sh\n[ "$3" = offsite ] || exit 9\n'
            f'cat | {filter} SSH_ORIGINAL_COMMAND="$4" sh {accept} {self.copies}\n',
        )

    def send(self):
        return self.machine.run(
            "sh /srv/orgadmin/current/docs/deployment/orgadmin-offsite"
            " /var/backups/orgadmin /etc/orgadmin-offsite"
        )


@skipUnless(POSTGRES_BIN, "PostgreSQL is missing: apt-get install postgresql")
class DatabaseTests(SimpleTestCase):
    """A PostgreSQL server of the machine, from its first role to a restored backup."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        context = machine()
        cls.machine = context.__enter__()
        cls.addClassCleanup(context.__exit__, None, None, None)
        cls.sockets = cls.machine.folder / "run/postgresql"
        cls.sockets.chmod(0o777)
        cls.port = find_port()
        cls.pooler_port = find_port()
        cls.start_server()
        cls.machine.variables = {
            "PATH": f"{cls.machine.tools}:{cls.machine.folder}/usr/local/bin:"
            f"{POSTGRES_BIN}:{os.environ['PATH']}",
            "PGHOST": str(cls.sockets),
            "PGPORT": str(cls.port),
        }
        cls.write_tools()
        cls.machine.run_blocks("2. A release", 1, 2)
        cls.machine.run_blocks("3. The database", 0, 1)
        cls.machine.run("orgadmin migrate --verbosity 0")

    @classmethod
    def start_server(cls):
        folder = cls.machine.folder / "data"
        folder.mkdir()
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        options = ["--auth-local", "trust", "--auth-host", "scram-sha-256"]
        cls.call("initdb", "-D", folder, "-U", "postgres", "--no-sync", *options)
        for name in ("server", "other"):
            subprocess.run(
                f"{CERTIFICATE} -keyout {name}.key -out {name}.crt",
                shell=True,
                cwd=folder,
                check=True,
                capture_output=True,
            )
            if os.geteuid() == 0:
                shutil.chown(folder / f"{name}.key", "postgres")
        shutil.copy(folder / "server.crt", cls.machine.folder / "server.crt")
        settings = (
            f"-c port={cls.port} -c unix_socket_directories={cls.sockets} -c fsync=off"
            " -c ssl=on -c listen_addresses=127.0.0.1"
        )
        log = folder / "log"
        cls.call("pg_ctl", "-D", folder, "-l", log, "-o", settings, "-w", "start")
        cls.addClassCleanup(cls.call, "pg_ctl", "-D", folder, "-m", "immediate", "stop")

    @classmethod
    def call(cls, program, *arguments):
        command = as_postgres(POSTGRES_BIN / program, *arguments)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    @classmethod
    def write_tools(cls):
        url = f"postgres:///orgadmin?host={cls.sockets}"
        tool = (
            '#!/bin/sh\nexport PGUSER="$2"\n'
            f"export PGHOST={cls.sockets} PGPORT={cls.port}\n"
            f'[ "$2" != orgadmin-backup ] || export DATABASE_URL="{url}"\n'
            'shift 3\nexec "$@"\n'
        )
        cls.machine.write_tool("runuser", tool)

    def query(self, sql, database="orgadmin"):
        with psycopg.connect(
            host=str(self.sockets), port=self.port, user="postgres", dbname=database
        ) as connected:
            return connected.execute(sql).fetchall()

    def read_variables(self):
        return read_env_file(self.machine.folder / "etc/orgadmin.env")

    def connect_with_password(self, password, **options):
        defaults = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "orgadmin",
            "dbname": "orgadmin",
        }
        return psycopg.connect(**defaults | options, password=password)

    def back_up(self):
        self.machine.run(
            "runuser -u orgadmin-backup -- orgadmin-backup /var/backups/orgadmin"
        )

    def test_the_backup_can_read_everything_and_change_nothing(self):
        self.back_up()
        with psycopg.connect(
            host=str(self.sockets),
            port=self.port,
            user="orgadmin-backup",
            dbname="orgadmin",
        ) as connected:
            with self.assertRaises(psycopg.Error):
                connected.execute("DELETE FROM orgadmin_user")

    def test_the_extension_for_search_exists(self):
        found = self.query("SELECT extname FROM pg_extension WHERE extname='pg_trgm'")
        self.assertEqual(len(found), 1)

    def test_a_backup_is_restored_and_takes_the_place_of_the_database(self):
        create = "INSERT INTO auth_group (name) VALUES ('{}') RETURNING name".format
        self.query(create("before the backup"))
        # Otherwise, doctor says that nobody sends the mail.
        self.machine.run("orgadmin worker --once")
        self.back_up()
        self.query(create("after the backup"))
        self.machine.list_commands()
        self.machine.run_blocks("Restoring", 0, 1)
        self.assertEqual(
            self.machine.list_commands(),
            [
                "systemctl stop orgadmin@* orgadmin-worker.service",
                "orgadmin-release start",
                "systemctl start orgadmin-worker.service",
            ],
        )
        names = "SELECT name FROM auth_group WHERE name LIKE '% the backup'"
        self.assertEqual(self.query(names), [("before the backup",)])
        databases = self.query(
            "SELECT datname FROM pg_database WHERE datname LIKE 'orgadmin_2%'"
        )
        self.assertEqual(len(self.query(names, databases[0][0])), 2)
        # The commands can be repeated.
        time.sleep(1)
        self.machine.run_blocks("Restoring", 0, 1)

    def test_a_new_machine_gets_the_database_of_the_old_one(self):
        create = "INSERT INTO auth_group (name) VALUES ('moved')"
        with psycopg.connect(
            host=str(self.sockets), port=self.port, user="postgres", dbname="orgadmin"
        ) as connected:
            connected.execute(create)
        self.machine.run("orgadmin worker --once")
        self.back_up()
        self.machine.run_blocks("Restoring", 0)
        self.machine.run_blocks("Moving to a new machine", 3)
        moved = "SELECT name FROM auth_group WHERE name = 'moved'"
        self.assertEqual(self.query(moved), [("moved",)])
        self.assertEqual(self.query(moved, "orgadmin_empty"), [("moved",)])

    def test_the_container_of_postgresql_gets_the_same_roles(self):
        """Under other names, because those of the guide exist."""
        script = (self.machine.deployment / "compose/create-roles.sh").read_text()
        for name in ("database", "backup"):
            self.machine.write_file(f"run/secrets/{name}_password", f"{name}'s\n")
        self.machine.run(script.replace("orgadmin", "contained"))
        with self.assertRaises(psycopg.OperationalError):
            self.connect_with_password("wrong", user="contained", dbname="contained")
        self.connect_with_password(
            "database's", user="contained", dbname="contained"
        ).close()
        with self.connect_with_password(
            "backup's", user="contained-backup", dbname="contained"
        ) as connected:
            (row,) = connected.execute("SHOW default_transaction_read_only").fetchall()
        self.assertEqual(row, ("on",))

    def test_indexes_are_rebuilt_after_an_upgrade_of_the_system(self):
        self.machine.run_blocks("A new version of PostgreSQL", 3)

    def test_the_password_is_replaced(self):
        path = self.machine.folder / "etc/orgadmin.env"
        self.addCleanup(path.write_text, path.read_text())
        path.write_text(path.read_text() + "PGPASSWORD=old\n")
        self.machine.run(
            "runuser -u postgres -- psql -qc \"ALTER ROLE orgadmin PASSWORD 'old'\""
        )
        self.connect_with_password("old").close()
        self.machine.run_blocks("The password of the database", 0)
        password = self.read_variables()["PGPASSWORD"].value
        self.assertNotEqual(password, "old")
        self.connect_with_password(password).close()
        with self.assertRaises(psycopg.OperationalError):
            self.connect_with_password("old")
        self.assertEqual(self.machine.list_commands()[-1], "orgadmin-release restart")

    @skipUnless(PGBOUNCER, "pgbouncer is missing: apt-get install pgbouncer")
    def test_the_pooler_with_a_new_password_and_with_tls(self):
        path = self.machine.folder / "etc/orgadmin.env"
        self.addCleanup(path.write_text, path.read_text())
        direct = self.read_variables()["DATABASE_URL"].value
        # As for a PostgreSQL on another machine. Commands use it without the pooler.
        path.write_text(path.read_text() + "PGPASSWORD=old\n")
        self.set_up_pooler()
        variables = self.read_variables()
        self.assertEqual(variables["DIRECT_DATABASE_URL"].value, direct)
        self.assertEqual(variables["PGOPTIONS"].value, "")
        first = self.find_pooled_password()
        self.assertEqual(variables["PGPASSWORD"].value, first)
        with self.run_pooler() as process:
            self.connect_through_pooler(first)
            self.machine.run_blocks("The password of the database", 1)
            second = self.find_pooled_password()
            self.assertNotEqual(first, second)
            self.assertEqual(self.read_variables()["PGPASSWORD"].value, second)
            users = self.machine.folder / "etc/pgbouncer/userlist.txt"
            users.chmod(0o644)
            process.send_signal(signal.SIGHUP)
            self.wait_for_password(second)
            with self.assertRaises(psycopg.OperationalError):
                self.connect_through_pooler(first)
        self.encrypt_the_way_to_postgresql()
        with self.run_pooler():
            connected = self.connect_through_pooler(second)
            self.assertEqual(connected, [(True,)])
        # A certificate of someone else is refused.
        folder = self.machine.folder
        shutil.copy(folder / "data/other.crt", folder / "server.crt")
        with self.run_pooler(), self.assertRaises(psycopg.OperationalError):
            self.connect_through_pooler(second)

    def set_up_pooler(self):
        (self.machine.folder / "etc/pgbouncer").mkdir()
        example = self.machine.deployment / "pgbouncer.ini"
        text = example.read_text()
        text = text.replace("port=5432", f"port={self.port}")
        text = text.replace("= 6432", f"= {self.pooler_port}")
        text = re.sub(r"(?m)^(logfile|pidfile) .*\n", "", text)
        example.write_text(text)
        commands = self.find_commands("10. PgBouncer", 0)
        # doctor also tests the certificate and the mail server, which are not here.
        commands = commands.replace("orgadmin doctor --deploy\n", "")
        self.machine.run(commands.replace(":6432", f":{self.pooler_port}"))

    def find_commands(self, heading, number):
        return next(
            block.text
            for block in read_blocks()
            if (block.heading, block.number) == (heading, number)
        )

    def make_readable(self):
        """The pooler runs as another user than these tests."""
        for path in (self.machine.folder / "etc/pgbouncer").iterdir():
            path.chmod(0o644)
            # PgBouncer notices changes by the second.
            os.utime(path, (0, 0))

    @contextmanager
    def run_pooler(self):
        self.make_readable()
        configuration = self.machine.folder / "etc/pgbouncer/pgbouncer.ini"
        process = subprocess.Popen(
            (PGBOUNCER, "-q", configuration),
            stderr=subprocess.DEVNULL,
            **({"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}),
        )
        try:
            self.wait_until_listening()
            yield process
        finally:
            process.kill()
            process.wait()

    def wait_until_listening(self):
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.pooler_port)).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.fail("pgbouncer has not started.")

    def wait_for_password(self, password):
        for _ in range(600):
            try:
                self.connect_through_pooler(password)
            except psycopg.OperationalError as error:
                reason = error
                time.sleep(0.05)
            else:
                return
        self.fail(f"pgbouncer does not accept the new password: {reason}")

    def connect_through_pooler(self, password):
        """Return whether the pooler's connection to PostgreSQL is encrypted."""
        with self.connect_with_password(
            password, port=self.pooler_port, sslmode="disable", prepare_threshold=None
        ) as connected:
            return connected.execute(
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            ).fetchall()

    def find_pooled_password(self):
        return urlsplit(self.read_variables()["DATABASE_URL"].value).password

    def encrypt_the_way_to_postgresql(self):
        commands = self.find_commands("The pooler with TLS", 2)
        commands = commands.replace("orgadmin doctor --deploy\n", "")
        commands = commands.replace("5432", str(self.port))
        self.machine.run(commands.replace("db.example.com", "localhost"))
        path = self.machine.folder / "etc/pgbouncer/pgbouncer.ini"
        text = path.read_text()
        self.assertIn("\nserver_tls_sslmode = verify-full\n", text)
        certificate = self.machine.folder / "server.crt"
        path.write_text(
            re.sub(r"(?m)^(server_tls_ca_file = ).*", rf"\g<1>{certificate}", text)
        )
