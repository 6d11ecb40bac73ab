"""Writing, sealing and verifying the audit log."""

import io
import json
import logging
from unittest import mock, skipUnless

from django.db import DatabaseError, NotSupportedError, connection, transaction
from django.test import TransactionTestCase, tag
from django.utils import timezone

from orgadmin.access import audit_log
from orgadmin.access.audit_log import SecurityEvent, record, record_all
from orgadmin.logs import LogFormatter
from orgadmin.models import AuditEvent, SentForm
from tests.auditing import tamper_with_audit_log
from tests.factories import create_superuser, create_user
from tests.log_capture import lines_sent_to
from tests.scratch import scratch_database

EVENTS = 15  # of each thread

# Threads of one process write events, some of which are rolled back.
WRITE_EVENTS = f"""
import threading
from django.db import connection, transaction
from orgadmin.access.audit_log import SecurityEvent, record

def write():
    for number in range({EVENTS}):
        with transaction.atomic():
            record(SecurityEvent.EXPORTED, details={{"number": number}})
        try:
            with transaction.atomic():
                record(SecurityEvent.IMPORTED)
                raise ValueError
        except ValueError:
            pass
    connection.close()

threads = [threading.Thread(target=write) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""

# The process is killed after the commit, before it can seal the event.
KILL_BEFORE_SEALING = """
import os, signal
from django.db import transaction
from orgadmin.access.audit_log import SecurityEvent, record

with transaction.atomic():
    transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
    record(SecurityEvent.EXPORTED)
"""

PRINT_CHAIN = """
from orgadmin.access import audit_log
from orgadmin.models import AuditEvent

