"""Migration operations for a relation that every row must have.

docs/required-relation.md is the recipe that uses them. Migrations may import this
module, because it imports nothing else of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.db import (
    DatabaseError,
    IntegrityError,
    connections,
    migrations,
    models,
    transaction,
)

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState, StateApps

BATCH = 500  # rows in one transaction, which locks them for about 30 ms
REPORT_EVERY = 100 * BATCH  # rows
SHOWN_IDS = 10  # in a message
BASE_LENGTH = 50  # characters of a row's name that its group carries

# How often a transaction is tried if others are in the way, and the wait in between.
ATTEMPTS = 100
RETRY_SECONDS = 0.1

# PostgreSQL's SQLSTATE if others are in the way
NAME_TAKEN = "23505"
ROW_LOCKED = "55P03"
DEADLOCK = "40P01"
BUSY = (NAME_TAKEN, ROW_LOCKED, DEADLOCK)

Result = TypeVar("Result")


def commit(
    schema_editor: BaseDatabaseSchemaEditor,
    work: Callable[..., Result],
    *arguments: Any,
) -> Result:
    """Call `work(*arguments)` in a transaction of its own, and return its result.

    If others are in the way, the transaction is rolled back and tried again.
    """
    attempt = 1
    while True:
        try:
            with transaction.atomic(using=schema_editor.connection.alias):
                set_limits(schema_editor)
                return work(*arguments)
        except DatabaseError as error:
            sqlstate = getattr(error.__cause__, "sqlstate", None)
            if sqlstate not in BUSY or attempt == ATTEMPTS:
                raise
        attempt += 1
        time.sleep(RETRY_SECONDS)


def set_limits(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Prepare a transaction, on PostgreSQL, for working beside others.

    It waits only briefly for a lock, because others wait for those that it holds. And
    it reads by indexes: the statistics may still be those of a small table.
    """
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            "SET LOCAL lock_timeout = '80ms'; SET LOCAL enable_seqscan = off"
        )


