"""The normal form of email addresses and usernames, in which they are compared."""

from __future__ import annotations

import re
import unicodedata

import idna

from orgadmin.models.look_alikes import fold

# Long enough for an address of 254 characters whose domain gets longer. Short enough
# for an index, also if each character takes four bytes.
EMAIL_FOLD_LENGTH = 512

# A username has at most 150 characters, of which a few become longer.
USERNAME_FOLD_LENGTH = 255

# A username may have 150 characters. This leaves room to append a number.
BASE_LENGTH = 140

WIDTHS = ("<wide>", "<narrow>")
ENCODED = "xn--"  # marks a part of a domain that contains other than ASCII letters


def fold_username(username: str) -> str:
    """Return what usernames have in common if they differ only in case or width."""
    return fold(username)[:USERNAME_FOLD_LENGTH]


def normalize_email(text: str) -> str:
    """Return an address that someone has typed in the form in which it is stored.

    Full-width letters and signs become ordinary ones. The domain becomes ASCII, as mail
    servers need it: "münchen.example" becomes "xn--mnchen-3ya.example". The case of the
    part before the "@" stays.
    """
    name, at, domain = replace_widths(text).rpartition("@")
    return f"{name}{at}{normalize_domain(domain)}" if at else domain


def fold_email(email: str) -> str:
    """Return what addresses have in common if they lead to the same mailbox.

    Only addresses that differ in case, or in the spelling of their domain, have it in
    common. Unicode considers more characters equal, such as the Kelvin sign and "k",
    but such addresses can belong to different people.
    """
    name, at, domain = email.rpartition("@")
    return f"{lower_exactly(name)}{at}{normalize_domain(domain)}"[:EMAIL_FOLD_LENGTH]


def is_same_email(first: str, second: str) -> bool:
    """Return whether two email addresses lead to the same mailbox."""
    return fold_email(first) == fold_email(second)


def list_spellings(email: str) -> list[str]:
    """Return the spellings in which releases may have stored an address.

    All are in lower case: the normal form, and the one with the domain as people read
    it.
    """
    folded = fold_email(email)
    name, at, domain = folded.rpartition("@")
    if ENCODED not in domain:
        return [folded]
    try:
        readable = idna.decode(domain)
    except idna.IDNAError:
        return [folded]
    return [folded, f"{name}{at}{readable}"]


def normalize_domain(domain: str) -> str:
    """Return a domain in lower case and in ASCII.

    An invalid domain that has no ASCII form is returned in lower case.
    """
    if not domain.isascii():
        try:
            return idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError:
            pass
    return lower_exactly(domain)


def lower_exactly(text: str) -> str:
    """Return the text with those letters in lower case that have one upper-case form.

    The Kelvin sign stays as it is: its lower-case form is "k", but the upper-case form
    of "k" is another letter.
    """
    if text.isascii():
        return text.lower()
    letters = []
    for letter in text:
        lower = letter.lower()
        letters.append(lower if lower.upper() == letter else letter)
    return "".join(letters)


def replace_widths(text: str) -> str:
    """Return the text with ordinary characters instead of full-width and half-width."""
    if text.isascii():
        return text
    characters = []
    for character in text:
        if unicodedata.decomposition(character).startswith(WIDTHS):
            character = unicodedata.normalize("NFKC", character)
        characters.append(character)
    return "".join(characters)


def normalize_sign_in_name(text: str) -> str:
    """Return what all spellings of a username or an email address have in common."""
    return fold_username(normalize_email(text))


def make_username(email: str) -> str:
    """Return the username that is made from an address, unless it is taken.

    Each character that usernames do not allow becomes "-".
    """
    return re.sub(r"[^\w.@+-]", "-", email)[:BASE_LENGTH]
