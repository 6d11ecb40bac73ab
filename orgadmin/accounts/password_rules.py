"""The rules for new passwords. AUTH_PASSWORD_VALIDATORS names the classes.

Passwords can contain any characters, in any combination. They are neither changed nor
truncated before they are hashed. Passwords that were set before a rule existed still
work.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from hashlib import sha1
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import requests
from django.apps import apps
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext as _, ngettext
from django.views.decorators.debug import sensitive_variables

from orgadmin.models import Invitation, Membership, Organization, User
from orgadmin.models.addresses import is_same_email
from orgadmin.models.fields import normalize

logger = logging.getLogger("orgadmin.passwords")

# The minimum length of a password, in characters.
MEMBER_LENGTH = 12
STAFF_LENGTH = 15

BREACHED_PASSWORDS = (
    Path(apps.get_app_config("orgadmin").path) / "data" / "breached-passwords.txt.gz"
)

SERVICE_TIMEOUT = 2  # seconds

# The number of characters of the password's hash that are sent to the service. It
# responds with the rest of each hash that begins with them, about a thousand lines.
HASH_PREFIX_LENGTH = 5

# Shorter words in a name, such as initials, count towards the length of a password.
MIN_WORD_LENGTH = 3

# The names of at most this many organizations, and of this many invitations, are
# compared with a password.
MAX_ORGANIZATIONS = 100


def find_minimum_length(user: User | None) -> int:
    """Return how many characters a new password of the user must have."""
    if user is not None and user.is_staff_or_superuser:
        return STAFF_LENGTH
    return MEMBER_LENGTH


@sensitive_variables()
def warn_about_short_password(request: HttpRequest, user: User, password: str) -> None:
    """Add a message that asks staff and superusers to change a short password.

    This is checked at sign-in. When someone becomes staff, the length of their password
    is not known, because only its hash is stored.
    """
    minimum = find_minimum_length(user)
    if minimum != STAFF_LENGTH or len(password) >= minimum:
        return
    text = _(
        "Your password has fewer than %(minimum)d characters. Platform staff need a"
        " longer one: please change it."
    )
    messages.warning(request, text % {"minimum": minimum})


class LengthValidator:
    """Refuses passwords that are too short."""

    def validate(self, password: str, user: User | None = None) -> None:
        minimum = find_minimum_length(user)
        if len(password) < minimum:
            text = _(
                "This password is too short. Use at least %(minimum)d characters, such"
                " as four random words."
            )
            params = {"minimum": minimum}
            raise ValidationError(text, code="password_too_short", params=params)

    def get_help_text(self) -> str:
        text = _(
            "Use at least %(member)d characters, such as four random words. Platform"
            " staff need %(staff)d."
        )
        return text % {"member": MEMBER_LENGTH, "staff": STAFF_LENGTH}


class BreachedPasswordValidator(CommonPasswordValidator):
    """Refuses passwords that are known from data breaches.

    Checks the list that is shipped with this project. If PWNED_PASSWORDS_URL is set,
    also asks the service at that URL. If the service does not respond, the password is
    accepted.
    """

    def __init__(self) -> None:
        super().__init__(BREACHED_PASSWORDS)

    @sensitive_variables()
    def validate(self, password: str, user: User | None = None) -> None:
        super().validate(password, user)
        if settings.PWNED_PASSWORDS_URL and is_known_to_service(password):
            text = self.get_error_message()
            raise ValidationError(text, code="password_too_common")

    def get_error_message(self) -> str:
        return _(
            "Attackers know this password from a data breach. Choose one that nobody"
            " has used before."
        )

    def get_help_text(self) -> str:
        return _("Passwords that are known from data breaches are refused.")


@sensitive_variables()
def is_known_to_service(password: str) -> bool:
    """Return whether the service at PWNED_PASSWORDS_URL lists the password.

    The service only gets the beginning of the password's hash, which many passwords
    share. If the service cannot be asked, this is logged, and the result is False.
    """
    digest = sha1(password.encode("utf-8", "replace"), usedforsecurity=False)
    hexadecimal = digest.hexdigest().upper()
    prefix = hexadecimal[:HASH_PREFIX_LENGTH]
    try:
        response = requests.get(
            f"{settings.PWNED_PASSWORDS_URL}/{prefix}",
            # With this header, the service adds lines with the count 0, so that the
            # length of the encrypted response does not reveal the prefix.
            headers={"Add-Padding": "true"},
            timeout=SERVICE_TIMEOUT,
            allow_redirects=False,
        )
        if response.status_code != HTTPStatus.OK:
            raise requests.HTTPError(response=response)
        return has_suffix(response.text, hexadecimal[HASH_PREFIX_LENGTH:])
    except (requests.RequestException, ValueError) as error:
        # The error message is not logged, because it contains a part of the hash.
        logger.warning(
            "The service for breached passwords could not be asked: %s",
            type(error).__name__,
        )
        return False


def has_suffix(response: str, wanted: str) -> bool:
    """Return whether a response of the service lists the rest of a hash.

    Each line contains the rest of a hash, a colon, and how often the password was seen.
    """
    for line in response.splitlines():
        suffix, _colon, count = line.partition(":")
        if suffix.strip().upper() == wanted:
            return int(count.replace(",", "")) > 0
    return False


class KnownWordsValidator:
    """Refuses passwords that are too short without words that others know.

    These words are the names of the person, of their organizations and of the site.
    """

    @sensitive_variables()
    def validate(self, password: str, user: User | None = None) -> None:
        minimum = find_minimum_length(user)
        rest = normalize(password)
        found = []
        # Longer words are removed first, because they may contain shorter ones.
        words = sorted(list_known_words(user))
        for word in sorted(words, key=len, reverse=True):
            if word in rest:
                found.append(word)
                rest = rest.replace(word, "")
        # Normalizing can make the password longer. If the whole password is too short,
        # `LengthValidator` says so.
        length = min(len(rest), len(password))
        if not found or length >= minimum or len(password) < minimum:
            return
        missing = minimum - length
        text = ngettext(
            "Your name and the names of your organizations and this site do not count"
            " towards the length. Without %(words)s, this password needs"
            " %(missing)d more character.",
            "Your name and the names of your organizations and this site do not count"
            " towards the length. Without %(words)s, this password needs"
            " %(missing)d more characters.",
            missing,
        )
        quoted = ", ".join(_("“%s”") % word for word in found)
        params = {"words": quoted, "missing": missing}
        raise ValidationError(text, code="password_known_words", params=params)

    def get_help_text(self) -> str:
        return _(
            "Your name and the names of your organizations and this site do not count"
            " towards the length."
        )


def list_known_words(user: User | None) -> set[str]:
    """Return the normalized words that do not count towards a password's length.

    Attackers would try these words first.
    """
    names = ["orgadmin", str(admin.site.site_header)]
    names.append(urlsplit(settings.BASE_URL).hostname or "")
    names += [provider.name for provider in settings.OIDC_PROVIDERS]
    if user is not None:
        # The username is empty if a form has refused the username that was sent.
        names += [user.username or "", user.first_name, user.last_name, user.email]
        names += find_organization_names(user)
    return split_into_words(names)


def find_organization_names(user: User) -> list[str]:
    """Return the names of organizations that the user belongs to or is invited to.

    If the address of an existing account is not verified, invitations do not count.
    Otherwise, the person who sets the password could find out who is invited.
    """
    # A new account does not have a primary key yet.
    names: list[str] = []
    if user.pk is not None:
        groups = Membership.objects.groups_of(user).values("pk")
        organizations = Organization.objects.unarchived().owning_any(groups)
        organizations = organizations.order_by("pk")
        names += organizations.values_list("name", flat=True)[:MAX_ORGANIZATIONS]
    if user.email and (user.pk is None or user.has_verified_email):
        invitations = Invitation.objects.of_unarchived().to_email(user.email)
        invitations = invitations.order_by("pk")
        rows = invitations.values_list("email", "organization__name")
        for email, name in rows[:MAX_ORGANIZATIONS]:
            if is_same_email(email, user.email):
                names.append(name)
    return names


def split_into_words(names: Iterable[str]) -> set[str]:
    words: set[str] = set()
    for name in names:
        words.update(re.split(r"[\W_]+", normalize(name)))
    return {word for word in words if len(word) >= MIN_WORD_LENGTH}
