"""The text that people enter is cleaned once, no matter how it is entered."""

import io
import unicodedata

from django.core.exceptions import ValidationError
from django.db import models
from django.test import SimpleTestCase, TestCase, tag
from hypothesis import given, settings, strategies as st

from orgadmin.models import Contact, Invitation, Organization, User
from orgadmin.models.fields import LineFormField, ParagraphsFormField
from orgadmin.models.membership_event import MembershipEvent
from orgadmin.models.text import clean_line, clean_paragraphs, escape_unprintable
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.organizations import ImportRefused, import_organizations

from .factories import (
    NO_CONTACTS,
    as_file,
    create_organization,
    create_superuser,
    id_cells,
)

LIST = "/admin/orgadmin/organization/"
TOO_LONG_WRITTEN_OUT = "\ufdfa"  # one character, 18 after normalization

# Different ways to enter "Café Acme"
SPELLINGS = [
    "Cafe\u0301 Acme",
    "Café\u00a0Acme",
    "Café   Acme",
    "  Café Acme \u3000",
    "Ca\u00adfé Acme",
    "\ufeffCafé Acme",
    "Café\u200b Acme",
    "Café \u200e\u2060Acme\u200f",
    "Café Ac\u200dme",
    "C\ufe0fafé Acme",
    "Café\u2800Acme",
]

REFUSED_IN_A_LINE = [
    "a\x00b",
    "a\tb",
    "a\nb",
    "a\r\nb",
    "a\x1b[31mb",
    "a\x7fb",
    "a\x9bb",
    "a\u2028b",
    "a\u2029b",
    "a\u202eb",
    "a\u2066b",
    "a\ud800b",
    "a\ue000b",
    "a\uffffb",
    "a\ufff9b",
    "a\U000e0041b",
]

INVISIBLE = ["", " ", "\u00a0", "\u200b", "\u3164\u115f", "\ufe0f", "\u2800", "\u0301"]

# Names in which these characters mean something
UNCHANGED = [
    "Ñandú & Söhne",
    "株式会社",
    "葛\U000e0100城市",  # a variant of an ideograph
    "می\u200cخواهم",  # Persian, with a zero-width non-joiner
    "ශ්\u200dරී",  # Sinhala, with a zero-width joiner
    "❤\ufe0f",
    "한국",
    "שלום",
]


# Characters whose treatment depends on those beside them
NOT_STABLE_ALONE = "\u200d\u200b\ufe0f كक् e\u0301"

# The import of someone who agrees that the same name exists twice.
ACCEPTING = ImportOptions(accepts_warnings=True)


class CleaningTests(SimpleTestCase):
    @tag("E9")
    def test_spellings_that_look_the_same_become_the_same(self):
        for text in SPELLINGS:
            with self.subTest(text=ascii(text)):
                self.assertEqual(clean_line(text), "Café Acme")

    @tag("E7", "E9")
    def test_refuses_what_has_no_place_in_a_line(self):
        for text in REFUSED_IN_A_LINE:
            with self.subTest(text=ascii(text)), self.assertRaises(ValidationError):
                clean_line(text)

    @tag("E9")
    def test_invisible_text_is_empty(self):
        for text in INVISIBLE:
            with self.subTest(text=ascii(text)):
                self.assertEqual(clean_line(text), "")
                self.assertEqual(clean_paragraphs(text), "")

    def test_keeps_what_means_something(self):
        for text in UNCHANGED:
            with self.subTest(text=text):
                self.assertEqual(clean_line(text), text)

    @settings(max_examples=500, deadline=None)
    @given(st.text(alphabet=st.characters() | st.sampled_from(NOT_STABLE_ALONE)))
    def test_cleaning_again_changes_nothing(self, text):
        for clean in (clean_line, clean_paragraphs):
            try:
                cleaned = clean(text)
            except ValidationError:
                continue
            self.assertEqual(clean(cleaned), cleaned)

    def test_paragraphs_keep_their_lines(self):
        text = "Street 1\r\n12345 Town\tEurope\rfree\u00adtext\n"
        self.assertEqual(
            clean_paragraphs(text), "Street 1\n12345 Town\tEurope\nfree\u00adtext"
        )
        for refused in ("a\x00b", "a\x1bb", "a\u202eb", "a\ud800b", "a\ue000b"):
            with self.subTest(text=ascii(refused)):
                with self.assertRaises(ValidationError):
                    clean_paragraphs(refused)

    @tag("E8")
    @given(st.text())
    def test_escaped_text_is_printable(self, text):
        escaped = escape_unprintable(text)
        self.assertTrue(escaped.isprintable())
        if text.isprintable():
            self.assertEqual(escaped, text)


