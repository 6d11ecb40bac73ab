"""User: a person who can sign in."""

from typing import ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

from orgadmin.models.mixins import DeletedThroughQuerySet
from orgadmin.models.querysets import UserQuerySet


class PeopleManager(UserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]
    use_in_migrations = False


class User(DeletedThroughQuerySet, AbstractUser):
    objects: ClassVar[UserManager] = PeopleManager()

    class Meta(AbstractUser.Meta):
        # Django then also uses UserQuerySet for related objects.
        base_manager_name = "objects"
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="unique_user_email",
                condition=~Q(email=""),
                violation_error_message=_(
                    "Someone else has this email address. Use another one, or leave it"
                    " empty."
                ),
            ),
        ]
