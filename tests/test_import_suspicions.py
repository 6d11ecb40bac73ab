"""Which cells and rows look damaged, and which only look odd: without a database."""

import io

from django.core.exceptions import ValidationError
from django.test import SimpleTestCase, override_settings, tag
from hypothesis import example, given, settings, strategies as st

from orgadmin.models.text import clean_paragraphs
from orgadmin.records.columns import find_field
from orgadmin.records.csv_files import write_csv
from orgadmin.records.id_keys import is_id_key, make_id_key
from orgadmin.records.imports.csv_reader import find_delimiter, read_csv
from orgadmin.records.imports.file_records import Record
from orgadmin.records.imports.header import TitleReader
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.problems import FileRefused
from orgadmin.records.imports.suspicions import (
    compare_values,
    find_suspicions,
    has_lost_zeros,
    is_garbled,
    is_repeated_header,
    is_total,
)
from orgadmin.records.imports.tables import read_table
from orgadmin.records.imports.text_encoding import find_by_name, find_encoding


def list_words(name, cell):
    return [str(suspicion.word) for suspicion in find_suspicions(name, cell)]


class CellTests(SimpleTestCase):
    def test_each_kind_of_damage_has_a_word(self):
        # (field, cell, words)
        cases = [
            ("phone", "4.91512E+11", ["damaged number"]),
            ("tax_id", "1,23457E+11", ["damaged number"]),
            ("reference", "1e5", ["damaged number"]),
            ("phone", "#REF!", ["no value"]),
            ("phone", "#DIV/0!", ["no value"]),
            ("notes", "(null)", ["no value"]),
            ("name", "#NV", ["no value"]),
            ("name", "04.03.2026", ["date"]),
            ("reference", "3-Apr", ["date"]),
            ("name", "2026-03-04 00:00:00", ["date"]),
            ("name", "BÃ¼ro", ["garbled"]),
            ("email", "a@b.de, c@d.de", ["two addresses"]),
            ("reference", "K\u200b1", ["invisible characters"]),
        ]
        for name, cell, words in cases:
            with self.subTest(cell=cell):
                self.assertEqual(list_words(name, cell), words)

    def test_what_people_write_is_not_suspicious(self):
        cases = [
            ("phone", "+49 30 998877"),
            ("phone", "030/1234-0"),
            ("reference", "00042"),
            ("reference", "E-12"),
            ("name", "3M"),
            ("name", "1&1 Versatel"),
            ("name", "Nulland AG"),
            ("name", "24.7 Service"),
            ("address", "Weg 1\n12345 Ort"),
            ("notes", "4.9E+11 is a number"),
            ("email", "a@b.de"),
            ("name", "Ærø Ÿ Şirket Ķekava"),
        ]
        for name, cell in cases:
            with self.subTest(cell=cell):
                self.assertEqual(list_words(name, cell), [])

    def test_garbled_text_is_told_from_other_letters(self):
        for text in (
            "MÃ¼ller",
            "StraÃŸe",
            "itâ€™s",
            "CafÃ©",
            "NÂ°",
            "B√ºro",
            "M\ufffdr",
        ):
            self.assertTrue(is_garbled(text), text)
        for text in (
            "Müller",
            "Ã",
            "São Tomé",
            "»GROß«",
            "naïve…",
            "Россия",
            "株式会社",
        ):
            self.assertFalse(is_garbled(text), text)

    def test_zeros_are_lost_if_only_they_are_missing(self):
        for old, new in (
            ("030 12", "3012"),
            ("00042", "42"),
            ("+49 30 1", "49301"),
            ("(030) 12", "3012"),
        ):
            self.assertTrue(has_lost_zeros(old, new), old)
        for old, new in (("030 12", "030 13"), ("42", "43"), ("", "42"), ("42", "42")):
            self.assertFalse(has_lost_zeros(old, new), old)

    def test_a_value_is_far_longer_only_than_a_short_one(self):
        self.assertEqual(compare_values("notes", "x" * 90, "y" * 200), [])
        self.assertEqual(compare_values("notes", "", "y" * 9_000), [])
        [suspicion] = compare_values("notes", "short", "y" * 101)
        self.assertEqual(suspicion.word, "far longer")


class RowTests(SimpleTestCase):
    def test_totals_have_one_word_and_numbers(self):
        for cells in (
            ["Summe", "2"],
            ["", "Total:", "1.234,50 €"],
            ["Gesamt (12)"],
            ["Sous-total", "", "3"],
        ):
            self.assertTrue(is_total(cells), cells)
        for cells in (
            ["Total", "Paris"],
            ["Summer", "2"],
            ["2", "3"],
            ["", ""],
            ["Sum 41 Ltd", "2"],
        ):
            self.assertFalse(is_total(cells), cells)

    def test_a_repeated_header_says_the_same_in_each_cell(self):
        titles = ["Name", "Phone", ""]
        self.assertTrue(is_repeated_header(["name", "PHONE", ""], titles))
        self.assertTrue(is_repeated_header(["Name", "", ""], titles))
        self.assertFalse(is_repeated_header(["Name", "1", ""], titles))
        self.assertFalse(is_repeated_header(["", "", ""], titles))