class FieldTests(SimpleTestCase):
    @tag("E9", "E12")
    def test_every_field_in_which_people_write_cleans_and_limits_it(self):
        for model in (Organization, Contact, Invitation, User):
            for field in model._meta.concrete_fields:
                is_text = isinstance(field, models.CharField | models.TextField)
                if not is_text or field.choices or not field.editable:
                    continue
                if field.name == "password":
                    continue
                with self.subTest(field=str(field)):
                    self.assertIsNotNone(field.max_length)
                    form_field = field.formfield()
                    self.assertTrue(hasattr(form_field, "clean_text"))
                    self.assertTrue(hasattr(field, "clean_text"))

    @tag("E12")
    def test_limits(self):
        limits = {
            "reason": MembershipEvent._meta.get_field("reason").max_length,
            "address": Organization._meta.get_field("address").max_length,
            "notes": Organization._meta.get_field("notes").max_length,
        }
        self.assertEqual(limits, {"reason": 500, "address": 1_000, "notes": 20_000})

    @tag("E12")
    def test_limits_hold_after_normalization_too(self):
        for name, limit in (("name", 255), ("address", 1_000), ("notes", 20_000)):
            field = Organization._meta.get_field(name)
            accepted = TOO_LONG_WRITTEN_OUT * (limit // 18)
            too_long = TOO_LONG_WRITTEN_OUT * (limit // 18 + 1)
            self.assertGreater(len(unicodedata.normalize("NFKC", too_long)), limit)
            for cleaner in (field, field.formfield()):
                arguments = [None] if cleaner is field else []
                with self.subTest(field=name, cleaner=cleaner):
                    self.assertEqual(cleaner.clean(accepted, *arguments), accepted)
                    for text in (too_long, "x" * (limit + 1)):
                        with self.assertRaises(ValidationError):
                            cleaner.clean(text, *arguments)

    def test_a_stored_text_that_is_not_clean_counts_as_unchanged(self):
        field = LineFormField()
        self.assertFalse(field.has_changed("Acme  Ltd", "Acme Ltd"))
        self.assertTrue(field.has_changed("Acme  Ltd", "Acme"))
        self.assertTrue(field.has_changed("a\u202eb", "ab"))
        field = ParagraphsFormField()
        self.assertFalse(field.has_changed("a\nb", "a\r\nb"))


class EntryTests(TestCase):
    """Each way in which an organization's name can be entered."""

    def setUp(self):
        self.root = create_superuser()
        self.client.force_login(self.root)

    @tag("E9")
    def test_forms_and_imports_store_the_same_name(self):
        for spelling in SPELLINGS:
            with self.subTest(spelling=ascii(spelling)):
                Organization.objects.all().delete()
                self.client.post(f"{LIST}add/", NO_CONTACTS | {"name": spelling})
                file = as_file(f"name\n{spelling}\n")
                import_organizations(file, actor=self.root, options=ACCEPTING)
                names = set(Organization.objects.values_list("name", flat=True))
                self.assertEqual(names, {"Café Acme"})
                self.assertEqual(Organization.objects.count(), 2)

    @tag("E9")
    def test_forms_and_imports_refuse_names_that_nobody_can_see(self):
        for name in ("\u200b", "\u3164", "\u2800", "\ufe0f"):
            with self.subTest(name=ascii(name)):
                response = self.client.post(f"{LIST}add/", NO_CONTACTS | {"name": name})
                self.assertContains(response, "This field is required.")
                with self.assertRaises(ImportRefused):
                    import_organizations(as_file(f"name,phone\n{name},1\n"))
        self.assertFalse(Organization.objects.exists())

    @tag("E12")
    def test_forms_and_imports_refuse_long_texts_and_change_nothing(self):
        acme = create_organization("Acme")
        for field, limit in (("address", 1_000), ("notes", 20_000)):
            for text in ("x" * (limit + 1), TOO_LONG_WRITTEN_OUT * (limit // 18 + 1)):
                with self.subTest(field=field, text=text[:1]):
                    response = self.client.post(
                        f"{LIST}{acme.pk}/change/",
                        NO_CONTACTS | {"name": "Acme", field: text},
                    )
                    errors = response.context["adminform"].form.errors
                    self.assertEqual(list(errors), [field])
                    file = as_file(
                        f"id,id_key,name,{field}\n{id_cells(acme.pk)},New,{text}\n"
                    )
                    with self.assertRaises(ImportRefused) as caught:
                        import_organizations(file, actor=self.root)
                    [problem] = caught.exception.problems
                    self.assertEqual(problem.column, field)
        acme.refresh_from_db()
        self.assertEqual((acme.name, acme.address, acme.notes), ("Acme", "", ""))

    def test_saving_another_field_leaves_an_old_name_alone(self):
        acme = create_organization("Acme  Ltd")
        group = acme.admin.name
        self.client.post(
            f"{LIST}{acme.pk}/change/", NO_CONTACTS | {"name": acme.name, "phone": "1"}
        )
        acme.refresh_from_db()
        self.assertEqual((acme.name, acme.phone), ("Acme  Ltd", "1"))
        self.assertEqual(acme.admin.name, group)

    def test_an_exported_file_with_old_texts_changes_nothing(self):
        create_organization("Acme  Ltd", address="a\r\nb", reference="R\u00a01")
        self.client.force_login(self.root)
        file = io.BytesIO(self.client.get(f"{LIST}export/").getvalue())
        report = import_organizations(file, actor=self.root)
        self.assertEqual((report.changed, report.unchanged), (0, 1))

    @tag("E9")
    def test_people_are_cleaned_too(self):
        user = User(
            username="an\u3164na", first_name="An\u200bna", last_name="O\u00a0 Neill"
        )
        user.clean_fields(exclude=["password"])
        self.assertEqual(
            (user.username, user.first_name, user.last_name),
            ("anna", "Anna", "O Neill"),
        )
