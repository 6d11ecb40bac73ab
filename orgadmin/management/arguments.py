"""Arguments that several commands share, and functions that find their rows."""

from __future__ import annotations

from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db.models import Q

from orgadmin.management.output import DetailedError
from orgadmin.models import MembershipEvent, Organization, User
from orgadmin.models.validators import is_primary_key
from orgadmin.records.personal_data import OtherAddress

# The exit status if a person or an organization cannot be identified. It differs from
# 1, which is the exit status of `explain` for "may not".
UNCLEAR = 2

# The number of organizations with the same name that an error lists.
MAX_LISTED = 100


def find_user(username: str, returncode: int = UNCLEAR) -> User:
    """Return the user with this username, ignoring case.

    Raises `CommandError` if there is none.
    """
    user = User.objects.find_by_username(username)
    if user is None:
        raise CommandError(f"There is no user “{username}”.", returncode=returncode)
    return user


def add_person_arguments(parser: CommandParser) -> None:
    """Add the arguments that identify the person whose data a command handles."""
    parser.add_argument("username", metavar="USER", help="a username")
    parser.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="an email address that is reported as not included, but is theirs",
    )


def describe_not_included(other: OtherAddress) -> str:
    """Return the output line about an address that `--include` could add."""
    return (
        f"Not included, because it may be someone else's: {other.address}"
        f" ({other.number:,} rows)"
    )


def find_organization(text: str) -> Organization:
    """Return the organization with this ID or exact name, even if it is archived.

    Raises `CommandError` if there is none, or if there are several.
    """
    condition = Q(name=text)
    if is_primary_key(text):
        condition |= Q(pk=text)
    organizations = Organization.objects.filter(condition)[:MAX_LISTED]
    if len(organizations) > 1:
        raise DetailedError(
            "Several organizations match. Use the ID of one of those above.",
            details=list_choices(organizations),
            returncode=UNCLEAR,
        )
    if not organizations:
        raise CommandError(
            f"There is no organization with the ID or name “{text}”.",
            returncode=UNCLEAR,
        )
    return organizations[0]


def list_choices(organizations: Iterable[Organization]) -> list[str]:
    """Return a line for each organization that helps to tell them apart."""
    return [
        f"{organization.pk}  {organization.name}  {organization.address}"
        for organization in organizations
    ]


def clean_reason(text: str) -> str:
    """Return the reason for a role change in the form in which it is stored.

    Raises `CommandError` if the reason is too long or contains unprintable characters.
    """
    field = MembershipEvent._meta.get_field("reason")
    try:
        return field.clean(text, None)
    except ValidationError as error:
        messages = " ".join(error.messages)
        raise CommandError(f"The reason is not valid: {messages}") from error
