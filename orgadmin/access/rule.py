"""The access rule: who has which permission on which organization.

The rule is written only here. Lists, pages and permission checks ask it through methods
of `Organization.objects`, such as `permitted()` and `permissions_on()`. The commands
that have the option `--as` obey it if this option names a person.

Permissions are named by short keys, such as "change"; `roles.PERMISSIONS` lists them. A
user has a permission on an organization for one of three reasons:

1. they are a superuser;
2. they are staff and have the model-level permission, which covers all organizations;
3. they, or one of their groups, have an object permission.

A permission counts only together with "view". Inactive users have no permissions. A
membership that has ended gives no permissions, even if its row still exists. Nobody has
permissions on an archived organization, not even superusers: it behaves as if it did
not exist. Superusers can open it on the pages of archived organizations, which do not
ask the rule.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connections, models
from django.db.models import Exists, OuterRef
from django.db.models.expressions import RawSQL

from orgadmin.access.ends import not_ended
from orgadmin.access.roles import PERMISSIONS, codename
from orgadmin.access.sql import placeholders, read_time

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from orgadmin.models import Organization, User  # noqa: F401 (quoted below)

    Visitor: TypeAlias = User | AnonymousUser

# Used in place of a permission for what only superusers can see and do.
SUPERUSERS_ONLY = None

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"

# The statements below are SQL for two reasons. First, most pages run them, and the ORM
# would take longer to compile them than a database takes to execute them. Second,
# PostgreSQL reads the whole table for "one of the groups OR the user", but uses the
# indexes for a UNION of the two. tests/test_plans.py pins the query plans.

PERMISSION_ID = """
    SELECT permission.id
    FROM auth_permission permission
    JOIN django_content_type content_type
        ON content_type.id = permission.content_type_id
    WHERE content_type.app_label = 'orgadmin'
        AND content_type.model = 'organization'
        AND permission.codename = %s
"""

# In these statements, {not_ended} is the condition that a membership has not ended.

# The organizations on which a user, or one of the user's groups, has a permission.
# Parameters: user ID and codename, twice.
GRANTED_ORGANIZATIONS = f"""
    SELECT group_grant.content_object_id
    FROM orgadmin_user_groups membership
    JOIN orgadmin_organizationgroupobjectpermission group_grant
        ON group_grant.group_id = membership.group_id
    WHERE membership.user_id = %s
        AND {{not_ended}}
        AND group_grant.permission_id = ({PERMISSION_ID})
    UNION ALL
    SELECT user_grant.content_object_id
    FROM orgadmin_organizationuserobjectpermission user_grant
    WHERE user_grant.user_id = %s
        AND user_grant.permission_id = ({PERMISSION_ID})
"""

# The users who have a permission on an organization, either personally or through a
# group. Parameters: organization ID and codename, twice.
GRANTED_USERS = f"""
    SELECT membership.user_id
    FROM orgadmin_organizationgroupobjectpermission group_grant
    JOIN orgadmin_user_groups membership
        ON membership.group_id = group_grant.group_id
    WHERE group_grant.content_object_id = %s
        AND {{not_ended}}
        AND group_grant.permission_id = ({PERMISSION_ID})
    UNION ALL
    SELECT user_grant.user_id
    FROM orgadmin_organizationuserobjectpermission user_grant
    WHERE user_grant.content_object_id = %s
        AND user_grant.permission_id = ({PERMISSION_ID})
"""

# All object permissions of some users on some organizations, with the group that gives
# the permission and the end of the membership. Both are NULL if the user has the
# permission personally. Parameters: user IDs and organization IDs, twice.
GRANTS = """
    SELECT
        membership.user_id,
        group_grant.content_object_id,
        permission.codename,
        group_grant.group_id,
        membership.ends_at
    FROM orgadmin_user_groups membership
    JOIN orgadmin_organizationgroupobjectpermission group_grant
        ON group_grant.group_id = membership.group_id
    JOIN auth_permission permission
        ON permission.id = group_grant.permission_id
    JOIN django_content_type content_type
        ON content_type.id = permission.content_type_id
    WHERE membership.user_id IN ({users})
        AND {not_ended}
        AND group_grant.content_object_id IN ({organizations})
        AND content_type.app_label = 'orgadmin'
        AND content_type.model = 'organization'
    UNION ALL
    SELECT
        user_grant.user_id,
        user_grant.content_object_id,
        permission.codename,
        NULL,
        NULL
    FROM orgadmin_organizationuserobjectpermission user_grant
    JOIN auth_permission permission
        ON permission.id = user_grant.permission_id
    JOIN django_content_type content_type
        ON content_type.id = permission.content_type_id
    WHERE user_grant.user_id IN ({users})
        AND user_grant.content_object_id IN ({organizations})
        AND content_type.app_label = 'orgadmin'
        AND content_type.model = 'organization'
