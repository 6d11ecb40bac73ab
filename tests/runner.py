"""The test runners: of all tests, and of those for the second database."""

from contextlib import ExitStack
from unittest import TestSuite

from django.test import SimpleTestCase, TransactionTestCase
from django.test.runner import DiscoverRunner
from django.test.utils import iter_test_cases

from orgadmin.accounts import sessions
from tests.scratch import template_of_scratch_databases

# How often sessions store that they are used, on a real site.
SEEN_EVERY = sessions.SEEN_EVERY


class AllTestsRunner(DiscoverRunner):
    """Runs tests, some of which copy the database before anybody has used it."""

    def setup_test_environment(self, **kwargs):
        super().setup_test_environment(**kwargs)
        # Tests that count queries, or that compare pages, would notice that a session
        # stores its use if the machine pauses for a minute. Browsers wait for sessions
        # that end.
        if "browser" not in self.tags:
            sessions.SEEN_EVERY = 10 * sessions.MINUTE

    def setup_databases(self, **kwargs):
        self.resources = ExitStack()
        created = super().setup_databases(**kwargs)
        if created:
            self.resources.enter_context(template_of_scratch_databases())
        return created

    def teardown_databases(self, old_config, **kwargs):
        self.resources.close()
        super().teardown_databases(old_config, **kwargs)


class DatabaseTestRunner(AllTestsRunner):
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
