"""Break the code in small ways, and require a test to notice: `make mutants`.

Each mutant is applied to a copy of the project, and the tests tagged with its rows are
run there. What noticed it is written to docs/mutants.md. Exit status 1 if a mutant
survives. With names, or beginnings of names, as arguments, only these mutants are run,
and the document stays as it is.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .mutant import Mutant, apply_mutant, list_mutants

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "docs/mutants.md"
NOT_COPIED = (".git", ".venv", "__pycache__", "pictures", "*.sqlite3*")
HEAD = """\
# What the tests catch

Written by `make mutants`. Each file in `tests/mutants/` breaks the code at a row of
[security.md](security.md), and a test tagged with that row must fail.

{total} mutants, {caught} caught.

| row | what is broken | mutant | caught by |
| --- | --- | --- | --- |
"""


def find_killer(mutant: Mutant) -> str | None:
    """Return the name of a test that notices the mutant, or None if it survives."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
        apply_mutant(mutant, copy)
        command = [sys.executable, "manage.py", "test", "--failfast"]
        command += ["--exclude-tag", "browser"]
        for row in mutant.rows:
            command += ["--tag", row]
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DEBUG": "true",
            "DATABASE_URL": "sqlite://:memory:",
        }
        result = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True
        )
    failed = re.search(
        r"^(?:FAIL|ERROR): (\w+) \((?:tests\.)?([\w.]+)", result.stderr, re.MULTILINE
    )
    if failed is None:
        return None
    test, path = failed.groups()
    module = next(part for part in path.split(".") if part.startswith("test_"))
    return f"{module}.{test}"


def write_document(mutants: list[Mutant], killers: list[str | None]) -> None:
    caught = sum(killer is not None for killer in killers)
    text = HEAD.format(total=len(mutants), caught=caught)
    for mutant, killer in zip(mutants, killers):
        rows = ", ".join(mutant.rows)
        noticed = f"`{killer}`" if killer else "nothing"
        text += f"| {rows} | {mutant.what} | `{mutant.name}` | {noticed} |\n"
    DOCUMENT.write_text(text)


def main(names: list[str]) -> int:
    mutants = list_mutants()
    if names:
        mutants = [m for m in mutants if m.name.startswith(tuple(names))]
    killers = []
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        for mutant, killer in zip(mutants, executor.map(find_killer, mutants)):
            print(f"{mutant.name:<36} {killer or 'SURVIVES'}", flush=True)
            killers.append(killer)
    if not names:
        write_document(mutants, killers)
    return 1 if None in killers else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
