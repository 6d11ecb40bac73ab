"""The mail that the site sends to people.

The functions of tasks send one message each. `outbox.py` says when they run.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import category
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django_tasks import TaskContext, task

from orgadmin.access.roles import ADMIN, ROLES_BY_KEY
from orgadmin.models import Invitation, Organization, User
from orgadmin.people import outbox
from orgadmin.people.changes import RoleChange

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


@task(takes_context=True)
def send_invitation(context: TaskContext, *, invitation: int, language: str) -> None:
    """Send a new link that accepts an invitation. Earlier links no longer work.

    Sends nothing if the invitation has expired, or was accepted or revoked.
    """
    stored = Invitation.objects.filter(pk=invitation)
    invited = stored.select_related("organization", "invited_by").first()
    if invited is None or invited.expired:
        return
    try:
        # If the task runs twice, both messages have the same link.
        token = invited.make_token(seed=context.task_result.id)
    except Invitation.DoesNotExist:
        return
    link = settings.BASE_URL + reverse("invitation", args=[token])
    message = write_message(
        "invitation",
        to=invited.email,
        language=language,
        ours={"link": link, "address": find_inviter_address(invited.invited_by)},
        inviter=name_inviter(invited.invited_by),
        organization=invited.organization,
        role=ROLES_BY_KEY[invited.role].label,
        days=settings.INVITATION_DAYS,
    )
    outbox.deliver(message, context)


def write_link(
    template: str, user: User, path: str, language: str, *, to: str = ""
) -> EmailMessage:
    """Return a message with a link, to the email address of an account.

    `template` is "set_up_link", "confirm_email", "new_email" or "password_link". `path`
    is the link without the URL of this site. `to` is the address if it is not that of
    the account yet.
    """
    return write_message(
        template,
        to=to or user.email,
        language=language,
        ours={"link": settings.BASE_URL + path},
        person=user,
        days=settings.PASSWORD_RESET_TIMEOUT // DAY,
    )


def name_inviter(inviter: User | None) -> str | Promise:
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
    """Once the current transaction is committed, send mail about role changes.

    The settings `NOTIFY_PEOPLE` and `NOTIFY_ADMINS` decide who receives it: the user
    whose role changes, and the organization's admins except the actor.
    """
    admins: dict[int, list[int]] = defaultdict(list)
    if settings.NOTIFY_ADMINS:
        admins = find_admins(changes, actor)
    for change in changes:
        values = {
            "person": change.user.pk,
            "organization": change.organization.pk,
            "role": change.role.key if change.role is not None else "",
        }
        if settings.NOTIFY_PEOPLE and change.user.email:
            outbox.enqueue(tell_member, **values)
        for pk in admins[getattr(change.organization, ADMIN.attname)]:
            if pk != change.user.pk:
                outbox.enqueue(tell_admin, user=pk, **values)


def find_admins(
    changes: Sequence[RoleChange], actor: User | None
) -> dict[int, list[int]]:
    """Return {admin group ID: user IDs} of active admins except the actor.

    Admins without an email address are left out.
    """
    group_ids = {getattr(change.organization, ADMIN.attname) for change in changes}
    admins = User.groups.through.objects.filter(
        group__in=group_ids, user__is_active=True
    ).exclude(user__email="")
    if actor is not None:
        admins = admins.exclude(user=actor.pk)
    pks: dict[int, list[int]] = defaultdict(list)
    for group_id, pk in admins.values_list("group", "user"):
        pks[group_id].append(pk)
    return pks


@task(takes_context=True)
def tell_member(
    context: TaskContext, *, person: int, organization: int, role: str, language: str
) -> None:
    """Tell a person about their new role, or that they have none any more."""
    member = User.objects.filter(pk=person).exclude(email="").first()
    about = Organization.objects.filter(pk=organization).first()
    if member is None or about is None:
        return
    message = write_message(
        "membership",
        to=member.email,
        language=language,
        organization=about,
        role=ROLES_BY_KEY[role].label if role else "",
    )
    outbox.deliver(message, context)


@task(takes_context=True)
def tell_admin(
    context: TaskContext,
    *,
    user: int,
    person: int,
    organization: int,
    role: str,
    language: str,
) -> None:
    """Tell an admin of an organization about the new role of another person.

    Sends nothing if they are no longer an admin.
    """
    member = User.objects.filter(pk=person).first()
    about = Organization.objects.filter(pk=organization).first()
    if member is None or about is None:
        return
    admins = User.objects.filter(is_active=True, groups=getattr(about, ADMIN.attname))
    admin = admins.filter(pk=user).exclude(email="").first()
    if admin is None:
        return
    page = reverse("admin:orgadmin_organization_people", args=[about.pk])
    message = write_message(
        "people",
        to=admin.email,
        language=language,
        ours={"page": settings.BASE_URL + page},
        person=member,
        organization=about,
        role=ROLES_BY_KEY[role].label if role else "",
    )
    outbox.deliver(message, context)


def write_message(
    template: str,
    *,
    to: str,
    language: str,
    ours: Mapping[str, Any] | None = None,
    **context: Any,
) -> EmailMessage:
    """Return a message from a template in templates/mail/, in a language.

    The first line of the template is the subject. It must be the same for everyone, so
    that nobody writes it. Values in the context are made harmless; those in `ours` are
    inserted as they are, so they must not contain what other people typed.
    """
    with translation.override(language):
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
