"""Workbooks that the site writes."""

import io
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest import mock, skipUnless
from zipfile import ZipFile

from django.test import SimpleTestCase, TestCase, tag
from hypothesis import given, settings, strategies as st
from xlsxwriter import Workbook

from orgadmin.models import Organization
from orgadmin.records.csv_files import BYTE_ORDER_MARK, write_csv
from orgadmin.records.exports import list_organizations
from orgadmin.records.imports.organizations import import_organizations
from orgadmin.records.imports.workbooks import read_workbook
from orgadmin.records.xlsx_files import (
    MAX_ROWS,
    WorkbookTooSmall,
    write_row,
    write_workbook,
)
from tests.factories import create_superuser, create_user

SHEET = "xl/worksheets/sheet1.xml"

# Spreadsheets and Python disagree about which characters are blank at the ends.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cn"]), min_size=1, max_size=30
).map(str.strip)

# What programs damage most easily
DELICATE = {
    "name": ["=1+1", "'=1+1", "@sum", "-5", "TRUE", "1E5", "3-4", "_x0041_", "  a"],
    "reference": ["00042", "1/2", "2026-11-30", "4.9E+11", "#N/A", "0x1", "1,5", "+1"],
    "phone": ["+49 30 1", "030 1", "(030) 1", "=1", "1-2", "00", "1e3", "5"],
    "address": ['"a"\nb; c', "a  b", "a, b", "1\n2", "😀", "ü", "'", '""'],
}


def make(rows):
    file = io.BytesIO()
    write_workbook(file, rows, "sheet")
    return file


def read(file):
    sheet = read_workbook(file, "", max_rows=1_000, max_text=10_000_000)
    return [record.cells for record in sheet.records]


class WorkbookTests(SimpleTestCase):
    def read_xml(self, rows):
        with ZipFile(make(rows)) as archive:
            return archive.read(SHEET).decode()

    @tag("E3")
    def test_every_cell_is_text_and_none_is_a_formula(self):
        cells = ["=1+1", "007", "+49 30", "https://example.com", 5, "2026-01-01"]
        xml = self.read_xml([["a"] * len(cells), cells])
        self.assertEqual(xml.count('t="inlineStr"'), 2 * len(cells))
        for part in ("<f>", "<v>", "hyperlink"):
            self.assertNotIn(part, xml)
        self.assertNotIn("'=1+1", xml)
        self.assertEqual(read(make([["a"], *([cell] for cell in cells)]))[2], ["007"])

    def test_the_header_stays_in_view(self):
        xml = self.read_xml([["a"], ["b"]])
        self.assertIn('<pane ySplit="1"', xml)
        self.assertIn('state="frozen"', xml)

    def test_columns_are_as_wide_as_their_text_within_limits(self):
        xml = self.read_xml([["a", "b", "c"], ["", "x" * 20, "x" * 500]])
        widths = [float(width) for width in re.findall(r'width="([\d.]+)"', xml)]
        self.assertEqual([round(width) for width in widths], [10, 22, 52])

    def test_rows_that_are_longer_or_empty_stay_in_their_place(self):
        rows = [["a", "b"], [None, "1"], ["2"], ["", ""], ["3", "4", "5"]]
        numbers = re.findall(r'r="([A-Z]\d)"', self.read_xml(rows))
        self.assertEqual(numbers, ["A1", "B1", "B2", "A3", "A5", "B5", "C5"])

    def test_says_what_does_not_fit_instead_of_leaving_it_out(self):
        with self.assertRaisesMessage(WorkbookTooSmall, "row 2 of this list has more"):
            make([["a"], ["x" * 32_768]])
        workbook = Workbook(io.BytesIO())
        sheet = workbook.add_worksheet()
        write_row(sheet, MAX_ROWS - 1, ["a"], None)
        with self.assertRaisesMessage(WorkbookTooSmall, "at most 1,048,576 rows"):
            write_row(sheet, MAX_ROWS, ["a"], None)
        workbook.close()

    def test_characters_that_no_workbook_can_have_are_replaced(self):
        self.assertEqual(read(make([["a\ufffeb\ud800"]])), [["a\ufffdb\ufffd"]])

    def test_leaves_no_temporary_files(self):
        with tempfile.TemporaryDirectory() as folder:
            with mock.patch.object(tempfile, "tempdir", folder):
                make([["a"]])
                with self.assertRaises(WorkbookTooSmall):
                    make([["a" * 40_000]])
            self.assertEqual(list(Path(folder).iterdir()), [])

    @settings(max_examples=50, deadline=None)
    @given(st.lists(TEXTS.filter(bool), min_size=1, max_size=50))
    def test_any_text_comes_back(self, texts):
        rows = read(make([["a"], *([text] for text in texts)]))
        self.assertEqual(rows[1:], [[text] for text in texts])


class RoundTripTests(TestCase):
    """Importing an exported file changes nothing."""

    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        rows = []
        for name, values in DELICATE.items():
            for value in values:
                fields = {"name": f"{name} {len(rows)}", name: value}
                rows.append(Organization(**fields))
        Organization.objects.bulk_create(rows)
        acme = Organization.objects.create(name="Acme")
        create_user("anna", email="anna@example.com", admin_of=[acme])
        create_user("bert", email="bert@example.com", reviewer_of=[acme])

    def export(self):
        return list_organizations(Organization.objects.order_by("pk"), self.root)

    def assert_unchanged(self, file):
        report = import_organizations(file, actor=self.root, dry_run=True)
        numbers = (report.created, report.changed, report.people, report.ends)
        self.assertEqual(numbers, (0, 0, 0, 0))
        self.assertEqual(report.unchanged, Organization.objects.count())
        self.assertEqual(report.skipped, [])

    def make_csv(self):
        text = BYTE_ORDER_MARK + "".join(write_csv(self.export()))
        return text.encode()

    def test_as_csv(self):
        self.assert_unchanged(io.BytesIO(self.make_csv()))

    def test_as_a_workbook(self):
        self.assert_unchanged(make(self.export()))

    @skipUnless(shutil.which("soffice"), "LibreOffice is not installed")
    def test_a_workbook_that_libreoffice_has_saved(self):
        for target in ("xlsx", "ods", "xls"):
            with self.subTest(target=target):
                content = make(self.export()).getvalue()
                saved = save_with_libreoffice("export.xlsx", content, target)
                self.assert_unchanged(io.BytesIO(saved))

    @skipUnless(shutil.which("soffice"), "LibreOffice is not installed")
    def test_a_workbook_that_libreoffice_has_saved_as_csv(self):
        content = make(self.export()).getvalue()
        saved = save_with_libreoffice("export.xlsx", content, "csv")
        self.assertIn(b"00042", saved)


def save_with_libreoffice(name, content, extension):
    """Return what LibreOffice makes of a file, in another format."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(content)
        saved = Path(folder, "saved")
        command = [
            "soffice",
            f"-env:UserInstallation=file://{folder}/profile",
            "--headless",
            "--convert-to",
            extension,
            "--outdir",
            saved,
            file,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return Path(saved, file.with_suffix(f".{extension}").name).read_bytes()
