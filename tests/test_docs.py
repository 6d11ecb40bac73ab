import ast
import re
import tomllib
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase

PROJECT = Path(settings.BASE_DIR)
DOCS = PROJECT / "docs"
SHOWN_PICTURES = DOCS / "pictures"
PAGES = [
    *sorted(DOCS.glob("**/*.md")),
    *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
]

# A file below one of these folders, in backticks. URLs end in a slash.
FILE = re.compile(r"`((?:orgadmin|config|docs|templates|static|tests)/[\w./-]*\w)`")

# On docs/architecture.md, paths are relative to orgadmin/, except in these folders.
FOLDERS_OF_THE_PROJECT = ("config/", "docs/", "static/", "templates/", "tests/")

# A Python file with names in it, such as "`people/ends.py` (`SOON`, `find_ends`)".
FILE_WITH_NAMES = re.compile(r"`([\w/]+\.py)` \(((?:`\w+`(?:, )?)+)\)")

# A path with a folder and a file, such as `people/ends.py`.
PATH_OF_FILE = re.compile(r"`([\w-]+/[\w./-]*\.\w+)`")

# Files that a recipe in docs/changing.md has its readers write.
WRITTEN_BY_RECIPES = {
    "orgadmin/models/document.py",
    "orgadmin/admin/documents.py",
    "orgadmin/locale/fr/LC_MESSAGES/django.po",
}


def find_shown_pictures():
    """Return the names of the pictures that the README and the docs show."""
    names = set()
    for path in [PROJECT / "README.md", *DOCS.glob("**/*.md")]:
        text = path.read_text(encoding="utf-8")
        names.update(re.findall(r"\bpictures/([\w-]+\.(?:webp|svg))", text))
    return names


def list_files_of_the_code():
    """Return the paths of our Python files, and of folders that have one row.

    Each package has an `__init__.py`, which needs no row.
    """
    folders = {
        "orgadmin/data/",
        "orgadmin/locale/",
        "orgadmin/migrations/",
        "templates/",
    }
    paths = [*PROJECT.glob("config/*.py"), *PROJECT.glob("orgadmin/**/*.py")]
    names = [path.relative_to(PROJECT).as_posix() for path in paths]
    files = {
        name
        for name in names
        if not name.endswith("/__init__.py") and not name.startswith(tuple(folders))
    }
    return files | folders


def list_files_in_docs():
    """Return the paths in the first column of the tables of docs/files.md."""
    page = (DOCS / "files.md").read_text(encoding="utf-8")
    paths = []
    folder = ""
    for line in page.splitlines():
        if line.startswith("#"):
            folder = read_folder(line.lstrip("# "))
        elif line.startswith("| `"):
            cell = line.split("|")[1].strip()
            subfolder = read_folder(cell)
            for name in re.findall(r"`([^`]+)`", cell.removeprefix(f"`{subfolder}`:")):
                is_outside = name.startswith(("config/", "templates/"))
                path = name if is_outside else f"orgadmin/{folder}{subfolder}{name}"
                paths.append(path)
    return paths


def read_folder(text):
    """Return the folder at the start of "`access/`: the rule", or an empty text."""
    match = re.match(r"`([\w/]+/)`:", text)
    return match[1] if match else ""


def find_file_of_architecture(name):
    """Return the path of a file that docs/architecture.md names."""
    if name.startswith(FOLDERS_OF_THE_PROJECT):
        return PROJECT / name
    return PROJECT / "orgadmin" / name


def list_defined_names(path):
    """Return the names of the functions, classes and variables that a file defines."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def list_anchors(page):
    """Return the names by which links lead to the headings of a page."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text(encoding="utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


class FilesTests(SimpleTestCase):
    def test_every_file_has_one_row_and_every_row_a_file(self):
        rows = list_files_in_docs()
        self.assertEqual(set(rows), list_files_of_the_code())
        self.assertEqual(len(rows), len(set(rows)))


class ArchitectureTests(SimpleTestCase):
    """docs/architecture.md names only files and definitions that exist."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.page = (DOCS / "architecture.md").read_text(encoding="utf-8")

    def test_files_exist(self):
        names = PATH_OF_FILE.findall(self.page)
        self.assertGreater(len(names), 50)
        missing = {
            name for name in names if not find_file_of_architecture(name).exists()
        }
        self.assertEqual(missing, set())

    def test_files_define_the_names_in_parentheses_behind_them(self):
        files = FILE_WITH_NAMES.findall(self.page)
        self.assertGreater(len(files), 15)
        for file, listed in files:
            names = set(re.findall(r"\w+", listed))
            defined = list_defined_names(find_file_of_architecture(file))
            with self.subTest(file=file):
                self.assertEqual(names - defined, set())


class LinkTests(SimpleTestCase):
    def test_files_that_the_docs_name_exist(self):
        missing = {
            (page.name, name)
            for page in PAGES
            for name in FILE.findall(page.read_text(encoding="utf-8"))
            if name not in WRITTEN_BY_RECIPES and not (PROJECT / name).exists()
        }
        self.assertEqual(missing, set())

    def test_links_lead_to_a_page_and_its_heading(self):
        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
                name, _, anchor = link.partition("#")
                target = page.parent / name if name else page
                with self.subTest(page=page.name, link=link):
                    self.assertTrue(target.exists())
                    if anchor:
                        self.assertIn(anchor, list_anchors(target))


class PictureTests(SimpleTestCase):
    def test_docs_hold_exactly_the_pictures_that_they_show(self):
        stored = {path.name for path in SHOWN_PICTURES.iterdir()}
        self.assertEqual(stored, find_shown_pictures())


class VersionTests(SimpleTestCase):
    def test_changelog_has_a_section_for_the_version(self):
        project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
        changelog = (PROJECT / "CHANGELOG.md").read_text()
        self.assertRegex(changelog, rf"(?m)^## {re.escape(project['version'])} - \d")
