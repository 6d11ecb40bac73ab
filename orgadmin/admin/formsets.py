"""The formset of rows that are edited on the page of an organization."""

from django import forms
from django.utils.translation import gettext_lazy as _

from orgadmin.models.validators import is_primary_key


class GatedInlineFormSet(forms.BaseInlineFormSet):
    """Edits only rows that belong to the organization of the page.

    A request without the fields of the formset, such as one from a script, leaves the
    rows unchanged. Django would refuse such a request.
    """

    def __init__(self, data=None, *args, prefix=None, **kwargs):
        total_forms = f"{prefix}-TOTAL_FORMS"
        initial_forms = f"{prefix}-INITIAL_FORMS"
        if data is not None and total_forms not in data:
            # dict() keeps one value for each field. The formset has no rows now, so it
            # reads no others.
            data = {**data.dict(), total_forms: "0", initial_forms: "0"}
        super().__init__(data, *args, prefix=prefix, **kwargs)

    def add_fields(self, form, index):
        super().add_fields(form, index)
        # Django's own to_python() looks up any key in the request, even the key of a
        # row of another organization. The response would reveal which keys exist.
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
            # The primary key is a hidden field: nobody would see an error next to it.
            if self._pk_field.name in errors:
                raise forms.ValidationError(
                    _("A row was deleted while you were editing. Reload the page.")
                )
