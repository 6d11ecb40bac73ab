"""Emails about security events.

People are notified when their credentials or their email address change, when someone
else signs them out everywhere, and when there are too many failed attempts to sign in.
The email goes to the address that the account had when this happened. If the address
itself has changed, the old and the new address get an email.

Superusers are notified of new superusers, of second factors of superusers that someone
else has removed, and of people who could not sign in with a company account because
their account is linked to another one.

These emails link only to the site's start page, so that people do not get used to
following links in emails about passwords. The email about failed attempts also contains
a link that gives the person more attempts (`lock_out.py`).
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django_tasks import TaskContext, task

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.models import AuditEvent, User
from orgadmin.people import lock_out, outbox
from orgadmin.people.company_accounts import OTHER_SUBJECT
from orgadmin.people.message import write_message

if TYPE_CHECKING:
    from django.db.models import QuerySet

# Each of these changes how a person can sign in.
CREDENTIAL_EVENTS = {
    SecurityEvent.PASSWORD_CHANGED,
    SecurityEvent.FACTOR_ADDED,
    SecurityEvent.FACTOR_REMOVED,
    SecurityEvent.RECOVERY_CODES_CREATED,
    SecurityEvent.PROVIDER_LINKED,
    SecurityEvent.PROVIDER_UNLINKED,
}

EVENTS_WITH_MAIL = CREDENTIAL_EVENTS | {
    SecurityEvent.EMAIL_CHANGED,
    SecurityEvent.SESSIONS_ENDED,
    SecurityEvent.LOCKED_OUT,
    SecurityEvent.USER_CREATED,
    SecurityEvent.FLAGS_CHANGED,
    SecurityEvent.PROVIDER_REFUSED,
}

# The minimum time between two emails about refused company sign-ins to the same
# account, because someone who was refused may keep trying.
PAUSE = datetime.timedelta(hours=1)


def send_mail_about(event: AuditEvent) -> None:
    """Queue the emails about an event, if it needs any.

    `orgadmin.apps` adds this function to the listeners of the audit log. The recipients
    are determined here rather than when the email is sent. Otherwise, someone who takes
    over an account could make the other recipients unreachable before that.
    """
    if event.event not in EVENTS_WITH_MAIL:
        return
    # The savepoint prevents an error here from rolling back the seals of events.
    with transaction.atomic():
        for address in list_addresses_of_person(event):
            outbox.enqueue(tell_person, event=event.pk, address=address)
        for pk in list_superusers_to_tell(event):
            outbox.enqueue(tell_superuser, event=event.pk, user=pk)


# To the person


def list_addresses_of_person(event: AuditEvent) -> list[str]:
    """Return which of the person's addresses get the email about an event.

    "then" stands for the address at the time of the event. If the event is a change of
    the address, the result is "old_email" and "new_email", unless one of them is empty.
    The result is empty if the person is not notified. Counts lock-outs, because only
    the first one within an hour sends an email.
    """
    if not concerns_person(event):
        return []
    user = User.objects.filter(pk=event.user_key).first()
    if user is None or not is_mailed_to_person(event, user):
        return []
    if event.event == SecurityEvent.LOCKED_OUT and not lock_out.count_mail(event, user):
        return []
    if event.event == SecurityEvent.EMAIL_CHANGED:
        names = ["old_email", "new_email"]
        return [name for name in names if event.personal.get(name)]
    return ["then"]


@task(takes_context=True, priority=outbox.URGENT)
def tell_person(
    context: TaskContext, *, event: int, address: str, language: str
) -> None:
    """Notify a person of an event.

    `address` says which address to use: "then", "old_email" or "new_email", as
    `list_addresses_of_person()` explains.
    """
    stored = AuditEvent.objects.filter(pk=event).first()
    if stored is None or stored.user_key is None:
        return
    if address == "then":
        to = find_address_then(stored, stored.user_key)
    else:
        to = stored.personal.get(address, "")
    if not to:
        return
    is_old = address == "old_email"
    recipient = User.objects.filter(pk=stored.user_key).first()
    message = write_security_message(
        stored, to, language, recipient=recipient, is_old=is_old
    )
    outbox.deliver(message, context)


def concerns_person(event: AuditEvent) -> bool:
    """Return whether an event is mailed to the person that it is about.

    Does not check whether this person gets emails: see `is_mailed_to_person()`.
    """
    if event.user_key is None:
        return False
    if event.event in CREDENTIAL_EVENTS or event.event == SecurityEvent.EMAIL_CHANGED:
        return True
    if event.event == SecurityEvent.SESSIONS_ENDED:
        return event.actor_key != event.user_key
    return event.event == SecurityEvent.LOCKED_OUT


def is_mailed_to_person(event: AuditEvent, user: User) -> bool:
    """Return whether a person gets the email about an event that concerns them.

    Active people are notified of all such events. Inactive people are only notified of
    a changed address and of a changed password, because their account can be activated
    again. People who were offboarded are not notified that their password was removed.
    """
    if user.is_active or event.event == SecurityEvent.EMAIL_CHANGED:
        return True
    is_password = event.event == SecurityEvent.PASSWORD_CHANGED
    return is_password and user.has_usable_password()


def list_recent(event: AuditEvent) -> QuerySet[AuditEvent]:
    """Return the events of the same kind about the same account within PAUSE before."""
    return AuditEvent.objects.filter(
        user_key=event.user_key,
        event=event.event,
        pk__lt=event.pk,
        at__gt=event.at - PAUSE,
    )


def find_address_then(event: AuditEvent, pk: int) -> str:
    """Return the email address that a user had at the time of the event, or "".

    Someone who takes over an account may change the address together with the password.
    If the address has changed after the event, the first change has the old address.
    """
    changes = AuditEvent.objects.filter(
        user_key=pk, event=SecurityEvent.EMAIL_CHANGED, pk__gt=event.pk
    )
    change = changes.order_by("pk").first()
    if change is not None:
        return change.personal.get("old_email", "")
    user = User.objects.filter(pk=pk).first()
    return user.email if user is not None else ""


# To the superusers


def list_superusers_to_tell(event: AuditEvent) -> list[int]:
    """Return the IDs of the superusers who are notified of an event.

    Returns no IDs if the event does not concern superusers. Leaves out the person that
    the event is about. The actor is included: if they did not act themselves, someone
    else is using their account.
    """
    if not concerns_superusers(event):
        return []
    superusers = list_superusers().exclude(email="")
    pks = superusers.values_list("pk", flat=True)
    return [pk for pk in pks if pk != event.user_key]


@task(takes_context=True, priority=outbox.URGENT)
def tell_superuser(
    context: TaskContext, *, event: int, user: int, language: str
) -> None:
    """Notify a person who was a superuser at the time of an event."""
    stored = AuditEvent.objects.filter(pk=event).first()
    if stored is None:
        return
    to = find_address_then(stored, user)
    if not to:
        return
    message = write_security_message(
        stored,
        to,
        language,
        recipient=User.objects.filter(pk=user).first(),
        template="security_superusers",
    )
    outbox.deliver(message, context)


def concerns_superusers(event: AuditEvent) -> bool:
    """Return whether superusers are notified of an event.

    Of the refused company sign-ins to the same account, only the first one within PAUSE
    counts.
    """
    if event.event in (SecurityEvent.USER_CREATED, SecurityEvent.FLAGS_CHANGED):
        return event.details.get("is_superuser") is True
    if event.event == SecurityEvent.PROVIDER_REFUSED:
        is_other_subject = event.details.get("reason") == OTHER_SUBJECT
        recent = list_recent(event).filter(details__reason=OTHER_SUBJECT)
        return is_other_subject and not recent.exists()
    if event.event == SecurityEvent.FACTOR_REMOVED:
        is_own = event.actor_key == event.user_key
        keys = list_superusers().values_list("pk", flat=True)
        return not is_own and event.user_key in keys
    return False


def list_superusers() -> QuerySet[User]:
    """Return the active superusers."""
    return User.objects.filter(is_active=True, is_superuser=True)


# Both


def write_security_message(
    event: AuditEvent,
    address: str,
    language: str,
    *,
    recipient: User | None,
    template: str = "security",
    is_old: bool = False,
) -> EmailMessage:
    """Return a message about an event.

    `recipient` is None if the account no longer exists. `language` is the actor's
    language. It is used if the event is about the actor's own account, and the
    recipient has not chosen a language. `is_old` means that `address` was the account's
    address before the event.
    """
    is_own = event.actor_key is not None and event.actor_key == event.user_key
    recipient = recipient or User()
    path = lock_out.make_link_path(event, recipient, address)
    trusted_values = {
        "link": settings.BASE_URL + path if path else "",
        "passed_first_step": event.details.get("kind") == "code",
        "kind": SecurityEvent(event.event).name,
        "when": event.at,
        "network": event.network,
        "contact": settings.ACCESS_CONTACT,
    }
    return write_message(
        template,
        to=address,
        recipient=recipient,
        language=language if is_own else settings.LANGUAGE_CODE,
        trusted_values=trusted_values,
        person=event.user_name,
        actor=event.actor_name,
        is_old=is_old,
        is_own=is_own,
        is_unknown=event.is_actor_unknown,
    )
