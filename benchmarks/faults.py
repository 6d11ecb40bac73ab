"""What goes wrong in earnest, done on purpose while people work: is anything lost, and does all come back by itself?

    python -m benchmarks.faults [--pool 0 --pool 4]

Starts a PostgreSQL and a gunicorn with three workers. Some people save, change roles and read meanwhile, and remember
what they were told was saved. A row for each fault: what people were answered from its beginning until everybody was
served again, and how long that took after its end. At last, what was said to be saved is looked for in the database,
and `manage.py doctor` looks for broken promises. The exit status is 1 where something is lost, or is not as it should.

There is no cache that could be lost: sessions, limits and all that people know of each other are in the database."""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
from urllib3.exceptions import HTTPError

from tests.scratch import PROJECT
from tests.servers import LIST, Person, read_form, serve

NGINX, NGINX_CONF = (
    shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"),
    PROJECT / "docs/deployment/nginx.conf",
)
WRITERS, READERS, WORKERS, PATIENCE = (
    3,
    3,
    3,
    60,
)  # seconds until everybody should be served again
BUSY = "Too much is going on"
PEOPLE = f"""
import django; django.setup()
from tests.factories import *
organizations = [create_organization("Acme") for _ in range({WRITERS} + 2)]
create_superuser()
create_user("member", admin_of=[organizations[-2]])
for number in range({WRITERS}):
    create_user(f"user-{{number}}", admin_of=organizations)
"""
MEMBERS, LOCKED = (
    WRITERS + 1,
    WRITERS + 2,
)  # keys of the organizations whose roles change, and which is locked
HEADERS = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
BODY = f"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nCookie: csrftoken={'a' * 32}\r\nContent-Length: 1000\r\n"
BODY = f"{BODY}Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode()


class Worker(threading.Thread):
    """Somebody who does one thing again and again, and notes how each request was answered."""

    def __init__(self, site, username, number):
        super().__init__()
        self.person, self.number, self.site = Person(site.address), number, site
        self.page, self.said, self.tries = f"{LIST}{number}/change/", [], 0
        self.seen = [(0.0, "begin")]  # when, and the status or what else happened
        assert self.person.sign_in(username)

    def run(self):
        while not self.site.over:
            with suppress(HTTPError):
                self.do()
            time.sleep(0.05)

    def do(self):
        self.ask("get", LIST)
        self.ask("get", self.page)

    def ask(self, method, *arguments):
        """Return the answer if it is one of those wanted, else None."""
        try:
            answer = getattr(self.person, method)(*arguments)
        except HTTPError:
            self.note("no answer")
            raise
        expected = answer.status == 200 or (
            answer.status == 302 and "/login/" not in answer.headers["Location"]
        )
        if answer.status == 503 and BUSY in answer.text:
            self.note("503")
        else:
            self.note("good" if expected else f"{answer.status}!")
        return answer if expected else None

    def note(self, what):
        self.seen.append((time.monotonic(), what))


class Writer(Worker):
    def do(self):
        if page := self.ask("get", self.page):
            self.tries += 1
            answer = self.ask(
                "post", self.page, read_form(page.text) | {"phone": str(self.tries)}
            )
            if answer and answer.headers.get("Location") == LIST:
                self.said.append(str(self.tries))

    def find(self, connection):
        return connection.execute(
            "SELECT phone FROM orgadmin_historicalorganization WHERE id = %s",
            [self.number],
        )


class Changer(Worker):
    """Makes a member reviewer, and admin again; the reason is a number."""

    def do(self):
        page = f"{LIST}{MEMBERS}/people/"
        self.tries += 1
        data = {
            "user": self.site.member,
            "role": ("admin", "reviewer")[self.tries % 2],
            "reason": str(self.tries),
        }
        shown = self.ask("post", page, data | {"confirmed": "1"}) and self.ask(
            "get", page
        )
        if (
            shown
            and "“member” is now" in shown.text
            and "No changes" not in shown.text
        ):
            self.said.append(str(self.tries))

    def find(self, connection):
        return connection.execute(
            "SELECT reason FROM orgadmin_membershipevent WHERE organization_key = %s",
            [MEMBERS],
        )


