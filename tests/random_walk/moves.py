"""What happens to the whole database: it moves, or an old backup is restored."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command

from tests.random_walk.steps import NothingToDo, step
from tests.random_walk.world import World

if TYPE_CHECKING:
    from tests.random_walk.walking import Walk

LEFT_OUT = ["contenttypes", "auth.permission", "sessions"]


@dataclass(frozen=True)
class Backup:
    fixture: str
    world: World


def dump() -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "all.json")
        call_command(
            "dumpdata", natural_foreign=True, exclude=LEFT_OUT, output=str(path)
        )
        return path.read_text()


def empty() -> None:
    call_command("flush", interactive=False, verbosity=0)
    ContentType.objects.clear_cache()


def load(fixture: str) -> None:
    """Load a fixture into an emptied database."""
    empty()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "all.json")
        path.write_text(fixture)
        call_command("loaddata", str(path), verbosity=0)


@step(1)
def move(walk: Walk) -> str:
    load(dump())
    walk.forget_sessions()
    return "the site moves to another database"


@step(2)
def back_up(walk: Walk) -> str:
    walk.backup = Backup(dump(), deepcopy(walk.world))
    return "the site is backed up"


@step(1)
def restore(walk: Walk) -> str:
    if walk.backup is None:
        raise NothingToDo
    load(walk.backup.fixture)
    walk.world = deepcopy(walk.backup.world)
    walk.forget_sessions()
    return "the backup is restored"
