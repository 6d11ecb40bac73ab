"""What the commands take: people and organizations as somebody names them on a command line."""

from django.core.management.base import CommandError
from django.db.models import Q

from orgadmin.models import Organization, User

UNCLEAR = 2  # exit status


def find_user(text, returncode=UNCLEAR):
    """Return the User of that user name. Raises CommandError."""
    if user := User.objects.filter(username=text).first():
        return user
    raise CommandError(f"There is no user “{text}”.", returncode=returncode)


def find_organization(text):
    """Return the Organization of that id or exact name. Raises CommandError where it is none, or one of several."""
    ids = [text] if text.isascii() and text.isdigit() and len(text) < 19 else []
    namesakes = list(Organization.objects.filter(Q(name=text) | Q(pk__in=ids))[:100])
    if len(namesakes) > 1:
        listed = "\n".join(
            f"  {row.pk}  {row.name}  {row.address}" for row in namesakes
        )
        raise CommandError(
            f"Several organizations can be meant. Ask by id:\n{listed}",
            returncode=UNCLEAR,
        )
    if not namesakes:
        raise CommandError(
            f"There is no organization with the id or name “{text}”.",
            returncode=UNCLEAR,
        )
    return namesakes[0]