class Site:
    """A database, a server in front of it, and people at work."""

    def __init__(self, folder, pool):
        self.folder, self.pool, self.over, self.problems = folder, pool, False, []
        import pgserver

        self.postgres = pgserver.get_server(folder / "data", cleanup_mode="delete")
        self.url = self.postgres.get_uri()
        self.environment = os.environ | {
            "DATABASE_URL": self.url,
            "DATABASE_POOL": str(pool),
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "EMAIL_URL": "smtp://127.0.0.1:9",  # where nothing listens
            "PYTHONWARNINGS": "ignore",
            "SECRET_KEY": "benchmarks",
        }
        self.run("manage.py", "migrate", "--verbosity", "0")
        self.run("-c", PEOPLE)
        with psycopg.connect(self.url) as connection:
            (self.member,) = connection.execute(
                "SELECT id FROM orgadmin_user WHERE username = 'member'"
            ).fetchone()

    def run(self, *command):
        command = [sys.executable, *command]
        done = subprocess.run(
            command, env=self.environment, cwd=PROJECT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def at_work(self):
        with (
            open(self.folder / "log", "w") as log,
            serve(self.environment, WORKERS, log) as self.server,
        ):
            self.address = self.server.address
            self.people = [
                Writer(self, f"user-{number}", number + 1) for number in range(WRITERS)
            ]
            self.people += [
                Worker(self, f"user-{number % WRITERS}", number + 1)
                for number in range(READERS)
            ]
            self.people.append(Changer(self, "root", MEMBERS))
            for person in self.people:
                person.start()
            yield
            self.over = True
            for person in self.people:
                person.join()

    def read_log(self):
        """Return the lines of the log, as what they say; what is no JSON is a problem."""
        lines = (self.folder / "log").read_text().splitlines()
        strange = [line for line in lines if not line.startswith("{")]
        if strange:
            self.problems.append(
                f"{len(strange)} lines of the log are no JSON, such as {strange[0]!r}"
            )
        return [json.loads(line) for line in lines if line not in strange]

    def suffer(self, what, act, says=None):
        """Do something bad; print how it went. `says` is what the log must tell of it."""
        before, begin = len(self.read_log()), time.monotonic()
        told = act() or ""
        end = time.monotonic()
        while time.monotonic() < end + PATIENCE:
            back = [
                next(
                    (at for at, label in person.seen if at > end and label == "good"),
                    None,
                )
                for person in self.people
            ]
            if None not in back:
                break
            time.sleep(0.2)
        else:
            self.problems.append(f"{what}: somebody was not served again")
            back = [end + PATIENCE]
        seen = Counter(
            label
            for person in self.people
            for at, label in person.seen
            if begin < at <= max(back)
        )
        if strange := [label for label in seen if label.endswith("!")]:
            self.problems.append(f"{what}: people were answered {', '.join(strange)}")
        time.sleep(0.5)  # until it is written
        lines = self.read_log()[before:]
        logged = sum(line.get("status") == 503 for line in lines)
        if logged < seen["503"]:
            self.problems.append(
                f"{what}: of {seen['503']} answers 503, the log tells {logged}"
            )
        if says and not any(re.search(says, json.dumps(line)) for line in lines):
            self.problems.append(f"{what}: the log does not say {says!r}")
        labels = ("good", "503", "no answer", *strange)
        counts = "  ".join(f"{seen[label]:>9}" for label in labels)
        print(
            f"{self.pool:>4}  {what:<34}{counts}  {max(back) - end:>10.1f}  {told}",
            flush=True,
        )

    def check(self):
        """Look for all that people were told was saved."""
        lost = 0
        with psycopg.connect(self.url) as connection:
            for person in self.people:
                if hasattr(person, "find"):
                    lost += len(
                        set(person.said)
                        - {value for (value,) in person.find(connection)}
                    )
        said = sum(len(person.said) for person in self.people)
        print(
            f"{self.pool:>4}  {said} changes said to be saved, {lost} of them lost",
            flush=True,
        )
        if lost or not said:
            self.problems.append(f"{lost} of {said} changes are lost")
        try:
            self.run("manage.py", "doctor")
        except AssertionError as error:
            self.problems.append(f"doctor: {error}")


def stop_postgres(site, mode):
    """Stop it, and start it again three seconds later."""
    from pgserver._commands import pg_ctl

    pg_ctl(
        ["-w", "-m", mode, "stop"],
        pgdata=site.postgres.pgdata,
        user=site.postgres.system_user,
    )
    time.sleep(3)
    site.postgres.ensure_postgres_running()


def kill_worker(site):
    victim, *others = psutil.Process(site.server.pid).children()
    victim.kill()
    while (
        len(workers := psutil.Process(site.server.pid).children()) < WORKERS
        or victim in workers
    ):
        time.sleep(0.1)
    assert set(others) < set(workers)


def invite(site):
    root, page = Person(site.address), f"{LIST}{MEMBERS}/people/"
    root.sign_in("root")
    root.post(
        page,
        {"invite": "", "invite-email": "new@example.com", "invite-role": "reviewer"},
    )
    if "the email could not be sent" not in root.get(page).text:
        site.problems.append("nobody is told that the email could not be sent")
    with psycopg.connect(site.url) as connection:
        if not connection.execute(
            "SELECT FROM orgadmin_invitation WHERE email = 'new@example.com'"
        ).rowcount:
            site.problems.append("the invitation is lost")


def hold_lock(site, address=None, least=9, most=20):
    """Hold a row; who saves it must be answered in time."""
    anna, page = Person(address or site.address), f"{LIST}{LOCKED}/change/"
    anna.sign_in("user-0")
    form = read_form(anna.get(page).text)
    with psycopg.connect(site.url) as connection:
        connection.execute(
            "SELECT FROM orgadmin_organization WHERE id = %s FOR UPDATE", [LOCKED]
        )
        began = time.monotonic()
        answer = anna.post(page, form | {"phone": "1"})
        seconds = time.monotonic() - began
    if answer.status != 503 or BUSY not in answer.text or not least < seconds < most:
        site.problems.append(
            f"a lock: answered {answer.status} after {seconds:.1f} seconds"
        )
    if anna.post(page, form | {"phone": "1"}).status != 302:
        site.problems.append("a lock: nothing can be saved afterwards")
    return f"who saved it: {answer.status} after {seconds:.1f} s"


def hold_statement(site):
    """The same with the other limit, in a server of its own, as the limits of all are those of gunicorn.conf.py."""
    limits = {"PGOPTIONS": "-c statement_timeout=3s"}
    with serve(site.environment | limits) as server:
        return hold_lock(site, server.address, 2.5, 10)


def trickle(site, address, text, seconds=8, count=100):
    """Send `text` over many connections, then a byte a second; tell how people were served before, and meanwhile."""
    time.sleep(seconds)
    begin, connections = time.monotonic(), []
    for _ in range(count):
        connections.append(socket.create_connection(address))
        connections[-1].sendall(text)
        time.sleep(0.01)  # so that each of the processes takes some
    sent = time.monotonic()
    for _ in range(seconds):
        time.sleep(1)
        for connection in connections:
            with suppress(OSError):
                connection.sendall(b"a")
    end = time.monotonic()
    for connection in connections:
        connection.close()
    before, meanwhile = (
        sum(
            start < at <= stop and label == "good"
            for person in site.people
            for at, label in person.seen
        )
        / (stop - start)
        for start, stop in ((begin - seconds, begin), (sent, end))
    )
    site.served = meanwhile / before
    return f"{before:.0f} answers a second before, {meanwhile:.0f} meanwhile"


@contextmanager
def nginx(site):
    """Run nginx with the settings of the documentation, but for TLS and places; yield its address."""
    text = NGINX_CONF.read_text()
    text = text[: text.index("\nserver {")] + text[text.rindex("\nserver {") :]
    text = re.sub(
        r"^ *(listen_to_groups|ssl_\w+|access_log|error_log) .*\n",
        "",
        text,
        flags=re.MULTILINE,
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    text = re.sub(r"server unix:.*;", "server {}:{};".format(*site.address), text)
    text = re.sub(
        r"(?<=^server \{\n)",
        f"    listen_to_groups {address[0]}:{address[1]};\n",
        text,
        flags=re.MULTILINE,
    )
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{name}_temp_path {site.folder}/{name};" for name in names)
    head = f"daemon off; pid {site.folder}/nginx.pid; error_log {site.folder}/nginx.log crit; events {{}}"
    (site.folder / "nginx.conf").write_text(
        f"{head}\nhttp {{\naccess_log off; {places}\n{text}\n}}\n"
    )
    process = subprocess.Popen(
        [NGINX, "-p", site.folder, "-c", site.folder / "nginx.conf"]
    )
    try:
        for _ in range(100):
            time.sleep(0.1)
            with suppress(HTTPError):
                Person(address).get("/livez")
                break
        yield address
    finally:
        process.terminate()
        process.wait()


def try_nginx(site):
    with nginx(site) as address:
        for name, text in (("headers", HEADERS), ("body", BODY)):
            what = f"100 slow clients of nginx: {name}"
            site.suffer(what, lambda text=text: trickle(site, address, text))
            if site.served < 0.5:
                site.problems.append(f"{what}: they hold the others up")


def try_everything(pool):
    with tempfile.TemporaryDirectory(
        prefix="faults-", ignore_cleanup_errors=True
    ) as folder:
        os.chmod(folder, 0o755)
        site = Site(Path(folder), pool)
        try:
            with site.at_work():
                time.sleep(3)
                for mode in ("fast", "immediate"):
                    says = r"Operational|psycopg\.pool"  # the pool tells of it where requests wait, and none fails
                    site.suffer(
                        f"PostgreSQL stopped: {mode}",
                        lambda mode=mode: stop_postgres(site, mode),
                        says,
                    )
                site.suffer("a worker killed", lambda: kill_worker(site), "SIGKILL")
                site.suffer("no mail server", lambda: invite(site), "orgadmin.mail")
                site.suffer("a row locked", lambda: hold_lock(site), "LockNotAvailable")
                site.suffer("a statement too long", lambda: hold_statement(site))
                for name, text in (("headers", HEADERS), ("body", BODY)):
                    site.suffer(
                        f"100 slow clients: {name}",
                        lambda text=text: trickle(site, site.address, text),
                    )
                if NGINX and NGINX_CONF.exists():
                    try_nginx(site)
                else:
                    print(
                        "      (not tried: slow clients behind nginx, which is not installed)"
                    )
            site.check()
        finally:
            site.over = True
            site.postgres.cleanup()
        return site.problems


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pool",
        type=int,
        action="append",
        help="DATABASE_POOL, more than one in turn (0 and 4)",
    )
    print(f"pool  {'fault':<34}     good       503  no answer  back after")
    pools = parser.parse_args().pool or (0, 4)
    with tempfile.TemporaryDirectory(prefix="faults-") as os.environ[
        "XDG_RUNTIME_DIR"
    ]:  # of pgserver, once for all
        problems = [problem for pool in pools for problem in try_everything(pool)]
    print("\n".join(problems or ["all as it should be"]))
    sys.exit(bool(problems))
