"""Emails about invitations and role changes, and helpers for all emails.

A task sends one email to one person, or adds such tasks. `outbox.py` explains when
tasks run. Every task gets the argument `language`, the language of the person who
caused the email (`outbox.enqueue()`). Most tasks do not use it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from django.conf import settings
from django.core.mail import EmailMessage
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django_tasks import TaskContext, task

from orgadmin.access.batches import split_into_batches
from orgadmin.access.providers import name_provider
from orgadmin.access.roles import ROLES, Role, get_role
from orgadmin.models import (
    Invitation,
    Membership,
    MembershipEvent,
    Organization,
    User,
)
from orgadmin.people import outbox
from orgadmin.people.changes import RoleChange
from orgadmin.people.ends import PlannedEnd, plan_end
from orgadmin.people.message import write_message

if TYPE_CHECKING:
    from django.db.models import QuerySet

DAY = 24 * 60 * 60  # seconds

# An email lists this many changes, and says how many more there are.
MAX_CHANGES = 20

BATCH = 5_000  # keys in one query, below SQLite's limit of 32,766 parameters

# A plain email address, without any other text.
PLAIN_ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+", re.ASCII)


class Keys(TypedDict):
    """A role change, as stored in the arguments of a task."""

    person: int
    organization: int
    role: str  # the key of the new role, or "" if there is none
    previous: str  # the key of the old role, or ""
    ends_at: NotRequired[str]  # in ISO format, if the role ends


@task(takes_context=True)
def send_invitation(context: TaskContext, *, invitation: int, language: str) -> None:
    """Send a new link to accept an invitation. Earlier links stop working.

    Sends nothing if the invitation has expired, or was accepted or revoked, or if the
    organization is archived. If the address belongs to an account, the email is in the
    language that this person has chosen. Otherwise, it is in `language`, which is
    usually the inviter's language.
    """
    stored = Invitation.objects.of_unarchived().filter(pk=invitation)
    invited = stored.select_related("organization", "invited_by").first()
    if invited is None or invited.expired:
        return
    try:
        # If the task runs twice, both emails contain the same link.
        token = invited.make_token(seed=context.task_result.id)
    except Invitation.DoesNotExist:
        return
    person = User.objects.find_by_email(invited.email) or User()
    role = get_role(invited.role)
    trusted_values = {
        "link": settings.BASE_URL + reverse("invitation", args=[token]),
        "address": find_address(invited.invited_by),
        "until": invited.expires_at,
        "end": plan_end(invited.membership_ends_at),
        "description": role.description,
        "contact": settings.ACCESS_CONTACT,
    }
    message = write_message(
        "invitation",
        to=invited.email,
        recipient=person,
        language=language,
        trusted_values=trusted_values,
        inviter=name_actor(invited.invited_by),
        organization=invited.organization,
        role=role.label,
    )
    outbox.deliver(message, context)


def write_link(
    template: str, user: User, path: str, language: str, *, to: str = ""
) -> EmailMessage:
    """Return a message with a link for a user.

    `template` is "set_up_link", "confirm_email", "new_email" or "password_link". `path`
    is the path of the link on this site. `language` is used if the user has not chosen
    a language. `to` is the recipient's address; the default is the account's address.
    """
    return write_message(
        template,
        to=to or user.email,
        recipient=user,
        language=language,
        trusted_values={"link": settings.BASE_URL + path},
        person=user,
        days=settings.PASSWORD_RESET_TIMEOUT // DAY,
    )


def name_actor(
    actor: User | None, source: str = "", *, key: int | None = None
) -> str | Promise:
    """Return the name of the author of a change, for members of an organization.

    As on the pages of an organization, staff and superusers are not named. Without an
    actor, for example for a command, returns "Platform staff". If the groups of an
    OpenID provider caused the change, `source` is its ID. `key` is the ID of the
    author, which is still known if their account was deleted.
    """
    if source:
        return name_provider(source)
    if actor is None and key is not None:
        return capfirst(_("Someone"))
    if actor is None or actor.is_staff_or_superuser:
        return _("Platform staff")
    return name_person(actor)


def name_person(person: User) -> str:
    return person.label_without_email


def find_address(actor: User | None) -> str:
    """Return the address at which people can contact the author of a change, or "".

    Only returns verified addresses, and no addresses of staff and superusers.
    """
    if actor is None or actor.is_staff_or_superuser or not actor.has_verified_email:
        return ""
    return actor.email if PLAIN_ADDRESS.fullmatch(actor.email) else ""


# Changes of roles


def notify(changes: Sequence[RoleChange], actor: User | None, source: str = "") -> None:
    """Queue emails about role changes, which a worker sends after the commit.

    With `NOTIFY_PEOPLE`, the users whose roles have changed get an email. With
    `NOTIFY_ADMINS`, so do the admins of the organizations, except the actor. However
    many changes there are, each person gets at most one email about their own roles,
    and at most one about the roles of others. Changes of only the end are left out.

    `source` is the ID of the OpenID provider whose groups caused the changes, or "".
    Runs up to two queries, because the worker determines the recipients.
    """
    of_roles = [change for change in changes if not change.is_only_of_end]
    notify_about([describe_keys(change) for change in of_roles], actor, source)


def notify_about(changes: Sequence[Keys], actor: User | None, source: str = "") -> None:
    """Do the same as `notify()`, for changes in the form of `describe_keys()`.

    The changes must not include changes of only the end.
    """
    if not changes:
        return
    acting = actor.pk if actor is not None else None
    # Decided now, so that platform staff are not named even if they leave before the
    # emails are sent.
    is_staff = actor is not None and actor.is_staff_or_superuser
    values: dict[str, Any] = {
        "changes": list(changes),
        "named": None if is_staff else acting,
    }
    if source:
        # Only passed if needed, because workers of the previous release do not know it.
        values["source"] = source
    if settings.NOTIFY_PEOPLE:
        outbox.enqueue(tell_members, **values)
    if settings.NOTIFY_ADMINS:
        outbox.enqueue(tell_admins, actor=acting, **values)


def describe_keys(change: RoleChange) -> Keys:
    """Return a change in the form in which tasks store it."""
    keys: Keys = {
        "person": change.user.pk,
        "organization": change.organization.pk,
        "role": change.role.key if change.role is not None else "",
        "previous": change.previous.key if change.previous is not None else "",
    }
    if change.ends_at is not None:
        keys["ends_at"] = change.ends_at.isoformat()
    return keys


@task(takes_context=True)
def tell_members(
    context: TaskContext,
    *,
    changes: list[Keys],
    named: int | None,
    language: str,
    source: str = "",
) -> None:
    """Add a task for each person whose roles have changed and who wants these emails.

    `named` is the actor's ID, or None if the emails must not name the actor. `language`
    is not used, because it is the actor's. Every task gets it (`outbox.enqueue()`).
    """
    changes_by_user: dict[int, list[Keys]] = defaultdict(list)
    for change in changes:
        changes_by_user[change["person"]].append(change)
    willing = find_recipients("mail_own_roles")
    wanted: list[int] = []
    for batch in split_into_batches(sorted(changes_by_user), BATCH):
        wanted += willing.filter(pk__in=batch).values_list("pk", flat=True)
    rows = [describe_mail(pk, changes_by_user[pk], named, source) for pk in wanted]
    with outbox.replace_task(context):
        outbox.enqueue_all(tell_member, rows)


@task(takes_context=True)
def tell_admins(
    context: TaskContext,
    *,
    changes: list[Keys],
    named: int | None,
    actor: int | None,
    language: str,
    source: str = "",
) -> None:
    """Add a task for each admin of the organizations who wants these emails.

    Leaves out changes that the admin has made, and changes of the admin's own role,
    which `tell_member()` reports. `named` is the actor's ID, or None if the emails must
    not name the actor. `language` is not used, because it is the actor's.
    """
    changes_by_user: dict[int, list[Keys]] = defaultdict(list)
    admins = find_admins({change["organization"] for change in changes})
    for change in changes:
        for pk in admins[change["organization"]]:
            if pk not in (change["person"], actor):
                changes_by_user[pk].append(change)
    rows = [
        describe_mail(pk, changes_by_user[pk], named, source)
        for pk in sorted(changes_by_user)
    ]
    with outbox.replace_task(context):
        outbox.enqueue_all(tell_admin, rows)


def describe_mail(
    user: int, changes: Sequence[Keys], actor: int | None, source: str
) -> dict[str, Any]:
    """Return the values of the task that notifies one person of changes."""
    values: dict[str, Any] = {
        "user": user,
        "changes": changes[:MAX_CHANGES],
        "more": max(len(changes) - MAX_CHANGES, 0),
        "actor": actor,
    }
    if source:
        values["source"] = source
    return values


def find_recipient(pk: int) -> User | None:
    """Return the user with this ID, or None if inactive or without an email address."""
    return User.objects.filter(pk=pk, is_active=True).exclude(email="").first()


def find_recipients(choice: str) -> QuerySet[User]:
    """Return the active people with an email address who want a kind of email.

    `choice` is the user's field for this kind, such as "mail_people".
    """
    return User.objects.filter(is_active=True, **{choice: True}).exclude(email="")


def find_admins(organizations: Collection[int]) -> dict[int, set[int]]:
    """Return {organization ID: IDs of admins who want emails about other people}.

    Leaves out archived organizations.
    """
    admins: dict[int, set[int]] = defaultdict(set)
    willing = find_recipients("mail_people")
    for batch in split_into_batches(sorted(organizations), BATCH):
        administered = Membership.objects.current().filter(
            group__administrators_of__in=batch,
            group__administrators_of__archived_at=None,
            user__in=willing,
        )
        rows = administered.values_list("group__administrators_of", "user")
        for organization, user in rows:
            admins[organization].add(user)
    return admins


@task(takes_context=True)
def tell_member(
    context: TaskContext,
    *,
    user: int,
    changes: list[Keys],
    more: int,
    actor: int | None,
    language: str,
    source: str = "",
) -> None:
    """Notify a person of the roles that they have got or lost.

    Leaves out organizations that were deleted or archived. `language` is not used,
    because it is the actor's.
    """
    member = find_recipients("mail_own_roles").filter(pk=user).first()
    if member is None:
        return
    organizations = {change["organization"] for change in changes}
    names = find_names_then(member, organizations)
    described = describe_changes(changes, names)
    if not described:
        return
    acting = User.objects.filter(pk=actor).first()
    trusted_values = {
        "descriptions": describe_roles(described),
        "address": find_address(acting),
        "contact": settings.ACCESS_CONTACT,
    }
    message = write_message(
        "membership",
        to=member.email,
        recipient=member,
        language=settings.LANGUAGE_CODE,
        trusted_values=trusted_values,
        actor=name_actor(acting, source, key=actor),
        changes=described,
        more=more,
    )
    outbox.deliver(message, context)


@task(takes_context=True)
def tell_admin(
    context: TaskContext,
    *,
    user: int,
    changes: list[Keys],
    more: int,
    actor: int | None,
    language: str,
    source: str = "",
) -> None:
    """Notify an admin of role changes of other people in their organizations.

    Leaves out organizations of which the recipient is no longer an admin, and archived
    organizations. `language` is not used, because it is the actor's.
    """
    admin = find_recipients("mail_people").filter(pk=user).first()
    if admin is None:
        return
    organizations = {change["organization"] for change in changes}
    groups = Membership.objects.groups_of(admin)
    unarchived = Organization.objects.unarchived()
    own = unarchived.filter(pk__in=organizations, admin__in=groups)
    names = dict(own.values_list("pk", "name"))
    described = describe_changes(changes, names)
    if not described:
        return
    message = write_message(
        "people",
        to=admin.email,
        recipient=admin,
        language=settings.LANGUAGE_CODE,
        trusted_values={"page": find_people_page(names)},
        actor=name_actor(User.objects.filter(pk=actor).first(), source, key=actor),
        changes=described,
        more=more,
    )
    outbox.deliver(message, context)


def find_people_page(organizations: Collection[int]) -> str:
    """Return the URL of an organization's People page; "" for several organizations."""
    if len(organizations) != 1:
        return ""
    [pk] = organizations
    page = reverse("admin:orgadmin_organization_people", args=[pk])
    return settings.BASE_URL + page


