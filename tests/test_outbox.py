"""The outbox: mail that waits for a worker, is tried again, and is never lost."""

import io
import json
import signal
import time
from contextlib import nullcontext
from datetime import timedelta
from smtplib import (
    SMTPDataError,
    SMTPRecipientsRefused,
    SMTPSenderRefused,
    SMTPServerDisconnected,
)
from unittest import mock

from django.core import mail
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.test import TestCase, TransactionTestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_tasks.base import Task
from django_tasks_db.models import DBTaskResult

from orgadmin.access.audit_log import SecurityEvent
from orgadmin.accounts import (
    confirm_email,
    new_email,
    password_link,
    reset_mail,
    set_up_link,
)
from orgadmin.models import Invitation, MailWorker, Organization
from orgadmin.people import (
    bulk_jobs,
    end_mail,
    invitations,
    mail as people_mail,
    outbox,
    request_mail,
    review_items,
    review_mail,
    security_mail,
    unsent,
)
from orgadmin.people.mail import tell_member
from orgadmin.people.offboarding import offboard
from orgadmin.people.worker import (
    KEPT_FOR,
    LEASE,
    MAX_ATTEMPTS,
    PAUSES,
    WORKER_KEPT_FOR,
    Worker,
    run_task,
)
from orgadmin.records import import_jobs
from tests.auditing import write
from tests.factories import (
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    run_doctor,
    set_role,
)
from tests.killing import prepare, send_and_kill, start_worker
from tests.mail_server import run_mail_server
from tests.mailing import (
    fail_to_send,
    keep_connection,
    queues_mail,
    send_invitation,
    sends_mail_after_commit,
    work,
    work_later,
)
from tests.scratch import Scratch, scratch_database

REFUSED = SMTPRecipientsRefused({"new@example.com": (550, b"5.1.1 no such mailbox")})
BUSY = SMTPRecipientsRefused({"new@example.com": (450, b"try again later")})
HOME = "/admin/"
PAGE = "/admin/unsent-mail/"
REQUEST = "/admin/password_reset/"


class OutboxMixin:
    def setUp(self):
        self.enterContext(queues_mail())
        self.root = create_superuser("root", email="root@example.com")
        self.acme = create_organization("Acme")
        DBTaskResult.objects.all().delete()

    def invite(self, email="new@example.com"):
        invitation = invitations.invite(self.acme, email, REVIEWER, actor=self.root)
        send_invitation(invitation)
        return invitation

    def give_up(self, email="new@example.com", error=REFUSED):
        """Make a worker give up an email to an address."""
        self.invite(email)
        with fail_to_send(error), self.assertLogs("orgadmin.mail", "ERROR"):
            work()


class TransactionTests(OutboxMixin, TransactionTestCase):
    """Mail is added in the transaction of the change that it is about."""

    @override_settings(NOTIFY_PEOPLE=True)
    def change_role(self):
        anna = create_user("anna", email="anna@example.com")
        set_role(self.acme, [anna], REVIEWER)

    @tag("J1")
    def test_no_mail_is_sent_about_a_change_that_was_undone(self):
        with self.assertRaises(KeyError), transaction.atomic():
            self.change_role()
            raise KeyError
        self.assertEqual(work(), 0)

    @tag("J1")
    def test_mail_exists_as_soon_as_the_change_does(self):
        # What runs after the commit is lost if the process is killed.
        with mock.patch.object(connection, "run_and_clear_commit_hooks"):
            self.change_role()
        connection.run_on_commit = []
        work()
        self.assertEqual(
            [message.to for message in mail.outbox], [["anna@example.com"]]
        )

    def test_without_a_worker_mail_is_sent_after_the_commit(self):
        with sends_mail_after_commit():
            with transaction.atomic():
                self.change_role()
                self.assertEqual(mail.outbox, [])
            self.assertEqual(len(mail.outbox), 1)

    def test_security_mail_is_added_with_the_seal_of_the_event(self):
        with mock.patch("orgadmin.access.audit_log.publish"):
            write(SecurityEvent.PASSWORD_CHANGED, user=self.root)
        self.assertEqual(work(), 0)
        write(SecurityEvent.EXPORTED)
        self.assertEqual(work(), 1)
        self.assertEqual(mail.outbox[0].subject, "Your password was changed")


