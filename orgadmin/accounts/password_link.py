"""The link by which platform staff let a person choose a password for their account.

Only superusers choose a password for someone else. Everyone else who manages people
sends this link, so that nobody but the person who reads the mail knows the password.
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
    LIMIT_BY_PERSON,
    SUPERUSER_FACTOR,
    may_choose_password,
)


class TooManyLinks(Exception):
    """Too many links were sent to the person, or by the person who acts."""


@transaction.atomic
def request_password_link(user: User, *, actor: User) -> None:
    """Mail a link to the address of an account, if the account may get one.

    The caller does not learn whether it may: a task finds out. So a user manager learns
    neither the person's roles nor whether they sign in another way.
    Raises `TooManyLinks`.
    """
    _count(user, actor)
    record(SecurityEvent.PASSWORD_LINK_REQUESTED, user=user, actor=actor)
    outbox.enqueue(mail_link, user=user.pk, actor=actor.pk)


def may_get_link(user: User, actor: User) -> bool:
    """Return whether a link that sets a password may be sent to an account.

    An account without a password may belong to someone who must sign in another way,
    such as with the company's account. Only a superuser gives them a password.
    """
    if not user.is_active or not user.email:
        return False
    if user.has_usable_password() or actor.is_superuser:
        return True
    return may_choose_password(user)


# After one of these, an earlier decision to let the person choose a password no longer
# says anything.
OVERTAKING_EVENTS = (
    SecurityEvent.ACTIVATED,
    SecurityEvent.DEACTIVATED,
    SecurityEvent.EMAIL_CHANGED,
    SecurityEvent.FLAGS_CHANGED,
    SecurityEvent.PASSWORD_CHANGED,
)


def may_renew_link(user: User) -> bool:
    """Return whether a person may get another link for the first password, unasked.

    That is so if platform staff have sent them one, nobody has used the account since,
    nothing about it was changed, and whoever sent the link still might. The first link
    ends after a few days, and people find the mail later than that.
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
    newer = events.filter(pk__gt=sent.pk, event__in=OVERTAKING_EVENTS)
    if newer.exists():
        return False
    sender = User.objects.filter(pk=sent.actor_key, is_active=True).first()
    return sender is not None and may_get_link(user, sender)


@task(takes_context=True, priority=outbox.FOR_VISITORS)
def renew_link(context: TaskContext, *, user: int, language: str) -> None:
    """Send another link for the first password, to someone who asked for a new one."""
    person = mail.find_recipient(user)
    if person is None or not may_renew_link(person):
        return
    path = make_reset_path(person)
    message = mail.write_link("password_link", person, path, language)
    outbox.deliver(message, context)


def _count(user: User, actor: User) -> None:
    """Count a link to the user by the actor. Raises `TooManyLinks`."""
    if not throttle.count_attempt("password link", user.pk):
        raise TooManyLinks
    factor = SUPERUSER_FACTOR if actor.is_superuser else 1
    key = make_key("password links by", actor.pk)
    if SignInAttempt.objects.count_one(key, DAY).count > factor * LIMIT_BY_PERSON:
        raise TooManyLinks


@task(takes_context=True, priority=outbox.URGENT)
def mail_link(context: TaskContext, *, user: int, actor: int, language: str) -> None:
    """Send the link, if the account may get one, to the address that it has now."""
    person = User.objects.filter(pk=user).first()
    asker = User.objects.filter(pk=actor).first()
    if person is None or asker is None or not may_get_link(person, asker):
        return
    path = make_reset_path(person)
    # `language` is that of the person who sends the link.
    message = mail.write_link("password_link", person, path, settings.LANGUAGE_CODE)
    outbox.deliver(message, context)
