"""Decides which parameters are allowed in the URL of a list."""

from django.contrib.admin import (
    AllValuesFieldListFilter,
    BooleanFieldListFilter,
    ChoicesFieldListFilter,
    DateFieldListFilter,
    EmptyFieldListFilter,
    RelatedFieldListFilter,
)
from django.contrib.admin.filters import FieldListFilter
from django.contrib.admin.utils import get_fields_from_path
from django.utils.dateparse import parse_date, parse_datetime

# The suffixes that Django's field filters append to the path of the field to form their
# URL parameters. The filter of a relation also has a parameter with the name of the
# field that the relation leads to.
PARAMETER_SUFFIXES = {
    RelatedFieldListFilter: ["__isnull"],
    BooleanFieldListFilter: ["__exact", "__isnull"],
    ChoicesFieldListFilter: ["__exact", "__isnull"],
    DateFieldListFilter: ["__gte", "__lt", "__isnull"],
    AllValuesFieldListFilter: ["", "__isnull"],
    EmptyFieldListFilter: ["__isempty"],
}

# The years that are allowed in the parameters of Django's date filter. Databases and
# time zones fail on the first and the last year that a `date` can represent.
ACCEPTED_YEARS = range(2, 9999)


def is_declared(lookup, value, declared, model):
    """Return whether a declared filter has the parameter `lookup` and accepts `value`.

    `declared` is the `list_filter` of an admin class.
    """
    if "\0" in str(value):
        return False
    for item in declared:
        # An item is a field name, a filter class, or a pair of both.
        if isinstance(item, tuple | list):
            path, filter_class = item
        else:
            path = item
            filter_class = None
        if not isinstance(path, str):
            if lookup == getattr(path, "parameter_name", None):
                return True
            continue
        field = get_fields_from_path(model, path)[-1]
        filter_class = filter_class or find_default_class(field)
        if lookup in list_parameters(path, field, filter_class):
            return not lookup.endswith(("__gte", "__lt")) or is_usable_time(value)
    return False


def find_default_class(field):
    """Return the filter class that Django uses for a field if none is declared."""
    for is_suitable, filter_class in FieldListFilter._field_list_filters:
        if is_suitable(field):
            return filter_class
    return AllValuesFieldListFilter


def list_parameters(path, field, filter_class):
    """Return the URL parameters of one of Django's filters, or [] for other filters."""
    parameters = []
    for stock_class, suffixes in PARAMETER_SUFFIXES.items():
        if issubclass(filter_class, stock_class):
            parameters = [f"{path}{suffix}" for suffix in suffixes]
    if issubclass(filter_class, RelatedFieldListFilter):
        parameters.append(f"{path}__{field.target_field.name}__exact")
    return parameters


def is_usable_time(value):
    """Return whether a value is a date or a time that all databases can store."""
    text = str(value)
    try:
        time = parse_datetime(text) or parse_date(text)
    except ValueError:
        return False
    return time is not None and time.year in ACCEPTED_YEARS
