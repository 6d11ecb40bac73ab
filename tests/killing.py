"""Workers that are killed while they send emails, and what happened to the emails."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass

from tests.mail_server import MailServer, run_mail_server
from tests.scratch import Program, Scratch

# Each address is invited once. The tasks are added as a request adds them.
INVITE = """
from django.db import transaction
from orgadmin.models import Organization, User
from orgadmin.people import mail, outbox

ada = User(username="ada", email="ada@example.com")
ada.save()
acme = Organization.objects.create(name="Acme")
for number in range({mails}):
    with transaction.atomic():
        invitation = acme.invitations.create(
            email=f"person-{{number}}@example.com", role="admin", invited_by=ada
        )
        outbox.enqueue(mail.send_invitation, invitation=invitation.pk)
"""
# Instead of waiting until the tasks that a killed worker left are run again.
END_LEASES = """
from django_tasks_db.models import DBTaskResult
from orgadmin.people.worker import LEASE

for stored in DBTaskResult.objects.running():
    stored.started_at -= LEASE
    stored.save()
"""
COUNT = """
from django_tasks_db.models import DBTaskResult
print(DBTaskResult.objects.count())
"""


@dataclass(frozen=True)
class Outcome:
    """What happened to emails to different addresses."""

    arrived: int  # addresses that got their mail
    duplicates: int  # messages that an address had got before
    recognizable: int  # duplicates with the Message-ID and the link of the first one
    left: int  # tasks that are still in the outbox


def prepare(scratch: Scratch, server: MailServer) -> None:
    """Configure the processes of a database as on a server, with a mail server."""
    scratch.environment |= {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DEBUG": "false",
        "SECRET_KEY": "a secret key for this test",
        "EMAIL_URL": f"smtp://127.0.0.1:{server.port}",
    }


def send_and_kill(
    scratch: Scratch, *, mails: int, kills: int, end_leases: bool
) -> Outcome:
    """Send mail to as many addresses, and kill the worker as many times meanwhile.

    With `end_leases`, the last worker need not wait before it sends what the killed
    ones have left.
    """
    with run_mail_server() as server:
        prepare(scratch, server)
        scratch.run(INVITE.format(mails=mails))
        for number in range(1, kills + 1):
            kill_after(scratch, server, number * mails // (kills + 1))
        if end_leases:
            scratch.run(END_LEASES)
        worker = start_worker(scratch)
        wait_until_empty(scratch, worker)
        worker.terminate()
        _output, errors = worker.communicate()
        assert worker.returncode == 0, errors
        left = int(scratch.run(COUNT))
    return examine(server, left)


def start_worker(scratch: Scratch) -> Program:
    return scratch.start("manage.py", "worker")


def kill_after(scratch: Scratch, server: MailServer, number: int) -> None:
    """Start a worker, and kill it at some moment after `number` messages in all."""
    worker = start_worker(scratch)
    while len(server.messages) < number:
        assert worker.poll() is None, worker.communicate()
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.02))
    worker.kill()
    worker.communicate()


def wait_until_empty(scratch: Scratch, worker: Program) -> None:
    while int(scratch.run(COUNT)):
        assert worker.poll() is None, worker.communicate()
        time.sleep(1)


def examine(server: MailServer, left: int) -> Outcome:
    contents = [(message["To"], describe(message)) for message in server.messages]
    by_address = Counter(address for address, _content in contents)
    duplicates = len(contents) - len(by_address)
    recognizable = len(contents) - len(set(contents))
    return Outcome(len(by_address), duplicates, recognizable, left)


def describe(message) -> tuple[str, str]:
    return message["Message-ID"], message.get_body(["plain"]).get_content()