def find_names_then(member: User, organizations: Collection[int]) -> dict[int, str]:
    """Return {organization ID: name at the last change of the member's role}.

    Someone who has left an organization must not learn its current name. Leaves out
    organizations that were deleted or archived.
    """
    existing = Organization.objects.unarchived().filter(pk__in=organizations)
    events = MembershipEvent.objects.filter(
        user_key=member.pk, organization_key__in=existing.values("pk")
    )
    rows = events.order_by("pk").values_list("organization_key", "organization_name")
    return dict(rows)


def describe_changes(
    changes: Sequence[Keys], names: Mapping[int, str]
) -> list[dict[str, Any]]:
    """Return the values of changes for a template.

    `names` is {organization ID: name}. Leaves out changes in other organizations, and
    people who were deleted. Runs one query.
    """
    people = User.objects.in_bulk({change["person"] for change in changes})
    described = []
    for change in changes:
        person = people.get(change["person"])
        name = names.get(change["organization"])
        if person is None or name is None:
            continue
        described.append(
            {
                "person": name_person(person),
                "organization": name,
                "role": label_role(change["role"]),
                "previous": label_role(change["previous"]),
                "key": change["role"],
                "end": read_end(change),
            }
        )
    return described


def read_end(change: Keys) -> PlannedEnd | None:
    if "ends_at" not in change:
        return None
    return PlannedEnd(datetime.fromisoformat(change["ends_at"]))


