"""CSV files that a spreadsheet opens without running anything in them."""

import csv
import io
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest import skipUnless

from django.test import SimpleTestCase, tag
from hypothesis import given, settings, strategies as st

from orgadmin.records.csv_files import (
    BYTE_ORDER_MARK,
    escape_formula,
    unescape_formula,
    write_csv,
)

# Texts, and what an export makes of them.
DISARMED = {
    "=1+1": "'=1+1",
    "'=1+1": "''=1+1",
    "+49 30 1234": "'+49 30 1234",
    "-1": "'-1",
    "@SUM(1)": "'@SUM(1)",
    "\t=1+1": "'\t'=1+1",
    "\rx": "'\rx",
    "\nx": "'\nx",
    " =1+1": " '=1+1",
    "＝1+1": "'＝1+1",
    "＋1": "'＋1",
    "－1": "'－1",
    "＠SUM(1)": "'＠SUM(1)",
    "a;=1+1": "a;'=1+1",
    "a; =1+1": "a; '=1+1",
    'a;"=1+1"': 'a;"\'=1+1"',
    "a,=1+1": "a,'=1+1",
    "a\t=1+1": "a\t'=1+1",
    "a\n=1+1": "a\n'=1+1",
    "a\r\n=1+1": "a\r\n'=1+1",
    "a;b;=1;'=2": "a;b;'=1;''=2",
}

HARMLESS = ["", "Acme", "1=1", "a=b", "a - b", "O'Neill", "a; b", "5-7, Main St", "'"]

CELLS = st.text(alphabet="';,\t\r\n =+-@\"＝＋ab", max_size=12) | st.text()

# How LibreOffice reads a CSV file: the codes of the separators, the quotation mark,
# UTF-8, the first line, and the language. It does not protect quoted cells, detects
# numbers, and removes spaces, so that as much as possible becomes a formula.
ENGLISH = "44,34,76,1,,1033,false,true,false,false,true,-1,true"
GERMAN = "59,34,76,1,,1031,false,true,false,false,true,-1,true"
ALL_SEPARATORS = "59/44/9,34,76,1,,1031,false,true,false,false,true,-1,true"


class EscapingTests(SimpleTestCase):
    @tag("E3")
    def test_disarms_what_could_begin_a_formula(self):
        for text, expected in DISARMED.items():
            with self.subTest(text=text):
                self.assertEqual(escape_formula(text), expected)

    def test_leaves_other_text_alone(self):
        for text in HARMLESS:
            with self.subTest(text=text):
                self.assertEqual(escape_formula(text), text)

    @tag("E3")
    @settings(max_examples=500, deadline=None)
    @given(CELLS)
    def test_unescaping_restores_any_text(self, text):
        self.assertEqual(unescape_formula(escape_formula(text)), text)

    @tag("E3")
    @settings(max_examples=500, deadline=None)
    @given(CELLS)
    def test_no_formula_begins_where_any_program_could_split_a_cell(self, text):
        for part in re.split("[;,\t\r\n]", escape_formula(text)):
            self.assertNotRegex(part.lstrip(' "'), "^[-=+@＝＋－＠]")


@skipUnless(shutil.which("soffice"), "LibreOffice is not installed")
class SpreadsheetTests(SimpleTestCase):
    @tag("E3")
    def test_libreoffice_finds_no_formula_in_any_language(self):
        rows = [[number, text, text] for number, text in enumerate(DISARMED)]
        for options in (ENGLISH, GERMAN, ALL_SEPARATORS):
            with self.subTest(options=options):
                sheet = self.open_in_libreoffice("".join(write_csv(rows)), options)
                self.assertNotIn("table:formula", sheet)

    def test_libreoffice_finds_formulas_that_are_not_disarmed(self):
        file = io.StringIO()
        csv.writer(file).writerow(["1", "=1+1", "a;=1+1"])
        sheet = self.open_in_libreoffice(file.getvalue(), ALL_SEPARATORS)
        self.assertEqual(sheet.count("table:formula"), 2)

    def open_in_libreoffice(self, text, options):
        """Return the XML of the spreadsheet that LibreOffice makes of a CSV file."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "export.csv")
            file.write_text(BYTE_ORDER_MARK + text, encoding="utf-8", newline="")
            command = [
                "soffice",
                f"-env:UserInstallation=file://{folder}/profile",
                "--headless",
                f"--infilter=CSV:{options}",
                "--convert-to",
                "fods",
                "--outdir",
                folder,
                file,
            ]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            return Path(folder, "export.fods").read_text(encoding="utf-8")
