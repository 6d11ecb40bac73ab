"""Signed tokens in links that this site sends by email to the people of accounts.

Tokens are not stored, so that nobody can read a valid link in the database.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.core import signing

from orgadmin.models import User


@dataclass(frozen=True)
class Link:
    """The content of a link. `nonce` is as in `make_link_token()`."""

    user: User
    nonce: str


def make_link_token(user: User, purpose: str, nonce: str = "") -> str:
    """Return a token for a link that lets a user do one thing, named by `purpose`.

    The token becomes invalid when the user's address changes, when all their sessions
    are ended, and when they are deactivated. If the token was made with a `nonce`, it
    is only valid with this nonce.
    """
    content = [user.pk, user.email, user.session_epoch, nonce]
    return signing.dumps(content, salt=_make_salt(purpose))


def read_link_token(
    token: str, purpose: str, max_age: int, nonce: str = ""
) -> User | None:
    """Return the active user that a token is for, or None if it is not valid.

    `max_age` is in seconds.
    """
    link = read_link(token, purpose, max_age)
    if link is None or link.nonce != nonce:
        return None
    return link.user


def read_link(token: str, purpose: str, max_age: int) -> Link | None:
    """Return the content of a token, whatever its nonce, or None if it is not valid."""
    try:
        content = signing.loads(token, salt=_make_salt(purpose), max_age=max_age)
    except signing.BadSignature:
        return None
    pk, email, session_epoch, nonce = content
    user = User.objects.filter(
        pk=pk, email=email, session_epoch=session_epoch, is_active=True
    ).first()
    return Link(user, nonce) if user is not None else None


def _make_salt(purpose: str) -> str:
    return f"orgadmin.link.{purpose}"
