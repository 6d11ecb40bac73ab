"""The queryset of organizations: creation, updates and deletion in bulk."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from django.apps import apps
from django.contrib.auth.models import Group
from django.db import NotSupportedError, connections, models, transaction
from django.db.models import Q
from django.utils import timezone

# The log stores reasons in English. They are translated where they are shown.
from django.utils.translation import gettext_noop as _

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.access.batches import split_into_batches
from orgadmin.access.groups import create_groups, grant_permissions
from orgadmin.access.membership_log import Event, write_memberships
from orgadmin.access.origin import current_means
from orgadmin.access.roles import ROLES
from orgadmin.access.rule import RuleQuerySet
from orgadmin.access.sql import Statement, execute_together, placeholders
from orgadmin.models.fields import ComputedField
from orgadmin.models.membership import Membership
from orgadmin.models.role_holder import NEVER

if TYPE_CHECKING:
    from orgadmin.models import Organization, User

BATCH = 1_000  # rows

# Columns that only `write_without_history()` writes.
ARCHIVE_FIELDS = (
    "archived_at",
    "archived_by_key",
    "archived_by_name",
    "trashed_at",
    "trashed_by_key",
    "trashed_by_name",
)


def lock_and_list_pks(queryset: models.QuerySet, *, no_key: bool = False) -> list[int]:
    """Lock the rows of a queryset, and return their primary keys without duplicates.

    PostgreSQL cannot lock the rows of some queries, such as queries with DISTINCT.
    Therefore, a plain query locks the rows, and the queryset is only used as a
    subquery. With `no_key`, the lock is FOR NO KEY UPDATE: other transactions can still
    insert rows that refer to these rows.
    """
    rows = queryset.model._base_manager.using(queryset.db)
    rows = rows.filter(pk__in=queryset.order_by().values("pk")).order_by("pk")
    locked = rows.select_for_update(no_key=no_key)
    return list(locked.values_list("pk", flat=True))


def list_computed_fields(model: type[models.Model]) -> list[Any]:
    """Return the fields of a model that are computed from other fields."""
    fields = model._meta.concrete_fields
    return [field for field in fields if isinstance(field, ComputedField)]


class OrganizationQuerySet(RuleQuerySet):
    def owning_any(self, groups: Any) -> Self:
        """Return the organizations that own at least one of these groups.

        `groups` are groups, their IDs, or a query for either.
        """
        condition = Q()
        for role in ROLES:
            condition |= Q(**{f"{role.key}__in": groups})
        return self.filter(condition)

    def bulk_create(
        self,
        objs: Iterable[Organization],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Any = (),
        unique_fields: Any = (),
    ) -> list[Organization]:
        """Create organizations with their groups and permissions.

        Runs about ten queries per batch of up to BATCH rows. If it fails, the instances
        are also reset to their previous state. Raises `NotSupportedError` for
        `ignore_conflicts` and `update_conflicts`, and the errors of
        `ensure_no_groups()` if the organizations are not new.
        """
        if ignore_conflicts or update_conflicts:
            raise NotSupportedError(
                "Groups are created before the organizations, so the groups of a"
                " skipped or updated row would remain without an organization. Look"
                " up which organizations exist, and create only the others."
            )
        if batch_size is not None and batch_size <= 0:
            raise ValueError("Batch size must be a positive integer.")
        organizations = list(objs)
        size = min(batch_size or BATCH, BATCH)
        self._for_write = True
        with (
            self.model.restore_on_error(organizations),
            transaction.atomic(using=self.db),
        ):
            for batch in split_into_batches(organizations, size):
                create_groups(batch, using=self.db)
                super().bulk_create(batch, batch_size=size)
                self.complete(batch)
        return organizations

    def update(self, **kwargs: Any) -> int:
        """Update columns, and write history records without an author.

        Raises `ValueError` for the groups, which cannot be swapped. Does not rename the
        groups if the name changes. `manage.py doctor --fix` does that.
        """
        group_fields = {role.key for role in ROLES} | {role.attname for role in ROLES}
        refused = group_fields & kwargs.keys()
        if refused:
            names = ", ".join(sorted(refused))
            raise ValueError(f"The groups of organizations cannot be swapped: {names}.")
        self._for_write = True
        with transaction.atomic(using=self.db):
            pks = lock_and_list_pks(self, no_key=True)
            updated = super().update(**kwargs)
            for batch in split_into_batches(pks, BATCH):
                self.write_computed_texts(batch, set(kwargs))
                self.keep_history(batch, "~")
        return updated

    def delete(self, *, actor: User | None = None) -> tuple[int, dict[str, int]]:
        """Delete organizations permanently, with their groups and permissions.

        Logs that the members left. `actor` is the person to record in the logs and the
        field history.
        """
        self._not_support_combined_queries("delete")  # type: ignore[attr-defined]
        if self.query.is_sliced:
            raise TypeError("Cannot use 'limit' or 'offset' with delete().")
        self._for_write = True
        deleted: Counter[str] = Counter()
        with transaction.atomic(using=self.db):
            pks = lock_and_list_pks(self)
            for batch in split_into_batches(pks, BATCH):
                deleted += self._delete_batch(batch, actor)
        self._result_cache = None
        return deleted.total(), dict(deleted)

    delete.queryset_only = True  # type: ignore[attr-defined]

    def _delete_batch(self, pks: Collection[int], actor: User | None) -> Counter[str]:
        """Delete locked organizations and return {model label: number of rows}."""
        rows = self.model._base_manager.using(self.db).filter(pk__in=pks)
        group_ids = []
        for role in ROLES:
            group_ids += [getattr(organization, role.attname) for organization in rows]
        # All rows are logged, including memberships that have expired.
        memberships = Membership.objects.using(self.db)
        write_memberships(
            Event.LEFT,
            memberships.filter(group__in=group_ids),
            actor=actor,
            reason=_("The organization was deleted."),
        )
        self.keep_history(pks, "-", actor)
        record(
            SecurityEvent.ORGANIZATIONS_DELETED,
            actor=actor,
            details={"organizations": sorted(pks)},
        )
        _total, organizations = models.QuerySet.delete(rows)
        groups = Group.objects.using(self.db).filter(pk__in=group_ids)
        _total, others = groups.delete()
        return Counter(organizations) + Counter(others)

    def write_computed_texts(self, pks: Collection[int], written: set[str]) -> None:
        """Update the computed texts of stored rows, if any of their sources changed.

        `written` are the names of the fields that changed. Reads the rows, and writes
        them with one prepared statement, because `bulk_update()` would build a large
        CASE expression.
        """
        computed = list_computed_fields(self.model)
        sources = {source for field in computed for source in field.sources}
        if not written & sources:
            return
        rows = self.model._base_manager.using(self.db).filter(pk__in=pks)
        parameters = []
        for row in rows:
            texts = [field.compute(row) for field in computed]
            parameters.append([*texts, row.pk])
        columns = ", ".join(f"{field.column} = %s" for field in computed)
        statement = f"UPDATE orgadmin_organization SET {columns} WHERE id = %s"
        with connections[self.db].cursor() as cursor:
            cursor.executemany(statement, parameters)

    def count_active_admins(self, pks: Collection[int]) -> None:
        """Recompute `active_admins` and `admins_end_at` of locked organizations.

        Use this where the triggers did not run. This method uses SQL because `update()`
        leaves out these columns.
        """
        if not pks:
            return
        # Like the triggers, this also counts expired memberships, until the worker
        # removes their rows.
        statement = f"""
            UPDATE orgadmin_organization
            SET active_admins = (
                SELECT COUNT(*)
                FROM orgadmin_user_groups membership
                JOIN orgadmin_user member ON member.id = membership.user_id
                WHERE membership.group_id = orgadmin_organization.admin_id
                    AND member.is_active
            ),
            admins_end_at = (
                SELECT NULLIF(MAX(COALESCE(membership.ends_at, %s)), %s)
                FROM orgadmin_user_groups membership
                JOIN orgadmin_user member ON member.id = membership.user_id
                WHERE membership.group_id = orgadmin_organization.admin_id
                    AND member.is_active
            )
            WHERE id IN ({placeholders(pks)})
        """
        connection = connections[self.db]
        never = connection.ops.adapt_datetimefield_value(NEVER)
        with connection.cursor() as cursor:
            cursor.execute(statement, [never, never, *pks])

    def write_without_history(
        self, pks: Collection[int], values: Mapping[str, Any]
    ) -> None:
        """Write columns of locked organizations that `save()` and `update()` leave out.

        `values` is {field name: value}. Does not write history records, because these
        columns are not part of the field history.
        """
        connection = connections[self.db]
        fields: list[Any] = [self.model._meta.get_field(name) for name in values]
        parameters = [
            field.get_db_prep_save(value, connection)
            for field, value in zip(fields, values.values())
        ]
        columns = ", ".join(f"{field.column} = %s" for field in fields)
        with connection.cursor() as cursor:
            for batch in split_into_batches([*pks], BATCH):
                cursor.execute(
                    f"""
                        UPDATE orgadmin_organization
                        SET {columns}
                        WHERE id IN ({placeholders(batch)})
                    """,
                    [*parameters, *batch],
                )

    def complete(self, organizations: Collection[Organization]) -> None:
        """Grant the permissions of new organizations, and write their first records.

        The author of a record is the organization's attribute `_history_user`, if set.
        """
        pks_by_author = defaultdict(list)
        for organization in organizations:
            author = getattr(organization, "_history_user", None)
            pks_by_author[author].append(organization.pk)
        records = [
            self._build_records(pks, "+", author)
            for author, pks in pks_by_author.items()
        ]
        grant_permissions(organizations, using=self.db, followed_by=records)

    def keep_history(
        self, pks: Collection[int], history_type: str, author: User | None = None
    ) -> None:
        """Add the stored state of each organization to its history.

        `history_type` is "~" for changed or "-" for deleted, as in
        django-simple-history.
        """
        records = self._build_records(pks, history_type, author)
        execute_together([records], using=self.db)

    def _build_records(
        self, pks: Collection[int], history_type: str, author: User | None
    ) -> Statement:
        """Return a statement that copies rows into the history in the database."""
        operations = connections[self.db].ops
        HistoricalOrganization = apps.get_model("orgadmin", "HistoricalOrganization")
        columns = ", ".join(
            operations.quote_name(field.column)
            for field in HistoricalOrganization.tracked_fields
        )
        sql = f"""
            INSERT INTO orgadmin_historicalorganization
                ({columns}, history_date, history_type, history_user_id,
                history_user_key, history_user_name, history_change_reason)
            SELECT {columns}, %s, %s, %s, %s, %s, %s
            FROM orgadmin_organization
            WHERE id IN ({placeholders(pks)})
            ORDER BY id
        """
        now = operations.adapt_datetimefield_value(timezone.now())
        author_pk = author.pk if author else None
        name = author.get_username() if author else ""
        means = current_means.get() or None
        values = [now, history_type, author_pk, author_pk, name, means]
        return Statement(sql, [*values, *pks])
