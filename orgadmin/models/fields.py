"""Fields that clean what people enter, and fields that are computed from others."""

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

SORT_LENGTH = 255  # maximum length of the text by which lists are sorted, in characters


class CleanedFormField:
    """Cleans submitted text before it is validated.

    A stored text may not be clean, because it is older than the rules or was saved by
    code. It counts as changed only if the person has changed it.
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
        # If the stored text is invalid today, it is compared as it is.
        with suppress(ValidationError):
            initial = self.to_python(initial)
        return super().has_changed(initial, data)  # type: ignore[misc]


class LineFormField(CleanedFormField, forms.CharField):
    """One line of text in a form."""


class LineEmailFormField(CleanedFormField, forms.EmailField):
    """An email address in a form, converted to its normal form."""

    def clean_text(self, text: str) -> str:
        return normalize_email(super().clean_text(text))


class LineURLFormField(CleanedFormField, forms.URLField):
    pass


class PhoneFormField(LineFormField):
    """A phone number in a form, converted to its readable form."""

    def clean_text(self, text: str) -> str:
        return format_phone(super().clean_text(text))


class ParagraphsFormField(CleanedFormField, forms.CharField):
    """Text of several lines in a form."""

    def clean_text(self, text: str) -> str:
        return clean_paragraphs(text)


class CleanedField:
    """A model field whose `clean()` cleans the text, for forms, imports and commands.

    Saving does not clean the text: code can store any text, and rows that are older
    than the rules can still be loaded and found. In migrations, the field appears as
    Django's field, so a new rule does not require a migration.
    """

    form_class: type[forms.Field] = LineFormField

    def clean_text(self, text: str) -> str:
        return clean_line(text)

    def clean(self, value: Any, model_instance: models.Model | None) -> Any:
        """Return the cleaned text. Raises `ValidationError` if it is not valid.

        Empty text becomes None if the column allows NULL.
        """
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
    """Limits the length of new text, but not of the database column.

    Texts that are longer than the limit, because they are older, remain unchanged.
    """

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        name, path, arguments, options = super().deconstruct()
        options.pop("max_length", None)
        return name, path, arguments, options


class LongLineField(UnlimitedColumn, models.TextField):
    """One line of text, in a column of unlimited length."""

    def formfield(self, **kwargs: Any) -> Any:
        # By default, a TextField gets an input with several lines.
        return super().formfield(**{"widget": forms.TextInput, **kwargs})


class ParagraphsField(UnlimitedColumn, models.TextField):
    """Text of several lines."""

    form_class = ParagraphsFormField

    def clean_text(self, text: str) -> str:
        return clean_paragraphs(text)


def normalize(text: str) -> str:
    """Remove differences in case, accents and width, so that "muller" finds "Müller".

    Case folding can produce characters that must be decomposed again, so both steps run
    twice. Vowel signs that are letters of their script are kept.
    """
    for _ in range(2):
        text = unicodedata.normalize("NFKD", text).casefold()
    return "".join(
        character for character in text if not unicodedata.combining(character)
    )


class ComputedField:
    """Text that `save()` and `bulk_create()` compute from other fields.

    For organizations, `write_computed_texts()` updates it when `update()` changes the
    other fields. In migrations, the field appears as Django's field.
    """

    # The database stores the computed text unchanged, so INSERT does not need to return
    # it.
    db_returning = False

    def __init__(self, *sources: str, **options: Any) -> None:
        """`sources` are the names of the fields from which the text is computed."""
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
        """Return the text for an instance. Only a `FoldField` can return None."""
        values = [str(getattr(instance, source) or "") for source in self.sources]
        return self.make_text("\n".join(values))

    def pre_save(self, instance: models.Model, add: bool) -> str | None:
        text = self.compute(instance)
        field: Any = self
        setattr(instance, field.attname, text)
        return text


class SearchTextField(ComputedField, models.TextField):
    """The text that is searched, without differences in case, accents and width."""

    def make_text(self, text: str) -> str:
        return normalize(text)


class LookAlikeKeyField(ComputedField, models.CharField):
    """A key that is equal for names that look alike."""

    def __init__(self, *sources: str, **options: Any) -> None:
        options.setdefault("max_length", KEY_LENGTH)
        super().__init__(*sources, **options)

    def make_text(self, text: str) -> str:
        return make_key(text)


class SortTextField(ComputedField, models.CharField):
    """The text by which lists are sorted, without case, accents and widths.

    Both databases sort it by code points: on PostgreSQL, a migration gives the column
    the collation "C". The text is truncated, because PostgreSQL refuses long texts in
    an index.
    """

    def __init__(self, *sources: str, **options: Any) -> None:
        options.setdefault("max_length", SORT_LENGTH)
        super().__init__(*sources, **options)

    def make_text(self, text: str) -> str:
        return normalize(text)[:SORT_LENGTH]


class PersonSortField(SortTextField):
    """The text by which people are sorted: their full name, or else their username."""

    def __init__(self, **options: Any) -> None:
        super().__init__("username", "first_name", "last_name", **options)

    def compute(self, instance: Any) -> str:
        return self.make_text(instance.get_full_name() or instance.get_username())


class FoldField(ComputedField, models.CharField):
    """A form of a name that must be unique.

    NULL if the name is empty, and in rows that the previous release has written.
    """

    def __init__(self, *sources: str, **options: Any) -> None:
        options.setdefault("null", True)
        options.setdefault("default", None)
        options.setdefault("db_default", models.NOT_PROVIDED)
        super().__init__(*sources, **options)

    def compute(self, instance: models.Model) -> str | None:
        return super().compute(instance) or None


class UsernameFoldField(FoldField):
    """A username, without differences in case and width."""

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
    """A column that is not written through the ORM, but by triggers or in SQL.

    `save()`, `bulk_create()`, `update()` and fixtures leave this field out, so that an
    instance that was loaded earlier cannot overwrite the column. INSERT returns the
    value of a field that has a `db_default`; other fields are read when they are first
    used. After a later save, the model must discard the loaded value, as
    `Organization._forget_kept()` does. Migrations contain the Django class that the
    field inherits from, such as `DateTimeField`.
    """

    generated = True

    # Django reads this attribute when it validates constraints. No constraint uses such
    # a field.
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
    """A time that is not written by `save()`."""


class KeptNumberField(KeptByDatabase, models.IntegerField):
    """A number that is not written by `save()`."""


class KeptKeyField(KeptByDatabase, models.BigIntegerField):
    """The ID of another row, not written by `save()`."""


class KeptTextField(KeptByDatabase, models.CharField):
    """A text that is not written by `save()`."""


def find_django_class(field: object) -> str:
    """Return the name of the Django class that a field's class inherits from."""
    for base in type(field).__mro__:
        if base.__module__.startswith("django."):
            return base.__name__
    raise TypeError(f"{field!r} does not inherit from a Django field.")
