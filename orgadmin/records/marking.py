"""Finds the parts of a text that a search has found, to mark them on a page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from orgadmin.models.fields import normalize

# How much of a long text is shown, and how much of that comes before the match.
SHOWN = 120  # characters
BEFORE = 40  # characters


@dataclass(frozen=True)
class Part:
    """A piece of a text. Pages mark those that match, and escape all of them."""

    text: str
    is_match: bool


def mark(text: str, words: Collection[str]) -> list[Part]:
    """Split a text into parts that are one of the normalized words, and others.

    A long text is cut, around the first match.
    """
    is_marked = _find_marked(text, words)
    start = 0
    end = len(text)
    if len(text) > SHOWN:
        first = is_marked.index(True) if True in is_marked else 0
        start = max(0, min(first - BEFORE, len(text) - SHOWN))
        end = start + SHOWN
    parts = _join_characters(text[start:end], is_marked[start:end])
    if start > 0:
        parts.insert(0, Part("…", is_match=False))
    if end < len(text):
        parts.append(Part("…", is_match=False))
    return parts


def _find_marked(text: str, words: Collection[str]) -> list[bool]:
    """Return for each character of a text whether it belongs to one of the words."""
    # Normalizing can remove characters, or make several from one. `origins` are the
    # places in the text from which those of the normalized text come.
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
            # Accents can be characters of their own, which the normalized text lacks.
            # Those up to its next character belong to the word.
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
