"""PgBouncer in front of PostgreSQL, with the configuration of docs/deployment."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

from benchmarks.faults.site import Site
from tests.scratch import PROJECT

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
CONFIGURATION = PROJECT / "docs/deployment/pgbouncer.ini"

HOST = "database.example"
# An address that nobody has, so questions to DNS are never answered.
NO_NAME_SERVER = "nameserver 192.0.2.1\n"
SECONDS_WITHOUT_NAME = 15

# Gives a command its own files for names. Needs the right to mount.
OWN_NAMES = (
    "mount --bind {folder}/hosts /etc/hosts"
    " && mount --bind {folder}/resolv.conf /etc/resolv.conf"
    ' && exec "$@"'
)


class Pooler:
    """A PgBouncer, and the name by which the site finds it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.configuration = site.folder / "pgbouncer.ini"
        self.configuration.write_text(self.make_configuration())
        self.hosts = site.folder / "hosts"
        self.write_hosts(f"127.0.0.1 localhost {HOST}\n")
        (site.folder / "resolv.conf").write_text(NO_NAME_SERVER)
        script = OWN_NAMES.format(folder=site.folder)
        prefix = ["unshare", "--mount", "sh", "-c", script, "sh"]
        tried = subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL)
        self.has_names = tried.returncode == 0
        host = HOST if self.has_names else "127.0.0.1"
        if self.has_names:
            site.prefix = prefix
        site.environment |= {
            "DATABASE_URL": f"postgres://postgres@{host}:{self.port}/orgadmin"
            "?disable_server_side_cursors=true&sslmode=disable",
            "DIRECT_DATABASE_URL": site.url,
            "PGOPTIONS": "",
        }

    def make_configuration(self) -> str:
        """Return the documented configuration, with places of this run."""
        url = urlsplit(self.site.url)
        (folder,) = parse_qs(url.query)["host"]
        text = CONFIGURATION.read_text()
        text = re.sub(
            r"host=127.0.0.1 port=5432 dbname=orgadmin",
            f"host={folder} dbname={url.path[1:]} user=postgres",
            text,
        )
        text = text.replace("= 6432", f"= {self.port}")
        text = text.replace("scram-sha-256", "any")
        return re.sub(r"(?m)^(auth_file|logfile|pidfile) .*\n", "", text)

    def write_hosts(self, text: str) -> None:
        # The file is mounted, so it stays the same file.
        self.hosts.write_text(text)

    @contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self.process.kill()
            self.process.wait()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [PGBOUNCER, "-q", self.configuration],
            stderr=subprocess.DEVNULL,
            # Only the user of PostgreSQL reaches its socket.
            user=self.site.postgres.system_user,
        )

    def restart(self) -> None:
        """Stop PgBouncer as systemd does, and start it a second later."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        time.sleep(1)
        self.start()

    def lose_name(self) -> None:
        """Make the host name unknown for some seconds, while connections end."""
        names = self.hosts.read_text()
        self.write_hosts("127.0.0.1 localhost\n")
        self.process.kill()
        self.process.wait()
        self.start()
        time.sleep(SECONDS_WITHOUT_NAME)
        self.write_hosts(names)
