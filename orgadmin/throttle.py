"""Limits on guessing passwords: kept in the database, so that they hold across processes, and told to nobody."""

from datetime import timedelta
from hashlib import sha256

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from .models import SignInFailure

LIMIT = 10  # failures of one user name from one address
WINDOW = timedelta(minutes=15)


def is_blocked(username, address):
    """Tell whether further attempts are refused, right password or not, whether or not there is such a user."""
    return _recent().filter(key=_make_key(username, address), count__gte=LIMIT).exists()


@transaction.atomic
def note_failure(username, address):
    SignInFailure.objects.exclude(pk__in=_recent().values("pk")).delete()
    failure, created = SignInFailure.objects.get_or_create(key=_make_key(username, address), defaults={"count": 1})
    if not created:
        SignInFailure.objects.filter(pk=failure.pk).update(count=F("count") + 1)


def forget_failures(username, address):
    SignInFailure.objects.filter(key=_make_key(username, address)).delete()


def _recent():
    return SignInFailure.objects.filter(since__gt=timezone.now() - WINDOW)


def _make_key(username, address):
    return sha256(f"{username.casefold()}\n{address}".encode("utf-8", "replace")).hexdigest()
