import os
from collections import Counter
from collections.abc import Iterable
from itertools import chain

from django.conf import settings
from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.accounts.company.provider_check import Finding, Level
from orgadmin.management.deploy_check import examine_deployment, examine_providers
from orgadmin.management.output import EscapedCommand
from orgadmin.models import DoctorRun
from orgadmin.records.doctor.audit_check import (
    AUDIT_LOG_ERROR,
    describe_end,
    examine_audit_log,
)
from orgadmin.records.doctor.company_check import (
    UNKNOWN_REFERENCE,
    examine_mapped_roles,
)
from orgadmin.records.doctor.doctor import Issue, examine_organizations
from orgadmin.records.doctor.ends_check import END_IN_OTHER_GROUP, examine_ends
from orgadmin.records.doctor.key_check import REUSED_ID, examine_keys
from orgadmin.records.doctor.mail_check import (
    LATE_MAIL,
    STOPPED_WORKER,
    UNSENT_MAIL,
    examine_outbox,
)
from orgadmin.records.doctor.name_check import SAME_NAME, examine_names
from orgadmin.records.doctor.role_holder_check import examine_role_holders
from orgadmin.records.encryption import examine_second_factors

# The number of issues of each kind that are printed. Further issues are only counted.
MAX_SHOWN = 20

# `examine_keys` comes first, because it repairs sequences, and `examine_organizations`
# may create groups, which get keys from these sequences.
EXAMINATIONS = (
    examine_keys,
    examine_organizations,
    examine_names,
    examine_second_factors,
    examine_audit_log,
    examine_outbox,
    examine_ends,
    examine_role_holders,
    examine_mapped_roles,
)

# {kind of an error that the command cannot repair: what to do}
REMEDIES = {
    AUDIT_LOG_ERROR: (
        "A broken audit log cannot be repaired. Someone has changed the database:"
        " compare the log with its copy (see docs/operations.md)."
    ),
    REUSED_ID: (
        "A reused ID cannot be repaired: create the organization or the person again,"
        " and delete the one with this ID (see docs/operations.md)."
    ),
    SAME_NAME: (
        "Give one of these people another username or email address on their page."
    ),
    STOPPED_WORKER: "Start the worker, which sends the mail (see docs/operations.md).",
    LATE_MAIL: "Look in the worker's log, and check that the mail server accepts mail.",
    UNSENT_MAIL: (
        "Open “Unsent emails” as a superuser, and send the mail again or discard it"
        " (see docs/operations.md)."
    ),
    # For roles that have ended as well as for roles that have not.
    END_IN_OTHER_GROUP: (
        "Take these people out of the group, or clear “ends_at” in the table"
        " orgadmin_user_groups (see docs/operations.md)."
    ),
    UNKNOWN_REFERENCE: (
        "Correct the mapping in OIDC_ROLES, or the reference of the organization (see"
        " docs/operations.md)."
    ),
}


class Command(EscapedCommand):
    help = (
        "Find issues of the data, such as wrong groups and permissions, and of the"
        " outbox, and verify the audit log. The exit status is 1 if errors remain."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--fix",
            action="store_true",
            help="repair the errors that the command can repair, and seal events of the"
            " audit log",
        )
        parser.add_argument(
            "--providers",
            action="store_true",
            help="only test the connection to the OpenID providers in the settings",
        )
        parser.add_argument(
            "--deploy",
            action="store_true",
            help="only test what the site needs besides its data: database, mail,"
            " certificate, backup and so on",
        )

    def handle(self, *, fix: bool, providers: bool, deploy: bool, **options):
        if deploy:
            self._print_findings(examine_deployment())
            return
        if providers:
            self._examine_providers()
            return
        self._examine_records(fix=fix)

    def _examine_records(self, *, fix: bool) -> None:
        """Run all EXAMINATIONS, and print the issues, their numbers and the remedies.

        Raises `SystemExit` if errors remain.
        """
        levels: dict[str, Counter[str]] = {
            "error": Counter(),
            "repaired": Counter(),
            "note": Counter(),
        }
        can_repair = False
        for issue in chain.from_iterable(run(fix=fix) for run in EXAMINATIONS):
            level = choose_level(issue, fix=fix)
            if level == "error" and issue.is_repairable:
                can_repair = True
            levels[level][issue.kind] += 1
            if levels[level][issue.kind] <= MAX_SHOWN:
                self._print_issue(level, issue)
        self._print_totals(levels, fix=fix)
        if levels["repaired"]:
            record_repairs(levels["repaired"])
        errors = levels["error"]
        store_run(errors)
        self.stdout.write(describe_end())
        if settings.OIDC_PROVIDERS:
            self.stdout.write("To test company sign-in, run “doctor --providers”.")
        if errors:
            for line in list_remedies(errors, can_repair=can_repair):
                self.stdout.write(line)
            raise SystemExit(1)

    def _print_totals(self, levels: dict[str, Counter[str]], *, fix: bool) -> None:
        if levels["error"] or not fix:
            self._print_total(levels["error"], "error")
        if fix:
            self._print_total(levels["repaired"], "error", " repaired")
        self._print_total(levels["note"], "note")

    def _examine_providers(self) -> None:
        """Print the findings about each provider.

        Raises `SystemExit` if there is an error.
        """
        if not settings.OIDC_PROVIDERS:
            self.stdout.write("The settings have no OpenID provider.")
        self._print_findings(examine_providers())

    def _print_findings(self, findings: Iterable[Finding]) -> None:
        """Print the findings. Raises `SystemExit` if there is an error."""
        errors = 0
        for finding in findings:
            self.stdout.write(f"{finding.level}: {finding.check}: {finding.text}")
            errors += finding.level is Level.ERROR
        if errors:
            raise SystemExit(1)

    def _print_issue(self, level: str, issue: Issue) -> None:
        organization = issue.organization
        subject = ""
        if organization is not None:
            subject = f"{organization} (ID {organization.pk}): "
        self.stdout.write(f"{level}: {issue.kind}: {subject}{issue.text}")

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


def choose_level(issue: Issue, *, fix: bool) -> str:
    """Return "note", "error", or "repaired" for an error that was repaired."""
    if not issue.is_error:
        return "note"
    if fix and issue.is_repairable:
        return "repaired"
    return "error"


def list_remedies(errors: Counter[str], *, can_repair: bool) -> list[str]:
    """Return lines that say what to do about the remaining errors.

    `can_repair` is true if the command can repair at least one of these errors.
    """
    lines = []
    if can_repair:
        lines.append("Run “manage.py doctor --fix” to repair the errors.")
    lines += [remedy for kind, remedy in REMEDIES.items() if kind in errors]
    return lines


def store_run(errors: Counter[str]) -> None:
    """Store the number of remaining errors, for the home page of superusers."""
    values = {"at": timezone.now(), "errors": dict(errors)}
    DoctorRun.objects.update_or_create(pk=1, defaults=values)


def record_repairs(repaired: Counter[str]) -> None:
    details = {**repaired, "ID of the system user": os.getuid()}
    record(SecurityEvent.REPAIRED, details=details)
