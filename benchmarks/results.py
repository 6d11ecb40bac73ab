"""Print results: a line of JSON for each measure, on standard output."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def print_result(what: str, **values: Any) -> None:
    print(json.dumps({"what": what, **values}), flush=True)


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return {name: median} of {name: [milliseconds or seconds]}."""
    return {name: round(statistics.median(each), 2) for name, each in times.items()}
