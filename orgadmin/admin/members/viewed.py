"""Records who views the list of all people."""

import time
from datetime import timedelta
from functools import partial

from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.origin import run_after_response
from orgadmin.accounts.viewing import get_actor, get_viewing
from orgadmin.models import AuditEvent

# The list counts as viewed once per session and hour.
PEOPLE_VIEWED_FOR = 60 * 60  # seconds


def note_people_viewed(request):
    """Record that someone views the list of people, once per session and hour."""
    if is_noted(request):
        return
    record_viewed(request)
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
        event=SecurityEvent.PEOPLE_VIEWED,
        actor_key=get_actor(request).pk,
        at__gt=begin,
    )
    if not viewed.exists():
        record_viewed(request)


def record_viewed(request):
    """Record it for the superuser, if they view the site as someone else."""
    actor = get_actor(request)
    if get_viewing(request) is None:
        record(SecurityEvent.PEOPLE_VIEWED, actor=actor)
        return
    # Until the page is made, the database refuses to write.
    run_after_response(partial(record, SecurityEvent.PEOPLE_VIEWED, actor=actor))


def is_noted(request):
    """Return whether this session has viewed the list within the hour."""
    viewed_at = request.session.get("people_viewed_at", 0)
    return viewed_at > time.time() - PEOPLE_VIEWED_FOR
