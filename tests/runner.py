"""The test runner for the second database."""

from unittest import TestSuite

from django.test import SimpleTestCase, TransactionTestCase
from django.test.runner import DiscoverRunner
from django.test.utils import iter_test_cases


class DatabaseTestRunner(DiscoverRunner):
    """Runs only the tests that may use the database.

    Django does not let a `SimpleTestCase` use the database, so its result is the same
    with each database.
    """

    def load_tests_for_label(self, label, discover_kwargs):
        found = super().load_tests_for_label(label, discover_kwargs)
        return TestSuite(test for test in iter_test_cases(found) if may_use(test))


def may_use(test):
    """Return whether a test may use the database.

    A module that cannot be imported is a test, too, and belongs to neither class.
    """
    is_simple = isinstance(test, SimpleTestCase)
    return not is_simple or isinstance(test, TransactionTestCase)
