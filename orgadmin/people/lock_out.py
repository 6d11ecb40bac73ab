"""The link in the email about too many failed attempts to sign in.

If someone guesses a person's password or codes, they use up the attempts of all devices
that are new to the account. With the link, the person gets more attempts on a new
device. `accounts/lock_out_link.py` contains its page.
"""

from __future__ import annotations

from datetime import timedelta

from django.urls import reverse

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.models import AuditEvent, SignInAttempt, User
from orgadmin.models.sign_in_attempt import make_key
from orgadmin.people.link_tokens import Link, make_link_token, read_link

# The purpose in the tokens of these links.
PURPOSE = "lock-out"

# The minimum time between two emails about lock-outs of the same account, because
# someone who was refused may keep trying.
PAUSE = timedelta(hours=1)

# While someone keeps guessing, there is always a valid link: a lock-out is recorded
# every 15 minutes, and the first one after PAUSE sends the next link.
LINK_LIFETIME = timedelta(hours=2)

# The kinds of attempts that the link allows again. Most other kinds need a session.
KINDS_WITH_LINK = ("sign-in", "code")


def count_mail(event: AuditEvent, user: User) -> bool:
    """Count a lock-out of a user, and return whether to send an email about it.

    Emails with a link are counted separately, so that an email without a link does not
    delay one with a link.
    """
    kind = "lock-out link" if has_link(event, user) else "lock-out mail"
    key = make_key(kind, str(user.pk))
    return SignInAttempt.objects.count_one(key, PAUSE).count == 1


def has_link(event: AuditEvent, user: User) -> bool:
    """Return whether the email to a user about an event contains a link."""
    kind = event.details.get("kind")
    if event.event != SecurityEvent.LOCKED_OUT or kind not in KINDS_WITH_LINK:
        return False
    # Even people without a password enter codes: after they signed in with a company
    # account.
    return user.is_active and (kind == "code" or user.has_usable_password())


def make_link_path(event: AuditEvent, user: User, address: str) -> str:
    """Return the path of the link in the email about an event, or "" if it has none.

    Only an email to the user's current address gets a link. The link works only once,
    even if the email is sent twice.
    """
    if event.user_key != user.pk or user.email != address:
        return ""
    if not has_link(event, user):
        return ""
    token = make_link_token(user, PURPOSE, nonce=str(event.pk))
    return reverse("lock_out_link", args=[token])


def find_link(token: str) -> Link | None:
    """Return the content of a link, or None if it is not valid or was already used."""
    link = read_link(token, PURPOSE, int(LINK_LIFETIME.total_seconds()))
    if link is None or SignInAttempt.objects.filter(key=_make_key(link)).exists():
        return None
    return link


def use_link(link: Link) -> bool:
    """Mark a link as used, and return whether this was the first use."""
    return SignInAttempt.objects.count_one(_make_key(link), LINK_LIFETIME).count == 1


def _make_key(link: Link) -> str:
    return make_key("used lock-out link", link.nonce)
