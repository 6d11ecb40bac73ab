"""Fill a database with organizations, and with what they are compared with.

    python -m benchmarks.fill COUNT

DATABASE_URL names the database. It is migrated first, and filled if it is empty.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import django

django.setup()

# Models can be imported now that Django is set up.
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection, models, transaction
from guardian.models import GroupObjectPermission

from benchmarks.peers.models import FLOORS, Floor, UsualOrganization
from benchmarks.rows import (
    COLUMNS,
    VALUES,
    find_first_free_id,
    insert_organizations,
    make_words,
    new_rows,
    run,
    set_sequences,
    vary_organizations,
)
from orgadmin.models import (
    Contact,
    Organization,
    OrganizationGroupObjectPermission,
    User,
)

MEMBERS = 1_000


def migrate() -> None:
    call_command("migrate", verbosity=0)
    # The tables of the peers have no migrations.
    call_command("migrate", verbosity=0, run_syncdb=True)


def fill(count: int) -> None:
    with transaction.atomic():
        make_words()
        first = insert_organizations(count)
        add_members(first)
        vary_organizations(first)
        insert_usual_organizations(count)
        User.objects.create_superuser("root", password="root")
        for number, floor in FLOORS.items():
            create_people(number, floor, count)
    run("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def add_members(first: int) -> None:
    """Give organizations from an id onwards admins: 5 % none, 5 % one, others two."""
    people = User.objects.bulk_create(
        User(username=f"member-{number}", first_name=f"Member {number}")
        for number in range(MEMBERS)
    )
    first_person = people[0].pk
    for condition, offset in (("> 0", 0), ("> 1", 1)):
        run(f"""
            INSERT INTO orgadmin_user_groups (group_id, user_id)
            SELECT admin_id, {first_person} + (id + {offset}) % {MEMBERS}
            FROM orgadmin_organization
            WHERE id >= {first} AND id % 20 {condition}
        """)


def insert_usual_organizations(count: int) -> None:
    """Write what the usual way would: a group and two generic permissions for each."""
    first = find_first_free_id(UsualOrganization)
    first_group = find_first_free_id(Group)
    rows = new_rows(first, count)
    run(f"""
        INSERT INTO auth_group (id, name)
        SELECT {first_group} + new.id, new.name || ' Usual Admin'
        FROM {rows} AS new
    """)
    run(f"""
        INSERT INTO peers_usualorganization (id, {COLUMNS}, admin_id)
        SELECT new.id, {VALUES}, {first_group} + new.id
        FROM {rows} AS new
    """)
    content_type = ContentType.objects.get_for_model(UsualOrganization)
    for action in ("view", "change"):
        permission = content_type.permission_set.get(
            codename=f"{action}_usualorganization"
        )
        run(f"""
            INSERT INTO {GroupObjectPermission._meta.db_table}
                (permission_id, content_type_id, object_pk, group_id)
            SELECT
                {permission.pk},
                {content_type.pk},
                CAST(organization.id AS varchar(255)),
                organization.admin_id
            FROM peers_usualorganization AS organization
            WHERE organization.id >= {first}
        """)
    set_sequences(Group, UsualOrganization)


def create_people(number: int, floor: Floor, count: int) -> None:
    """Create three people who look after `number` organizations each.

    One is for our pages, one for the usual way, and one for the floor. Their
    organizations lie all over the tables of `count` rows.
    """
    ours = User.objects.create_user(f"admin-{number}", is_staff=False)
    usual = User.objects.create_user(f"usual-{number}", is_staff=True)
    step = max(count // number, 1)
    pks = range(step // 2 + 1, count + 1, step)[:number]
    add_to_groups(ours, Organization, pks)
    add_to_groups(usual, UsualOrganization, pks)
    stock = User.objects.create_user(f"floor-{number}", is_staff=True)
    content_types = ContentType.objects.get_for_models(
        floor.organization, floor.contact
    )
    stock.user_permissions.set(
        Permission.objects.filter(content_type__in=content_types.values())
    )
    organizations = Organization.objects.filter(admin__user=ours)
    fill_floor(floor, organizations)
    Contact.objects.create(organization=organizations[0], name="Ada", role="Secretary")


def add_to_groups(user: User, model: type[models.Model], pks: range) -> None:
    organizations = model.objects.filter(pk__in=pks)
    user.groups.add(*organizations.values_list("admin", flat=True))


def fill_floor(floor: Floor, organizations: models.QuerySet) -> None:
    """Copy the organizations of a person to tables of their own."""
    names = COLUMNS.split(", ")
    floor.organization.objects.bulk_create(
        floor.organization(**values) for values in organizations.values(*names)
    )
    first = floor.organization.objects.order_by("name")[0]
    floor.contact.objects.create(organization=first, name="Ada", role="Secretary")


@contextmanager
def rolled_back() -> Iterator[None]:
    """Undo everything that is written in the context."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int, help="number of organizations")
    options = parser.parse_args()
    migrate()
    if not Organization.objects.exists():
        fill(options.count)
    organizations = Organization.objects.count()
    permissions = OrganizationGroupObjectPermission.objects.count()
    print(f"{organizations:,} organizations, {permissions:,} object permissions")


if __name__ == "__main__":
    main()
