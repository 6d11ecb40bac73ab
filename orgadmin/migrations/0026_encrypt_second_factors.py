"""Encrypt the secrets of second factors.

Each batch is committed separately. Secrets that are already encrypted are skipped, so
an interrupted migration continues where it stopped. Undoing it decrypts them; secrets
that no key fits stay as they are.
"""

from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import migrations

from orgadmin.operations import commit

BATCH = 500  # rows in one transaction

# These are copies of what `orgadmin.records.encryption` defines, because a migration
# must not change when the application changes.
PREFIX = "fernet:"
PURPOSE = b"orgadmin second factor"


def get_cipher():
    """Return the cipher that encrypts with the first secret key and decrypts with all."""
    secret_keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    ciphers = []
    for secret_key in secret_keys:
        derivation = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE)
        key = urlsafe_b64encode(derivation.derive(secret_key.encode()))
        ciphers.append(Fernet(key))
    return MultiFernet(ciphers)


def encrypt(text):
    if text.startswith(PREFIX):
        return text
    return PREFIX + get_cipher().encrypt(text.encode()).decode()


def decrypt(text):
    if not text.startswith(PREFIX):
        return text
    try:
        return get_cipher().decrypt(text.removeprefix(PREFIX)).decode()
    except InvalidToken:
        return text


def encrypt_rows(apps, schema_editor):
    convert_all(apps, schema_editor, encrypt)


def decrypt_rows(apps, schema_editor):
    convert_all(apps, schema_editor, decrypt)


def convert_all(apps, schema_editor, convert):
    Authenticator = apps.get_model("mfa", "Authenticator")
    rows = Authenticator.objects.using(schema_editor.connection.alias).order_by("pk")
    last_pk = 0
    while batch := commit(schema_editor, convert_batch, rows, last_pk, convert):
        last_pk = batch[-1].pk


def convert_batch(rows, last_pk, convert):
    """Convert a batch of rows after the primary key `last_pk`, and return the rows."""
    locked = rows.filter(pk__gt=last_pk).select_for_update()
    batch = list(locked[:BATCH])
    for row in batch:
        for name in ("secret", "seed"):
            if name in row.data:
                row.data[name] = convert(row.data[name])
        row.save(update_fields=["data"])
    return batch


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("orgadmin", "0025_text_is_cleaned_by_fields"),
        ("mfa", "0003_authenticator_type_uniq"),
    ]

    operations = [migrations.RunPython(encrypt_rows, decrypt_rows)]
