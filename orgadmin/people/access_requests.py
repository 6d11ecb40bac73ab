"""People ask an organization for a role, with a link that its admins hand out."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone

# The log stores reasons in English. They are translated where they are shown.
from django.utils.translation import gettext_noop as _

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.roles import Role
from orgadmin.models import (
    AccessLink,
    AccessRequest,
    Organization,
    SignInAttempt,
    User,
)
from orgadmin.models.access_request import Outcome
from orgadmin.models.invitation import hash_token
from orgadmin.models.sign_in_attempt import make_key
from orgadmin.people import outbox
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.membership import change_roles, find_role, lock
from orgadmin.people.request_mail import tell_admins_of_request, tell_declined

# How long the person can read what became of a request.
KEPT = timedelta(days=90)

BATCH = 1_000  # requests that are deleted together

# The reason in the membership log for which someone got a role.
APPROVED = _("Request approved.")

# How many requests are accepted in a DAY.
DAY = timedelta(days=1)
LIMIT_BY_PERSON = 10
LIMIT_TO_ORGANIZATION = 100


class LinkGone(Exception):
    """There is no such link, it was switched off, or a newer one replaced it."""


class AlreadyMember(Exception):
    """The person has a role in the organization."""


class AlreadyAsked(Exception):
    """The person has asked, and nobody has decided yet."""


class TooManyRequests(Exception):
    """The person has asked too often in a day, or too many people have."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until  # when they can ask again


class RequestGone(Exception):
    """The request was decided, has expired, or its person cannot get a role."""


# The link


@transaction.atomic
def make_link(organization: Organization, *, actor: User) -> str:
    """Return the secret of a new link. An earlier one no longer works.

    It can be read only now: the database has its hash. Raises `PermissionDenied` if the
    actor may not manage the members, and `Organization.DoesNotExist`.
    """
    _lock_to_manage(organization, actor)
    token = secrets.token_urlsafe(32)
    AccessLink.objects.update_or_create(
        organization=organization,
        defaults={"token_hash": hash_token(token), "created_at": timezone.now()},
    )
    details = {"organization": organization.pk}
    record(SecurityEvent.ACCESS_LINK_CREATED, actor=actor, details=details)
    return token


@transaction.atomic
def remove_link(organization: Organization, *, actor: User) -> bool:
    """Switch the link off. Returns False if there is none.

    Requests that were made with it stay. Raises the same errors as `make_link()`.
    """
    _lock_to_manage(organization, actor)
    deleted, _rows = AccessLink.objects.filter(organization=organization).delete()
    if deleted:
        details = {"organization": organization.pk}
        record(SecurityEvent.ACCESS_LINK_REMOVED, actor=actor, details=details)
    return bool(deleted)


def find_organization(token: str) -> Organization:
    """Return the organization whose link contains this secret. Raises `LinkGone`.

    The same goes if the organization is archived. One query, whether there is such a
    link or not.
    """
    links = AccessLink.objects.filter(
        token_hash=hash_token(token), organization__archived_at=None
    )
    link = links.select_related("organization").first()
    if link is None:
        raise LinkGone
    return link.organization


def _lock_to_manage(organization: Organization, actor: User) -> None:
    if not lock(Organization, [organization.pk], unarchived=True):
        raise Organization.DoesNotExist
    permissions = Organization.objects.permissions_on(actor, organization.pk)
    if "manage_members" not in permissions:
        raise PermissionDenied("You cannot manage the people of this organization.")


# Asking


