"""Writing CSV."""

import csv
import re
from itertools import chain
from types import SimpleNamespace

from django.http import StreamingHttpResponse
from django.utils import timezone

FORMULA = r"^('*[=+\-@\t\r])"  # what a spreadsheet takes for a formula, disarmed or not


DISARMED = r"^'('*[=+\-@\t\r])"


def write_csv(rows):
    """Yield the lines of a CSV file. A cell that a spreadsheet would run as a formula begins with an apostrophe."""
    writer = csv.writer(SimpleNamespace(write=str))
    for row in rows:
        yield writer.writerow(
            [re.sub(FORMULA, r"'\1", str("" if cell is None else cell)) for cell in row]
        )


def respond_with_csv(name, rows):
    """Return a response that streams rows as the file <name>-<date>.csv; it begins with a mark that says UTF-8."""
    response = StreamingHttpResponse(
        chain(["\ufeff"], write_csv(rows)), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = (
        f'attachment; filename="{name}-{timezone.localdate()}.csv"'
    )
    return response
