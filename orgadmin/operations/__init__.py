"""Operations for migrations, which import nothing else from the app.

Old migrations use these modules, too, so their results must stay the same.
"""

from orgadmin.operations.changed_at import UpdateChangedAt
from orgadmin.operations.indexes import create_index, drop_index
from orgadmin.operations.required_relation import PopulateGroups, RequireRelation
from orgadmin.operations.role_holders import UpdateRoleHolders
from orgadmin.operations.sort_column import AddSortColumn
from orgadmin.operations.transactions import commit

__all__ = [
    "AddSortColumn",
    "PopulateGroups",
    "RequireRelation",
    "UpdateChangedAt",
    "UpdateRoleHolders",
    "commit",
    "create_index",
    "drop_index",
]
