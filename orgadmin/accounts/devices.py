"""Cookies by which an account knows the devices that someone has signed in on.

Whoever guesses passwords has no such cookie. So attempts on known devices are counted
apart from all others, and nobody can lock a person out of their own device. OWASP calls
this "device cookies". A cookie gives no access: the password is still required.
"""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponseBase
from django.utils.crypto import get_random_string, salted_hmac

from orgadmin.models import User

# How long a device is known after the last time that the person signed in on it.
LIFETIME = timedelta(days=180)

SALT = "orgadmin.device"

# The ID of all devices that became known by a link from an email.
LINK_DEVICE = "new-password"


def find_device(request: HttpRequest, user: User) -> str:
    """Return the ID of the device, or "" if the account does not know it."""
    value = request.COOKIES.get(name_cookie(user), "")
    try:
        return _make_signer(user).unsign(value, max_age=LIFETIME)
    except BadSignature:
        return ""


def remember_device(response: HttpResponseBase, user: User) -> None:
    """Make the device known to the account of a person who has proved who they are."""
    _set_cookie(response, user, get_random_string(16))


def remember_link_device(response: HttpResponseBase, user: User) -> None:
    """Make the device known on which a person has used a link from an email.

    With the link, they have chosen a new password, or asked for attempts of their own.

    All these devices have the same ID, and so the same attempts. Otherwise, someone who
    reads the mail of a person could get new attempts to guess a code with each link.
    """
    _set_cookie(response, user, LINK_DEVICE)


def keep_device(response: HttpResponseBase, user: User, device: str) -> None:
    """Keep a device known after the sessions of its person have ended.

    `device` is what `find_device()` returned before. A device that was not known stays
    unknown, and a known one keeps its ID. Otherwise, someone who only has an open
    session could get a new device, with new attempts, as often as they like.
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
    """Return the name of the cookie, which is another one for each account.

    It does not reveal whose it is.
    """
    prefix = "__Host-" if settings.SESSION_COOKIE_SECURE else ""
    digest = salted_hmac(SALT, str(user.pk), algorithm="sha256").hexdigest()
    return f"{prefix}device-{digest[:16]}"


def _make_signer(user: User) -> TimestampSigner:
    """Return a signer whose signatures end when the sessions of the user end."""
    return TimestampSigner(salt=f"{SALT}.{user.pk}.{user.session_epoch}")
