"""Locks that keep access reviews as they are while something is decided in them.

They come last, after those of people, organizations and sections.
"""

from __future__ import annotations

from django.db import connection

from orgadmin.models import AccessReview, ReviewIsComplete
from orgadmin.models.access_review import AccessReviewQuerySet


def keep_answerable(pk: int) -> None:
    """Let nobody close or complete a review until the transaction ends.

    Raises `ReviewIsComplete` unless people can answer it now.
    """
    if not keep(AccessReview.objects.answerable().filter(pk=pk)):
        raise ReviewIsComplete


def keep_open(pk: int) -> bool:
    """Let nobody complete a review until the transaction ends. False: it is complete.

    So nothing is added to a review that someone has canceled.
    """
    return keep(AccessReview.objects.open().filter(pk=pk))


def keep(reviews: AccessReviewQuerySet) -> bool:
    """Lock the review for sharing: many can decide at once, but nobody changes it.

    Django has no such lock. If the statement has to wait, PostgreSQL checks the
    conditions again with the row as it is then. SQLite has one writer at a time anyway.
    """
    sql, parameters = reviews.order_by().values("pk").query.sql_with_params()
    if connection.vendor == "postgresql":
        sql = f"{sql} FOR SHARE"
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone() is not None
