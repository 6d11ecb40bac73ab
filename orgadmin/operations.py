"""Migration operations for a required relation. Imports nothing of the app, so that migrations may import it."""

from django.conf import settings
from django.db import connections, migrations, transaction

BATCH = 2_000  # rows in one transaction
CHUNK = 10_000  # parameters of one query, below SQLite's limit of 32,766


class PopulateGroups(migrations.RunPython):
    """Give each row without one a group of its own, by ascending id, committed batch by batch.
    Names: "<base> <suffix>", where that is taken "<base> <id> <suffix>", where even that is taken "<base> <id> 1
    <suffix>" and on, with base = name[:50].strip() or the model's name. As each batch commits groups and rows
    together, an interrupted run is simply run again, and ends with the same names.
    Backwards it deletes exactly the groups that the field points at, whoever made them, after telling how many
    memberships that ends. For a migration with `atomic = False`, which holds nothing else."""

    def __init__(self, model, field, suffix):
        self.model, self.field, self.suffix = model, field, suffix
        super().__init__(self.populate, self.clear)

    def deconstruct(self):
        return type(self).__name__, [self.model, self.field, self.suffix], {}

    def describe(self):
        return f"Give each {self.model} its {self.field} group"

    def populate(self, apps, schema_editor):
        rows, groups = self._querysets(apps, schema_editor)
        rows = rows.filter(**{self.field: None})
        total, done, todo = rows.count(), 0, rows
        while True:
            with transaction.atomic(using=rows.db):
                batch = list(todo.select_for_update().values_list("pk", "name")[:BATCH])
                names = self._choose_names(batch, groups)
                created = groups.bulk_create([groups.model(name=name) for name in names])
                self._point(rows, [(group.pk, pk) for group, (pk, _) in zip(created, batch)])
            done += len(batch)
            if batch:
                todo = rows.filter(pk__gt=batch[-1][0])
                if done % (25 * BATCH) == 0:
                    print(f" {done:,} of {total:,} ...", end="", flush=True)
            elif todo is rows:
                return
            else:
                todo = rows  # what was saved meanwhile below the last id

    def clear(self, apps, schema_editor):
        rows, groups = self._querysets(apps, schema_editor)
        rows = rows.exclude(**{self.field: None})
        total = rows.count()
        if total:
            through = apps.get_model(settings.AUTH_USER_MODEL).groups.through.objects.using(rows.db)
            ended = through.filter(group__in=rows.order_by().values(self.field)).count()
            print(
                f"\n    Deleting the {self.field} groups of {total:,} rows of {self.model} ends {ended:,} memberships.",
                end="",
                flush=True,
            )
        while batch := list(rows.values_list("pk", self.field)[:BATCH]):
            with transaction.atomic(using=rows.db):
                rows.filter(pk__in=[pk for pk, _ in batch]).update(**{self.field: None})
                groups.filter(pk__in=[group for _, group in batch]).delete()

    def _querysets(self, apps, schema_editor):
        alias = schema_editor.connection.alias
        model = apps.get_model(self.model)
        return model._base_manager.using(alias).order_by("pk"), apps.get_model("auth", "Group").objects.using(alias)

    def _choose_names(self, batch, groups):
        """Return the names for [(id, name)] as if one organization were handled after the other."""
        bases = [(pk, name[:50].strip() or self.model.rpartition(".")[2]) for pk, name in batch]
        wanted = [name for pk, base in bases for name in (f"{base} {self.suffix}", f"{base} {pk} {self.suffix}")]
        taken, names = self._find_taken(wanted, groups), []
        for pk, base in bases:
            name, number = f"{base} {self.suffix}", 0
            if name in taken:
                name = f"{base} {pk} {self.suffix}"
            while name in taken:
                number += 1
                name = f"{base} {pk} {number} {self.suffix}"
                taken |= self._find_taken([name], groups)
            taken.add(name)
            names.append(name)
        return names

    @staticmethod
    def _find_taken(names, groups):
        chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
        return {name for chunk in chunks for name in groups.filter(name__in=chunk).values_list("name", flat=True)}

    def _point(self, rows, pairs):
        """Set the field for [(group id, row id)]: one prepared statement, sent for all rows at once."""
        connection = connections[rows.db]
        opts = rows.model._meta
        table, column, key = map(
            connection.ops.quote_name, (opts.db_table, opts.get_field(self.field).column, opts.pk.column)
        )
        with connection.cursor() as cursor:
            cursor.executemany(f"UPDATE {table} SET {column} = %s WHERE {key} = %s", pairs)
