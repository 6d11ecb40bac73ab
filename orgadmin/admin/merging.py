"""MergingForm: two people can edit the same row at the same time."""

from django import forms
from django.utils.translation import gettext_lazy as _

from orgadmin.models import Organization
from orgadmin.records.history import find_author


class MergingForm(forms.ModelForm):
    """Saves what a person changed, and keeps what someone else changed in the meantime.

    Next to each text field, the page carries the value that the person saw, in a hidden
    field (Django's `show_hidden_initial`). When they save, there are three values: the
    one they saw, the one stored now, and the one they sent.

    - If the stored value is the one they saw, what they sent is saved.
    - If someone else changed it and they did not, the stored value is kept, and
      `merged` lists the label of the field.
    - If both changed it, an error shows the stored value. Saving again overwrites it.

    A request without the values seen, such as one from a script, is saved as it is.
    `ClosedModelAdmin.get_form` sets `user` to the person who edits.
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
        """Return whether the page has the value seen, or had it when it was sent."""
        return not self.is_bound or self.add_initial_prefix(name) in self.data

    def clean(self):
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
        """Return whether the stored value is not the one that the person saw.

        Browsers change line endings, so white space is not compared.
        """
        seen = self.data[self.add_initial_prefix(name)]
        return seen.split() != self._get_stored(name).split()

    def _ask_to_overwrite(self, name, stored):
        """Show the stored value in an error. From now on, this is the value seen."""
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

        If the current user may not see the name, `find_author()` in records/history.py
        returns a phrase such as "Platform staff" instead.
        """
        if isinstance(self.instance, Organization):
            return find_author(self.instance, name, self.user)
        # Only organizations have a history of their fields.
        return _("Someone else")
