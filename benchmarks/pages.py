"""Pages of org admins of 1, 10 and 1,000 organizations and of a superuser: milliseconds, median, and queries."""

import os
import statistics
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django  # noqa: E402

django.setup()
warnings.filterwarnings("ignore", message="No directory at")

from django.conf import settings  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext, setup_test_environment  # noqa: E402

from orgadmin.models import Organization, User  # noqa: E402

LIST = "/admin/orgadmin/organization/"
RUNS = 15


def measure(client, address):
    client.get(address)
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        client.get(address)
        times.append((time.perf_counter() - start) * 1000)
    with CaptureQueriesContext(connection) as queries:
        client.get(address)
    return f"{statistics.median(times):.1f} ms, {len(queries)} queries"


def prepare(count):
    """Return an org admin of `count` organizations, from all over the table."""
    user, created = User.objects.get_or_create(username=f"benchmark-{count}")
    if created:
        groups = Organization.objects.order_by("pk").values_list("admin_id", flat=True)
        user.groups.set(list(groups[: count * 7])[::7])
    return user


def main():
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    setup_test_environment()
    root, _ = User.objects.get_or_create(username="benchmark-root", is_superuser=True, is_staff=True)
    print(f"{Organization.objects.count():,} organizations, {connection.vendor}")
    for user in (*(prepare(count) for count in (1, 10, 1_000)), root):
        client = Client()
        client.force_login(user)
        pk = Organization.objects.permitted(user).values_list("pk", flat=True)[:1].get()
        pages = {"list": LIST, "change": f"{LIST}{pk}/change/", "search": f"{LIST}?q=7919", "front": "/admin/"}
        for name, address in pages.items():
            print(f"{user.username:<16} {name:<8} {measure(client, address)}", flush=True)


if __name__ == "__main__":
    main()
