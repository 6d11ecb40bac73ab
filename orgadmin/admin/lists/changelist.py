"""Lists that stay fast with a million rows.

Rows are counted only up to ROW_LIMIT. To show a page, the database skips at most this
number of rows.
"""

from copy import copy
from dataclasses import dataclass
from datetime import datetime

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import label_for_field
from django.contrib.admin.views.main import (
    IGNORED_PARAMS,
    ORDER_VAR,
    PAGE_VAR,
    ChangeList,
)
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.paginator import Page, Paginator
from django.db import connection
from django.db.models import Q, Subquery
from django.http import QueryDict
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from orgadmin.access.rule import SUPERUSERS_ONLY
from orgadmin.admin.lists.filters import DateFilter, Filter, Option
from orgadmin.admin.lists.rows import make_columns, render_head, render_rows
from orgadmin.gate.answers import get_gate
from orgadmin.models.validators import is_primary_key

# The maximum number of rows that are counted, and that numbered pages show.
ROW_LIMIT = 10_000

# The number of rows on a page below an object, such as the membership log.
ROWS_PER_PAGE = 100

# The URL parameter that contains the primary key of the row after which the list
# continues.
AFTER_VAR = "after"


def get_page(
    request, rows, paginator=Paginator, *, parameter=PAGE_VAR, size=ROWS_PER_PAGE
):
    """Return the page of `rows` that the URL parameter `parameter` asks for.

    If this page does not exist, returns the first or the last page. Two lists on the
    same page need different parameters. The attribute `numbers` of the returned page
    contains the page numbers to link to, with an ellipsis for those left out. If the
    URL does not have the parameter, the rows are counted only if they do not fit on one
    page.
    """
    pages = paginator(rows, size)
    if parameter in request.GET:
        page = pages.get_page(request.GET[parameter])
    else:
        first_rows = list(rows[: size + 1])
        if len(first_rows) <= size:
            pages.count = len(first_rows)
        page = Page(first_rows[:size], 1, pages)
    page.parameter = parameter
    page.numbers = page.paginator.get_elided_page_range(page.number)
    return page


def has_more_rows_than(limit, queryset):
    """Return whether a queryset has more than `limit` rows, without counting them."""
    return queryset.order_by()[limit:].exists()


def list_all_rows(model_admin, request):
    """Return all rows of a list, with the search, filters and order of the request.

    Includes all pages, regardless of which one is open. Raises `PermissionDenied` if
    the person cannot view the list, and `SuspiciousOperation` if the URL has filters
    that the list does not have, or filters with invalid values.
    """
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    changelist = model_admin.get_changelist_instance(request)
    if changelist.ignored:
        # A page tells the reader that a filter was ignored. An exported file cannot,
        # and it would contain too many rows.
        names = ", ".join(sorted(changelist.ignored))
        raise SuspiciousOperation(f"The list does not have these filters: {names}")
    changelist.after = ""
    return changelist.get_queryset(request)


def make_list_request(request, query):
    """Return a GET request of the same person for a list with the query string `query`.

    Lists do not lock rows for GET requests.
    """
    listed = copy(request)
    listed.method = "GET"
    listed.GET = QueryDict(query)
    return listed


class LimitedPaginator(Paginator):
    """Pages of the first ROW_LIMIT rows of a queryset.

    After `count` has been read, `more` is True if the queryset has further rows.
    """

    more = False

    # The ordering of the counting query, which makes the database use an index.
    count_order = ()

    @cached_property
    def count(self):
        counted = self.object_list.order_by(*self.count_order)[: ROW_LIMIT + 1].count()
        self.more = counted > ROW_LIMIT
        return min(counted, ROW_LIMIT)


@dataclass(frozen=True)
class Chip:
    """An active filter, shown above the list. The URL leads to the list without it."""

    title: str
    text: str
    url: str


@dataclass(frozen=True)
class Sort:
    """A way to sort a list.

    The order of rows reveals something about the values that they are sorted by, so
    people can use it only if they have the permission on all rows of the list.
    """

    field: str
    permission: str = "view"
    label: str = ""  # required if the list does not have a column with this name


