"""Finding names that look like another name.

The comparison follows Unicode Technical Standard 39 (confusable skeletons), but also
ignores case. Some names therefore count as look-alikes although they differ clearly in
lower case, such as "ian" and "lan".
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from zlib import crc32

from orgadmin.access.sql import lock_until_commit
from orgadmin.models.text import remove_invisible

# Each line contains a replacement and the characters that it replaces, as hexadecimal
# code points. tests/test_look_alikes.py writes this file.
TABLE = Path(__file__).parents[1] / "data" / "look_alikes.txt"

# The first half of the keys of advisory locks on names. Only this module uses it.
NAME_LOCK = 0x6E616D65

# Short enough for an index, even if each character takes four bytes.
KEY_LENGTH = 255


def make_key(text: str) -> str:
    """Return a key that is equal for names that look alike.

    Case, width, invisible characters and the number of spaces make no difference.
    """
    words = remove_invisible(text).split()
    return replace_look_alikes(fold(" ".join(words)))[:KEY_LENGTH]


def lock_key(key: str) -> None:
    """Make other transactions that check a name with the same key wait.

    Code that checks a new name takes this lock first. Otherwise, two people could save
    names that look alike at the same moment, and neither check would see the other
    name. SQLite does not need the lock, because it has only one writer at a time.
    """
    # Converts the checksum to a signed 32-bit number. If two different keys have the
    # same number, which is rare, one transaction only waits for the other.
    number = crc32(key.encode()) - 2**31
    lock_until_commit(NAME_LOCK, number)


def fold(text: str) -> str:
    """Remove differences in case and width, and make accents separate characters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKD", folded)


def replace_look_alikes(folded: str) -> str:
    return folded.translate(load_table())


@cache
def load_table() -> dict[int, str]:
    """Return {code point: replacement}, for text from `fold()`."""
    table = {}
    for line in TABLE.read_text(encoding="ascii").splitlines():
        if line.startswith("#"):
            continue
        replacement, _separator, characters = line.partition(":")
        text = "".join(chr(int(code, 16)) for code in replacement.split())
        for code in characters.split():
            table[int(code, 16)] = text
    return table
