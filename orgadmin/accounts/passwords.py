"""Checks passwords in requests. No other module does this.

Each check is counted as an attempt before the password is compared.
"""

from __future__ import annotations

from django.contrib import auth
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts import throttle
from orgadmin.accounts.hashing import take_place
from orgadmin.models import User

# A username that no user has.
NOBODY = ""

# In characters. More than anyone types, and quick to hash.
MAX_LENGTH = 1_000


class MaximumLengthValidator:
    """Refuses passwords that are too long to be checked at sign-in."""

    def validate(self, password: str, user: User | None = None) -> None:
        if len(password) > MAX_LENGTH:
            text = _("This password is too long. Use at most %d characters.")
            raise ValidationError(text % MAX_LENGTH, code="password_too_long")

    def get_help_text(self) -> str:
        text = _("Your password can have up to %d characters.")
        return text % MAX_LENGTH


@sensitive_variables("password")
def find_user(request: HttpRequest, text: str, password: str) -> User | None:
    """Return the active user who has this username or email address, and this password.

    Returns None if there is no such user, or after too many attempts. The time that
    this takes does not reveal whether the user exists: in both cases, the same queries
    run and one password is hashed. After too many attempts, this can be faster: see
    `SignInAttemptCount.is_refused_at_once`.

    Raises `TooBusy` if the password cannot be hashed at the moment. This does not count
    as an attempt.
    """
    with take_place():
        attempt = throttle.SignInAttemptCount(request, text)
        is_within_limits = attempt.count()
        if attempt.is_refused_at_once or len(password) > MAX_LENGTH:
            return None
        username = attempt.username if is_within_limits else NOBODY
        user = auth.authenticate(request, username=username, password=password)
    if user is not None:
        attempt.succeed()
        return user
    step = "password" if is_within_limits else "limit"
    # The event does not contain the username that was typed: people sometimes type
    # their password in that field.
    record(SecurityEvent.SIGN_IN_FAILED, user=attempt.user, details={"step": step})
    return None


@sensitive_variables("password")
def check_own_password(
    user: User, password: str, *, kind: throttle.Kind = "password"
) -> bool:
    """Return whether this is the password of the user who is signed in.

    Also returns False after too many attempts. Raises `TooBusy`, see `find_user`.
    """
    with take_place():
        if not throttle.count_for_user(kind, user) or len(password) > MAX_LENGTH:
            return False
        is_right = user.check_password(password)
    if is_right:
        throttle.forget_attempts(kind, user.pk)
    else:
        record(SecurityEvent.SIGN_IN_FAILED, user=user, details={"step": kind})
    return is_right
