import ast
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase

APP = Path(settings.BASE_DIR, "orgadmin")

# What a module may import of the app: the names to its left.
LAYERS = (
    "search roles groups ledger querysets models throttle access history mail membership transfer doctor"
    " forms lists gate people exchange checks admin management"
).split()
# Modules beside the line, with all that they import of the app.
BESIDE = {
    "apps": {"admin", "checks", "ledger"},
    "health": set(),
    "operations": set(),
    "logs": set(),
    "signin": {"access", "models", "throttle"},
    "accounts": {"forms", "membership", "models", "signin"},
    "site": {"access", "forms", "models", "roles", "signin"},
    "migrations": {"operations", "search"},
    "__init__": set(),
}


def find_imports(path):
    """Return the names of the app's modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for name in [alias.name for alias in node.names]:
                full = (
                    module.lstrip(".")
                    if node.level
                    else module.removeprefix("orgadmin").lstrip(".")
                )
                if node.level or module.startswith("orgadmin"):
                    found.add((full or name).split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.split(".")[1]
                for alias in node.names
                if alias.name.startswith("orgadmin.")
            }
    return found


class LayerTests(SimpleTestCase):
    def test_modules_import_only_what_stands_to_their_left(self):
        for path in APP.rglob("*.py"):
            room = path.relative_to(APP).parts[0].removesuffix(".py")
            with self.subTest(path=str(path.relative_to(APP))):
                self.assertIn(
                    room,
                    (*LAYERS, *BESIDE),
                    "Give the new module a place in LAYERS or BESIDE.",
                )
                allowed = (
                    BESIDE[room]
                    if room in BESIDE
                    else set(LAYERS[: LAYERS.index(room)])
                )
                allowed |= {"management"} & {
                    room
                }  # the commands share how arguments are read
                self.assertLessEqual(find_imports(path), allowed)

    def test_sees_imports_of_every_form(self):
        self.assertEqual(
            find_imports(APP / "site.py"),
            {"access", "forms", "models", "roles", "signin"},
        )
        self.assertIn("roles", find_imports(APP / "management/commands/demo.py"))

    def test_no_signal_takes_part_but_that_of_the_ledger(self):
        for path in set(APP.rglob("*.py")) - {APP / "ledger.py"}:
            self.assertNotRegex(
                path.read_text(),
                r"django\.(db\.models|dispatch).*(signals|receiver)",
                path.name,
            )