class TaskTests(OutboxMixin, TestCase):
    """What the outbox stores, and what a task sends."""

    def test_many_tasks_are_added_at_once_like_one(self):
        values = [{"user": pk, "review": 7} for pk in (1, 2)]
        for row in values:
            outbox.enqueue(review_mail.ask_to_review, **row)
        with self.assertNumQueries(1):
            outbox.enqueue_all(review_mail.ask_to_review, values)
        stored = DBTaskResult.objects.order_by("enqueued_at")
        one_by_one, at_once = [], []
        for number, row in enumerate(stored.values()):
            del row["id"], row["enqueued_at"]
            (one_by_one if number < 2 else at_once).append(row)
        self.assertCountEqual(at_once, one_by_one)

    def test_without_a_worker_many_tasks_run_after_the_commit(self):
        values = [{"user": pk, "review": 7} for pk in (1, 2)]
        with sends_mail_after_commit():
            with self.captureOnCommitCallbacks() as callbacks:
                outbox.enqueue_all(review_mail.ask_to_review, values)
        self.assertEqual(len(callbacks), 2)

    @tag("J2")
    def test_tasks_hold_keys_and_no_secrets(self):
        user = create_user("anna", email="anna@example.com", admin_of=[self.acme])
        self.client.force_login(user)
        self.invite()
        self.client.post("/admin/confirm-email/")
        self.client.post("/admin/second-factor/set-up/")
        self.client.post(REQUEST, {"email": "anna@example.com"})
        stored = {
            row.task_path.rpartition(".")[2]: sorted(outbox.get_values(row))
            for row in DBTaskResult.objects.filter(task_path__contains="accounts")
        }
        self.assertEqual(stored["answer_request"], ["address", "language"])
        texts = json.dumps(list(DBTaskResult.objects.values_list("args_kwargs")))
        for secret in (
            "http",
            "/admin/",
            user.password,
            Invitation.objects.get().email,
        ):
            self.assertNotIn(secret, texts)
        self.assertEqual(texts.count("anna@example.com"), 1)

    @tag("J2")
    def test_what_was_typed_is_deleted_once_it_is_answered(self):
        self.client.post(REQUEST, {"email": "nobody@example.com"})
        work()
        self.assertEqual(DBTaskResult.objects.count(), 0)

    def test_every_task_has_a_name_for_superusers(self):
        modules = (
            bulk_jobs,
            confirm_email,
            end_mail,
            import_jobs,
            new_email,
            password_link,
            people_mail,
            request_mail,
            reset_mail,
            review_items,
            review_mail,
            security_mail,
            set_up_link,
        )
        paths = set()
        for module in modules:
            for value in vars(module).values():
                if isinstance(value, Task):
                    paths.add(value.module_path)
        self.assertEqual(paths, set(unsent.KINDS))

    @override_settings(NOTIFY_PEOPLE=False)
    def test_each_recipient_has_a_task_of_their_own(self):
        for name in ("ada", "bert"):
            create_user(name, email=f"{name}@example.com", admin_of=[self.acme])
        with override_settings(NOTIFY_ADMINS=True):
            set_role(self.acme, [create_user("anna")], REVIEWER)
        with fail_to_send([None, ConnectionResetError()]):
            work()
        work_later()
        work_later()
        self.assertEqual(DBTaskResult.objects.count(), 0)

    @override_settings(NOTIFY_PEOPLE=False)
    def test_someone_who_is_no_longer_an_admin_learns_nothing(self):
        ada = create_user("ada", email="ada@example.com", admin_of=[self.acme])
        with override_settings(NOTIFY_ADMINS=True):
            set_role(self.acme, [create_user("anna")], REVIEWER)
        set_role(self.acme, [ada], REVIEWER)
        work()
        self.assertEqual(mail.outbox, [])

    @override_settings(NOTIFY_PEOPLE=True, NOTIFY_ADMINS=True)
    def test_platform_staff_stay_anonymous_if_they_left_in_the_meantime(self):
        sue = create_superuser("sue", email="sue@example.com")
        sue.verify_email()
        create_user("ada", email="ada@example.com", admin_of=[self.acme])
        anna = create_user("anna", email="anna@example.com")
        set_role(self.acme, [anna], REVIEWER, actor=sue)
        offboard(sue, actor=self.root)
        work()
        bodies = [message.body for message in mail.outbox if "Acme" in message.body]
        self.assertEqual(len(bodies), 2)
        for body in bodies:
            self.assertIn("Platform staff gave", body)
            self.assertNotRegex(body, r"\bsue\b")

    @override_settings(NOTIFY_PEOPLE=True)
    def test_who_left_does_not_learn_what_the_organization_is_called_now(self):
        anna = create_user("anna", email="anna@example.com", reviewer_of=[self.acme])
        set_role(self.acme, [anna], None)
        Organization.objects.filter(pk=self.acme.pk).update(name="Secret merger")
        work()
        [message] = [sent for sent in mail.outbox if sent.to == [anna.email]]
        self.assertIn("“Acme”", message.body)
        self.assertNotIn("Secret merger", message.body)

    def test_an_urgent_message_overtakes_those_of_an_import(self):
        create_user("anna", email="anna@example.com")
        for number in range(3):
            self.invite(f"person-{number}@example.com")
        self.client.post(REQUEST, {"email": "anna@example.com"})
        work()
        self.assertEqual(mail.outbox[0].to, ["anna@example.com"])

    def test_the_message_is_in_the_language_of_the_request(self):
        german = {"accept-language": "de"}
        create_user("anna", email="anna@example.com")
        self.client.post(REQUEST, {"email": "anna@example.com"}, headers=german)
        work()
        self.assertIn("Passwort", mail.outbox[0].body)


