"""Which requests read the replica. tests/test_replica_servers.py has real servers."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest import mock

from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.db import (
    DEFAULT_DB_ALIAS,
    DataError,
    NotSupportedError,
    OperationalError,
    connections,
)
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory, SimpleTestCase, tag
from django.urls import get_resolver

from config import env
from orgadmin.access import reasons, replica
from orgadmin.access.replica import (
    LONGEST_LAG,
    NO_WAIT_FOR,
    PAUSE,
    REPLICA,
    Choice,
    Reading,
    ReplicaRouter,
    ReplicaWatch,
    ServerState,
    current_reading,
    has_reached,
    reading_replica,
)
from orgadmin.access.replica_backend.base import DatabaseWrapper, ReplicaCursor
from orgadmin.access.replica_pages import (
    ASK_AGAIN_AFTER,
    PAGES,
    ReplicaMiddleware,
    stream,
)
from orgadmin.accounts.company.provider_check import Level
from orgadmin.management import deploy_check
from orgadmin.models import Organization

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
PRIMARY = ServerState(
    is_standby=False, system=7, timeline=2, position=1_000, clock=NOON
)
STANDBY = replace(PRIMARY, is_standby=True)
BEHIND = replace(STANDBY, position=999)
LIST = "admin:orgadmin_organization_changelist"
POSTGRES = {"ENGINE": "django_zero_downtime_migrations.backends.postgres"}
SQLITE = {"ENGINE": "django.db.backends.sqlite3"}
URL = "postgres://user:secret@replica.example.com/orgadmin"


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 1_000.0

    def monotonic(self):
        return self.now

    perf_counter = monotonic

    def sleep(self, seconds):
        self.now += seconds


@contextmanager
def states(*, standby, primary=PRIMARY):
    """Make the primary and the standby return these states. Raises given errors.

    `standby` may be a list: the last state remains.
    """
    answers = list(standby) if isinstance(standby, list) else [standby]

    def answer():
        state = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(state, Exception):
            raise state
        return state

    with (
        mock.patch.object(replica, "read_state_of_primary", return_value=primary),
        mock.patch.object(
            replica, "read_state_of_replica", side_effect=answer
        ) as asked,
        mock.patch.object(replica, "get_connection"),
    ):
        yield asked


class ReachedTests(SimpleTestCase):
    @tag("D90")
    def test_a_standby_that_is_as_far_as_the_primary_has_everything(self):
        later = replace(STANDBY, position=1_001, clock=NOON + timedelta(seconds=1))
        for standby in (STANDBY, later):
            self.assertTrue(has_reached(standby, PRIMARY))

    @tag("D90")
    def test_any_other_server_may_lack_something(self):
        lacking = {
            "a commit": BEHIND,
            "the end of a membership": replace(
                STANDBY, clock=NOON - timedelta(microseconds=1)
            ),
            "everything, as a standby of another server": replace(STANDBY, system=8),
            "what was committed since a promotion": replace(STANDBY, timeline=1),
            "what others write, as a server of its own": replace(
                STANDBY, is_standby=False
            ),
        }
        for what, standby in lacking.items():
            with self.subTest(what):
                self.assertFalse(has_reached(standby, PRIMARY))


class WatchTests(SimpleTestCase):
    """When a process asks the replica, and waits for it."""

    def setUp(self):
        self.watch = ReplicaWatch()
        self.time = FakeTime()
        self.enterContext(mock.patch.object(replica, "time", self.time))
        self.report = self.enterContext(mock.patch.object(reasons, "report"))

    def choose(self, standby, **options):
        """Return the choice, how often the replica was asked, and the seconds."""
        started = self.time.now
        with states(standby=standby, **options) as asked:
            choice = self.watch.choose()
        return choice, asked.call_count, round(self.time.now - started, 3)

    def test_reads_a_replica_that_is_as_far_as_the_primary(self):
        self.assertEqual(self.choose(STANDBY), (Choice.REPLICA, 1, 0))

    @tag("D90")
    def test_reads_the_primary_if_the_replica_is_behind(self):
        self.assertEqual(self.choose(BEHIND)[0], Choice.BEHIND)

    def test_waits_a_moment(self):
        answers = [BEHIND, BEHIND, STANDBY]
        self.assertEqual(self.choose(answers), (Choice.REPLICA, 3, 0.01))

    def test_does_not_wait_for_long_or_again_and_again(self):
        seconds = self.choose(BEHIND)[2]
        self.assertTrue(0.05 <= seconds <= 0.06, seconds)
        self.assertEqual(self.choose(BEHIND), (Choice.BEHIND, 1, 0))
        self.assertEqual(self.choose(STANDBY), (Choice.REPLICA, 1, 0))
        self.time.now += NO_WAIT_FOR
        self.assertGreater(self.choose(BEHIND)[1], 1)

    def test_a_lag_is_reported_when_it_lasts(self):
        self.choose(BEHIND)
        self.time.now += LONGEST_LAG - 1
        self.choose(BEHIND)
        self.report.assert_not_called()
        self.time.now += 2
        self.choose(BEHIND)
        [component, error] = self.report.call_args.args
        self.assertEqual(component, "replica")
        self.assertRegex(str(error), r"behind the primary for \d+ seconds")

    def test_a_lag_that_ended_is_not_reported(self):
        self.choose(BEHIND)
        self.choose(STANDBY)
        self.time.now += LONGEST_LAG + 1
        self.choose(BEHIND)
        self.report.assert_not_called()

    def test_a_replica_that_fails_is_left_out_for_a_while(self):
        error = OperationalError("connection refused")
        self.assertEqual(self.choose(error), (Choice.DOWN, 1, 0))
        self.report.assert_called_once_with("replica", error)
        self.assertEqual(self.choose(STANDBY), (Choice.DOWN, 0, 0))
        self.time.now += PAUSE
        self.assertEqual(self.choose(STANDBY), (Choice.REPLICA, 1, 0))
        self.assertEqual(self.choose(STANDBY), (Choice.REPLICA, 1, 0))

    def test_only_one_request_tries_whether_it_works_again(self):
        self.choose(OperationalError())
        self.time.now += PAUSE
        others = []

        def answer():
            others.append(self.watch._may_ask())
            raise OperationalError

        with mock.patch.object(self.watch, "_wait_for", side_effect=lambda _: answer()):
            self.choose(STANDBY)
        self.assertEqual(others, [False])

    @tag("D90")
    def test_a_wrong_server_is_left_out_at_once(self):
        former = replace(STANDBY, timeline=1, position=2_000)
        self.assertEqual(self.choose(former), (Choice.DOWN, 1, 0))
        self.assertRegex(str(self.report.call_args.args[1]), "not a standby")

    def test_an_error_of_the_primary_is_not_blamed_on_the_replica(self):
        broken = mock.patch.object(
            replica, "read_state_of_primary", side_effect=OperationalError
        )
        with broken:
            self.assertEqual(self.watch.choose(), Choice.DOWN)
        self.report.assert_not_called()
        self.assertEqual(self.choose(STANDBY)[0], Choice.REPLICA)


class RouterTests(SimpleTestCase):
    router = ReplicaRouter()

    def test_reads_the_primary_unless_the_request_may_read_the_replica(self):
        self.assertEqual(self.router.db_for_read(Organization), DEFAULT_DB_ALIAS)
        with reading_replica(Reading()):
            self.assertEqual(self.router.db_for_read(Organization), REPLICA)
        self.assertEqual(self.router.db_for_read(Organization), DEFAULT_DB_ALIAS)

    def test_writes_to_the_primary_what_was_read_from_the_replica(self):
        organization = Organization(pk=1)
        organization._state.db = REPLICA
        with reading_replica(Reading()):
            database = self.router.db_for_write(Organization, instance=organization)
        self.assertEqual(database, DEFAULT_DB_ALIAS)
        database = self.router.db_for_read(Organization, instance=organization)
        self.assertEqual(database, DEFAULT_DB_ALIAS)

    @tag("D90")
    def test_reads_the_primary_in_a_transaction(self):
        primary = connections[DEFAULT_DB_ALIAS]
        in_transaction = mock.patch.object(primary, "in_atomic_block", True)
        with reading_replica(Reading()), in_transaction:
            self.assertEqual(self.router.db_for_read(Organization), DEFAULT_DB_ALIAS)

    def test_reads_sessions_from_the_primary(self):
        with reading_replica(Reading()):
            self.assertEqual(self.router.db_for_read(Session), DEFAULT_DB_ALIAS)

    def test_never_migrates_the_replica(self):
        self.assertFalse(self.router.allow_migrate(REPLICA, "orgadmin"))
        self.assertTrue(self.router.allow_migrate(DEFAULT_DB_ALIAS, "orgadmin"))

    def test_objects_of_both_can_be_related(self):
        self.assertTrue(self.router.allow_relation(Organization(), Organization()))


class ConnectionTests(SimpleTestCase):
    """The connection to the replica reads the primary when something is wrong."""

    def setUp(self):
        settings = {
            "TIME_ZONE": None,
            "AUTOCOMMIT": True,
            "OPTIONS": {},
            **env.parse_replica(URL, primary=POSTGRES),
        }
        self.connection = DatabaseWrapper(settings, REPLICA)
        self.connection.abandon = mock.Mock()
        self.primary = self.enterContext(
            mock.patch.object(connections[DEFAULT_DB_ALIAS], "cursor")
        )
        self.enterContext(mock.patch.object(replica, "watch", ReplicaWatch()))
        self.enterContext(mock.patch.object(reasons, "report"))

    def open(self, **options):
        return mock.patch.object(self.connection, "open_cursor", **options)

    @tag("D90")
    def test_nothing_reads_the_replica_that_did_not_ask_for_it(self):
        over = Reading()
        over.is_over = True
        with self.open() as opened:
            self.assertIs(self.connection.cursor(), self.primary.return_value)
            with reading_replica(over):
                cursor = self.connection.chunked_cursor()
                self.assertIs(cursor, self.primary.return_value)
        opened.assert_not_called()

    def test_a_request_reads_the_replica(self):
        with self.open() as opened, reading_replica(Reading()):
            self.assertIs(self.connection.cursor(), opened.return_value)

    def test_reads_the_primary_if_the_replica_cannot_be_reached(self):
        reading = Reading()
        with self.open(side_effect=OperationalError), reading_replica(reading):
            self.assertIs(self.connection.cursor(), self.primary.return_value)
        self.assertTrue(reading.is_over)
        self.assertFalse(replica.watch._may_ask())
        self.connection.abandon.assert_called_once_with()

    def execute(self, error, *, is_lost=False):
        """Return what a statement returns that fails on the replica."""
        raw = mock.Mock()
        raw.execute.side_effect = error
        is_lost = mock.patch.object(self.connection, "is_lost", return_value=is_lost)
        with is_lost, ReplicaCursor(raw, self.connection) as cursor:
            return cursor.execute("SELECT %s", [1])

    @tag("D90")
    def test_a_statement_that_fails_runs_on_the_primary(self):
        for is_lost in (False, True):
            replica.watch.forget()
            with self.subTest(is_lost=is_lost), reading_replica(Reading()):
                returned = self.execute(OperationalError(), is_lost=is_lost)
                cursor = self.primary.return_value
                cursor.execute.assert_called_with("SELECT %s", [1])
                self.assertIs(returned, cursor.execute.return_value)
                # If only a statement was canceled, the replica still works.
                self.assertEqual(replica.watch._may_ask(), not is_lost)

    def test_a_wrong_statement_is_not_repeated(self):
        with reading_replica(Reading()), self.assertRaises(DataError):
            self.execute(DataError())
        self.primary.assert_not_called()

    def test_a_question_about_the_replica_is_not_answered_by_the_primary(self):
        with self.assertRaises(OperationalError):
            self.execute(OperationalError())

    def test_transactions_do_not_begin_on_the_replica(self):
        with self.assertRaises(NotSupportedError):
            self.connection._set_autocommit(False)

    def test_has_timeouts_and_refuses_to_write(self):
        options = self.connection.settings_dict["OPTIONS"]
        self.assertIn("statement_timeout=900", options["options"])
        self.assertIn("default_transaction_read_only=on", options["options"])
        self.assertLess(options["pool"]["timeout"], 1)


class MiddlewareTests(SimpleTestCase):
    def setUp(self):
        self.choose = self.enterContext(
            mock.patch.object(replica.watch, "choose", return_value=Choice.REPLICA)
        )
        self.enterContext(
            mock.patch("orgadmin.access.replica_pages.has_replica", return_value=True)
        )

    def ask(self, method="GET", page=LIST, response=None, **attributes):
        """Return whether the view of a page reads the replica."""
        request = RequestFactory().generic(method, "/")
        request.resolver_match = SimpleNamespace(view_name=page)
        vars(request).update(attributes)
        found = []

        def get_response(request):
            middleware.process_view(request, None, (), {})
            found.append(current_reading.get() is not None)
            return response or HttpResponse()

        middleware = ReplicaMiddleware(get_response)
        self.response = middleware(request)
        self.assertIsNone(current_reading.get())
        return found[0]

    def test_is_not_used_without_a_replica(self):
        with (
            mock.patch("orgadmin.access.replica_pages.has_replica", return_value=False),
            self.assertRaises(MiddlewareNotUsed),
        ):
            ReplicaMiddleware(mock.Mock())

    def test_lists_search_history_and_exports_read_the_replica(self):
        for page in PAGES:
            for method in ("GET", "HEAD"):
                with self.subTest(page=page, method=method):
                    self.assertTrue(self.ask(method, page))

    @tag("D90")
    def test_everything_else_reads_the_primary(self):
        others = [
            {"method": "POST"},
            {"method": "OPTIONS"},
            {"page": "admin:orgadmin_organization_change"},
            {"page": "admin:account"},
            {"page": "admin:login"},
            {"page": ""},
            {"viewing": object()},
        ]
        for request in others:
            with self.subTest(request=request):
                self.assertFalse(self.ask(**request))
        self.choose.assert_not_called()

    @tag("D90")
    def test_reads_the_primary_if_the_replica_is_no_choice(self):
        for choice in (Choice.BEHIND, Choice.DOWN):
            self.choose.return_value = choice
            self.assertFalse(self.ask())

    def test_the_pages_exist(self):
        _prefix, resolver = get_resolver().namespace_dict["admin"]
        names = {f"admin:{name}" for name in resolver.reverse_dict}
        self.assertEqual(PAGES - names, set())

    def test_a_download_reads_the_replica_while_it_is_sent(self):
        found = []

        def make_parts():
            for number in range(3):
                found.append(current_reading.get() is not None)
                yield str(number)

        self.ask(response=StreamingHttpResponse(make_parts()))
        self.assertEqual(self.response.getvalue(), b"012")
        self.assertEqual(found, [True] * 3)
        self.assertIsNone(current_reading.get())

    @tag("D90")
    def test_a_download_asks_again_whether_it_may(self):
        found = []

        def make_parts():
            for number in range(4):
                found.append(current_reading.get().is_over)
                yield str(number)

        self.choose.side_effect = [Choice.BEHIND, Choice.REPLICA, Choice.BEHIND]
        clock = FakeTime()
        with mock.patch("orgadmin.access.replica_pages.time", clock):
            for _part in stream(make_parts()):
                clock.now += ASK_AGAIN_AFTER * 0.7
        self.assertEqual(found, [True, True, False, False])


class DeployCheckTests(SimpleTestCase):
    """What `doctor --deploy` says about the replica."""

    def check(self, standby):
        """Return the level and the text of the finding about the replica."""
        configured = mock.patch.object(replica, "has_replica", return_value=True)
        commits = mock.patch.object(deploy_check, "check_commits", return_value=[])
        timer = mock.patch.object(deploy_check, "time", FakeTime())
        with states(standby=standby), configured, commits, timer:
            [finding] = deploy_check.check_replica()
        self.assertEqual(finding.check, "replica")
        return finding.level, finding.text

    def test_says_nothing_without_a_replica(self):
        self.assertEqual(list(deploy_check.check_replica()), [])

    def test_says_how_long_the_replica_took(self):
        level, text = self.check([BEHIND, BEHIND, STANDBY])
        self.assertEqual(level, Level.OK)
        self.assertEqual(text, "has replayed everything after 10 ms")

    def test_says_why_the_replica_is_of_no_use(self):
        problems = {
            "did not catch up within 5 s": BEHIND,
            "its clock is 60 s slow": replace(
                STANDBY, clock=NOON - timedelta(seconds=60)
            ),
            "not a standby": replace(STANDBY, is_standby=False),
            "another database server": replace(STANDBY, system=8),
            "on timeline 1, and the primary on 2": replace(STANDBY, timeline=1),
            "connection refused": OperationalError("connection refused"),
        }
        for expected, standby in problems.items():
            with self.subTest(expected):
                level, text = self.check(standby)
                self.assertEqual(level, Level.ERROR)
                self.assertIn(expected, text)


class ReplicaUrlTests(SimpleTestCase):
    def test_there_is_none_by_default(self):
        self.assertIsNone(env.parse_replica("", primary=SQLITE))

    def test_sqlite_has_no_replicas(self):
        for url, primary in ((URL, SQLITE), ("sqlite:///copy", POSTGRES)):
            with self.assertRaises((ValueError, ImproperlyConfigured)):
                env.parse_replica(url, primary=primary)

    def test_tests_would_use_the_primary(self):
        database = env.parse_replica(URL, primary=POSTGRES)
        self.assertEqual(database["TEST"], {"MIRROR": DEFAULT_DB_ALIAS})
