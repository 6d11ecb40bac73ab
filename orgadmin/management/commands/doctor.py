import sys
from collections import Counter

from django.core.management.base import BaseCommand

from orgadmin.doctor import examine

SHOWN = 20  # findings of a kind


class Command(BaseCommand):
    help = "Find what is wrong with organizations, their groups and permissions. Exit status 1 where errors are left."

    def add_arguments(self, parser):
        parser.add_argument("--fix", action="store_true", help="mend the errors (notes are never touched)")

    def handle(self, *, fix, **options):
        errors, notes = Counter(), Counter()
        for finding in examine(fix=fix):
            counts = errors if finding.error else notes
            counts[finding.kind] += 1
            if counts[finding.kind] <= SHOWN:
                level = ("mended" if fix else "error") if finding.error else "note"
                where = f"{finding.organization} (id {finding.organization.pk})"
                self.stdout.write(f"{level}: {finding.kind}: {where}: {finding.text}")
        for counts, what in ((errors, "errors mended" if fix else "errors"), (notes, "notes")):
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
            self.stdout.write(f"{counts.total():,} {what}" + (f": {kinds}" if kinds else "") + ".")
        if errors and not fix:
            self.stdout.write("Run “manage.py doctor --fix” to mend the errors.")
            sys.exit(1)
