"""The names of people on pages and in emails, which must identify a person.

People choose their full names themselves. Labels therefore add the username or email
address to a full name if `mark_namesakes()` has found the same name twice, or if the
name could be mistaken for something else, such as "Platform staff".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils.translation import gettext, gettext_noop, override

from orgadmin.models.look_alikes import make_key

if TYPE_CHECKING:
    from orgadmin.models.user import User

# Texts that pages show instead of a name, and beginnings of the names of imports and
# commands.
STAND_INS = (
    gettext_noop("Platform staff"),
    gettext_noop("Delegated staff"),
    gettext_noop("An admin of this organization"),
    gettext_noop("Someone"),
    gettext_noop("unknown"),
    gettext_noop("You"),
    gettext_noop("Import"),
)
BEGINNINGS = (
    gettext_noop("Import by %(name)s"),
    gettext_noop("Command %(name)s"),
)


def is_misleading(full_name: str) -> bool:
    """Return whether a full name could be mistaken for something else.

    This is the case if it contains "@", if it looks like one of STAND_INS, or if it
    begins like one of BEGINNINGS, in any language of the site.
    """
    if "@" in full_name:
        return True
    key = make_key(full_name)
    stand_ins, beginnings = find_reserved_keys()
    return key in stand_ins or f"{key} ".startswith(beginnings)


@cache
def find_reserved_keys() -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the look-alike keys of STAND_INS and of BEGINNINGS, in all languages."""
    stand_ins = set()
    beginnings = set()
    for language, _name in settings.LANGUAGES:
        with override(language):
            stand_ins |= {make_key(gettext(text)) for text in STAND_INS}
            for text in BEGINNINGS:
                beginning, _separator, _rest = gettext(text).partition("%(")
                beginnings.add(make_key(beginning))
    return frozenset(stand_ins), tuple(f"{key} " for key in beginnings if key)


def mark_namesakes(people: Iterable[User]) -> None:
    """Mark people with the same name, so that their labels include an address.

    Sets `has_namesake`. Names that look alike count as the same. People without a full
    name are compared by their username.
    """
    people_by_key: dict[str, dict[int | None, list[User]]] = defaultdict(dict)
    for person in people:
        key = make_key(person.get_full_name() or person.username)
        people_by_key[key].setdefault(person.pk, []).append(person)
    for namesakes in people_by_key.values():
        if len(namesakes) == 1:
            continue
        for instances in namesakes.values():
            for person in instances:
                person.has_namesake = True
