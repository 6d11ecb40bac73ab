"""Detecting the encoding of a text file."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import BinaryIO

from charset_normalizer import from_bytes
from django.utils.translation import gettext as _

from orgadmin.records.imports.problems import FileRefused, ImportProblem

START_SIZE = 65_536  # bytes at the beginning of a file
MAX_SAMPLE = 100_000  # bytes of lines with non-ASCII characters
CONTEXT_SIZE = 20  # bytes before an invalid byte that a message quotes

# {Python's name of an encoding: its label}, in the order of the form
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

# {other name, as Python normalizes it: encoding in ENCODINGS}. Latin-1 is read as
# Windows-1252, which has the same letters and more punctuation marks.
ALIASES = {"utf-8": "utf-8-sig", "iso8859-1": "cp1252", "ascii": "cp1252"}

# Encodings with one byte per character, which can only be distinguished by what the
# text looks like. The most common one comes first.
ONE_BYTE = ("cp1252", "mac_roman")

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Half of a UTF-16 character that was wrongly encoded as a UTF-8 character. In other
# encodings, readable text does not contain these bytes.
LONE_SURROGATE = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")

# The non-ASCII characters that are common in Western European languages. `is_common()`
# adds rules about their position in a word.
COMMON = frozenset("äöüßéèêëàâáãåæçíìîïñóòôõøœúùûýÿ“”„‘’‚–—…€§°«»\u00a0·®©´²³½")

APOSTROPHES = "’·"


@dataclass(frozen=True)
class Survey:
    """What reading a file once reveals about its encoding."""

    start: bytes  # the beginning of the file
    # The line of the first bytes that are not UTF-8, and the text before them
    bad_line: int | None
    before: str
    has_utf8: bool  # whether there are non-ASCII characters that are valid UTF-8
    sample: bytes  # the first lines with non-ASCII characters


def find_by_name(name: str) -> str | None:
    """Return the encoding with a name such as "Windows-1252", or None."""
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

    Reads the whole file once. Raises `FileRefused` if the text is damaged, or if its
    encoding cannot be recognized.
    """
    survey = survey_file(file)
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


def survey_file(file: BinaryIO) -> Survey:
    """Read a file once, and return what this reveals about its encoding."""
    file.seek(0)
    start = file.read(START_SIZE)
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
    return Survey(
        start=start,
        bad_line=bad_line,
        before=before,
        has_utf8=has_utf8,
        sample=bytes(sample),
    )


def has_valid_character(line: bytes) -> bool:
    """Return whether a line has a non-ASCII character that is valid UTF-8."""
    text = line.decode("utf-8", "surrogateescape")
    return any(
        character > "\x7f" and not "\udc80" <= character <= "\udcff"
        for character in text
    )


def show_before(line: bytes, position: int) -> str:
    """Return the text before an invalid byte, and a replacement character for it."""
    start = max(position - CONTEXT_SIZE, 0)
    # The text is valid, but its first character may be cut off.
    before = line[start:position].decode("utf-8", "replace").strip()
    return f"{before}\ufffd"


def find_wide_encoding(start: bytes) -> str:
    """Return the encoding of UTF-16 text without a byte order mark, or ""."""
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
    """Return the encoding in which a text is most readable.

    Returns None if it is not readable in any of them. charset-normalizer excludes
    encodings in which the text does not look like a language. A list of names and
    streets is too short for charset-normalizer to choose among the other encodings. So
    the encoding in which the most characters are common ones is chosen.
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
    """Return the number of common characters minus the number of uncommon ones."""
    count = 0
    for position, character in enumerate(text):
        if character.isascii():
            continue
        before = text[position - 1 : position]
        after = text[position + 1 : position + 2]
        count += 1 if is_common(character, before, after) else -1
    return count


def is_common(character: str, before: str, after: str) -> bool:
    """Return whether a character is common between the two characters around it.

    A capital letter is common at the beginning of a word, and in a word of capital
    letters. A punctuation mark, except an apostrophe, is not common between two
    letters.
    """
    if character.lower() not in COMMON:
        return False
    if not character.isalpha():
        return character in APOSTROPHES or not (before.isalpha() and after.isalpha())
    if not character.isupper() or not before.isalpha():
        return True
    return before.isupper() and not after.islower()


def find_damage(file: BinaryIO, encoding: str) -> ImportProblem:
    """Return the problem of a file that could not be decoded.

    The problem names the first line that is damaged, if it is known.
    """
    file.seek(0)
    for number, line in enumerate(file, start=1):
        try:
            line.decode(encoding)
        except UnicodeDecodeError as error:
            before = "" if is_wide(encoding) else show_before(line, error.start)
            # In UTF-16, the bytes of a line break can also be in other characters, so
            # the line number would be wrong.
            place = None if is_wide(encoding) else number
            return describe_damage(place, before, ENCODINGS[encoding])
    # Each line alone can be decoded. For example, UTF-16 text has no byte order mark.
    return describe_damage(None, "", ENCODINGS[encoding])


def is_wide(encoding: str) -> bool:
    return encoding.startswith("utf-16")


def describe_damage(line: int | None, before: str, encoding: str) -> ImportProblem:
    message = _(
        "This is not text in %s. Save the file as “CSV UTF-8” or as a workbook (.xlsx),"
        " or choose another encoding."
    )
    return ImportProblem(message % encoding, line, value=before)
