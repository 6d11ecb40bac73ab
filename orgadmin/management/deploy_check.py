"""Check what a deployment needs besides its data, for `doctor --deploy`."""

from __future__ import annotations

import os
import shutil
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.core.mail import get_connection
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http.request import split_domain_port, validate_host
from django.utils import timezone

from config import env
from orgadmin.access import replica
from orgadmin.access.reasons import describe_error, hide_credentials
from orgadmin.accounts.company.provider_check import Finding, Level, examine_provider
from orgadmin.management.search_indexes import find_missing_indexes
from orgadmin.records.backup_status import describe_backup, find_backup_problem
from orgadmin.records.doctor.mail_check import examine_outbox

# How long to wait for the pooler, the replica, and the site's own address.
TIMEOUT = 5  # seconds

# A certificate that is valid for fewer days than this should be renewed.
CERTIFICATE_DAYS = 21

# The share of each disk that should be free.
MIN_FREE_SPACE = 0.10

# The accepted difference between two clocks.
CLOCK_TOLERANCE = 5  # seconds

# The values of synchronous_commit with which a commit waits until a standby has written
# it to its disk.
WAITING_FOR_STANDBY = ("on", "remote_apply")


def examine_deployment() -> Iterator[Finding]:
    """Yield the findings about the deployment, including those about what works."""
    database = check_database()
    yield database
    if database.level is not Level.ERROR:
        migrations = check_migrations()
        yield migrations
        yield check_clock()
        # If migrations are missing, the table of the outbox may not exist.
        if migrations.level is not Level.ERROR:
            yield from check_worker()
            yield from check_search()
    yield from check_pooler()
    if database.level is not Level.ERROR:
        yield from check_replica()
    yield check_mail()
    yield from examine_providers()
    yield check_host()
    yield from check_certificate()
    yield check_backup()
    yield from check_disks()


def check_database() -> Finding:
    started = time.perf_counter()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error as error:
        return Finding(Level.ERROR, "database", describe_error(error))
    milliseconds = 1000 * (time.perf_counter() - started)
    version = ".".join(str(part) for part in connection.get_database_version())
    text = f"{connection.display_name} {version} answers in {milliseconds:.0f} ms"
    return Finding(Level.OK, "database", text)


def check_migrations() -> Finding:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return Finding(Level.OK, "migrations", "all are applied")
    names = ", ".join(str(migration) for migration, _backwards in plan[:3])
    text = f"{len(plan)} are not applied, such as {names}. Run “migrate”."
    return Finding(Level.ERROR, "migrations", text)


def check_clock() -> Finding:
    if connection.vendor != "postgresql":
        return Finding(Level.OK, "clock", "the database has no clock of its own")
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        seconds = abs((cursor.fetchone()[0] - timezone.now()).total_seconds())
    if seconds <= CLOCK_TOLERANCE:
        return Finding(Level.OK, "clock", "the same as the database's")
    text = (
        f"the clocks of this machine and of the database differ by {seconds:.0f}"
        " seconds. Codes of second factors need the right time: see “timedatectl”."
    )
    return Finding(Level.ERROR, "clock", text)


def check_worker() -> Iterator[Finding]:
    issues = list(examine_outbox())
    for issue in issues:
        yield Finding(Level.ERROR, issue.kind, issue.text)
    if not issues:
        yield Finding(Level.OK, "worker", "reports, and no mail is late")


def check_search() -> Iterator[Finding]:
    if connection.vendor != "postgresql":
        return
    missing = find_missing_indexes(connection)
    if missing:
        text = (
            f"{', '.join(missing)} missing, so searches read the whole table. Run"
            " “create_search_indexes”."
        )
        yield Finding(Level.NOTE, "search", text)
    else:
        yield Finding(Level.OK, "search", "all trigram indexes exist")


