"""What a session remembers about the company account that it began with.

The session has it under "company", as {"provider": the ID in the settings, "subject"
and "sid": hashes of the person and of their session at the provider, "id_token": the ID
token, encrypted, "can_sign_out": whether the provider can sign people out, "since":
when the person came back from the provider}. The hashes are also in `UserSession`,
where the back channel finds the session.

Someone who has yet to enter a second factor has no `UserSession`. So the times of
sign-outs at a provider are kept for as long as a sign-in can take, and the end of each
sign-in asks for them.
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

# What ID tokens are encrypted for.
PURPOSE = "orgadmin ID token"

# A longer ID token does not fit into a URL, so it is not kept.
MAX_LENGTH = 4000


@dataclass(frozen=True)
class CompanySession:
    """A person's session at a provider, as the session here remembers it."""

    provider: str
    subject: str
    sid: str  # "" if the provider does not say it
    id_token: str  # "" if it is too long
    can_sign_out: bool
    since: float = 0  # seconds since 1970


def hash_subject(server: str, subject: str) -> str:
    """Return the hash of a person.

    It includes the URL of the provider. If the site changes its provider, a person at
    the new one never has the hash of a person at the old one.
    """
    return sha256(f"{server}\n{subject}".encode()).hexdigest()


def hash_sid(server: str, sid: str) -> str:
    """Return the hash of a session at a provider, or "" if it has no ID."""
    return sha256(f"{server}\nsid\n{sid}".encode()).hexdigest() if sid else ""


def seal_id_token(id_token: str) -> str:
    if len(id_token) > MAX_LENGTH:
        return ""
    return encrypt(id_token, purpose=PURPOSE)


def open_id_token(sealed: str) -> str:
    """Return the ID token, or "" if there is none that can be decrypted."""
    try:
        return decrypt(sealed, purpose=PURPOSE) if sealed else ""
    except UnreadableSecret:
        return ""


@transaction.atomic
def end_sessions(*, provider_id: str, subject: str, sid: str) -> int:
    """End the sessions here that began with a session at a provider.

    Without `sid`, these are all sessions of the person. Without `subject`, the session
    with this ID. Returns their number. Also ends sign-ins that are not finished yet.
    """
    note_sign_out(subject, sid)
    rows = UserSession.objects.select_for_update(of=["self"]).select_related("user")
    if subject:
        rows = rows.filter(company_subject=subject)
    if sid and subject:
        # The provider may have said only now which session it is.
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


def note_sign_out(subject: str, sid: str) -> None:
    """Note that someone has signed out at a provider, as `end_sessions()` has it."""
    names = [f"{subject} {sid}"]
    if subject and sid:
        names.append(f"{subject} unknown")
    now = {"count": 1, "since": timezone.now()}
    for key in make_keys(names):
        SignInAttempt.objects.update_or_create(key=key, defaults=now)


def has_signed_out(company: dict[str, Any]) -> bool:
    """Return whether the session at the provider has ended since someone came back.

    `company` is a `CompanySession`, as a dict.
    """
    subject = company["subject"]
    sid = company["sid"]
    names = [f"{subject} ", f"{subject} {sid or 'unknown'}", f" {sid}"]
    # The previous release did not remember it.
    since = datetime.datetime.fromtimestamp(company.get("since", 0), datetime.UTC)
    noted = SignInAttempt.objects.filter(key__in=make_keys(names), since__gte=since)
    return noted.exists()


def make_keys(names: Collection[str]) -> list[str]:
    return [make_key("signed out at a provider", name) for name in names]
