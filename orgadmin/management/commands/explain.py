from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from orgadmin.access.roles import PERMISSIONS
from orgadmin.gate.explain import explain
from orgadmin.management.arguments import UNCLEAR, find_organization, find_user


class Command(BaseCommand):
    help = "Tell whether USER may do ACTION with ORGANIZATION, and why. Exit status 0: may, 1: may not, 2: unclear."

    def add_arguments(self, parser):
        parser.add_argument("user", metavar="USER", help="a user name")
        parser.add_argument(
            "organization", metavar="ORGANIZATION", help="an id or an exact name"
        )
        parser.add_argument(
            "action",
            metavar="ACTION",
            nargs="?",
            default="view",
            help=", ".join(PERMISSIONS),
        )

    def handle(self, *, user, organization, action, **options):
        if action not in PERMISSIONS:
            raise CommandError(
                f"There is no right “{action}”. Ask for {', '.join(PERMISSIONS)}.",
                returncode=UNCLEAR,
            )
        try:
            user, organization = find_user(user), find_organization(organization)
            explanation = explain(user, organization, action)
            answer = f"{user} {'may' if explanation.may else 'may not'} {action} {organization} (id {organization.pk})."
            self.stdout.write("\n  ".join([answer, *explanation.lines]))
        except (DatabaseError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise CommandError(
                f"The question could not be answered: {reason}", returncode=UNCLEAR
            ) from error
        if not explanation.may:
            raise SystemExit(1)
