import os
from typing import Any

from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from orgadmin.models import User

EMAIL_TAKEN = (
    "Someone else has the email address %s. Choose another address, or make this person"
    " a superuser on their page."
)


USERNAME_IS_EMAIL = (
    "Error: %s is the email address of someone else. Choose another username."
)


class SuperuserModel:
    """Replaces the user model, and creates instances that are superusers.

    Django validates the password with an instance that is not a superuser. The
    validators need to know that the password is for a superuser.
    """

    def __call__(self, **values: Any) -> User:
        return User(is_staff=True, is_superuser=True, **values)

    def __getattr__(self, name: str) -> Any:
        return getattr(User, name)


def is_taken(email: str) -> bool:
    address = User.objects.normalize_email(email)
    return User.objects.find_by_email(address) is not None


class Command(createsuperuser.Command):
    """Django's command, with this site's rules for passwords and email addresses."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.UserModel = SuperuserModel()

    def handle(self, *args: Any, **options: Any) -> None:
        email = options["email"]
        if not email and not options["interactive"]:
            email = os.environ.get("DJANGO_SUPERUSER_EMAIL")
        if email and is_taken(email):
            raise CommandError(EMAIL_TAKEN % email)
        password = os.environ.get("DJANGO_SUPERUSER_PASSWORD")
        if password and not options["interactive"]:
            self._validate(password, options)
        super().handle(*args, **options)

    def get_input_data(
        self, field: Any, message: str, default: str | None = None
    ) -> Any:
        """Ask for a value. Returns None for a taken address: then Django asks again."""
        value = super().get_input_data(field, message, default)
        if field.name == "email" and value and is_taken(value):
            self.stderr.write(f"Error: {EMAIL_TAKEN % value}")
            return None
        return value

    def _validate_username(
        self, username: str, verbose_field_name: str, database: str
    ) -> str | None:
        """Return an error if the username cannot be used, or None.

        Django finds out with `PeopleManager.get_by_natural_key()`, which ignores case,
        whether someone has the username. This method also refuses a username that is
        someone's email address.
        """
        error = super()._validate_username(username, verbose_field_name, database)
        if error is None and "@" in username and is_taken(username):
            error = USERNAME_IS_EMAIL % username
        return error

    def _validate(self, password: str, options: dict[str, Any]) -> None:
        """Validate a password from the environment, which Django does not validate."""
        values = {}
        for name in ("username", "email"):
            default = os.environ.get(f"DJANGO_SUPERUSER_{name.upper()}", "")
            values[name] = options[name] or default
        try:
            validate_password(password, self.UserModel(**values))
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
