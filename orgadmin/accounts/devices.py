"""Cookies that mark the devices on which a person has signed in.

Attackers who guess passwords do not have such a cookie. Attempts on known devices are
counted separately from all others, so attackers cannot lock people out of their own
devices. OWASP calls this "device cookies". The cookie does not give access: the
password is still required.
"""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponseBase
from django.utils.crypto import get_random_string, salted_hmac

from orgadmin.models import User

# How long a device stays known after the person last signed in on it.
LIFETIME = timedelta(days=180)

SALT = "orgadmin.device"

# The ID that is shared by all devices that became known through a link from an email.
LINK_DEVICE = "new-password"


def find_device(request: HttpRequest, user: User) -> str:
    """Return the ID of the device, or "" if the account does not know the device."""
    value = request.COOKIES.get(name_cookie(user), "")
    try:
        return _make_signer(user).unsign(value, max_age=LIFETIME)
    except BadSignature:
        return ""


def remember_device(response: HttpResponseBase, user: User) -> None:
    """Make a device known to the account of a person who has just signed in on it.

    The device gets a new ID, and thus its own count of attempts.
    """
    _set_cookie(response, user, get_random_string(16))


def remember_link_device(response: HttpResponseBase, user: User) -> None:
    """Make a device known to the account of a person who has used a link from an email.

    There are two such links: to choose a new password, and to try again after a
    lock-out.

    All these devices share one ID, and thus one count of attempts. Otherwise, someone
    who can read the person's mail could get new attempts to guess a code with each
    link.
    """
    _set_cookie(response, user, LINK_DEVICE)


def keep_device(response: HttpResponseBase, user: User, device: str) -> None:
    """Keep the device known after all sessions of the user have ended.

    `device` is what `find_device()` returned before the sessions ended. A known device
    keeps its ID, and an unknown device stays unknown. Otherwise, someone who only has
    an open session could get new attempts as often as they like.
    """
    if device:
        _set_cookie(response, user, device)


def _set_cookie(response: HttpResponseBase, user: User, device: str) -> None:
    response.set_cookie(
        name_cookie(user),
        _make_signer(user).sign(device),
        max_age=LIFETIME,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def name_cookie(user: User) -> str:
    """Return the name of the cookie for an account.

    The name is different for each account, and does not reveal the account.
    """
    prefix = "__Host-" if settings.SESSION_COOKIE_SECURE else ""
    digest = salted_hmac(SALT, str(user.pk), algorithm="sha256").hexdigest()
    return f"{prefix}device-{digest[:16]}"


def _make_signer(user: User) -> TimestampSigner:
    """Return a signer whose signatures expire when all of the user's sessions end."""
    return TimestampSigner(salt=f"{SALT}.{user.pk}.{user.session_epoch}")
