"""Explains in words why someone has a permission on an organization, or does not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from django.contrib.auth.models import Group
from django.utils.translation import gettext as _

from orgadmin.access.ends import show_end
from orgadmin.access.roles import PERMISSIONS, ROLES, ROLES_BY_KEY
from orgadmin.access.rule import PermissionSource, SourceKind, Sources
from orgadmin.gate.answers import as_active
from orgadmin.models import Membership, MembershipEvent, Organization, User

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

# {permission: reasons why someone has it}, such as {"view": ["is a superuser"]}
Reasons: TypeAlias = dict[str, list[str]]


@dataclass(frozen=True)
class Explanation:
    """Whether a user has a permission, and the reasons, one per line."""

    may: bool
    lines: list[str]


@dataclass(frozen=True)
class AccessReason:
    """A reason for access, and what it allows a person to do."""

    reason: str
    abilities: list[StrOrPromise]


def explain(
    user: User, organization: Organization, permission: str = "view"
) -> Explanation:
    """Explain why a user has, or does not have, a permission on an organization.

    Also lists reasons that do not count, for example because the account is inactive,
    and says why they do not count.
    """
    may = permission in Organization.objects.permissions_on(user, organization.pk)
    reasons = find_reasons([user], [organization])[user.pk, organization.pk]
    required = ["view"] if permission == "view" else ["view", permission]
    lines = []
    for name in required:
        sentences = reasons.get(name) or [_("no reason")]
        lines.append(f"{name}: {'; '.join(sentences)}")
    source = find_provider_of_role(user, organization)
    if source:
        text = _("The role comes from a group at %(provider)s.")
        lines.append(text % {"provider": source})
    ended_at = find_last_end(user, organization)
    if ended_at is not None:
        text = _("Their role ended on %(end)s.")
        lines.append(text % {"end": show_end(ended_at)})
    if organization.archived_at is not None:
        lines.append(_("The organization is archived, so nobody has access to it."))
    if not user.is_active:
        lines.append(_("But the account is inactive, so no permission counts."))
    elif permission in reasons and "view" not in reasons:
        lines.append(_("But without “view”, no other permission counts."))
    return Explanation(may, lines)


def find_last_end(user: User, organization: Organization) -> datetime | None:
    """Return when the user's last role in an organization expired.

    Returns None if the user has a role there, never had one, or lost it in another way.
    """
    # Includes memberships that have ended.
    roles = Membership.objects.filter(user=user, group__in=organization.group_ids)
    if roles.current().exists():
        return None
    # If the worker has already removed the row, only the membership log has the end.
    ended = roles.ended().order_by("ends_at").last()
    if ended is not None:
        return ended.ends_at
    events = MembershipEvent.objects.filter(
        user_key=user.pk, organization_key=organization.pk
    )
    last = events.order_by("pk").last()
    if last is None or not last.is_planned_end:
        return None
    return last.at


def find_provider_of_role(user: User, organization: Organization) -> str:
    """Return the name of the OpenID provider whose groups give the user their role.

    Returns "" if the user does not have a role there, or got it in another way.
    """
    events = MembershipEvent.objects.filter(
        user_key=user.pk, organization_key=organization.pk
    )
    joined = events.exclude(source="").find_joining_events_of_members().first()
    if joined is None or joined.means or joined.role not in ROLES_BY_KEY:
        return ""
    group_id = getattr(organization, ROLES_BY_KEY[joined.role].attname)
    # Check, because the log may lack changes that did not go through
    # `people/membership.py`.
    is_member = Membership.objects.groups_of(user).filter(pk=group_id).exists()
    return joined.shown_actor if is_member else ""


def find_reasons(
    users: Collection[User],
    organizations: Collection[Organization],
    *,
    members_only: bool = False,
) -> dict[tuple[int, int], Reasons]:
    """Return {(user ID, organization ID): {permission: [reason]}}.

    Inactive users are treated as active. For archived organizations, there are no
    reasons. With `members_only`, returns only reasons that come from the organization's
    own groups; a permission can then have an empty list. Runs up to two queries. For
    staff, Django runs more queries to load their permissions.
    """
    organizations_by_pk = {row.pk: row for row in organizations}
    active_users = [as_active(user) for user in users]
    all_sources = Organization.objects.find_sources(
        active_users, organizations_by_pk.keys()
    )
    groups = load_groups(all_sources.values())
    reasons: dict[tuple[int, int], Reasons] = {}
    for (user_pk, pk), sources in all_sources.items():
        organization = organizations_by_pk[pk]
        described: Reasons = {}
        for permission, permission_sources in sources.items():
            described[permission] = [
                describe_source(source, organization, groups)
                for source in permission_sources
                if not members_only or source.group_id in organization.group_ids
            ]
        reasons[user_pk, pk] = described
    return reasons


def load_groups(all_sources: Collection[Sources]) -> dict[int, Group]:
    """Return {group ID: group} for all groups in the sources. Runs one query."""
    group_ids = set()
    for sources in all_sources:
        for permission_sources in sources.values():
            group_ids |= {source.group_id for source in permission_sources}
    return Group.objects.in_bulk(group_ids - {None})


def summarize_reasons(reasons: Reasons) -> list[AccessReason]:
    """Return each reason once, with everything that it allows the person to do."""
    abilities: dict[str, list[StrOrPromise]] = {}
    for permission, ability in PERMISSIONS.items():
        for reason in reasons.get(permission, []):
            abilities.setdefault(reason, []).append(ability)
    return [AccessReason(reason, allowed) for reason, allowed in abilities.items()]


def describe_source(
    source: PermissionSource, organization: Organization, groups: dict[int, Group]
) -> str:
    """Return a reason for a permission in words, such as "is a superuser".

    `groups` is {group ID: group}.
    """
    if source.kind is SourceKind.SUPERUSER:
        return _("is a superuser")
    if source.kind is SourceKind.MODEL_PERMISSION:
        return _("is staff and has the permission for all organizations")
    if source.kind is SourceKind.USER:
        return _("was granted the permission personally")
    for role in ROLES:
        if source.group_id == getattr(organization, role.attname):
            if source.ends_at is None:
                return _("is in its %(role)s group") % {"role": role.label}
            return _("is in its %(role)s group until %(end)s") % {
                "role": role.label,
                "end": show_end(source.ends_at),
            }
    group = groups.get(source.group_id) if source.group_id else None
    return _("is in the group “%s”, which was granted the permission") % group
