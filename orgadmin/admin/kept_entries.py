"""History pages of people and groups, including what deleted accounts did."""

from orgadmin.admin.changelist import get_page
from orgadmin.records.history import add_kept_entries


class HistoryWithKeptEntries:
    """Adds the entries of deleted accounts to Django's history page."""

    def history_view(self, request, object_id, extra_context=None):
        response = super().history_view(request, object_id, extra_context)
        context = getattr(response, "context_data", None)
        if not context:
            # This is a redirect, because there is no such object.
            return response
        log_entries = context["action_list"].paginator.object_list
        entries = add_kept_entries(log_entries, context["object"])
        if isinstance(entries, list):
            # Django shows the oldest entry first.
            page = get_page(request, entries[::-1], size=100)
            context["action_list"] = page
            context["page_range"] = page.numbers
            context["pagination_required"] = page.has_other_pages()
        return response
