import signal

from django.core.management.base import CommandError

from orgadmin.management.output import EscapedCommand
from orgadmin.people.outbox import is_queued
from orgadmin.people.worker import Worker


class Command(EscapedCommand):
    help = (
        "Send the mail in the outbox, and run its other tasks, such as large imports,"
        " until the command is stopped. It finishes the current task first. Several"
        " workers can run at the same time."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--once",
            action="store_true",
            help="run the tasks that are due, then stop",
        )

    def handle(self, *, once: bool, **options):
        if not is_queued():
            raise CommandError(
                "There is nothing to do: with DEBUG, mail is sent immediately."
            )
        worker = Worker()
        signal.signal(signal.SIGTERM, worker.stop)
        signal.signal(signal.SIGINT, worker.stop)
        number = worker.run(once=once)
        plural = "" if number == 1 else "s"
        self.stdout.write(f"Ran {number:,} task{plural}.")
