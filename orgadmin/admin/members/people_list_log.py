"""Records in the audit log who views the list of all people."""

import time
from datetime import timedelta
from functools import partial

from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.origin import run_after_response
from orgadmin.accounts.view_as_session import get_actor, get_viewing
from orgadmin.models import AuditEvent

# The minimum time between two entries of a session in the audit log.
RECORDING_INTERVAL = 60 * 60  # seconds


def record_people_viewed(request):
    """Record that someone viewed the list of people, at most once per session and hour.

    Saves the time in the session.
    """
    if was_recorded_recently(request):
        return
    record_view(request)
    request.session["people_viewed_at"] = time.time()


def record_people_suggested(request):
    """Record that someone saw suggestions of people, at most once per person and hour.

    Records nothing if they viewed the list in the last hour, either. This request runs
    at the same time as others, so it must not save the session. Saving would overwrite
    changes of another request, such as a message.
    """
    if was_recorded_recently(request):
        return
    begin = timezone.now() - timedelta(seconds=RECORDING_INTERVAL)
    viewed = AuditEvent.objects.filter(
        event=SecurityEvent.PEOPLE_VIEWED,
        actor_key=get_actor(request).pk,
        at__gt=begin,
    )
    if not viewed.exists():
        record_view(request)


def record_view(request):
    """Record in the audit log that someone viewed the list of people.

    If a superuser views the site as someone else, the actor is the superuser.
    """
    actor = get_actor(request)
    if get_viewing(request) is None:
        record(SecurityEvent.PEOPLE_VIEWED, actor=actor)
        return
    # While a superuser views the site as someone else, the database refuses writes
    # until the page has been rendered.
    run_after_response(partial(record, SecurityEvent.PEOPLE_VIEWED, actor=actor))


def was_recorded_recently(request):
    """Return whether a view of this session was recorded within the last hour."""
    viewed_at = request.session.get("people_viewed_at", 0)
    return viewed_at > time.time() - RECORDING_INTERVAL
