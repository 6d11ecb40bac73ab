"""The tests themselves: none fails by chance, each one runs, and failures are shown.

Pages, sessions and emails contain hashes, tokens, times and IDs. By chance, these
contain almost any three letters or digits. So a text that must be missing has to be
longer, or contain a character that is neither a letter nor a digit.

Which tests run in the same process differs from run to run. So no test leaves its
language or time zone active for the next one.

A `SimpleTestCase` only runs with SQLite (`DatabaseTestRunner`). If it were skipped
there, it would never run.
"""

import ast
import inspect
import pickle
import re
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from unittest import TestResult
from zoneinfo import ZoneInfo

from django.conf import settings
from django.test import SimpleTestCase
from django.test.runner import DiscoverRunner
from django.test.utils import iter_test_cases
from django.utils import timezone, translation
from django.utils.formats import date_format

from tests import test_migration_rules, test_role_holders
from tests.runner import SubTestResult, may_use

TESTS = Path(settings.BASE_DIR, "tests")

# Up to 3 letters and digits, as in a token, or up to 5 hex digits, as in a hash.
SHORT = re.compile(r"[A-Za-z0-9]{0,3}|[0-9a-f]{0,5}")

# What holds a text, such as that of a page, instead of a list.
HOLDS_TEXT = re.compile(
    r"str\(|repr\(|\.decode\(|\.join\(|\b(texts?|body|email|page|content)$"
)

# The decorators of what only runs with PostgreSQL.
FOR_POSTGRESQL = re.compile(
    r'@(on_postgresql\b|skipUnless\(\s*connection\.vendor == "postgresql")'
)


def is_short(node: ast.expr) -> bool:
    if not isinstance(node, ast.Constant):
        return False
    return isinstance(node.value, str) and SHORT.fullmatch(node.value) is not None


def fails_by_chance(call: ast.Call) -> bool:
    """Return whether a call asserts that a short text is missing from a text."""
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
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and fails_by_chance(node):
            found.append(node)
        elif isinstance(node, ast.For):
            found.extend(find_calls_in_loop(node))
    return found


def find_calls_in_loop(loop: ast.For) -> list[ast.Call]:
    """Return the calls in a loop that can fail by chance with one of its texts.

    Only finds loops over a tuple of texts, such as `for text in ("Ada", "Ben"): ...`.
    """
    if not isinstance(loop.iter, ast.Tuple) or not isinstance(loop.target, ast.Name):
        return []
    short = [text for text in loop.iter.elts if is_short(text)]
    if not short:
        return []
    # Replace the variable with the first short text.
    unrolled = InsertText(loop.target.id, short[0]).visit(deepcopy(loop))
    calls = [node for node in ast.walk(unrolled) if isinstance(node, ast.Call)]
    return [call for call in calls if fails_by_chance(call)]


class InsertText(ast.NodeTransformer):
    """Replaces a variable with a text."""

    def __init__(self, variable: str, text: ast.expr) -> None:
        self.variable = variable
        self.text = text

    def visit_Name(self, node: ast.Name) -> ast.expr:
        is_read = isinstance(node.ctx, ast.Load)
        return self.text if is_read and node.id == self.variable else node


def is_for_postgresql(test_class: type) -> bool:
    """Return whether a class, or one of its tests, is skipped with SQLite."""
    return FOR_POSTGRESQL.search(inspect.getsource(test_class)) is not None


class MissingTextTests(SimpleTestCase):
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
            'for x in ("A41", "SECRET"): self.assertNotContains(response, x)',
        ):
            with self.subTest(source=source):
                self.assertEqual(len(find_calls(source)), 1)
        for source in (
            'self.assertNotContains(response, "Call")',
            'self.assertNotContains(response, "T-2")',
            'self.assertNotIn("3", keys)',
            "self.assertNotIn(secret, response.content.decode())",
            'for x in ("Secret", "T-2"): self.assertNotContains(response, x)',
        ):
            with self.subTest(source=source):
                self.assertEqual(find_calls(source), [])


class Examples(SimpleTestCase):
    """Tests whose names are not those of tests. Only the tests below run them."""

    def leave_german_and_tokyo_active(self):
        translation.activate("de")
        timezone.activate(ZoneInfo("Asia/Tokyo"))
        self.assertEqual(date_format(datetime(2026, 7, 1)), "1. Juli 2026")

    def fail_in_a_subtest(self):
        self.cannot_be_sent = lambda: None
        with self.subTest("Two", number=2):
            self.assertEqual(1, 2)


class SkippedTests(SimpleTestCase):
    def test_no_test_is_skipped_with_both_databases(self):
        suite = DiscoverRunner(verbosity=0).build_suite()
        never_run = set()
        for test in iter_test_cases(suite):
            if not may_use(test) and is_for_postgresql(type(test)):
                never_run.add(type(test).__name__)
        self.assertEqual(never_run, set())

    def test_tests_for_postgresql_are_found(self):
        self.assertTrue(is_for_postgresql(test_role_holders.BulkLoadTests))
        self.assertTrue(is_for_postgresql(test_migration_rules.PendingTriggersTests))
        self.assertFalse(is_for_postgresql(test_role_holders.RoleHolderTests))


class LanguageTests(SimpleTestCase):
    def test_no_test_leaves_its_language_or_time_zone_to_the_next_one(self):
        result = TestResult()
        Examples("leave_german_and_tokyo_active").run(result)
        self.assertTrue(result.wasSuccessful(), result.failures)
        self.assertEqual(date_format(datetime(2026, 7, 1)), "July 1, 2026")
        self.assertEqual(timezone.get_current_timezone_name(), settings.TIME_ZONE)


class LoggerTests(SimpleTestCase):
    def test_no_test_sets_a_level_without_making_the_logger_forget_the_old_one(self):
        for path in sorted(TESTS.rglob("*.py")):
            with self.subTest(path.name):
                self.assertNotRegex(path.read_text(), r"[(\s]level=log|\.level\s=\s")


class SubTestTests(SimpleTestCase):
    def test_a_failed_subtest_can_be_sent_to_the_main_process(self):
        result = SubTestResult()
        Examples("fail_in_a_subtest").run(result)
        sent = pickle.loads(pickle.dumps(result.events))
        [event] = [event for event in sent if event[0] == "addSubTest"]
        self.assertIn("fail_in_a_subtest", str(event[2]))
        self.assertIn("[Two] (number=2)", str(event[2]))
