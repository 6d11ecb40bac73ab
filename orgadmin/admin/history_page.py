"""The history page of an object, including the changes that deleted accounts made."""

from orgadmin.admin.lists.changelist import get_page
from orgadmin.records.history import CombinedEntries, add_kept_entries


class HistoryPage:
    """Changes Django's history page so that it shows what `read_history()` returns."""

    def history_view(self, request, object_id, extra_context=None):
        response = super().history_view(request, object_id, extra_context)
        context = getattr(response, "context_data", None)
        if not context:
            # This is a redirect, because the object does not exist.
            return response
        log_entries = context["action_list"].paginator.object_list
        context.update(self.describe_record(request, context["object"]))
        context.update(self.read_history(request, log_entries, context["object"]))
        return response

    def read_history(self, request, log_entries, obj):
        """Return template variables that replace Django's page of log entries.

        Returns {} if no entries of deleted accounts have to be added. Then, Django's
        page is shown.
        """
        # Django shows the oldest entry first.
        entries = add_kept_entries(log_entries, obj, newest_first=False)
        if not isinstance(entries, CombinedEntries):
            return {}
        return show_page(get_page(request, entries))


def show_page(page):
    """Return the variables with which Django's template shows a page of entries."""
    return {
        "action_list": page,
        "page_range": page.numbers,
        "pagination_required": page.has_other_pages(),
    }