def count_noun(number: int, noun: str) -> str:
    """Return "1 row" or "2 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


@dataclass(frozen=True)
class EmptyRow:
    """A row that has no group yet."""

    pk: int
    name: str


@dataclass(frozen=True)
class FilledRow:
    """A row that has a group."""

    pk: int
    group_pk: int


class PopulateGroups(migrations.RunPython):
    """Give each row that has no group a new one, in ascending order of ids.

    Commits batch by batch, so the migration needs `atomic = False`. If it was
    interrupted, it can be run again, and the groups get the same names: "<base>
    <suffix>"; if that is taken "<base> <id> <suffix>"; if that is taken, too, "<base>
    <id> 1 <suffix>", "<base> <id> 2 <suffix>" and so on. The base is
    `name[:50].strip()`, or the name of the model if that is empty.

    Backwards, it deletes the groups of all rows, and prints how many memberships end.
    """

    # RunPython would write its functions into a migration, instead of our arguments.
    deconstruct = migrations.operations.base.Operation.deconstruct

    def __init__(self, model: str, field: str, suffix: str) -> None:
        self.model = model
        self.field = field
        self.suffix = suffix
        super().__init__(self.populate, self.clear)

    def populate(
        self, apps: StateApps, schema_editor: BaseDatabaseSchemaEditor
    ) -> None:
        rows = self._get_rows(apps, schema_editor).filter(**{self.field: None})
        groups = self._get_groups(apps, schema_editor)
        total = rows.count()
        filled = 0
        for batch in self._commit_batches(schema_editor, self._fill, rows, groups):
            filled += len(batch)
            if filled % REPORT_EVERY == 0:
                print(f" {filled:,} of {total:,} ...", end="", flush=True)

    def clear(self, apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
        rows = self._get_rows(apps, schema_editor).exclude(**{self.field: None})
        groups = self._get_groups(apps, schema_editor)
        self._announce_deletion(apps, rows)
        for _batch in self._commit_batches(schema_editor, self._empty, rows, groups):
            pass

    def _get_rows(
        self, apps: StateApps, schema_editor: BaseDatabaseSchemaEditor
    ) -> models.QuerySet:
        model = apps.get_model(self.model)
        return model._base_manager.using(schema_editor.connection.alias).order_by("pk")

    def _get_groups(
        self, apps: StateApps, schema_editor: BaseDatabaseSchemaEditor
    ) -> models.QuerySet:
        Group = apps.get_model("auth", "Group")
        return Group.objects.using(schema_editor.connection.alias)

    def _commit_batches(
        self,
        schema_editor: BaseDatabaseSchemaEditor,
        work: Callable[..., list],
        rows: models.QuerySet,
        groups: models.QuerySet,
    ) -> Iterator[list]:
        """Commit `work(rows, groups)` batch by batch, and yield the batches.

        `work` handles the first of the rows that it gets, and returns those. Meanwhile,
        others may save rows with lower ids. So when all rows are handled, this starts
        again, until a pass finds nothing.
        """
        while True:
            has_found_rows = False
            remaining = rows
            while batch := commit(schema_editor, work, remaining, groups):
                has_found_rows = True
                yield batch
                remaining = rows.filter(pk__gt=batch[-1].pk)
            if not has_found_rows:
                return

    def _fill(self, rows: models.QuerySet, groups: models.QuerySet) -> list[EmptyRow]:
        """Give the first rows a group each, and return the rows."""
        locked = rows.select_for_update(no_key=True).values_list("pk", "name")
        batch = [EmptyRow(pk, name) for pk, name in locked[:BATCH]]
        names = self._choose_names(batch, groups)
        created = groups.bulk_create([groups.model(name=name) for name in names])
        filled = [FilledRow(row.pk, group.pk) for row, group in zip(batch, created)]
        self._write(filled, rows)
        return batch

    def _empty(self, rows: models.QuerySet, groups: models.QuerySet) -> list[FilledRow]:
        """Delete the groups of the first rows, and return the rows."""
        pairs = rows.values_list("pk", self.field)[:BATCH]
        batch = [FilledRow(pk, group_pk) for pk, group_pk in pairs]
        pks = [row.pk for row in batch]
        rows.filter(pk__in=pks).update(**{self.field: None})
        groups.filter(pk__in=[row.group_pk for row in batch]).delete()
        return batch

    def _announce_deletion(self, apps: StateApps, rows: models.QuerySet) -> None:
        total = rows.count()
        if not total:
            return
        User = apps.get_model(settings.AUTH_USER_MODEL)
        memberships = User.groups.through.objects.using(rows.db)
        ended = memberships.filter(group__in=rows.order_by().values(self.field)).count()
        print(
            f"\n    Deleting the {self.field} groups of {count_noun(total, 'row')} of"
            f" {self.model} ends {count_noun(ended, 'membership')}.",
            end="",
            flush=True,
        )

    def _choose_names(
        self, batch: Sequence[EmptyRow], groups: models.QuerySet
    ) -> list[str]:
        """Return a name for each row, as if one row were handled after the other.

        One query for the two names that come first for each row. Almost always, one of
        them is free; if not, each further name is looked up.
        """
        looked_up: set[str] = set()
        for row in batch:
            looked_up.update(islice(self._list_names(row), 2))
        taken = set(groups.filter(name__in=looked_up).values_list("name", flat=True))
        chosen = []
        for row in batch:
            names = self._list_names(row)
            name = next(names)
            while name in taken or (
                name not in looked_up and groups.filter(name=name).exists()
            ):
                name = next(names)
            chosen.append(name)
            taken.add(name)
        return chosen

    def _list_names(self, row: EmptyRow) -> Iterator[str]:
        """Yield the names that a row's group may get, in order: infinitely many."""
        model_name = self.model.rpartition(".")[2]
        base = row.name[:BASE_LENGTH].strip() or model_name
        yield f"{base} {self.suffix}"
        yield f"{base} {row.pk} {self.suffix}"
        for number in count(1):
            yield f"{base} {row.pk} {number} {self.suffix}"

    def _write(self, filled: Sequence[FilledRow], rows: models.QuerySet) -> None:
        """Point rows at their groups.

        One prepared statement for all rows: `bulk_update()` would build a CASE of them.
        """
        connection = connections[rows.db]
        quote_name = connection.ops.quote_name
        options = rows.model._meta
        table = quote_name(options.db_table)
        column = quote_name(options.get_field(self.field).column)
        key = quote_name(options.pk.column)
        with connection.cursor() as cursor:
            cursor.executemany(
                f"UPDATE {table} SET {column} = %s WHERE {key} = %s",
                [(row.group_pk, row.pk) for row in filled],
            )


