"""Widgets that choose a day, or search for objects."""

from django import forms
from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple

from orgadmin.models.validators import is_primary_key


class DayInput(forms.DateInput):
    """The browser's own date field.

    Browsers send the date in ISO format, and do not show a date in another format.
    """

    input_type = "date"

    def __init__(self, attrs=None):
        super().__init__(attrs, format="%Y-%m-%d")


class ValidKeysOnly:
    """Ignores input that cannot be a primary key.

    To show the chosen objects, Django's widgets query the database for any input, and
    some input makes the query fail.
    """

    def optgroups(self, name, value, attrs=None):
        keys = [key for key in value if is_primary_key(str(key))]
        return super().optgroups(name, keys, attrs)

    def value_from_datadict(self, data, files, name):
        value = super().value_from_datadict(data, files, name)
        if isinstance(value, list):
            return [key for key in value if is_primary_key(key)]
        return value


class ChooseOneWidget(ValidKeysOnly, AutocompleteSelect):
    pass


class ChooseManyWidget(ValidKeysOnly, AutocompleteSelectMultiple):
    pass