@transaction.atomic
def ask(token: str, user: User, role: Role, reason: str) -> AccessRequest:
    """Ask for a role, and tell the admins.

    Raises `LinkGone`, `AlreadyMember`, `AlreadyAsked` or `TooManyRequests`, and then
    changes nothing.
    """
    organization = find_organization(token)
    lock(User, [user.pk])
    if not lock(Organization, [organization.pk], unarchived=True):
        raise LinkGone
    # The link may have been switched off during the wait.
    organization = find_organization(token)
    if find_role(organization, user) is not None:
        raise AlreadyMember
    previous = find_request(organization, user)
    if previous is not None and previous.is_open:
        raise AlreadyAsked
    _count(organization, user)
    if previous is not None:
        previous.delete()
    request = AccessRequest.objects.create(
        organization=organization,
        organization_name=organization.name,
        user=user,
        role=role.key,
        reason=reason,
    )
    details = {"organization": organization.pk, "role": role.key}
    record(SecurityEvent.ACCESS_REQUESTED, user=user, actor=user, details=details)
    outbox.enqueue(tell_admins_of_request, request=request.pk)
    return request


def _count(organization: Organization, user: User) -> None:
    """Count a request by the person and to the organization.

    Raises `TooManyRequests`, which undoes the counting, too.
    """
    limits = [
        (make_key("requests by", user.pk), LIMIT_BY_PERSON),
        (make_key("requests to", organization.pk), LIMIT_TO_ORGANIZATION),
    ]
    for key, limit in limits:
        counted = SignInAttempt.objects.count_one(key, DAY)
        if counted.count > limit:
            raise TooManyRequests(counted.until)


def find_request(organization: Organization, user: User) -> AccessRequest | None:
    """Return what a person has asked an organization for last, if anything."""
    return AccessRequest.objects.filter(organization=organization, user=user).first()


def list_own(user: User, limit: int) -> list[AccessRequest]:
    """Return the newest requests of a person, whatever became of them."""
    return list(AccessRequest.objects.filter(user=user).order_by("-asked_at")[:limit])


# Deciding


@transaction.atomic
def approve(
    request: AccessRequest,
    role: Role,
    *,
    actor: User,
    end: MembershipEnd | None = None,
) -> Role:
    """Give the person a role, and return the one that they have now.

    If they have got a role in the meantime that permits as much, they keep it, and its
    end. Raises `RequestGone`, `PermissionDenied` if the actor may not assign the role,
    `EndInThePast`, and `Organization.DoesNotExist`.
    """
    organization = request.organization
    lock(User, [request.user_id])
    _lock_to_manage(organization, actor)
    _decide(request, Outcome.APPROVED, actor)
    current = find_role(organization, request.user)
    if current is not None and current.includes(role):
        return current
    change = RoleChange(request.user, organization, role, end=end)
    change_roles([change], actor=actor, reason=APPROVED)
    return role


@transaction.atomic
def decline(request: AccessRequest, answer: str, *, actor: User) -> None:
    """Decline a request, and tell the person why.

    Raises the same errors as `approve()`.
    """
    _lock_to_manage(request.organization, actor)
    _decide(request, Outcome.DECLINED, actor, answer)
    details = {"organization": request.organization_id, "role": request.role}
    record(
        SecurityEvent.ACCESS_DECLINED,
        user=request.user,
        actor=actor,
        details=details,
    )
    outbox.enqueue(tell_declined, request=request.pk, user=request.user_id)


def _decide(
    request: AccessRequest, outcome: Outcome, actor: User, answer: str = ""
) -> None:
    """Write a decision, unless someone else has decided in the meantime."""
    decided = (
        AccessRequest.objects.open()
        .filter(pk=request.pk)
        .update(
            outcome=outcome,
            answer=answer,
            decided_at=timezone.now(),
            decided_by=actor,
        )
    )
    if not decided:
        raise RequestGone


def delete_old_requests() -> int:
    """Delete requests that are older than KEPT, and return how many that were.

    The worker does this once a day. Each batch is a transaction of its own.
    """
    total = 0
    old = AccessRequest.objects.filter(asked_at__lt=timezone.now() - KEPT)
    while True:
        keys = list(old.order_by("pk").values_list("pk", flat=True)[:BATCH])
        deleted, _rows = AccessRequest.objects.filter(pk__in=keys).delete()
        total += deleted
        if len(keys) < BATCH:
            return total
