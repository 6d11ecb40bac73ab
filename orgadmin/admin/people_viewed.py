"""Records who views the list of all people."""

import time
from datetime import timedelta

from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.models import AuditEvent

# The list counts as viewed once per session and hour.
PEOPLE_VIEWED_FOR = 60 * 60  # seconds


def note_people_viewed(request):
    """Record that someone views the list of people, once per session and hour."""
    if is_noted(request):
        return
    record(SecurityEvent.PEOPLE_VIEWED, actor=request.user)
    request.session["people_viewed_at"] = time.time()


def note_people_suggested(request):
    """Record that people are suggested to someone who types, at most once per hour.

    Such a request runs beside others. It must not save the session: that would
    overwrite what another one has changed meanwhile, such as the message about a form.
    """
    if is_noted(request):
        return
    begin = timezone.now() - timedelta(seconds=PEOPLE_VIEWED_FOR)
    viewed = AuditEvent.objects.filter(
        event=SecurityEvent.PEOPLE_VIEWED, actor_key=request.user.pk, at__gt=begin
    )
    if not viewed.exists():
        record(SecurityEvent.PEOPLE_VIEWED, actor=request.user)


def is_noted(request):
    """Return whether this session has viewed the list within the hour."""
    viewed_at = request.session.get("people_viewed_at", 0)
    return viewed_at > time.time() - PEOPLE_VIEWED_FOR
