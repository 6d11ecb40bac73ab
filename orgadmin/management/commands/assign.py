from datetime import date

from django.core.exceptions import PermissionDenied
from django.core.management.base import CommandError

from orgadmin.access.ends import find_start_of_next_day, show_end
from orgadmin.access.roles import ROLES_BY_KEY
from orgadmin.management.arguments import clean_reason, find_organization, find_user
from orgadmin.management.output import EscapedCommand
from orgadmin.models import Organization
from orgadmin.models.guards import LastAdminError
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.membership import EndInThePast, change_roles

NO_ROLE = "none"


class Command(EscapedCommand):
    help = (
        "Give USER the ROLE in ORGANIZATION, in place of another role they have there."
        " The role “none” removes them."
    )

    def add_arguments(self, parser):
        parser.add_argument("username", metavar="USER", help="a username")
        parser.add_argument(
            "organization", metavar="ORGANIZATION", help="an ID or an exact name"
        )
        parser.add_argument("role", metavar="ROLE", choices=[*ROLES_BY_KEY, NO_ROLE])
        parser.add_argument(
            "--as",
            dest="actor",
            metavar="ACTOR",
            help="act as this person, with their permissions",
        )
        parser.add_argument(
            "--until",
            metavar="DATE",
            type=date.fromisoformat,
            help="the last day of the role, such as 2026-12-31, in the site's time"
            " zone; without it, the end of a role that the person has does not change",
        )
        parser.add_argument(
            "--reason", default="", help="the reason to record in the membership log"
        )

    def handle(
        self,
        *,
        username: str,
        organization: str,
        role: str,
        actor: str | None,
        until: date | None,
        reason: str,
        **options,
    ):
        # Without an actor, everything is allowed. An empty username is not the same as
        # no actor: it is looked up, and not found.
        acting_user = None if actor is None else find_user(actor)
        user = find_user(username)
        found_organization = find_organization(organization)
        end = read_end(until, role)
        change = RoleChange(user, found_organization, ROLES_BY_KEY.get(role), end=end)
        try:
            changes = change_roles(
                [change], actor=acting_user, reason=clean_reason(reason)
            )
        except Organization.DoesNotExist as error:
            raise CommandError(
                f"Nothing was changed. {found_organization} is archived, or has just"
                " been deleted. Restore it first."
            ) from error
        except PermissionDenied as error:
            raise CommandError(
                f"Nothing was changed. {acting_user} does not have the permissions for"
                " this change."
            ) from error
        except LastAdminError as error:
            raise CommandError(
                f"Nothing was changed. {found_organization} would be left without an"
                " active admin. Assign another admin first, or run this without --as."
            ) from error
        except EndInThePast as error:
            raise CommandError(
                f"Nothing was changed. {until} is over. Choose today or a later day."
            ) from error
        made = changes[0] if changes else change
        self.stdout.write(describe(made, changed=bool(changes)))


def read_end(until: date | None, role: str) -> MembershipEnd | None:
    """Return the new end of the role, or None if the end does not change.

    Raises `CommandError` if the role is NO_ROLE, or if the day is too late.
    """
    if until is None:
        return None
    if role == NO_ROLE:
        raise CommandError("Remove --until, or choose a role other than “none”.")
    try:
        return MembershipEnd(find_start_of_next_day(until))
    except OverflowError as error:
        raise CommandError(f"{until} is too late. Choose an earlier day.") from error


def describe(change: RoleChange, *, changed: bool) -> str:
    """Return a sentence that says what changed, or why nothing changed."""
    user = change.user
    organization = change.organization
    if change.role is None:
        if changed:
            return f"{user} was removed from {organization}."
        return f"No changes: {user} is not a member of {organization}."
    until = f" until {show_end(change.ends_at)}" if change.ends_at else ""
    if changed:
        return f"{user} is now {change.role.key} of {organization}{until}."
    return f"No changes: {user} is already {change.role.key} of {organization}{until}."
