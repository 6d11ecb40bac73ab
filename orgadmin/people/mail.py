"""What the site writes to people. Sent after the change is committed; a mail that fails changes nothing."""

import logging
from collections import defaultdict
from functools import partial

from django.conf import settings
from django.core import signing
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse

from orgadmin.access.roles import ADMIN, ROLES_BY_KEY
from orgadmin.models import User

logger = logging.getLogger("orgadmin.mail")


SALT = "orgadmin.invitation"


def send_invitation(invitation):
    """Send the link that accepts an invitation; tell whether the mail server took it."""
    link = settings.BASE_URL + reverse(
        "invitation", args=[signing.dumps(invitation.pk, salt=SALT)]
    )
    about = {
        "organization": invitation.organization,
        "role": ROLES_BY_KEY[invitation.role],
    }
    return _send(
        [
            _write(
                "invitation",
                invitation.email,
                **about,
                link=link,
                days=settings.INVITATION_DAYS,
            )
        ]
    )


def notify(changes, actor):
    """After the commit, tell of `changes`, (user, organization, role or None), as far as the settings say."""
    messages, addresses = [], defaultdict(list)  # an admin group -> whom to tell
    if settings.NOTIFY_ADMINS:
        groups = {
            getattr(organization, ADMIN.attname)
            for _user, organization, _role in changes
        }
        admins = User.groups.through.objects.filter(
            group__in=groups, user__is_active=True
        ).exclude(user__email="")
        for group, address in admins.exclude(user=actor and actor.pk).values_list(
            "group", "user__email"
        ):
            addresses[group].append(address)
    for user, organization, role in changes:
        about = {"organization": organization, "role": role}
        if settings.NOTIFY_PEOPLE and user.email:
            messages.append(_write("membership", user.email, **about))
        others = [
            address
            for address in addresses[getattr(organization, ADMIN.attname)]
            if address != user.email
        ]
        messages += [
            _write("people", address, person=user, **about) for address in others
        ]
    if messages:
        transaction.on_commit(partial(_send, messages))


def _write(template, address, **context):
    """Return the message that templates/mail/ has under this name; its first line is the subject."""
    subject, body = render_to_string(
        f"mail/{template}.txt", context | {"site": settings.BASE_URL}
    ).split("\n", 1)
    return EmailMessage(" ".join(subject.split()), body.lstrip(), to=[address])


def _send(messages):
    try:
        get_connection().send_messages(messages)
    except OSError as error:  # with it smtplib's own, and time-outs
        logger.error(
            "%d mails could not be sent (%s: %s). Nothing else was lost.",
            len(messages),
            type(error),
            error,
        )
        return False
    return True
