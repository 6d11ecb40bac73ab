"""Widgets for choosing objects."""

from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple

from orgadmin.models.validators import is_primary_key


class KeysOnly:
    """A widget that shows the objects chosen. Django's asks the database for whatever was sent."""

    def optgroups(self, name, value, attrs=None):
        return super().optgroups(
            name, [key for key in value if is_primary_key(str(key))], attrs
        )

    def value_from_datadict(self, data, files, name):
        value = super().value_from_datadict(data, files, name)
        return (
            [key for key in value if is_primary_key(key)]
            if isinstance(value, list)
            else value
        )


class ChooseOneWidget(KeysOnly, AutocompleteSelect): ...


class ChooseManyWidget(KeysOnly, AutocompleteSelectMultiple): ...
