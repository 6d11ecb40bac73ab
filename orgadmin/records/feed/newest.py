"""Finds when something last happened to a few organizations, in some of the logs.

One SQL statement queries these logs. The home page then reads only the logs that have
rows as new as the entries that it shows. The statement is SQL, because the ORM would
need more time to compile a query for each log than a database needs to execute it.
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

# Parameters:
#
# - the content type of organizations, and the keys of organizations as text
# - the content type of contacts, and the keys of organizations
# - four times, the keys of the organizations whose members the person manages
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
    """The times of the newest rows of logs. None if a log has no rows."""

    log_entries: datetime.datetime | None = None
    requests: datetime.datetime | None = None
    reviews: datetime.datetime | None = None


def find_newest(own: Collection[int], managed: Collection[int]) -> Newest:
    """Return when something last happened to organizations.

    `own` are the keys of organizations that a person can view, and `managed` of those
    whose members they can manage. The newest row of a log may be one that the person
    cannot see. Runs one query.
    """
    if not own:
        return Newest()
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
