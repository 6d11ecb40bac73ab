"""Fill a database with organizations, and with what they are compared with.

    python -m benchmarks.fill COUNT

DATABASE_URL names the database. It is migrated first, and filled if it is empty.
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import django

django.setup()

# Models can be imported now that Django is set up.
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection, models, transaction
from django.utils import timezone
from guardian.models import GroupObjectPermission

from benchmarks.peers.models import FLOORS, Floor, UsualOrganization
from benchmarks.rows import (
    COLUMNS,
    VALUES,
    find_first_free_id,
    hours_ago,
    insert_organizations,
    make_words,
    new_rows,
    run,
    set_sequences,
    vary_organizations,
)
from orgadmin.access.membership_log import Event
from orgadmin.access.roles import ROLES
from orgadmin.models import (
    Contact,
    Organization,
    OrganizationGroupObjectPermission,
    User,
)

# How many people there are in small databases. In large ones, there are 240 for 1,000
# organizations.
FEWEST_PEOPLE = 1_000
REVIEWERS = 20

BATCH = 10_000  # people
MEMBERS_BATCH = 2_000  # organizations
A_YEAR = 365 * 24  # hours


def migrate() -> None:
    call_command("migrate", verbosity=0)
    # The tables of the peers have no migrations.
    call_command("migrate", verbosity=0, run_syncdb=True)


def fill(count: int) -> None:
    with transaction.atomic():
        make_words()
        first = insert_organizations(count)
        add_members(first, count, add_people(count))
        vary_organizations(first)
        insert_usual_organizations(count)
        User.objects.create_superuser("root", password="root")
        create_staff()
        for number, floor in FLOORS.items():
            create_people(number, floor, count)
    run("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def add_people(count: int) -> list[int]:
    """Create people for so many organizations, and return their ids.

    Every third one holds no role, and half of these are inactive. One in 1,000 is
    delegated staff, and one in 1,000 has never signed in.
    """
    number_of_people = max(FEWEST_PEOPLE, count * 24 // 100)
    pks = []
    for start in range(0, number_of_people, BATCH):
        numbers = range(start, min(start + BATCH, number_of_people))
        people = User.objects.bulk_create(build_person(number) for number in numbers)
        pks += [person.pk for person in people]
    return pks


def build_person(number: int) -> User:
    return User(
        username=f"member-{number}",
        first_name=f"Member {number}",
        is_active=number % 6 != 5,
        is_staff=number % 1_000 == 7,
        last_login=None if number % 1_000 == 8 else timezone.now(),
    )


def add_members(first: int, count: int, people: Sequence[int]) -> None:
    """Give organizations from an id onwards admins: 5 % none, 5 % one, others two.

    One organization in 1,000 has a reviewer. Only 20 people are reviewers, as in a
    company with a few auditors, so it takes long to find them among all people. Half of
    the memberships have an end date, and a few have ended.
    """
    # The triggers that count admins compare each changed organization with all others
    # of the statement.
    for start in range(first, first + count, MEMBERS_BATCH):
        end = min(start + MEMBERS_BATCH, first + count)
        add_members_of(range(start, end), people)
    log_memberships(first)


def add_members_of(pks: range, people: Sequence[int]) -> None:
    first_person = people[0]
    holders = len(people) * 2 // 3
    condition = f"id BETWEEN {pks[0]} AND {pks[-1]}"
    for least, offset in ((0, 0), (1, 1)):
        run(f"""
            INSERT INTO orgadmin_user_groups (group_id, user_id, ends_at)
            SELECT
                admin_id,
                {first_person} + (id + {offset}) % {holders} * 3 / 2,
                {choose_end(f"id + {offset}")}
            FROM orgadmin_organization
            WHERE {condition} AND id % 20 > {least}
        """)
    run(f"""
        INSERT INTO orgadmin_user_groups (group_id, user_id, ends_at)
        SELECT
            reviewer_id,
            {first_person} + id / 1000 % {REVIEWERS} * 3 + 2,
            {choose_end("id / 1000")}
        FROM orgadmin_organization
        WHERE {condition} AND id % 1000 = 0
    """)


def choose_end(number: str) -> str:
    """Return SQL for the end of a membership. `number` is SQL for a number of it."""
    ends_at = hours_ago(f"({number}) * 7919 % {A_YEAR} - {A_YEAR} + 24")
    return f"CASE WHEN ({number}) % 4 < 2 THEN {ends_at} END"


def log_memberships(first: int) -> None:
    """Write to the membership log who joined organizations from an id onwards."""
    latest = "(SELECT MAX(id) FROM orgadmin_user_groups)"
    joined_at = hours_ago(f"({latest} - membership.id) / 100")
    for role in ROLES:
        run(f"""
            INSERT INTO orgadmin_membershipevent
                (organization_key, organization_name, event, user_key, user_name, role,
                actor_name, reason, at)
            SELECT organization.id, organization.name, '{Event.JOINED}', member.id,
                member.username, '{role.key}', '', '', {joined_at}
            FROM orgadmin_organization organization
            JOIN orgadmin_user_groups membership
                ON membership.group_id = organization.{role.attname}
            JOIN orgadmin_user member ON member.id = membership.user_id
            WHERE organization.id >= {first}
            ORDER BY membership.id
        """)


def create_staff() -> None:
    """Create a person of delegated staff who may view all organizations and people."""
    staff = User.objects.create_user("staff", is_staff=True)
    content_types = ContentType.objects.get_for_models(Organization, User)
    for model, content_type in content_types.items():
        codename = f"view_{model._meta.model_name}"
        staff.user_permissions.add(content_type.permission_set.get(codename=codename))


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

    One person is for our pages, one for the usual way, and one for the floor. Their
    organizations are spread over the tables of `count` rows.
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