class RetryTests(OutboxMixin, TestCase):
    @tag("J1")
    def test_temporary_errors_are_tried_again_for_a_day(self):
        for error in (
            None,
            BUSY,
            TimeoutError(),
            SMTPServerDisconnected(),
            SMTPSenderRefused(550, b"not you", "orgadmin@example.com"),
            SMTPDataError(451, b"later"),
        ):
            with self.subTest(error):
                self.invite()
                pauses = []
                with fail_to_send(error):
                    work()
                    while DBTaskResult.objects.filter(status="READY").exists():
                        stored = DBTaskResult.objects.get()
                        pauses.append(stored.run_after - timezone.now())
                        self.assertEqual(work(), 0)
                        work_later()
                seconds = [round(pause.total_seconds()) for pause in pauses]
                expected = [round(pause.total_seconds()) for pause in PAUSES]
                for actual, wanted in zip(seconds, expected, strict=True):
                    self.assertAlmostEqual(actual, wanted, delta=10)
                self.assertEqual(DBTaskResult.objects.get().status, "FAILED")
                DBTaskResult.objects.all().delete()
        self.assertGreater(sum(PAUSES, timedelta()), timedelta(hours=24))

    @tag("J1")
    def test_a_refusal_for_good_is_given_up_at_once_and_named(self):
        for error in (REFUSED, SMTPDataError(554, b"no spam here")):
            with self.subTest(error):
                self.give_up(error=error)
                stored = DBTaskResult.objects.get()
                self.assertEqual(stored.status, "FAILED")
                self.assertIn("no s", stored.traceback)
                DBTaskResult.objects.all().delete()

    def test_an_error_in_the_code_is_logged_and_tried_again(self):
        self.invite()
        broken = mock.patch(
            "orgadmin.people.mail.write_message", side_effect=KeyError("x@example.com")
        )
        with broken, self.assertLogs("orgadmin.mail", "ERROR") as logs:
            work()
        self.assertIn("KeyError", logs.output[0])
        stored = DBTaskResult.objects.get()
        self.assertEqual(
            (stored.status, stored.traceback), ("READY", "builtins.KeyError")
        )

    def test_a_task_of_another_release_waits(self):
        self.invite()
        DBTaskResult.objects.update(task_path="orgadmin.people.mail.send_pigeons")
        with self.assertLogs("orgadmin.mail", "ERROR"):
            work()
        self.assertEqual(DBTaskResult.objects.get().status, "READY")

    @tag("D17")
    def test_the_log_has_no_addresses(self):
        with self.assertLogs("orgadmin.mail") as logs:
            for error in (REFUSED, BUSY, None):
                self.invite()
                with fail_to_send(error) if error else nullcontext():
                    work()
        for record in logs.records:
            self.assertNotIn("example.com", str(record.__dict__))
        self.assertEqual(
            [record.getMessage() for record in logs.records],
            [
                "A task of the outbox was given up.",
                "A task of the outbox failed, and will be tried again.",
                "A task of the outbox is done.",
            ],
        )

    @tag("J1")
    def test_both_messages_of_a_task_that_runs_twice_are_the_same(self):
        self.invite()
        first = DBTaskResult.objects.get()
        work()
        first.save(force_insert=True)
        work()
        ids = [message.extra_headers["Message-ID"] for message in mail.outbox]
        self.assertEqual(ids, [f"<{first.pk}@127.0.0.1>"] * 2)
        self.assertEqual(mail.outbox[0].body, mail.outbox[1].body)


