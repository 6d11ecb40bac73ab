"""Tokens in the links that this site sends by email."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core import signing
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from orgadmin.models import User

# The purpose of the links that change an email address.
NEW_EMAIL = "new email"


class ResetTokenGenerator(PasswordResetTokenGenerator):
    """Makes tokens that end when the sessions of the user end.

    Otherwise, a link from before a deactivation would work again once the account is
    activated.
    """

    def _make_hash_value(self, user, timestamp):
        value = super()._make_hash_value(user, timestamp)
        return f"{value}{user.session_epoch}"


reset_tokens = ResetTokenGenerator()


def make_reset_path(user: User) -> str:
    """Return the path of the link with which a user chooses a new password."""
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    token = reset_tokens.make_token(user)
    return reverse("password_reset_confirm", args=[uid, token])


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
    link = _read_token(token, purpose, max_age)
    if link is None or link.nonce != nonce:
        return None
    return link.user


@dataclass(frozen=True)
class NewEmail:
    """An address that a user wants to have, and that a link was sent to."""

    user: User
    address: str


def make_new_email_token(user: User, address: str) -> str:
    """Return a token for a link that is sent to an address that is not the user's yet.

    It ends when the user gets this address or another one.
    """
    return make_link_token(user, NEW_EMAIL, nonce=address)


def read_new_email_token(token: str, max_age: int) -> NewEmail | None:
    """Return whose new address a link was sent to, or None if it is not valid."""
    link = _read_token(token, NEW_EMAIL, max_age)
    return NewEmail(link.user, link.nonce) if link is not None else None


@dataclass(frozen=True)
class _Link:
    user: User
    nonce: str


def _read_token(token: str, purpose: str, max_age: int) -> _Link | None:
    try:
        content = signing.loads(token, salt=_make_salt(purpose), max_age=max_age)
    except signing.BadSignature:
        return None
    pk, email, session_epoch, nonce = content
    user = User.objects.filter(
        pk=pk, email=email, session_epoch=session_epoch, is_active=True
    ).first()
    return _Link(user, nonce) if user is not None else None


def _make_salt(purpose: str) -> str:
    return f"orgadmin.link.{purpose}"
