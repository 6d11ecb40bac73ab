"""Renders the table of a list.

Django's own template tags look up and format each cell in several steps, which takes
most of the time of a page with a hundred rows. This module looks up only once for each
column how its values are read.
"""

import datetime
from dataclasses import dataclass
from functools import lru_cache

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import label_for_field, quote
from django.core.exceptions import FieldDoesNotExist
from django.urls import reverse
from django.utils.formats import date_format, localize
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst
from django.utils.timezone import template_localtime
from django.utils.translation import get_language, gettext as _

EMPTY_CELL = '<td role="cell"></td>'


@dataclass(frozen=True)
class Column:
    """A column of a list.

    `sort_url` is the link that sorts the list by this column. It is empty if the column
    cannot be sorted. `direction` is empty unless the list is sorted by this column.
    """

    name: str
    label: str
    sort_url: str
    direction: str  # "", "ascending" or "descending"


def make_columns(changelist, names):
    """Return the columns of a list, with links that sort the list by them."""
    columns = []
    for name in names:
        label = label_for_field(name, changelist.model, changelist.model_admin)
        sort_url = ""
        direction = ""
        if name in changelist.offered_sorts:
            is_current = changelist.sorted_by == name
            if is_current:
                direction = "descending" if changelist.is_reversed else "ascending"
            order = f"-{name}" if direction == "ascending" else name
            sort_url = changelist.get_query_string({"o": order})
        columns.append(Column(name, str(capfirst(label)), sort_url, direction))
    return columns


def make_reader(changelist, name):
    """Return a function that returns the value of a column for a given row."""
    model_admin = changelist.model_admin
    if hasattr(model_admin, name):
        return getattr(model_admin, name)
    try:
        field = changelist.opts.get_field(name)
    except FieldDoesNotExist:
        attribute = name
    else:
        attribute = f"get_{name}_display" if field.choices else name

    def read(row):
        value = getattr(row, attribute)
        return value() if callable(value) else value

    return read


def render_value(value):
    """Return the HTML that a cell shows for a value."""
    if isinstance(value, SafeString):
        return value
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    if isinstance(value, datetime.datetime):
        return escape(localize(template_localtime(value)))
    return escape(localize(value))


def show_day(time):
    """Return the date of a time as text, in the person's time zone and language."""
    if time is None:
        return ""
    return format_day(template_localtime(time).date(), get_language())


@lru_cache(maxsize=1_000)
def format_day(day, language):
    """Return a date as text, cached because many rows of a list have the same date.

    `language` is the active language, in which the text is written. It is a parameter
    so that the cache has an entry for each language.
    """
    return date_format(day, "DATE_FORMAT")


def render_head(columns, *, has_checkboxes):
    cells = []
    if has_checkboxes:
        label = escape(_("Select all objects on this page for an action"))
        cells.append(
            '<th role="columnheader" scope="col" class="action-checkbox-column">'
            f'<input type="checkbox" id="action-toggle" aria-label="{label}"></th>'
        )
    for column in columns:
        cells.append(render_title(column))
    return mark_safe("".join(cells))


def render_title(column):
    text = escape(column.label)
    start = f'<th role="columnheader" scope="col" class="column-{column.name}'
    if not column.sort_url:
        return f'{start}">{text}</th>'
    sign = {"ascending": " ↑", "descending": " ↓"}.get(column.direction, "")
    if sign:
        start = f'{start} sorted" aria-sort="{column.direction}'
        sign = f'<span aria-hidden="true">{sign}</span>'
    return f'{start}"><a href="{escape(column.sort_url)}">{text}{sign}</a></th>'


def render_rows(changelist, columns):
    """Return the HTML of the rows of the table."""
    readers = [make_reader(changelist, column.name) for column in columns]
    linked = changelist.list_display_links or ()
    is_linked = [column.name in linked for column in columns]
    starts = [
        start_cell(column, is_header=has_link)
        for column, has_link in zip(columns, is_linked)
    ]
    make_link = LinkMaker(changelist)
    selectable = changelist.selectable
    label = escape(_("Select this object for an action - {}"))
    lines = []
    for row in changelist.shown_rows:
        cells = ['<tr role="row">']
        if selectable:
            cells.append(render_checkbox(row, selectable, label))
        for start, read, has_link in zip(starts, readers, is_linked):
            text = render_value(read(row))
            if has_link:
                cells.append(f"{start}{make_link(row, text or '-')}</th>")
            elif text:
                cells.append(f"{start}{text}</td>")
            else:
                cells.append(EMPTY_CELL)
        cells.append("</tr>")
        lines.append("".join(cells))
    return mark_safe("\n".join(lines))


def start_cell(column, *, is_header):
    """Return the start tag of the cells of a column.

    On phones, each cell shows the label of its column.
    """
    if is_header:
        return f'<th role="rowheader" scope="row" class="field-{column.name}">'
    label = escape(column.label)
    return f'<td role="cell" class="field-{column.name}" data-label="{label}">'


def render_checkbox(row, selectable, label):
    """Return the cell with the checkbox of a row.

    `label` is a text in which {} stands for the name of the row.
    """
    if row.pk not in selectable:
        return '<td role="cell" class="action-checkbox"></td>'
    return (
        '<td role="cell" class="action-checkbox"><input type="checkbox"'
        f' name="{ACTION_CHECKBOX_NAME}" value="{row.pk}" class="action-select"'
        f' aria-label="{label.replace("{}", escape(row))}"></td>'
    )


class LinkMaker:
    """Makes the links from the rows of a list to the pages of the objects.

    The URLs of the rows differ only in the primary key, so the URL is resolved once.
    """

    PLACEHOLDER = "0"

    def __init__(self, changelist):
        self.is_popup = changelist.is_popup
        model_admin = changelist.model_admin
        page = "overview" if "overview" in model_admin.pages else "change"
        opts = changelist.opts
        name = f"admin:{opts.app_label}_{opts.model_name}_{page}"
        url = reverse(name, args=[self.PLACEHOLDER])
        before, _separator, after = url.rpartition(f"/{self.PLACEHOLDER}/")
        if page == "change":
            preserved = {
                "opts": opts,
                "preserved_filters": changelist.preserved_filters,
            }
            full = add_preserved_filters(
                preserved, url, changelist.is_popup, changelist.to_field
            )
            after += full.removeprefix(url)
        self.before = escape(before)
        self.after = escape(after)
        self.to_field = changelist.to_field

    def __call__(self, row, text):
        url = f"{self.before}/{quote(row.pk)}/{self.after}"
        if not self.is_popup:
            return f'<a class="name" href="{url}">{text}</a>'
        value = row.serializable_value(self.to_field or "pk")
        opener = f'data-popup-opener="{escape(value)}"'
        return f'<a class="name" href="{url}" {opener}>{text}</a>'
