"""Measure the cost of end dates: for the list, and for the check of one object.

    python -m benchmarks.ends

Compares the access rule with the same rule without its condition on ends, for org
admins of whose memberships half have an end. DATABASE_URL names a database that
benchmarks.fill filled. Prints a line of JSON for each measure.
"""

import warnings
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from unittest import mock

import django

django.setup()
warnings.filterwarnings("ignore", message="No directory at")

# Models can be imported now that Django is set up.
from django.db import connection
from django.utils import timezone

from benchmarks.pages import LIST, get_page, measure, sign_in
from orgadmin.access.ends import NOT_ENDED
from orgadmin.models import Membership, Organization, User

NUMBERS = [1, 10, 1_000]


def give_ends(user: User) -> None:
    """Set the end of every second membership of a person to next year."""
    pks = list(user.memberships.order_by("pk").values_list("pk", flat=True)[::2])
    ends_at = timezone.now() + timedelta(days=365)
    Membership.objects.filter(pk__in=pks).update(ends_at=ends_at)


def call_with(condition: str, function: Callable[[], object]) -> None:
    """Call a function while the rule has this condition on the ends of memberships."""
    with mock.patch.dict(NOT_ENDED, {connection.vendor: condition}):
        function()


def compare_rules(what: str, function: Callable[[], object]) -> None:
    condition = NOT_ENDED[connection.vendor]
    rules = {
        "ends": partial(call_with, condition, function),
        "no ends": partial(call_with, "1 = 1", function),
    }
    measure(what, rules)


def list_permitted(user: User) -> None:
    list(Organization.objects.permitted(user)[:100])


def measure_org_admin(number: int) -> None:
    user = User.objects.get(username=f"admin-{number}")
    give_ends(user)
    pk = Organization.objects.permitted(user)[0].pk
    client = sign_in(user.username)
    what = f"ends, {number} organizations"
    compare_rules(f"{what}: list", partial(get_page, client, LIST))
    compare_rules(f"{what}: rule of the list", partial(list_permitted, user))
    check = partial(Organization.objects.permissions_on, user, pk)
    compare_rules(f"{what}: object check", check)
    address = f"{LIST}{pk}/overview/"
    compare_rules(f"{what}: overview", partial(get_page, client, address))


def main() -> None:
    for number in NUMBERS:
        measure_org_admin(number)


if __name__ == "__main__":
    main()
