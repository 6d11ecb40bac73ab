"""Faults of a database that is running, but does not respond."""

from __future__ import annotations

import signal
import time

import psutil
import psycopg

from benchmarks.faults.site import Site

SECONDS = 3

END_CONNECTIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


def refuse_connections(site: Site) -> None:
    """Make PostgreSQL refuse all connections for some seconds."""
    rules = site.postgres.pgdata / "pg_hba.conf"
    text = rules.read_text()
    postmaster = psutil.Process(site.postgres.get_pid())
    with psycopg.connect(site.url, autocommit=True) as connection:
        rules.write_text("local all all reject\nhost all all all reject\n")
        postmaster.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        connection.execute(END_CONNECTIONS)
    time.sleep(SECONDS)
    rules.write_text(text)
    postmaster.send_signal(signal.SIGHUP)
    time.sleep(0.2)


def freeze_postgres(site: Site) -> None:
    """Pause PostgreSQL for some seconds, as if its disk did not respond."""
    postmaster = psutil.Process(site.postgres.get_pid())
    # A process that is created in between is a child of one that is stopped.
    postmaster.suspend()
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes[1:]:
        process.suspend()
    time.sleep(SECONDS)
    for process in processes:
        process.resume()
