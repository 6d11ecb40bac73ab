"""Print SQL that resets sequences, but never to an ID that has been used.

Django's command would continue after the highest existing ID of each table. The logs
may contain higher IDs, of rows that were deleted.
"""

from django.core.management.commands import sqlsequencereset
from django.db import connections

from orgadmin.records.keys import COLUMNS, find_last_known, make_raising_sql


class Command(sqlsequencereset.Command):
    def handle_app_config(self, app_config, **options):
        if app_config.models_module is None:
            return ""
        using = options["database"]
        models = list(app_config.get_models(include_auto_created=True))
        others = [model for model in models if model not in COLUMNS]
        operations = connections[using].ops
        statements = operations.sequence_reset_sql(self.style, others)
        if connections[using].vendor == "postgresql":
            last_known = find_last_known(using)
            for model in models:
                if model in COLUMNS:
                    statements.append(make_raising_sql(model, last_known[model]))
        if not statements and options["verbosity"] >= 1:
            self.stderr.write("No sequences found.")
        return "\n".join(statements)
