"""The test runners: of all tests, and of those for the second database."""

import gc
import math
import secrets
from contextlib import ExitStack
from unittest import TestCase, TestSuite
from unittest.case import _SubTest

from django.middleware import csrf
from django.test import SimpleTestCase, TransactionTestCase
from django.test.runner import (
    DiscoverRunner,
    ParallelTestSuite,
    RemoteTestResult,
    RemoteTestRunner,
)
from django.test.utils import iter_test_cases
from django.utils import timezone, translation
from django.utils.crypto import get_random_string

from orgadmin.accounts.sessions import sessions
from tests.scratch import template_of_scratch_databases

# How often sessions store that they are used, on a real site.
SEEN_EVERY = sessions.SEEN_EVERY

# Random keys on pages consist of these. If they had all letters and digits, a test that
# looks for "ben" would find it in one of a few thousand keys.
KEY_CHARACTERS = "BCDFGHJKLMNPQRSTVWXZ"

# How many objects are created before Python looks for garbage. Its own limit of 700
# costs about five percent of the time of the tests.
OBJECTS_BEFORE_COLLECTION = 10_000


class SubTestResult(RemoteTestResult):
    """Sends failed subtests to the main process without the attributes of their test.

    Attributes such as a response cannot be sent. One of them would end the whole run,
    with a message that names no test.
    """

    def addSubTest(self, test, subtest, err):
        plain_test = type(test)(test._testMethodName)
        plain = _SubTest(plain_test, subtest._subDescription(), {})
        super().addSubTest(test, plain, err)


class SubTestRunner(RemoteTestRunner):
    resultclass = SubTestResult


class SubTestSuite(ParallelTestSuite):
    runner_class = SubTestRunner


class AllTestsRunner(DiscoverRunner):
    """Runs the tests, and before them copies the database that no test has used.

    Some tests start processes, which use copies of this copy.
    """

    parallel_test_suite = SubTestSuite

    def setup_test_environment(self, **kwargs):
        super().setup_test_environment(**kwargs)
        # A session stores once a minute that it is used. After a pause of the machine,
        # this would disturb tests that count queries or compare pages. Browser tests
        # keep the real interval, because they wait for sessions to end.
        if "browser" not in self.tags:
            sessions.SEEN_EVERY = 10 * sessions.MINUTE
        SimpleTestCase.run = run_and_reset_locale
        csrf.CSRF_ALLOWED_CHARS = KEY_CHARACTERS
        secrets.token_urlsafe = make_key

    def setup_databases(self, **kwargs):
        self.resources = ExitStack()
        created = super().setup_databases(**kwargs)
        if created:
            self.resources.enter_context(template_of_scratch_databases())
        # What exists now is needed until the end, so Python does not need to search it
        # for garbage. The processes that run the tests are copies of this one.
        gc.collect()
        gc.freeze()
        gc.set_threshold(OBJECTS_BEFORE_COLLECTION)
        return created

    def teardown_databases(self, old_config, **kwargs):
        self.resources.close()
        super().teardown_databases(old_config, **kwargs)


class DatabaseTestRunner(AllTestsRunner):
    """Runs only the tests that can use the database.

    Django does not let a `SimpleTestCase` use the database, so these tests run only
    once, with SQLite.
    """

    def load_tests_for_label(self, label, discover_kwargs):
        found = super().load_tests_for_label(label, discover_kwargs)
        return TestSuite(test for test in iter_test_cases(found) if may_use(test))


def run_and_reset_locale(test, result=None):
    """Run a test, and then use the language and time zone of the settings again.

    A request leaves the language and time zone of its person active. On a site, the
    next request sets its own. But the next test may format a date before any request.
    """
    try:
        return TestCase.run(test, result)
    finally:
        translation.deactivate()
        timezone.deactivate()


def make_key(size=32):
    """Return a random key that is as long as one of `secrets.token_urlsafe`."""
    length = math.ceil(size * 4 / 3)
    return get_random_string(length, KEY_CHARACTERS)


def may_use(test):
    """Return whether a test may use the database.

    A module that cannot be imported becomes a test that fails. It is not a
    `SimpleTestCase`, so it runs with each database.
    """
    is_simple = isinstance(test, SimpleTestCase)
    return not is_simple or isinstance(test, TransactionTestCase)
