"""Measure pages against the floor and the usual way, in one run.

    python -m benchmarks.pages [1 10 1000 staff filters home]

The numbers stand for the pages of an org admin with so many organizations. DATABASE_URL
and, if set, SMALL_DATABASE_URL name databases that benchmarks.fill filled. Prints a
line of JSON for each measure.
"""

import argparse
import os
import re
import secrets
import statistics
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from urllib.parse import urlencode

import django

django.setup()
warnings.filterwarnings("ignore", message="No directory at")

# Models can be imported now that Django is set up.
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from benchmarks.compare import compare, find_ratio
from benchmarks.peers.models import FLOORS, UsualOrganization
from benchmarks.results import medians, print_result
from benchmarks.router import use_database
from orgadmin.accounts.sessions.kept_forms import FIELD as FORM_KEY
from orgadmin.models import Organization, User

LIST = "/admin/orgadmin/organization/"
PEOPLE = "/admin/orgadmin/user/"
SEARCH = "/admin/search/"
USUAL_LIST = "/usual/peers/usualorganization/"
PARTS = ["1", "10", "1000", "staff", "filters", "home"]
PAIRS = int(os.environ.get("PAIRS", 200))


def sign_in(username: str, database: str = "default") -> Client:
    client = Client()
    with use_database(database):
        client.force_login(User.objects.get(username=username))
    return client


def get_page(client: Client, address: str, database: str = "default") -> None:
    with use_database(database):
        response = client.get(address)
    assert response.status_code == 200, (address, response.status_code)


class ChangeForm:
    """The form of a change page, which can be saved repeatedly."""

    def __init__(self, client: Client, address: str) -> None:
        self.client = client
        self.address = address
        self.data = self.read_fields()
        self.saves = 0

    def read_fields(self) -> dict[str, str]:
        page = self.client.get(self.address).content.decode()
        inputs = re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', page)
        fields = {name: value for name, value in inputs if not name.startswith("_")}
        for name in re.findall(r'<textarea[^>]* name="([^"]+)"', page):
            fields[name] = ""
        return fields

    def save(self) -> None:
        """Save another phone number each time."""
        self.saves += 1
        self.data["phone"] = f"+1 555 {self.saves:06}"
        if FORM_KEY in self.data:
            # A form that is sent again with the same key is not saved again.
            self.data[FORM_KEY] = secrets.token_urlsafe()
        response = self.client.post(
            self.address,
            urlencode(self.data),
            content_type="application/x-www-form-urlencoded",
        )
        assert response.status_code == 302, (self.address, response.status_code)
        # The page would show the new number as the initial one the next time.
        if "initial-phone" in self.data:
            self.data["initial-phone"] = self.data["phone"]

    def check(self) -> None:
        """Raise `AssertionError` if the last number was not saved."""
        assert self.read_fields()["phone"] == self.data["phone"], self.address


def check_rows(pages: Mapping[str, tuple[Client, str]], expected: int) -> None:
    """Raise `AssertionError` if a list does not show so many rows.

    `pages` is {name: (client, address)}.
    """
    for name, (client, address) in pages.items():
        text = client.get(address).content.decode()
        [table] = re.findall(r"<tbody.*?</tbody>", text, re.DOTALL)
        assert table.count("<tr") == expected, (name, address)


def count_queries(function: Callable[[], None]) -> int:
    with CaptureQueriesContext(connection) as queries:
        function()
    return len(queries)


def measure(
    what: str,
    functions: Mapping[str, Callable[[], None]],
    pairs: int = PAIRS,
    budget: float = 60.0,
) -> None:
    """Compare the first of {name: function} with the others, and print the result."""
    queries = {name: count_queries(function) for name, function in functions.items()}
    times = compare(functions, pairs, budget)
    first, *others = functions
    ratios = {}
    for other in others:
        ratios[f"{first}/{other}"] = round(find_ratio(times, first, other), 3)
    print_result(
        what,
        database=connection.vendor,
        pairs=len(times[first]),
        ms=medians(times),
        queries=queries,
        ratios=ratios,
    )


