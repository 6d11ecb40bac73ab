"""Files that offices send, and what importing each of them does: the table in cases.py.

`workbook_files.py` makes workbooks. The files in office/ were saved by LibreOffice:
`python -m tests.import_corpus.office` writes them again.
"""
