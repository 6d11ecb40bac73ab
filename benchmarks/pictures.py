"""Draw the curves of docs/scale.md, and write the tables of docs/scale-figures.md.

    python -m benchmarks.pictures FILE

FILE has the results of a run, as `python -m benchmarks` writes them. Needs
requirements-benchmarks.txt.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "orgadmin"  # the same file for the same figures
from matplotlib import pyplot

DOCS = Path(__file__).parents[1] / "docs"
PICTURES = DOCS / "pictures"
TABLES = DOCS / "scale-figures.md"
HEAD = """\
# Figures of the benchmarks

Written by `make benchmark`. Times are medians. Ratios compare pairs within one run. \
[scale.md](scale.md) explains them.
"""

# {picture: its title and the measures of pages that it shows}
PAGES = {
    "org-admin": (
        "An org admin's pages, ms",
        ["list of 1", "list of 10", "list of 1000", "change page", "search"],
    ),
    "staff": (
        "Platform staff's pages, ms",
        [
            "staff: first page",
            "staff: deepest page",
            "staff: search without hits",
            "user page",
            "staff: groups",
        ],
    ),
}
LINE_STYLES = {"ours": "-", "floor": ":", "stock": "--"}

# Measures in seconds, shown in one picture.
WORK = [
    "fill",
    "import of 46,524",
    "deletion of 1,000",
    "backup",
    "migration from 0017 on",
]

# What describe() writes in its own way.
KNOWN = ("database", "size", "what", "pairs", "ms", "s", "queries", "ratios", "ratio")

Result: TypeAlias = dict[str, Any]  # a line of the file
Results: TypeAlias = dict[str, dict[int, Result]]  # {measure: {size: result}}


@dataclass(frozen=True)
class Curve:
    label: str
    sizes: Sequence[int]
    values: Sequence[float]
    style: str = "-"


def read_results(path: str) -> dict[str, Results]:
    """Return {database: {measure: {size: result}}}.

    The last result counts if there are several of the same measure and size.
    """
    databases: dict[str, Results] = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        result = json.loads(line)
        results = databases.setdefault(result["database"], {})
        results.setdefault(result["what"], {})[result["size"]] = result
    return databases


def draw(name: str, title: str, curves: Sequence[Curve]) -> None:
    """Draw curves on two logarithmic axes."""
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for curve in curves:
        axes.plot(
            curve.sizes,
            curve.values,
            curve.style,
            marker="o",
            markersize=4,
            label=curve.label,
        )
    axes.set(xscale="log", yscale="log", xlabel="organizations", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(
        PICTURES / f"scale-{name}.svg", bbox_inches="tight", metadata={"Date": None}
    )
    pyplot.close(figure)


def draw_pages(database: str, results: Results) -> None:
    for name, (title, pages) in PAGES.items():
        curves = []
        for page in pages:
            curves += find_page_curves(page, results.get(page, {}))
        draw(f"{name}-{database}", f"{title} ({database})", curves)


def find_page_curves(page: str, results: dict[int, Result]) -> list[Curve]:
    """Return a curve for each side that was measured at all sizes."""
    curves = []
    for side, style in LINE_STYLES.items():
        values = [
            result["ms"][side] for result in results.values() if side in result["ms"]
        ]
        if values and len(values) == len(results):
            curves.append(Curve(f"{page}, {side}", list(results), values, style))
    return curves


def draw_work(database: str, results: Results) -> None:
    curves = []
    for measure in WORK:
        sizes = results.get(measure, {})
        seconds = [find_seconds(result) for result in sizes.values()]
        curves.append(Curve(measure, list(sizes), seconds))
    draw(f"work-{database}", f"Work, seconds ({database})", curves)


def find_seconds(result: Result) -> float:
    seconds = result["s"]
    # An import is compared with a bulk creation.
    return seconds["import"] if isinstance(seconds, dict) else seconds


def describe(result: Result) -> str:
    """Return what a cell of a table says about a result."""
    parts = []
    for unit in ("ms", "s"):
        for side, value in as_dict(result.get(unit)).items():
            parts.append(f"{side} {value:,} {unit}".strip())
    queries = [str(count) for count in as_dict(result.get("queries")).values() if count]
    if queries:
        parts.append(f"queries {', '.join(queries)}")
    ratios = result.get("ratios", as_dict(result.get("ratio")))
    for pair, value in ratios.items():
        text = f"{pair} {value}".strip()
        parts.append(f"**{text}**")
    for name, value in result.items():
        if name not in KNOWN:
            parts.append(f"{name} {value}")
    return "; ".join(parts)


def as_dict(value: Any) -> dict[str, Any]:
    """Return a value that has no name under an empty one, and None as nothing."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"": value}


def write_tables(databases: dict[str, Results]) -> None:
    """Write a table for each database: a row per measure, a column per size."""
    tables = [HEAD]
    for database, results in databases.items():
        tables.append(make_table(database, results))
    TABLES.write_text("\n".join(tables), encoding="utf-8")


def make_table(database: str, results: Results) -> str:
    sizes = sorted(set().union(*results.values()))
    titles = [database, *(f"{size:,} organizations" for size in sizes)]
    lines = [format_row(titles), format_row(["---"] * len(titles))]
    for measure, by_size in results.items():
        cells = [describe(by_size[size]) if size in by_size else "" for size in sizes]
        lines.append(format_row([measure, *cells]))
    return "\n".join(lines) + "\n"


def format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="results of a run, such as benchmarks.jsonl")
    databases = read_results(parser.parse_args().file)
    write_tables(databases)
    for database, results in databases.items():
        draw_pages(database, results)
        draw_work(database, results)


if __name__ == "__main__":
    main()
