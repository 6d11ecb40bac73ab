"""Draw the curves of docs/scale.md from the results of a run, and write its tables, docs/scale-figures.md.

python -m benchmarks.pictures benchmarks.jsonl    # needs requirements-benchmarks.txt
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "orgadmin"  # the same file for the same figures
from matplotlib import pyplot  # noqa: E402

FOLDER = Path(__file__).parents[1] / "docs/pictures"
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
WORK = [
    "fill",
    "import of 46,524",
    "deletion of 1,000",
    "backup",
    "migration from 0017 on",
]


def read(path):
    """Return {(database, what): {size: line}}."""
    found = {}
    for text in Path(path).read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        found.setdefault((line["database"], line["what"]), {})[line["size"]] = line
    return found


def draw(name, title, curves):
    """Draw {label: ([size], [value], style)} on two logarithmic axes."""
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for label, (sizes, values, style) in curves.items():
        axes.plot(sizes, values, style, marker="o", markersize=4, label=label)
    axes.set(xscale="log", yscale="log", xlabel="organizations", title=title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(
        FOLDER / f"scale-{name}.svg", bbox_inches="tight", metadata={"Date": None}
    )
    pyplot.close(figure)


def describe(line):
    """Return what a table says of a measure."""
    parts = []
    for unit in ("ms", "s"):
        values = line.get(unit, {})
        values = values if isinstance(values, dict) else {"": values}
        parts += [f"{who} {value:,} {unit}".strip() for who, value in values.items()]
    if queries := line.get("queries"):
        counts = queries.values() if isinstance(queries, dict) else [queries]
        parts.append("queries " + ", ".join(str(count) for count in counts if count))
    ratios = line.get("ratios", {"": line["ratio"]} if "ratio" in line else {})
    parts += [f"**{f'{pair} {value}'.strip()}**" for pair, value in ratios.items()]
    known = {
        "database",
        "size",
        "what",
        "pairs",
        "ms",
        "s",
        "queries",
        "ratios",
        "ratio",
    }
    return "; ".join(
        [
            *parts,
            *(f"{name} {value}" for name, value in line.items() if name not in known),
        ]
    )


def write_tables(found):
    """Write a table for each database: a row for each measure, a column for each size."""
    texts = [
        "# Figures of the benchmarks",
        "Written by `make benchmark`. Times are medians. Ratios compare pairs within one"
        " run. [scale.md](scale.md) explains them.",
    ]
    for database in dict.fromkeys(database for database, _ in found):
        measures = {
            what: lines for (kind, what), lines in found.items() if kind == database
        }
        sizes = sorted({size for lines in measures.values() for size in lines})
        rows = [
            f"| {database} | "
            + " | ".join(f"{size:,} organizations" for size in sizes)
            + " |"
        ]
        rows.append("| --- " * (len(sizes) + 1) + "|")
        for what, lines in measures.items():
            cells = (describe(lines[size]) if size in lines else "" for size in sizes)
            rows.append(f"| {what} | " + " | ".join(cells) + " |")
        texts.append("\n".join(rows))
    (FOLDER.parent / "scale-figures.md").write_text(
        "\n\n".join(texts) + "\n", encoding="utf-8"
    )


def main(path):
    found = read(path)
    write_tables(found)
    for database in dict.fromkeys(database for database, _ in found):
        for name, (title, pages) in PAGES.items():
            curves = {}
            for page in pages:
                lines = found.get((database, page), {})
                for who, style in (("ours", "-"), ("floor", ":"), ("stock", "--")):
                    values = [
                        line["ms"][who] for line in lines.values() if who in line["ms"]
                    ]
                    if len(values) == len(lines) > 0:
                        curves[f"{page}, {who}"] = (list(lines), values, style)
            draw(f"{name}-{database}", f"{title} ({database})", curves)
        curves = {}
        for what in WORK:
            lines = found.get((database, what), {})
            seconds = [
                line["s"]["import"] if isinstance(line["s"], dict) else line["s"]
                for line in lines.values()
            ]
            curves[what] = (list(lines), seconds, "-")
        draw(f"work-{database}", f"Work, seconds ({database})", curves)


if __name__ == "__main__":
    main(*sys.argv[1:])
