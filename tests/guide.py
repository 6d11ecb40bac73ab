"""Runs commands of docs/deployment.md in a folder that stands for a machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.scratch import PROJECT

PAGE = PROJECT / "docs/deployment.md"
DEPLOYMENT = PROJECT / "docs/deployment"

# A comment before commands that no test runs. It says why.
MARK = re.compile(r"<!-- not run by tests: (.+) -->")

# Absolute paths of a machine.
PATH = re.compile(r"(?<![\w.])/(etc|root|run|srv|usr/local|var)/")

# Only root may change the owner of files.
INSTALL = """#!/bin/sh
for word in "$@"; do
  shift
  if [ "${owner-}" ]; then owner=; continue; fi
  case $word in -o | -g) owner=1; continue ;; esac
  set -- "$@" "$word"
done
exec /usr/bin/install "$@"
"""
# PostgreSQL accepts any role without a password.
RUNUSER = """#!/bin/sh
export PGUSER="$2"
shift 3
exec "$@"
"""
LOGGED = """#!/bin/sh
echo "$(basename "$0") $*" >>"$MACHINE/commands"
"""


@dataclass(frozen=True)
class Block:
    """Commands of the guide, below a heading."""

    heading: str
    number: int  # of the block below this heading, from 0
    text: str
    mark: str  # why no test runs it, or ""


def read_blocks() -> list[Block]:
    blocks: list[Block] = []
    heading = ""
    number = 0
    mark = ""
    lines: list[str] = []
    # The last line ends the last block.
    for line in [*PAGE.read_text().splitlines(), "."]:
        if line.startswith("    ") or (lines and not line):
            lines.append(line)
            continue
        if lines:
            blocks.append(Block(heading, number, unindent(lines), mark))
            number += 1
            mark = ""
            lines = []
        if line.startswith("#"):
            heading = line.lstrip("# ")
            number = 0
        found = MARK.search(line)
        if found:
            mark = found[1]
    return blocks


def unindent(lines: list[str]) -> str:
    """Return the text of a block. Blocks in lists are indented by 8 spaces."""
    depth = min(len(line) - len(line.lstrip()) for line in lines if line)
    return "\n".join(line[depth:] for line in lines).rstrip() + "\n"


class Machine:
    """A folder with the files of a site.

    What changes the system itself, such as systemctl, only writes a log there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tools = folder / "tools"
        self.log = folder / "commands"
        self.variables: dict[str, str] = {}
        self.deployment = folder / "srv/orgadmin/current/docs/deployment"
        for name in ("etc/systemd/system", "etc/tmpfiles.d", "root", "run/postgresql"):
            (folder / name).mkdir(parents=True)
        for name in ("usr/local/bin", "usr/local/src", "var/backups/orgadmin"):
            (folder / name).mkdir(parents=True)
        self.copy_deployment()
        (folder / "usr/local/src/orgadmin").symlink_to(folder / "srv/orgadmin/current")
        self.tools.mkdir()
        self.write_tool("install", INSTALL)
        self.write_tool("runuser", RUNUSER)
        for name in ("systemctl", "systemd-tmpfiles", "orgadmin-release", "apt-get"):
            self.write_tool(name, LOGGED)
        self.write_tool("true-editor", "#!/bin/sh\n")
        current = folder / "srv/orgadmin/current"
        (current / "manage.py").symlink_to(PROJECT / "manage.py")
        python = current / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)

    def copy_deployment(self) -> None:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(DEPLOYMENT, self.deployment, ignore=ignore)
        for path in self.deployment.rglob("*"):
            if path.is_file():
                path.write_text(self.place(path.read_text()))

    def place(self, text: str) -> str:
        """Return a text with the paths of this machine."""
        text = PATH.sub(rf"{self.folder}/\1/", text)
        return re.sub(r"(?m)^cd /$", f"cd {self.folder}", text)

    def write_tool(self, name: str, text: str) -> None:
        (self.tools / name).write_text(text)
        (self.tools / name).chmod(0o755)

    def write_file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, commands: str) -> str:
        """Run commands as the guide has them, and return what they print.

        Raises `AssertionError` if one of them fails.
        """
        path = f"{self.tools}:{self.folder}/usr/local/bin:{os.environ['PATH']}"
        result = subprocess.run(
            ["sh", "-euc", self.place(commands)],
            env={
                "PATH": path,
                "EDITOR": "true-editor",
                "ENV_FILE": str(self.folder / "etc/orgadmin.env"),
                "MACHINE": str(self.folder),
                "RELEASE": str(self.folder / "srv/orgadmin/current"),
                **self.variables,
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, f"{commands}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def run_blocks(self, heading: str, *numbers: int) -> str:
        """Run blocks of the guide, and return what they print."""
        texts = [
            block.text
            for block in read_blocks()
            if block.heading == heading and block.number in numbers
        ]
        assert len(texts) == len(numbers), heading
        return "".join(self.run(text) for text in texts)

    def list_commands(self) -> list[str]:
        """Return the commands of the system that were run since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@contextmanager
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="guide-") as folder:
        # PostgreSQL may run as another user, which has to enter the folder.
        os.chmod(folder, 0o755)
        yield Machine(Path(folder))
