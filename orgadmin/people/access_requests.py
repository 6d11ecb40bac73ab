"""Requests for a role: people ask with a link that an organization's admins share."""

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

# How long a request is kept after it was made. Until then, the person can see it.
KEPT_FOR = timedelta(days=90)

BATCH = 1_000  # requests that are deleted together

# The reason in the membership log when a request is approved.
APPROVED = _("Request approved.")

# How many requests are accepted per DAY.
DAY = timedelta(days=1)
LIMIT_BY_SENDER = 10
LIMIT_TO_ORGANIZATION = 100


class LinkGone(Exception):
    """The link does not exist, was switched off, or was replaced by a newer one."""


class AlreadyMember(Exception):
    """The person has a role in the organization."""


class AlreadyAsked(Exception):
    """The person's previous request has not been answered yet."""


class TooManyRequests(Exception):
    """Too many requests were made in a day, by the person or to the organization."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until  # when the person can ask again


class RequestGone(Exception):
    """The request was already answered, has expired, or its account is inactive."""


# The link


@transaction.atomic
def make_link(organization: Organization, *, actor: User) -> str:
    """Create a new link, and return its secret. Earlier links stop working.

    The secret cannot be read later, because the database stores only its hash. Raises
    `PermissionDenied` if the actor may not manage the members, and
    `Organization.DoesNotExist` if the organization was deleted or archived.
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
    """Switch the link off. Return whether there was one.

    Requests that were made with it remain. Raises the same errors as `make_link()`.
    """
    _lock_to_manage(organization, actor)
    deleted, _rows = AccessLink.objects.filter(organization=organization).delete()
    if deleted:
        details = {"organization": organization.pk}
        record(SecurityEvent.ACCESS_LINK_REMOVED, actor=actor, details=details)
    return bool(deleted)


def find_organization(token: str) -> Organization:
    """Return the organization whose link contains this secret.

    Raises `LinkGone` if the link does not exist, or if the organization is archived.
    Always runs one query.
    """
    links = AccessLink.objects.filter(
        token_hash=hash_token(token), organization__archived_at=None
    )
    link = links.select_related("organization").first()
    if link is None:
        raise LinkGone
    return link.organization


def _lock_to_manage(organization: Organization, actor: User) -> None:
    """Lock the organization, and check that the actor may manage its members.

    Raises `PermissionDenied`, or `Organization.DoesNotExist` if the organization was
    deleted or archived.
    """
    if not lock(Organization, [organization.pk], unarchived=True):
        raise Organization.DoesNotExist
    permissions = Organization.objects.permissions_on(actor, organization.pk)
    if "manage_members" not in permissions:
        raise PermissionDenied("You cannot manage the people of this organization.")


# Asking


@transaction.atomic
def ask(token: str, user: User, role: Role, reason: str) -> AccessRequest:
    """Ask for a role with the secret of a link, and notify the admins.

    Raises `LinkGone`, `AlreadyMember`, `AlreadyAsked` or `TooManyRequests`, without
    changing anything.
    """
    organization = find_organization(token)
    lock(User, [user.pk])
    if not lock(Organization, [organization.pk], unarchived=True):
        raise LinkGone
    # The link may have been switched off while this transaction waited for the locks.
    organization = find_organization(token)
    if find_role(organization, user) is not None:
        raise AlreadyMember
    previous = find_request(organization, user)
    if previous is not None and previous.is_open:
        raise AlreadyAsked
    _count_request(organization, user)
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


def _count_request(organization: Organization, user: User) -> None:
    """Count a request by the person and to the organization.

    Raises `TooManyRequests`. This also rolls back the counting.
    """
    limits = [
        (make_key("requests by", user.pk), LIMIT_BY_SENDER),
        (make_key("requests to", organization.pk), LIMIT_TO_ORGANIZATION),
    ]
    for key, limit in limits:
        counted = SignInAttempt.objects.count_one(key, DAY)
        if counted.count > limit:
            raise TooManyRequests(counted.until)


def find_request(organization: Organization, user: User) -> AccessRequest | None:
    """Return a person's last request to an organization, or None."""
    return AccessRequest.objects.filter(organization=organization, user=user).first()


def list_own(user: User, limit: int) -> list[AccessRequest]:
    """Return a person's newest requests, up to `limit`, whatever their outcome."""
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
    """Give the person a role, and return the role that they have now.

    If they already have a role with the same or more permissions, they keep it with its
    end. Raises `RequestGone`, `EndInThePast`, `Organization.DoesNotExist`, or
    `PermissionDenied` if the actor may not assign the role.
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
    """Decline a request, and notify the person of the reason.

    Raises `RequestGone`, `PermissionDenied` or `Organization.DoesNotExist`.
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
    """Store a decision. Raise `RequestGone` if the request is no longer open."""
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
    """Delete requests that were made more than KEPT_FOR ago, and return their number.

    The worker calls this once a day. Each batch is deleted in its own transaction.
    """
    total = 0
    old = AccessRequest.objects.filter(asked_at__lt=timezone.now() - KEPT_FOR)
    while True:
        keys = list(old.order_by("pk").values_list("pk", flat=True)[:BATCH])
        deleted, _rows = AccessRequest.objects.filter(pk__in=keys).delete()
        total += deleted
        if len(keys) < BATCH:
            return total
