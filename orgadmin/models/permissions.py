"""django-guardian's permission tables for organizations."""

from django.contrib.auth.models import Permission
from django.db import models
from django.db.models import CASCADE
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from orgadmin.models.organization import Organization
from orgadmin.models.user import User


class OrganizationUserObjectPermission(UserObjectPermissionBase):
    """An object permission of one person. No role uses it; whoever grants one by hand finds it obeyed."""

    # The unique index begins with user and permission: no further index for these.
    user = models.ForeignKey(User, on_delete=CASCADE, db_index=False)
    permission = models.ForeignKey(Permission, on_delete=CASCADE, db_index=False)
    content_object = models.ForeignKey(
        Organization, on_delete=CASCADE, related_name="user_grants"
    )


class OrganizationGroupObjectPermission(GroupObjectPermissionBase):
    group = models.ForeignKey("auth.Group", on_delete=CASCADE, db_index=False)
    permission = models.ForeignKey(Permission, on_delete=CASCADE, db_index=False)
    content_object = models.ForeignKey(
        Organization, on_delete=CASCADE, related_name="group_grants"
    )