class WorkerTests(OutboxMixin, TestCase):
    def leave_task(self, age):
        """Leave a task as a worker does that was killed some time ago."""
        self.invite()
        stored = Worker().take()
        stored.started_at = timezone.now() - age
        stored.save()
        return stored

    @tag("J1")
    def test_a_task_that_a_killed_worker_left_is_run_again(self):
        self.leave_task(LEASE - timedelta(seconds=30))
        self.assertEqual(work(), 0)
        DBTaskResult.objects.update(started_at=timezone.now() - LEASE)
        self.assertEqual(work(), 1)
        self.assertEqual(len(mail.outbox), 1)

    def test_a_task_that_kills_its_worker_is_given_up(self):
        for _attempt in range(MAX_ATTEMPTS):
            stored = Worker().take() or self.leave_task(LEASE)
            DBTaskResult.objects.update(started_at=timezone.now() - LEASE)
            Worker().do_periodic_work()
        work()
        stored.refresh_from_db()
        self.assertEqual(stored.status, "FAILED")
        self.assertIn("killed", stored.traceback)

    def test_a_slow_worker_does_not_change_a_task_that_another_one_took(self):
        stored = self.leave_task(LEASE * 2)
        Worker().do_periodic_work()
        other = Worker().take()
        with fail_to_send(REFUSED):
            run_task(stored)
        other.refresh_from_db()
        self.assertEqual(other.status, "RUNNING")

    def test_mail_that_was_given_up_is_deleted_after_a_month(self):
        self.give_up()
        DBTaskResult.objects.update(finished_at=timezone.now() - KEPT_FOR)
        MailWorker.objects.update(seen_at=timezone.now() - WORKER_KEPT_FOR)
        worker = Worker()
        worker.send_heartbeat()
        worker.do_periodic_work()
        self.assertEqual(DBTaskResult.objects.count(), 0)
        self.assertEqual(MailWorker.objects.get().name, worker.name)

    def test_a_worker_goes_on_when_the_database_is_back(self):
        worker = Worker()
        answers = [OperationalError("gone"), None]

        def take():
            answer = answers.pop(0)
            if answer is None:
                worker.stop()
                return
            raise answer

        with (
            mock.patch.object(worker, "take", take),
            mock.patch("orgadmin.people.worker.POLL", 0),
            keep_connection(),
            self.assertLogs("orgadmin.mail", "ERROR"),
        ):
            worker.run()
        self.assertEqual(answers, [])

    def test_the_command_sends_what_is_due(self):
        self.invite()
        out = io.StringIO()
        with keep_connection():
            call_command("worker", "--once", stdout=out)
        self.assertEqual(out.getvalue(), "Ran 1 task.\n")
        self.assertEqual(len(mail.outbox), 1)
        with sends_mail_after_commit(), self.assertRaises(CommandError):
            call_command("worker", "--once")


