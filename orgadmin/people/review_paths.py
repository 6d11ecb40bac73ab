"""Access that does not come from a role, which platform staff review.

This is the access of superusers, of staff with a permission on all organizations, of
people and groups with a permission on one organization, and of groups at OpenID
providers that give roles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import Group, Permission

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.batches import split_into_batches
from orgadmin.access.permission_log import record_group_event
from orgadmin.access.roles import PERMISSIONS, codename
from orgadmin.access.rule import MODEL_BACKEND
from orgadmin.models import (
    AccessPath,
    AccessReview,
    Organization,
    OrganizationGroupObjectPermission,
    OrganizationUserObjectPermission,
    ReviewItem,
    ReviewSection,
    User,
)

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from config.providers import GroupRole, OpenIDProvider

DETAIL_LENGTH = 1_000  # characters, the length of the column

BATCH = 5_000  # IDs in one query, below SQLite's limit of 32,766 parameters


def add_people_with_access_to_all(staff: ReviewSection) -> None:
    """Add items for active superusers, and staff with a permission on everything."""
    items = [
        make_item(staff, user, AccessPath.SUPERUSER)
        for user in User.objects.filter(is_superuser=True, is_active=True)
    ]
    for user, names in find_delegated_staff().items():
        items.append(make_item(staff, user, AccessPath.DELEGATED, ", ".join(names)))
    ReviewItem.objects.bulk_create(items, ignore_conflicts=True)


def find_delegated_staff() -> dict[User, list[str]]:
    """Return {person: permissions} of staff with permissions on all organizations."""
    found: dict[User, list[str]] = defaultdict(list)
    for permission in PERMISSIONS:
        users = User.objects.with_perm(
            f"orgadmin.{codename(permission)}",
            include_superusers=False,
            backend=MODEL_BACKEND,
        )
        for user in users.filter(is_staff=True, is_superuser=False):
            found[user].append(permission)
    return found


def make_item(
    section: ReviewSection, user: User, path: AccessPath, detail: str = ""
) -> ReviewItem:
    """Return an unsaved item about a person's access to all organizations."""
    return ReviewItem(
        section=section,
        key=f"{path} {user.pk}",
        path=path,
        user_key=user.pk,
        user_name=user.username,
        full_name=user.get_full_name(),
        detail=detail,
        last_sign_in=user.last_login,
    )


def add_provider_groups(review: AccessReview, staff: ReviewSection) -> None:
    """Add items for groups at OpenID providers that give roles in the organizations.

    The settings map these groups to references of organizations.
    """
    items = []
    organizations_by_reference = find_mapped_organizations(review)
    for provider in settings.OIDC_PROVIDERS:
        for mapped in provider.roles:
            organization = organizations_by_reference.get(mapped.reference)
            if organization is None:
                continue
            items.append(
                ReviewItem(
                    section=staff,
                    key=make_provider_key(provider, mapped),
                    path=AccessPath.PROVIDER,
                    organization_key=organization.pk,
                    organization_name=organization.name,
                    role=mapped.role,
                    detail=f"{provider.name}: {mapped.group}"[:DETAIL_LENGTH],
                )
            )
    ReviewItem.objects.bulk_create(items, ignore_conflicts=True)


def find_mapped_organizations(review: AccessReview) -> dict[str | None, Organization]:
    """Return {reference: organization} for the review's mapped organizations."""
    references = {
        mapped.reference
        for provider in settings.OIDC_PROVIDERS
        for mapped in provider.roles
    }
    sections = review.sections.exclude(organization_key=None)
    rows = Organization.objects.filter(
        reference__in=references, pk__in=sections.values("organization_key")
    )
    return {organization.reference: organization for organization in rows}


def make_provider_key(provider: OpenIDProvider, mapped: GroupRole) -> str:
    """Return the item key for a group: a hash, because names of groups can be long."""
    text = f"{provider.id} {mapped.group} {mapped.role} {mapped.reference}"
    return f"provider {sha256(text.encode()).hexdigest()}"


# Whether the access still exists


def find_ended_paths(items: Iterable[ReviewItem]) -> set[int]:
    """Return the IDs of the items whose access has ended.

    The number of queries per BATCH items is constant.
    """
    ended = set()
    for batch in split_into_batches(items, BATCH):
        existing = set(list_existing_keys(batch))
        ended |= {item.pk for item in batch if item.key not in existing}
    return ended


