"""Measure an access review of many organizations, and how much memory it takes.

    python -m benchmarks.reviews [ORGANIZATIONS]

Each of the organizations (100,000) has three members, who joined as the log says. Kills
the process that creates the items once on the way. Then measures an admin's page beside
the People page, asks everyone, and lets the review end all access that nobody has
confirmed. Prints a line of JSON for each database. Memory is the peak of the process
that does the work, above what it had before.
"""

import argparse
import sys
from functools import partial

from benchmarks.databases import measure_on_both
from benchmarks.results import print_result
from tests.scratch import Scratch

FILL = """
from benchmarks.rows import insert_organizations, make_words, run
from orgadmin.models import Organization, User

make_words()
first = insert_organizations({organizations})
people = [
    User(
        username=f"person-{{number}}",
        username_key=f"person-{{number}}",
        username_fold=f"person-{{number}}",
        sort_name=f"person-{{number}}",
        email=f"person-{{number}}@example.com",
        password="!",
    )
    for number in range({organizations})
]
User._base_manager.bulk_create(people, batch_size=5_000)
first_user = User.objects.order_by("pk").first().pk
shifts = [("admin", 0), ("reviewer", 1), ("reviewer", 2)]
for role, shift in shifts:
    number = f"(organization.id - {{first}} + {{shift}}) %% {organizations}"
    person = f"{{first_user}} + {{number}}"
    run(
        f'''
        INSERT INTO orgadmin_user_groups (group_id, user_id)
        SELECT organization.{{role}}_id, {{person}}
        FROM orgadmin_organization organization
        WHERE organization.id >= %s
        ''',
        first,
    )
    run(
        f'''
        INSERT INTO orgadmin_membershipevent
            (organization_key, organization_name, event, user_name, role, actor_name,
            reason, at, user_key)
        SELECT organization.id, organization.name, 'joined', 'person', '{{role}}', '',
            '', '2026-01-01 00:00:00+00', {{person}}
        FROM orgadmin_organization organization
        WHERE organization.id >= %s
        ''',
        first,
    )
if {is_postgresql}:
    run("VACUUM ANALYZE")
"""

# Prints the seconds and the additional megabytes of memory that a call takes.
MEASURE = """
import resource, sys, time
from datetime import timedelta
from django.utils import timezone
from orgadmin.models import AccessReview, ReviewItem, ReviewNotice, ReviewScope
from orgadmin.people import review_items, review_schedule
from orgadmin.people.reviews import start_review

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before = peak()
began = time.monotonic()
{work}
print(time.monotonic() - began, peak() - before)
"""

START = """
due_on = timezone.localdate() + timedelta(days=30)
review = start_review(ReviewScope.ALL, due_on=due_on, ends_access=True)
for _batch in range(5):
    review_items.prepare_batch(review.pk)
"""
GO_ON = "review_items.continue_preparing()"
ASK = """
review = AccessReview.objects.get()
while not review.asked:
    review_schedule.send_requests(review)
    review.refresh_from_db()
assert ReviewNotice.objects.count() == {organizations}
"""
END = """
AccessReview.objects.update(due_on=timezone.localdate() - timedelta(days=2))
while AccessReview.objects.open().exists():
    review_schedule.run_reviews()
"""
COUNT = """
from orgadmin.models import ReviewItem
print(ReviewItem.objects.count())
"""

# Prints the milliseconds of the People page and of the page of a review.
PAGES = """
import time
from statistics import median
from django.test import Client
from django.test.utils import setup_test_environment
from orgadmin.models import Organization, User

setup_test_environment()
organization = Organization.objects.all()[{organizations} // 2]
client = Client()
client.force_login(organization.admin.user_set.get())
for page in ("people", "review"):
    url = f"/admin/orgadmin/organization/{{organization.pk}}/{{page}}/"
    times = []
    for _time in range(21):
        began = time.perf_counter()
        assert client.get(url).status_code == 200
        times.append(time.perf_counter() - began)
    print(median(times) * 1000)
"""


def measure(url: str, organizations: int) -> bool:
    """Print the figures of one database, and return whether no item is missing."""
    is_postgresql = url.startswith("postgres")
    scratch = Scratch(url)
    scratch.environment |= {
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "DEBUG": "false",
        "SECRET_KEY": "a secret key for this benchmark",
        "EMAIL_URL": "smtp://127.0.0.1:9",
        "SECOND_FACTOR": "optional",
    }
    scratch.migrate()
    values = {"organizations": organizations, "is_postgresql": is_postgresql}
    scratch.run(FILL.format(**values))
    # The first process stops after five batches, as if it was killed.
    started = time_work(scratch, START)
    prepared = time_work(scratch, GO_ON)
    pages = [float(ms) for ms in scratch.run(PAGES.format(**values)).split()]
    asked = time_work(scratch, ASK.format(**values))
    ended = time_work(scratch, END)
    items = int(scratch.run(COUNT))
    print_result(
        "reviews",
        database=url.partition(":")[0],
        organizations=organizations,
        items=items,
        prepare_s=round(started[0] + prepared[0], 1),
        prepare_mb=round(max(started[1], prepared[1]), 1),
        people_page_ms=round(pages[0], 1),
        review_page_ms=round(pages[1], 1),
        ask_s=round(asked[0], 1),
        ask_mb=round(asked[1], 1),
        end_s=round(ended[0], 1),
        end_mb=round(ended[1], 1),
    )
    return items == 3 * organizations


def time_work(scratch: Scratch, work: str) -> tuple[float, float]:
    """Return the seconds and the megabytes of memory that some work takes."""
    output = scratch.run(MEASURE.format(work=work))
    seconds, megabytes = output.split()[-2:]
    return float(seconds), float(megabytes)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("organizations", type=int, nargs="?", default=100_000)
    options = parser.parse_args()
    measure_reviews = partial(measure, organizations=options.organizations)
    return 0 if measure_on_both(measure_reviews, durable=True) else 1


if __name__ == "__main__":
    sys.exit(main())
