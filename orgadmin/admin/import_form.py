"""The form that accepts an import file and the choices for it."""

import base64

from django import forms
from django.core.validators import FileExtensionValidator
from django.utils.translation import gettext_lazy as _

from orgadmin.models import Organization
from orgadmin.records.import_options import ImportOptions, Limits
from orgadmin.records.imports import CLEARABLE
from orgadmin.records.text_encoding import ENCODINGS

# The largest file that can be imported in the browser. The preview sends the file back
# as base64, which is a third longer. These limits must be larger than that: Django's
# DATA_UPLOAD_MAX_MEMORY_SIZE (2.5 MB), MAX_REQUEST_SIZE in orgadmin/logs.py, and
# client_max_body_size in docs/deployment/nginx.conf.
IMPORT_MAX_LINES = 2_000  # without the header
IMPORT_MAX_BYTES = 1_500_000

# The names of sheets have 31 characters in Excel, and may be longer elsewhere.
SHEET_LENGTH = 255

LIMITS = Limits(rows=IMPORT_MAX_LINES, size=IMPORT_MAX_BYTES)

# Files from some systems have no extension. The import looks at the content itself.
EXTENSIONS = ["csv", "tsv", "txt", "xlsx", "xlsm", "xls", "ods", ""]


def list_clearable():
    fields = [Organization._meta.get_field(name) for name in CLEARABLE]
    return [(field.name, field.verbose_name) for field in fields]


class ImportForm(forms.Form):
    """Accepts an uploaded file, and later the same file as text from the preview."""

    file = forms.FileField(
        label=_("Spreadsheet or CSV file"),
        required=False,
        validators=[
            FileExtensionValidator(
                EXTENSIONS,
                _(
                    "This is not a table. Choose a file that ends in .xlsx, .xls, .ods,"
                    " .csv or .txt."
                ),
            )
        ],
    )
    # The content of the file. It is encoded as base64, because browsers change the line
    # endings of text.
    text = forms.CharField(required=False, widget=forms.HiddenInput, strip=False)
    send_mail = forms.BooleanField(
        label=_("Send emails"),
        required=False,
        help_text=_(
            "Invite people who don't have an account yet. Otherwise, rows with unknown"
            " email addresses are rejected."
        ),
    )
    encoding = forms.ChoiceField(
        label=_("Encoding of a CSV file"),
        required=False,
        choices=[("", _("Find out")), *ENCODINGS.items()],
        help_text=_("Choose another one if letters such as “ü” look wrong."),
    )
    sheet = forms.CharField(
        label=_("Sheet of a workbook"),
        required=False,
        max_length=SHEET_LENGTH,
        help_text=_("Its name or number. If empty, the first sheet with text is used."),
    )

    # The choices that the preview offers, too
    matches_names = forms.BooleanField(
        label=_("Match organizations by name"),
        required=False,
        help_text=_(
            "Rows without a key change the organization that has their name. Otherwise,"
            " they create one."
        ),
    )
    keeps_totals = forms.BooleanField(
        label=_("Import totals and repeated headers, too"), required=False
    )
    clear_blank = forms.MultipleChoiceField(
        label=_("Empty these fields where the cell is empty"),
        required=False,
        choices=list_clearable,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("In all other fields, an empty cell keeps what is there."),
    )
    accepts_warnings = forms.BooleanField(
        label=_("Import rows with warnings, too"), required=False
    )

    def clean(self):
        cleaned = super().clean()
        content = self._read_content(cleaned)
        if not content:
            self.add_error("file", _("Choose a file."))
        return {**cleaned, "content": content}

    def _read_content(self, cleaned):
        """Return the content of the file, which is empty if there is no file."""
        file = cleaned.get("file")
        content = file.read() if file else b""
        if content:
            return content
        try:
            return base64.b64decode(cleaned.get("text", ""), validate=True)
        except ValueError:
            return b""

    def list_upload_fields(self):
        """Return the fields on the page where people choose the file."""
        return [self["file"], self["send_mail"]]

    def list_reading_fields(self):
        """Return the fields that say how the file is read, which few people need."""
        return [self["encoding"], self["sheet"]]

    def list_preview_fields(self, report):
        """Return the choices in the preview of a file with this report.

        Of the fields that can be emptied, these are the ones that the file has.
        """
        names = [self._show_format(report.format), "matches_names"]
        if report.skipped or self.cleaned_data["keeps_totals"]:
            names.append("keeps_totals")
        clearable = [
            choice for choice in list_clearable() if choice[0] in report.columns
        ]
        if clearable:
            self.fields["clear_blank"].choices = clearable
            names.append("clear_blank")
        return [self[name] for name in names]

    def list_consent_fields(self, report):
        """Return the tick that a preview with warnings asks for, if it has any."""
        return [self["accepts_warnings"]] if report.needs_consent else []

    def _show_format(self, file_format):
        """Let a field show how the file was read, and return the name of the field."""
        name = "sheet" if file_format.sheets else "encoding"
        if file_format.sheets:
            choices = [(sheet, sheet) for sheet in file_format.sheets]
            self.fields[name].widget = forms.Select(choices=choices)
            self.fields[name].help_text = ""
        # The form has been sent, so it shows what was sent.
        self.data = self.data.copy()
        self.data[name] = getattr(file_format, name)
        return name

    def make_options(self):
        """Return the choices of a valid form."""
        data = self.cleaned_data
        return ImportOptions(
            encoding=data["encoding"] or None,
            sheet=data["sheet"],
            clear_blank=tuple(data["clear_blank"]),
            matches_names=data["matches_names"],
            keeps_totals=data["keeps_totals"],
            accepts_warnings=data["accepts_warnings"],
            limits=LIMITS,
        )
