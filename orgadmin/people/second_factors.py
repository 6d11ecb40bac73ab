"""What follows from a change of someone's second factor.

All code that adds, removes or replaces a second factor calls this module.
"""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from django.db import transaction

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import User


@transaction.atomic
def remove_second_factors(user: User, *, actor: User) -> None:
    """Remove a person's second factors, if any, and end their sessions."""
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

    `event` is FACTOR_ADDED, FACTOR_REMOVED or RECOVERY_CODES_CREATED, and `kinds` are
    the types of the factors.
    A session of someone else who knows the password would otherwise stay open, and so
    would one that was started with a factor that no longer exists.
    """
    user.end_sessions()
    record(event, user=user, actor=actor, details={"factors": kinds})
