"""Reads the decisions that someone made in a form of an access review."""

from __future__ import annotations

from django.http import QueryDict

from orgadmin.models import ReviewAnswer
from orgadmin.models.validators import is_primary_key
from orgadmin.people.review_decisions import Decision

# {name of a button: the answer that it gives}. The value of the button is the primary
# key of the item.
BUTTONS = {"confirm": ReviewAnswer.CONFIRMED, "end": ReviewAnswer.ENDED}


def read_decisions(post: QueryDict) -> list[Decision]:
    """Return the decisions that a button sent. Invalid input is ignored."""
    if post.get("confirm") == "all":
        keys = [key for key in post.getlist("item") if is_primary_key(key)]
        return [read_decision(post, key, ReviewAnswer.CONFIRMED) for key in keys]
    for name, answer in BUTTONS.items():
        key = post.get(name, "")
        if is_primary_key(key):
            return [read_decision(post, key, answer)]
    return []


def read_decision(post: QueryDict, key: str, answer: ReviewAnswer) -> Decision:
    return Decision(
        int(key), answer, seen=read_seen(post, key), number=read_number(post, key)
    )


def read_seen(post: QueryDict, key: str) -> str:
    """Return the access that the page showed for an item, as a text.

    Returns "" if the page did not show any, which makes the decision invalid.
    """
    return post.get(f"seen-{key}", "")


def read_number(post: QueryDict, key: str) -> int:
    """Return the number of decisions about an item that existed on the page."""
    number = post.get(f"decisions-{key}", "")
    return int(number) if is_primary_key(number) else 0
