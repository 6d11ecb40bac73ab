"""Finding out how the text of a file is encoded."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import BinaryIO

from charset_normalizer import from_bytes
from django.utils.translation import gettext as _

from orgadmin.records.imports.problems import FileRefused, ImportProblem

CHUNK = 65_536  # bytes that are read at once
MAX_SAMPLE = 100_000  # bytes of lines with other characters than ASCII
CONTEXT = 20  # bytes before an invalid one that a message repeats

# {Python's name of an encoding: its name for people}, in the order of the choices.
ENCODINGS = {
    "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16 LE",
    "utf-16-be": "UTF-16 BE",
    "cp1252": "Windows-1252",
    "mac_roman": "Mac Roman",
    "cp1250": "Windows-1250",
    "cp1251": "Windows-1251",
    "cp1254": "Windows-1254",
    "cp850": "DOS (850)",
    "iso8859_15": "ISO 8859-15",
    "shift_jis": "Shift JIS",
    "gb18030": "GB 18030",
}

# {other name, as Python normalizes it: the encoding that is meant}. Text that is said
# to be in Latin-1 is in Windows-1252, which has the same letters and more marks.
ALIASES = {"utf-8": "utf-8-sig", "iso8859-1": "cp1252", "ascii": "cp1252"}

# Encodings of one byte per character that are told apart by their text. The first one
# is the most common.
ONE_BYTE = ("cp1252", "mac_roman")

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Half of a character in UTF-16, as if it were one, in the bytes of UTF-8. No other
# encoding has such bytes in readable text.
LONE_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")

# What text in Western European languages has beside ASCII. Capital letters are common
# only where words begin, or in words of capital letters.
COMMON = frozenset("äöüßéèêëàâáãåæçíìîïñóòôõøœúùûýÿ“”„‘’‚–—…€§°«»\u00a0·®©´²³½")

APOSTROPHES = "’·"


@dataclass(frozen=True)
class Survey:
    """What one look at all bytes of a file tells about its text."""

    start: bytes
    # The line of the first bytes that are not UTF-8, and the text before them
    bad_line: int | None
    before: str
    has_utf8: bool  # whether there are also characters that are valid in UTF-8 only
    sample: bytes  # the lines with other characters than ASCII


def find_by_name(name: str) -> str | None:
    """Return the encoding that people mean by a name such as "Windows-1252"."""
    for encoding, label in ENCODINGS.items():
        if name.casefold() == label.casefold():
            return encoding
    try:
        normalized = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    for encoding in ENCODINGS:
        if normalized == codecs.lookup(encoding).name:
            return encoding
    return ALIASES.get(normalized)


def find_encoding(file: BinaryIO) -> str:
    """Return the name of a text file's encoding, a key of ENCODINGS.

    Reads the whole file once. Raises `FileRefused` if the text is damaged, or in an
    encoding that cannot be recognized.
    """
    survey = look_through(file)
    for mark, encoding in BYTE_ORDER_MARKS:
        if survey.start.startswith(mark):
            return encoding
    wide = find_wide_encoding(survey.start)
    if wide:
        return wide
    if survey.bad_line is None:
        return "utf-8-sig"
    if survey.has_utf8 or LONE_SURROGATE.search(survey.sample):
        raise FileRefused(describe_damage(survey.bad_line, survey.before, "UTF-8"))
    chosen = choose_one_byte(survey.sample)
    if chosen is None:
        message = _(
            "The encoding of this file cannot be recognized. Save it as “CSV UTF-8” or"
            " as a workbook (.xlsx), or choose the encoding yourself."
        )
        raise FileRefused(ImportProblem(message, survey.bad_line))
    return chosen


def look_through(file: BinaryIO) -> Survey:
    file.seek(0)
    start = file.read(CHUNK)
    file.seek(0)
    bad_line = None
    before = ""
    has_utf8 = False
    sample = bytearray()
    for number, line in enumerate(file, start=1):
        if line.isascii():
            continue
        if len(sample) < MAX_SAMPLE:
            sample += line
        try:
            line.decode()
            has_utf8 = True
        except UnicodeDecodeError as error:
            has_utf8 = has_utf8 or has_valid_character(line)
            if bad_line is None:
                bad_line = number
                before = show_before(line, error.start)
    return Survey(start, bad_line, before, has_utf8, bytes(sample))


def has_valid_character(line: bytes) -> bool:
    """Return whether a line has a character of several bytes that are valid UTF-8."""
    text = line.decode("utf-8", "surrogateescape")
    return any(
        character > "\x7f" and not "\udc80" <= character <= "\udcff"
        for character in text
    )


def show_before(line: bytes, position: int) -> str:
    """Return the text before an invalid byte, which is shown as a question mark."""
    start = max(position - CONTEXT, 0)
    # This part is valid, except that the cut may have split its first character.
    before = line[start:position].decode("utf-8", "replace").strip()
    return f"{before}\ufffd"


def find_wide_encoding(start: bytes) -> str:
    """Return the encoding if text has two bytes per character and no mark."""
    if len(start) < 4:
        return ""
    even = start[0::2].count(0)
    odd = start[1::2].count(0)
    half = len(start) // 2
    if odd > half * 0.4 and even < half * 0.1:
        return "utf-16-le"
    if even > half * 0.4 and odd < half * 0.1:
        return "utf-16-be"
    return ""


def choose_one_byte(sample: bytes) -> str | None:
    """Return the encoding in which a text is most readable, or None if it never is.

    charset-normalizer refuses what looks like no language. Names and streets are too
    little text for it to choose among the rest, so that is done by common characters.
    """
    found = from_bytes(sample, cp_isolation=list(ONE_BYTE))
    plausible = [match.encoding for match in found]
    if not plausible:
        return None
    counts = {}
    for encoding in sorted(plausible, key=ONE_BYTE.index):
        counts[encoding] = count_common(sample.decode(encoding))
    best = max(counts, key=lambda encoding: counts[encoding])
    return best if counts[best] > 0 else None


def count_common(text: str) -> int:
    """Return how many characters are common, less those that are not."""
    count = 0
    for position, character in enumerate(text):
        if character.isascii():
            continue
        before = text[position - 1 : position]
        after = text[position + 1 : position + 2]
        count += 1 if is_common(character, before, after) else -1
    return count


def is_common(character: str, before: str, after: str) -> bool:
    """Return whether a character is common beside the characters before and after it.

    A capital letter is common where a word begins, or in a word of capital letters. A
    mark, except an apostrophe, is not common between two letters.
    """
    if character.lower() not in COMMON:
        return False
    if not character.isalpha():
        return character in APOSTROPHES or not (before.isalpha() and after.isalpha())
    if not character.isupper() or not before.isalpha():
        return True
    return before.isupper() and not after.islower()


def find_damage(file: BinaryIO, encoding: str) -> ImportProblem:
    """Return the problem of a file that is not text in an encoding."""
    file.seek(0)
    for number, line in enumerate(file, start=1):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as error:
            before = "" if is_wide(encoding) else show_before(line, error.start)
            # Lines of wide characters do not end where those of single bytes do.
            place = None if is_wide(encoding) else number
            return describe_damage(place, before, ENCODINGS[encoding])
    return describe_damage(None, "", ENCODINGS[encoding])


def is_wide(encoding: str) -> bool:
    return encoding.startswith("utf-16")


def describe_damage(line: int | None, before: str, encoding: str) -> ImportProblem:
    message = _(
        "This is not text in %s. Save the file as “CSV UTF-8” or as a workbook (.xlsx),"
        " or choose another encoding."
    )
    return ImportProblem(message % encoding, line, value=before)
