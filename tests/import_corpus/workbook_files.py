"""Makes small .xlsx files without a library, also such as no program would write."""

import datetime
import io
import zipfile
from xml.sax.saxutils import escape

TYPES = """<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels"
 ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Override PartName="/xl/workbook.xml" ContentType=
"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>
</Types>"""

OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
SHEETS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"

RELATIONS = f"""<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="{PACKAGE}">
<Relationship Id="r1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/>
</Relationships>"""


# The second format is that of a day. A spreadsheet counts days from `DAY_0`.
STYLES = f"""<?xml version="1.0" encoding="UTF-8"?>
<styleSheet xmlns="{SHEETS}">
<cellXfs><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs>
</styleSheet>"""
DAY_0 = datetime.date(1899, 12, 30)


class FormulaError(str):
    """What a spreadsheet shows in a cell whose formula has failed."""


def make_workbook(sheets, hidden=()):
    """Return an .xlsx file. `sheets` is {name: rows}; numbers and days stay so."""
    names = list(sheets)
    entries = []
    relations = []
    for number, name in enumerate(names, start=1):
        state = ' state="hidden"' if name in hidden else ""
        entries.append(
            f'<sheet name="{escape(name)}" sheetId="{number}" r:id="s{number}"{state}/>'
        )
        relations.append(
            f'<Relationship Id="s{number}" Type="{OFFICE}/worksheet"'
            f' Target="worksheets/sheet{number}.xml"/>'
        )
    relations.append(
        f'<Relationship Id="styles" Type="{OFFICE}/styles" Target="styles.xml"/>'
    )
    parts = {
        "xl/styles.xml": STYLES,
        "xl/workbook.xml": f'<workbook xmlns="{SHEETS}" xmlns:r="{OFFICE}"><sheets>'
        f"{''.join(entries)}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}">'
        f"{''.join(relations)}</Relationships>",
    }
    for number, name in enumerate(names, start=1):
        parts[f"xl/worksheets/sheet{number}.xml"] = make_sheet(sheets[name])
    return pack(parts)


def make_sheet(rows):
    """Return the XML of a sheet. A row may be a dictionary of {cell: value}."""
    lines = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            columns = (chr(ord("A") + index) for index in range(len(row)))
            row = dict(zip((f"{column}{number}" for column in columns), row))
        cells = [make_cell(place, value) for place, value in row.items()]
        lines.append(f"<row>{''.join(cells)}</row>")
    body = "".join(lines)
    return f'<worksheet xmlns="{SHEETS}"><sheetData>{body}</sheetData></worksheet>'


def make_cell(place, value):
    if value is None:
        return ""
    if isinstance(value, FormulaError):
        return f'<c r="{place}" t="e"><f>A1/0</f><v>{escape(value)}</v></c>'
    if isinstance(value, str):
        text = f'<is><t xml:space="preserve">{escape(value)}</t></is>'
        return f'<c r="{place}" t="inlineStr">{text}</c>'
    if isinstance(value, datetime.date):
        return f'<c r="{place}" s="1"><v>{(value - DAY_0).days}</v></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


def pack(parts):
    """Return a ZIP archive of the parts of a workbook."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", TYPES)
        archive.writestr("_rels/.rels", RELATIONS)
        for name, text in parts.items():
            archive.writestr(name, text)
    return file.getvalue()


def make_archive(files):
    """Return a ZIP archive of other files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def make_unreadable_archive(*, is_encrypted=False):
    """Return an archive whose file "mimetype" cannot be unpacked."""
    content = bytearray(make_archive({"mimetype": "application/" * 10}))
    if is_encrypted:
        # The flags in the headers of the file, and in the directory.
        content[6] |= 1
        content[content.index(b"PK\x01\x02") + 8] |= 1
    else:
        start = content.index(b"mimetype") + len("mimetype")
        content[start : start + 4] = b"\xff\xff\xff\xff"
    return bytes(content)


def make_workbook_with_xml(before, cell):
    """Return an .xlsx file whose sheet has a declaration, and a cell as XML."""
    rows = f'<row><c r="A1" t="inlineStr"><is><t>name</t></is></c></row>{cell}'
    sheet = f'<worksheet xmlns="{SHEETS}"><sheetData>{rows}</sheetData></worksheet>'
    file = io.BytesIO(make_workbook({"A": []}))
    changed = io.BytesIO()
    with (
        zipfile.ZipFile(file) as source,
        zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in source.namelist():
            is_sheet = name.startswith("xl/worksheets/")
            archive.writestr(name, before + sheet if is_sheet else source.read(name))
    return changed.getvalue()


def make_entities():
    """Return a workbook with a cell that is a billion times a word, as XML entities."""
    entities = ['<!ENTITY e0 "word">']
    for level in range(1, 10):
        entities.append(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">')
    before = f"<!DOCTYPE worksheet [{''.join(entities)}]>"
    return make_workbook_with_xml(before, make_entity_row("e9"))


def make_file_entity():
    """Return a workbook with a cell that is the content of a file of the server."""
    before = '<!DOCTYPE worksheet [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    return make_workbook_with_xml(before, make_entity_row("f"))


def make_entity_row(name):
    return f'<row><c r="A2" t="inlineStr"><is><t>a&{name};b</t></is></c></row>'


def make_bomb(megabytes):
    """Return a small .xlsx file whose sheet is larger by a factor of about 1,000."""
    text = f'<worksheet xmlns="{SHEETS}"><sheetData>'
    filler = " " * 1_000_000
    file = io.BytesIO(make_workbook({"Sheet1": [["name"]]}))
    bomb = io.BytesIO()
    with (
        zipfile.ZipFile(file) as source,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in source.namelist():
            if "sheet1" not in name:
                archive.writestr(name, source.read(name))
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            sheet.write(text.encode())
            for _number in range(megabytes):
                sheet.write(filler.encode())
            sheet.write(b"</sheetData></worksheet>")
    return bomb.getvalue()
