"""The filters of lists. Each has a URL parameter, a form field, and a chip."""

import datetime
from dataclasses import dataclass

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import mark_safe
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from orgadmin.access.rule import SUPERUSERS_ONLY, is_active_superuser

OPTION_HTML = '<option value="{}"{}>{}</option>'

# The years that a date filter accepts. Converting to another time zone fails for the
# first and the last years that a `date` can represent.
ACCEPTED_YEARS = range(1900, 3000)


@dataclass(frozen=True)
class Option:
    """A choice of a filter, or of the field that sorts the list."""

    value: str
    label: str
    is_selected: bool

    @property
    def html(self):
        selected = mark_safe(" selected") if self.is_selected else ""
        label = capfirst(self.label)
        return format_html(OPTION_HTML, self.value, selected, label)


class Filter(admin.ListFilter):
    """A filter that reveals only what the person is allowed to know.

    `permission` is the permission that people need to see the value that is filtered.
    The filter finds only rows with an organization on which the person has this
    permission. Otherwise, finding a row would reveal its value. With SUPERUSERS_ONLY,
    only superusers can use the filter. System checks refuse filters of models about
    organizations if the filter does not declare a permission, or if it overrides
    `queryset()`.

    `parameter_name` is the name of the URL parameter. A value that the filter does not
    understand is ignored, and `error` explains how to correct it, if possible.
    """

    parameter_name = ""
    permission = SUPERUSERS_ONLY
    kind = ""  # the kind of form field in the filter panel

    def __init__(self, request, params, model, model_admin):
        super().__init__(request, params, model, model_admin)
        self.model_admin = model_admin
        self.text = (params.pop(self.parameter_name, None) or [""])[-1]
        self.value = None
        self.error = ""
        if self.text and self.has_output():
            self.value = self.read(self.text)
        if self.value is not None:
            self.used_parameters[self.parameter_name] = self.text

    def has_output(self):
        if self.permission is SUPERUSERS_ONLY:
            return is_active_superuser(self.request.user)
        return True

    def expected_parameters(self):
        return [self.parameter_name]

    def choices(self, changelist):
        return []

    def read(self, text):
        """Return the value of a text from the URL, or None if the text is invalid."""
        raise NotImplementedError

    def narrow(self, queryset):
        """Return the rows of the queryset that match `self.value`."""
        raise NotImplementedError

    def queryset(self, request, queryset):
        if self.value is None:
            return queryset
        if self.permission is not SUPERUSERS_ONLY:
            queryset = self.model_admin.narrow_by(
                queryset, request.user, self.permission
            )
        return self.narrow(queryset)

    def describe(self):
        """Return the text that the chip shows after the title."""
        raise NotImplementedError


class ChoiceFilter(Filter):
    """A filter with a few choices. `options` is {value: label}."""

    kind = "choice"
    options = {}

    def list_options(self):
        return self.options

    def read(self, text):
        return text if text in self.list_options() else None

    def choices(self, changelist):
        """Yield the choices for Django's template, which shows each as a link."""
        for option in self.all_options:
            params = {self.parameter_name: option.value}
            yield {
                "selected": option.is_selected,
                "query_string": changelist.get_query_string(params),
                "display": option.label,
            }

    @property
    def all_options(self):
        return [
            Option(value, label, value == self.value)
            for value, label in self.list_options().items()
        ]

    def describe(self):
        return self.list_options()[self.value]


class FieldChoiceFilter(ChoiceFilter):
    """A filter by the choices of a model field, which has the name of the parameter."""

    title = ""

    def __init__(self, request, params, model, model_admin):
        self.field = model._meta.get_field(self.parameter_name)
        self.title = self.field.verbose_name
        super().__init__(request, params, model, model_admin)

    def list_options(self):
        return dict(self.field.choices)

    def narrow(self, queryset):
        return queryset.filter(**{self.parameter_name: self.value})


class DateFilter(Filter):
    """A filter by a time: from the start of a day, or until the end of a day."""

    kind = "date"
    field = ""
    is_until = False

    def read(self, text):
        try:
            day = forms.DateField().clean(text)
        except ValidationError:
            day = None
        if day is None or day.year not in ACCEPTED_YEARS:
            error = _("“%(text)s” is not a date. Write it like %(example)s.")
            example = timezone.localdate().isoformat()
            self.error = error % {"text": text[:30], "example": example}
            return None
        return day

    def narrow(self, queryset):
        if self.is_until:
            next_day = self.value + datetime.timedelta(days=1)
            return queryset.filter(**{f"{self.field}__lt": find_midnight(next_day)})
        return queryset.filter(**{f"{self.field}__gte": find_midnight(self.value)})

    def describe(self):
        return date_format(self.value, "DATE_FORMAT")


def find_midnight(day):
    """Return the time at which a day begins in the person's time zone."""
    return timezone.make_aware(datetime.datetime.combine(day, datetime.time.min))
