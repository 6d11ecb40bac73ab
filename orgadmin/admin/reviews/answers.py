"""Reads from a form of an access review what someone decided."""

from __future__ import annotations

from django.http import QueryDict

from orgadmin.models import ReviewAnswer
from orgadmin.models.validators import is_primary_key
from orgadmin.people.review_decisions import Decision

# {name of a button: what it decides}. The value of the button is the key of the item.
BUTTONS = {"confirm": ReviewAnswer.CONFIRMED, "end": ReviewAnswer.ENDED}


def read_decisions(post: QueryDict) -> list[Decision]:
    """Return the decisions that buttons send; none if they do not make sense."""
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
    """Return the access that a page showed of an item.

    Without it, nothing was shown, so nothing is decided.
    """
    return post.get(f"seen-{key}", "")


def read_number(post: QueryDict, key: str) -> int:
    """Return how many decisions about an item a page knew of."""
    number = post.get(f"decisions-{key}", "")
    return int(number) if is_primary_key(number) else 0
