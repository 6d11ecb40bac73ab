"""Pages at the size of the database: each against the floor and the usual way, in one run.

    python -m benchmarks.pages    # DATABASE_URL and SMALL_DATABASE_URL name databases that benchmarks.fill filled

Prints a line of JSON for each measure."""

import json
import os
import re
import statistics
import sys
import warnings
from urllib.parse import urlencode

import django

django.setup()
warnings.filterwarnings("ignore", message="No directory at")

from django.db import connection, connections  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from benchmarks.compare import compare, ratio  # noqa: E402
from benchmarks.peers.models import FLOORS, UsualOrganization  # noqa: E402
from benchmarks.router import Router  # noqa: E402
from orgadmin.models import Organization, User  # noqa: E402

LIST, USUAL = "/admin/orgadmin/organization/", "/usual/peers/usualorganization/"
FORM = "application/x-www-form-urlencoded"  # as browsers send forms without files
PAIRS = int(os.environ.get("PAIRS", 200))


def sign_in(username, alias="default"):
    Router.alias = alias
    client = Client()
    client.force_login(User.objects.get(username=username))
    Router.alias = "default"
    return client


def get(client, address, alias="default"):
    def load():
        Router.alias = alias
        response = client.get(address)
        Router.alias = "default"
        assert response.status_code == 200, (
            address,
            response.status_code,
            response.headers,
        )

    return load


def post(client, address):
    """Return a function that saves the form at an address with another phone number each time."""
    page = client.get(address).content.decode()
    fields = dict(re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', page))
    areas = re.findall(r'<textarea[^>]* name="([^"]+)"', page)
    data = {
        name: value for name, value in fields.items() if not name.startswith("_")
    } | dict.fromkeys(areas, "")
    count = 0

    def save():
        nonlocal count
        count += 1
        data["phone"] = f"+1 555 {count:06}"
        response = client.post(address, urlencode(data), content_type=FORM)
        assert response.status_code == 302, (address, response.status_code)
        if "initial-phone" in data:  # what the page would show next
            data["initial-phone"] = data["phone"]

    return save


def count_queries(function):
    with CaptureQueriesContext(connection) as queries:
        function()
    return len(queries)


def measure(what, things, pairs=PAIRS, budget=60.0):
    """Print the medians of {name: function}, the first against the others, and the queries of each."""
    queries = {name: count_queries(function) for name, function in things.items()}
    times = compare(things, pairs, budget)
    name, *others = things
    medians = {
        each: round(statistics.median(values), 2) for each, values in times.items()
    }
    ratios = {
        f"{name}/{other}": round(ratio(times, name, other), 3) for other in others
    }
    line = {
        "what": what,
        "database": connection.vendor,
        "pairs": len(times[name]),
        "ms": medians,
        "queries": queries,
    }
    print(json.dumps(line | {"ratios": ratios}), flush=True)


def slow(client, address, wanted):
    """The usual way takes seconds: a few runs tell enough."""
    times = compare({"usual": get(client, address), "ours": wanted}, 5, 30.0)
    return statistics.median(times["usual"]) / statistics.median(times["ours"])


def measure_people(number):
    ours, floor = sign_in(f"admin-{number}"), sign_in(f"floor-{number}")
    place = f"/floor/peers/floor{number}/"
    things = {"ours": get(ours, LIST), "floor": get(floor, place)}
    if "small" in connections:
        things["ours, small"] = get(sign_in(f"admin-{number}", "small"), LIST, "small")
    measure(f"list of {number}", things)
    times = slow(sign_in(f"usual-{number}"), USUAL, things["ours"])
    print(
        json.dumps({"what": f"list of {number}: usual/ours", "ratio": round(times, 1)}),
        flush=True,
    )
    if number == 10:
        change = {
            "ours": f"{LIST}{Organization.objects.filter(admin__user__username='admin-10')[0].pk}/change/",
            "floor": f"{place}{FLOORS[number][0].objects.order_by('name')[0].pk}/change/",
        }
        clients = {"ours": ours, "floor": floor}
        measure(
            "change page",
            {name: get(clients[name], address) for name, address in change.items()},
        )
        measure(
            "change page, saved",
            {name: post(clients[name], address) for name, address in change.items()},
        )
        for what, address in {
            "search": f"{LIST}?q=7919",
            "front page": "/admin/",
            "export": f"{LIST}export/",
        }.items():
            measure(
                what, {"ours": get(ours, address), "floor list": things["floor"]}, 50
            )


def measure_staff():
    root = sign_in("root")
    last, total = (
        Organization.objects.order_by("name", "pk").last(),
        UsualOrganization.objects.count(),
    )
    place = list(
        Organization.objects.order_by("-name", "-pk").values_list("pk", flat=True)[:101]
    )[-1]
    word = last.name.split()[0].lower()
    pages = {
        "first page": ("", ""),
        "page 90": (f"?p={min(90, total // 100)}",) * 2,
        "sorted by reference": ("?o=2", "?o=2"),
        "search without hits": ("?q=zzqqxx", "?q=zzqqxx"),
        "search with many hits": (f"?q={word}", f"?q={word}"),
        "search of one": (f"?q={last.name.split()[-1]}", f"?q={last.name.split()[-1]}"),
        "deepest page": (f"?after={place}", f"?p={(total + 99) // 100}"),
    }
    for what, (ours, stock) in pages.items():
        measure(
            f"staff: {what}",
            {"ours": get(root, LIST + ours), "stock": get(root, USUAL + stock)},
            20,
            30.0,
        )
    if "small" in connections:
        small = sign_in("root", "small")
        group = User.objects.get(username="admin-10").groups.first().pk
        for what, address in {
            "user page": f"/admin/orgadmin/user/{User.objects.get(username='admin-10').pk}/change/",
            "organization page": f"{LIST}1/change/",
            "new organization": f"{LIST}add/",
            "group page": f"/admin/auth/group/{group}/change/",
            "people page": f"{LIST}1/people/",
        }.items():
            low = address.replace(str(group), "1") if what == "group page" else address
            measure(
                what,
                {"ours": get(root, address), "small": get(small, low, "small")},
                PAIRS,
            )
        for what, address in {
            "groups": "/admin/auth/group/",
            "users": "/admin/orgadmin/user/",
        }.items():
            measure(
                f"staff: {what}",
                {"ours": get(root, address), "small": get(small, address, "small")},
                50,
            )


if __name__ == "__main__":
    for part in sys.argv[1:] or ["1", "10", "1000", "staff"]:
        measure_staff() if part == "staff" else measure_people(int(part))
