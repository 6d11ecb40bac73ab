"""Tokens in links that reset a password."""

from django.contrib.auth.tokens import PasswordResetTokenGenerator


class ResetTokenGenerator(PasswordResetTokenGenerator):
    """Makes tokens that end when the sessions of the user end.

    Otherwise, a link from before a deactivation would work again once the account is
    activated.
    """

    def _make_hash_value(self, user, timestamp):
        value = super()._make_hash_value(user, timestamp)
        return f"{value}{user.session_epoch}"


reset_tokens = ResetTokenGenerator()
