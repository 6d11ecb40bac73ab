"""Fill a database with organizations, and with what the usual way and the floor need.

python -m benchmarks.fill COUNT    # into the database that DATABASE_URL names, which must be migrated and empty
"""

import sys
from contextlib import contextmanager

import django

django.setup()

from django.contrib.auth.models import Group, Permission  # noqa: E402
from django.contrib.contenttypes.models import ContentType  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from guardian.models import GroupObjectPermission  # noqa: E402

from benchmarks.peers.models import FLOORS, UsualOrganization  # noqa: E402
from benchmarks.rows import (
    NAME,
    find_first,
    insert_organizations,
    make_words,
    run,
    series,
    set_sequences,
)  # noqa: E402
from orgadmin.models import (
    Contact,
    Organization,
    OrganizationGroupObjectPermission,
    User,
)  # noqa: E402
from orgadmin.records.columns import FIELDS  # noqa: E402


def insert_usual(count):
    """Write what the usual way would: one group and two generic permissions each."""
    first, groups = find_first(UsualOrganization), find_first(Group)
    rows = series(first, count)
    run(
        f"INSERT INTO auth_group (id, name) SELECT {groups} + s.i, {NAME} || ' Usual Admin' FROM {rows}"
    )
    values = f"{NAME}, 'R' || s.i, 'https://example.com/' || s.i, 'office' || s.i || '@example.com', '', '', '', ''"
    run(
        f"INSERT INTO peers_usualorganization (id, {', '.join(FIELDS)}, admin_id)"
        f" SELECT s.i, {values}, {groups} + s.i FROM {rows}"
    )
    kind = ContentType.objects.get_for_model(UsualOrganization)
    table, text = GroupObjectPermission._meta.db_table, "CAST(o.id AS varchar(255))"
    for action in ("view", "change"):
        permission = Permission.objects.get(
            content_type=kind, codename=f"{action}_usualorganization"
        )
        run(
            f"INSERT INTO {table} (permission_id, content_type_id, object_pk, group_id)"
            f" SELECT {permission.pk}, {kind.pk}, {text}, o.admin_id FROM peers_usualorganization o"
            f" WHERE o.id >= {first}"
        )
    set_sequences(Group, UsualOrganization)


def insert_people(count):
    """Make an admin of 1, of 10 and of 1,000 organizations, from all over the table, with a floor for each."""
    User.objects.create_superuser("root", password="root")
    for number, (floor, contact) in FLOORS.items():
        user = User.objects.create_user(f"admin-{number}", is_staff=False)
        step = max(count // number, 1)
        usual = User.objects.create_user(f"usual-{number}", is_staff=True)
        ids = range(step // 2 + 1, count + 1, step)[:number]
        for model, person in ((Organization, user), (UsualOrganization, usual)):
            person.groups.add(
                *model.objects.filter(pk__in=ids).values_list("admin", flat=True)
            )
        staff = User.objects.create_user(f"floor-{number}", is_staff=True)
        kinds = ContentType.objects.get_for_models(floor, contact).values()
        staff.user_permissions.set(Permission.objects.filter(content_type__in=kinds))
        rows = Organization.objects.filter(admin__user=user)
        floor.objects.bulk_create(
            floor(**{name: getattr(row, name) for name in FIELDS}) for row in rows
        )
        Contact.objects.create(organization=rows[0], name="Ada", role="Secretary")
        contact.objects.create(
            organization=floor.objects.order_by("name")[0], name="Ada", role="Secretary"
        )


def fill(count):
    with transaction.atomic():
        make_words()
        insert_organizations(count)
        insert_usual(count)
        insert_people(count)
    run("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


@contextmanager
def undone():
    """Undo what is written in the context."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    call_command(
        "migrate", verbosity=0, run_syncdb=True
    )  # the peers have no migrations
    if not Organization.objects.exists():
        fill(int(sys.argv[1]))
    print(
        f"{Organization.objects.count():,} organizations, {OrganizationGroupObjectPermission.objects.count():,} grants"
    )
