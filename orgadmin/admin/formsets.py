"""The formset of rows that are edited on the page of an organization."""

from django import forms
from django.utils.translation import gettext_lazy as _

from orgadmin.models.validators import is_primary_key

# How many rows the page of an organization shows.
ROWS_SHOWN = 10

# How many rows it has room for, including new ones. Django refuses a request with more
# than a thousand fields.
ROWS_SENT = 50


class GatedInlineFormSet(forms.BaseInlineFormSet):
    """Edits only rows that belong to the organization of the page.

    A request without the fields of the formset, such as one from a script, leaves the
    rows unchanged. Django would refuse such a request.

    Opens with the first ROWS_SHOWN rows. Rows that are not shown stay as they are.
    """

    # How many rows there are, if not all of them are shown.
    number_of_rows = None

    def __init__(self, data=None, *args, prefix=None, **kwargs):
        total_forms = f"{prefix}-TOTAL_FORMS"
        initial_forms = f"{prefix}-INITIAL_FORMS"
        if data is not None and total_forms not in data:
            # dict() keeps one value for each field. The formset has no rows now, so it
            # reads no others.
            data = {**data.dict(), total_forms: "0", initial_forms: "0"}
        super().__init__(data, *args, prefix=prefix, **kwargs)

    def get_queryset(self):
        """Return the rows to show, or the rows that were sent.

        A page that is opened shows the first rows. In the meantime, someone may have
        added others before them, so the rows that come back are found by their keys.
        """
        if not hasattr(self, "_queryset"):
            rows = super().get_queryset()
            if self.is_bound:
                self._queryset = rows.filter(pk__in=self._list_sent_keys())
            else:
                self._queryset = self._read_first(rows)
        return self._queryset

    def _read_first(self, rows):
        first = list(rows[: ROWS_SHOWN + 1])
        if len(first) > ROWS_SHOWN:
            self.number_of_rows = rows.count()
        return first[:ROWS_SHOWN]

    def _list_sent_keys(self):
        names = [
            f"{self.add_prefix(index)}-{self.model._meta.pk.name}"
            for index in range(self.initial_form_count())
        ]
        keys = [self.data.get(name, "") for name in names]
        return [key for key in keys if is_primary_key(key)]

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
