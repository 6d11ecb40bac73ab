"""Break the code, one small patch after the other, and require a test of the row to turn red: `make mutants`.

Each patch names its rows of docs/security.md; the tests that name these rows are run on a copy of the project. What
caught it is written to docs/mutants.md. Exit status 1 where a mutant lives.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DOCUMENT = ROOT / "docs/mutants.md"


def read(patch):
    """Return (rows, what it breaks) of a patch."""
    text = patch.read_text()
    return re.search(r"^Rows: (.*)$", text, re.MULTILINE)[1].split(), re.search(
        r"^What: (.*)$", text, re.MULTILINE
    )[1]


def find_killer(patch):
    """Return the name of the test that caught the mutant, or None."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(
            ROOT,
            copy,
            ignore=shutil.ignore_patterns(
                ".git", ".venv", "__pycache__", "pictures", "*.sqlite3*"
            ),
        )
        subprocess.run(
            ["git", "apply", patch],
            cwd=copy,
            check=True,
            env=os.environ | {"GIT_CEILING_DIRECTORIES": folder},
        )
        tags = [part for row in read(patch)[0] for part in ("--tag", row)]
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DEBUG": "true",
            "DATABASE_URL": "sqlite://:memory:",
        }
        command = [
            sys.executable,
            "manage.py",
            "test",
            "--failfast",
            "--exclude-tag",
            "browser",
            *tags,
        ]
        result = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True
        )
        failed = re.search(
            r"^(?:FAIL|ERROR): (\w+) \((?:tests\.)?(\w+)", result.stderr, re.MULTILINE
        )
        return failed and f"{failed[2]}.{failed[1]}"


def main():
    lines, living = [], 0
    for patch in sorted(HERE.glob("*.patch")):
        rows, what = read(patch)
        killer = find_killer(patch)
        living += killer is None
        print(f"{patch.stem:<36} {killer or 'LIVES'}", flush=True)
        lines.append(
            f"| {', '.join(rows)} | {what} | `{patch.stem}` | {f'`{killer}`' if killer else 'nothing'} |"
        )
    head = [
        "# What the tests catch",
        "",
        "Made by `make mutants`: each patch in `tests/mutants/` breaks the code at one row of",
        "[security.md](security.md), and the tests that name the row must turn red.",
        "",
        f"{len(lines)} patches, {len(lines) - living} caught.",
        "",
        "| row | what is broken | patch | caught by |",
        "| --- | --- | --- | --- |",
    ]
    DOCUMENT.write_text("\n".join([*head, *lines]) + "\n")
    return 1 if living else 0


if __name__ == "__main__":
    sys.exit(main())
