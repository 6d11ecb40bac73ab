"""Makes the table of look-alikes from Unicode's list of confusable characters.

The list comes with the package confusable-homoglyphs.
"""

import json
import sys
import unicodedata
from collections import defaultdict
from pathlib import Path

import confusable_homoglyphs

from orgadmin.models.look_alikes import fold

SOURCE = Path(confusable_homoglyphs.__file__).parent / "confusables.json"
HEAD = """\
# Characters that look like others. tests/test_look_alikes.py writes this file.
# Source: Unicode's confusables.txt (https://www.unicode.org/Public/security/), as in
# the package confusable-homoglyphs. Copyright Unicode, Inc., Unicode License v3.
"""

# Categories of characters that no name contains
LEFT_OUT = ("Cc", "Cf", "Cn", "Co", "Cs")

# The source marks some characters with this sign, which is not part of them.
DIRECTION_MARK = "\u200e"


def read_classes():
    """Return the sets of texts that look alike. Most texts are single characters."""
    class_of = {}
    for text, others in json.loads(SOURCE.read_text(encoding="utf-8")).items():
        members = {text, *[other["c"] for other in others]}
        members = {member.strip(DIRECTION_MARK) for member in members}
        merged = set(members)
        for member in members:
            merged |= class_of.get(member, set())
        for member in merged:
            class_of[member] = merged
    return {id(members): members for members in class_of.values()}.values()


def choose_representatives():
    """Return {character: the text that stands for all that look like it}."""
    representatives = {}
    for members in read_classes():
        chosen = min(members, key=rank)
        for member in members:
            if len(member) == 1:
                representatives[member] = chosen
    return representatives


def rank(text):
    """Sort what can stand for others: several characters first, then plain letters."""
    return (
        len(text) == 1,
        not text.isascii(),
        len(text),
        not text.isalpha(),
        not text.islower(),
        text,
    )


def replace_once(character, representatives):
    """Return what stands for a folded character, judging by both of its cases.

    Where only the capitals look alike, they decide: a Cyrillic "н" stands for an "h",
    because "Н" looks like "H". "i" and "l" are one, because a capital "I" looks like
    "l".
    """
    if character == "i":
        return "l"
    lower = fold(representatives.get(character, character))
    capitals = character.upper()
    upper = fold("".join(representatives.get(each, each) for each in capitals))
    for text in (lower, upper):
        if text.isascii() and text.isalnum():
            return text
    return lower


def make_table():
    """Return {folded character: what to write instead}."""
    representatives = choose_representatives()
    table = {}
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in LEFT_OUT or fold(character) != character:
            continue
        text = character
        previous = None
        while text != previous:
            previous = text
            text = fold("".join(replace_once(each, representatives) for each in text))
        if text != character:
            table[character] = text
    return table


def write_table(table):
    """Return the content of orgadmin/data/look_alikes.txt."""
    codes = defaultdict(list)
    for character, text in table.items():
        replacement = " ".join(f"{ord(each):04X}" for each in text)
        codes[replacement].append(f"{ord(character):04X}")
    lines = [f"{text}: {' '.join(listed)}\n" for text, listed in sorted(codes.items())]
    return HEAD + "".join(lines)
