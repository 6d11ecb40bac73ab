"""The formset of rows that are edited in the page of an organization."""

from django import forms
from django.utils.translation import gettext_lazy as _

from orgadmin.models.validators import is_primary_key


class GatedInlineFormSet(forms.BaseInlineFormSet):
    """Edits only rows that belong to the organization of the page.

    A request that says nothing about the rows, such as one from a script, changes none
    of them. Django would refuse it.
    """

    def __init__(self, data=None, *args, prefix=None, **kwargs):
        total_forms = f"{prefix}-TOTAL_FORMS"
        initial_forms = f"{prefix}-INITIAL_FORMS"
        if data is not None and total_forms not in data:
            data = {**data.dict(), total_forms: "0", initial_forms: "0"}
        super().__init__(data, *args, prefix=prefix, **kwargs)

    def add_fields(self, form, index):
        super().add_fields(form, index)
        # Django's own to_python() asks the database for any key that is sent, even one
        # of another organization, and so reveals which keys exist.
        key_field = form.fields[self._pk_field.name]
        key_field.to_python = self._find_row

    def _find_row(self, key):
        """Return the row of this organization with a key; None for an empty key."""
        if not key:
            return None
        row = self._existing_object(int(key)) if is_primary_key(key) else None
        if row is None:
            raise forms.ValidationError(_("This row does not exist."))
        return row

    def clean(self):
        super().clean()
        for errors in self.errors:
            # The key is a hidden field, so nobody would see an error next to it.
            if self._pk_field.name in errors:
                raise forms.ValidationError(
                    _("A row was deleted while you were editing. Reload the page.")
                )
