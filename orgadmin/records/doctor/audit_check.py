"""The doctor's check of the audit log."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils.translation import gettext_noop as _

from orgadmin.access import audit_log
from orgadmin.records.doctor.doctor import Issue

AUDIT_LOG_ERROR = _("audit log")
UNSEALED_NOTE = "unsealed events"


def examine_audit_log(*, fix: bool = False) -> Iterator[Issue]:
    """Yield the broken links in the chain of the audit log, and unsealed events.

    A broken chain cannot be repaired. With `fix`, seals the unsealed events. Reads the
    whole log, one batch at a time.
    """
    for problem in audit_log.verify():
        text = f"position {problem.position}: {problem.text}"
        yield Issue(AUDIT_LOG_ERROR, text, is_repairable=False)
    unsealed = audit_log.find_unsealed(older_than=audit_log.SEALING_TIME).count()
    if unsealed:
        text = f"{unsealed:,} were not sealed within a minute"
        if fix:
            audit_log.publish()
            text += "; they are sealed now"
        yield Issue(UNSEALED_NOTE, text, is_error=False)


def describe_end() -> str:
    """Return the position and hash of the last event, to compare with other copies."""
    last = audit_log.find_last()
    if last is None:
        return "The audit log is empty."
    return f"The audit log ends at position {last.position} with hash {last.hash}."
