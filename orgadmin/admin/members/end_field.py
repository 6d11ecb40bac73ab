"""The form field that asks for the last day of a membership."""

import datetime

from django import forms
from django.conf import settings
from django.utils.functional import lazy
from django.utils.translation import gettext, gettext_lazy as _

from orgadmin.admin.widgets import DayInput
from orgadmin.people.ends import (
    UnusableDay,
    find_end_of_day,
    find_last_day,
    find_today,
)


class EndField(forms.DateField):
    """A form field for the last day of a membership.

    The cleaned value is the time at which that day ends in the site's time zone, or
    None if the field is empty. Initial values are also such times. Days that have
    passed are refused.
    """

    def __init__(self, **kwargs):
        values = {
            "label": _("Access ends on"),
            "required": False,
            "help_text": explain_day_lazy(),
            "widget": DayInput,
        }
        super().__init__(**values | kwargs)

    def get_bound_field(self, form, field_name):
        self.widget.attrs["min"] = find_today().isoformat()
        return super().get_bound_field(form, field_name)

    def prepare_value(self, value):
        if isinstance(value, datetime.datetime):
            return find_last_day(value)
        return value

    def clean(self, value):
        day = super().clean(value)
        if day is None:
            return None
        try:
            return find_end_of_day(day)
        except UnusableDay as error:
            raise forms.ValidationError(str(error)) from error


def explain_day():
    text = gettext(
        "Optional. Access ends at the end of this day, in the time zone %(zone)s."
    )
    return text % {"zone": settings.TIME_ZONE}


explain_day_lazy = lazy(explain_day, str)


class EndForm(forms.Form):
    """Asks when the access of a member ends. If left empty, the access does not end."""

    ends_on = EndField()
