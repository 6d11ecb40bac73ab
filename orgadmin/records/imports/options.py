"""What people choose for an import, and the limits that it keeps to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """The largest file that an import reads."""

    rows: int  # that are not empty, without the header
    size: int  # in bytes


# Without a page in between, a file may be as large as the database can take in one
# transaction.
COMMAND_LIMITS = Limits(rows=1_000_000, size=500_000_000)

# The largest file that can be imported in the browser. MAX_REQUEST_SIZE in
# orgadmin/logs.py, and client_max_body_size in docs/deployment/nginx.conf, must be
# larger.
PAGE_LIMITS = Limits(rows=100_000, size=20_000_000)

# A larger file is read and imported by a worker.
AT_ONCE = Limits(rows=2_000, size=1_500_000)


@dataclass(frozen=True)
class ImportOptions:
    """The choices for one import. The page and the command offer the same ones."""

    encoding: str | None = None  # of a CSV file. None: find out.
    sheet: str = ""  # of a workbook. Empty: the first one.
    # {title of a column: field}, where the titles alone say something else. An empty
    # field means that the column is not used.
    mapping: Mapping[str, str] = field(default_factory=dict)
    # Fields that an empty cell empties. In all others, it keeps what is there.
    clear_blank: Collection[str] = ()
    # {line, as text: ID of the organization that the row changes, though it has no key}
    targets: Mapping[str, int] = field(default_factory=dict)
    matches_names: bool = False  # whether a name identifies an organization
    keeps_totals: bool = False  # whether rows that look like totals are imported
    accepts_warnings: bool = False  # whether rows with warnings are imported
    # Whether rows with problems are left out. Otherwise, one refuses the whole file.
    leaves_out_problems: bool = False
    limits: Limits = COMMAND_LIMITS


DEFAULTS = ImportOptions()
