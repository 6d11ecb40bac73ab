"""Saving, naming, bulk creation, import and deletion in a database that benchmarks.fill filled; all is undone.

    python -m benchmarks.writing [save name bulk import delete]

Prints a line of JSON for each measure."""

import io
import json
import resource
import statistics
import sys
import time
from itertools import count

import django

django.setup()

from django.contrib.auth.models import Group  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from benchmarks.compare import compare, ratio  # noqa: E402
from benchmarks.fill import undone  # noqa: E402
from benchmarks.peers.models import UsualOrganization  # noqa: E402
from benchmarks.rows import insert_organizations  # noqa: E402
from orgadmin.access.groups import NameSeries, find_free_names  # noqa: E402
from orgadmin.access.roles import ADMIN  # noqa: E402
from orgadmin.models import Organization, OrganizationGroupObjectPermission, User  # noqa: E402
from orgadmin.records.imports import import_organizations  # noqa: E402

BULK, RECORDS, DELETED = 100_000, 46_524, 1_000


def tell(what, **values):
    print(
        json.dumps({"what": what, "database": connection.vendor, **values}), flush=True
    )


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # MB


def measure_save():
    numbers, saved, queries = count(), {}, {}

    def saving(name, model):
        def save():
            row = model(name=f"Measured {time.time()} {model.__name__} {next(numbers)}")
            row.save()
            return lambda: (
                UsualOrganization.objects.filter(pk=row.pk).delete()
                if name == "usual"
                else row.delete()
            )

        return save

    for name, model in (("ours", Organization), ("usual", UsualOrganization)):
        saved[name] = saving(name, model)
        with CaptureQueriesContext(connection) as captured:
            saved[name]()
        queries[name] = len(captured)
    times = compare(saved, 200)
    medians = {
        name: round(statistics.median(values), 2) for name, values in times.items()
    }
    tell(
        "save of a new one",
        ms=medians,
        queries=queries,
        ratio=round(ratio(times, "usual", "ours"), 2),
    )


def measure_names():
    with undone():
        for name, taken in (("Few Twins", 100), ("Many Twins", 30_000)):
            names = [
                f"{name} Admin",
                *(f"{name} {number} Admin" for number in range(1, taken)),
            ]
            Group.objects.bulk_create(
                (Group(name=name) for name in names), batch_size=5_000
            )
        finds = {
            str(taken): lambda name=name: (
                find_free_names([NameSeries.of(name, ADMIN)], using="default") and None
            )
            for name, taken in (("Few Twins", 100), ("Many Twins", 30_000))
        }
        with CaptureQueriesContext(connection) as captured:
            finds["30000"]()
        times = compare(finds, 200)
        medians = {
            name: round(statistics.median(values), 2) for name, values in times.items()
        }
        tell(
            "a name, of so many taken",
            ms=medians,
            queries=len(captured),
            ratio=round(ratio(times, "30000", "100"), 2),
        )


def timed(function):
    start = time.perf_counter()
    with undone():
        function()
        return time.perf_counter() - start


def measure_bulk():
    before = peak()
    seconds = {"bulk_create": [], "SQL": []}
    for _ in range(3):
        names = (
            Organization(name=f"Bulk {number}", reference=f"B{number}")
            for number in range(BULK)
        )
        seconds["bulk_create"].append(
            timed(lambda names=names: Organization.objects.bulk_create(names))
        )
        seconds["SQL"].append(timed(lambda: insert_organizations(BULK, tag=" Bulk")))
    medians = {
        name: round(statistics.median(values), 2) for name, values in seconds.items()
    }
    tell(
        f"creation of {BULK:,}",
        s=medians,
        ratio=round(medians["SQL"] / medians["bulk_create"], 2),
        mb=peak() - before,
    )


def measure_import():
    before, columns = peak(), "name,reference,website,address\n"
    lines = (
        f"Imported {number},I{number},https://example.com/{number},1 Some Street\n"
        for number in range(RECORDS)
    )
    file, rows = io.BytesIO((columns + "".join(lines)).encode()), []
    for number in range(RECORDS):
        rows.append(
            Organization(
                name=f"Alone {number}", reference=f"A{number}", address="1 Some Street"
            )
        )
    seconds = {"import": timed(lambda: import_organizations(file))}
    growth = peak() - before
    seconds["bulk_create"] = timed(lambda: Organization.objects.bulk_create(rows))
    seconds = {name: round(value, 2) for name, value in seconds.items()}
    tell(
        f"import of {RECORDS:,}",
        s=seconds,
        ratio=round(seconds["import"] / seconds["bulk_create"], 2),
        mb=growth,
    )


def measure_deletion():
    with undone():
        ids = list(
            Organization.objects.order_by("pk").values_list("pk", flat=True)[
                : DELETED * 3 : 3
            ]
        )
        rows = Organization.objects.filter(pk__in=ids)
        groups = [
            group for pair in rows.values_list("admin", "reviewer") for group in pair
        ]
        start = time.perf_counter()
        with CaptureQueriesContext(connection) as captured:
            rows.delete()
        seconds = time.perf_counter() - start
        left = Group.objects.filter(pk__in=groups).count()
        left += OrganizationGroupObjectPermission.objects.filter(
            content_object__in=ids
        ).count()
        left += User.groups.through.objects.filter(group__in=groups).count()
        tell(
            f"deletion of {DELETED:,}",
            s=round(seconds, 2),
            queries=len(captured),
            rows_left=left,
        )


MEASURES = {
    "save": measure_save,
    "name": measure_names,
    "bulk": measure_bulk,
    "import": measure_import,
    "delete": measure_deletion,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or MEASURES:
        MEASURES[name]()
