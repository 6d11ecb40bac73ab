"""Operations that add a relation which every row must have.

docs/required-relation.md explains how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import IntegrityError, connections, migrations, models

from orgadmin.operations.transactions import commit

if TYPE_CHECKING:
    from django.db.backends.base.schema import BaseDatabaseSchemaEditor
    from django.db.migrations.state import ProjectState, StateApps

BATCH = 500  # rows in one transaction, which locks them
REPORT_EVERY = 100 * BATCH  # rows
MAX_SHOWN_IDS = 10  # in an error message
BASE_LENGTH = 50  # characters of a row's name that become part of its group's name


def count_noun(number: int, noun: str) -> str:
    """Return "1 row" or "2 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


@dataclass(frozen=True)
class RowWithoutGroup:
    """A row that needs a group."""

    pk: int
    name: str


@dataclass(frozen=True)
class RowWithGroup:
    """A row and its group."""

    pk: int
    group_pk: int


def is_taken(
    name: str, taken: set[str], looked_up: set[str], groups: models.QuerySet
) -> bool:
    """Return whether a group has this name, or is about to get it.

    `taken` contains the names of groups, and the names chosen for earlier rows. Names
    that are in `looked_up` but not in `taken` are free. Other names are looked up with
    a query.
    """
    if name in taken:
        return True
    return name not in looked_up and groups.filter(name=name).exists()


