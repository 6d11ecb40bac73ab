"""What docs/deployment/orgadmin-backup has reported in its file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from config.env_file import EnvFileError, read_env_file

# The backup runs each night, and the test of a restore each week.
MAXIMUM_AGE = timedelta(hours=30)
MAXIMUM_AGE_OF_RESTORE = timedelta(days=9)


@dataclass(frozen=True)
class BackupStatus:
    """When a backup last succeeded and failed, and could be restored or could not."""

    backup: datetime | None = None
    failed: datetime | None = None
    verified: datetime | None = None
    unverified: datetime | None = None


def read_status() -> BackupStatus:
    """Read the file of the backup. Raises OSError, ValueError or `EnvFileError`."""
    variables = read_env_file(Path(settings.BACKUP_STATUS))
    times = {
        name.lower(): datetime.fromisoformat(variable.value)
        for name, variable in variables.items()
    }
    if any(timezone.is_naive(time) for time in times.values()):
        raise ValueError("A time has no time zone.")
    return BackupStatus(**times)


def find_backup_problem() -> str | None:
    """Return what is wrong with the backups. None also means that nothing is known."""
    if not settings.BACKUP_STATUS:
        return None
    try:
        status = read_status()
    except FileNotFoundError:
        return "no backup has been made yet"
    except (OSError, ValueError, TypeError, EnvFileError):
        return f"{settings.BACKUP_STATUS} cannot be read"
    now = timezone.now()
    if is_after(status.failed, status.backup):
        return f"the backup failed at {status.failed:%Y-%m-%d %H:%M} UTC"
    if status.backup is None or now - status.backup > MAXIMUM_AGE:
        return "the last backup is older than a day"
    if is_after(status.unverified, status.verified):
        return f"the backup could not be restored at {status.unverified:%Y-%m-%d}"
    if status.verified is None:
        return "no backup has been restored to verify it"
    if now - status.verified > MAXIMUM_AGE_OF_RESTORE:
        return f"no backup has been restored since {status.verified:%Y-%m-%d}"
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
