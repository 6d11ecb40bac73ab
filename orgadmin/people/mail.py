"""The mail that the site sends to people.

Mail about a change is sent after the change has been committed. If the mail cannot be
sent, the change stays.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from unicodedata import category
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext as _

from orgadmin.access.roles import ADMIN, ROLES_BY_KEY
from orgadmin.models import Invitation, User
from orgadmin.people.changes import RoleChange

logger = logging.getLogger("orgadmin.mail")

DAY = 24 * 60 * 60  # seconds

# Names are cut after this many characters in mail.
NAME_LENGTH = 100

# What mail programs turn into links, or what would end the quotation of a name.
LINE_BREAKS = re.compile(r"\s+")
QUOTES = re.compile(r"[\"“”„‟«»]")
SLASHES = re.compile(r"[/\\]{2,}")
# A domain: a dot before at least two letters or digits. Initials, as in "J.R.", stay.
DOT = re.compile(r"(?<=\S)[.\u2024\u3002\uff0e\uff61](?=\w\w)|(?<=\d)\.(?=\d)")
WWW = re.compile(r"(?<=www)\.", re.IGNORECASE)
SCHEME = re.compile(r"(?<=\w):(?=\S)")
# An address that contains nothing else.
PLAIN_ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+", re.ASCII)


def send_invitation(invitation: Invitation) -> bool:
    """Send a new link that accepts an invitation. Earlier links no longer work.

    Returns whether the mail server accepted the message. Sends nothing if the
    invitation has been accepted or revoked.
    """
    try:
        token = invitation.make_token()
    except Invitation.DoesNotExist:
        return False
    link = settings.BASE_URL + reverse("invitation", args=[token])
    message = write_message(
        "invitation",
        to=invitation.email,
        ours={"link": link, "address": find_inviter_address(invitation.invited_by)},
        inviter=name_inviter(invitation.invited_by),
        organization=invitation.organization,
        role=ROLES_BY_KEY[invitation.role].label,
        days=settings.INVITATION_DAYS,
    )
    return send_messages([message])


def send_link(template: str, user: User, path: str) -> bool:
    """Send a link to the email address of an account.

    `template` is "set_up_link", "confirm_email" or "password_link". `path` is the link
    without the URL of this site. Returns whether the mail server accepted the message.
    """
    message = write_message(
        template,
        to=user.email,
        ours={"link": settings.BASE_URL + path},
        person=user,
        days=settings.PASSWORD_RESET_TIMEOUT // DAY,
    )
    return send_messages([message])


def name_inviter(inviter: User | None) -> str:
    """Return the name of the inviter for an invitation mail.

    Platform staff stay anonymous, as they do on the pages of an organization.
    """
    if inviter is None or inviter.is_platform_staff:
        return _("Platform staff")
    return inviter.get_full_name() or inviter.username


def find_inviter_address(inviter: User | None) -> str:
    """Return the address by which people can check who invited them, or "".

    Only addresses that are known to be the inviter's are given.
    """
    if inviter is None or inviter.is_platform_staff or not inviter.has_verified_email:
        return ""
    return inviter.email if PLAIN_ADDRESS.fullmatch(inviter.email) else ""


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
        role = change.role.label if change.role is not None else ""
        context: dict[str, Any] = {
            "organization": change.organization,
            "role": role,
        }
        if settings.NOTIFY_PEOPLE and change.user.email:
            messages.append(
                write_message("membership", to=change.user.email, **context)
            )
        for email in admin_emails[getattr(change.organization, ADMIN.attname)]:
            if email != change.user.email:
                page = reverse(
                    "admin:orgadmin_organization_people", args=[change.organization.pk]
                )
                message = write_message(
                    "people",
                    to=email,
                    ours={"page": settings.BASE_URL + page},
                    person=change.user,
                    **context,
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


def write_message(
    template: str, *, to: str, ours: Mapping[str, str] | None = None, **context: Any
) -> EmailMessage:
    """Return a message from a template in templates/mail/.

    The first line of the template is the subject. It must be the same for everyone, so
    that nobody writes it. Values in the context are made harmless; those in `ours` are
    inserted as they are, so they must not contain what other people typed.
    """
    values = {name: make_harmless(value) for name, value in context.items()}
    values["site"] = settings.BASE_URL
    values["host"] = urlsplit(settings.BASE_URL).netloc
    values.update(ours or {})
    text = render_to_string(f"mail/{template}.txt", values)
    subject, body = text.split("\n", 1)
    return EmailMessage(" ".join(subject.split()), body.lstrip(), to=[to])


def make_harmless(value: Any) -> Any:
    """Return a value as text that cannot turn our mail into someone else's.

    Someone can name an organization "Your account is locked, see http://evil.example".
    In mail, such a name is one line, no program makes a link of it, and it cannot end
    the quotation that it is in. Numbers stay as they are.
    """
    if value is None or isinstance(value, int):
        return value
    text = LINE_BREAKS.sub(" ", str(value))
    # Control characters, and invisible ones such as those that change the direction.
    visible = [char for char in text if not category(char).startswith("C")]
    text = QUOTES.sub("'", "".join(visible).strip())
    if len(text) > NAME_LENGTH:
        text = f"{text[:NAME_LENGTH]}…"
    text = SLASHES.sub("[/]", text)
    text = SCHEME.sub("[:]", text)
    text = WWW.sub("[.]", text)
    text = DOT.sub("[.]", text)
    return text.replace("@", "[@]")


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