class PopulateGroups(migrations.RunPython):
    """Give each row that has no group a new one, in ascending order of IDs.

    A group gets the first of these names that is free:

    - "<base> <suffix>"
    - "<base> <id> <suffix>"
    - "<base> <id> 1 <suffix>", "<base> <id> 2 <suffix>", and so on

    The base is `name[:50].strip()`, or the name of the model if that is empty.

    Each batch is committed separately, so the migration needs `atomic = False`. If it
    is interrupted, it can be run again. The groups then get the same names as without
    the interruption.

    Reversing this operation deletes the groups of all rows, and prints how many
    memberships end.
    """

    # RunPython's own deconstruct() returns its functions instead of our arguments.
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
        for batch in self._commit_batches(
            schema_editor, self._create_groups, rows, groups
        ):
            filled += len(batch)
            if filled % REPORT_EVERY == 0:
                print(f" {filled:,} of {total:,} ...", end="", flush=True)

    def clear(self, apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
        rows = self._get_rows(apps, schema_editor).exclude(**{self.field: None})
        groups = self._get_groups(apps, schema_editor)
        self._announce_deletion(apps, rows)
        batches = self._commit_batches(schema_editor, self._delete_groups, rows, groups)
        for _batch in batches:
            # The generator deletes the groups. The loop only exhausts it.
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
        """Call `work(rows, groups)` in a transaction per batch, and yield the batches.

        `work` handles the first rows of the queryset, and returns them as a batch. In
        the meantime, others may save rows with lower IDs. So after the last row, this
        starts again from the first row, until it finds no more rows.
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

    def _create_groups(
        self, rows: models.QuerySet, groups: models.QuerySet
    ) -> list[RowWithoutGroup]:
        """Create and link a group for each row of the first batch. Return the batch."""
        locked = rows.select_for_update(no_key=True).values_list("pk", "name")
        batch = [RowWithoutGroup(pk, name) for pk, name in locked[:BATCH]]
        names = self._choose_names(batch, groups)
        created = groups.bulk_create([groups.model(name=name) for name in names])
        filled = [RowWithGroup(row.pk, group.pk) for row, group in zip(batch, created)]
        self._save_group_ids(filled, rows)
        return batch

    def _delete_groups(
        self, rows: models.QuerySet, groups: models.QuerySet
    ) -> list[RowWithGroup]:
        """Delete the groups of the first batch of rows, and return the batch."""
        pairs = rows.values_list("pk", self.field)[:BATCH]
        batch = [RowWithGroup(pk, group_pk) for pk, group_pk in pairs]
        pks = [row.pk for row in batch]
        rows.filter(pk__in=pks).update(**{self.field: None})
        groups.filter(pk__in=[row.group_pk for row in batch]).delete()
        return batch

    def _announce_deletion(self, apps: StateApps, rows: models.QuerySet) -> None:
        """Print how many groups are about to be deleted, and how many memberships."""
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
        self, batch: Sequence[RowWithoutGroup], groups: models.QuerySet
    ) -> list[str]:
        """Choose a free group name for each row.

        The result is the same as if the rows were handled one at a time. One query
        checks the first two candidate names of every row. Usually one of them is free.
        Otherwise, each further candidate is looked up separately.
        """
        looked_up: set[str] = set()
        for row in batch:
            looked_up.update(islice(self._candidate_names(row), 2))
        taken = set(groups.filter(name__in=looked_up).values_list("name", flat=True))
        chosen = []
        for row in batch:
            candidates = self._candidate_names(row)
            name = next(candidates)
            while is_taken(name, taken, looked_up, groups):
                name = next(candidates)
            chosen.append(name)
            taken.add(name)
        return chosen

    def _candidate_names(self, row: RowWithoutGroup) -> Iterator[str]:
        """Yield an endless sequence of names for a row's group, best names first."""
        model_name = self.model.rpartition(".")[2]
        base = row.name[:BASE_LENGTH].strip() or model_name
        yield f"{base} {self.suffix}"
        yield f"{base} {row.pk} {self.suffix}"
        for number in count(1):
            yield f"{base} {row.pk} {number} {self.suffix}"

    def _save_group_ids(
        self, filled: Sequence[RowWithGroup], rows: models.QuerySet
    ) -> None:
        """Store the group of each row.

        Runs the same statement for each row, because `bulk_update()` would build a
        large CASE expression.
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

    Raises `IntegrityError` if the relation is missing in some rows. The message lists
    the first of these rows, and says how to fill them: use `--fake` to mark the
    migration that fills the relation as not applied, and run it again. `nullable` is
    the migration before that one. Reversing this operation allows NULL again.

    On PostgreSQL, django-pg-zero-downtime-migrations first adds a NOT VALID check
    constraint and validates it. With this constraint, SET NOT NULL does not scan the
    table, so it blocks others only for a moment. Django's own backend scans the table.
    """

    # AlterField's own deconstruct() leaves out `nullable`.
    deconstruct = migrations.operations.base.Operation.deconstruct

    def __init__(
        self, model_name: str, name: str, field: models.Field, *, nullable: str
    ) -> None:
        self.nullable = nullable
        super().__init__(model_name, name, field)

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Alter the column. Django also calls this to reverse the operation."""
        model = from_state.apps.get_model(app_label, self.model_name)
        rows = model._base_manager.using(schema_editor.connection.alias)
        missing = rows.filter(**{self.name: None}).order_by("pk")
        if not schema_editor.collect_sql and missing.exists():
            self._drop_checks(schema_editor, model)
            raise self._describe_missing(app_label, missing)
        try:
            self._alter_column(app_label, schema_editor, from_state, to_state)
        except IntegrityError as error:
            # A row without the relation was saved after the check above.
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
        # Otherwise, Django drops the foreign key constraint and adds it again. In
        # between, the table has no constraint. Django's own backend also blocks writers
        # while it checks all rows.
        from_field.db_constraint = False
        to_field.db_constraint = False
        schema_editor.alter_field(from_model, from_field, to_field)

    def _drop_checks(self, schema_editor: BaseDatabaseSchemaEditor, model: Any) -> None:
        """Drop the check constraint "IS NOT NULL" that the database backend added.

        This is called after the migration has failed because of rows without the
        relation. django-zero-downtime-migrations may have added the check before it
        tried to set NOT NULL, and PostgreSQL enforces the check for new rows even if it
        is not validated yet. The previous release, which still serves requests, does
        not set the column. So it could not insert rows until the check is dropped.
        """
        column = model._meta.get_field(self.name).column
        # Any, because the methods used here are private.
        editor: Any = schema_editor
        for check in editor._constraint_names(model, [column], check=True):
            if check.endswith("_notnull"):
                editor.execute(editor._delete_check_sql(model, check))

    def _describe_missing(
        self, app_label: str, missing: models.QuerySet
    ) -> IntegrityError:
        """Return the error that lists the rows without the relation, and the remedy."""
        options = missing.model._meta
        number = missing.count()
        if number == 1:
            subject = f"1 {options.verbose_name} has"
        else:
            subject = f"{number:,} {options.verbose_name_plural} have"
        pks = missing.values_list("pk", flat=True)[:MAX_SHOWN_IDS]
        listed = ", ".join(str(pk) for pk in pks)
        if number > MAX_SHOWN_IDS:
            listed += " …"
        return IntegrityError(
            f"{subject} no {self.name}: {listed}. The previous release still saves such"
            f" rows. Stop it. Then run “manage.py migrate {app_label} {self.nullable}"
            f" --fake”, which only marks the migration that fills “{self.name}” as not"
            " done, and “manage.py migrate”, which runs it again."
        )
