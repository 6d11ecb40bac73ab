"""Migration operations for a required relation: docs/required-relation.md is the recipe, with these as its steps.
Imports nothing of the app, so that migrations may import it."""

import time
from copy import copy
from itertools import chain, count

from django.conf import settings
from django.db import (
    DatabaseError,
    IntegrityError,
    connections,
    migrations,
    transaction,
)

BATCH = 500  # rows in one transaction, which locks them for some 30 ms
SHOWN = 10  # ids in a message
ATTEMPTS = 100  # at one batch
BUSY = (
    "23505",
    "55P03",
    "40P01",
)  # SQLSTATE: somebody took the name, holds a row, or waits for what we hold


def commit(schema_editor, work, *arguments):
    """Return what `work` does in a transaction of its own; where somebody is at work on the same, do it anew. It waits
    80 ms for a lock, as others wait for it; and reads by indexes: statistics may be those of a small table."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with transaction.atomic(using=schema_editor.connection.alias):
                if schema_editor.connection.vendor == "postgresql":
                    schema_editor.execute(
                        "SET LOCAL lock_timeout = '80ms'; SET LOCAL enable_seqscan = off"
                    )
                return work(*arguments)
        except DatabaseError as error:
            if (
                getattr(error.__cause__, "sqlstate", None) not in BUSY
                or attempt == ATTEMPTS
            ):
                raise
            time.sleep(0.1)


class PopulateGroups(migrations.RunPython):
    """Give each row without one a group of its own, by ascending id, committed batch by batch: for a migration with
    `atomic = False`. Names: "<base> <suffix>", where taken "<base> <id> <suffix>", where even that is taken
    "<base> <id> 1 <suffix>" and on, with base = name[:50].strip() or the model's name. Interrupted, it is run again,
    and ends with the same names. Backwards it deletes the groups pointed at, after telling how many memberships end."""

    def __init__(self, model, field, suffix):
        self.model, self.field, self.suffix = model, field, suffix
        super().__init__(self.populate, self.clear)

    deconstruct = migrations.operations.base.Operation.deconstruct

    def populate(self, apps, schema_editor):
        rows, groups = self._querysets(apps, schema_editor)
        todo = rows = rows.filter(**{self.field: None})
        total, done = rows.count(), 0

        def fill():
            batch = list(
                todo.select_for_update(no_key=True).values_list("pk", "name")[:BATCH]
            )
            created = groups.bulk_create(
                [groups.model(name=name) for name in self._choose_names(batch, groups)]
            )
            self._point(
                rows, [(group.pk, pk) for group, (pk, _) in zip(created, batch)]
            )
            return batch

        while (batch := commit(schema_editor, fill)) or todo is not rows:
            done += len(batch)
            todo = (
                rows.filter(pk__gt=batch[-1][0]) if batch else rows
            )  # what was saved meanwhile below the last id
            if batch and done % (100 * BATCH) == 0:
                print(f" {done:,} of {total:,} ...", end="", flush=True)

    def clear(self, apps, schema_editor):
        rows, groups = self._querysets(apps, schema_editor)
        rows = rows.exclude(**{self.field: None})
        if total := rows.count():
            through = apps.get_model(
                settings.AUTH_USER_MODEL
            ).groups.through.objects.using(rows.db)
            ended = through.filter(group__in=rows.order_by().values(self.field)).count()
            text = f"Deleting the {self.field} groups of {total:,} rows of {self.model} ends {ended:,} memberships."
            print(f"\n    {text}", end="", flush=True)
        todo = pairs = rows.values_list("pk", self.field)

        def empty():
            batch = list(todo[:BATCH]) or list(pairs[:BATCH])
            rows.filter(pk__in=[pk for pk, _ in batch]).update(**{self.field: None})
            groups.filter(pk__in=[group for _, group in batch]).delete()
            return batch

        while batch := commit(schema_editor, empty):
            todo = pairs.filter(pk__gt=batch[-1][0])

    def _querysets(self, apps, schema_editor):
        alias, model = schema_editor.connection.alias, apps.get_model(self.model)
        return model._base_manager.using(alias).order_by("pk"), apps.get_model(
            "auth", "Group"
        ).objects.using(alias)

    def _choose_names(self, batch, groups):
        """Return the names for [(id, name)] as if one organization were handled after the other."""
        bases = [
            (pk, name[:50].strip() or self.model.rpartition(".")[2])
            for pk, name in batch
        ]
        wanted = {
            name
            for pk, base in bases
            for name in (f"{base} {self.suffix}", f"{base} {pk} {self.suffix}")
        }
        taken, names = (
            set(groups.filter(name__in=wanted).values_list("name", flat=True)),
            [],
        )
        for pk, base in bases:
            numbers = chain(("", f" {pk}"), (f" {pk} {number}" for number in count(1)))
            found = (f"{base}{number} {self.suffix}" for number in numbers)
            free = (
                n
                for n in found
                if n not in taken
                and (n in wanted or not groups.filter(name=n).exists())
            )
            names.append(next(free))
            taken.add(names[-1])
        return names

    def _point(self, rows, pairs):
        """Set the field for [(group id, row id)]: one prepared statement, sent for all rows at once."""
        opts, quote = rows.model._meta, connections[rows.db].ops.quote_name
        table, column, key = map(
            quote, (opts.db_table, opts.get_field(self.field).column, opts.pk.column)
        )
        with connections[rows.db].cursor() as cursor:
            cursor.executemany(
                f"UPDATE {table} SET {column} = %s WHERE {key} = %s", pairs
            )


class RequireRelation(migrations.AlterField):
    """Make a relation NOT NULL: refused, with their ids and the cure, while there are rows without.
    `before` is the migration before the one that fills them. On PostgreSQL the backend adds a check that is not valid
    yet, validates it, and lets it be the proof when it locks readers out. The foreign key stays as it is."""

    def __init__(self, model_name, name, field, *, before):
        self.before = before
        super().__init__(model_name, name, field)

    deconstruct = migrations.operations.base.Operation.deconstruct

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        model = from_state.apps.get_model(app_label, self.model_name)
        missing = (
            model._base_manager.using(schema_editor.connection.alias)
            .filter(**{self.name: None})
            .order_by("pk")
        )
        try:
            if not schema_editor.collect_sql and missing.exists():
                raise IntegrityError
            if schema_editor.connection.vendor != "postgresql":
                return super().database_forwards(
                    app_label, schema_editor, from_state, to_state
                )
            old = copy(model._meta.get_field(self.name))
            new = copy(
                to_state.apps.get_model(app_label, self.model_name)._meta.get_field(
                    self.name
                )
            )
            old.db_constraint = new.db_constraint = (
                False  # or Django drops it, and adds it again
            )
            schema_editor.alter_field(model, old, new)
        except IntegrityError as error:  # or saved since it was asked
            for check in schema_editor._constraint_names(
                model, [model._meta.get_field(self.name).column], check=True
            ):
                if check.endswith(
                    "_notnull"
                ):  # the backend's, which is obeyed before it is valid
                    schema_editor.execute(schema_editor._delete_check_sql(model, check))
            ids = ", ".join(map(str, missing.values_list("pk", flat=True)[:SHOWN]))
            raise IntegrityError(
                f"{missing.count():,} {self.model_name}s have no {self.name}, as the release before saved them: {ids} …"
                f" Stop that release. Then fill them: manage.py migrate {app_label} {self.before} --fake, which only"
                " marks the step that fills as not done, and manage.py migrate."
            ) from error
