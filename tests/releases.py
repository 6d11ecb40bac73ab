"""Releases of this project that save organizations around the first migrations.

The functions at the end run in processes of their own, at the same time as a migration.
What they print is read by the tests that start them.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.db.migrations.recorder import MigrationRecorder

from tests.migrating import models_at

# The migrations that make the admin group a required relation.
EMPTY = "0002_organization_admin"  # the column exists, and every row has NULL
FILLED = "0003_create_admin_groups"
REQUIRED = "0004_require_organization_admin"

# The releases, named by the migration that their models belong to.
WITHOUT = "0001_initial"  # does not know the column
FILLING = EMPTY  # gives a group to each row that it saves
REQUIRING = REQUIRED

ROWS = 3_000
NAMES = 1_000  # so few that releases and migration compete for the names of groups
MOST_SAVES = 500
SAVES_AFTERWARDS = 20  # how often a release saves when the migration is done
PHONE = "1"


class Release:
    """The way a release saves organizations."""

    def __init__(self, step: str) -> None:
        get_model = models_at(step)
        self.organizations = get_model("orgadmin", "Organization").objects
        self.groups = get_model("auth", "Group").objects
        self.fills = step != WITHOUT

    def create(self, name: str) -> int:
        """Save a new organization and return its id."""
        return self.save(lambda: self.organizations.model(name=name))

    def edit(self, pk: int) -> int:
        """Change the phone number of an organization and return its id."""
        locked = self.organizations.select_for_update(no_key=True)
        return self.save(lambda: locked.get(pk=pk), phone=PHONE)

    def save(self, load: Callable[[], Any], **values: str) -> int:
        """Save the organization that `load` returns, with a group if it has none.

        Starts again if another process takes the name of the group.
        """
        while True:
            try:
                with transaction.atomic():
                    organization = load()
                    for name, value in values.items():
                        setattr(organization, name, value)
                    self.fill(organization)
                    organization.save()
                    return organization.pk
            except IntegrityError:
                if not self.fills:
                    raise

    def fill(self, organization: Any) -> None:
        if self.fills and organization.admin_id is None:
            name = self.find_free_name(organization.name)
            organization.admin = self.groups.create(name=name)

    def find_free_name(self, organization_name: str) -> str:
        name = f"{organization_name} Admin"
        for number in itertools.count(1):
            if not self.groups.filter(name=name).exists():
                break
            name = f"{organization_name} {number} Admin"
        return name


def is_done(step: str) -> bool:
    """Return whether a migration is recorded as applied."""
    applied = MigrationRecorder.Migration.objects.filter(app="orgadmin", name=step)
    return applied.exists()


def create_organizations() -> None:
    organizations = Release(WITHOUT).organizations
    organizations.bulk_create(
        organizations.model(name=f"Name {number % NAMES}") for number in range(ROWS)
    )


def save_until_done(release_step: str, awaited_step: str) -> None:
    """Create and edit organizations until a migration is done, and a little longer.

    Prints the ids as JSON, [created, edited].
    """
    release = Release(release_step)
    choice = random.Random(release_step)
    created = []
    edited = []
    afterwards = 0
    print("ready", flush=True)
    while len(created) < MOST_SAVES and afterwards < SAVES_AFTERWARDS:
        created.append(release.create(f"Name {choice.randrange(NAMES)}"))
        pk = choice.randint(1, ROWS)
        release.edit(pk)
        edited.append(pk)
        if is_done(awaited_step):
            afterwards += 1
        time.sleep(0.005)
    print(json.dumps([created, edited]))


def save_slowly(name: str) -> None:
    """Create an organization with its group, but commit only when a migration waits.

    On SQLite nothing shows that the migration waits, so it gets time to do so.
    """
    is_postgresql = connection.vendor == "postgresql"
    with transaction.atomic():
        Release(FILLING).create(name)
        print("ready", flush=True)
        for _ in range(100 if is_postgresql else 10):
            time.sleep(0.2)
            if is_postgresql and is_somebody_waiting():
                break


def is_somebody_waiting() -> bool:
    """Return whether a transaction waits for another one to end, on PostgreSQL."""
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT
            FROM pg_locks
            WHERE NOT granted
            AND locktype = 'transactionid'
        """)
        return cursor.rowcount > 0


def print_organizations() -> None:
    """Print a line of JSON, [[id, name, name of the group, phone]].

    Then print the number of groups.
    """
    organizations = Release(EMPTY).organizations.order_by("pk")
    rows = organizations.values_list("pk", "name", "admin__name", "phone")
    print(json.dumps(list(rows)))
    print(Group.objects.count())