def list_existing_keys(items: Iterable[ReviewItem]) -> Iterator[str]:
    """Yield the item keys of the access without a role that exists now.

    Includes at least the keys of these items, if their access still exists.
    """
    user_keys = {item.user_key for item in items}
    organization_keys = {item.organization_key for item in items}
    users = User.objects.filter(pk__in=user_keys, is_active=True)
    for pk in users.filter(is_superuser=True).values_list("pk", flat=True):
        yield f"{AccessPath.SUPERUSER} {pk}"
    for user in find_delegated_staff():
        yield f"{AccessPath.DELEGATED} {user.pk}"
    grants = OrganizationUserObjectPermission.objects.filter(
        user__in=users.values("pk"), content_object__in=organization_keys
    )
    for pk, organization in grants.values_list("user", "content_object"):
        yield f"{AccessPath.GRANT} {pk} {organization}"
    groups = OrganizationGroupObjectPermission.objects.filter(
        content_object__in=organization_keys
    )
    for pk, organization in groups.values_list("group", "content_object"):
        yield f"{AccessPath.GROUP} {pk} {organization}"
    for provider in settings.OIDC_PROVIDERS:
        for mapped in provider.roles:
            yield make_provider_key(provider, mapped)


# Ending the access


def can_end(item: ReviewItem) -> bool:
    """Return whether this access can be ended here, rather than in the settings."""
    return item.path != AccessPath.PROVIDER


def end_path(item: ReviewItem, *, actor: User) -> None:
    """End the access that an item is about, and record it in the audit log.

    Does nothing for groups at providers: see `can_end()`. The person of the item, if it
    has one, must be locked, and the access must still exist. Raises
    `LastSuperuserError`.
    """
    if item.path == AccessPath.GROUP:
        end_grants_of_group(item, actor)
        return
    user = User.objects.get(pk=item.user_key or 0)
    user.changed_by = actor
    if item.path == AccessPath.SUPERUSER:
        user.is_superuser = False
        user.save(update_fields=["is_superuser"])
    elif item.path == AccessPath.DELEGATED:
        end_delegation(user)
    elif item.path == AccessPath.GRANT:
        end_grants_of_user(item, user, actor)


def end_delegation(user: User) -> None:
    """Remove a person's permissions on all organizations.

    Removes their own permissions, and removes them from groups with such permissions.
    """
    codenames = [codename(name) for name in PERMISSIONS]
    permissions = Permission.objects.filter(
        content_type__app_label="orgadmin",
        content_type__model="organization",
        codename__in=codenames,
    )
    user.user_permissions.remove(*permissions)
    giving = Group.objects.filter(permissions__in=permissions).distinct()
    # This also removes expired memberships, which is harmless.
    user.groups.remove(*giving)


def end_grants_of_user(item: ReviewItem, user: User, actor: User) -> None:
    """Delete a person's permissions on the item's organization, and record it."""
    grants = OrganizationUserObjectPermission.objects.filter(
        user=user, content_object=item.organization_key
    )
    details = describe_grants(item, grants)
    grants.delete()
    record(SecurityEvent.PERMISSIONS_CHANGED, user=user, actor=actor, details=details)


def end_grants_of_group(item: ReviewItem, actor: User) -> None:
    """Delete a group's permissions on the item's organization, and record it.

    The item's key contains the ID of the group.
    """
    _path, group_key, _organization_key = item.key.split()
    grants = OrganizationGroupObjectPermission.objects.filter(
        group=int(group_key), content_object=item.organization_key
    )
    details = describe_grants(item, grants)
    group = Group.objects.get(pk=int(group_key))
    grants.delete()
    record_group_event(SecurityEvent.PERMISSIONS_CHANGED, group, actor=actor, **details)


def describe_grants(item: ReviewItem, grants: QuerySet[Any]) -> dict[str, Any]:
    """Return the audit log's details about permissions that will be deleted."""
    names = grants.order_by("permission").values_list("permission__codename", flat=True)
    removed = [f"orgadmin.{name}" for name in names]
    return {"removed": removed, "organization": item.organization_key}
