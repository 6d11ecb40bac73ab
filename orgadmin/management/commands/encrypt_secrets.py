from orgadmin.management.output import EscapedCommand
from orgadmin.records.encryption import encrypt_all


class Command(EscapedCommand):
    help = (
        "Encrypt the secrets of second factors with the current SECRET_KEY. Run this"
        " after the key was replaced, before the old key is removed from"
        " SECRET_KEY_FALLBACKS. The exit status is 1 if a secret cannot be decrypted."
    )

    def handle(self, **options):
        report = encrypt_all()
        self.stdout.write(
            f"{report.encrypted:,} of {report.examined:,} second factors encrypted"
            " again."
        )
        if report.unreadable:
            self.stdout.write(
                f"{report.unreadable:,} cannot be decrypted. Add the secret key that"
                " encrypted them to SECRET_KEY_FALLBACKS, or remove these second"
                " factors on the list of people."
            )
            raise SystemExit(1)
