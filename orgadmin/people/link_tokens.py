"""Signed tokens in the links that this site sends to the address of an account.

They are stored nowhere. The database could not tell anyone a link that works.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.core import signing

from orgadmin.models import User


@dataclass(frozen=True)
class Link:
    """Whom a link was made for. `nonce` is what was given to `make_link_token()`."""

    user: User
    nonce: str


def make_link_token(user: User, purpose: str, nonce: str = "") -> str:
    """Return a token for a link that is sent to the user's current email address.

    The token ends when the address changes, and when the user's sessions end. With
    `nonce`, it only works together with the same nonce.
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
    """Return what a token says, with any nonce, or None if it is not valid."""
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
