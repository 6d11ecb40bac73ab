import os
from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from orgadmin.models import User


class SuperuserModel:
    """Stands in for the user model, and makes users that are superusers.

    Django validates the password with a user that has no flags. The validators must
    know that it is for a superuser.
    """

    def __call__(self, **values: Any) -> User:
        return User(is_staff=True, is_superuser=True, **values)

    def __getattr__(self, name: str) -> Any:
        return getattr(User, name)


class Command(createsuperuser.Command):
    """Django's command, with the rules for passwords of superusers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.UserModel = SuperuserModel()

    def handle(self, *args: Any, **options: Any) -> None:
        password = os.environ.get("DJANGO_SUPERUSER_PASSWORD")
        if password and not options["interactive"]:
            self._validate(password, options)
        super().handle(*args, **options)

    def _validate(self, password: str, options: dict[str, Any]) -> None:
        """Check the password of the environment, which Django accepts unchecked."""
        values = {}
        for name in ("username", "email"):
            default = os.environ.get(f"DJANGO_SUPERUSER_{name.upper()}", "")
            values[name] = options[name] or default
        try:
            validate_password(password, self.UserModel(**values))
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
