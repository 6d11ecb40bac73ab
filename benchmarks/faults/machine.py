"""Faults of the machine around the site: its clock, and its certificate."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.faults.site import Site
from tests.scratch import PROJECT
from tests.servers import LIST, Person, serve

FAKETIME = shutil.which("faketime")
HOUR_AHEAD = ["faketime", "-f", "+1h"]
REQUESTS = 20


def change_clock(site: Site) -> str:
    """Work on a server whose clock is an hour ahead of the database clock."""
    statuses = []
    with serve(site.environment, 1, prefix=HOUR_AHEAD) as server:
        person = Person(server.address)
        person.sign_in("user-0")
        for _ in range(REQUESTS):
            statuses.append(person.get(LIST).status)
        # faketime is the parent of gunicorn, and ends alone.
        for process in psutil.Process(server.pid).children():
            process.terminate()
    good = statuses.count(200)
    findings = run_doctor(site, HOUR_AHEAD, "clock")
    if not findings.startswith("error"):
        site.problems.append(f"a wrong clock: doctor says {findings!r}")
    return f"{good} of {len(statuses)} requests good; doctor: {findings}"


def run_doctor(site: Site, prefix: list[str], check: str, **variables: str) -> str:
    """Return the line of `doctor --deploy` about a check."""
    result = subprocess.run(
        [*prefix, sys.executable, "manage.py", "doctor", "--deploy"],
        env=site.environment | variables,
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    found = re.search(rf"(?m)^\w+: {check}: .*$", result.stdout)
    return found[0] if found else result.stdout + result.stderr


def show_expired_certificate(site: Site) -> str:
    """Run doctor for a site whose certificate expired yesterday."""
    certificate = site.folder / "expired.pem"
    key = site.folder / "expired.key"
    write_expired_certificate(certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=shake_hands, args=(listener, context))
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        # The certificate would be trusted if it had not expired.
        variables = {"BASE_URL": url, "SSL_CERT_FILE": str(certificate)}
        findings = run_doctor(site, [], "certificate", **variables)
        thread.join()
    if "expired" not in findings:
        site.problems.append(f"an expired certificate: doctor says {findings!r}")
    return f"doctor: {findings}"


def write_expired_certificate(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=90))
        .not_valid_after(now - timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Accept one connection, and end it."""
    connection, _address = listener.accept()
    with suppress(OSError), context.wrap_socket(connection, server_side=True):
        pass
