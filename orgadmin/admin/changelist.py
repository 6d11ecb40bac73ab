"""Lists that stay fast with a million rows.

Rows are counted only up to a limit, and no page makes the database read all the rows
that come before it.
"""

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.paginator import Paginator
from django.db.models import Q
from django.utils.functional import cached_property

from orgadmin.models.validators import is_primary_key

# How many rows are counted and shown on numbered pages, at most.
LIMIT = 10_000

# How many rows a page below an object shows, such as the membership log.
PER_PAGE = 100

# The URL parameter with the key of the row that the list continues after.
AFTER_VAR = "after"


def get_page(request, rows, paginator=Paginator, *, parameter=PAGE_VAR, size=PER_PAGE):
    """Return the page of `rows` that ?p= asks for.

    Its `numbers` are the page numbers to link to, with an ellipsis for the others. The
    second list of a page needs another `parameter` of the URL.
    """
    page = paginator(rows, size).get_page(request.GET.get(parameter))
    page.parameter = parameter
    page.numbers = page.paginator.get_elided_page_range(page.number)
    return page


def exceeds(queryset, limit):
    """Return whether a queryset has more than `limit` rows, without counting all."""
    return queryset.order_by()[limit:].exists()


def list_all_rows(model_admin, request):
    """Return the rows of a list, with the search, filters and order of the request.

    Begins with the first row, whichever page of the list is open.
    """
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    try:
        changelist = model_admin.get_changelist_instance(request)
        changelist.after = ""
        return changelist.get_queryset(request)
    except IncorrectLookupParameters as error:
        raise SuspiciousOperation("The list has no such page or filter.") from error


class LimitedPaginator(Paginator):
    """Pages of the first LIMIT rows of a queryset.

    After `count` was read, `more` says whether the queryset has further rows.
    """

    more = False

    @cached_property
    def count(self):
        counted = self.object_list.order_by()[: LIMIT + 1].count()
        self.more = counted > LIMIT
        return min(counted, LIMIT)


class LongChangeList(ChangeList):
    """A list in which each page takes the same time, however many rows come before it.

    To show a page by its number, a database reads and skips all rows before it, so only
    the first LIMIT rows have numbered pages. The last of these pages links to a list
    that continues after its last row: ?after=<key>. That list begins with a condition
    such as "name >= 'Miller'", for which the database enters an index at the right
    place, and has numbered pages of its own. This is known as keyset pagination.
    """

    # The key of the row that this list continues after.
    after = ""

    # Whether there are more than LIMIT rows.
    more = False

    # On the last numbered page: the last row, and the query string of the list that
    # continues after it.
    last = None
    next_string = ""

    def get_query_string(self, new_params=None, remove=None):
        """Return the query string of a link.

        Only links to other pages continue after the same row. A list that is sorted,
        searched or filtered in another way starts at its beginning.
        """
        params = dict(new_params or {})
        if self.after and PAGE_VAR in params:
            params.setdefault(AFTER_VAR, self.after)
        return super().get_query_string(params, remove)

    def get_ordering(self, request, queryset):
        """Return the ordering, with the key in the same direction as the first column.

        The database can then read both from one index, forwards or backwards.
        """
        # Django would append the queryset's own ordering, so this removes it.
        first, *others = super().get_ordering(request, queryset.order_by())
        ordering = [first]
        for name in others:
            if name in ("pk", "-pk"):
                name = "-pk" if first.startswith("-") else "pk"
            if name not in ordering:
                ordering.append(name)
        return ordering

    def get_queryset(self, request, exclude_parameters=None):
        self._take_after_from_parameters()
        queryset = super().get_queryset(request, exclude_parameters)
        self.can_continue = self._is_continuable(queryset)
        if self.after:
            return self._keep_rows_after(queryset, self._find_row_to_continue(queryset))
        return queryset

    def _take_after_from_parameters(self):
        """Set `after`, and remove it from the parameters that Django handles.

        Otherwise Django would treat it as a filter, and would keep it when the person
        searches or filters the list.
        """
        self.after = self.params.pop(AFTER_VAR, self.after)
        self.filter_params.pop(AFTER_VAR, None)

    def _is_continuable(self, queryset):
        """Return whether one condition can select the rows after a given row.

        The list must be sorted by one column and the key, and that column must not
        contain NULL, because databases disagree on whether NULL comes first or last.
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
        """Return the row with the key `after`.

        Raises `IncorrectLookupParameters` if this list has no such row.
        """
        row = None
        if self.can_continue and is_primary_key(self.after):
            row = queryset.filter(pk=self.after).first()
        if row is None:
            raise IncorrectLookupParameters(f"This list has no row {self.after}.")
        return row

    def _keep_rows_after(self, queryset, row):
        first = queryset.query.order_by[0]
        column = first.removeprefix("-")
        value = getattr(row, column)
        operator = "lt" if first.startswith("-") else "gt"
        # Rows with the same value are sorted by key. The database enters the index at
        # the first of them, and leaves out those up to `row`, which were on an earlier
        # page.
        has_same_value = Q(**{column: value})
        comes_later = Q(**{f"pk__{operator}": row.pk})
        from_value = queryset.filter(**{f"{column}__{operator}e": value})
        return from_value.exclude(has_same_value & ~comes_later)

    def get_results(self, request):
        """Read the page, and set the attributes that the templates show.

        The rows are counted only if there is another page, which saves a query for most
        lists.
        """
        size = self.list_per_page
        start = (self.page_num - 1) * size
        rows = self._read_rows(start)
        self.paginator = self.model_admin.get_paginator(request, self.queryset, size)
        if len(rows) <= size:
            self.paginator.count = start + len(rows)
        self.result_list = rows[:size]
        self.result_count = self.paginator.count
        self.more = self.paginator.more
        self.multi_page = self.result_count > size
        self.can_show_all = False
        self.show_admin_actions = self.result_count > 0
        # Django shows the number of results next to the search box if it differs from
        # the full number. Beyond LIMIT, neither is known, so nothing is shown.
        self.show_full_result_count = False
        self.full_result_count = self.result_count if self.more else None
        is_last_page = self.page_num == self.paginator.num_pages
        if self.more and is_last_page and self.can_continue:
            self.last = rows[size - 1]
            self.next_string = self.get_query_string({AFTER_VAR: self.last.pk})

    def _read_rows(self, start):
        """Return the rows of the page, and one more row if there is a next page."""
        rows = []
        if 0 <= start < LIMIT:
            end = start + self.list_per_page + 1
            queryset = self.model_admin.leave_out_long_texts(self.queryset)
            rows = list(queryset[start:end])
        if start != 0 and not rows:
            raise IncorrectLookupParameters(f"There is no page {self.page_num}.")
        return rows
