from django.conf import settings
from django.core.management.base import CommandError

from orgadmin.management import demo
from orgadmin.management.output import EscapedCommand


class Command(EscapedCommand):
    help = (
        "Load demo data into an empty database, and print accounts with their"
        " passwords. Does nothing if the demo is loaded. Requires DEBUG=true."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--new-passwords",
            action="store_true",
            help="set new passwords for the accounts of the demo, and print them",
        )

    def handle(self, **options):
        if not settings.DEBUG:
            raise CommandError(
                "The demo prints passwords, so it requires DEBUG=true. Nothing was"
                " changed."
            )
        with demo.without_mail():
            passwords = self._load(replaces_passwords=options["new_passwords"])
        self.stdout.write()
        if not passwords:
            self.stdout.write(
                "The demo is already loaded, and its passwords have not changed. To get"
                " new ones, run DEBUG=true .venv/bin/python manage.py demo"
                " --new-passwords"
            )
            return
        self.stdout.write(f"Sign in at {settings.BASE_URL}/admin/ as")
        for account in demo.ACCOUNTS:
            if account.username in passwords:
                self.stdout.write(
                    f"  {account.username:<14} password {passwords[account.username]}"
                    f"   {account.description}"
                )

    def _load(self, *, replaces_passwords):
        """Load the demo if necessary, and return the new passwords by username."""
        try:
            is_loaded = demo.is_loaded()
        except demo.NotADemo as error:
            raise CommandError(
                "This database has people or organizations that are not from the demo,"
                " so nothing was changed. The demo needs an empty database. To look at"
                " this one, run DEBUG=true .venv/bin/python manage.py runserver"
            ) from error
        if not is_loaded:
            return demo.load_demo()
        return demo.replace_passwords() if replaces_passwords else {}
