"""MergingForm, with which two people can edit the same row at the same time."""

from django import forms
from django.utils.translation import gettext_lazy as _

from orgadmin.models import Organization
from orgadmin.records.history import find_author


class MergingForm(forms.ModelForm):
    """Saves what a person changed, and keeps what someone else changed in the meantime.

    For each text field, the page has a hidden field with the value that the person saw
    (Django's `show_hidden_initial`). When they save the form, there are three values:
    the value that they saw, the value that is stored now, and the value that they sent.

    - If the stored value is the value that they saw, the sent value is saved.
    - If only someone else changed the field, the stored value is kept, and the label of
      the field is added to `merged`.
    - If both changed the field, to different values, an error shows the stored value.
      Saving again overwrites it.

    If a request does not contain the value that the person saw, such as a request from
    a script, the sent value is saved. `ClosedModelAdmin.get_form()` sets `user` to the
    person who edits.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            if self._is_stored_text(name, field):
                field.show_hidden_initial = self._knows_value_seen(name)

    def _is_stored_text(self, name, field):
        is_stored = self.instance.pk is not None and name in self.initial
        return is_stored and isinstance(field, forms.CharField)

    def _knows_value_seen(self, name):
        """Return whether to use the hidden field with the value that the person saw.

        A request without this field comes from a script.
        """
        return not self.is_bound or self.add_initial_prefix(name) in self.data

    def clean(self):
        """Merge the fields as the class describes, and set `merged`."""
        cleaned = super().clean()
        self.merged = []
        for name, field in self.fields.items():
            if not field.show_hidden_initial or not self._was_changed_by_others(name):
                continue
            stored = self._get_stored(name)
            if name not in self.changed_data:
                cleaned[name] = stored or field.empty_value
                self.merged.append(str(field.label))
            elif name in cleaned and (cleaned[name] or "") != stored:
                self._ask_to_overwrite(name, stored)
        return cleaned

    def _get_stored(self, name):
        return self.get_initial_for_field(self.fields[name], name) or ""

    def _was_changed_by_others(self, name):
        """Return whether the stored value differs from the value that the person saw.

        Differences in white space are ignored, because browsers change line endings.
        """
        seen = self.data[self.add_initial_prefix(name)]
        return seen.split() != self._get_stored(name).split()

    def _ask_to_overwrite(self, name, stored):
        """Add an error with the stored value, which becomes the value that was seen."""
        self.data = self.data.copy()
        self.data[self.add_initial_prefix(name)] = stored
        text = _(
            "%(person)s changed this to “%(stored)s” after you opened the page. Save"
            " again to replace it with your text."
        )
        author = self._find_author(name)
        self.add_error(name, text % {"person": author, "stored": stored})

    def _find_author(self, name):
        """Return the name of the person who changed a field.

        If the user is not allowed to see the name, `find_author()` returns a phrase
        such as "Platform staff" instead.
        """
        if isinstance(self.instance, Organization):
            return find_author(self.instance, name, self.user)
        # Only organizations have a history of their fields.
        return _("Someone else")
