"""Mail about security events."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orgadmin.models import AuditEvent


def send_mail_about(event: AuditEvent) -> None:
    """Tell people about an event that concerns their account."""
