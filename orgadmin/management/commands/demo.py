import secrets
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError
from django.db import transaction

from orgadmin.access.roles import ADMIN, ROLES_BY_KEY, Role
from orgadmin.management.output import EscapedCommand
from orgadmin.models import Organization, User
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import change_roles
from orgadmin.records.imports import import_organizations

FILE = Path(__file__).parents[2] / "data" / "demo.csv"
REVIEWER = ROLES_BY_KEY["reviewer"]


@dataclass(frozen=True)
class DemoPerson:
    """A person to create, with {role: in how many organizations they have it}.

    A person without roles becomes a superuser.
    """

    username: str
    roles: dict[Role, int] = field(default_factory=dict)

    @property
    def is_superuser(self) -> bool:
        return not self.roles

    @property
    def description(self) -> str:
        if self.is_superuser:
            return "platform staff"
        return ", ".join(f"{role.key} of {count}" for role, count in self.roles.items())


PEOPLE = [
    DemoPerson("demo-staff"),
    DemoPerson("demo-admin", {ADMIN: 3, REVIEWER: 1}),
    DemoPerson("demo-reviewer", {REVIEWER: 2}),
]


class Command(EscapedCommand):
    help = (
        "Load demo data: real names of organizations, and three people with new"
        " passwords. Requires DEBUG=true."
    )

    def handle(self, **options):
        if not settings.DEBUG:
            raise CommandError(
                "The demo prints passwords, so it requires DEBUG=true. Nothing was"
                " changed."
            )
        with transaction.atomic():
            if not Organization.objects.exists():
                with FILE.open("rb") as stream:
                    import_organizations(stream)
            self.stdout.write()
            self.stdout.write(f"Sign in at {settings.BASE_URL}/admin/ as")
            # All people take from the same iterator, so they share no organization.
            organizations = iter(Organization.objects.order_by("pk"))
            for person in PEOPLE:
                password = self._save_person(person, organizations)
                self.stdout.write(
                    f"  {person.username:<14} password {password}"
                    f"   {person.description}"
                )

    def _save_person(self, person, organizations) -> str:
        """Create a person with their roles, unless they exist, and set a new password.

        Returns the password.
        """
        user, created = User.objects.get_or_create(
            username=person.username,
            defaults={
                "is_staff": person.is_superuser,
                "is_superuser": person.is_superuser,
            },
        )
        password = secrets.token_urlsafe(12)  # 16 characters
        user.set_password(password)
        user.save()
        if created:
            for role, count in person.roles.items():
                change_roles(
                    [
                        RoleChange(user, organization, role)
                        for organization in islice(organizations, count)
                    ],
                    notify=False,
                )
        return password
