"""Creates the items of an access review: who has access to what, and why.

The database copies the rows itself, for a few thousand organizations at a time, so that
a million memberships need little memory in this process. Each batch is one transaction,
which also stores how far the review was prepared. If the process is killed, the next
one continues there.
"""

from __future__ import annotations

from django.db import connection, transaction
from django.db.models import Count, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now
from django_tasks import TaskContext, task

from orgadmin.access.ends import not_ended
from orgadmin.access.roles import ROLES
from orgadmin.access.sql import read_clock
from orgadmin.models import (
    AccessReview,
    Organization,
    ReviewItem,
    ReviewScope,
    ReviewSection,
)
from orgadmin.people.review_paths import (
    add_people_with_access_to_all,
    add_provider_groups,
)

# For how many organizations items are created in one transaction.
BATCH = 2_000

# Adds the sections of all organizations in a range of IDs. Parameters: the review ID,
# the ID before the range, and the last ID of the range.
ADD_SECTIONS = """
    INSERT INTO orgadmin_reviewsection
        (review_id, organization_key, organization_name, items_total, open_items)
    SELECT %s, organization.id, organization.name, 0, 0
    FROM orgadmin_organization organization
    WHERE organization.id > %s
        AND organization.id <= %s
        AND organization.archived_at IS NULL
    ON CONFLICT DO NOTHING
"""

# Adds the members with a role, for all sections in a range. Leaves out people whose
# membership has ended, and people who joined after the start of the review, unless the
# new role only replaced another one. Who joined later is decided by the order of the
# membership log, because its times may come from different clocks. Parameters: the
# review ID, the range, and the ID of the log's last entry when the review started.
ADD_MEMBERS = """
    INSERT INTO orgadmin_reviewitem
        (section_id, key, path, user_key, user_name, full_name, organization_name,
        role, detail, since, is_older, added_by_key, added_by_name, source,
        last_sign_in, ends_at)
    SELECT
        section.id,
        'member ' || person.id || ' {role}',
        'member',
        person.id,
        person.username,
        TRIM(person.first_name || ' ' || person.last_name),
        '',
        '{role}',
        '',
        joined.at,
        COALESCE(joined.event = 'found', {false}),
        joined.actor_key,
        COALESCE(joined.actor_name, ''),
        COALESCE(joined.source, ''),
        person.last_login,
        membership.ends_at
    FROM orgadmin_reviewsection section
    JOIN orgadmin_organization organization
        ON organization.id = section.organization_key
    JOIN orgadmin_user_groups membership
        ON membership.group_id = organization.{role}_id
    JOIN orgadmin_user person
        ON person.id = membership.user_id
    LEFT JOIN orgadmin_membershipevent joined
        ON joined.id = (
            SELECT MAX(event.id)
            FROM orgadmin_membershipevent event
            WHERE event.organization_key = organization.id
                AND event.user_key = person.id
                AND event.role = '{role}'
                AND event.event IN ('joined', 'found')
        )
    WHERE section.review_id = %s
        AND section.organization_key > %s
        AND section.organization_key <= %s
        AND {not_ended}
        AND organization.archived_at IS NULL
        AND (
            joined.id IS NULL
            OR joined.id <= %s
            OR EXISTS (
                SELECT 1
                FROM orgadmin_membershipevent previous
                WHERE previous.event <> 'left'
                    AND previous.id = (
                        SELECT MAX(event.id)
                        FROM orgadmin_membershipevent event
                        WHERE event.organization_key = organization.id
                            AND event.user_key = person.id
                            AND event.id < joined.id
                    )
            )
        )
    ON CONFLICT DO NOTHING
"""

# ADD_GRANTS adds the permissions that people have on single organizations in a range.
# ADD_GROUPS adds the permissions of groups that do not belong to the organization.
# Parameters of both: the ID of the section of platform staff, the review ID, and the
# range.
ADD_GRANTS = """
    INSERT INTO orgadmin_reviewitem
        (section_id, key, path, user_key, user_name, full_name, organization_key,
        organization_name, role, detail, is_older, added_by_name, source, last_sign_in)
    SELECT
        %s,
        'grant ' || person.id || ' ' || organization.id,
        'grant',
        person.id,
        person.username,
        TRIM(person.first_name || ' ' || person.last_name),
        organization.id,
        organization.name,
        '',
        {names},
        {false},
        '',
        '',
        person.last_login
    FROM orgadmin_reviewsection section
    JOIN orgadmin_organization organization
        ON organization.id = section.organization_key
    JOIN orgadmin_organizationuserobjectpermission user_grant
        ON user_grant.content_object_id = organization.id
    JOIN auth_permission permission
        ON permission.id = user_grant.permission_id
    JOIN orgadmin_user person
        ON person.id = user_grant.user_id
    WHERE section.review_id = %s
        AND section.organization_key > %s
        AND section.organization_key <= %s
        AND person.is_active
        AND organization.archived_at IS NULL
    GROUP BY person.id, organization.id
    ON CONFLICT DO NOTHING
"""
ADD_GROUPS = """
    INSERT INTO orgadmin_reviewitem
        (section_id, key, path, user_name, full_name, organization_key,
        organization_name, role, detail, is_older, added_by_name, source)
    SELECT
        %s,
        'group ' || auth_group.id || ' ' || organization.id,
        'group',
        '',
        '',
        organization.id,
        organization.name,
        '',
        auth_group.name || ': ' || {names},
        {false},
        '',
        ''
    FROM orgadmin_reviewsection section
    JOIN orgadmin_organization organization
        ON organization.id = section.organization_key
    JOIN orgadmin_organizationgroupobjectpermission group_grant
        ON group_grant.content_object_id = organization.id
    JOIN auth_permission permission
        ON permission.id = group_grant.permission_id
    JOIN auth_group
        ON auth_group.id = group_grant.group_id
    WHERE section.review_id = %s
        AND section.organization_key > %s
        AND section.organization_key <= %s
        AND group_grant.group_id NOT IN ({own_groups})
        AND organization.archived_at IS NULL
    GROUP BY auth_group.id, organization.id
    ON CONFLICT DO NOTHING
"""


