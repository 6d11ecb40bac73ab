"""Responds with the rows of a page as a file for spreadsheets."""

from django.contrib import messages
from django.http import HttpResponseRedirect

from orgadmin.records.csv_files import respond_with_csv
from orgadmin.records.xlsx_files import WorkbookTooSmall, respond_with_workbook

CSV = "csv"
XLSX = "xlsx"


def respond_with_rows(request, kind, name, rows, *, page):
    """Return a response with a file. `kind` is CSV or XLSX.

    If the rows do not fit in a workbook, redirects to the URL `page` with a message.
    """
    if kind != XLSX:
        return respond_with_csv(name, rows)
    try:
        return respond_with_workbook(name, rows)
    except WorkbookTooSmall as error:
        messages.warning(request, str(error))
        return HttpResponseRedirect(page)
