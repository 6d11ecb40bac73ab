"""The formset for rows that are edited in the form of an organization."""

from django import forms
from django.utils.translation import gettext_lazy as _

from orgadmin.models.validators import is_primary_key

# The maximum number of existing rows that the form shows.
ROWS_SHOWN = 10

# The maximum number of rows that the form can send, including new rows. Django refuses
# a request with more than a thousand fields.
MAX_ROWS_SENT = 50


class GatedInlineFormSet(forms.BaseInlineFormSet):
    """Edits only rows that belong to the organization of the page.

    A request without the fields of the formset, such as one from a script, leaves the
    rows unchanged. Django would refuse such a request.

    The page shows the first ROWS_SHOWN rows. Rows that are not shown stay unchanged.
    """

    # The number of all rows if not all of them are shown, or else None.
    number_of_rows = None

    def __init__(self, data=None, *args, prefix=None, **kwargs):
        total_forms = f"{prefix}-TOTAL_FORMS"
        initial_forms = f"{prefix}-INITIAL_FORMS"
        if data is not None and total_forms not in data:
            # dict() keeps only one value for each field. This is enough, because the
            # formset does not have rows whose fields it would read.
            data = {**data.dict(), total_forms: "0", initial_forms: "0"}
        super().__init__(data, *args, prefix=prefix, **kwargs)

    def get_queryset(self):
        """Return the rows to show, or the rows that were sent.

        When the page is opened, these are the first rows. After that, someone may add
        rows before them, so rows that were sent are found by their primary keys.
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
        # Django's own to_python() looks up any key in the request, including keys of
        # rows of other organizations. The response would reveal which keys exist.
        key_field = form.fields[self._pk_field.name]
        key_field.to_python = self._find_row

    def _find_row(self, key):
        """Return the row of this organization with a primary key.

        Returns None for an empty key. Raises `ValidationError` if the organization does
        not have a row with this key.
        """
        if not key:
            return None
        row = self._existing_object(int(key)) if is_primary_key(key) else None
        if row is None:
            raise forms.ValidationError(_("This row does not exist."))
        return row

    def clean(self):
        super().clean()
        for errors in self.errors:
            # The primary key is a hidden field, so nobody would see an error next to
            # it.
            if self._pk_field.name in errors:
                raise forms.ValidationError(
                    _("A row was deleted while you were editing. Reload the page.")
                )
