"""Lets LibreOffice save the files in office/ and office_people/.

They are in three languages and all formats.

Run it with `python -m tests.import_corpus.office`. It needs LibreOffice. The workbook
with a password was made of de-DE.xlsx by `msoffcrypto-tool -e`.
"""

import datetime
import subprocess
import tempfile
from pathlib import Path

from tests.import_corpus.workbook_files import make_workbook

FOLDER = Path(__file__).parent / "office"
PEOPLE_FOLDER = Path(__file__).parent / "office_people"

LANGUAGES = ("de-DE", "en-US", "fr-FR")

# {end of the name: format and options of LibreOffice}. The options of CSV files are the
# separator, the quotation mark and the encoding, as numbers.
FORMATS = {
    "xlsx": "xlsx",
    "xls": "xls",
    "ods": "ods",
    "utf-8.csv": "csv:Text - txt - csv (StarCalc):44,34,76,1",
    "windows.csv": "csv:Text - txt - csv (StarCalc):59,34,1,1",
    "mac.csv": "csv:Text - txt - csv (StarCalc):59,34,2,1",
    "utf-16.csv": "csv:Text - txt - csv (StarCalc):9,34,65535,1",
}

ROWS = [
    ["Firma", "Telefon", "Straße", "Notiz"],
    ["Bäcker & Söhne", "030 998877", "Allee 5", "ä; ö, ü"],
    ["Café Élan", 491512345678, "Größe 7", 'mit "Zitat"'],
]

PEOPLE_ROWS = [
    ["E-Mail", "Kundennr.", "Rolle", "Bis"],
    ["mary@example.com", "R2", "Prüferin", datetime.date(2090, 12, 31)],
    ["carla@example.com", "R1", "Prüferin", datetime.date(2091, 1, 31)],
]

SETTINGS = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Setup/L10N"><prop oor:name="ooSetupSystemLocale"
 oor:op="fuse"><value>{language}</value></prop></item>
</oor:items>"""


def main():
    save_all(FOLDER, {"Firmen": ROWS})
    save_all(PEOPLE_FOLDER, {"Leute": PEOPLE_ROWS})


def save_all(target, sheets):
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "table.xlsx"
        source.write_bytes(make_workbook(sheets))
        for language in LANGUAGES:
            for ending, kind in FORMATS.items():
                saved = save(source, folder, language, ending, kind)
                saved.rename(target / f"{language}.{ending}")


def save(source, folder, language, ending, kind):
    """Convert a file to another format with LibreOffice, and return its path."""
    profile = folder / language
    settings = profile / "user" / "registrymodifications.xcu"
    settings.parent.mkdir(parents=True, exist_ok=True)
    if not settings.exists():
        settings.write_text(SETTINGS.format(language=language))
    output = folder / "saved"
    subprocess.run(
        [
            "soffice",
            f"-env:UserInstallation={profile.as_uri()}",
            "--headless",
            "--convert-to",
            kind,
            "--outdir",
            output,
            source,
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return output / f"table.{ending.rpartition('.')[2]}"


if __name__ == "__main__":
    main()
