"""What the commands take: people and organizations as somebody names them on a command line."""

from django.core.management.base import CommandError
from django.db.models import Q

from orgadmin.models import Organization, User

UNCLEAR = 2  # exit status


def find_user(text):
    """Return the User of that user name. Raises CommandError."""
    user = User.objects.filter(username=text).first()
    if user is None:
        raise CommandError(f"There is no user “{text}”.", returncode=UNCLEAR)
    return user


def find_organization(text):
    """Return the Organization of that id or exact name. Raises CommandError where it is none, or one of several."""
    is_id = text.isascii() and text.isdigit() and len(text) < 19
    named = Q(name=text) | Q(pk=text) if is_id else Q(name=text)
    namesakes = list(Organization.objects.filter(named)[:100])
    if len(namesakes) > 1:
        listed = "\n".join(f"  {row.pk}  {row.name}  {row.address}" for row in namesakes)
        raise CommandError(f"Several organizations can be meant. Ask by id:\n{listed}", returncode=UNCLEAR)
    if not namesakes:
        raise CommandError(f"There is no organization with the id or name “{text}”.", returncode=UNCLEAR)
    return namesakes[0]
