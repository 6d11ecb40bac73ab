"""Which parameters the URL of a list may have: those of its declared filters."""

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

# The lookups that Django's filters of a field add to the path of the field. The filter
# of a relation also adds the name of the field that the relation leads to.
LOOKUPS = {
    RelatedFieldListFilter: ["__isnull"],
    BooleanFieldListFilter: ["__exact", "__isnull"],
    ChoicesFieldListFilter: ["__exact", "__isnull"],
    DateFieldListFilter: ["__gte", "__lt", "__isnull"],
    AllValuesFieldListFilter: ["", "__isnull"],
    EmptyFieldListFilter: ["__isempty"],
}

# The years that a filter of dates accepts. Databases and time zones fail on the first
# and the last ones.
YEARS = range(2, 9999)


def is_declared(lookup, value, declared, model):
    """Return whether a list filter has a parameter, and the parameter such a value.

    `declared` is `list_filter` of an admin class.
    """
    if "\0" in str(value):
        return False
    for item in declared:
        # A filter is a field, a filter class, or a pair of both.
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
    """Return the class that Django uses for a field if none is declared."""
    for is_suitable, filter_class in FieldListFilter._field_list_filters:
        if is_suitable(field):
            return filter_class
    return AllValuesFieldListFilter


def list_parameters(path, field, filter_class):
    """Return the parameters of a filter, unless it is a class of our own."""
    parameters = []
    for stock_class, lookups in LOOKUPS.items():
        if issubclass(filter_class, stock_class):
            parameters = [f"{path}{lookup}" for lookup in lookups]
    if issubclass(filter_class, RelatedFieldListFilter):
        parameters.append(f"{path}__{field.target_field.name}__exact")
    return parameters


def is_usable_time(value):
    """Return whether a value is a date, or a date and a time, that databases know."""
    text = str(value)
    try:
        time = parse_datetime(text) or parse_date(text)
    except ValueError:
        return False
    return time is not None and time.year in YEARS
