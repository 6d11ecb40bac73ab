from collections import Counter

from orgadmin.management.output import EscapedCommand
from orgadmin.records.doctor import Issue, examine

# How many issues of each kind are printed. The others are only counted.
SHOWN = 20


class Command(EscapedCommand):
    help = (
        "Find issues of organizations, their groups and permissions. The exit status is"
        " 1 if errors remain."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--fix",
            action="store_true",
            help="repair the errors; notes are never repaired",
        )

    def handle(self, *, fix: bool, **options):
        errors: Counter[str] = Counter()
        notes: Counter[str] = Counter()
        for issue in examine(fix=fix):
            counts = errors if issue.is_error else notes
            counts[issue.kind] += 1
            if counts[issue.kind] <= SHOWN:
                self._print_issue(issue, fix)
        self._print_total(errors, "error", " repaired" if fix else "")
        self._print_total(notes, "note")
        if errors and not fix:
            self.stdout.write("Run “manage.py doctor --fix” to repair the errors.")
            raise SystemExit(1)

    def _print_issue(self, issue: Issue, fix: bool) -> None:
        if not issue.is_error:
            level = "note"
        elif fix:
            level = "repaired"
        else:
            level = "error"
        organization = issue.organization
        self.stdout.write(
            f"{level}: {issue.kind}: {organization} (ID {organization.pk}):"
            f" {issue.text}"
        )

    def _print_total(self, counts: Counter[str], noun: str, verb: str = "") -> None:
        """Print a line such as "3 errors: group name (2), search text (1)."."""
        total = counts.total()
        plural = "" if total == 1 else "s"
        line = f"{total:,} {noun}{plural}{verb}"
        if counts:
            line += ": " + ", ".join(
                f"{kind} ({count:,})" for kind, count in counts.items()
            )
        self.stdout.write(f"{line}.")
