"""Workers that are killed in each phase of an access review, and the result.

The processes are killed for real, in the middle of a statement of the database, and the
next one goes on. Nothing is done twice, and nothing is left out.
"""

import json
import random
import signal
from collections import Counter

from django.test import TransactionTestCase, tag

from tests.mailing import queues_mail
from tests.scratch import scratch_database

ORGANIZATIONS = 8
KILLS = 3

# Two admins and a reviewer in each organization. Everyone has a mailbox.
FILL = f"""
from datetime import timedelta
from django.utils import timezone
from orgadmin.models import Organization, ReviewScope, User
from orgadmin.people.reviews import start_review
from tests.factories import create_organization, create_superuser, create_user

create_superuser("root", email="root@example.com")
for number in range({ORGANIZATIONS}):
    acme = create_organization(f"Number {{number}}")
    for name in ("anna", "bert"):
        create_user(
            f"{{name}} {{number}}",
            email=f"{{name}}{{number}}@example.com",
            admin_of=[acme],
        )
    create_user(f"cleo {{number}}", reviewer_of=[acme])
due_on = timezone.now().date() + timedelta(days=60)
start_review(ReviewScope.ALL, due_on=due_on, ends_access=True)
"""

# Kills the process in the statement with this number; 0: never. The batches are small,
# so that a process has done some of them by then.
WORK = """
import itertools, os, signal
from datetime import timedelta
from unittest import mock
from django.db import connection, models
from django.utils import timezone
from orgadmin.models import AccessReview, ReviewItem
from orgadmin.people import outbox, review_due, review_items, review_schedule

numbers = itertools.count(1)
def run_or_die(execute, *arguments):
    if next(numbers) == {statement}:
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(*arguments)

review_items.BATCH = 2
review_schedule.PEOPLE_BATCH = 3
review_due.SECTIONS_BATCH = 2
review = AccessReview.objects.get()
with connection.execute_wrapper(run_or_die):
    {work}
"""

PREPARE = "review_items.continue_preparing()"
ASK = "review_schedule.send_requests(review)"
END = "review_schedule.run_reviews()"

BEGIN_REMINDER = """
from orgadmin.models import AccessReview
from orgadmin.people.review_schedule import remind_now
assert remind_now(AccessReview.objects.get())
"""
LET_IT_BE_DUE = """
from datetime import timedelta
from orgadmin.access.sql import read_clock
from orgadmin.models import AccessReview, Organization, ReviewItem
from orgadmin.people.review_decisions import Decision, decide
from orgadmin.models import ReviewAnswer, User

review = AccessReview.objects.get()
# In each organization, one of the admins is confirmed.
for item in ReviewItem.objects.filter(user_name__startswith="bert"):
    anna = User.objects.get(username=item.user_name.replace("bert", "anna"))
    decision = Decision(item.pk, ReviewAnswer.CONFIRMED)
    decide(item.section, [decision], actor=anna)
due_on = read_clock().date() - timedelta(days=2)
AccessReview.objects.update(due_on=due_on)
"""

READ = """
import json
from django_tasks_db.models import DBTaskResult
from orgadmin.models import (
    AccessReview, Membership, MembershipEvent, ReviewDecision, ReviewItem, ReviewNotice
)
from orgadmin.people.outbox import get_values

tasks = [task for task in DBTaskResult.objects.all() if "ask_to" in task.task_path]
left = MembershipEvent.objects.filter(event="left")
decisions = ReviewDecision.objects.values_list("item__user_name", "answer")
print(json.dumps({
    "items": list(ReviewItem.objects.values_list("user_name", flat=True)),
    "notices": list(ReviewNotice.objects.values_list("user_name", "kind")),
    "mail": [get_values(task)["user"] for task in tasks],
    "decisions": list(decisions),
    "left": list(left.values_list("user_name", flat=True)),
    "members": list(Membership.objects.values_list("user__username", flat=True)),
    "open": AccessReview.objects.open().count(),
}))
"""


class KilledTests(TransactionTestCase):
    @tag("K5")
    def test_killed_in_each_phase_nothing_is_lost_or_done_twice(self):
        self.chance = random.Random(1)
        with scratch_database() as self.scratch, queues_mail():
            self.scratch.run(FILL)
            self.run_and_kill(PREPARE)
            self.check_items()
            self.run_and_kill(ASK)
            self.check_requests(times=1)
            self.scratch.run(BEGIN_REMINDER)
            self.run_and_kill(ASK)
            self.check_requests(times=2)
            self.scratch.run(LET_IT_BE_DUE)
            # It looks for people who left before it closes anything.
            self.run_and_kill(END, first=14, last=34)
            self.check_end()

    def run_and_kill(self, work, first=3, last=14):
        """Start workers that are killed in one of these statements, and one more."""
        for _kill in range(KILLS):
            statement = self.chance.randint(first, last)
            process = self.scratch.start(WORK.format(statement=statement, work=work))
            _output, errors = process.communicate()
            self.assertEqual(process.returncode, -signal.SIGKILL, errors)
        self.scratch.run(WORK.format(statement=0, work=work))

    def read(self):
        return json.loads(self.scratch.run(READ))

    def check_items(self):
        expected = {"root"}
        for number in range(ORGANIZATIONS):
            expected |= {f"{name} {number}" for name in ("anna", "bert", "cleo")}
        self.assertEqual(sorted(self.read()["items"]), sorted(expected))

    def check_requests(self, times):
        stored = self.read()
        notices = Counter(name for name, _kind in stored["notices"])
        admins = [
            f"{name} {number}"
            for number in range(ORGANIZATIONS)
            for name in ("anna", "bert")
        ]
        self.assertEqual(notices, Counter(dict.fromkeys(admins, times)))
        mail = Counter(stored["mail"])
        self.assertEqual(len(mail), len(admins))
        self.assertEqual(set(mail.values()), {times})

    def check_end(self):
        stored = self.read()
        self.assertEqual(stored["open"], 0)
        answers = {"anna": "expired", "bert": "confirmed", "cleo": "expired"}
        decisions = [["root", "unconfirmed"]]
        for number in range(ORGANIZATIONS):
            for name, answer in answers.items():
                decisions.append([f"{name} {number}", answer])
        self.assertEqual(sorted(stored["decisions"]), sorted(decisions))
        left = [name for name, answer in decisions if answer == "expired"]
        self.assertEqual(sorted(stored["left"]), sorted(left))
        stayed = [name for name, answer in decisions if answer == "confirmed"]
        self.assertEqual(sorted(stored["members"]), sorted(stayed))
