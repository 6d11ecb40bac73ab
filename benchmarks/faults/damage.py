"""The faults: each function causes one and returns when its cause is over."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil
import psycopg

from benchmarks.faults.people import is_busy, read_message_levels
from benchmarks.faults.site import (
    LOCKED_ORGANIZATION,
    MEMBERS_ORGANIZATION,
    SERVER_WORKERS,
    Site,
)
from tests.servers import LIST, Person, read_form, serve

SLOW_CLIENTS = 100
SLOW_SECONDS = 8

# Requests that slow clients begin, one in its headers and one in its body.
SLOW_HEADERS = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
SLOW_BODY = (
    b"POST /admin/login/ HTTP/1.1\r\n"
    b"Host: localhost\r\n"
    b"Cookie: csrftoken=" + b"a" * 32 + b"\r\n"
    b"Content-Length: 1000\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
    b"\r\n"
)


def stop_postgres(site: Site, mode: str) -> None:
    """Stop PostgreSQL in one of pg_ctl's modes, and start it three seconds later."""
    from pgserver._commands import pg_ctl

    pg_ctl(
        ["-w", "-m", mode, "stop"],
        pgdata=site.postgres.pgdata,
        user=site.postgres.system_user,
    )
    time.sleep(3)
    site.postgres.ensure_postgres_running()


def kill_worker(site: Site) -> None:
    """Kill a worker of gunicorn, and wait until there is a new one."""
    server = psutil.Process(site.server.pid)
    victim, *others = server.children()
    victim.kill()
    while True:
        workers = server.children()
        if len(workers) >= SERVER_WORKERS and victim not in workers:
            break
        time.sleep(0.1)
    assert set(others) < set(workers)


def invite_without_mail_server(site: Site) -> None:
    """Invite someone: the page does not wait, and the email stays in the outbox."""
    person = Person(site.address)
    page = f"{LIST}{MEMBERS_ORGANIZATION}/people/"
    person.sign_in("root")
    data = {"add": "1", "add-who": "new@example.com", "add-role": "reviewer"}
    person.post(page, data)
    if "success" not in read_message_levels(person.get(page).text):
        site.problems.append("the page does not say that the email is on its way")
    with psycopg.connect(site.url) as connection:
        invitations = connection.execute(
            "SELECT FROM orgadmin_invitation WHERE email = 'new@example.com'"
        )
        if not invitations.rowcount:
            site.problems.append("the invitation is lost")
        waiting = connection.execute("SELECT FROM django_tasks_database_dbtaskresult")
        if not waiting.rowcount:
            site.problems.append("the email is lost")


def lock_row(
    site: Site,
    address: tuple[str, int] | None = None,
    least: float = 9,
    most: float = 20,
) -> str:
    """Lock an organization, and let a person save it.

    The person must be answered after a number of seconds between `least` and `most`.
    """
    person = Person(address or site.address)
    page = f"{LIST}{LOCKED_ORGANIZATION}/change/"
    person.sign_in("user-0")
    data = read_form(person.get(page).text) | {"phone": "1"}
    with psycopg.connect(site.url) as connection:
        connection.execute(
            "SELECT FROM orgadmin_organization WHERE id = %s FOR UPDATE",
            [LOCKED_ORGANIZATION],
        )
        start = time.monotonic()
        response = person.post(page, data)
        seconds = time.monotonic() - start
    answer = f"{response.status} after {seconds:.1f} seconds"
    if not is_busy(response) or not least < seconds < most:
        site.problems.append(f"a locked row: answered with {answer}")
    if person.post(page, data).status != 302:
        site.problems.append("a locked row: it cannot be saved afterwards")
    return f"answer to the save: {answer}"


def wait_for_statement_timeout(site: Site) -> str:
    """Lock an organization for longer than a statement may take.

    A server of its own has this limit. The others have that of gunicorn.conf.py, where
    the limit for locks comes first.
    """
    limits = {"PGOPTIONS": "-c statement_timeout=3s"}
    with serve(site.environment | limits) as server:
        return lock_row(site, server.address, least=2.5, most=10)


@dataclass
class SlowClients:
    """Clients that begin a request, and then send a byte per second."""

    site: Site
    address: tuple[str, int]
    text: bytes
    share_served: float = 0  # of the requests per second that others got before

    def send(self) -> str:
        time.sleep(SLOW_SECONDS)
        start = time.monotonic()
        connections = self.connect()
        connected = time.monotonic()
        for _ in range(SLOW_SECONDS):
            time.sleep(1)
            for connection in connections:
                with suppress(OSError):
                    connection.sendall(b"a")
        end = time.monotonic()
        for connection in connections:
            connection.close()
        before = self.site.count_good_per_second(start - SLOW_SECONDS, start)
        during = self.site.count_good_per_second(connected, end)
        self.share_served = during / before
        return f"answers per second: {before:.0f} before, {during:.0f} during"

    def connect(self) -> list[socket.socket]:
        connections = []
        for _ in range(SLOW_CLIENTS):
            connection = socket.create_connection(self.address)
            connection.sendall(self.text)
            connections.append(connection)
            time.sleep(0.01)  # so that each of the workers accepts some
        return connections
