"""The authentication backend that makes `user.has_perm()` follow the access rule.

This site's own code asks the rule directly. The backend is for other code that calls
`user.has_perm()` with an organization. django-guardian's own backend would, for
example, also count memberships that have ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guardian.backends import ObjectPermissionBackend

from orgadmin.access.roles import codename
from orgadmin.access.rule import SourceKind, get_effective_permissions
from orgadmin.models import Organization

if TYPE_CHECKING:
    from orgadmin.access.rule import Visitor


class RuleBackend(ObjectPermissionBackend):
    """Asks the rule about organizations, and django-guardian about other objects.

    Returns Django's names, such as "view_organization".
    """

    def has_perm(self, user_obj: Visitor, perm: str, obj: Any = None) -> bool:
        if not isinstance(obj, Organization):
            return super().has_perm(user_obj, perm, obj)
        app_label, _dot, name = perm.rpartition(".")
        if app_label not in ("", Organization._meta.app_label):
            return False
        return name in self.get_all_permissions(user_obj, obj)

    def get_all_permissions(self, user_obj: Visitor, obj: Any = None) -> set[str]:
        if not isinstance(obj, Organization):
            return set(super().get_all_permissions(user_obj, obj))
        permissions = Organization.objects.permissions_on(user_obj, obj.pk)
        return {codename(permission) for permission in permissions}

    def get_group_permissions(self, user_obj: Visitor, obj: Any = None) -> set[str]:
        """Return the permissions that come from an object permission of a group."""
        if not isinstance(obj, Organization):
            return set(super().get_group_permissions(user_obj, obj))
        if not user_obj.is_active:
            return set()
        found = Organization.objects.find_sources([user_obj], [obj.pk])
        sources = found[user_obj.pk, obj.pk]
        from_groups = set()
        for permission in get_effective_permissions(sources):
            kinds = {source.kind for source in sources[permission]}
            if SourceKind.GROUP in kinds:
                from_groups.add(codename(permission))
        return from_groups