"""

# The archived ones among some organizations, with the columns of GRANTS. Parameters:
# organization IDs.
ARCHIVED = """
    SELECT NULL, organization.id, NULL, NULL, NULL
    FROM orgadmin_organization organization
    WHERE organization.id IN ({organizations})
        AND organization.archived_at IS NOT NULL
"""


class SourceKind(enum.Enum):
    """Why a user has a permission."""

    SUPERUSER = enum.auto()
    MODEL_PERMISSION = enum.auto()  # a staff user with a model-level permission
    GROUP = enum.auto()  # a group of the user has an object permission
    USER = enum.auto()  # the user has an object permission


@dataclass(frozen=True)
class PermissionSource:
    """A reason why a user has a permission on an organization."""

    kind: SourceKind
    # Only for SourceKind.GROUP: the group, and the end of the membership or None, as
    # the database returns it.
    group_id: int | None = None
    end: datetime | str | None = None

    @property
    def ends_at(self) -> datetime | None:
        return read_time(self.end)


# {permission: its sources}, for one user and one organization
Sources: TypeAlias = dict[str, list[PermissionSource]]


class RuleQuerySet(models.QuerySet["Organization"]):
    """The rule, as methods of `Organization.objects`."""

    def unarchived(self) -> Self:
        """Return the organizations that are not archived."""
        return self.filter(archived_at=None)

    def archived(self) -> Self:
        """Return the archived organizations, including those in the trash."""
        return self.filter(archived_at__isnull=False)

    def permitted(self, user: Visitor, permission: str = "view") -> Self:
        """Return the organizations on which the user has a permission that counts."""
        # Anonymous visitors are never active.
        if not user.is_active:
            return self.none()
        organizations = self.unarchived()
        required = ["view"] if permission == "view" else ["view", permission]
        for name in required:
            if find_source_everywhere(user, name) is None:
                parameters = [user.pk, codename(name)]
                statement = GRANTED_ORGANIZATIONS.format(not_ended=not_ended(self.db))
                granted = RawSQL(statement, parameters * 2)
                organizations = organizations.filter(pk__in=granted)
        return organizations

    def permissions_on(self, user: Visitor, pk: int) -> frozenset[str]:
        """Return the permissions that the user has on one organization.

        Runs up to one query. For staff, Django runs more queries to load their
        permissions.
        """
        return self.permissions_on_each(user, [pk])[pk]

    def permissions_on_each(
        self, user: Visitor, pks: Collection[int]
    ) -> dict[int, frozenset[str]]:
        """Return {organization ID: the permissions that the user has on it}.

        Runs up to one query. For staff, Django runs more queries to load their
        permissions.
        """
        if not user.is_active:
            return dict.fromkeys(pks, frozenset())
        sources = self.find_sources([user], pks)
        return {pk: get_effective_permissions(sources[user.pk, pk]) for pk in pks}

    def permissions_everywhere(self, user: Visitor) -> frozenset[str]:
        """Return the permissions that the user has on all unarchived organizations."""
        if not user.is_active:
            return frozenset()
        return get_effective_permissions(find_sources_everywhere(user))

    def find_sources(
        self, users: Collection[User], pks: Collection[int]
    ) -> dict[tuple[int, int], Sources]:
        """Return {(user ID, organization ID): {permission: [PermissionSource]}}.

        Does not decide whether a permission counts: inactive users are treated as
        active, and other permissions are returned even without "view". Django gives
        inactive staff no model-level permissions, so pass an active copy of them.

        Runs one query, even for superusers, because archived organizations have no
        sources. For staff, Django runs more queries to load their permissions.
        """
        sources_by_pks: dict[tuple[int, int], Sources] = {}
        if not users or not pks:
            return sources_by_pks
        for user in users:
            everywhere = find_sources_everywhere(user)
            for pk in pks:
                sources_by_pks[user.pk, pk] = {
                    permission: [*sources] for permission, sources in everywhere.items()
                }
        user_pks = [user.pk for user in users if not user.is_superuser]
        archived = set()
        by_codename = {codename(permission): permission for permission in PERMISSIONS}
        for user_pk, pk, name, group_id, end in self._read_grants(user_pks, pks):
            if user_pk is None:
                archived.add(pk)
                continue
            if name not in by_codename:
                # A custom permission, which the rule ignores.
                continue
            if group_id is None:
                source = PermissionSource(SourceKind.USER)
            else:
                source = PermissionSource(SourceKind.GROUP, group_id, end)
            sources = sources_by_pks[user_pk, pk].setdefault(by_codename[name], [])
            sources.append(source)
        for user in users:
            for pk in archived:
                sources_by_pks[user.pk, pk] = {}
        return sources_by_pks

    def find_viewers(self, pk: int) -> models.QuerySet[User]:
        """Return the users who may view an organization: the reverse of `permitted()`.

        Includes inactive users who could view it if they were active. Returns nobody if
        the organization is archived or does not exist.
        """
        users = get_user_model().objects
        view = codename("view")
        staff = users.with_perm(
            f"orgadmin.{view}",
            is_active=None,
            include_superusers=False,
            backend=MODEL_BACKEND,
        )
        superusers = users.filter(is_superuser=True)
        statement = GRANTED_USERS.format(not_ended=not_ended(self.db))
        granted = users.filter(pk__in=RawSQL(statement, [pk, view] * 2))
        viewers = superusers.values("pk").union(
            staff.filter(is_staff=True).values("pk"), granted.values("pk")
        )
        unarchived = self.model._base_manager.using(self.db).filter(
            pk=pk, archived_at=None
        )
        return users.filter(Exists(unarchived), pk__in=viewers)

    def _read_grants(
        self, user_pks: Collection[int], pks: Collection[int]
    ) -> list[tuple[int | None, int, str, int | None, Any]]:
        """Return the object permissions of users on organizations.

        Each row is (user ID, organization ID, codename, group ID or None, end or None).
        For each archived organization, there is another row with only the organization
        ID.
        """
        statement = ARCHIVED
        parameters = [*pks]
        if user_pks:
            statement = f"{GRANTS} UNION ALL {ARCHIVED}"
            parameters = [*user_pks, *pks, *user_pks, *pks, *pks]
        statement = statement.format(
            users=placeholders(user_pks),
            organizations=placeholders(pks),
            not_ended=not_ended(self.db),
        )
        with connections[self.db].cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()


def belongs_to_archived(path: str) -> Exists:
    """Return the condition that the organization of a row is archived.

    `path` is the field with the ID of the organization, such as "organization". This is
    fast because PostgreSQL uses the index of archived organizations, which is small.
    """
    Organization = apps.get_model("orgadmin", "Organization")
    archived = Organization._base_manager.filter(archived_at__isnull=False)
    return Exists(archived.filter(pk=OuterRef(path)))


def get_effective_permissions(sources: Sources) -> frozenset[str]:
    """Return the permissions that have a source, or none if "view" has no source."""
    if "view" not in sources:
        return frozenset()
    return frozenset(sources)


def find_sources_everywhere(user: Visitor) -> Sources:
    """Return the permissions that the user has on all organizations, and why.

    Includes permissions that do not count, because "view" is missing.
    """
    sources = {}
    for permission in PERMISSIONS:
        source = find_source_everywhere(user, permission)
        if source is not None:
            sources[permission] = [source]
    return sources


def find_source_everywhere(user: Visitor, permission: str) -> PermissionSource | None:
    """Return why the user has a permission on all organizations, or None."""
    if user.is_superuser:
        return PermissionSource(SourceKind.SUPERUSER)
    if user.is_staff and user.has_perm(f"orgadmin.{codename(permission)}"):
        return PermissionSource(SourceKind.MODEL_PERMISSION)
    return None


def is_active_superuser(user: Visitor) -> bool:
    """Return whether the user may do everything, even what no permission covers."""
    return user.is_active and user.is_superuser
