"""When something last happened to a few organizations, according to some of the logs.

One statement asks all of these logs, so that the home page reads only those that have
something as new as what it shows. It is SQL, because it takes the ORM longer to compile
a query for each log than a database to execute it.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connection

from orgadmin.access.sql import placeholders, read_time
from orgadmin.models import Contact, Organization

# Parameters: the type of organizations, the keys of organizations as text, the type of
# contacts, the keys of organizations, and the keys of those whose members the person
# manages, four times.
NEWEST = """
    SELECT
        (
            SELECT MAX(action_time)
            FROM django_admin_log
            WHERE content_type_id = %s AND object_id IN ({own})
        ),
        (
            SELECT MAX(entry.action_time)
            FROM orgadmin_contact contact
            JOIN django_admin_log entry
                ON entry.object_id = CAST(contact.id AS text)
                AND entry.content_type_id = %s
            WHERE contact.organization_id IN ({own})
        ),
        (
            SELECT MAX(asked_at)
            FROM orgadmin_accessrequest
            WHERE organization_id IN ({managed})
        ),
        (
            SELECT MAX(decided_at)
            FROM orgadmin_accessrequest
            WHERE organization_id IN ({managed})
        ),
        (
            SELECT MAX(review.started_at)
            FROM orgadmin_reviewsection section
            JOIN orgadmin_accessreview review ON review.id = section.review_id
            WHERE section.organization_key IN ({managed})
        ),
        (
            SELECT MAX(review.completed_at)
            FROM orgadmin_reviewsection section
            JOIN orgadmin_accessreview review ON review.id = section.review_id
            WHERE section.organization_key IN ({managed})
        )
"""


@dataclass(frozen=True)
class Newest:
    """When the newest rows of logs were written. None stands for no row at all."""

    log_entries: datetime.datetime | None
    requests: datetime.datetime | None
    reviews: datetime.datetime | None


def find_newest(own: Collection[int], managed: Collection[int]) -> Newest:
    """Return the newest times of organizations that a person may view.

    They manage the members of those in `managed`. Runs one query. The logs may also
    have rows of which the person may see nothing.
    """
    if not own:
        return Newest(None, None, None)
    # No organization has the key 0.
    keys_of_managed = [*managed] or [0]
    find_type = ContentType.objects.get_for_model
    parameters: list[Any] = [
        find_type(Organization).pk,
        *(str(pk) for pk in own),
        find_type(Contact).pk,
        *own,
        *keys_of_managed * 4,
    ]
    statement = NEWEST.format(
        own=placeholders(own), managed=placeholders(keys_of_managed)
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        times = [read_time(time) for time in cursor.fetchone()]
    return Newest(
        log_entries=choose_latest(times[0:2]),
        requests=choose_latest(times[2:4]),
        reviews=choose_latest(times[4:6]),
    )


def choose_latest(
    times: Collection[datetime.datetime | None],
) -> datetime.datetime | None:
    return max((time for time in times if time is not None), default=None)
