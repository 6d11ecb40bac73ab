"""The npm package "oidc-provider", a certified OpenID provider, on this machine.

It is there if Node.js is installed and `npm ci --prefix tests/oidc_provider` has run.
"""

import json
import shutil
import subprocess
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from django.conf import settings

FOLDER = Path(__file__).parent / "oidc_provider"
CALLBACK = f"{settings.BASE_URL}/admin/oidc/company/login/callback/"

# The oldest version of Node.js that the package runs on.
OLDEST = 20


@cache
def is_installed():
    package = FOLDER / "node_modules/oidc-provider/package.json"
    if shutil.which("node") is None or not package.exists():
        return False
    version = subprocess.check_output(["node", "--version"], text=True)
    return int(version.removeprefix("v").partition(".")[0]) >= OLDEST


class CertifiedProvider:
    """See `certified_provider`."""

    def __init__(self, process):
        self.process = process
        self.address = process.stdout.readline().strip()

    def be(self, sub, **claims):
        """Sign in this person from now on."""
        self._tell({"sub": sub, "claims": claims})

    def cancel(self):
        """Do as if people cancelled from now on."""
        self._tell({"cancel": True})

    def _tell(self, person):
        self.process.stdin.write(f"{json.dumps(person)}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if answer != "ok":
            raise AssertionError(f"The provider has answered {answer!r}.")


@contextmanager
def certified_provider(client_id, client_secret):
    """Start a provider, and yield it. `address` is its URL."""
    with subprocess.Popen(
        ["node", "server.js", client_id, client_secret, CALLBACK],
        cwd=FOLDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield CertifiedProvider(process)
        finally:
            process.stdin.close()
            process.wait(10)
