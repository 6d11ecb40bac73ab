"""Records who views the list of all people."""

import time

from orgadmin.access.audit_log import SecurityEvent, record

# The list counts as viewed once per session and hour.
PEOPLE_VIEWED_FOR = 60 * 60  # seconds


def note_people_viewed(request):
    """Record that someone views the list of people, once per session and hour."""
    viewed_at = request.session.get("people_viewed_at", 0)
    if viewed_at > time.time() - PEOPLE_VIEWED_FOR:
        return
    record(SecurityEvent.PEOPLE_VIEWED, actor=request.user)
    request.session["people_viewed_at"] = time.time()
