"""Draw the curves of docs/scale.md from the results of a run.

python -m benchmarks.pictures benchmarks.jsonl    # needs requirements-benchmarks.txt; writes docs/pictures/scale-*.svg
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
    "org-admin": ("An org admin's pages, ms", ["list of 1", "list of 10", "list of 1000", "change page", "search"]),
    "staff": (
        "Platform staff's pages, ms",
        ["staff: first page", "staff: deepest page", "staff: search without hits", "user page", "staff: groups"],
    ),
}
WORK = ["fill", "import of 46,524", "deletion of 1,000", "backup", "migration from 0017 on"]


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
    figure.savefig(FOLDER / f"scale-{name}.svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def main(path):
    found = read(path)
    for name, (title, pages) in PAGES.items():
        for database in ("postgresql", "sqlite"):
            curves = {}
            for page in pages:
                lines = found.get((database, page), {})
                for who, style in (("ours", "-"), ("floor", ":"), ("stock", "--")):
                    values = [line["ms"][who] for line in lines.values() if who in line["ms"]]
                    if len(values) == len(lines) > 0:
                        curves[f"{page}, {who}"] = (list(lines), values, style)
            draw(f"{name}-{database}", f"{title} ({database})", curves)
    for database in ("postgresql", "sqlite"):
        curves = {}
        for what in WORK:
            lines = found.get((database, what), {})
            seconds = [line["s"]["import"] if isinstance(line["s"], dict) else line["s"] for line in lines.values()]
            curves[what] = (list(lines), seconds, "-")
        draw(f"work-{database}", f"Work, seconds ({database})", curves)


if __name__ == "__main__":
    main(*sys.argv[1:])
