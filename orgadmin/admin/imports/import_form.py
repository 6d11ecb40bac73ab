"""The forms that accept a file to import, and the choices about it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from django import forms
from django.core.validators import FileExtensionValidator
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from orgadmin.models import ColumnMapping, Import, Organization
from orgadmin.models.column_mapping import NAME_LENGTH
from orgadmin.records.columns import ROLE_COLUMNS
from orgadmin.records.imports.file_columns import make_mapping
from orgadmin.records.imports.options import PAGE_LIMITS, ImportOptions
from orgadmin.records.imports.organizations import CLEARABLE
from orgadmin.records.imports.problems import printable
from orgadmin.records.imports.stored_imports import (
    Choices,
    find_title_reader_class,
    list_warnings,
    read_columns,
    read_format,
)
from orgadmin.records.imports.tables import describe_size
from orgadmin.records.imports.text_encoding import ENCODINGS

# The maximum length of the name of a sheet, in characters. Excel allows 31 characters,
# and other programs allow more.
MAX_SHEET_NAME_LENGTH = 255

# The maximum number of rows for which people can choose the organization to change. For
# more rows, they can match organizations by name.
MAX_TARGETS = 100

# The names of the choices that a page with problems sends again.
CHOICES_SENT_AGAIN = ("matches_names", "keeps_totals", "clear_blank", "send_mail")

# The file extensions that are accepted. Files from some systems do not have an
# extension, so the import recognizes the format by the content.
EXTENSIONS = ["csv", "tsv", "txt", "xlsx", "xlsm", "xls", "ods", ""]


MATCHES_NAMES_OF_PEOPLE = _(
    "Rows without a key refer to the organization by its name. Otherwise, they are"
    " rejected."
)


def list_clearable():
    fields = [Organization._meta.get_field(name) for name in CLEARABLE]
    return [(field.name, field.verbose_name) for field in fields]


def list_column_choices(subject):
    """Return the choices for what a column is imported as, as (field name, label)."""
    is_about_people = subject == Import.Subject.PEOPLE
    labels = label_people_columns() if is_about_people else label_columns()
    names = find_title_reader_class(subject).choosable
    fields = [(name, capfirst(labels.get(name, name))) for name in names]
    return [("", _("Not used")), *fields]


def label_columns():
    return {
        "name": _("Name"),
        "admins": _("Admins"),
        "reviewers": _("Reviewers"),
        "street": _("Street"),
        "postal_code": _("Postal code"),
        "city": _("City"),
        "region": _("Region"),
        "country": _("Country"),
        **dict(list_clearable()),
    }


def label_people_columns():
    return {
        "email": _("Email"),
        "first_name": _("First name"),
        "last_name": _("Last name"),
        "full_name": _("Full name"),
        "reference": _("Reference of the organization"),
        "organization": _("Name of the organization"),
        "role": _("Role"),
        "until": _("Last day of access"),
    }


@dataclass(frozen=True)
class ColumnRow:
    """A column of the file, with the form field that chooses what it is imported as."""

    title: str
    samples: Sequence[str]
    name: str  # the field as which the column is imported, or "" if it is not used
    field: object  # the form field, or None if people cannot choose


@dataclass(frozen=True)
class ResembledRow:
    """The existing organization that a row may be about."""

    pk: int
    name: str


class ShownCheckbox(forms.CheckboxInput):
    """A checkbox with a hidden field, which tells the server that the form has it.

    Browsers do not send an empty checkbox. Without the hidden field, the form would
    treat it like a checkbox that the page does not show, and keep the stored choice.
    """

    def render(self, name, value, attrs=None, renderer=None):
        box = super().render(name, value, attrs, renderer)
        return format_html(
            '{}<input type="hidden" name="{}_shown" value="1">', box, name
        )

    def value_omitted_from_data(self, data, files, name):
        return name not in data and f"{name}_shown" not in data


class ChoicesForm(forms.Form):
    """The choices that people can make before and after they see the preview."""

    encoding = forms.ChoiceField(
        label=_("Encoding of a CSV file"),
        required=False,
        choices=[("", _("Detect automatically")), *ENCODINGS.items()],
        help_text=_("Choose another one if letters such as “ü” look wrong."),
    )
    sheet = forms.CharField(
        label=_("Sheet of a workbook"),
        required=False,
        max_length=MAX_SHEET_NAME_LENGTH,
        help_text=_("Its name or number. If empty, the first sheet with text is used."),
    )

    # The preview also offers the following choices.
    matches_names = forms.BooleanField(
        label=_("Match organizations by name"),
        required=False,
        help_text=_(
            "Rows without a key change the organization with the same name. Otherwise,"
            " they create a new one."
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
    send_mail = forms.BooleanField(
        label=_("Send emails"),
        required=False,
        widget=ShownCheckbox,
        help_text=_(
            "Invite people who don't have an account yet. Otherwise, rows with unknown"
            " email addresses are rejected."
        ),
    )
    leaves_out_problems = forms.BooleanField(
        label=_("Leave out rows with problems"),
        required=False,
        help_text=_("Otherwise, a single problem stops the whole import."),
    )

    def list_reading_fields(self):
        """Return the fields that set how the file is read, which few people need."""
        return [self["encoding"], self["sheet"]]

    def make_options(self):
        """Return the choices as `ImportOptions`. The form must be valid."""
        data = self.cleaned_data
        return ImportOptions(
            encoding=data["encoding"] or None,
            sheet=data["sheet"],
            clear_blank=tuple(sorted(data["clear_blank"])),
            matches_names=data["matches_names"],
            keeps_totals=data["keeps_totals"],
            accepts_warnings=data["accepts_warnings"],
            leaves_out_problems=data["leaves_out_problems"],
            limits=PAGE_LIMITS,
        )


def add_saved_columns(form, subject, *, empty_label):
    """Add a field that chooses saved columns to a form, if any columns are saved."""
    mappings = ColumnMapping.objects.filter(subject=subject)
    if mappings.exists():
        form.fields["saved"] = forms.ModelChoiceField(
            mappings,
            label=_("Saved columns"),
            required=False,
            empty_label=empty_label,
        )


class UploadForm(ChoicesForm):
    """Accepts a file of organizations."""

    subject = Import.Subject.ORGANIZATIONS

    file = forms.FileField(
        label=_("Spreadsheet or CSV file"),
        # With the focus here, people who use a keyboard skip the links above the field.
        widget=forms.FileInput(attrs={"autofocus": True}),
        error_messages={
            name: _("Choose a file.") for name in ("required", "invalid", "empty")
        },
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

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        add_saved_columns(self, self.subject, empty_label=_("Recognize the columns"))

    def clean_file(self):
        file = self.cleaned_data["file"]
        if file.size > PAGE_LIMITS.size:
            raise forms.ValidationError(describe_size(file.size, PAGE_LIMITS).message)
        return file

    def list_upload_fields(self):
        """Return the fields that the page for the upload shows first."""
        names = ["file", "saved", "send_mail"]
        return [self[name] for name in names if name in self.fields]

    def make_choices(self):
        """Return the choices as `Choices`. The form must be valid."""
        options = self.make_options()
        saved = self.cleaned_data.get("saved")
        if saved is not None:
            options = replace(options, mapping=saved.fields)
        return Choices(options, self.cleaned_data["send_mail"])


class PeopleUploadForm(UploadForm):
    """Accepts a file of people."""

    subject = Import.Subject.PEOPLE

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fields["matches_names"].help_text = MATCHES_NAMES_OF_PEOPLE

    def list_upload_fields(self):
        return [*super().list_upload_fields(), self["matches_names"]]


class PreviewForm(ChoicesForm):
    """The choices in the preview of an import.

    Without `data`, the form shows the choices that are stored with the import.
    """

    def __init__(self, stored, report, data=None):
        self.chosen = Choices.from_dict(stored.choices)
        self.format = read_format(stored)
        options = self.chosen.options
        initial = {
            "encoding": options.encoding,
            "sheet": options.sheet,
            "matches_names": options.matches_names,
            "keeps_totals": options.keeps_totals,
            "clear_blank": options.clear_blank,
            "accepts_warnings": options.accepts_warnings,
            "leaves_out_problems": options.leaves_out_problems,
            "send_mail": self.chosen.send_mail,
        }
        super().__init__(data, initial=initial)
        self.report = report
        self.subject = stored.subject
        if self.is_about_people:
            self.fields["matches_names"].help_text = MATCHES_NAMES_OF_PEOPLE
        self._offer_sheets()
        self.columns = read_columns(stored)
        self._add_columns()
        self._add_saved()
        self.resembled = self._find_resembled(stored)
        self._add_targets()

    @property
    def is_about_people(self):
        return self.subject == Import.Subject.PEOPLE

    @property
    def names_people(self):
        """Whether the file can name people who do not have an account."""
        if self.is_about_people:
            return True
        return any(column.field in ROLE_COLUMNS for column in self.columns)

    def _offer_sheets(self):
        sheets = [(sheet, sheet) for sheet in self.format.sheets]
        if sheets:
            self.fields["sheet"].widget = forms.Select(choices=sheets)
            self.fields["sheet"].help_text = ""

    def _add_columns(self):
        choices = list_column_choices(self.subject)
        for number, column in enumerate(self.columns):
            if column.is_choosable:
                label = _("Import the column “%s” as") % printable(column.title)
                self.fields[f"column_{number}"] = forms.ChoiceField(
                    label=label,
                    required=False,
                    choices=choices,
                    initial=column.field,
                    widget=forms.Select(attrs={"aria-label": label}),
                )

    def _add_saved(self):
        """Add the fields that save the choice of columns, or use a saved choice."""
        self.fields["save_as"] = forms.CharField(
            label=_("Save these columns as"), required=False, max_length=NAME_LENGTH
        )
        add_saved_columns(self, self.subject, empty_label=_("Choose…"))

    def _find_resembled(self, stored):
        """Return the rows that may be about an existing organization, by line number.

        These are the rows for which the person has chosen the organization, and the
        rows about which the preview warns. Runs up to two queries.
        """
        rows = {}
        targets = self.chosen.options.targets
        if targets:
            unarchived = Organization.objects.unarchived()
            names = unarchived.in_bulk(set(targets.values()))
            for line, pk in targets.items():
                if pk in names:
                    rows[int(line)] = ResembledRow(pk, names[pk].name)
        if self.report.number_of_warnings:
            for warning in list_warnings(stored, MAX_TARGETS):
                if warning.resembled is not None:
                    rows[warning.line] = ResembledRow(
                        warning.resembled, warning.resembled_name
                    )
        return rows

    def _add_targets(self):
        """Add a field for each row that may be about an existing organization."""
        targets = self.chosen.options.targets
        for line, row in self.resembled.items():
            name = printable(row.name)
            change = _("Change “%s”") % name
            label = _("Line %(line)d, similar to “%(name)s”")
            self.fields[f"target_{line}"] = forms.ChoiceField(
                label=label % {"line": line, "name": name},
                required=False,
                choices=[("", _("Create another organization")), (row.pk, change)],
                initial=targets.get(str(line), ""),
            )

    def list_target_fields(self):
        return [self[f"target_{line}"] for line in sorted(self.resembled)]

    def _choose_targets(self):
        """Return the organizations that rows change, as {line number: ID}.

        A choice that the form did not send stays as it is stored.
        """
        targets = dict(self.chosen.options.targets)
        for line in self.resembled:
            name = f"target_{line}"
            if name not in self.data:
                continue
            targets.pop(str(line), None)
            if self.cleaned_data[name]:
                targets[str(line)] = int(self.cleaned_data[name])
        return targets

    def list_saved_field(self):
        return [self["saved"]] if "saved" in self.fields else []

    def list_columns(self):
        """Return the columns of the file, each with its form field."""
        rows = []
        for number, column in enumerate(self.columns):
            name = f"column_{number}"
            field = self[name] if name in self.fields else None
            title = printable(column.title)
            rows.append(ColumnRow(title, column.samples, column.field, field))
        return rows

    def list_all_columns(self):
        """Return what all columns are imported as, so that it can be saved."""
        mapping = self._choose_mapping()
        return mapping or make_mapping(self.columns, chosen={})

    def _choose_mapping(self):
        """Return what the columns are imported as, or the stored mapping if unchanged.

        A choice that the form did not send stays as it is stored.
        """
        chosen = {}
        for number, column in enumerate(self.columns):
            name = f"column_{number}"
            if name in self.fields and name in self.data:
                chosen[column.title] = self.cleaned_data[name]
        shown = {column.title: column.field for column in self.columns}
        if all(shown[title] == field for title, field in chosen.items()):
            return self.chosen.options.mapping
        return make_mapping(self.columns, chosen)

    def list_preview_fields(self):
        """Return the fields for the choices that the preview offers.

        The field `clear_blank` offers only the columns of the file.
        """
        names = ["sheet" if self.format.sheets else "encoding", "matches_names"]
        if self.report.number_skipped or self.chosen.options.keeps_totals:
            names.append("keeps_totals")
        if self.chosen.options.leaves_out_problems:
            names.append("leaves_out_problems")
        clearable = [
            choice for choice in list_clearable() if choice[0] in self.report.columns
        ]
        if clearable:
            self.fields["clear_blank"].choices = clearable
            names.append("clear_blank")
        if self.names_people and not self.is_about_people:
            names.append("send_mail")
        return [self[name] for name in names]

    def list_shown_fields(self):
        """Return the fields for the choices that the preview shows above its button."""
        names = ["send_mail"] if self.is_about_people else []
        if self.report.needs_consent and self.report.rows:
            names.append("accepts_warnings")
        return [self[name] for name in names]

    def list_kept_inputs(self):
        """Return hidden inputs that send the current choices again."""
        return [self._hide(name) for name in CHOICES_SENT_AGAIN]

    def _hide(self, name):
        # The input does not get an ID, because the page may show the same field
        # elsewhere with a label.
        return self[name].as_hidden(attrs={"id": False})

    def list_problem_fields(self):
        """Return the fields for the choices that a page with problems offers."""
        names = ["send_mail"] if self.names_people else []
        if self.is_about_people:
            names.append("matches_names")
        return [self[name] for name in names]

    def list_unchanged_inputs(self):
        """Return hidden inputs for the choices not in `list_problem_fields()`."""
        offered = {field.name for field in self.list_problem_fields()}
        return [self._hide(name) for name in CHOICES_SENT_AGAIN if name not in offered]

    def make_choices(self):
        """Return the choices as `Choices`. The form must be valid.

        A choice that the form did not send stays as it is stored.
        """
        stored = self.chosen.options
        options = self.make_options()
        options = replace(
            options,
            encoding=options.encoding or stored.encoding,
            sheet=options.sheet or stored.sheet,
            mapping=self._choose_mapping(),
            targets=self._choose_targets(),
        )
        box = self.fields["send_mail"].widget
        if box.value_omitted_from_data(self.data, self.files, "send_mail"):
            return Choices(options, self.chosen.send_mail)
        return Choices(options, self.cleaned_data["send_mail"])
