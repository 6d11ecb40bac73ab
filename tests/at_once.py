"""How tasks run in tests, unless a test says otherwise."""

from django.db import connection
from django_tasks.backends.immediate import ImmediateBackend

from orgadmin.people.at_once import AtOnceBackend


class TestBackend(AtOnceBackend):
    """Sends mail as in development.

    A `TestCase` never commits. There, mail is sent when it is added to the outbox.
    """

    def enqueue(self, task, args, kwargs):
        blocks = connection.atomic_blocks
        if blocks and blocks[0]._from_testcase:
            return ImmediateBackend.enqueue(self, task, args, kwargs)
        return super().enqueue(task, args, kwargs)
