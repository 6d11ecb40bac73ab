"""Limits on attempts to guess passwords and codes, and on emails to one address.

Attempts are counted in the database, so a limit holds for all processes together.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Literal, TypeAlias

from django.db import connection
from django.http import HttpRequest
from django.utils import timezone

from orgadmin.access.origin import find_address
from orgadmin.models import SignInAttempt

LIMIT = 10  # attempts in a WINDOW
WINDOW = timedelta(minutes=15)

Kind: TypeAlias = Literal["sign-in", "mail", "code", "used code"]


def count_attempt(kind: Kind, subject: str | int, limit: int = LIMIT) -> bool:
    """Count an attempt, and return whether it is within the limit.

    Counting starts again WINDOW after the first attempt. What the subject is depends on
    the kind of attempt:

    - "sign-in": a username and an IP address, from `sign_in_subject`
    - "mail": an email address
    - "code": the primary key of the user who enters a code of the second factor
    - "used code": the user's primary key and the code, such as "7 123456"

    Subjects that differ only in upper and lower case are the same. Runs two queries.
    """
    now = timezone.now()
    SignInAttempt.objects.filter(since__lte=now - WINDOW).delete()
    table = connection.ops.quote_name(SignInAttempt._meta.db_table)
    # A single statement counts all attempts, even simultaneous ones. The ORM has no
    # statement that inserts a row, or adds to the stored value if the row exists.
    sql = f"""
        INSERT INTO {table} (key, count, since)
        VALUES (%s, 1, %s)
        ON CONFLICT (key) DO UPDATE
        SET count = {table}.count + 1
        RETURNING count
    """
    key = _make_key(kind, subject)
    since = connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        cursor.execute(sql, [key, since])
        [count] = cursor.fetchone()
    return count <= limit


def forget_attempts(kind: Kind, subject: str | int) -> None:
    """Delete the count of attempts, so that all of them are available again."""
    SignInAttempt.objects.filter(key=_make_key(kind, subject)).delete()


def _make_key(kind: Kind, subject: str | int) -> str:
    text = f"{kind}\n{subject}".casefold()
    return sha256(text.encode("utf-8", "replace")).hexdigest()


def sign_in_subject(username: str, request: HttpRequest) -> str:
    """Return the subject for counting attempts to sign in.

    It consists of the username, even if no such user exists, and the IP address.
    Guesses from other addresses do not lock the person out.
    """
    return f"{username}\n{find_address(request)}"
