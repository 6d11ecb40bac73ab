"""A mutant: a small change that breaks the code, and that a test must notice.

Each `.mutant` file in this folder is one. It looks like a patch without line numbers:

    Rows: A17
    What: an action also receives rows that the person may only view
    File: orgadmin/admin/gated.py
     for permission in permissions:
    -    queryset = self.narrow(queryset, request.user, permission)
    +    pass

The rows are those of docs/security.md; they are also the tags of the tests that must
notice. Lines that begin with a space or "-" must stand in the file exactly once, one
after the other; their indentation in the file does not matter. A mutant may change
several places.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent


class DoesNotApply(Exception):
    """The lines that a mutant changes are not in the file exactly once."""


@dataclass
class Edit:
    file: str  # relative to the root of the project
    find: list[str] = field(default_factory=list)
    replace: list[str] = field(default_factory=list)


@dataclass
class Mutant:
    name: str
    rows: list[str]
    what: str
    edits: list[Edit]


def list_mutants() -> list[Mutant]:
    return [read_mutant(path) for path in sorted(FOLDER.glob("*.mutant"))]


def read_mutant(path: Path) -> Mutant:
    mutant = Mutant(name=path.stem, rows=[], what="", edits=[])
    for line in path.read_text().splitlines():
        if line.startswith("Rows: "):
            mutant.rows = line.removeprefix("Rows: ").split()
        elif line.startswith("What: "):
            mutant.what = line.removeprefix("What: ")
        elif line.startswith("File: "):
            mutant.edits.append(Edit(line.removeprefix("File: ")))
        else:
            edit = mutant.edits[-1]
            if not line.startswith("+"):
                edit.find.append(line[1:])
            if not line.startswith("-"):
                edit.replace.append(line[1:])
    return mutant


def apply_mutant(mutant: Mutant, root: Path) -> None:
    """Change the files below `root`. Raises `DoesNotApply`."""
    for edit in mutant.edits:
        path = root / edit.file
        path.write_text(apply_edit(edit, path.read_text()))


def apply_edit(edit: Edit, text: str) -> str:
    """Return the text with the edit made. Raises `DoesNotApply`."""
    lines = text.splitlines()
    wanted = [line.strip() for line in edit.find]
    places = []
    for start in range(len(lines) - len(wanted) + 1):
        found = [line.strip() for line in lines[start : start + len(wanted)]]
        if found == wanted:
            places.append(start)
    if len(places) != 1:
        raise DoesNotApply(f"{edit.file} has these lines {len(places)} times: {wanted}")
    start = places[0]
    indentation = find_indentation(lines[start], edit.find[0])
    replacement = [indentation + line if line else "" for line in edit.replace]
    changed = lines[:start] + replacement + lines[start + len(wanted) :]
    return "\n".join(changed) + "\n"


def find_indentation(line: str, dedented: str) -> str:
    """Return what a line of the file is indented by, beyond the line of the mutant."""
    width = len(re.match(" *", line)[0]) - len(re.match(" *", dedented)[0])
    return " " * width
