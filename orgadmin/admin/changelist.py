"""Lists that may have a million rows: counted to a limit, and never walked through."""

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.core.paginator import Paginator
from django.db import models
from django.utils.functional import cached_property

from orgadmin.models.validators import is_primary_key

LIMIT = 10_000  # rows that are counted, and reached by the number of a page


AFTER, PER_PAGE = "after", 100


def get_page(request, rows):
    """Return the page of `rows` that a request asks for, and the numbers to choose from as its `numbers`."""
    page = Paginator(rows, PER_PAGE).get_page(request.GET.get("p"))
    page.numbers = page.paginator.get_elided_page_range(page.number)
    return page


class LimitedPaginator(Paginator):
    """Pages of the first LIMIT rows of a queryset; `more` tells whether there are others."""

    more = False

    @cached_property
    def count(self):
        count = self.object_list.order_by()[: LIMIT + 1].count()
        self.more = count > LIMIT
        return min(count, LIMIT)


class LongChangeList(ChangeList):
    """A list whose pages cost the same wherever they are. Beyond LIMIT rows it goes on after the last row shown
    (?after=<key>), with pages of its own; an index on the first column of the ordering and the key finds the place."""

    after = ""

    def get_query_string(self, new_params=None, remove=None):
        """Keep the place only from page to page: what is sorted or filtered anew begins anew."""
        place = (
            {AFTER: self.after} if self.after and PAGE_VAR in (new_params or {}) else {}
        )
        return super().get_query_string({**place, **(new_params or {})}, remove)

    def get_ordering(self, request, queryset):
        """Let the key run in the direction of the first column, as the index does."""
        first, *rest = super().get_ordering(request, queryset.order_by())
        key = "-pk" if first.startswith("-") else "pk"
        return list(
            dict.fromkeys(
                [first, *(key if name in ("pk", "-pk") else name for name in rest)]
            )
        )

    def get_queryset(self, request, exclude_parameters=None):
        self.after = self.params.pop(
            AFTER, self.after
        )  # out of both: a search begins anew, too
        self.filter_params.pop(AFTER, None)
        queryset = super().get_queryset(request, exclude_parameters)
        first, *rest = (name.removeprefix("-") for name in queryset.query.order_by)
        # Where a column may be empty, what stands after a row differs from database to database.
        columns = {
            "pk",
            *(
                field.name
                for field in self.lookup_opts.fields
                if not (field.null or field.remote_field)
            ),
        }
        self.goes_on = first in columns and rest in ([], ["pk"])
        if not self.after:
            return queryset
        row = (
            queryset.filter(pk=self.after).first()
            if self.goes_on and is_primary_key(self.after)
            else None
        )
        if row is None:
            raise IncorrectLookupParameters(f"No row {self.after} to go on after.")
        operator = "lt" if queryset.query.order_by[0].startswith("-") else "gt"
        value = getattr(row, first)
        shown = models.Q(**{first: value}) & ~models.Q(**{f"pk__{operator}": row.pk})
        return queryset.filter(**{f"{first}__{operator}e": value}).exclude(shown)

    def get_results(self, request):
        """Read the page; count only where there is another one."""
        size, start = self.list_per_page, (self.page_num - 1) * self.list_per_page
        rows = (
            list(self.queryset[start : start + size + 1]) if 0 <= start < LIMIT else []
        )
        if start and not rows:
            raise IncorrectLookupParameters(f"There is no page {self.page_num}.")
        self.paginator = self.model_admin.get_paginator(request, self.queryset, size)
        if len(rows) <= size:
            self.paginator.count = start + len(rows)
        self.result_list, self.result_count = rows[:size], self.paginator.count
        self.more, self.multi_page = self.paginator.more, self.result_count > size
        self.show_full_result_count = self.can_show_all = False
        self.show_admin_actions = self.result_count > 0
        self.full_result_count = (
            self.result_count if self.more else None
        )  # equal: no number stands beside the search
        if self.more and self.page_num == self.paginator.num_pages and self.goes_on:
            self.last, self.next_string = (
                rows[size - 1],
                self.get_query_string({AFTER: rows[size - 1].pk}),
            )