def check_pooler() -> Iterator[Finding]:
    """Check the connection that requests use, if commands bypass a pooler."""
    if settings.DATABASE_VARIABLE == "DATABASE_URL":
        return
    url = env.find_text("DATABASE_URL") or ""
    if "disable_server_side_cursors=true" not in url.lower():
        text = "add “?disable_server_side_cursors=true” to DATABASE_URL"
        yield Finding(Level.ERROR, "pooler", text)
    if settings.DATABASE_POOL:
        text = "set DATABASE_POOL to 0: the pooler already shares connections"
        yield Finding(Level.NOTE, "pooler", text)
    if os.environ.get("PGOPTIONS") != "":
        text = "add a line “PGOPTIONS=”: the pooler refuses connections with options"
        yield Finding(Level.ERROR, "pooler", text)
    yield connect_through_pooler(url)


def connect_through_pooler(url: str) -> Finding:
    database = env.parse_database(url, pool_size=0)
    options = database.get("OPTIONS", {})
    try:
        with psycopg.connect(
            host=database["HOST"] or None,
            port=database["PORT"] or None,
            user=database["USER"] or None,
            password=database["PASSWORD"] or None,
            dbname=database["NAME"],
            connect_timeout=TIMEOUT,
            **options,
        ) as pooled:
            row = pooled.execute("SHOW statement_timeout").fetchone()
    except psycopg.Error as error:
        return Finding(Level.ERROR, "pooler", describe_error(error))
    if row is None or row[0] == "0":
        text = "requests have no statement_timeout: see connect_query in pgbouncer.ini"
        return Finding(Level.NOTE, "pooler", text)
    return Finding(Level.OK, "pooler", f"answers; a statement may take {row[0]}")


def check_replica() -> Iterator[Finding]:
    if not replica.has_replica():
        return
    try:
        primary = replica.read_state_of_primary()
        started = time.perf_counter()
        standby = wait_for_replica(primary)
    except Error as error:
        yield Finding(Level.ERROR, "replica", describe_error(error))
        return
    seconds = time.perf_counter() - started
    if not replica.follows(standby, primary):
        yield Finding(Level.ERROR, "replica", describe_wrong_server(standby, primary))
        return
    yield describe_lag(standby, primary, seconds)
    yield from check_commits()


def wait_for_replica(primary: replica.ServerState) -> replica.ServerState:
    """Wait until the replica has reached a state of the primary, and return its state.

    Also returns after TIMEOUT, or as soon as the server turns out not to be a replica
    of this primary.
    """
    deadline = time.monotonic() + TIMEOUT
    while True:
        standby = replica.read_state_of_replica()
        is_wrong_server = not replica.follows(standby, primary)
        if is_wrong_server or replica.has_reached(standby, primary):
            return standby
        if time.monotonic() > deadline:
            return standby
        time.sleep(replica.POLL)


def describe_wrong_server(
    standby: replica.ServerState, primary: replica.ServerState
) -> str:
    """Return why a server cannot be used as the replica.

    The timeline of a standby is read from its control file, which has the timeline of
    the last checkpoint that the standby has replayed. So a CHECKPOINT updates it.
    """
    if not standby.is_standby:
        return "it is not a standby: requests read the primary only"
    if standby.system != primary.system:
        return "it is a standby of another database server"
    return (
        f"it is on timeline {standby.timeline}, and the primary on {primary.timeline}."
        " If it follows this primary, run CHECKPOINT on both"
    )


def describe_lag(
    standby: replica.ServerState, primary: replica.ServerState, seconds: float
) -> Finding:
    if replica.has_reached(standby, primary):
        text = f"has replayed everything after {1000 * seconds:.0f} ms"
        return Finding(Level.OK, "replica", text)
    if standby.position >= primary.position:
        # `has_reached()` also compares the clocks, so only the clock is left.
        behind = (primary.clock - standby.clock).total_seconds()
        text = f"its clock is {behind:.0f} s slow. See “timedatectl” there"
        return Finding(Level.ERROR, "replica", text)
    kilobytes = (primary.position - standby.position) / 1000
    text = f"it is {kilobytes:,.0f} kB behind, and did not catch up within {TIMEOUT} s"
    return Finding(Level.ERROR, "replica", text)


