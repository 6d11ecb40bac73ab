"""Logs sign-ins with company accounts: one line for each attempt.

The line contains neither names nor addresses. It contains the primary key of the
account that the person has used or would have used, and never the key of an account
that was signed in before in the same browser.
"""

from __future__ import annotations

import logging
from typing import Any

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts import throttle
from orgadmin.accounts.company.refusal_reasons import Reason, SignInRefused
from orgadmin.models import User

logger = logging.getLogger("orgadmin.company")

# The reasons that concern all people: nobody can sign in until an operator corrects the
# settings here or at the provider.
MISCONFIGURED = {
    Reason.REFUSED_BY_PROVIDER,
    Reason.UNREACHABLE,
    Reason.INVALID_DISCOVERY,
    Reason.DISCOVERY_ISSUER,
    Reason.RESPONSE_ISSUER,
    Reason.CODE_REFUSED,
    Reason.INVALID_RESPONSE,
    Reason.INVALID_TOKEN,
    Reason.SIGNATURE,
    Reason.TOKEN_ISSUER,
    Reason.AUDIENCE,
    Reason.NOT_VALID_NOW,
    Reason.NONCE,
    Reason.NO_SUBJECT,
    Reason.USERINFO_SUBJECT,
}

# The errors of a provider that concern a single attempt: the code has expired or was
# used before, or the person did not do what the provider asked for.
SINGLE_ERRORS = (
    "invalid_grant",
    "login_required",
    "interaction_required",
    "account_selection_required",
    "consent_required",
)

# The reasons that anyone can cause without an account at the provider, as often as they
# like. They are only in the site's log. The audit log does not contain them, because
# its entries cannot be deleted.
NOT_AUDITED = {
    Reason.NOT_STARTED,
    Reason.CANCELED,
    Reason.REFUSED_BY_PROVIDER,
    Reason.UNREACHABLE,
    Reason.INVALID_DISCOVERY,
    Reason.DISCOVERY_ISSUER,
    Reason.RESPONSE_ISSUER,
    Reason.CODE_REFUSED,
    Reason.INVALID_RESPONSE,
}


def log_refusal(provider_id: str, refusal: SignInRefused) -> None:
    """Log why someone was not signed in, in the site's log and often the audit log."""
    details = {"provider": provider_id, "reason": str(refusal.reason)}
    if refusal.detail:
        details["detail"] = refusal.detail
    if refusal.subject:
        details["subject"] = refusal.subject
    if count_for_audit_log(provider_id, refusal):
        record(SecurityEvent.PROVIDER_REFUSED, user=refusal.user, details=details)
    step = str(refusal.step or "")
    values = {**details, "outcome": "refused", "step": step}
    write(choose_level(refusal), values, refusal.user, signed_in=None)


def count_for_audit_log(provider_id: str, refusal: SignInRefused) -> bool:
    """Count a refusal, and return whether the audit log records it.

    The audit log never records refusals for the reasons in NOT_AUDITED. For each
    provider, reason and person, it records only the first ten refusals in 15 minutes,
    because someone who is refused may try again and again.
    """
    if refusal.reason in NOT_AUDITED:
        return False
    subject = f"{provider_id} {refusal.reason} {refusal.subject}"
    return throttle.count_attempt("refused company account", subject)


def choose_level(refusal: SignInRefused) -> int:
    return logging.WARNING if is_misconfigured(refusal) else logging.INFO


def is_misconfigured(refusal: SignInRefused) -> bool:
    """Return whether nobody can sign in until an operator corrects the settings."""
    is_single = any(error in refusal.detail for error in SINGLE_ERRORS)
    return refusal.reason in MISCONFIGURED and not is_single


def log_success(provider_id: str, subject: str, user: User, *, is_done: bool) -> None:
    """Log that the provider has signed in someone.

    If `is_done` is false, the person still has to enter a second factor. The audit log
    records when they have done so.
    """
    outcome = "signed in" if is_done else "asked for the second factor"
    values = {"provider": provider_id, "subject": subject, "outcome": outcome}
    write(logging.INFO, values, user, signed_in=user if is_done else None)


def write(
    level: int, values: dict[str, Any], user: User | None, *, signed_in: User | None
) -> None:
    """Write a line to the site's log.

    `user` is the account that was used or would have been used. `signed_in` is the
    person who is signed in now, or None.
    """
    # Always set "user", even to None. Otherwise, LogFormatter would add the person who
    # was signed in before.
    keys = {
        "user_key": user.pk if user else None,
        "user": signed_in.pk if signed_in else None,
    }
    logger.log(level, "company sign-in: %s", values["outcome"], extra=values | keys)
