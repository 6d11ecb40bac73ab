"""The direction of imports: what docs/architecture.md draws as its diagram."""

import ast
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase

APP = Path(settings.BASE_DIR, "orgadmin")

# A package may import itself and the packages to its left.
LAYERS = [
    "access",
    "models",
    "gate",
    "people",
    "records",
    "accounts",
    "admin",
    "management",
]
# Modules that stand beside the layers, with the packages that they may import.
BESIDE = {
    "__init__": set(),
    "apps": {"access", "accounts", "admin", "metrics", "people"},
    "headers": set(),
    "health": {"access", "accounts", "records"},
    "logs": {"access"},
    "metrics": {"access", "health", "models", "people", "records"},
    "operations": set(),
    "migrations": {"operations"},
}
# Inside a folder, too, no module or folder may import another that imports it in turn.


def find_imports(path):
    """Return the dotted names of the app's modules that a file imports."""
    found = set()
    for node in walk_executed(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = find_package(path, node.level)
            module = ".".join(filter(None, [package, node.module]))
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("orgadmin.")}


def walk_executed(tree):
    """Yield all nodes, except those in `if TYPE_CHECKING:`, which only mypy reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from walk_executed(node)


def find_package(path, level):
    """Return the package that a relative import of `level` dots starts from."""
    if level == 0:
        return ""
    parts = path.relative_to(APP.parent).parts
    return ".".join(parts[: len(parts) - level])


def find_rooms(path):
    """Return the packages, or single modules, of the app that a file imports."""
    return {name.split(".")[1] for name in find_imports(path)}


def list_folders():
    """Return the layers, and the folders in them."""
    folders = [APP / layer for layer in LAYERS]
    for layer in LAYERS:
        folders += [path.parent for path in APP.joinpath(layer).glob("*/__init__.py")]
    return folders


def find_imports_within(folder):
    """Return {child: the other children of the folder that it imports}.

    A child is a module or a folder.
    """
    prefix = ".".join(folder.relative_to(APP.parent).parts) + "."
    imports = {}
    for path in folder.rglob("*.py"):
        child = find_child(path, folder)
        inside = {
            name.removeprefix(prefix).split(".")[0]
            for name in find_imports(path)
            if name.startswith(prefix)
        }
        imports.setdefault(child, set()).update(inside - {child})
    del imports["__init__"]
    return {child: names & imports.keys() for child, names in imports.items()}


def find_child(path, folder):
    """Return the name of the module or folder in `folder` that a file belongs to."""
    return path.relative_to(folder).parts[0].removesuffix(".py")


class LayerTests(SimpleTestCase):
    def test_packages_import_only_what_stands_to_their_left(self):
        for path in APP.rglob("*.py"):
            room = path.relative_to(APP).parts[0].removesuffix(".py")
            with self.subTest(path=str(path.relative_to(APP))):
                self.assertIn(
                    room,
                    {*LAYERS, *BESIDE},
                    "Give the new module a place in LAYERS or BESIDE.",
                )
                if room in BESIDE:
                    allowed = {room, *BESIDE[room]}
                else:
                    allowed = set(LAYERS[: LAYERS.index(room) + 1])
                self.assertLessEqual(find_rooms(path), allowed)

    def test_nothing_in_a_folder_imports_each_other_in_a_circle(self):
        for folder in list_folders():
            remaining = find_imports_within(folder)
            while remaining:
                free = {
                    child
                    for child, imported in remaining.items()
                    if not imported & remaining.keys()
                }
                self.assertTrue(free, f"{folder}: a circle in {remaining}")
                for child in free:
                    del remaining[child]

    def test_sees_imports_of_every_form(self):
        self.assertEqual(
            find_rooms(APP / "admin/site.py"),
            {"accounts", "admin", "gate", "models"},
        )
        self.assertIn("access", find_rooms(APP / "management/demo.py"))

    def test_only_two_logs_and_the_start_of_sessions_listen_to_signals(self):
        listening = {
            APP / "access/membership_log.py",
            APP / "access/permission_log.py",
            APP / "accounts/sessions/sessions.py",
        }
        for path in set(APP.rglob("*.py")) - listening:
            self.assertNotRegex(
                path.read_text(),
                r"django\.(db\.models|dispatch|contrib\.auth).*(signals|receiver)",
                path.name,
            )
