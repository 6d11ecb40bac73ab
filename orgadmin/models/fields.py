"""Fields that clean the text that people enter, and the text that a search looks in."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.db import models

from orgadmin.models.addresses import (
    EMAIL_FOLD_LENGTH,
    USERNAME_FOLD_LENGTH,
    fold_email,
    fold_username,
    normalize_email,
)
from orgadmin.models.look_alikes import KEY_LENGTH, make_key
from orgadmin.models.phone_numbers import format_phone
from orgadmin.models.text import check_length, clean_line, clean_paragraphs
from orgadmin.models.validators import validate_language, validate_time_zone

SORT_LENGTH = 255  # characters of a name by which a list is sorted


class CleanedFormField:
    """Cleans the text that was sent, before it is validated.

    A stored text that is not clean, because it is older than the rules or was saved by
    code, counts as changed only if the person has changed it.
    """

    def clean_text(self, text: str) -> str:
        return clean_line(text)

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str):
            value = self.clean_text(value)
        return super().to_python(value)  # type: ignore[misc]

    def run_validators(self, value: Any) -> None:
        super().run_validators(value)  # type: ignore[misc]
        limit = getattr(self, "max_length", None)
        if value and limit is not None:
            check_length(value, limit)

    def has_changed(self, initial: Any, data: Any) -> bool:
        # If the stored text would be refused, it cannot equal a valid one.
        with suppress(ValidationError):
            initial = self.to_python(initial)
        return super().has_changed(initial, data)  # type: ignore[misc]


class LineFormField(CleanedFormField, forms.CharField):
    """One line of text in a form."""


class LineEmailFormField(CleanedFormField, forms.EmailField):
    """An email address in a form, of which only the normal form is kept."""

    def clean_text(self, text: str) -> str:
        return normalize_email(super().clean_text(text))


class LineURLFormField(CleanedFormField, forms.URLField):
    pass


class PhoneFormField(LineFormField):
    """A phone number in a form, of which only the readable form is kept."""

    def clean_text(self, text: str) -> str:
        return format_phone(super().clean_text(text))


class ParagraphsFormField(CleanedFormField, forms.CharField):
    """Text of several lines in a form."""

    def clean_text(self, text: str) -> str:
        return clean_paragraphs(text)


class CleanedField:
    """A model field whose `clean()` cleans the text, for forms, imports and commands.

    Saving does not clean: code can store any text, and rows that are older than the
    rules can still be loaded and found. In migrations, the field appears as Django's
    own, so a new rule needs no migration.
    """

    form_class: type[forms.Field] = LineFormField

    def clean_text(self, text: str) -> str:
        return clean_line(text)

    def clean(self, value: Any, model_instance: models.Model | None) -> Any:
        field: Any = self
        value = field.to_python(value)
        if value is not None:
            value = self.clean_text(value)
        if not value and field.null:
            value = None
        value = super().clean(value, model_instance)  # type: ignore[misc]
        if value and field.max_length is not None:
            MaxLengthValidator(field.max_length)(value)
            check_length(value, field.max_length)
        return value

    def formfield(self, **kwargs: Any) -> Any:
        options = {"form_class": self.form_class, **kwargs}
        return super().formfield(**options)  # type: ignore[misc]

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, _path, arguments, options = super().deconstruct()  # type: ignore[misc]
        path = f"django.db.models.{find_django_class(self)}"
        return name, path, arguments, options


class LineField(CleanedField, models.CharField):
    """One line of text."""


class LineEmailField(CleanedField, models.EmailField):
    form_class = LineEmailFormField

    def clean_text(self, text: str) -> str:
        return normalize_email(super().clean_text(text))


class LineURLField(CleanedField, models.URLField):
    form_class = LineURLFormField


class PhoneField(LineField):
    """A phone number, or whatever people write instead of one."""

    form_class = PhoneFormField

    def clean_text(self, text: str) -> str:
        return format_phone(super().clean_text(text))


class LanguageField(LineField):
    """The code of one of the site's languages, such as "de"."""

    default_validators = [validate_language]


class TimeZoneField(LineField):
    """The name of a time zone, such as "Europe/Berlin"."""

    default_validators = [validate_time_zone]


class UnlimitedColumn(CleanedField):
    """The limit of the length is a rule for what people enter, not for the column.

    So texts that are longer than the limit, because they are older, stay as they are.
    """

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, path, arguments, options = super().deconstruct()
        options.pop("max_length", None)
        return name, path, arguments, options


class LongLineField(UnlimitedColumn, models.TextField):
    """One line of text, in a column of unlimited length."""

    def formfield(self, **kwargs: Any) -> Any:
        # The form field of a TextField would have several lines.
        return super().formfield(**{"widget": forms.TextInput, **kwargs})


class ParagraphsField(UnlimitedColumn, models.TextField):
    """Text of several lines."""

    form_class = ParagraphsFormField

    def clean_text(self, text: str) -> str:
        return clean_paragraphs(text)


def normalize(text: str) -> str:
    """Return the text without case, accents and widths: "muller" then finds "Müller".

    Case folding can produce characters that must be decomposed again, so both steps run
    twice. Vowel signs that are letters of their script are kept.
    """
    for _ in range(2):
        text = unicodedata.normalize("NFKD", text).casefold()
    return "".join(
        character for character in text if not unicodedata.combining(character)
    )


