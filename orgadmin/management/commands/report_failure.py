import socket

from django.conf import settings
from django.core.mail import EmailMessage

from orgadmin.management.output import EscapedCommand

TEXT = """\
{unit} has failed on {host}. To see why:

    journalctl -u {unit} -n 30
    orgadmin doctor --deploy

docs/troubleshooting.md says what to do. Emails about this unit are sent at most once
every four hours.
"""


class Command(EscapedCommand):
    help = (
        "Notify FAILURE_EMAIL that a systemd unit has failed. The email is sent"
        " immediately, without the database and the worker, because these may have"
        " failed."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser):
        parser.add_argument("unit", help="such as orgadmin-backup.service")

    def handle(self, *, unit: str, **options):
        if not settings.FAILURE_EMAIL:
            self.stdout.write("FAILURE_EMAIL is not set, so nobody gets mail.")
            return
        host = socket.gethostname()
        EmailMessage(
            subject=f"{unit} has failed on {host}",
            body=TEXT.format(unit=unit, host=host),
            to=settings.FAILURE_EMAIL,
        ).send()
        recipients = ", ".join(settings.FAILURE_EMAIL)
        self.stdout.write(f"Sent mail to {recipients}.")
