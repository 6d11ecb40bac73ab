"""nginx in front of the site, with the configuration of docs/deployment."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from urllib3.exceptions import HTTPError

from benchmarks.faults.site import Site
from tests.scratch import PROJECT
from tests.servers import Person

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
CONFIGURATION = PROJECT / "docs/deployment/nginx.conf"
TEMPORARY_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def run_nginx(site: Site) -> Iterator[tuple[str, int]]:
    """Run nginx for the duration of the context, and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    path = site.folder / "nginx.conf"
    path.write_text(make_configuration(site, address))
    process = subprocess.Popen([NGINX, "-p", site.folder, "-c", path])
    try:
        wait_until_ready(address)
        yield address
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(address: tuple[str, int]) -> None:
    for _ in range(100):
        time.sleep(0.1)
        with suppress(HTTPError):
            Person(address).get("/livez")
            return


def make_configuration(site: Site, address: tuple[str, int]) -> str:
    """Return the documented configuration, without TLS, and with places of this run."""
    text = CONFIGURATION.read_text()
    # Only the last server serves the site; the others redirect or refuse.
    settings = text[: text.index("\nserver {")]
    server = text[text.rindex("\nserver {") :]
    text = settings + server
    text = re.sub(r"(?m)^ *(listen|ssl_\w+|access_log|error_log) .*\n", "", text)
    text = re.sub(r"server unix:.*;", "server {}:{};".format(*site.address), text)
    listen = "    listen {}:{};\n".format(*address)
    text = re.sub(r"(?m)(?<=^server \{\n)", listen, text)
    folders = "\n".join(
        f"{name}_temp_path {site.folder}/{name};" for name in TEMPORARY_FOLDERS
    )
    return f"""
daemon off;
pid {site.folder}/nginx.pid;
error_log {site.folder}/nginx.log crit;
events {{}}
http {{
access_log off;
{folders}
{text}
}}
"""
