"""django-guardian's permission tables for organizations, with direct foreign keys."""

from django.contrib.auth.models import Permission
from django.db import models
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from orgadmin.models.organization import Organization
from orgadmin.models.user import User

# Guardian's unique index begins with user (or group) and permission, so these foreign
# keys need no index of their own.


class OrganizationUserObjectPermission(UserObjectPermissionBase):
    """An object permission of one user. No role uses it, but the rule respects it."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, db_index=False)
    permission = models.ForeignKey(Permission, on_delete=models.CASCADE, db_index=False)
    content_object = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="user_grants"
    )


class OrganizationGroupObjectPermission(GroupObjectPermissionBase):
    """An object permission of a group. The role table defines those of each role."""

    group = models.ForeignKey("auth.Group", on_delete=models.CASCADE, db_index=False)
    permission = models.ForeignKey(Permission, on_delete=models.CASCADE, db_index=False)
    content_object = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="group_grants"
    )