class ComputedField:
    """Text that is made from other fields, by `save()` and `bulk_create()`.

    `OrganizationQuerySet.write_computed_texts()` updates it when rows are changed in
    other ways. In migrations, the field appears as Django's own.
    """

    # The database stores the computed text as it is, so INSERT need not return it.
    db_returning = False

    def __init__(self, *sources: str, **options: Any) -> None:
        """`sources` are the names of the fields that the text is made from."""
        self.sources = sources
        options.setdefault("blank", True)
        options.setdefault("default", "")
        options.setdefault("db_default", "")
        options.setdefault("editable", False)
        super().__init__(**options)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, _path, _arguments, options = super().deconstruct()  # type: ignore[misc]
        return name, f"django.db.models.{find_django_class(self)}", [], options

    def make_text(self, text: str) -> str:
        raise NotImplementedError

    def compute(self, instance: models.Model) -> str | None:
        """Return the text for an instance, made from its other fields."""
        values = [str(getattr(instance, source) or "") for source in self.sources]
        return self.make_text("\n".join(values))

    def pre_save(self, instance: models.Model, add: bool) -> str | None:
        text = self.compute(instance)
        field: Any = self
        setattr(instance, field.attname, text)
        return text


class SearchTextField(ComputedField, models.TextField):
    """The text that a search looks in: without case, accents and widths."""

    def make_text(self, text: str) -> str:
        return normalize(text)


class LookAlikeKeyField(ComputedField, models.CharField):
    """A key that names have in common if they look alike."""

    def __init__(self, *sources: str, **options: Any) -> None:
        options.setdefault("max_length", KEY_LENGTH)
        super().__init__(*sources, **options)

    def make_text(self, text: str) -> str:
        return make_key(text)


class SortTextField(ComputedField, models.CharField):
    """The text that a list is sorted by: without case, accents and widths.

    Both databases compare its code points, so they sort alike: on PostgreSQL, the
    migration gives the column the collation "C". The text is cut, because PostgreSQL
    refuses long texts in an index.
    """

    def __init__(self, *sources: str, **options: Any) -> None:
        options.setdefault("max_length", SORT_LENGTH)
        super().__init__(*sources, **options)

    def make_text(self, text: str) -> str:
        return normalize(text)[:SORT_LENGTH]


class PersonSortField(SortTextField):
    """The text that people are sorted by: their full name, or else their username."""

    def __init__(self, **options: Any) -> None:
        super().__init__("username", "first_name", "last_name", **options)

    def compute(self, instance: Any) -> str:
        return self.make_text(instance.get_full_name() or instance.get_username())


class FoldField(ComputedField, models.CharField):
    """What names have in common that must not exist side by side.

    It is NULL for an empty name, and in rows that the previous release has written.
    """

    def __init__(self, *sources: str, **options: Any) -> None:
        options.setdefault("null", True)
        options.setdefault("default", None)
        options.setdefault("db_default", models.NOT_PROVIDED)
        super().__init__(*sources, **options)

    def compute(self, instance: models.Model) -> str | None:
        return super().compute(instance) or None


class UsernameFoldField(FoldField):
    """A username without case and widths."""

    def __init__(self, *sources: str, **options: Any) -> None:
        options.setdefault("max_length", USERNAME_FOLD_LENGTH)
        super().__init__(*sources, **options)

    def make_text(self, text: str) -> str:
        return fold_username(text)


class EmailFoldField(FoldField):
    """The normal form of an email address."""

    def __init__(self, *sources: str, **options: Any) -> None:
        options.setdefault("max_length", EMAIL_FOLD_LENGTH)
        super().__init__(*sources, **options)

    def make_text(self, text: str) -> str:
        return fold_email(text)


class KeptByDatabase:
    """A column that triggers of the database keep, or that `write_kept()` writes.

    Django does not write such a field: neither `save()` and `bulk_create()` nor
    `update()` and fixtures. So an instance that was loaded earlier cannot overwrite it.
    After INSERT, the database returns its value; after a save, the instance must forget
    it, and reads it again when it is needed. In migrations, the field appears as
    Django's own.
    """

    generated = True

    # Django asks for it when it validates constraints. None of them is about such a
    # field.
    expression = models.Value(None)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("editable", False)
        super().__init__(*arguments, **options)

    @property
    def output_field(self) -> KeptByDatabase:
        return self

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, _path, arguments, options = super().deconstruct()  # type: ignore[misc]
        return (
            name,
            f"django.db.models.{find_django_class(self)}",
            arguments,
            options,
        )


class KeptTimeField(KeptByDatabase, models.DateTimeField):
    """A time that `save()` does not write."""


class KeptNumberField(KeptByDatabase, models.IntegerField):
    """A number that `save()` does not write."""


class KeptKeyField(KeptByDatabase, models.BigIntegerField):
    """A key of another row that `save()` does not write."""


class KeptTextField(KeptByDatabase, models.CharField):
    """A text that `save()` does not write."""


def find_django_class(field: object) -> str:
    """Return the name of the class of Django that the class of a field is made from."""
    for base in type(field).__mro__:
        if base.__module__.startswith("django."):
            return base.__name__
    raise TypeError(f"{field!r} is not a field of Django.")