class KilledWorkerTests(TransactionTestCase):
    @tag("J1")
    def test_no_mail_is_lost_when_workers_are_killed(self):
        with scratch_database() as database:
            # Workers are processes with settings of their own, not forks.
            scratch = Scratch(database.environment["DATABASE_URL"])
            outcome = send_and_kill(scratch, mails=50, kills=4, end_leases=True)
        self.assertEqual((outcome.arrived, outcome.left), (50, 0))
        self.assertLessEqual(outcome.duplicates, 4)
        self.assertEqual(outcome.recognizable, outcome.duplicates)

    def test_a_worker_finishes_its_message_before_it_stops(self):
        with scratch_database() as database, run_mail_server() as server:
            scratch = Scratch(database.environment["DATABASE_URL"])
            prepare(scratch, server)
            worker = start_worker(scratch)
            while (
                scratch.run(
                    "from orgadmin.models import MailWorker\n"
                    "print(MailWorker.objects.count())"
                ).strip()
                == "0"
            ):
                time.sleep(0.2)
            worker.send_signal(signal.SIGTERM)
            output, errors = worker.communicate(timeout=60)
        self.assertEqual(worker.returncode, 0, errors)
        self.assertEqual(output, "Ran 0 tasks.\n")


class TroubleTests(OutboxMixin, TestCase):
    """Superusers learn that mail is not sent."""

    def setUp(self):
        super().setUp()
        self.client.force_login(self.root)
        work()

    def read_main(self):
        """Return the home page without the navigation, which links to the mail."""
        return self.client.get(HOME).content.decode().partition('id="content"')[2]

    def assert_trouble(self, text):
        self.assertIn(text, self.read_main())
        self.assertIn(PAGE, self.read_main())

    def test_nothing_is_said_while_mail_is_sent(self):
        self.assertNotIn(PAGE, self.read_main())

    @tag("J3")
    def test_a_stopped_worker(self):
        MailWorker.objects.update(seen_at=timezone.now() - unsent.MAX_SILENCE)
        self.assert_trouble("no worker is running")
        MailWorker.objects.all().delete()
        self.assert_trouble("no worker is running")

    @tag("J3")
    def test_mail_that_waits_for_a_long_time(self):
        self.invite()
        self.assertNotIn(PAGE, self.read_main())
        DBTaskResult.objects.update(enqueued_at=timezone.now() - unsent.LATE_AFTER)
        self.assert_trouble("waiting to be sent")

    @tag("J3")
    def test_mail_that_was_given_up(self):
        self.give_up()
        self.assert_trouble("<strong>1</strong> email that could not be sent")

    def test_it_costs_superusers_one_query_and_others_none(self):
        with self.assertNumQueries(1):
            unsent.find_state()
        ada = create_user("ada", admin_of=[self.acme])
        for user, number in ((self.root, 1), (ada, 0)):
            self.client.force_login(user)
            # The first request fills Django's cache of content types.
            self.client.get(HOME)
            with CaptureQueriesContext(connection) as with_worker:
                self.client.get(HOME)
            with (
                sends_mail_after_commit(),
                CaptureQueriesContext(connection) as without,
            ):
                self.client.get(HOME)
            self.assertEqual(len(with_worker) - len(without), number)

    def test_others_do_not_see_it(self):
        MailWorker.objects.all().delete()
        self.client.force_login(create_user("ada", admin_of=[self.acme]))
        self.assertNotContains(self.client.get(HOME), "no worker is running")
        self.assertEqual(self.client.get(PAGE).status_code, 404)

    @tag("J3")
    def test_the_doctor_says_what_to_do(self):
        self.give_up()
        self.invite("late@example.com")
        DBTaskResult.objects.update(enqueued_at=timezone.now() - unsent.LATE_AFTER)
        MailWorker.objects.update(seen_at=timezone.now() - unsent.MAX_SILENCE)
        for options in ([], ["--fix"]):
            status, text = run_doctor(*options)
            self.assertEqual(status, 1)
            for finding in (
                "error: stopped worker: no worker has reported since",
                "error: late mail: messages that wait to be sent: 1; the oldest for 15",
                "error: unsent mail: messages that were given up: 1",
                "Start the worker",
                "Look in the worker's log",
                "Open “Unsent emails”",
            ):
                self.assertIn(finding, text)
            self.assertNotIn("doctor --fix", text)