def label_role(key: str) -> str | Promise:
    return get_role(key).label if key else ""


def describe_roles(changes: Sequence[Mapping[str, Any]]) -> list[str | Promise]:
    """Return what the new roles permit, once per role."""
    keys = {change["key"] for change in changes}
    return [role.description for role in ROLES if role.key in keys]


# Accepted invitations


def notify_accepted(invitation: Invitation, user: User, role: Role) -> None:
    """Queue an email to the inviter that says who has accepted the invitation.

    Does nothing without NOTIFY_PEOPLE, or if the inviter does not want such emails.
    """
    inviter = invitation.invited_by
    if not settings.NOTIFY_PEOPLE or inviter is None or inviter.pk == user.pk:
        return
    if not inviter.mail_accepted:
        return
    outbox.enqueue(
        tell_inviter,
        user=inviter.pk,
        person=user.pk,
        organization=invitation.organization_id,
        role=role.key,
    )


@task(takes_context=True)
def tell_inviter(
    context: TaskContext,
    *,
    user: int,
    person: int,
    organization: int,
    role: str,
    language: str,
) -> None:
    """Notify the inviter that an invitation was accepted.

    Sends nothing if they can no longer manage the people of the organization.
    `language` is not used, because it is the invited person's.
    """
    inviter = find_recipients("mail_accepted").filter(pk=user).first()
    member = User.objects.filter(pk=person).first()
    about = Organization.objects.unarchived().filter(pk=organization).first()
    if inviter is None or member is None or about is None:
        return
    if "manage_members" not in Organization.objects.permissions_on(inviter, about.pk):
        return
    message = write_message(
        "accepted",
        to=inviter.email,
        recipient=inviter,
        language=settings.LANGUAGE_CODE,
        trusted_values={"page": find_people_page([about.pk])},
        person=name_person(member),
        organization=about,
        role=get_role(role).label,
    )
    outbox.deliver(message, context)
