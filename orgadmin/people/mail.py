"""The mail that the site sends to people.

Mail about a change is sent after the change has been committed. If the mail cannot be
sent, the change stays.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.core import signing
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _

from orgadmin.access.roles import ADMIN, ROLES_BY_KEY
from orgadmin.models import Invitation, User
from orgadmin.people.changes import RoleChange

logger = logging.getLogger("orgadmin.mail")

INVITATION_SALT = "orgadmin.invitation"


def send_invitation(invitation: Invitation) -> bool:
    """Send the link that accepts an invitation.

    Returns whether the mail server accepted the message.
    """
    token = signing.dumps(invitation.pk, salt=INVITATION_SALT)
    link = settings.BASE_URL + reverse("invitation", args=[token])
    message = write_message(
        "invitation",
        to=invitation.email,
        inviter=name_inviter(invitation.invited_by),
        organization=invitation.organization,
        role=ROLES_BY_KEY[invitation.role],
        link=link,
        days=settings.INVITATION_DAYS,
    )
    return send_messages([message])


def send_set_up_link(user: User, path: str) -> bool:
    """Send the link that opens the page to set up a second factor.

    `path` is the link without the URL of this site. Returns whether the mail server
    accepted the message.
    """
    message = write_message(
        "set_up_link",
        to=user.email,
        person=user,
        link=settings.BASE_URL + path,
        reset_link=settings.BASE_URL + reverse("admin_password_reset"),
    )
    return send_messages([message])


def name_inviter(inviter: User | None) -> str:
    """Return the name of the inviter for an invitation mail.

    Platform staff stay anonymous, as they do on the pages of an organization.
    """
    if inviter is None or inviter.is_staff or inviter.is_superuser:
        return _("Platform staff")
    return inviter.get_full_name() or inviter.username


def notify(changes: Sequence[RoleChange], actor: User | None) -> None:
    """After the commit, send mail about role changes.

    The settings `NOTIFY_PEOPLE` and `NOTIFY_ADMINS` decide who receives it: the user
    whose role changes, and the organization's admins except the actor.
    """
    admin_emails: dict[int, list[str]] = defaultdict(list)
    if settings.NOTIFY_ADMINS:
        admin_emails = find_admin_emails(changes, actor)
    messages = []
    for change in changes:
        context = {"organization": change.organization, "role": change.role}
        if settings.NOTIFY_PEOPLE and change.user.email:
            messages.append(
                write_message("membership", to=change.user.email, **context)
            )
        for email in admin_emails[getattr(change.organization, ADMIN.attname)]:
            if email != change.user.email:
                message = write_message(
                    "people", to=email, person=change.user, **context
                )
                messages.append(message)
    if messages:
        transaction.on_commit(partial(send_messages, messages))


def find_admin_emails(
    changes: Sequence[RoleChange], actor: User | None
) -> dict[int, list[str]]:
    """Return {admin group ID: email addresses} of active admins except the actor."""
    group_ids = {getattr(change.organization, ADMIN.attname) for change in changes}
    admins = User.groups.through.objects.filter(
        group__in=group_ids, user__is_active=True
    ).exclude(user__email="")
    if actor is not None:
        admins = admins.exclude(user=actor.pk)
    emails: dict[int, list[str]] = defaultdict(list)
    for group_id, email in admins.values_list("group", "user__email"):
        emails[group_id].append(email)
    return emails


def write_message(template: str, *, to: str, **context: Any) -> EmailMessage:
    """Return a message from a template in templates/mail/.

    The first line of the template is the subject.
    """
    context["site"] = settings.BASE_URL
    text = render_to_string(f"mail/{template}.txt", context)
    subject, body = text.split("\n", 1)
    return EmailMessage(" ".join(subject.split()), body.lstrip(), to=[to])


def send_messages(messages: Sequence[EmailMessage]) -> bool:
    """Send messages and return whether that worked. If not, log the reason."""
    try:
        get_connection().send_messages(messages)
    except OSError as error:
        # smtplib's errors and timeouts are OSErrors, too.
        logger.error(
            "%d messages could not be sent (%s: %s). No data was lost.",
            len(messages),
            type(error),
            error,
        )
        return False
    return True
