"""Migrating to any step, and what processes do to a database there.

The functions at the end run in processes of their own, some of which are killed. What
they print is read by the tests that start them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from orgadmin.models import OrganizationGroupObjectPermission

COUNT = 5_000  # organizations that a process creates
PERMISSIONS = 5  # of the two groups of an organization

# {migration that writes data: the one before it}
DATA_STEPS = {
    "0003_create_admin_groups": "0002_organization_admin",
    "0006_create_reviewer_groups": "0005_organization_reviewer",
    "0009_grant_permissions": "0008_organization_admin_is_not_reviewer",
}


def migrate(target: str | None = None, **options: Any) -> str:
    """Migrate the app, to the latest step by default, and return what was printed."""
    arguments = ["orgadmin"] if target is None else ["orgadmin", target]
    out = io.StringIO()
    with redirect_stdout(out):
        call_command("migrate", *arguments, verbosity=0, **options)
    return out.getvalue()


def models_at(step: str) -> Callable[..., Any]:
    """Return `get_model(app_label, model_name)` for the models as of a migration."""
    loader = MigrationExecutor(connection).loader
    return loader.project_state(("orgadmin", step)).apps.get_model


def choose_names() -> dict[int, str]:
    """Return {id: name}. Many names are the same, and a quarter is long."""
    names = {}
    for pk in range(1, COUNT + 1):
        name = f"Name {pk % 900}"
        names[pk] = name.ljust(60, "x") if pk % 4 == 0 else name
    return names


def choose_taken_names() -> set[str]:
    """Return names that the groups of some of these organizations would get."""
    taken = set()
    for pk, name in choose_names().items():
        if pk % 7 == 0:
            base = name[:50]
            for suffix in ("Admin", "Reviewer"):
                taken.add(f"{base} {suffix}")
                taken.add(f"{base} {pk} {suffix}")
    return taken


def create_organizations() -> None:
    """Create the organizations, and groups with the taken names."""
    get_model = models_at("0002_organization_admin")
    Organization = get_model("orgadmin", "Organization")
    Organization.objects.bulk_create(
        Organization(pk=pk, name=name) for pk, name in choose_names().items()
    )
    OldGroup = get_model("auth", "Group")
    OldGroup.objects.bulk_create(OldGroup(name=name) for name in choose_taken_names())


def run_step(step: str) -> None:
    """Migrate to the step before, and then to this one. Print when that begins."""
    migrate(DATA_STEPS[step])
    print("begin", flush=True)
    migrate(step)
    print("end", flush=True)


def print_whether_halfway() -> None:
    """Print "True" if a step has created some of its rows, but not all."""
    groups = Group.objects.exclude(name__in=choose_taken_names()).count()
    permissions = OrganizationGroupObjectPermission.objects.count()
    has_some_groups = groups % COUNT > 0
    has_some_permissions = 0 < permissions < PERMISSIONS * COUNT
    print(has_some_groups or has_some_permissions)


def print_state() -> None:
    """Print a line for each organization, object permission and group."""
    get_model = models_at("0009_grant_permissions")
    organizations = get_model("orgadmin", "Organization").objects
    for row in organizations.values_list("pk", "admin__name", "reviewer__name"):
        print(row)
    permissions = get_model("orgadmin", "OrganizationGroupObjectPermission").objects
    for row in permissions.values_list(
        "content_object", "group__name", "permission__codename"
    ):
        print(row)
    for row in Group.objects.values_list("name"):
        print(row)