class LongChangeList(ChangeList):
    """A list whose pages stay fast, however many rows come before them.

    To show a page by its number, a database reads and skips all rows before it, so only
    the first ROW_LIMIT rows have numbered pages. The last of these pages links to
    ?after=<key>, which is the same list, continued after the last row of that page. Its
    query has a condition such as "name >= 'Miller'", so the database starts at the
    right place in an index. The continued list has numbered pages of its own. This
    technique is known as keyset pagination.

    If the order does not allow such a condition, the list ends after ROW_LIMIT rows.
    """

    # The primary key of the row after which this list continues.
    after = ""

    # The name of the sort in `list_sorts()` that the list uses, or "" for any other
    # ordering.
    sorted_by = ""
    is_reversed = False

    # Whether there are more than ROW_LIMIT rows.
    more = False

    # On the last numbered page: the last row, and the query string of the list that
    # continues after it.
    last = None
    next_string = ""

    def __init__(self, request, *arguments, **options):
        # The names of the URL parameters that this list does not understand.
        self.ignored = set()
        super().__init__(request, *arguments, **options)

    def get_query_string(self, new_params=None, remove=None):
        """Return the query string of a link.

        Only links to other pages keep the parameter "after". Links that change the
        order, the search or the filters lead to the beginning of the list.
        """
        params = dict(new_params or {})
        if self.after and PAGE_VAR in params:
            params.setdefault(AFTER_VAR, self.after)
        return super().get_query_string(params, remove)

    # Sorting

    def list_sorts(self):
        """Return the ways in which the list can be sorted, as {name in the URL: Sort}.

        Returns the attribute `sorts` of the admin class. If it is None, returns one
        entry for each sortable column.
        """
        return self._sorts

    @cached_property
    def _sorts(self):
        if self.model_admin.sorts is not None:
            return self.model_admin.sorts
        sorts = {}
        for name in self.list_display:
            field = self._find_sort_field(name)
            if field:
                sorts[name] = Sort(field)
        return sorts

    def _find_sort_field(self, name):
        if self.sortable_by is not None and name not in self.sortable_by:
            return None
        field = self.get_ordering_field(name)
        return field if isinstance(field, str) else None

    @cached_property
    def offered_sorts(self):
        """The names of the sorts to offer on the page.

        A sort is offered if the person has its permission on all rows of this page. The
        full check follows when they use the sort.
        """
        return [
            name
            for name, sort in self.list_sorts().items()
            if self.model_admin.knows_all(
                self.request, sort.permission, self.shown_rows
            )
        ]

    @property
    def sort_options(self):
        """The choices of the field "Sort by" in the filter panel, as `Option`."""
        options = []
        for name in self.offered_sorts:
            label = self.list_sorts()[name].label or label_for_field(
                name, self.model, self.model_admin
            )
            label = capfirst(label)
            is_current = name == self.sorted_by
            options.append(Option(name, label, is_current and not self.is_reversed))
            if is_current and self.is_reversed:
                text = _("%s, reversed") % label
                options.append(Option(f"-{name}", text, is_selected=True))
        return options

    def get_ordering(self, request, queryset):
        """Return the ordering, with the key in the same direction as the first column.

        The database can then read both from one index, forwards or backwards. If the
        URL names several columns, only the first one by which the person can sort is
        used.
        """
        self._read_order()
        if self.sorted_by:
            field = self.list_sorts()[self.sorted_by].field
            if self.is_reversed:
                field = field[1:] if field.startswith("-") else f"-{field}"
            ordering = [field]
        else:
            own = self.model_admin.get_ordering(request)
            ordering = list(own or self._get_default_ordering())
            self._find_default_sort(ordering)
        first, *others = self._get_deterministic_ordering(ordering)
        ordering = [first]
        for name in others:
            if name in ("pk", "-pk"):
                name = "-pk" if first.startswith("-") else "pk"
            if name not in ordering:
                ordering.append(name)
        return ordering

    def _read_order(self):
        """Set `sorted_by` and `is_reversed` from the URL parameter ?o=.

        The parameter is a name such as "-changed", or the position of a column, as in
        the links of Django's own lists.
        """
        self.sorted_by = ""
        self.is_reversed = False
        for part in self.params.get(ORDER_VAR, "").split("."):
            name = part.removeprefix("-")
            if name.isascii() and name.isdecimal() and len(name) < 3:
                position = int(name)
                if position < len(self.list_display):
                    name = self.list_display[position]
            sort = self.list_sorts().get(name)
            if sort and self.model_admin.may_sort(self.request, sort.permission):
                self.sorted_by = name
                self.is_reversed = part.startswith("-")
                return

    def _find_default_sort(self, ordering):
        """Set `sorted_by` and `is_reversed` if a sort matches the default ordering."""
        first = ordering[0] if ordering else ""
        for name, sort in self.list_sorts().items():
            if sort.field == first.removeprefix("-"):
                self.sorted_by = name
                self.is_reversed = first.startswith("-")

    # Filters

    def get_queryset(self, request, exclude_parameters=None):
        """Return the rows with the search, filters and order of the URL.

        Starts after the row with the key `after`, if the list has this row.
        """
        self.request = request
        self._take_after_from_parameters()
        self._ignore_unknown_parameters(request)
        try:
            queryset = super().get_queryset(request, exclude_parameters)
        except IncorrectLookupParameters:
            # One of Django's own filters does not understand its value.
            self._ignore(self.get_filters_params())
            queryset = super().get_queryset(request, exclude_parameters)
        self.can_continue = self._is_continuable(queryset)
        row = self._find_row_to_continue(queryset)
        if row is None:
            self.after = ""
            return queryset
        return self._select_rows_after(queryset, row)

    def _take_after_from_parameters(self):
        """Set `after`, and remove it from the parameters that Django handles.

        Otherwise, Django would treat "after" as a filter. It would also keep the
        parameter when the person searches or filters the list.
        """
        self.after = self.params.pop(AFTER_VAR, self.after)
        self.filter_params.pop(AFTER_VAR, None)

    def _ignore_unknown_parameters(self, request):
        """Remove parameters that no filter declares. Links then do not have them."""
        unknown = []
        for name, values in self.filter_params.items():
            if name in IGNORED_PARAMS:
                continue
            allowed = [
                self.model_admin.lookup_allowed(name, value, request)
                for value in values
            ]
            if not all(allowed):
                unknown.append(name)
        self._ignore(unknown)

    def _ignore(self, names):
        names = list(names)
        self.ignored.update(names)
        self._remove(names)

    def _remove(self, names):
        for name in names:
            self.params.pop(name, None)
            self.filter_params.pop(name, None)

    def get_filters(self, request):
        """Return what Django's method returns, and ignore filters with invalid values.

        The values are the filters, whether there are any, the remaining parameters,
        whether rows may be duplicated, and whether a filter is active.
        """
        specs, has_filters, remaining, duplicates, _has_active = super().get_filters(
            request
        )
        for spec in specs:
            if isinstance(spec, Filter) and spec.value is None:
                self._remove([spec.parameter_name])
                if spec.text:
                    self.ignored.add(spec.parameter_name)
        # The remaining parameters belong to filters that this person cannot use.
        self._ignore(remaining)
        has_active = any(spec.used_parameters for spec in specs)
        return specs, has_filters, {}, duplicates, has_active

    @property
    def own_filters(self):
        return [spec for spec in self.filter_specs if isinstance(spec, Filter)]

    @property
    def stock_filters(self):
        return [spec for spec in self.filter_specs if not isinstance(spec, Filter)]

    @property
    def offered_filters(self):
        """The filters to offer on the page.

        These are the filters in use, and those whose permission the person has on some
        row of the page. Other filters would not find any row of the page.
        """
        return [
            spec
            for spec in self.own_filters
            if spec.text
            or self.model_admin.knows_some(
                self.request, spec.permission, self.shown_rows
            )
        ]

    @property
    def errors(self):
        return [spec for spec in self.own_filters if spec.error]

    @property
    def kept_parameters(self):
        """The parameters that the filter form must send again, as (name, value)."""
        own = [spec.parameter_name for spec in self.own_filters]
        return [
            (name, value)
            for name, values in self.filter_params.items()
            for value in values
            if name not in own and name != ORDER_VAR
        ]

    @property
    def chips(self):
        """The active filters, each with a link to the list without it."""
        chips = []
        for spec in self.filter_specs:
            if not spec.used_parameters:
                continue
            url = self.get_query_string(remove=spec.expected_parameters())
            if isinstance(spec, Filter):
                text = spec.describe()
            else:
                text = ", ".join(
                    str(choice["display"])
                    for choice in spec.choices(self)
                    if choice.get("selected")
                )
            chips.append(Chip(str(spec.title), str(text), url))
        return chips

    # Pages

    def _is_continuable(self, queryset):
        """Return whether one condition can select the rows after a given row.

        This requires a list that is sorted by its primary key, or by one column and
        then the primary key. The column must not be a foreign key. It must not contain
        NULL either, because databases disagree on whether NULL comes first or last.
        """
        first, *others = [name.removeprefix("-") for name in queryset.query.order_by]
        if others not in ([], ["pk"]):
            return False
        if first == "pk":
            return True
        columns = [
            field.name
            for field in self.lookup_opts.fields
            if not field.null and not field.remote_field
        ]
        return first in columns

    def _find_row_to_continue(self, queryset):
        """Return the row with the key `after`, or None if the list does not have it."""
        if not (self.after and self.can_continue and is_primary_key(self.after)):
            return None
        return queryset.filter(pk=self.after).first()

    def _select_rows_after(self, queryset, row):
        """Return the part of `queryset` that comes after `row` in the ordering."""
        first = queryset.query.order_by[0]
        column = first.removeprefix("-")
        value = getattr(row, column)
        if connection.vendor == "sqlite" and isinstance(value, datetime):
            # SQLite stores times as text in more than one format, so the query must
            # compare with the stored text. On PostgreSQL, a constant lets the planner
            # make better estimates.
            rows = self.model._base_manager.filter(pk=row.pk)
            value = Subquery(rows.values(column))
        operator = "lt" if first.startswith("-") else "gt"
        # Rows with the same value are sorted by key. The database starts in the index
        # at the first row with the value of `row`. The rows up to `row` itself were on
        # an earlier page, so they are excluded.
        has_same_value = Q(**{column: value})
        comes_later = Q(**{f"pk__{operator}": row.pk})
        from_value = queryset.filter(**{f"{column}__{operator}e": value})
        return from_value.exclude(has_same_value & ~comes_later)

    def get_results(self, request):
        """Read the rows of the page, and set the attributes that the templates show.

        The rows are counted only if there is a next page, which saves a query for most
        lists.
        """
        size = self.list_per_page
        rows = self._read_rows((self.page_num - 1) * size)
        if not rows:
            # The page does not exist, or no longer exists.
            self.page_num = 1
            rows = self._read_rows(0)
        start = (self.page_num - 1) * size
        self.paginator = self.model_admin.get_paginator(request, self.queryset, size)
        self.paginator.count_order = self._find_count_order()
        if len(rows) <= size:
            self.paginator.count = start + len(rows)
        self.result_list = rows[:size]
        self.result_count = self.paginator.count
        self.more = self.paginator.more
        self.multi_page = self.result_count > size
        self.can_show_all = False
        # Django shows the number of results next to the search box if it differs from
        # the full number. Beyond ROW_LIMIT, neither is known, so nothing is shown.
        self.show_full_result_count = False
        self.full_result_count = self.result_count if self.more else None
        is_last_page = self.page_num == self.paginator.num_pages
        if self.more and is_last_page and self.can_continue:
            self.last = rows[size - 1]
            self.next_string = self.get_query_string({AFTER_VAR: self.last.pk})

    def _find_count_order(self):
        """Return the ordering for the query that counts the rows.

        Returns one column, or [] for no ordering. If one range of an index contains
        exactly the rows of this list, ordering by the column of the index makes
        PostgreSQL count in that index. Otherwise, PostgreSQL may read the whole table,
        because it expects to reach ROW_LIMIT soon.
        """
        active = [spec for spec in self.filter_specs if spec.used_parameters]
        # For people who cannot view everything, the permissions add a condition.
        everywhere = get_gate(self.request).permissions_everywhere
        if self.query or "view" not in everywhere:
            return []
        if self.model_admin.count_column and not self.after and not active:
            return [self.model_admin.count_column]
        if self.after:
            return [] if active else self.queryset.query.order_by[:1]
        if len(active) != 1 or not isinstance(active[0], DateFilter):
            return []
        permission = active[0].permission
        if permission is SUPERUSERS_ONLY or permission in everywhere:
            return [active[0].field]
        return []

    def _read_rows(self, start):
        """Return the rows of the page, and one more row if there is a next page.

        Returns [] if the page is beyond ROW_LIMIT.
        """
        if not 0 <= start < ROW_LIMIT:
            return []
        end = start + self.list_per_page + 1
        queryset = self.model_admin.leave_out_long_texts(self.queryset)
        return list(queryset[start:end])

    # The table

    @cached_property
    def shown_rows(self):
        """The rows of the page, prepared for the table.

        This is a separate step because exports do not show a table.
        """
        self.model_admin.prepare_rows(self.request, self.result_list)
        return self.result_list

    @cached_property
    def selectable(self):
        """The primary keys of the rows on which the person can run an action."""
        return self.model_admin.find_selectable(self.request, self.shown_rows)

    @property
    def has_checkboxes(self):
        """Whether the person can run an action on any row of the page."""
        return bool(self.selectable)

    @cached_property
    def columns(self):
        names = [name for name in self.list_display if name != "action_checkbox"]
        hidden = self.model_admin.find_hidden_columns(self.request, self.shown_rows)
        return make_columns(self, [name for name in names if name not in hidden])

    @property
    def head(self):
        return render_head(self.columns, has_checkboxes=self.has_checkboxes)

    @property
    def rows(self):
        return render_rows(self, self.columns)
