"""Encrypts texts in the database, such as the secrets of second factors.

These texts also include forms that are kept for people whose session has ended, the ID
tokens of company sign-ins, and the URLs of round trips to the company's server.

The keys are derived from the settings SECRET_KEY and SECRET_KEY_FALLBACKS. Texts are
encrypted with the first key, and can be decrypted with any of them. To replace the
secret key, move the old one to the fallbacks until `manage.py encrypt_secrets` has
encrypted everything with the new key.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass

from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext_noop as _

from orgadmin.records.doctor.doctor import Issue

# The beginning of each encrypted text. A text without it was stored before this site
# encrypted texts.
PREFIX = "fernet:"

# The default purpose of a key. Keys for different purposes are different.
PURPOSE = "orgadmin second factor"

# The keys in `Authenticator.data` whose values are secret.
SECRETS = ("secret", "seed")
SECRET_LISTS = ("migrated_codes",)

BATCH = 500  # second factors in one transaction


class UnreadableSecret(Exception):
    """A secret was encrypted with a key that is not in the settings."""

    def __init__(self) -> None:
        super().__init__(
            "The secret of a second factor cannot be decrypted. Add the secret key that"
            " encrypted it to SECRET_KEY_FALLBACKS."
        )


@dataclass
class Report:
    """How many second factors were encrypted again, and how many are unreadable."""

    examined: int = 0
    encrypted: int = 0
    unreadable: int = 0


def encrypt(text: str, *, purpose: str = PURPOSE) -> str:
    [cipher, *_others] = list_ciphers(purpose)
    return PREFIX + cipher.encrypt(text.encode()).decode()


def decrypt(text: str, *, purpose: str = PURPOSE) -> str:
    """Return the decrypted text, or a text without PREFIX unchanged.

    Raises `UnreadableSecret` if no key fits.
    """
    if not text.startswith(PREFIX):
        return text
    token = text.removeprefix(PREFIX)
    try:
        return MultiFernet(list_ciphers(purpose)).decrypt(token).decode()
    except InvalidToken as error:
        raise UnreadableSecret from error


def is_current(text: str) -> bool:
    """Return whether the secret of a second factor is encrypted with the first key."""
    [cipher, *_others] = list_ciphers()
    try:
        cipher.decrypt(text.removeprefix(PREFIX))
    except InvalidToken:
        return False
    return text.startswith(PREFIX)


def list_ciphers(purpose: str = PURPOSE) -> list[Fernet]:
    secret_keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [Fernet(derive_key(secret_key, purpose)) for secret_key in secret_keys]


def derive_key(secret_key: str, purpose: str) -> bytes:
    info = purpose.encode()
    derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)
    return urlsafe_b64encode(derivation.derive(secret_key.encode()))


def examine_second_factors(*, fix: bool = False) -> Iterator[Issue]:
    """Yield what is wrong with the secrets of second factors, for the doctor.

    With `fix`, first encrypts all readable secrets with the first key.
    """
    report = encrypt_all(dry_run=not fix)
    if report.encrypted:
        text = f"{report.encrypted:,} were not encrypted with the current SECRET_KEY"
        yield Issue(_("second factors"), text)
    if report.unreadable:
        text = (
            f"{report.unreadable:,} cannot be decrypted: add the secret key that"
            " encrypted them to SECRET_KEY_FALLBACKS, or remove these second factors"
        )
        yield Issue(_("second factors"), text, is_repairable=False)


def encrypt_all(*, dry_run: bool = False) -> Report:
    """Encrypt all secrets of second factors that the first key does not encrypt yet.

    Skips and counts those that cannot be decrypted. `dry_run` only counts.
    """
    report = Report()
    for pks in list_batches():
        with transaction.atomic():
            rows = Authenticator.objects.select_for_update().filter(pk__in=pks)
            for authenticator in rows.order_by("pk"):
                encrypt_again(authenticator, report)
            if dry_run:
                transaction.set_rollback(True)
    return report


def list_batches() -> Iterator[list[int]]:
    last_pk = 0
    while True:
        rows = Authenticator.objects.filter(pk__gt=last_pk).order_by("pk")
        pks = list(rows.values_list("pk", flat=True)[:BATCH])
        if not pks:
            return
        yield pks
        last_pk = pks[-1]


def encrypt_again(authenticator: Authenticator, report: Report) -> None:
    """Encrypt the secrets of a second factor with the first key, if necessary.

    Adds the result to `report`.
    """
    report.examined += 1
    if all(is_current(text) for text in list_secrets(authenticator.data)):
        return
    try:
        replace_secrets(authenticator.data)
    except UnreadableSecret:
        report.unreadable += 1
        return
    authenticator.save(update_fields=["data"])
    report.encrypted += 1


def list_secrets(data: dict) -> list[str]:
    texts = [data[name] for name in SECRETS if name in data]
    for name in SECRET_LISTS:
        texts += data.get(name) or []
    return texts


def replace_secrets(data: dict) -> None:
    for name in SECRETS:
        if name in data:
            data[name] = encrypt(decrypt(data[name]))
    for name in SECRET_LISTS:
        if data.get(name):
            data[name] = [encrypt(decrypt(text)) for text in data[name]]