class RequireRelation(migrations.AlterField):
    """Make a relation NOT NULL.

    Raises `IntegrityError` if there are rows without it. The message names them and
    says what to do; `before`, the migration before the one that fills the relation, is
    part of that. Backwards, the relation may be NULL again.

    On PostgreSQL, the database backend adds a check that is not valid yet, validates
    it, and uses it as the proof that NOT NULL needs: readers are locked out only for
    that moment.
    """

    # AlterField would leave `before` out of a migration.
    deconstruct = migrations.operations.base.Operation.deconstruct

    def __init__(
        self, model_name: str, name: str, field: models.Field, *, before: str
    ) -> None:
        self.before = before
        super().__init__(model_name, name, field)

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Alter the column. Django also calls this for the way back."""
        model = from_state.apps.get_model(app_label, self.model_name)
        rows = model._base_manager.using(schema_editor.connection.alias)
        missing = rows.filter(**{self.name: None}).order_by("pk")
        if not schema_editor.collect_sql and missing.exists():
            self._drop_checks(schema_editor, model)
            raise self._describe_missing(app_label, missing)
        try:
            self._alter_column(app_label, schema_editor, from_state, to_state)
        except IntegrityError as error:
            # Since `missing` was read, such a row was saved.
            self._drop_checks(schema_editor, model)
            raise self._describe_missing(app_label, missing) from error

    def _alter_column(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        from_model = from_state.apps.get_model(app_label, self.model_name)
        to_model = to_state.apps.get_model(app_label, self.model_name)
        from_field = copy(from_model._meta.get_field(self.name))
        to_field = copy(to_model._meta.get_field(self.name))
        # Otherwise Django drops the foreign key and adds it again.
        from_field.db_constraint = False
        to_field.db_constraint = False
        schema_editor.alter_field(from_model, from_field, to_field)

    def _drop_checks(self, schema_editor: BaseDatabaseSchemaEditor, model: Any) -> None:
        """Drop the check that the backend added.

        The database obeys it even before it is valid, so the previous release could
        not save rows any more.
        """
        column = model._meta.get_field(self.name).column
        editor: Any = schema_editor  # these methods are private
        for check in editor._constraint_names(model, [column], check=True):
            if check.endswith("_notnull"):
                editor.execute(editor._delete_check_sql(model, check))

    def _describe_missing(
        self, app_label: str, missing: models.QuerySet
    ) -> IntegrityError:
        options = missing.model._meta
        number = missing.count()
        if number == 1:
            subject = f"1 {options.verbose_name} has"
        else:
            subject = f"{number:,} {options.verbose_name_plural} have"
        pks = missing.values_list("pk", flat=True)[:SHOWN_IDS]
        listed = ", ".join(str(pk) for pk in pks)
        if number > SHOWN_IDS:
            listed += " …"
        return IntegrityError(
            f"{subject} no {self.name}: {listed}. The previous release still saves such"
            f" rows. Stop it. Then run “manage.py migrate {app_label} {self.before}"
            f" --fake”, which only marks the migration that fills “{self.name}” as not"
            " done, and “manage.py migrate”, which runs it again."
        )