class UnsentMailPageTests(OutboxMixin, TestCase):
    def setUp(self):
        super().setUp()
        self.client.force_login(self.root)
        self.give_up()

    def test_lists_what_was_given_up(self):
        response = self.client.get(PAGE)
        for text in ("Invitation", "new@example.com", "5.1.1 no such mailbox"):
            self.assertContains(response, text)

    def test_sends_it_again(self):
        key = DBTaskResult.objects.get().pk
        response = self.client.post(PAGE, {"message": key, "again": ""}, follow=True)
        self.assertContains(response, "1 email is on its way again.")
        with fail_to_send(BUSY):
            work()
        # It has all attempts again.
        self.assertEqual(len(DBTaskResult.objects.get().worker_ids), 1)
        work_later()
        self.assertEqual(mail.outbox[0].to, ["new@example.com"])

    def test_discards_it(self):
        key = DBTaskResult.objects.get().pk
        self.give_up("other@example.com")
        page = self.client.post(PAGE, {"message": key, "discard": ""})
        self.assertContains(page, "Discard 1 email?")
        self.assertEqual(DBTaskResult.objects.count(), 2)
        data = {"message": key, "discard": "", "confirmed": "1"}
        response = self.client.post(PAGE, data, follow=True)
        self.assertContains(response, "1 email was discarded.")
        self.assertContains(response, "other@example.com")
        self.assertNotContains(response, "new@example.com")

    def test_all_at_once(self):
        self.give_up("other@example.com")
        self.client.post(PAGE, {"all": "1", "again": ""})
        work()
        self.assertEqual(len(mail.outbox), 2)

    def test_discards_all_at_once_after_it_has_asked(self):
        self.give_up("other@example.com")
        page = self.client.post(PAGE, {"all": "1", "discard": ""})
        self.assertContains(page, "Discard 2 emails?")
        self.assertContains(page, "This cannot be undone.")
        self.assertContains(page, 'name="all" value="1"')
        self.assertEqual(DBTaskResult.objects.count(), 2)
        self.client.post(PAGE, {"all": "1", "discard": "", "confirmed": "1"})
        self.assertEqual(DBTaskResult.objects.count(), 0)

    def test_mail_that_is_not_given_up_cannot_be_discarded(self):
        self.invite("other@example.com")
        key = DBTaskResult.objects.get(status="READY").pk
        for message in (key, "nonsense", ""):
            data = {"message": message, "discard": "", "confirmed": "1"}
            self.client.post(PAGE, data)
        self.assertEqual(DBTaskResult.objects.count(), 2)

    def test_names_the_recipient_of_each_kind(self):
        DBTaskResult.objects.all().delete()
        anna = create_user("anna", email="anna@example.com", admin_of=[self.acme])
        outbox.enqueue(tell_member, person=anna.pk, organization=self.acme.pk, role="")
        self.client.post(REQUEST, {"email": "typed@example.com"})
        write(SecurityEvent.PASSWORD_CHANGED, user=anna, actor=anna)
        with self.captureOnCommitCallbacks(execute=True):
            anna.email = "later@example.com"
            anna.save()
        messages = list(DBTaskResult.objects.all())
        recipients = unsent.Recipients(messages)
        found = {recipients.find(message) for message in messages}
        self.assertLessEqual(
            {"later@example.com", "typed@example.com", "anna@example.com"}, found
        )
