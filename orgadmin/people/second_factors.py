"""Ends sessions and records an event when a person's second factors change.

All code that adds, removes or replaces a second factor must call this module.
"""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.db import transaction

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import User

# The types of second factors. Recovery codes are not included, because they only
# replace one of these.
FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


def has_second_factor(user: User) -> bool:
    """Return whether a person has a second factor, which they must then use to sign in.

    If the setting SECOND_FACTOR is off, factors are not used, so this returns False.
    """
    if settings.SECOND_FACTOR == "off":
        return False
    return Authenticator.objects.filter(user=user, type__in=FACTORS).exists()


def has_app(user: User) -> bool:
    """Return whether a person has an authenticator app."""
    kind = Authenticator.Type.TOTP
    return Authenticator.objects.filter(user=user, type=kind).exists()


@transaction.atomic
def remove_second_factors(user: User, *, actor: User) -> None:
    """Remove a person's second factors and recovery codes, and end their sessions.

    Does nothing if they have none.
    """
    factors = Authenticator.objects.filter(user=user)
    kinds = sorted(factors.values_list("type", flat=True))
    if not kinds:
        return
    factors.delete()
    follow_up(SecurityEvent.FACTOR_REMOVED, user, kinds, actor=actor)


@transaction.atomic
def follow_up(
    event: SecurityEvent, user: User, kinds: list[str], *, actor: User
) -> None:
    """End the sessions of someone whose second factors have changed, and record it.

    `event` is FACTOR_ADDED, FACTOR_REMOVED or RECOVERY_CODES_CREATED. `kinds` are the
    types of the factors.

    Sessions end because they may belong to someone else who knows the password, or may
    have begun with a factor that no longer exists.
    """
    user.end_sessions()
    record(event, user=user, actor=actor, details={"factors": kinds})
