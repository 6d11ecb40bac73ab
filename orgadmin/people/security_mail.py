"""Mail about security events.

People are told of each change of their credentials, at the address that was theirs at
that moment. Superusers are told of what could give someone all permissions. No mail
contains a link except that of the site's start page, so that people need not learn to
trust links about their password.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import timezone
from django.utils.formats import date_format

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.models import AuditEvent, User
from orgadmin.people.mail import send_messages, write_message

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

# After a mail about a lock-out or a refused company account, there is no other one for
# this time about the same account. Someone who is refused may try again and again.
PAUSE = datetime.timedelta(hours=1)

# The reason for a refusal that superusers must know. orgadmin.accounts.refusals has all
# reasons, and may not be imported here.
OTHER_SUBJECT = "other subject"


def send_mail_about(event: AuditEvent) -> None:
    """Send the mail about an event that was sealed, if it needs any.

    `orgadmin.apps` adds this function to the listeners of the audit log.
    """
    messages = [*write_to_person(event), *write_to_superusers(event)]
    for message in messages:
        # One by one: if the server refuses an address, the other mail is still sent.
        send_messages([message])


# To the person


def write_to_person(event: AuditEvent) -> list[EmailMessage]:
    """Return the messages to the person whose account an event is about."""
    if not concerns_person(event):
        return []
    user = User.objects.filter(pk=event.user_key).first()
    if user is None or not may_matter(event, user):
        return []
    if event.event == SecurityEvent.EMAIL_CHANGED:
        return write_about_email(event)
    address = find_address_then(event, user)
    if not address:
        return []
    return [write_security_message(event, address)]


def concerns_person(event: AuditEvent) -> bool:
    """Return whether a person must be told of an event about their account."""
    if event.user_key is None:
        return False
    if event.event in CREDENTIAL_EVENTS or event.event == SecurityEvent.EMAIL_CHANGED:
        return True
    if event.event == SecurityEvent.SESSIONS_ENDED:
        return event.actor_key != event.user_key
    if event.event == SecurityEvent.LOCKED_OUT:
        return not list_recent(event).exists()
    return False


def may_matter(event: AuditEvent, user: User) -> bool:
    """Return whether an event could let someone use the account of a person.

    A deactivated account can be activated again. Someone may change its address or
    password before that, so the person is told of both. Someone who was offboarded gets
    no mail: that has removed their password.
    """
    if user.is_active or event.event == SecurityEvent.EMAIL_CHANGED:
        return True
    is_password = event.event == SecurityEvent.PASSWORD_CHANGED
    return is_password and user.has_usable_password()


def list_recent(event: AuditEvent) -> QuerySet[AuditEvent]:
    """Return the earlier events of this kind about the same account, within PAUSE."""
    return AuditEvent.objects.filter(
        user_key=event.user_key,
        event=event.event,
        pk__lt=event.pk,
        at__gt=event.at - PAUSE,
    )


def write_about_email(event: AuditEvent) -> list[EmailMessage]:
    """Return messages to the old and the new address, neither of which names the other.

    If someone else has changed the address, one of the two belongs to them.
    """
    messages = []
    for name in ("old_email", "new_email"):
        address = event.personal.get(name)
        if address:
            is_old = name == "old_email"
            messages.append(write_security_message(event, address, is_old=is_old))
    return messages


def find_address_then(event: AuditEvent, user: User) -> str:
    """Return the email address of the person at the time of the event.

    If the address has changed since, the first change after the event has it. Someone
    who takes over an account may change the address together with the password.
    """
    changes = AuditEvent.objects.filter(
        user_key=user.pk, event=SecurityEvent.EMAIL_CHANGED, pk__gt=event.pk
    )
    change = changes.order_by("pk").first()
    if change is None:
        return user.email
    return change.personal.get("old_email", "")


# To the superusers


def write_to_superusers(event: AuditEvent) -> list[EmailMessage]:
    """Return the messages to all superusers except the person that an event is about.

    Whoever acted gets one as well: if it was not them, someone uses their account.
    """
    if not concerns_superusers(event):
        return []
    messages = []
    for superuser in list_superusers():
        if superuser.email and superuser.pk != event.user_key:
            message = write_security_message(
                event, superuser.email, template="security_superusers"
            )
            messages.append(message)
    return messages


def concerns_superusers(event: AuditEvent) -> bool:
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
    return User.objects.filter(is_active=True, is_superuser=True)


# Both


def write_security_message(
    event: AuditEvent,
    address: str,
    *,
    template: str = "security",
    is_old: bool = False,
) -> EmailMessage:
    """Return a message about an event.

    `is_old` says that the address was that of the account before the event.
    """
    when = timezone.localtime(event.at)
    ours = {
        "kind": SecurityEvent(event.event).name,
        "when": f"{date_format(when, 'DATETIME_FORMAT')} ({when:%Z})",
        "network": event.network,
        "contact": settings.ACCESS_CONTACT,
    }
    return write_message(
        template,
        to=address,
        ours=ours,
        person=event.user_name,
        actor=event.actor_name,
        is_old=is_old,
        is_own=event.actor_key is not None and event.actor_key == event.user_key,
        is_unknown=event.is_actor_unknown,
    )
