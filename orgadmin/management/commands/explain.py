"""Tell whether a person may do something with an organization, and why."""

import sys

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError
from django.db.models import Q

from orgadmin.access import explain
from orgadmin.models import Organization, User
from orgadmin.roles import ACTIONS

UNCLEAR = 2


class Command(BaseCommand):
    help = "Tell whether USER may do ACTION with ORGANIZATION, and why. Exit status 0: may, 1: may not, 2: unclear."

    def add_arguments(self, parser):
        parser.add_argument("user", metavar="USER", help="a user name")
        parser.add_argument("organization", metavar="ORGANIZATION", help="an id or an exact name")
        parser.add_argument("action", metavar="ACTION", nargs="?", default="view", help=", ".join(ACTIONS))

    def handle(self, *, user, organization, action, **options):
        if action not in ACTIONS:
            raise CommandError(
                f"There is no right “{action}”. Ask for one of: {', '.join(ACTIONS)}.", returncode=UNCLEAR
            )
        try:
            self._explain(user, organization, action)
        except (DatabaseError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise CommandError(f"The question could not be answered: {reason}", returncode=UNCLEAR) from error

    def _explain(self, user, organization, action):
        found = User.objects.filter(username=user).first()
        if found is None:
            raise CommandError(f"There is no user “{user}”.", returncode=UNCLEAR)
        organization = self._find_organization(organization)
        explanation = explain(found, organization, action)
        verb = "may" if explanation.may else "may not"
        self.stdout.write(f"{found} {verb} {action} {organization} (id {organization.pk}).")
        for line in explanation.lines:
            self.stdout.write(f"  {line}")
        if not explanation.may:
            sys.exit(1)

    def _find_organization(self, text):
        is_id = text.isascii() and text.isdigit() and len(text) < 19
        named = Q(name=text) | Q(pk=text) if is_id else Q(name=text)
        namesakes = list(Organization.objects.filter(named)[:100])
        if len(namesakes) > 1:
            listed = "\n".join(f"  {row.pk}  {row.name}  {row.address}" for row in namesakes)
            raise CommandError(f"Several organizations can be meant. Ask by id:\n{listed}", returncode=UNCLEAR)
        if not namesakes:
            raise CommandError(f"There is no organization with the id or name “{text}”.", returncode=UNCLEAR)
        return namesakes[0]
