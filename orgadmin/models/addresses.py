"""The normal forms in which email addresses and usernames are stored and compared."""

from __future__ import annotations

import re
import unicodedata

import idna

from orgadmin.models.look_alikes import fold

# Long enough for an address of 254 characters whose domain becomes longer in ASCII.
# Short enough for an index, even if each character takes four bytes.
EMAIL_FOLD_LENGTH = 512

# A username has at most 150 characters, a few of which become longer.
USERNAME_FOLD_LENGTH = 255

# A username can have 150 characters. This leaves room to append a number.
BASE_LENGTH = 140

WIDTH_TAGS = ("<wide>", "<narrow>")
ASCII_PREFIX = "xn--"  # begins a part of a domain that contains non-ASCII characters


def fold_username(username: str) -> str:
    """Return a form that is equal for usernames that differ only in case or width."""
    return fold(username)[:USERNAME_FOLD_LENGTH]


def normalize_email(text: str) -> str:
    """Return the form in which an address that someone has typed is stored.

    Full-width letters and signs become ordinary ones. The domain becomes ASCII, as mail
    servers need it: "münchen.example" becomes "xn--mnchen-3ya.example". The part before
    the "@" keeps its case.
    """
    name, at, domain = replace_widths(text).rpartition("@")
    return f"{name}{at}{normalize_domain(domain)}" if at else domain


def fold_email(email: str) -> str:
    """Return a form that is equal for addresses that lead to the same mailbox.

    Addresses lead to the same mailbox if they differ only in case or in the spelling of
    their domain. Unicode treats more characters as equal, such as the Kelvin sign and
    "k", but such addresses can belong to different people.
    """
    name, at, domain = email.rpartition("@")
    return f"{lower_exactly(name)}{at}{normalize_domain(domain)}"[:EMAIL_FOLD_LENGTH]


def is_same_email(first: str, second: str) -> bool:
    """Return whether two email addresses lead to the same mailbox."""
    return fold_email(first) == fold_email(second)


def list_spellings(email: str) -> list[str]:
    """Return the spellings in which releases may have stored an address, in lower case.

    These are the normal form, and the form with a readable domain.
    """
    folded = fold_email(email)
    name, at, domain = folded.rpartition("@")
    if ASCII_PREFIX not in domain:
        return [folded]
    try:
        readable = idna.decode(domain)
    except idna.IDNAError:
        return [folded]
    return [folded, f"{name}{at}{readable}"]


def normalize_domain(domain: str) -> str:
    """Return a domain in lower case and in ASCII.

    If an invalid domain has no ASCII form, it is only converted to lower case.
    """
    if not domain.isascii():
        try:
            return idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError:
            pass
    return lower_exactly(domain)


def lower_exactly(text: str) -> str:
    """Convert letters to lower case, but only if this can be reversed.

    The Kelvin sign is not converted: its lower-case form is "k", but the upper-case
    form of "k" is another letter.
    """
    if text.isascii():
        return text.lower()
    letters = []
    for letter in text:
        lower = letter.lower()
        letters.append(lower if lower.upper() == letter else letter)
    return "".join(letters)


def replace_widths(text: str) -> str:
    """Replace full-width and half-width characters with ordinary ones."""
    if text.isascii():
        return text
    characters = []
    for character in text:
        if unicodedata.decomposition(character).startswith(WIDTH_TAGS):
            character = unicodedata.normalize("NFKC", character)
        characters.append(character)
    return "".join(characters)


def normalize_sign_in_name(text: str) -> str:
    """Return a form that is equal for all spellings of a username or email address."""
    return fold_username(normalize_email(text))


def make_username(email: str) -> str:
    """Return the username that is made from an email address.

    Characters that are not allowed in usernames become "-". The username may be taken.
    """
    return re.sub(r"[^\w.@+-]", "-", email)[:BASE_LENGTH]