events = AuditEvent.objects.order_by("position")
print(events.filter(position=None).count())
print(list(events.exclude(position=None).values_list("position", flat=True)))
print(events.filter(event="imported").count())
print(list(audit_log.verify()))
"""


class ConcurrencyTests(TransactionTestCase):
    """Processes that write and seal events at the same time."""

    def test_many_writers_leave_one_chain_without_gaps(self):
        with scratch_database() as scratch:
            processes = [scratch.start(WRITE_EVENTS) for _ in range(4)]
            for process in processes:
                _, errors = process.communicate()
                self.assertEqual((process.returncode, errors), (0, ""))
            lines = scratch.run(PRINT_CHAIN).splitlines()
        total = 4 * 4 * EVENTS
        positions = list(range(1, total + 1))
        self.assertEqual(lines, ["0", str(positions), "0", "[]"])

    def test_the_next_event_seals_what_a_killed_process_left(self):
        with scratch_database() as scratch:
            process = scratch.start(KILL_BEFORE_SEALING)
            process.communicate()
            self.assertLess(process.returncode, 0)
            before = scratch.run(PRINT_CHAIN).splitlines()
            self.assertEqual(before, ["1", "[]", "0", "[]"])
            scratch.run(
                "from orgadmin.access.audit_log import SecurityEvent, record\n"
                "record(SecurityEvent.EXPORTED)"
            )
            after = scratch.run(PRINT_CHAIN).splitlines()
        self.assertEqual(after, ["0", "[1, 2]", "0", "[]"])


class SealingTests(TransactionTestCase):
    def write_pending(self, count):
        """Write events as a process does that is killed before it seals them."""
        with mock.patch("orgadmin.access.audit_log.publish"):
            record_all(SecurityEvent.EXPORTED, [None] * count)

    def test_a_transaction_that_is_rolled_back_leaves_nothing(self):
        with self.assertRaises(ValueError), transaction.atomic():
            record(SecurityEvent.EXPORTED)
            raise ValueError
        record(SecurityEvent.IMPORTED)
        event = AuditEvent.objects.get()
        self.assertEqual((event.event, event.position), (SecurityEvent.IMPORTED, 1))

    def test_many_pending_events_are_sealed_in_batches(self):
        self.write_pending(20_000)
        with mock.patch(
            "orgadmin.access.audit_log.seal", side_effect=audit_log.seal
        ) as seal:
            record(SecurityEvent.EXPORTED)
        self.assertEqual(seal.call_count, 21)
        self.assertFalse(audit_log.find_unsealed().exists())
        self.assertEqual(audit_log.find_last().position, 20_001)
        self.assertEqual(list(audit_log.verify()), [])

    def test_sealing_takes_as_many_queries_for_many_events(self):
        self.write_pending(500)
        queries = 4 if connection.vendor == "postgresql" else 3
        # In addition, BEGIN and COMMIT or a savepoint.
        with self.assertNumQueries(queries + 2):
            audit_log.seal()

    def test_does_not_wait_if_there_is_nothing_to_seal(self):
        with self.assertNumQueries(1):
            self.assertEqual(audit_log.publish(), 0)

    def test_an_error_while_sealing_does_not_reach_the_request(self):
        with (
            mock.patch("orgadmin.access.audit_log.seal", side_effect=DatabaseError),
            self.assertLogs("django.db.backends.base", "ERROR"),
        ):
            record(SecurityEvent.EXPORTED)
        self.assertEqual(AuditEvent.objects.get().position, None)
        record(SecurityEvent.EXPORTED)
        self.assertEqual(list(audit_log.verify()), [])
        self.assertFalse(audit_log.find_unsealed().exists())

    def test_a_listener_that_fails_does_not_silence_the_others(self):
        heard = []

        def fail(event):
            raise ValueError("secret")

        listeners = [fail, heard.append]
        with (
            mock.patch.object(audit_log, "listeners", listeners),
            self.assertLogs("orgadmin.audit", "ERROR"),
        ):
            record_all(SecurityEvent.EXPORTED, [None, None])
        self.assertEqual([event.position for event in heard], [1, 2])

    def test_what_a_listener_writes_is_sealed_with_the_event_or_not_at_all(self):
        def write(event):
            SentForm.objects.create(key=str(event.pk))

        def write_and_be_killed(event):
            write(event)
            raise KeyboardInterrupt

        with mock.patch.object(audit_log, "listeners", [write_and_be_killed]):
            with self.assertRaises(KeyboardInterrupt):
                record(SecurityEvent.EXPORTED)
        self.assertEqual(SentForm.objects.count(), 0)
        self.assertEqual(audit_log.find_unsealed().count(), 1)
        with mock.patch.object(audit_log, "listeners", [write]):
            record(SecurityEvent.EXPORTED)
        self.assertEqual(SentForm.objects.count(), 2)
        self.assertFalse(audit_log.find_unsealed().exists())


@tag("G2")
class ChainTests(TransactionTestCase):
    def setUp(self):
        self.user = create_user()
        create_superuser()
        self.user.changed_by = self.user
        self.user.set_password("other")
        self.user.save()

    def test_seals_each_event_after_the_commit(self):
        events = AuditEvent.objects.order_by("position")
        self.assertEqual([event.position for event in events], [1, 2, 3])
        self.assertEqual(list(audit_log.verify()), [])

    def test_notices_a_changed_event(self):
        tamper_with_audit_log(
            "UPDATE orgadmin_auditevent SET user_key = 7 WHERE position = 2"
        )
        problems = [problem.position for problem in audit_log.verify()]
        self.assertEqual(problems, [2])

    def test_notices_a_removed_event(self):
        tamper_with_audit_log("DELETE FROM orgadmin_auditevent WHERE position = 2")
        problems = [problem.position for problem in audit_log.verify()]
        self.assertEqual(problems, [2])

    def test_a_name_can_be_erased(self):
        tamper_with_audit_log("UPDATE orgadmin_auditevent SET user_name = 'erased'")
        self.assertEqual(list(audit_log.verify()), [])

    def test_seals_what_an_interrupted_process_left(self):
        tamper_with_audit_log(
            "UPDATE orgadmin_auditevent SET position = NULL, hash = ''"
            " WHERE position = 3"
        )
        self.user.is_staff = True
        self.user.save()
        self.assertEqual(AuditEvent.objects.filter(position=None).count(), 0)
        self.assertEqual(list(audit_log.verify()), [])


@tag("G2")
class TamperingTests(TransactionTestCase):
    def setUp(self):
        record_all(SecurityEvent.EXPORTED, [None] * 5)

    def list_problems(self):
        return [(problem.position, problem.text) for problem in audit_log.verify()]

    def test_notices_each_kind_of_change(self):
        changes = {
            "user_key": "9",
            "actor_key": "9",
            "event": "'signed in'",
            "at": "'2020-01-01 00:00:00+00:00'",
            "details": '\'{"content": "other"}\'',
            "network": "'192.0.2.0/24'",
            "request_id": "'other'",
            "hash": "'other'",
        }
        for column, value in changes.items():
            with self.subTest(column), transaction.atomic():
                tamper_with_audit_log(
                    f"UPDATE orgadmin_auditevent SET {column} = {value}"
                    " WHERE position = 3"
                )
                self.assertIn((3, "the event was changed"), self.list_problems())
                transaction.set_rollback(True)

    def test_notices_events_that_were_removed(self):
        tamper_with_audit_log(
            "DELETE FROM orgadmin_auditevent WHERE position IN (2, 3)"
        )
        self.assertEqual(self.list_problems(), [(2, "events 2 to 3 are missing")])

    def test_notices_an_event_that_was_inserted_before_the_first(self):
        tamper_with_audit_log(
            "UPDATE orgadmin_auditevent SET position = -1 WHERE position = 5"
        )
        self.assertIn((-1, "the event was inserted"), self.list_problems())

    def test_reads_the_log_in_batches(self):
        with mock.patch.object(audit_log, "BATCH", 2), self.assertNumQueries(3):
            self.assertEqual(self.list_problems(), [])

    def test_neither_instances_nor_querysets_change_events(self):
        event = AuditEvent.objects.first()
        for change in (
            event.save,
            event.delete,
            AuditEvent.objects.all().delete,
            lambda: AuditEvent.objects.update(user_key=7),
            lambda: AuditEvent.objects.bulk_update([event], ["user_key"]),
        ):
            with self.assertRaises(NotSupportedError):
                change()

    @skipUnless(connection.vendor == "postgresql", "The trigger is for PostgreSQL.")
    def test_the_trigger_refuses_what_is_not_sealing_or_erasing(self):
        table = "orgadmin_auditevent"
        refused = [
            f"DELETE FROM {table} WHERE position = 2",
            f"UPDATE {table} SET user_key = 7 WHERE position = 2",
            f"UPDATE {table} SET position = NULL WHERE position = 2",
            f"UPDATE {table} SET position = 77 WHERE position = 2",
            f"UPDATE {table} SET hash = 'x' WHERE position = 2",
            f"UPDATE {table} SET user_name = 'x' WHERE position = 2",
        ]
        for statement in refused:
            with self.subTest(statement), self.assertRaises(DatabaseError):
                self.execute(statement)
        self.execute(
            "SET LOCAL orgadmin.erasing = 'on'",
            f"UPDATE {table} SET user_name = 'x' WHERE position = 2",
        )
        with self.assertRaises(DatabaseError):
            self.execute(
                "SET LOCAL orgadmin.erasing = 'on'",
                f"UPDATE {table} SET user_key = 7 WHERE position = 2",
            )

    def execute(self, *statements):
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


class LogLineTests(TransactionTestCase):
    """What the service's log contains about each event."""

    def setUp(self):
        self.stream = io.StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(LogFormatter(["levelname", "name", "message"]))
        self.enterContext(lines_sent_to(handler, "orgadmin.audit"))

    def read_lines(self):
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    @tag("G5", "D17")
    def test_is_a_line_with_keys_and_the_hash_and_without_names(self):
        zoe = create_user("zoe-quist", email="zoe@example.com")
        zoe.changed_by = zoe
        zoe.email = "quist@example.com"
        with mock.patch(
            "orgadmin.access.audit_log.get_origin",
            return_value=mock.Mock(network="192.0.2.0/24", request_id="r" * 32),
        ):
            zoe.save()
        line = self.read_lines()[-1]
        event = AuditEvent.objects.get(event=SecurityEvent.EMAIL_CHANGED)
        self.assertEqual(line["message"], "email changed")
        self.assertEqual(line["user_key"], zoe.pk)
        self.assertEqual(line["actor_key"], zoe.pk)
        self.assertEqual(line["network"], "192.0.2.0/24")
        self.assertEqual(line["audit_position"], event.position)
        self.assertEqual(line["audit_hash"], event.hash)
        self.assertEqual(line["audit_request"], "r" * 32)
        self.assertNotRegex(self.stream.getvalue().lower(), "zoe|quist|example")

    @tag("G5")
    def test_the_lines_alone_are_enough_to_verify_the_chain(self):
        create_user("anna", is_staff=True)
        record(SecurityEvent.IMPORTED, details={"created": 3, "sha256": "abc"})
        previous_hash = ""
        lines = self.read_lines()
        self.assertEqual(len(lines), 2)
        for line in lines:
            event = AuditEvent(
                position=line["audit_position"],
                at=timezone.datetime.fromisoformat(line["audit_at"]),
                event=line["message"],
                user_key=line["user_key"],
                actor_key=line["actor_key"],
                details=line["details"],
                network=line["network"],
                request_id=line["audit_request"],
            )
            computed = audit_log.compute_hash(event, previous_hash)
            self.assertEqual(line["audit_hash"], computed)
            previous_hash = computed

    def test_each_event_is_one_line_in_the_order_of_the_chain(self):
        record_all(SecurityEvent.EXPORTED, [None] * 3)
        positions = [line["audit_position"] for line in self.read_lines()]
        self.assertEqual(positions, [1, 2, 3])
