"""Cause faults while people work, and check that nothing is lost.

    python -m benchmarks.faults [--pool 0] [--pool 4] [--pgbouncer] [--read-only]

Starts PostgreSQL, and gunicorn with three workers. People save, change roles and read
all the time, and remember what they were told was saved. Prints a row for each fault:
how people were answered from its beginning until everybody was served again, how many
seconds the longest request took, and how many seconds it took after the end of the
fault until everybody was served. Afterwards, looks in the database for everything that
was reported as saved, and runs `manage.py doctor`. The exit status is 1 if anything is
lost or is not as it should be.

Some faults need the right to mount, or programs such as nginx, PgBouncer and faketime.
Without them, these faults are left out, and a line says so. docs/faults.md explains the
results.

There is no cache that could be lost: sessions, limits and everything else that people
share are in the database.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.faults.damage import (
    SLOW_BODY,
    SLOW_HEADERS,
    SlowClients,
    invite_without_mail_server,
    kill_worker,
    lock_row,
    stop_postgres,
    wait_for_statement_timeout,
)
from benchmarks.faults.database import freeze_postgres, refuse_connections
from benchmarks.faults.disks import (
    fill_backup_disk,
    fill_data_disk,
    fill_log_disk,
    make_backup_disk_read_only,
    make_data_disk_read_only,
    mount_image,
)
from benchmarks.faults.machine import FAKETIME, change_clock, show_expired_certificate
from benchmarks.faults.nginx import CONFIGURATION, NGINX, run_nginx
from benchmarks.faults.pooler import PGBOUNCER, Pooler
from benchmarks.faults.site import Fault, Site

POOLS = [0, 4]

# With a pool, no request may fail during an outage. The pool itself then reports it.
OUTAGE = r"Operational|psycopg\.pool"


def list_faults(site: Site) -> list[Fault]:
    stop_fast = partial(stop_postgres, site, "fast")
    stop_immediately = partial(stop_postgres, site, "immediate")
    refuse = partial(refuse_connections, site)
    slow_headers = SlowClients(site, site.address, SLOW_HEADERS)
    slow_body = SlowClients(site, site.address, SLOW_BODY)
    return [
        Fault("PostgreSQL stopped: fast", stop_fast, OUTAGE),
        Fault("PostgreSQL stopped: immediate", stop_immediately, OUTAGE),
        Fault("PostgreSQL refuses connections", refuse, OUTAGE),
        Fault("PostgreSQL hangs", partial(freeze_postgres, site)),
        Fault("a worker killed", partial(kill_worker, site), "SIGKILL"),
        Fault("no mail server", partial(invite_without_mail_server, site)),
        Fault("a row locked", partial(lock_row, site), "LockNotAvailable"),
        Fault("a statement too long", partial(wait_for_statement_timeout, site)),
        Fault("100 slow clients: headers", slow_headers.send),
        Fault("100 slow clients: body", slow_body.send),
    ]


def observe_slow_clients_of_nginx(site: Site) -> None:
    """Behind nginx, slow clients must not hold up the others."""
    if NGINX is None or not CONFIGURATION.exists():
        print("      (slow clients behind nginx were left out: nginx is not installed)")
        return
    with run_nginx(site) as address:
        for name, text in (("headers", SLOW_HEADERS), ("body", SLOW_BODY)):
            clients = SlowClients(site, address, text)
            fault = Fault(f"100 slow clients of nginx: {name}", clients.send)
            site.observe(fault)
            if clients.share_served < 0.5:
                site.problems.append(f"{fault.name}: they hold up the others")


def observe_disks(site: Site) -> None:
    if not site.has_disk:
        leave_out("full disks", "mounting needs more rights")
        return
    backup = partial(fill_backup_disk, site)
    site.observe(Fault("the disk of the backups is full", backup))
    log = partial(fill_log_disk, site)
    site.observe(Fault("the disk of the log is full", log))
    data = partial(fill_data_disk, site)
    site.observe(Fault("the disk of PostgreSQL is full", data, OUTAGE))


def observe_machine(site: Site) -> None:
    if FAKETIME:
        clock = partial(change_clock, site)
        site.observe(Fault("a clock an hour ahead", clock))
    else:
        leave_out("the clock", "faketime is not installed")
    certificate = partial(show_expired_certificate, site)
    site.observe(Fault("an expired certificate", certificate))


def leave_out(what: str, reason: str) -> None:
    print(f"      ({what}: left out, because {reason})")


def run_with_pool(pool: int) -> list[str]:
    """Observe every fault on a new site, and return the problems."""
    with new_folder() as folder:
        site = Site(folder, pool)
        try:
            with site.at_work():
                time.sleep(3)
                for fault in list_faults(site):
                    site.observe(fault)
                observe_slow_clients_of_nginx(site)
                observe_machine(site)
                observe_disks(site)
            site.check_saved()
        finally:
            site.close()
    return site.problems


def run_with_pooler() -> list[str]:
    """Observe the faults of PgBouncer and of the network, and return the problems."""
    if PGBOUNCER is None:
        leave_out("PgBouncer", "it is not installed")
        return []
    with new_folder() as folder:
        site = Site(folder, 0, "pgb")
        pooler = Pooler(site)
        stop_fast = partial(stop_postgres, site, "fast")
        try:
            with pooler.running(), site.at_work():
                time.sleep(3)
                site.observe(Fault("PostgreSQL stopped: fast", stop_fast, OUTAGE))
                site.observe(Fault("PgBouncer restarted", pooler.restart))
                if pooler.has_names:
                    site.observe(Fault("no answer from DNS", pooler.lose_name))
                else:
                    leave_out("DNS", "mounting needs more rights")
            site.check_saved()
        finally:
            site.close()
    return site.problems


def run_with_broken_disk() -> list[str]:
    """Observe disks that get read-only, and return the problems."""
    with new_folder() as folder:
        site = Site(folder, 0, "disk", mount_image)
        try:
            if not site.has_disk:
                leave_out("read-only disks", "mounting needs more rights")
                return []
            backup = partial(make_backup_disk_read_only, site)
            data = partial(make_data_disk_read_only, site)
            with site.at_work():
                time.sleep(3)
                site.observe(Fault("the disk of the backups is read-only", backup))
                site.observe(Fault("the disk of PostgreSQL is read-only", data, OUTAGE))
            site.check_saved()
        finally:
            site.close()
    return site.problems


@contextmanager
def new_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(
        prefix="faults-", ignore_cleanup_errors=True
    ) as folder:
        # PostgreSQL may run as another user, which has to enter the folder.
        os.chmod(folder, 0o755)
        yield Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pool",
        type=int,
        action="append",
        help="a value of DATABASE_POOL, may be given more than once (default: 0 and 4)",
    )
    parser.add_argument(
        "--pgbouncer", action="store_true", help="only observe a site with PgBouncer"
    )
    parser.add_argument(
        "--read-only", action="store_true", help="only observe disks that get read-only"
    )
    options = parser.parse_args()
    pools = [] if options.pgbouncer or options.read_only else options.pool or POOLS
    print(f"pool  {'fault':<36}     good       503  no answer   longest  back after")
    problems = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        # pgserver keeps its locks there, for the life of this process.
        os.environ["XDG_RUNTIME_DIR"] = folder
        for pool in pools:
            problems += run_with_pool(pool)
        everything = not (options.pool or options.pgbouncer or options.read_only)
        if options.pgbouncer or everything:
            problems += run_with_pooler()
        if options.read_only or everything:
            problems += run_with_broken_disk()
    print("\n".join(problems) or "Everything is as it should be.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
