"""Tests that something is missing do not fail by chance.

Pages, sessions and emails contain random text, such as tokens, and times. Random text
soon contains any three letters or digits. So a text that must be missing has to be
longer, or contain a character that no token has.
"""

import ast
import re
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase

TESTS = Path(settings.BASE_DIR, "tests")

# Up to 3 letters and digits, as in a token, or up to 5 hex digits, as in a hash.
SHORT = re.compile(r"[A-Za-z0-9]{0,3}|[0-9a-f]{0,5}")

# What holds the text of a page or a stored value, instead of a list.
HOLDS_TEXT = re.compile(r"str\(|repr\(|\.decode\(|\.join\(|\.(text|body|content)$")


def is_short(node: ast.expr) -> bool:
    if not isinstance(node, ast.Constant):
        return False
    return isinstance(node.value, str) and SHORT.fullmatch(node.value) is not None


def fails_by_chance(call: ast.Call) -> bool:
    """Return whether a call asserts that a short text is missing from random text."""
    if not isinstance(call.func, ast.Attribute) or len(call.args) < 2:
        return False
    first, second = call.args[:2]
    if call.func.attr == "assertNotContains":
        return is_short(second)
    if call.func.attr == "assertNotIn":
        return is_short(first) and HOLDS_TEXT.search(ast.unparse(second)) is not None
    return False


def find_calls(source: str) -> list[ast.Call]:
    """Return the calls in `source` that can fail by chance."""
    nodes = ast.walk(ast.parse(source))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    return [call for call in calls if fails_by_chance(call)]


class ChanceTests(SimpleTestCase):
    def test_a_text_that_must_be_missing_is_long_enough(self):
        found = []
        for path in sorted(TESTS.rglob("*.py")):
            for call in find_calls(path.read_text()):
                found.append(f"{path.name}:{call.lineno}: {ast.unparse(call)}")
        self.assertEqual(found, [])

    def test_short_texts_are_found(self):
        for source in (
            'self.assertNotContains(response, "555")',
            'self.assertNotContains(response, "Ada", status_code=403)',
            'self.assertNotIn("2990", str(self.read(user)))',
            'self.assertNotIn("R1", response.content.decode())',
        ):
            with self.subTest(source=source):
                self.assertEqual(len(find_calls(source)), 1)
        for source in (
            'self.assertNotContains(response, "Call")',
            'self.assertNotContains(response, "T-2")',
            'self.assertNotIn("3", keys)',
            "self.assertNotIn(secret, response.content.decode())",
        ):
            with self.subTest(source=source):
                self.assertEqual(find_calls(source), [])