class TitleTests(SimpleTestCase):
    def test_titles_are_compared_without_case_accents_and_punctuation(self):
        for title, name in (
            ("Organization Name", "name"),
            ("E-Mail-Adresse", "email"),
            ("TELEPHONE", "phone"),
            ("téléphone", "phone"),
            ("USt.-IdNr.", "tax_id"),
            ("Straße", "street"),
            ("Strasse", "street"),
            ("Numéro de TVA intracommunautaire", "tax_id"),
            ("Billing Zip/Postal Code", "postal_code"),
            ("Kd.Nr.", "reference"),
        ):
            self.assertEqual(find_field(title), name, title)
        for title in ("", "Farbe", "Record ID", "Company owner"):
            self.assertIsNone(find_field(title), title)

    def test_parts_of_an_address_are_one_only_if_no_column_has_all_of_it(self):
        record = Record(1, ["name", "Straße", "PLZ", "Ort"])
        header = TitleReader({}).read(record)
        self.assertEqual(list(header.address_parts), ["street", "postal_code", "city"])
        self.assertEqual(header.fields, {"name", "address"})
        record = Record(1, ["name", "Straße", "Anschrift"])
        header = TitleReader({}).read(record)
        self.assertEqual(header.address_parts, {})
        self.assertEqual(header.ignored, ["Straße"])

    def test_a_second_title_counts_if_no_first_one_is_there(self):
        reader = TitleReader({})
        header = reader.read(Record(1, ["Company name", "Company domain name"]))
        self.assertEqual(header.positions["website"], 1)
        header = reader.read(Record(1, ["name", "Domain", "Website URL"]))
        self.assertEqual(header.positions["website"], 2)
        self.assertEqual(header.ignored, ["Domain"])

    def test_a_file_of_people_is_refused(self):
        for titles in (
            ["Vorname", "Nachname"],
            ["First name", "Name", "Phone"],
            ["Company", "Last name", "Job title", "Birthday"],
        ):
            with self.assertRaisesMessage(FileRefused, "This is a file of people"):
                TitleReader({}).read(Record(1, titles))


class IdKeyTests(SimpleTestCase):
    @tag("A41")
    def test_a_key_belongs_to_one_id(self):
        key = make_id_key(7)
        self.assertTrue(is_id_key(7, key))
        self.assertTrue(is_id_key(7, f" {key.upper()} "))
        for pk, other in ((8, key), (7, ""), (7, "7"), (7, key[:-1]), (7, "ü")):
            self.assertFalse(is_id_key(pk, other))

    def test_no_spreadsheet_takes_a_key_for_a_number_or_a_date(self):
        for pk in range(1, 500):
            self.assertRegex(make_id_key(pk), r"\A[a-p]{12}\Z")

    def test_exports_can_still_be_imported_after_the_secret_key_was_replaced(self):
        with override_settings(SECRET_KEY="old"):
            key = make_id_key(7)
        with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"]):
            self.assertTrue(is_id_key(7, key))
        with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[]):
            self.assertFalse(is_id_key(7, key))


class EncodingTests(SimpleTestCase):
    def test_a_few_letters_are_enough(self):
        for encoding in ("cp1252", "mac_roman"):
            for text in ("Köln", "Müller", "Café Élan", "Peña", "L’Hôpital", "GRÖSSE"):
                with self.subTest(encoding=encoding, text=text):
                    file = io.BytesIO(f"name\n{text}\n".encode(encoding))
                    self.assertEqual(find_encoding(file), encoding)

    def test_encodings_have_many_names(self):
        for name, encoding in (
            ("utf8", "utf-8-sig"),
            ("UTF-8", "utf-8-sig"),
            ("Windows-1252", "cp1252"),
            ("latin-1", "cp1252"),
            ("Mac Roman", "mac_roman"),
            ("macintosh", "mac_roman"),
            ("DOS (850)", "cp850"),
        ):
            self.assertEqual(find_by_name(name), encoding, name)
        for name in ("", "hex", "unicode_escape", "idna", "x" * 1_000, "a\0b"):
            self.assertIsNone(find_by_name(name), name)


class RoundTripTests(SimpleTestCase):
    """An import reads any text that an export writes."""

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.text(max_size=30), min_size=1, max_size=4))
    @example(['="030 1"', "'=1", "sep=;", '"'])
    def test_any_text(self, texts):
        values = [clean_paragraphs_or_nothing(text) for text in texts]
        rows = [["id", *["notes"] * len(values)], ["7", *values]]
        file = io.BytesIO("".join(write_csv(rows)).encode("utf-8-sig"))
        delimiter = find_delimiter(file, "utf-8-sig", TitleReader({}).rate)
        self.assertEqual(delimiter, ",")
        _header, record = read_csv(file, find_encoding(file), delimiter)
        self.assertEqual(record.cells, ["7", *values])

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=300))
    def test_no_file_breaks_the_reading(self, content):
        options = ImportOptions()
        try:
            table = read_table(io.BytesIO(content), options, TitleReader({}))
            list(table.records)
        except FileRefused as error:
            self.assertTrue(str(error.problem))


def clean_paragraphs_or_nothing(text):
    """Return a text as it is stored, or nothing if it cannot be stored."""
    try:
        return clean_paragraphs(text)
    except ValidationError:
        return ""
