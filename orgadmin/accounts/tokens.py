"""Tokens in the links that this site sends by email."""

from __future__ import annotations

from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core import signing

from orgadmin.models import User


class ResetTokenGenerator(PasswordResetTokenGenerator):
    """Makes tokens that end when the sessions of the user end.

    Otherwise, a link from before a deactivation would work again once the account is
    activated.
    """

    def _make_hash_value(self, user, timestamp):
        value = super()._make_hash_value(user, timestamp)
        return f"{value}{user.session_epoch}"


reset_tokens = ResetTokenGenerator()


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
    try:
        content = signing.loads(token, salt=_make_salt(purpose), max_age=max_age)
    except signing.BadSignature:
        return None
    pk, email, session_epoch, signed_nonce = content
    if signed_nonce != nonce:
        return None
    return User.objects.filter(
        pk=pk, email=email, session_epoch=session_epoch, is_active=True
    ).first()


def _make_salt(purpose: str) -> str:
    return f"orgadmin.link.{purpose}"
