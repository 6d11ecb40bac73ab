"""The user model."""

from django.contrib.auth.models import AbstractUser, UserManager
from django.db.models import Q, UniqueConstraint
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

from orgadmin.models.mixins import DeletedBySet
from orgadmin.models.querysets import UserQuerySet

_taken = {
    "violation_error_message": _(
        "Somebody else has this e-mail address. Use another one, or leave it empty."
    )
}


class PeopleManager(UserManager.from_queryset(UserQuerySet)):
    use_in_migrations = False


class User(DeletedBySet, AbstractUser):
    objects = PeopleManager()

    class Meta(AbstractUser.Meta):
        base_manager_name = "objects"  # no way round the queryset's delete()
        constraints = [
            UniqueConstraint(
                Lower("email"),
                name="unique_user_email",
                condition=~Q(email=""),
                **_taken,
            )
        ]
