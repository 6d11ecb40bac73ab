"""Operations for migrations, which can import this package and nothing else of the app.

Old migrations use these modules, too, and must keep doing the same.
"""

from orgadmin.operations.changed_at import RecordChangesOf
from orgadmin.operations.indexes import create_index, drop_index
from orgadmin.operations.required_relation import PopulateGroups, RequireRelation
from orgadmin.operations.role_holders import UpdateRoleHolders
from orgadmin.operations.sort_column import AddSortColumn
from orgadmin.operations.transactions import commit

__all__ = [
    "AddSortColumn",
    "PopulateGroups",
    "RecordChangesOf",
    "RequireRelation",
    "UpdateRoleHolders",
    "commit",
    "create_index",
    "drop_index",
]
