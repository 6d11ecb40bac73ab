"""Locks that prevent a review from being closed while decisions are stored in it.

Take these locks last, after the locks of people, organizations and sections.
"""

from __future__ import annotations

from django.db import connection

from orgadmin.models import AccessReview, ReviewIsComplete
from orgadmin.models.access_review import AccessReviewQuerySet


def keep_review_answerable(pk: int) -> None:
    """Prevent a review from being closed or completed until the transaction ends.

    Raises `ReviewIsComplete` unless people can answer the review now.
    """
    if not _lock_for_sharing(AccessReview.objects.answerable().filter(pk=pk)):
        raise ReviewIsComplete


def keep_review_open(pk: int) -> bool:
    """Prevent a review from being completed until the transaction ends.

    Returns False if it is already completed or canceled. Nothing may be added to it
    then.
    """
    return _lock_for_sharing(AccessReview.objects.open().filter(pk=pk))


def _lock_for_sharing(reviews: AccessReviewQuerySet) -> bool:
    """Lock the review with FOR SHARE, and return whether it matches the conditions.

    Many transactions can hold this lock at once, but the row cannot be changed. Django
    has no method for such a lock. If the statement has to wait, PostgreSQL checks the
    conditions again with the new row. SQLite has only one writer at a time anyway.
    """
    sql, parameters = reviews.order_by().values("pk").query.sql_with_params()
    if connection.vendor == "postgresql":
        sql = f"{sql} FOR SHARE"
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone() is not None
