from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError

from orgadmin.access.roles import ROLES_BY_KEY
from orgadmin.management.arguments import find_organization, find_user
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import LastAdminError, change_roles


class Command(BaseCommand):
    help = "Give USER the ROLE in ORGANIZATION, instead of any other there; “none” takes them out."

    def add_arguments(self, parser):
        parser.add_argument("user", metavar="USER", help="a user name")
        parser.add_argument(
            "organization", metavar="ORGANIZATION", help="an id or an exact name"
        )
        parser.add_argument("role", metavar="ROLE", choices=[*ROLES_BY_KEY, "none"])
        parser.add_argument(
            "--as",
            dest="actor",
            metavar="USER",
            help="the user name of the person who does it",
        )
        parser.add_argument("--reason", default="", help="is kept in the ledger")

    def handle(self, *, user, organization, role, actor, reason, **options):
        actor = (
            None if actor is None else find_user(actor)
        )  # an empty name is nobody, and may not do everything
        user, organization = find_user(user), find_organization(organization)
        try:
            changed = change_roles(
                [RoleChange(user, organization, ROLES_BY_KEY.get(role))],
                actor=actor,
                reason=reason,
            )
        except (PermissionDenied, LastAdminError) as error:
            raise CommandError(
                f"Nothing was changed: {actor} may not do that."
            ) from error
        what = "was taken out of" if role == "none" else f"is {role} of"
        self.stdout.write(
            f"{user} {what} {organization}."
            if changed
            else "Nothing was changed: it was so already."
        )
