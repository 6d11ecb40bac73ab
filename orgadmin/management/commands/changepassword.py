from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.core.management.base import CommandError

from orgadmin.models.user import CredentialsChanged


class Command(changepassword.Command):
    """Django's command, with an error message if someone else changes the account."""

    def handle(self, *args: Any, **options: Any) -> str:
        try:
            return super().handle(*args, **options)
        except CredentialsChanged as error:
            raise CommandError(
                "The password was not changed, because the account was changed or"
                " deleted in the meantime. Run the command again."
            ) from error
