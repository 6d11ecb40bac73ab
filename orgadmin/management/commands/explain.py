from django.core.management.base import CommandError
from django.db import DatabaseError

from orgadmin.access.roles import PERMISSIONS
from orgadmin.gate.explain import Explanation, explain
from orgadmin.management.arguments import UNCLEAR, find_organization, find_user
from orgadmin.management.output import EscapedCommand
from orgadmin.models import Organization, User


class Command(EscapedCommand):
    help = (
        "Explain why USER may or may not do ACTION with ORGANIZATION. The exit status"
        " is 0 if they may, 1 if they may not, and 2 if the question is unclear."
    )

    def add_arguments(self, parser):
        parser.add_argument("username", metavar="USER", help="a username")
        parser.add_argument(
            "organization", metavar="ORGANIZATION", help="an ID or an exact name"
        )
        parser.add_argument(
            "permission",
            metavar="ACTION",
            nargs="?",
            default="view",
            help=", ".join(PERMISSIONS),
        )

    def handle(self, *, username: str, organization: str, permission: str, **options):
        if permission not in PERMISSIONS:
            raise CommandError(
                f"There is no permission “{permission}”. Use one of these:"
                f" {', '.join(PERMISSIONS)}.",
                returncode=UNCLEAR,
            )
        try:
            user = find_user(username)
            found_organization = find_organization(organization)
            explanation = explain(user, found_organization, permission)
        except (DatabaseError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise CommandError(
                f"The question could not be answered: {reason}", returncode=UNCLEAR
            ) from error
        self._print(user, found_organization, permission, explanation)
        if not explanation.may:
            raise SystemExit(1)

    def _print(
        self,
        user: User,
        organization: Organization,
        permission: str,
        explanation: Explanation,
    ) -> None:
        may = "may" if explanation.may else "may not"
        self.stdout.write(
            f"{user} {may} {permission} {organization} (ID {organization.pk})."
        )
        for line in explanation.lines:
            self.stdout.write(f"  {line}")
