"""Finding names that look like another name.

The comparison follows Unicode's Technical Standard 39 (confusable skeletons), but also
ignores case. So some pairs count as look-alikes that differ clearly in lower case, such
as "ian" and "lan".
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from zlib import crc32

from orgadmin.access.sql import lock_until_commit
from orgadmin.models.text import remove_invisible

# Each line has what to write instead of some characters, and these characters, all as
# hexadecimal code points. tests/test_look_alikes.py writes the file.
TABLE = Path(__file__).parents[1] / "data" / "look_alikes.txt"

# The first half of PostgreSQL's locks of names, as a number that only this module uses.
NAME_LOCK = 0x6E616D65

# Short enough for an index, also if each character takes four bytes.
KEY_LENGTH = 255


def make_key(text: str) -> str:
    """Return a key that names have in common if they look alike.

    Case, width, invisible characters and the number of spaces make no difference.
    """
    words = remove_invisible(text).split()
    return replace_look_alikes(fold(" ".join(words)))[:KEY_LENGTH]


def lock_key(key: str) -> None:
    """Let other transactions wait that want to use a name with the same key.

    Someone who checks a new name takes this lock first. Otherwise, two people could
    save names that look alike at the same moment, and neither would see the other. On
    SQLite, forms are checked in the transaction of the one writer.
    """
    # The number has a sign. Different keys rarely have the same one, and then only wait
    # for each other.
    number = crc32(key.encode()) - 2**31
    lock_until_commit(NAME_LOCK, number)


def fold(text: str) -> str:
    """Return the text without case and widths, its accents as separate characters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKD", folded)


def replace_look_alikes(folded: str) -> str:
    return folded.translate(load_table())


@cache
def load_table() -> dict[int, str]:
    """Return {code point: what to write instead}, for folded text."""
    table = {}
    for line in TABLE.read_text(encoding="ascii").splitlines():
        if line.startswith("#"):
            continue
        replacement, _separator, characters = line.partition(":")
        text = "".join(chr(int(code, 16)) for code in replacement.split())
        for code in characters.split():
            table[int(code, 16)] = text
    return table