def measure_usual_list(number: int, ours: Callable[[], None]) -> None:
    """Compare our list with the usual way. That takes seconds, so five pairs do."""
    usual = partial(get_page, sign_in(f"usual-{number}"), USUAL_LIST)
    times = compare({"usual": usual, "ours": ours}, 5, 30.0)
    ratio = statistics.median(times["usual"]) / statistics.median(times["ours"])
    print_result(f"list of {number}: usual/ours", ratio=round(ratio, 1))


def measure_org_admin(number: int) -> None:
    """Measure the pages of a person who looks after so many organizations."""
    client = sign_in(f"admin-{number}")
    floor_client = sign_in(f"floor-{number}")
    our_list = partial(get_page, client, LIST)
    floor_address = f"/floor/peers/floor{number}/"
    floor_list = partial(get_page, floor_client, floor_address)
    lists = {"ours": our_list, "floor": floor_list}
    pages = {"ours": (client, LIST), "floor": (floor_client, floor_address)}
    check_rows(pages, expected=min(number, 100))
    if "small" in connections:
        small_client = sign_in(f"admin-{number}", "small")
        lists["ours, small"] = partial(get_page, small_client, LIST, "small")
    measure(f"list of {number}", lists)
    measure_usual_list(number, our_list)
    if number == 10:
        measure_change_page(client, floor_client)
        addresses = {
            "search": f"{LIST}?q=7919",
            "front page": "/admin/",
            "export": f"{LIST}export/",
        }
        for what, address in addresses.items():
            page = partial(get_page, client, address)
            measure(what, {"ours": page, "floor list": floor_list}, pairs=50)


def measure_change_page(client: Client, floor_client: Client) -> None:
    ours = Organization.objects.filter(admin__user__username="admin-10")[0]
    floor = FLOORS[10].organization.objects.order_by("name")[0]
    address = f"{LIST}{ours.pk}/change/"
    floor_address = f"/floor/peers/floor10/{floor.pk}/change/"
    pages = {
        "ours": partial(get_page, client, address),
        "floor": partial(get_page, floor_client, floor_address),
    }
    measure("change page", pages)
    overview = partial(get_page, client, f"{LIST}{ours.pk}/overview/")
    measure("overview", {"ours": overview, "change page": pages["ours"]})
    forms = {
        "ours": ChangeForm(client, address),
        "floor": ChangeForm(floor_client, floor_address),
    }
    saves = {name: form.save for name, form in forms.items()}
    measure("change page, saved", saves)
    for form in forms.values():
        form.check()


def measure_staff() -> None:
    """Measure the pages of platform staff."""
    client = sign_in("root")
    measure_staff_list(client)
    if "small" in connections:
        measure_growth(client)


def measure_staff_list(client: Client) -> None:
    """Compare the list of all organizations with the stock admin's."""
    total = UsualOrganization.objects.count()
    last = Organization.objects.order_by("sort_name", "pk").last()
    first_word = last.name.split()[0].lower()
    last_word = last.name.split()[-1]
    page_90 = f"?p={min(90, total // 100)}"
    # The last page of our list is the one after the hundredth row from the end.
    from_the_end = Organization.objects.order_by("-sort_name", "-pk")
    nearly_last = list(from_the_end.values_list("pk", flat=True)[:101])[-1]
    queries = {
        "first page": ("", ""),
        "page 90": (page_90, page_90),
        "sorted by reference": ("?o=2", "?o=2"),
        "search without hits": ("?q=zzqqxx", "?q=zzqqxx"),
        "search with many hits": (f"?q={first_word}", f"?q={first_word}"),
        "search of one": (f"?q={last_word}", f"?q={last_word}"),
        "deepest page": (f"?after={nearly_last}", f"?p={(total + 99) // 100}"),
    }
    lists = {"ours": (client, LIST), "stock": (client, USUAL_LIST)}
    check_rows(lists, expected=min(total, 100))
    for what, (our_query, stock_query) in queries.items():
        pages = {
            "ours": partial(get_page, client, LIST + our_query),
            "stock": partial(get_page, client, USUAL_LIST + stock_query),
        }
        measure(f"staff: {what}", pages, pairs=20, budget=30.0)


