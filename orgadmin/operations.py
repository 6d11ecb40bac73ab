"""Migration operations for a required relation: docs/required-relation.md is the recipe, with these as its steps.
Imports nothing of the app, so that migrations may import it."""

import time

from django.conf import settings
from django.db import IntegrityError, OperationalError, connections, migrations, transaction
from django_zero_downtime_migrations.backends.postgres.schema import PGAccessExclusive, PGShareUpdateExclusive

BATCH = 500  # rows in one transaction, which locks them for some 30 ms
SHOWN = 10  # ids in a message
ATTEMPTS = 100  # lost races for the names of one batch


class PopulateGroups(migrations.RunPython):
    """Give each row without one a group of its own, by ascending id, committed batch by batch.
    Names: "<base> <suffix>", where that is taken "<base> <id> <suffix>", where even that is taken "<base> <id> 1
    <suffix>" and on, with base = name[:50].strip() or the model's name. A batch commits groups and rows together, so an
    interrupted run is simply run again, and ends with the same names. Backwards it deletes exactly the groups that the
    field points at, after telling how many memberships that ends. For a migration of its own, with `atomic = False`."""

    def __init__(self, model, field, suffix):
        self.model, self.field, self.suffix = model, field, suffix
        super().__init__(self.populate, self.clear)

    deconstruct = migrations.operations.base.Operation.deconstruct

    def populate(self, apps, schema_editor):
        rows, groups = self._querysets(apps, schema_editor)
        rows = rows.filter(**{self.field: None})
        total, done, lost, todo = rows.count(), 0, 0, rows
        while True:
            try:
                with transaction.atomic(using=rows.db):
                    if schema_editor.connection.vendor == "postgresql":  # indexes, whatever the statistics say
                        schema_editor.execute("SET LOCAL lock_timeout = '80ms'; SET LOCAL enable_seqscan = off")
                    batch = list(todo.select_for_update(no_key=True).values_list("pk", "name")[:BATCH])
                    names = self._choose_names(batch, groups)
                    created = groups.bulk_create([groups.model(name=name) for name in names])
                    self._point(rows, [(group.pk, pk) for group, (pk, _) in zip(created, batch)])
            except (IntegrityError, OperationalError):  # somebody saved a group of such a name, or holds a row
                if (lost := lost + 1) > ATTEMPTS:
                    raise
                time.sleep(0.1)
                continue
            if not batch and todo is rows:
                return
            done, lost = done + len(batch), 0
            todo = rows.filter(pk__gt=batch[-1][0]) if batch else rows  # what was saved meanwhile below the last id
            if batch and done % (100 * BATCH) == 0:
                print(f" {done:,} of {total:,} ...", end="", flush=True)

    def clear(self, apps, schema_editor):
        rows, groups = self._querysets(apps, schema_editor)
        rows = rows.exclude(**{self.field: None})
        if total := rows.count():
            through = apps.get_model(settings.AUTH_USER_MODEL).groups.through.objects.using(rows.db)
            ended = through.filter(group__in=rows.order_by().values(self.field)).count()
            text = f"Deleting the {self.field} groups of {total:,} rows of {self.model} ends {ended:,} memberships."
            print(f"\n    {text}", end="", flush=True)
        todo = pairs = rows.values_list("pk", self.field)
        while batch := list(todo[:BATCH]) or list(pairs[:BATCH]):
            with transaction.atomic(using=rows.db):
                rows.filter(pk__in=[pk for pk, _ in batch]).update(**{self.field: None})
                groups.filter(pk__in=[group for _, group in batch]).delete()
            todo = pairs.filter(pk__gt=batch[-1][0])

    def _querysets(self, apps, schema_editor):
        alias = schema_editor.connection.alias
        model = apps.get_model(self.model)
        return model._base_manager.using(alias).order_by("pk"), apps.get_model("auth", "Group").objects.using(alias)

    def _choose_names(self, batch, groups):
        """Return the names for [(id, name)] as if one organization were handled after the other."""

        def find_taken(names):
            return set(groups.filter(name__in=names).values_list("name", flat=True))

        bases = [(pk, name[:50].strip() or self.model.rpartition(".")[2]) for pk, name in batch]
        wanted = [name for pk, base in bases for name in (f"{base} {self.suffix}", f"{base} {pk} {self.suffix}")]
        taken, names = find_taken(wanted), []
        for pk, base in bases:
            name, number = f"{base} {self.suffix}", 0
            if name in taken:
                name = f"{base} {pk} {self.suffix}"
            while name in taken:
                number += 1
                name = f"{base} {pk} {number} {self.suffix}"
                taken |= find_taken([name])
            taken.add(name)
            names.append(name)
        return names

    def _point(self, rows, pairs):
        """Set the field for [(group id, row id)]: one prepared statement, sent for all rows at once."""
        opts, quote = rows.model._meta, connections[rows.db].ops.quote_name
        table, column, key = map(quote, (opts.db_table, opts.get_field(self.field).column, opts.pk.column))
        with connections[rows.db].cursor() as cursor:
            cursor.executemany(f"UPDATE {table} SET {column} = %s WHERE {key} = %s", pairs)


class RequireRelation(migrations.AlterField):
    """Make a relation NOT NULL: refused, with their ids and the cure, while there are rows without.
    `before` is the migration before the one that fills them. PostgreSQL gets a check that is not valid yet, validates
    it, and takes it for proof when it locks readers out. The foreign key stays, which Django would drop and add."""

    def __init__(self, model_name, name, field, *, before):
        self.before = before
        super().__init__(model_name, name, field)

    deconstruct = migrations.operations.base.Operation.deconstruct

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        model = from_state.apps.get_model(app_label, self.model_name)
        missing = model._base_manager.using(schema_editor.connection.alias).filter(**{self.name: None}).order_by("pk")
        drop = "DROP CONSTRAINT IF EXISTS {column}_required"
        try:
            if not schema_editor.collect_sql and missing.exists():
                raise IntegrityError
            if schema_editor.connection.vendor != "postgresql":
                return super().database_forwards(app_label, schema_editor, from_state, to_state)
            check = "ADD CONSTRAINT {column}_required CHECK ({column} IS NOT NULL) NOT VALID"
            self._alter(schema_editor, model, drop, check)
            self._alter(schema_editor, model, "VALIDATE CONSTRAINT {column}_required", lock=PGShareUpdateExclusive)
            self._alter(schema_editor, model, "ALTER COLUMN {column} SET NOT NULL", drop)
        except IntegrityError as error:  # or saved since it was asked
            if schema_editor.connection.vendor == "postgresql":
                self._alter(schema_editor, model, drop)
            ids = ", ".join(map(str, missing.values_list("pk", flat=True)[:SHOWN]))
            raise IntegrityError(
                f"{missing.count():,} {self.model_name}s have no {self.name}, as the release before saved them: {ids} …"
                f" Stop that release. Then fill them: manage.py migrate {app_label} {self.before} --fake, which only"
                " marks the step that fills as not done, and manage.py migrate."
            ) from error

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        if schema_editor.connection.vendor != "postgresql":
            return super().database_backwards(app_label, schema_editor, from_state, to_state)
        model = to_state.apps.get_model(app_label, self.model_name)
        self._alter(schema_editor, model, "ALTER COLUMN {column} DROP NOT NULL")

    def _alter(self, schema_editor, model, *actions, lock=PGAccessExclusive):
        column = model._meta.get_field(self.name).column
        for action in actions:
            schema_editor.execute(lock(f"ALTER TABLE {model._meta.db_table} {action.format(column=column)}"))
