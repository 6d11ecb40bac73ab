"""Measure saving, naming, bulk creation, import and deletion.

    python -m benchmarks.writing [save name bulk import delete]

DATABASE_URL names a database that benchmarks.fill filled. Everything that is written is
undone. Prints a line of JSON for each measure.
"""

import argparse
import io
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

import django

django.setup()

# Models can be imported now that Django is set up.
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext

from benchmarks.compare import compare, find_ratio
from benchmarks.fill import rolled_back
from benchmarks.peers.models import UsualOrganization
from benchmarks.results import medians, print_result
from benchmarks.rows import insert_organizations
from orgadmin.access.groups import NameSeries, find_free_names
from orgadmin.access.roles import ADMIN
from orgadmin.models import Organization, OrganizationGroupObjectPermission, User
from orgadmin.records.imports.organizations import import_organizations

PAIRS = 200
CREATED = 100_000  # organizations in one bulk creation
IMPORTED = 46_524  # rows of the import that docs/operations.md describes
DELETED = 1_000


def print_measure(what: str, **values: object) -> None:
    print_result(what, database=connection.vendor, **values)


def find_peak_memory() -> int:
    """Return the megabytes that this process has used at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def time_and_undo(function: Callable[[], object]) -> float:
    """Call a function, undo what it writes, and return the seconds of the call."""
    start = time.perf_counter()
    with rolled_back():
        function()
        return time.perf_counter() - start


def save_ours(numbers: Iterator[int]) -> Callable[[], object]:
    """Save a new organization, and return a function that deletes it."""
    row = Organization(name=f"Measured {time.time()} Organization {next(numbers)}")
    row.save()
    return row.delete


def save_usual(numbers: Iterator[int]) -> Callable[[], object]:
    """Save a new organization the usual way; return a function that deletes it."""
    row = UsualOrganization(
        name=f"Measured {time.time()} UsualOrganization {next(numbers)}"
    )
    row.save()
    return UsualOrganization.objects.filter(pk=row.pk).delete


def measure_save() -> None:
    numbers = count()
    saves = {"ours": partial(save_ours, numbers), "usual": partial(save_usual, numbers)}
    queries = {}
    for name, save in saves.items():
        with CaptureQueriesContext(connection) as captured:
            save()
        queries[name] = len(captured)
    times = compare(saves, PAIRS)
    print_measure(
        "save of a new one",
        ms=medians(times),
        queries=queries,
        ratio=round(find_ratio(times, "usual", "ours"), 2),
    )


def take_names(name: str, taken: int) -> None:
    """Create so many groups named after one organization."""
    names = [f"{name} Admin"]
    names += [f"{name} {number} Admin" for number in range(1, taken)]
    Group.objects.bulk_create((Group(name=name) for name in names), batch_size=5_000)


def find_free_name(name: str) -> None:
    find_free_names([NameSeries.of(name, ADMIN)], using="default")


def measure_names() -> None:
    """Compare finding a free name where few, and where many names are taken."""
    with rolled_back():
        take_names("Few Twins", 100)
        take_names("Many Twins", 30_000)
        searches = {
            "100": partial(find_free_name, "Few Twins"),
            "30000": partial(find_free_name, "Many Twins"),
        }
        with CaptureQueriesContext(connection) as captured:
            searches["30000"]()
        times = compare(searches, PAIRS)
        print_measure(
            "a name, of so many taken",
            ms=medians(times),
            queries=len(captured),
            ratio=round(find_ratio(times, "30000", "100"), 2),
        )


def create_in_bulk() -> None:
    Organization.objects.bulk_create(
        Organization(name=f"Bulk {number}", reference=f"B{number}")
        for number in range(CREATED)
    )


def measure_bulk() -> None:
    """Compare bulk creation with bare SQL statements that write the same rows."""
    memory = find_peak_memory()
    times = {"bulk_create": [], "SQL": []}
    for _ in range(3):
        times["bulk_create"].append(time_and_undo(create_in_bulk))
        insert = partial(insert_organizations, CREATED, tag=" Bulk")
        times["SQL"].append(time_and_undo(insert))
    seconds = medians(times)
    print_measure(
        f"creation of {CREATED:,}",
        s=seconds,
        ratio=round(seconds["SQL"] / seconds["bulk_create"], 2),
        mb=find_peak_memory() - memory,
    )


def make_import_file() -> io.BytesIO:
    lines = ["name,reference,website,address\n"]
    for number in range(IMPORTED):
        website = f"https://example.com/{number}"
        lines.append(f"Imported {number},I{number},{website},1 Some Street\n")
    return io.BytesIO("".join(lines).encode())


def measure_import() -> None:
    """Compare an import with the bulk creation of as many organizations."""
    memory = find_peak_memory()
    file = make_import_file()
    organizations = [
        Organization(
            name=f"Alone {number}", reference=f"A{number}", address="1 Some Street"
        )
        for number in range(IMPORTED)
    ]
    import_seconds = time_and_undo(partial(import_organizations, file))
    growth = find_peak_memory() - memory
    create = partial(Organization.objects.bulk_create, organizations)
    create_seconds = time_and_undo(create)
    print_measure(
        f"import of {IMPORTED:,}",
        s={"import": round(import_seconds, 2), "bulk_create": round(create_seconds, 2)},
        ratio=round(import_seconds / create_seconds, 2),
        mb=growth,
    )


def measure_deletion() -> None:
    """Delete every third organization, and count the rows that should be gone."""
    with rolled_back():
        ids = Organization.objects.order_by("pk").values_list("pk", flat=True)
        pks = list(ids[: DELETED * 3 : 3])
        organizations = Organization.objects.filter(pk__in=pks)
        groups = []
        for admin, reviewer in organizations.values_list("admin", "reviewer"):
            groups += [admin, reviewer]
        start = time.perf_counter()
        with CaptureQueriesContext(connection) as captured:
            organizations.delete()
        seconds = time.perf_counter() - start
        print_measure(
            f"deletion of {DELETED:,}",
            s=round(seconds, 2),
            queries=len(captured),
            rows_left=count_rows_left(pks, groups),
        )


def count_rows_left(pks: list[int], groups: list[int]) -> int:
    permissions = OrganizationGroupObjectPermission.objects.filter(
        content_object__in=pks
    )
    memberships = User.groups.through.objects.filter(group__in=groups)
    return (
        Group.objects.filter(pk__in=groups).count()
        + permissions.count()
        + memberships.count()
    )


MEASURES = {
    "save": measure_save,
    "name": measure_names,
    "bulk": measure_bulk,
    "import": measure_import,
    "delete": measure_deletion,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measures", nargs="*", metavar="|".join(MEASURES))
    for name in parser.parse_args().measures or MEASURES:
        MEASURES[name]()


if __name__ == "__main__":
    main()
