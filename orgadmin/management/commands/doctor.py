from collections import Counter

from django.core.management.base import BaseCommand

from orgadmin.records.doctor import examine

SHOWN = 20  # findings of a kind


class Command(BaseCommand):
    help = "Find what is wrong with organizations, their groups and permissions. Exit status 1 where errors are left."

    def add_arguments(self, parser):
        parser.add_argument(
            "--fix",
            action="store_true",
            help="mend the errors (notes are never touched)",
        )

    def handle(self, *, fix, **options):
        errors, notes = Counter(), Counter()
        for kind, text, organization, error in examine(fix=fix):
            counts = errors if error else notes
            counts[kind] += 1
            if counts[kind] <= SHOWN:
                level = ("mended" if fix else "error") if error else "note"
                self.stdout.write(
                    f"{level}: {kind}: {organization} (id {organization.pk}): {text}"
                )
        for counts, what in (
            (errors, "errors mended" if fix else "errors"),
            (notes, "notes"),
        ):
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
            self.stdout.write(
                f"{counts.total():,} {what}" + (f": {kinds}" if kinds else "") + "."
            )
        if errors and not fix:
            self.stdout.write("Run “manage.py doctor --fix” to mend the errors.")
            raise SystemExit(1)
