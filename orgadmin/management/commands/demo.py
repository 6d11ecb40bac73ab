import secrets
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from orgadmin.access.roles import ROLES_BY_KEY
from orgadmin.models import Organization, User
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import change_roles
from orgadmin.records.imports import import_organizations

FILE = Path(__file__).parents[2] / "data" / "demo.csv"
# User name -> {role: how many organizations}
PEOPLE = {
    "demo-staff": {},
    "demo-admin": {"admin": 3, "reviewer": 1},
    "demo-reviewer": {"reviewer": 2},
}


class Command(BaseCommand):
    help = "Load a demo: real names of organizations, and three people with new passwords. Only where DEBUG is true."

    def handle(self, **options):
        if not settings.DEBUG:
            raise CommandError(
                "The demo gives out passwords, so it wants DEBUG=true. Nothing was changed."
            )
        with transaction.atomic():
            if not Organization.objects.exists():
                with FILE.open("rb") as stream:
                    import_organizations(stream)
            self.stdout.write(f"\nSign in at {settings.BASE_URL}/admin/ as")
            organizations = iter(Organization.objects.order_by("pk"))
            for username, wanted in PEOPLE.items():
                password, flags = (
                    secrets.token_urlsafe(9),
                    dict.fromkeys(("is_staff", "is_superuser"), not wanted),
                )
                user, created = User.objects.get_or_create(
                    username=username, defaults=flags
                )
                user.set_password(password)
                user.save()
                for role, count in wanted.items() if created else ():
                    change_roles(
                        [
                            RoleChange(user, row, ROLES_BY_KEY[role])
                            for row in islice(organizations, count)
                        ]
                    )
                what = (
                    ", ".join(f"{role} of {count}" for role, count in wanted.items())
                    or "platform staff"
                )
                self.stdout.write(f"  {username:<14} password {password}   {what}")
