"""Stores in a session which company account was used. Ends sessions after sign-outs.

The session's value "company" is a dict with the fields of `CompanySession`. The hashes
are also stored in `UserSession`, so that the session can be found when the provider
reports that the person has signed out there.

People who still have to enter their second factor have no `UserSession`. So the times
of sign-outs at a provider are stored for as long as a sign-in can take, and each
sign-in checks them at its end.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import SignInAttempt, UserSession
from orgadmin.models.sign_in_attempt import make_key
from orgadmin.records.encryption import UnreadableSecret, decrypt, encrypt

# The purpose for which ID tokens are encrypted.
PURPOSE = "orgadmin ID token"

# In characters. A longer ID token does not fit into a URL, so it is not stored.
MAX_LENGTH = 4000


@dataclass(frozen=True)
class CompanySession:
    """What a session here stores about the person's session at a provider."""

    provider: str  # the ID in the settings
    subject: str  # a hash that identifies the person
    sid: str  # a hash of the ID of the session there, or "" if the ID is not known
    id_token: str  # encrypted, or "" if it is too long
    can_sign_out: bool  # whether the provider can sign people out
    since: float = 0  # when the person came back from it, in seconds since 1970


def hash_subject(server: str, subject: str) -> str:
    """Return a hash that identifies a person at a provider.

    `server` is the URL of the provider. It is part of the hash, so that people at
    different providers never have the same hash, even if the site changes its provider.
    """
    return sha256(f"{server}\n{subject}".encode()).hexdigest()


def hash_sid(server: str, sid: str) -> str:
    """Return the hash of a session at a provider, or "" if it has no ID."""
    return sha256(f"{server}\nsid\n{sid}".encode()).hexdigest() if sid else ""


def encrypt_id_token(id_token: str) -> str:
    """Return the encrypted ID token, or "" if it is longer than MAX_LENGTH."""
    if len(id_token) > MAX_LENGTH:
        return ""
    return encrypt(id_token, purpose=PURPOSE)


def decrypt_id_token(encrypted: str) -> str:
    """Return the ID token, or "" if there is none or it cannot be decrypted."""
    try:
        return decrypt(encrypted, purpose=PURPOSE) if encrypted else ""
    except UnreadableSecret:
        return ""


@transaction.atomic
def end_sessions(*, provider_id: str, subject: str, sid: str) -> int:
    """End the sessions here that began with a session at a provider.

    `subject` and `sid` are hashes, and one of them can be "". Without `sid`, ends all
    sessions of the person. Without `subject`, ends the session with this `sid`. With
    both, ends the person's sessions with this `sid`, and those whose session at the
    provider is not known. Also ends sign-ins that are not finished yet. Returns the
    number of sessions that were ended.
    """
    record_sign_out(subject, sid)
    rows = UserSession.objects.select_for_update(of=["self"]).select_related("user")
    if subject:
        rows = rows.filter(company_subject=subject)
    if sid and subject:
        # If the provider did not send the session's ID at sign-in, the session here may
        # belong to any session there.
        rows = rows.filter(Q(company_sid=sid) | Q(company_sid=""))
    elif sid:
        rows = rows.filter(company_sid=sid)
    ended = list(rows)
    Session.objects.filter(session_key__in=[row.session_key for row in ended]).delete()
    UserSession.objects.filter(pk__in=[row.pk for row in ended]).delete()
    for row in ended:
        details = {"provider": provider_id, "reason": "signed out there"}
        record(SecurityEvent.SIGNED_OUT, user=row.user, details=details)
    return len(ended)


def record_sign_out(subject: str, sid: str) -> None:
    """Record that someone has signed out at a provider, for `has_signed_out`.

    The arguments are those of `end_sessions`.
    """
    names = [f"{subject} {sid}"]
    if subject and sid:
        names.append(f"{subject} unknown")
    now = {"count": 1, "since": timezone.now()}
    for key in make_keys(names):
        SignInAttempt.objects.update_or_create(key=key, defaults=now)


def has_signed_out(company: dict[str, Any]) -> bool:
    """Return whether the person has signed out at the provider after they came back.

    `company` is a `CompanySession` as a dict.
    """
    subject = company["subject"]
    sid = company["sid"]
    names = [f"{subject} ", f"{subject} {sid or 'unknown'}", f" {sid}"]
    # Sessions from the previous release do not have "since".
    since = datetime.datetime.fromtimestamp(company.get("since", 0), datetime.UTC)
    rows = SignInAttempt.objects.filter(key__in=make_keys(names), since__gte=since)
    return rows.exists()


def make_keys(names: Collection[str]) -> list[str]:
    return [make_key("signed out at a provider", name) for name in names]
