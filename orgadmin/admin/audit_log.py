"""The pages of the audit log, for superusers."""

import datetime

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from orgadmin.access.audit_log import SecurityEvent, find_last
from orgadmin.access.membership_log import find_start_of_next_day
from orgadmin.admin.base import SEARCH_LENGTH, SuperuserOnlyAdmin
from orgadmin.admin.changelist import list_all_rows
from orgadmin.models import AuditEvent, User
from orgadmin.models.validators import is_primary_key
from orgadmin.records.csv_files import respond_with_csv
from orgadmin.records.exports import list_audit_events, record_export

# Time zones cannot be applied to the first and the last years that dates can have.
YEARS = range(2000, 3000)

# Deleted accounts of one name whose events a search finds.
MAX_NAMESAKES = 10


class EventFilter(admin.SimpleListFilter):
    title = _("event")
    parameter_name = "event"

    def lookups(self, request, model_admin):
        return SecurityEvent.choices

    def queryset(self, request, queryset):
        if self.value() is None:
            return queryset
        return queryset.filter(event=self.value())


class DateRangeFilter(admin.ListFilter):
    """Narrows a list to the days from `since` to `until`. Either may be missing.

    Django's own filter for dates accepts any lookup, and fails on some years.
    """

    title = _("date")
    template = "admin/orgadmin/includes/date_range_filter.html"
    parameter_names = ("since", "until")

    def __init__(self, request, params, model, model_admin):
        super().__init__(request, params, model, model_admin)
        for name in self.parameter_names:
            values = params.pop(name, [])
            if values and values[-1]:
                self.used_parameters[name] = values[-1]

    def has_output(self):
        return True

    def expected_parameters(self):
        return list(self.parameter_names)

    def choices(self, changelist):
        """Yield what the template needs: the values, and the other parameters."""
        others = changelist.get_filters_params()
        for name in self.parameter_names:
            others.pop(name, None)
        kept = []
        for name, values in others.items():
            kept += [(name, value) for value in values]
        if changelist.query:
            kept.append((SEARCH_VAR, changelist.query))
        yield {"values": self.used_parameters, "kept": kept}

    def queryset(self, request, queryset):
        since = self._read_date("since")
        until = self._read_date("until")
        if since is not None:
            midnight = datetime.datetime.combine(since, datetime.time.min)
            queryset = queryset.filter(at__gte=timezone.make_aware(midnight))
        if until is not None:
            queryset = queryset.filter(at__lt=find_start_of_next_day(until))
        return queryset

    def _read_date(self, name):
        """Return a date, or None. Raises `IncorrectLookupParameters`."""
        text = self.used_parameters.get(name)
        if text is None:
            return None
        try:
            date = forms.DateField().clean(text)
        except ValidationError as error:
            raise IncorrectLookupParameters(f"{name} is not a date.") from error
        if date.year not in YEARS:
            raise IncorrectLookupParameters(f"{name} is not in the years of the log.")
        return date


@admin.register(AuditEvent)
class AuditLogAdmin(SuperuserOnlyAdmin):
    """The whole audit log, for superusers. Nobody can edit it."""

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
    list_filter = [EventFilter, DateRangeFilter]
    # Only this column has an index for sorting.
    sortable_by = ["at"]
    ordering = ["-at", "-pk"]
    # Facets would count the whole log for each kind of event.
    show_facets = admin.ShowFacets.NEVER
    # Shows the search box. `get_search_results` searches.
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
        """Find the events of one person. Parts of a name would need a slow search."""
        term = search_term.replace("\0", " ").strip()[:SEARCH_LENGTH]
        if not term:
            return queryset, False
        keys = find_keys(term)
        condition = Q(user_key__in=keys) | Q(actor_key__in=keys) | Q(user_name=term)
        return queryset.filter(condition), False

    def lookup_allowed(self, lookup, value, request=None):
        if lookup in DateRangeFilter.parameter_names:
            return True
        return super().lookup_allowed(lookup, value, request)

    def get_urls(self):
        export = path(
            "export/",
            self.admin_site.admin_view(self.export_view),
            name="orgadmin_auditevent_export",
        )
        return [export, *super().get_urls()]

    def export_view(self, request):
        """Download the list as CSV, with the search and filters of the page.

        The rows are in the order of the chain. Without a filter, the last one is the
        record of this export.
        """
        events = list_all_rows(self, request)
        record_export("audit log", actor=request.user, filters=sorted(request.GET))
        last = find_last()
        until = last.position if last is not None else 0
        return respond_with_csv("audit-log", list_audit_events(events, until=until))


def find_keys(term):
    """Return the IDs of the people whom a search means, including deleted accounts.

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
    """Return the details of an event, and its personal ones, as "name: value"."""
    values = {**event.details, **event.personal}
    return "; ".join(f"{name}: {describe_value(values[name])}" for name in values)


def describe_value(value):
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)
