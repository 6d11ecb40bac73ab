"""The options that people choose for an import, and its limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """The largest file that an import reads."""

    rows: int  # without empty rows and the header
    size: int  # in bytes


# The largest file that a command imports. It must fit into one transaction of the
# database.
COMMAND_LIMITS = Limits(rows=1_000_000, size=500_000_000)

# The largest file that can be imported in the browser. MAX_REQUEST_SIZE in
# orgadmin/logs.py, and client_max_body_size in docs/deployment/nginx.conf, must be
# larger.
PAGE_LIMITS = Limits(rows=100_000, size=20_000_000)

# The largest file that is read and imported during a request. A worker imports larger
# files.
REQUEST_LIMITS = Limits(rows=2_000, size=1_500_000)


@dataclass(frozen=True)
class ImportOptions:
    """The options of one import. The page and the command offer the same options."""

    encoding: str | None = None  # of a CSV file. None: detect it.
    sheet: str = ""  # of a workbook. Empty: the first sheet with text.
    # {title of a column: field that it contains}. An empty field means that the column
    # is not used. Other columns are recognized by their titles.
    mapping: Mapping[str, str] = field(default_factory=dict)
    # Fields that an empty cell clears. In all other fields, an empty cell changes
    # nothing.
    clear_blank: Collection[str] = ()
    # {line, as text: ID of the organization that a row without a key changes}
    targets: Mapping[str, int] = field(default_factory=dict)
    matches_names: bool = False  # whether a name identifies an organization
    keeps_totals: bool = False  # whether rows that look like totals are imported
    accepts_warnings: bool = False  # whether rows with warnings are imported
    # Whether to leave out rows with problems. Otherwise, one problem prevents the whole
    # import.
    leaves_out_problems: bool = False
    limits: Limits = COMMAND_LIMITS


DEFAULTS = ImportOptions()
