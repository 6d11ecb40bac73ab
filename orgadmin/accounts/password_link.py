"""The link with which a person chooses a password, sent by someone who manages people.

Only superusers can set a password for someone else. All others who manage people can
only send this link, so that only the person who receives the email knows the password.
If the link has expired, the person can ask for a new one.
"""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.db import transaction
from django_tasks import TaskContext, task

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts import throttle
from orgadmin.accounts.tokens import make_reset_path
from orgadmin.models import AuditEvent, SignInAttempt, User
from orgadmin.models.sign_in_attempt import make_key
from orgadmin.people import mail, outbox
from orgadmin.people.invitations import (
    DAY,
    LIMIT_BY_SENDER,
    SUPERUSER_FACTOR,
    may_choose_password,
)


class TooManyLinks(Exception):
    """Too many links were sent to this person, or by the person who sends this one."""


@transaction.atomic
def request_password_link(user: User, *, actor: User) -> None:
    """Queue the email with the link.

    The task checks `may_get_link`, so the actor does not find out the result.
    Otherwise, the result would reveal to them whether the person has roles, or signs in
    in another way.

    Raises `TooManyLinks`.
    """
    _count(user, actor)
    record(SecurityEvent.PASSWORD_LINK_REQUESTED, user=user, actor=actor)
    outbox.enqueue(mail_link, user=user.pk, actor=actor.pk)


def may_get_link(user: User, actor: User) -> bool:
    """Return whether the actor may send a link that sets a password to this user.

    An account without a password may belong to someone who must sign in in another way,
    such as with a company account. Only superusers can send them a link.
    """
    if not user.is_active or not user.email:
        return False
    if user.has_usable_password() or actor.is_superuser:
        return True
    return may_choose_password(user)


# After one of these events, someone who manages people must send the link again.
INVALIDATING_EVENTS = (
    SecurityEvent.ACTIVATED,
    SecurityEvent.DEACTIVATED,
    SecurityEvent.EMAIL_CHANGED,
    SecurityEvent.FLAGS_CHANGED,
    SecurityEvent.PASSWORD_CHANGED,
)


def may_renew_link(user: User) -> bool:
    """Return whether a person who asks for a new link gets one.

    This requires that someone sent them a link before, that the account has not been
    used, that its credentials have not changed since then, and that the sender could
    still send one. The first link expires after a few days, and people often read the
    email later.
    """
    if user.last_login is not None or user.has_usable_password():
        return False
    tables = (SocialAccount, Authenticator)
    if any(table.objects.filter(user=user).exists() for table in tables):
        return False
    events = AuditEvent.objects.filter(user_key=user.pk).order_by("-pk")
    sent = events.filter(event=SecurityEvent.PASSWORD_LINK_REQUESTED).first()
    if sent is None:
        return False
    newer = events.filter(pk__gt=sent.pk, event__in=INVALIDATING_EVENTS)
    if newer.exists():
        return False
    sender = User.objects.filter(pk=sent.actor_key, is_active=True).first()
    return sender is not None and may_get_link(user, sender)


@task(takes_context=True, priority=outbox.FOR_VISITORS)
def renew_link(context: TaskContext, *, user: int, language: str) -> None:
    """Send a new link for the first password to someone who asked for one.

    Sends nothing unless `may_renew_link()` allows it.
    """
    person = mail.find_recipient(user)
    if person is None or not may_renew_link(person):
        return
    path = make_reset_path(person)
    message = mail.write_link("password_link", person, path, language)
    outbox.deliver(message, context)


def _count(user: User, actor: User) -> None:
    """Count a link that the actor sends to the user.

    Raises `TooManyLinks` if the user was sent too many, or if the actor has sent too
    many today.
    """
    if not throttle.count_attempt("password link", user.pk):
        raise TooManyLinks
    factor = SUPERUSER_FACTOR if actor.is_superuser else 1
    key = make_key("password links by", actor.pk)
    if SignInAttempt.objects.count_one(key, DAY).count > factor * LIMIT_BY_SENDER:
        raise TooManyLinks


@task(takes_context=True, priority=outbox.URGENT)
def mail_link(context: TaskContext, *, user: int, actor: int, language: str) -> None:
    """Send the link to the person's current address, if `may_get_link` allows it."""
    person = User.objects.filter(pk=user).first()
    asker = User.objects.filter(pk=actor).first()
    if person is None or asker is None or not may_get_link(person, asker):
        return
    path = make_reset_path(person)
    # `language` is the language of the person who sends the link, so it is not used.
    message = mail.write_link("password_link", person, path, settings.LANGUAGE_CODE)
    outbox.deliver(message, context)
