"""The doctor's check that the mail in the outbox is sent."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils import timezone
from django.utils.translation import gettext_noop as _

from orgadmin.people.outbox import is_queued
from orgadmin.people.unsent import find_state
from orgadmin.records.doctor.doctor import Issue

STOPPED_WORKER = _("stopped worker")
LATE_MAIL = _("late mail")
UNSENT_MAIL = _("unsent mail")


def examine_outbox(*, fix: bool = False) -> Iterator[Issue]:
    """Yield what prevents mail from being sent. The doctor cannot repair any of it."""
    if not is_queued():
        return
    state = find_state()
    if state.is_stopped:
        text = "no worker has reported since yesterday"
        if state.seen_at is not None:
            text = f"no worker has reported since {state.seen_at:%Y-%m-%d %H:%M} UTC"
        yield Issue(STOPPED_WORKER, text, is_repairable=False)
    if state.is_late and state.waiting_since is not None:
        minutes = (timezone.now() - state.waiting_since).total_seconds() // 60
        text = (
            f"messages that wait to be sent: {state.waiting:,}; the oldest for"
            f" {minutes:,.0f} minutes"
        )
        yield Issue(LATE_MAIL, text, is_repairable=False)
    if state.given_up:
        text = f"messages that were given up: {state.given_up:,}"
        yield Issue(UNSENT_MAIL, text, is_repairable=False)
