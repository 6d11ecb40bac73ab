"""Reads the status file that docs/deployment/orgadmin-backup writes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, gettext_noop as _

from config.env_file import EnvFileError, read_env_file

# A backup is made every night, and restored for verification every week.
MAXIMUM_AGE = timedelta(hours=30)
MAXIMUM_AGE_OF_RESTORE = timedelta(days=9)

# The errors that `read_status()` raises if the file is missing or invalid. A name that
# is not a field of `BackupStatus` causes a TypeError.
STATUS_ERRORS = (OSError, ValueError, TypeError, EnvFileError)


@dataclass(frozen=True)
class BackupStatus:
    """When backups and their verifications last succeeded and failed."""

    backup: datetime | None = None
    failed: datetime | None = None
    verified: datetime | None = None  # a backup was restored
    unverified: datetime | None = None  # a backup could not be restored


@dataclass(frozen=True)
class BackupProblem:
    """What is wrong with the backups. `str()` is in English, `shown` is translated."""

    text: str
    at: datetime | None = None

    def __str__(self) -> str:
        if self.at is None:
            return self.text
        return self.text % {"when": f"{self.at:%Y-%m-%d %H:%M} UTC"}

    @property
    def shown(self) -> str:
        text = gettext(self.text)
        if self.at is None:
            return text
        when = date_format(timezone.localtime(self.at), "DATETIME_FORMAT")
        return text % {"when": when}


def read_status() -> BackupStatus:
    """Read the backup status file. Raises one of STATUS_ERRORS."""
    variables = read_env_file(Path(settings.BACKUP_STATUS))
    times = {
        name.lower(): datetime.fromisoformat(variable.value)
        for name, variable in variables.items()
    }
    if any(timezone.is_naive(time) for time in times.values()):
        raise ValueError("A time has no time zone.")
    return BackupStatus(**times)


def find_backup_problem() -> BackupProblem | None:
    """Return what is wrong with the backups.

    Returns None if nothing is wrong, or if BACKUP_STATUS is not set.
    """
    if not settings.BACKUP_STATUS:
        return None
    try:
        status = read_status()
    except FileNotFoundError:
        return BackupProblem(_("no backup has been made yet"))
    except STATUS_ERRORS:
        return BackupProblem(_("the file that BACKUP_STATUS names cannot be read"))
    now = timezone.now()
    if is_after(status.failed, status.backup):
        return BackupProblem(_("the backup failed at %(when)s"), status.failed)
    if status.backup is None or now - status.backup > MAXIMUM_AGE:
        return BackupProblem(_("the last backup is older than a day"))
    if is_after(status.unverified, status.verified):
        text = _("the backup could not be restored at %(when)s")
        return BackupProblem(text, status.unverified)
    if status.verified is None:
        return BackupProblem(_("no backup has been restored to verify it"))
    if now - status.verified > MAXIMUM_AGE_OF_RESTORE:
        text = _("no backup has been restored since %(when)s")
        return BackupProblem(text, status.verified)
    return None


def is_after(time: datetime | None, other: datetime | None) -> bool:
    return time is not None and (other is None or time > other)


def describe_backup() -> str:
    """Return one line about the backups."""
    if not settings.BACKUP_STATUS:
        return "backup: unknown (BACKUP_STATUS is not set)"
    problem = find_backup_problem()
    if problem is not None:
        return f"backup: {problem}"
    return f"backup: {read_status().backup:%Y-%m-%d %H:%M} UTC"