def check_commits() -> Iterator[Finding]:
    """Check whether a failover to a standby can lose changes that were saved."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('synchronous_commit'),"
            " current_setting('synchronous_standby_names')"
        )
        commit, standbys = cursor.fetchone()
    if standbys and commit in WAITING_FOR_STANDBY:
        yield Finding(Level.OK, "failover", "commits wait for a standby")
    else:
        text = (
            "commits do not wait for a standby, so the last ones can be lost with the"
            " primary. See docs/replica.md"
        )
        yield Finding(Level.NOTE, "failover", text)


def check_mail() -> Finding:
    mail = get_connection()
    if not hasattr(mail, "host"):
        return Finding(Level.NOTE, "mail", f"{settings.EMAIL_BACKEND} sends no mail")
    try:
        mail.open()
        mail.close()
    except (OSError, smtplib.SMTPException) as error:
        text = f"{mail.host}:{mail.port}: {describe_error(error)}"
        return Finding(Level.ERROR, "mail", text)
    return Finding(Level.OK, "mail", f"{mail.host}:{mail.port} accepts a connection")


def examine_providers() -> Iterator[Finding]:
    """Yield the findings about each OpenID provider."""
    for provider in settings.OIDC_PROVIDERS:
        for finding in examine_provider(provider):
            check = f"{provider.id}: {finding.check}"
            yield Finding(finding.level, check, finding.text)


def check_host() -> Finding:
    host, _port = split_domain_port(urlsplit(settings.BASE_URL).netloc)
    if validate_host(host, settings.ALLOWED_HOSTS):
        return Finding(Level.OK, "ALLOWED_HOSTS", f"has {host}, as BASE_URL does")
    text = f"lacks {host}, the host of BASE_URL, so every page answers 400"
    return Finding(Level.ERROR, "ALLOWED_HOSTS", text)


def check_certificate() -> Iterator[Finding]:
    """Check the certificate of the site, with a connection like a browser's."""
    url = urlsplit(settings.BASE_URL)
    if url.scheme != "https" or url.hostname is None:
        return
    address = (url.hostname, url.port or 443)
    try:
        with socket.create_connection(address, timeout=TIMEOUT) as plain:
            context = ssl.create_default_context()
            with context.wrap_socket(plain, server_hostname=url.hostname) as secure:
                certificate = secure.getpeercert() or {}
    except OSError as error:
        yield Finding(Level.ERROR, "certificate", hide_credentials(str(error)))
        return
    seconds = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    end = datetime.fromtimestamp(seconds, UTC)
    days = (end - timezone.now()).days
    level = Level.OK if days >= CERTIFICATE_DAYS else Level.NOTE
    text = f"ends in {days} days, on {end:%Y-%m-%d}"
    yield Finding(level, "certificate", text)


def check_backup() -> Finding:
    text = describe_backup().removeprefix("backup: ")
    if find_backup_problem() is not None:
        return Finding(Level.ERROR, "backup", text)
    level = Level.OK if settings.BACKUP_STATUS else Level.NOTE
    return Finding(level, "backup", text)


def check_disks() -> Iterator[Finding]:
    """Check the disks of the system, the logs and the backups.

    Folders on the same disk are checked only once.
    """
    seen = set()
    for path in (Path("/"), Path("/var/log"), Path("/var/backups")):
        if not path.exists() or path.stat().st_dev in seen:
            continue
        seen.add(path.stat().st_dev)
        usage = shutil.disk_usage(path)
        share = usage.free / usage.total
        level = Level.OK if share >= MIN_FREE_SPACE else Level.ERROR
        text = f"{usage.free / 1e9:.1f} GB ({share:.0%}) free"
        yield Finding(level, f"disk of {path}", text)
