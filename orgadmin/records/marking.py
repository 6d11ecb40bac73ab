"""Finds the parts of a text that match a search, so that a page can mark them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from orgadmin.models.fields import normalize

# How much of a long text is shown, and how much of this is before the first match
MAX_TEXT_SHOWN = 120  # characters
SHOWN_BEFORE_MATCH = 40  # characters


@dataclass(frozen=True)
class Part:
    """A part of a text. Pages mark matching parts, and escape all parts."""

    text: str
    is_match: bool


def mark_matches(text: str, words: Collection[str]) -> list[Part]:
    """Split a text into parts that match one of the normalized words, and other parts.

    A long text is cut to the part around the first match.
    """
    is_marked = _find_marked(text, words)
    start = 0
    end = len(text)
    if len(text) > MAX_TEXT_SHOWN:
        first = is_marked.index(True) if True in is_marked else 0
        start = max(0, min(first - SHOWN_BEFORE_MATCH, len(text) - MAX_TEXT_SHOWN))
        end = start + MAX_TEXT_SHOWN
    parts = _join_characters(text[start:end], is_marked[start:end])
    if start > 0:
        parts.insert(0, Part("…", is_match=False))
    if end < len(text):
        parts.append(Part("…", is_match=False))
    return parts


def _find_marked(text: str, words: Collection[str]) -> list[bool]:
    """Return for each character of a text whether it belongs to one of the words."""
    # Normalizing can remove a character, or replace it by several. `origins` has the
    # position in the original text for each character of the normalized text.
    normal = ""
    origins: list[int] = []
    for place, character in enumerate(text):
        piece = normalize(character)
        normal += piece
        origins += [place] * len(piece)
    is_marked = [False] * len(text)
    for word in words:
        start = normal.find(word) if word else -1
        while start >= 0:
            end = start + len(word)
            last = origins[end - 1]
            # Combining accents are not in the normalized text. They belong to the word
            # if they come before the next normalized character.
            following = origins[end] if end < len(origins) else len(text)
            for place in range(origins[start], max(following, last + 1)):
                is_marked[place] = True
            start = normal.find(word, end)
    return is_marked


def _join_characters(text: str, is_marked: Sequence[bool]) -> list[Part]:
    parts = []
    place = 0
    for is_match, characters in groupby(is_marked):
        length = len(list(characters))
        parts.append(Part(text[place : place + length], is_match))
        place += length
    return parts
