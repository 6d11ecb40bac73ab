"""The link in the mail about too many failed attempts to sign in.

Whoever guesses someone's password or codes uses up the attempts of all devices that the
account does not know. With the link, the person gets attempts on a new device.
`accounts/lock_out_link.py` has its page.
"""

from __future__ import annotations

from datetime import timedelta

from django.urls import reverse

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.models import AuditEvent, SignInAttempt, User
from orgadmin.models.sign_in_attempt import make_key
from orgadmin.people.link_tokens import Link, make_link_token, read_link

# The purpose of the links.
PURPOSE = "lock-out"

# After a mail about a lock-out, there is no other one for this time about the same
# account. Someone who is refused may try again and again.
PAUSE = timedelta(hours=1)

# While someone goes on guessing, there is always a link that works: a lock-out is
# recorded every 15 minutes, and the first one after PAUSE sends the next link.
LINK_LIFETIME = timedelta(hours=2)

# The kinds of attempts for which the link gives others. Most of the other kinds need a
# session.
KINDS = ("sign-in", "code")


def count_mail(event: AuditEvent, user: User) -> bool:
    """Count a lock-out of a user, and return whether to send mail about it.

    Mail without a link does not put off the one with a link.
    """
    kind = "lock-out link" if has_link(event, user) else "lock-out mail"
    key = make_key(kind, str(user.pk))
    return SignInAttempt.objects.count_one(key, PAUSE).count == 1


def has_link(event: AuditEvent, user: User) -> bool:
    """Return whether the mail to a user about an event has a link."""
    kind = event.details.get("kind")
    if event.event != SecurityEvent.LOCKED_OUT or kind not in KINDS:
        return False
    # Codes are also asked for after a sign-in with a company account.
    return user.is_active and (kind == "code" or user.has_usable_password())


def make_path(event: AuditEvent, user: User, address: str) -> str:
    """Return the path of the link in the mail about an event, or "" without a link.

    `address` is where the mail goes: only the present address of the user gets a link.
    The link works once, also if the mail is sent twice.
    """
    if event.user_key != user.pk or user.email != address:
        return ""
    if not has_link(event, user):
        return ""
    token = make_link_token(user, PURPOSE, nonce=str(event.pk))
    return reverse("lock_out_link", args=[token])


def find_link(token: str) -> Link | None:
    """Return whom a link was sent to, or None if it does not work any more."""
    link = read_link(token, PURPOSE, int(LINK_LIFETIME.total_seconds()))
    if link is None or SignInAttempt.objects.filter(key=_make_key(link)).exists():
        return None
    return link


def use(link: Link) -> bool:
    """Use a link, and return whether it had not been used before."""
    return SignInAttempt.objects.count_one(_make_key(link), LINK_LIFETIME).count == 1


def _make_key(link: Link) -> str:
    return make_key("used lock-out link", link.nonce)
