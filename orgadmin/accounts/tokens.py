"""Tokens in the links that set a password or change an email address."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from orgadmin.models import User
from orgadmin.people.link_tokens import make_link_token, read_link

# The purpose of the links that change an email address.
NEW_EMAIL = "new email"


class ResetTokenGenerator(PasswordResetTokenGenerator):
    """Makes tokens that also expire when all of the user's sessions are ended.

    Otherwise, after an account was deactivated and activated again, its old links would
    work again.
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


@dataclass(frozen=True)
class NewEmail:
    """A user and the new address that they asked for, to which a link was sent."""

    user: User
    address: str


def make_new_email_token(user: User, address: str) -> str:
    """Return the token of a link that is sent to the user's future address.

    The token becomes invalid as described in `make_link_token()`, for example when the
    user's address changes.
    """
    return make_link_token(user, NEW_EMAIL, nonce=address)


def read_new_email_token(token: str, max_age: int) -> NewEmail | None:
    """Return the user and the new address of a token, or None if it is not valid.

    `max_age` is in seconds.
    """
    link = read_link(token, NEW_EMAIL, max_age)
    return NewEmail(link.user, link.nonce) if link is not None else None
