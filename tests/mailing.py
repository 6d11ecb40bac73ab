"""Mail in tests: sent at once, or kept in the outbox until a worker runs."""

import re
from datetime import timedelta
from unittest import mock

from django.core import mail as sent_mail
from django.test import override_settings
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from orgadmin.people import mail, outbox
from orgadmin.people.worker import Worker


def queues_mail():
    """Keep emails in the outbox until a worker runs, as on a server."""
    return use_backend("django_tasks_db.DatabaseBackend")


def sends_mail_after_commit():
    """Send emails without a worker, as in development."""
    return use_backend("orgadmin.people.at_once.AtOnceBackend")


def use_backend(path):
    return override_settings(TASKS={"default": {"BACKEND": path}})


def send_invitation(invitation):
    outbox.enqueue(mail.send_invitation, invitation=invitation.pk)


def work():
    """Run what is due in the outbox, as a worker does. Return how many tasks it was."""
    with keep_connection():
        return Worker().run(once=True)


def keep_connection():
    """Run a worker in the transaction of a `TestCase`, with its connection."""
    return mock.patch("orgadmin.people.worker.close_old_connections")


def work_later():
    """Run what is in the outbox, as if the pauses after failed attempts were over."""
    waiting = DBTaskResult.objects.filter(status="READY", run_after__year__lt=9999)
    waiting.update(run_after=timezone.now() - timedelta(seconds=1))
    return work()


def read_link():
    """Return the path of the link in the last message that was sent."""
    body = sent_mail.outbox[-1].body
    return re.search(r"https?://[^/\s]+(/\S+)", body)[1]


def fail_to_send(error=None):
    """Make each attempt to send mail fail, by default because the server is down."""
    return mock.patch(
        "django.core.mail.backends.locmem.EmailBackend.send_messages",
        side_effect=error or ConnectionRefusedError("down"),
    )