def measure_filters(client: Client) -> None:
    """Compare each filter and each order of the lists with the plain list."""
    day = (timezone.now() - timedelta(days=30)).date().isoformat()
    queries = [
        "?admins=none",
        "?admins=one",
        "?admins=ending",
        "?incomplete=1",
        "?invitations=pending",
        "?invitations=expired",
        f"?changed_since={day}",
        f"?created_since={day}",
        "?o=-name",
        "?o=reference",
        "?o=created",
        "?o=-created",
        "?o=changed",
        "?o=-changed",
    ]
    plain = partial(get_page, client, LIST)
    for query in queries:
        pages = {"filtered": partial(get_page, client, LIST + query), "plain": plain}
        measure(f"organizations: {query}", pages, pairs=30)
    measure_people(client)


def measure_people(client: Client) -> None:
    """Compare each filter of the list of people with the plain list."""
    queries = [
        "role=admin",
        "role=reviewer",
        "role=superuser",
        "role=staff",
        "status=active",
        "status=inactive",
        "status=cannot-sign-in",
        "status=never",
        "role=reviewer&status=inactive",
        "o=-person",
    ]
    plain = partial(get_page, client, PEOPLE)
    for query in queries:
        address = f"{PEOPLE}?{query}"
        pages = {"filtered": partial(get_page, client, address), "plain": plain}
        measure(f"people: ?{query}", pages, pairs=30)
    staff = sign_in("staff")
    for query in ("", "?status=active", "?status=inactive", "?o=-person"):
        address = f"{PEOPLE}{query}"
        pages = {"staff": partial(get_page, staff, address), "plain": plain}
        measure(f"people, for delegated staff: {query}", pages, pairs=30)


def measure_home(username: str) -> None:
    """Compare the home page and the search on every page with the plain list."""
    client = sign_in(username)
    name = Organization.objects.order_by("-sort_name", "-pk")[0].name.lower()
    first_word, *_others, last_word = name.split()
    addresses = {
        "home page": "/admin/",
        "search: names start with it": f"{SEARCH}?q={first_word}",
        "search: names contain it": f"{SEARCH}?q={first_word[1:]}",
        "search: in one name": f"{SEARCH}?q={last_word}",
        "search: similar names": f"{SEARCH}?q={first_word[:-1]}x{first_word[-1]}",
        "search: a typing error in the first letter": f"{SEARCH}?q=x{first_word[1:]}",
        "search: nothing": f"{SEARCH}?q=zzqqxx",
        "search: two letters": f"{SEARCH}?q={first_word[:2]}",
    }
    plain = partial(get_page, client, LIST)
    for what, address in addresses.items():
        pages = {"ours": partial(get_page, client, address), "plain list": plain}
        measure(f"{username}: {what}", pages, pairs=30, budget=30.0)


def list_pages_of_staff() -> dict[str, str]:
    """Return {name: address} of pages in the database that is in use."""
    user = User.objects.get(username="admin-10")
    group = user.groups.first()
    return {
        "user page": f"/admin/orgadmin/user/{user.pk}/change/",
        "organization page": f"{LIST}1/change/",
        "overview": f"{LIST}1/overview/",
        "new organization": f"{LIST}add/",
        "group page": f"/admin/auth/group/{group.pk}/change/",
        "people page": f"{LIST}1/people/",
    }


def measure_growth(client: Client) -> None:
    """Compare staff's pages with those of the small database."""
    small_client = sign_in("root", "small")
    addresses = list_pages_of_staff()
    with use_database("small"):
        small_addresses = list_pages_of_staff()
    for what, address in addresses.items():
        pages = {
            "ours": partial(get_page, client, address),
            "small": partial(get_page, small_client, small_addresses[what], "small"),
        }
        measure(what, pages)
    lists = {"groups": "/admin/auth/group/", "users": "/admin/orgadmin/user/"}
    for what, address in lists.items():
        pages = {
            "ours": partial(get_page, client, address),
            "small": partial(get_page, small_client, address, "small"),
        }
        measure(f"staff: {what}", pages, pairs=50)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="|".join(PARTS))
    for part in parser.parse_args().parts or PARTS:
        if part == "staff":
            measure_staff()
        elif part == "home":
            for username in ("root", "admin-10", "staff"):
                measure_home(username)
        elif part == "filters":
            measure_filters(sign_in("root"))
        else:
            measure_org_admin(int(part))


if __name__ == "__main__":
    main()