@task(takes_context=True)
def prepare_review(context: TaskContext, *, review: int, language: str) -> None:
    """Create the items of a review, which can take minutes.

    If the worker is killed during this time, `continue_preparing()` continues.
    """
    prepare(review)


def continue_preparing() -> None:
    """Create the remaining items of all open reviews that do not have all of them.

    For example, the worker that created them was killed.
    """
    reviews = AccessReview.objects.open().filter(prepared_at=None)
    for pk in reviews.values_list("pk", flat=True):
        prepare(pk)


def prepare(pk: int) -> None:
    """Create all remaining items of a review, in batches."""
    while prepare_batch(pk):
        pass


@transaction.atomic
def prepare_batch(pk: int) -> bool:
    """Create the items of the next organizations. Return False if there are no more.

    Other workers wait for the lock of the review, and then continue after this batch.
    """
    reviews = AccessReview.objects.select_for_update(no_key=True)
    review = reviews.filter(pk=pk, prepared_at=None, completed_at=None).first()
    if review is None:
        return False
    staff, is_new = ReviewSection.objects.get_or_create(
        review=review, organization_key=None
    )
    if is_new:
        add_people_with_access_to_all(staff)
    end = find_end_of_batch(review)
    if end is None:
        add_provider_groups(review, staff)
        count_items(ReviewSection.objects.filter(pk=staff.pk))
        review.prepared_at = read_clock()
        review.save(update_fields=["prepared_at"])
        return False
    add_items(review, staff, end)
    review.prepared_to = end
    review.save(update_fields=["prepared_to"])
    return True


def find_end_of_batch(review: AccessReview) -> int | None:
    """Return the last organization ID of the next batch, or None if none are left."""
    if review.scope == ReviewScope.ALL:
        rows = Organization.objects.filter(pk__gt=review.prepared_to).order_by("pk")
        return max(rows.values_list("pk", flat=True)[:BATCH], default=None)
    sections = review.sections.filter(organization_key__gt=review.prepared_to)
    keys = sections.order_by("organization_key").values_list("organization_key")
    return max((key for (key,) in keys[:BATCH] if key is not None), default=None)


def add_items(review: AccessReview, staff: ReviewSection, end: int) -> None:
    """Add the sections and items of the organizations up to the ID `end`."""
    begin = review.prepared_to
    values = describe_database()
    with connection.cursor() as cursor:
        if review.scope == ReviewScope.ALL:
            cursor.execute(ADD_SECTIONS, [review.pk, begin, end])
        for role in ROLES:
            statement = ADD_MEMBERS.format(role=role.key, **values)
            cursor.execute(statement, [review.pk, begin, end, review.log_position])
        for statement in (ADD_GRANTS, ADD_GROUPS):
            parameters = [staff.pk, review.pk, begin, end]
            cursor.execute(statement.format(**values), parameters)
    sections = review.sections.filter(
        organization_key__gt=begin, organization_key__lte=end
    )
    count_items(sections)


def count_items(sections: QuerySet[ReviewSection]) -> None:
    """Store the number of items in each section. Empty sections need no answer."""
    items = ReviewItem.objects.filter(section=OuterRef("pk")).order_by()
    counts = items.values("section").annotate(number=Count("pk")).values("number")
    sections.update(items_total=Coalesce(Subquery(counts), 0))
    sections.update(open_items=F("items_total"))
    sections.filter(items_total=0).update(answered_at=Now())


def describe_database() -> dict[str, str]:
    """Return the parts of the statements that differ between the databases."""
    is_postgresql = connection.vendor == "postgresql"
    verb = "REPLACE(permission.codename, '_organization', '')"
    names = f"GROUP_CONCAT({verb}, ', ')"
    if is_postgresql:
        names = f"STRING_AGG({verb}, ', ' ORDER BY permission.id)"
    return {
        "false": "false" if is_postgresql else "0",
        "names": names,
        "not_ended": not_ended(),
        "own_groups": ", ".join(f"organization.{role.attname}" for role in ROLES),
    }
