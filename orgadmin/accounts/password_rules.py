"""What a new password must be like. AUTH_PASSWORD_VALIDATORS names these classes.

Passwords may contain any characters, in any combination. They are neither changed nor
cut before they are hashed. Passwords that were set before a rule existed keep working.
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

MEMBER_LENGTH = 12
STAFF_LENGTH = 15

BREACHED_PASSWORDS = (
    Path(apps.get_app_config("orgadmin").path) / "data" / "breached-passwords.txt.gz"
)

SERVICE_TIMEOUT = 2  # seconds

# The service is told this many characters of the password's hash. It answers with the
# rest of every hash that begins with them, about a thousand.
HASH_PREFIX = 5

# Shorter parts of a name, such as initials, are not looked for.
SHORTEST_WORD = 3

# A person in more organizations than this is not expected to use all their names.
MAX_ORGANIZATIONS = 100


def find_minimum_length(user: User | None) -> int:
    """Return how many characters a new password of the user must have."""
    if user is not None and user.is_platform_staff:
        return STAFF_LENGTH
    return MEMBER_LENGTH


@sensitive_variables()
def warn_about_short_password(request: HttpRequest, user: User, password: str) -> None:
    """Ask platform staff with a short password to change it.

    They may have had it before they became staff. It cannot be measured then, because
    only its hash is stored.
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

    Looks in the list that is shipped with this project and, if the setting
    PWNED_PASSWORDS_URL is set, asks a service. If the service does not answer, the
    password is accepted.
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

    The service learns the beginning of the password's hash, which many passwords share.
    """
    digest = sha1(password.encode("utf-8", "replace"), usedforsecurity=False)
    hexadecimal = digest.hexdigest().upper()
    prefix = hexadecimal[:HASH_PREFIX]
    try:
        response = requests.get(
            f"{settings.PWNED_PASSWORDS_URL}/{prefix}",
            # The service then adds made-up lines, so that the length of its response
            # does not reveal the prefix. Their count is 0.
            headers={"Add-Padding": "true"},
            timeout=SERVICE_TIMEOUT,
            allow_redirects=False,
        )
        if response.status_code != HTTPStatus.OK:
            raise requests.HTTPError(response=response)
        return has_suffix(response.text, hexadecimal[HASH_PREFIX:])
    except (requests.RequestException, ValueError) as error:
        # The error's text contains the URL, and thus a part of the hash.
        logger.warning(
            "The service for breached passwords could not be asked: %s",
            type(error).__name__,
        )
        return False


def has_suffix(response: str, wanted: str) -> bool:
    """Return whether a response of the service lists the rest of a hash.

    Each line has the rest of a hash, a colon, and how often the password was seen.
    """
    for line in response.splitlines():
        suffix, _colon, count = line.partition(":")
        if suffix.strip().upper() == wanted:
            return int(count.replace(",", "")) > 0
    return False


class KnownWordsValidator:
    """Does not count words that others know towards the length of a password.

    These are the names of the person, of their organizations and of the site.
    """

    @sensitive_variables()
    def validate(self, password: str, user: User | None = None) -> None:
        minimum = find_minimum_length(user)
        rest = normalize(password)
        found = []
        # Longer words first: a short one may be a part of them.
        words = sorted(list_known_words(user))
        for word in sorted(words, key=len, reverse=True):
            if word in rest:
                found.append(word)
                rest = rest.replace(word, "")
        # Normalizing can make a text longer.
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
    """Return the normalized words that others can guess a password of the user from."""
    names = ["orgadmin", str(admin.site.site_header)]
    names.append(urlsplit(settings.BASE_URL).hostname or "")
    names += [provider.name for provider in settings.OIDC_PROVIDERS]
    if user is not None:
        # A form leaves the username empty if it refuses the one that was sent.
        names += [user.username or "", user.first_name, user.last_name, user.email]
        names += find_organization_names(user)
    return split_into_words(names)


def find_organization_names(user: User) -> list[str]:
    """Return the names of organizations that the user belongs to or is invited to.

    For an account whose address nobody has verified, invitations do not count: whoever
    sets its password could learn who is invited. A new account has no key yet.
    """
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
    return {word for word in words if len(word) >= SHORTEST_WORD}
