"""The test runners: the one that TEST_RUNNER names, and one for the second database."""

from unittest import TestSuite

from django.test import Client, SimpleTestCase, TransactionTestCase
from django.test.runner import DiscoverRunner
from django.test.utils import iter_test_cases

from orgadmin.accounts.sessions import note_sign_in

force_login_of_django = Client.force_login


def force_login(client, user, backend=None):
    """Sign in without the sign-in page, and note the sign-in in the session as it does.

    Otherwise, the session would count as expired. `tests.factories.age_sign_in` makes
    the sign-in older.
    """
    force_login_of_django(client, user, backend)
    session = client.session
    note_sign_in(session, user)
    session.save()


class Runner(DiscoverRunner):
    """Lets every test client start sessions as the sign-in page does."""

    def setup_test_environment(self, **options):
        super().setup_test_environment(**options)
        Client.force_login = force_login


class DatabaseTestRunner(Runner):
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
