"""The form that accepts an import file, and the limits for the file."""

import base64

from django import forms
from django.core.validators import FileExtensionValidator
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _

# The largest file that can be imported in the browser. The preview sends the file back
# as base64, which is a third longer. These limits must be larger than that: Django's
# DATA_UPLOAD_MAX_MEMORY_SIZE (2.5 MB), MAX_REQUEST_SIZE in orgadmin/logs.py, and
# client_max_body_size in docs/deployment/nginx.conf.
IMPORT_MAX_LINES = 2_000  # without the header
IMPORT_MAX_BYTES = 1_500_000


class ImportForm(forms.Form):
    """Accepts an uploaded file, and later the same file as text from the preview."""

    file = forms.FileField(
        label=_("CSV file"),
        required=False,
        validators=[
            FileExtensionValidator(
                # Files from some systems have no extension.
                ["csv", "txt", ""],
                _("This is not a CSV file. Choose a file that ends in .csv or .txt."),
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

    def clean(self):
        cleaned = super().clean()
        content = self._read_content(cleaned)
        if not content:
            self.add_error("file", _("Choose a file."))
        elif self._is_too_large(content):
            text = _(
                "The file has more than %(lines)d lines or %(megabytes)s MB. Split it,"
                " or import it with “manage.py import_organizations”."
            )
            limits = {
                "lines": IMPORT_MAX_LINES,
                "megabytes": number_format(IMPORT_MAX_BYTES / 1_000_000),
            }
            self.add_error("file", text % limits)
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

    def _is_too_large(self, content):
        lines = content.count(b"\n")
        # The file has one more line than IMPORT_MAX_LINES, its header.
        has_too_many_lines = lines > IMPORT_MAX_LINES + 1
        return has_too_many_lines or len(content) > IMPORT_MAX_BYTES
