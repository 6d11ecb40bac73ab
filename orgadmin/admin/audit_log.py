"""The pages of the audit log, for superusers."""

from django.contrib import admin
from django.db.models import Q
from django.urls import path, reverse
from django.utils.translation import gettext_lazy as _

from orgadmin.access.audit_log import SecurityEvent, find_last
from orgadmin.admin.base import SuperuserOnlyAdmin, clean_search
from orgadmin.admin.downloads import CSV, XLSX, respond_with_rows
from orgadmin.admin.lists.changelist import list_all_rows
from orgadmin.admin.lists.filters import ChoiceFilter, DateFilter
from orgadmin.models import AuditEvent, User
from orgadmin.models.validators import is_primary_key
from orgadmin.records.exports import list_audit_events, record_export

# The maximum number of deleted accounts with the same name that a search finds.
MAX_NAMESAKES = 10


class EventFilter(ChoiceFilter):
    title = _("event")
    parameter_name = "event"

    def list_options(self):
        return dict(SecurityEvent.choices)

    def narrow(self, queryset):
        return queryset.filter(event=self.value)


class SinceFilter(DateFilter):
    title = _("From")
    parameter_name = "since"
    field = "at"


class UntilFilter(DateFilter):
    title = _("Until")
    parameter_name = "until"
    field = "at"
    is_until = True


@admin.register(AuditEvent)
class AuditLogAdmin(SuperuserOnlyAdmin):
    """The whole audit log, for superusers. Nobody can edit it."""

    list_title = _("Audit log")
    list_display = [
        "at",
        "event_name",
        "user_name",
        "actor_name",
        "network",
        "details_text",
        "place",
    ]
    list_display_links = None
    fields = [*list_display, "user_key", "actor_key", "request_id"]
    list_filter = [EventFilter, SinceFilter, UntilFilter]
    # Only this column has an index for sorting.
    sortable_by = ["at"]
    ordering = ["-at", "-pk"]
    # With facets, Django would count the whole log for each kind of event.
    show_facets = admin.ShowFacets.NEVER
    # Django shows the search box only if this is set. `get_search_results()` does not
    # use it.
    search_fields = ["user_name"]
    search_help_text = _(
        "Search by the full username, email address or ID of a person. Finds what"
        " happened to them and what they did."
    )

    def is_permitted(self, request, permission, obj=None):
        return permission == "view" and super().is_permitted(request, permission)

    @admin.display(description=_("event"), ordering="event")
    def event_name(self, event):
        return event.event_label

    @admin.display(description=_("details"))
    def details_text(self, event):
        return describe_details(event)

    @admin.display(description=_("position"))
    def place(self, event):
        return event.position

    def get_search_results(self, request, queryset, search_term):
        """Return the events by and about the person with this name, address or ID.

        Without a search text, returns all events. Searching for parts of a name would
        be slow.
        """
        term = clean_search(search_term).strip()
        if not term:
            return queryset, False
        keys = find_keys(term)
        condition = Q(user_key__in=keys) | Q(actor_key__in=keys) | Q(user_name=term)
        return queryset.filter(condition), False

    def get_urls(self):
        protect = self.admin_site.admin_view
        urls = [
            path(
                "export/",
                protect(self.export_view),
                {"kind": CSV},
                name="orgadmin_auditevent_export",
            ),
            path(
                "export/xlsx/",
                protect(self.export_view),
                {"kind": XLSX},
                name="orgadmin_auditevent_export_workbook",
            ),
        ]
        return urls + super().get_urls()

    def export_view(self, request, kind):
        """Download the list as a file, with the search and filters of the page.

        The rows are in the order of the log's hash chain. Without a filter, they
        include the event about this export.
        """
        events = list_all_rows(self, request)
        record_export("audit log", actor=request.user, filters=sorted(request.GET))
        last = find_last()
        until = last.position if last is not None else 0
        rows = list_audit_events(events, until=until)
        url = reverse("admin:orgadmin_auditevent_changelist")
        return respond_with_rows(request, kind, "audit-log", rows, page=url)


def find_keys(term):
    """Return the IDs of the people that a search finds, including deleted accounts.

    Runs two queries.
    """
    keys = {user.pk for user in User.objects.find_for_sign_in(term)}
    if is_primary_key(term):
        keys.add(int(term))
    deleted = AuditEvent.objects.filter(
        user_name=term, event=SecurityEvent.USER_DELETED
    )
    keys.update(deleted.values_list("user_key", flat=True)[:MAX_NAMESAKES])
    return keys


def describe_details(event):
    """Return the details of an event, such as "content: people; filters: role".

    Includes personal details, and leaves out empty values.
    """
    details = []
    for name, value in {**event.details, **event.personal}.items():
        text = describe_value(value)
        if text:
            details.append(f"{name}: {text}")
    return "; ".join(details)


def describe_value(value):
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)
