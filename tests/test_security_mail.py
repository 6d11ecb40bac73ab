"""The mail about security events."""

import re
from datetime import timedelta
from unittest import mock

from django.core import mail
from django.db.models import F
from django.test import TransactionTestCase, override_settings, tag
from django.utils import timezone

from orgadmin.access import audit_log
from orgadmin.access.audit_log import SecurityEvent
from orgadmin.accounts.company.refusal_reasons import Reason
from orgadmin.models import AuditEvent, SignInAttempt, User
from orgadmin.people.offboarding import offboard
from orgadmin.people.security_mail import (
    EVENTS_WITH_MAIL,
    OTHER_SUBJECT,
    concerns_person,
    concerns_superusers,
    send_mail_about,
)
from tests.auditing import write
from tests.factories import create_superuser, create_user
from tests.mail_server import run_mail_server
from tests.mailing import fail_to_send, queues_mail, work, work_later

SITE = "https://orgs.example.com"


@override_settings(BASE_URL=SITE, ACCESS_CONTACT="the help desk, help@example.com")
class MailCase(TransactionTestCase):
    def setUp(self):
        self.root = create_superuser("root", email="root@example.com")
        self.anna = create_user("anna", email="anna@example.com")
        mail.outbox.clear()

    def take_sent(self):
        """Return {address: subject} of the new messages, and forget them."""
        sent = {}
        for message in mail.outbox:
            [address] = message.to
            self.assertNotIn(address, sent, "One person got two messages.")
            sent[address] = message.subject
        mail.outbox.clear()
        return sent


@tag("G6")
class PersonTests(MailCase):
    def test_people_get_a_mail_about_each_change_of_their_credentials(self):
        subjects = {
            SecurityEvent.PASSWORD_CHANGED: "Your password was changed",
            SecurityEvent.FACTOR_ADDED: "A second factor was added to your account",
            SecurityEvent.RECOVERY_CODES_CREATED: (
                "New recovery codes were created for your account"
            ),
            SecurityEvent.FACTOR_REMOVED: (
                "A second factor was removed from your account"
            ),
            SecurityEvent.PROVIDER_LINKED: (
                "A company account was linked to your account"
            ),
            SecurityEvent.PROVIDER_UNLINKED: (
                "A company account was unlinked from your account"
            ),
        }
        for event, subject in subjects.items():
            with self.subTest(event):
                write(event, user=self.anna, actor=self.anna)
                self.assertEqual(self.take_sent(), {"anna@example.com": subject})

    def test_people_get_no_mail_about_other_events(self):
        mailed = {
            SecurityEvent.PASSWORD_CHANGED,
            SecurityEvent.EMAIL_CHANGED,
            SecurityEvent.FACTOR_ADDED,
            SecurityEvent.FACTOR_REMOVED,
            SecurityEvent.RECOVERY_CODES_CREATED,
            SecurityEvent.PROVIDER_LINKED,
            SecurityEvent.PROVIDER_UNLINKED,
            SecurityEvent.LOCKED_OUT,
        }
        for event in SecurityEvent:
            row = AuditEvent(
                event=event, user_key=self.anna.pk, actor_key=self.anna.pk, pk=1
            )
            with self.subTest(event):
                self.assertEqual(concerns_person(row), event in mailed)

    def test_no_kind_of_event_with_mail_is_left_out(self):
        """`EVENTS_WITH_MAIL` saves queries for the others."""
        details = {"is_superuser": True, "reason": OTHER_SUBJECT}
        for event in SecurityEvent:
            row = AuditEvent(
                event=event, user_key=self.root.pk, details=details, pk=10**9
            )
            row.at = timezone.now()
            if concerns_person(row) or concerns_superusers(row):
                self.assertIn(event, EVENTS_WITH_MAIL)

    def test_the_mail_says_when_from_where_by_whom_and_what_to_do(self):
        write(SecurityEvent.PASSWORD_CHANGED, user=self.anna, actor=self.anna)
        [message] = mail.outbox
        event = AuditEvent.objects.get(event=SecurityEvent.PASSWORD_CHANGED)
        for text in (
            "By: you",
            "From the network: 192.0.2.0/24",
            f"{event.at:%Y}",
            "(UTC)",
            "If it was not you",
            "Tell the help desk, help@example.com.",
        ):
            self.assertIn(text, message.body)

    def test_the_only_link_is_that_of_the_start_page(self):
        for event in audit_log.ACCOUNT_EVENTS:
            write(
                event,
                user=self.anna,
                actor=self.root,
                personal={"old_email": "a@example.com", "new_email": "b@example.com"},
            )
        self.assertGreater(len(mail.outbox), 5)
        for message in mail.outbox:
            links = re.findall(r"https?://\S+", message.subject + message.body)
            self.assertEqual(links, [f"{SITE}/"], message.body)

    def test_platform_staff_stay_anonymous(self):
        write(SecurityEvent.FACTOR_REMOVED, user=self.anna, actor=self.root)
        [message] = mail.outbox
        self.assertIn("By: platform staff", message.body)
        self.assertNotIn("root", message.body)
        self.assertNotIn("192.0.2", message.body)

    def test_both_addresses_get_a_mail_about_a_new_address(self):
        self.anna.changed_by = self.anna
        self.anna.email = "new@example.com"
        self.anna.save()
        texts = {message.to[0]: message.body for message in mail.outbox}
        self.assertEqual(
            self.take_sent(),
            {
                "anna@example.com": "Your account no longer has this email address",
                "new@example.com": "Your account now has this email address",
            },
        )
        self.assertIn("may have taken over", texts["anna@example.com"])
        self.assertNotIn("new@example.com", texts["anna@example.com"])
        self.assertNotIn("anna@example.com", texts["new@example.com"])

    def test_the_address_is_that_of_the_moment(self):
        """Someone who takes over an account changes both at once."""
        self.anna.set_password("other")
        self.anna.email = "thief@example.com"
        self.anna.save()
        sent = [(message.to[0], message.subject) for message in mail.outbox]
        self.assertIn(("anna@example.com", "Your password was changed"), sent)
        self.assertNotIn(("thief@example.com", "Your password was changed"), sent)

    def test_an_event_that_was_sealed_late_reaches_the_address_of_before(self):
        with mock.patch("orgadmin.access.audit_log.publish"):
            write(SecurityEvent.FACTOR_ADDED, user=self.anna, actor=self.anna)
        self.anna.email = "thief@example.com"
        self.anna.save()
        sent = [(message.to[0], message.subject) for message in mail.outbox]
        self.assertIn(
            ("anna@example.com", "A second factor was added to your account"), sent
        )

    def test_lock_outs_are_mailed_once_per_hour(self):
        for _ in range(3):
            write(SecurityEvent.LOCKED_OUT, user=self.anna)
        [message] = mail.outbox
        self.assertIn("wait 15 minutes", message.body)
        self.assertIn("From the network: 192.0.2.0/24", message.body)
        self.assertNotIn("By:", message.body)

    def test_lock_outs_are_mailed_again_after_an_hour(self):
        for minutes, is_mailed in ((61, True), (59, False)):
            with self.subTest(minutes):
                SignInAttempt.objects.all().delete()
                write(SecurityEvent.LOCKED_OUT, user=self.root)
                self.take_sent()
                earlier = F("since") - timedelta(minutes=minutes)
                SignInAttempt.objects.update(since=earlier)
                write(SecurityEvent.LOCKED_OUT, user=self.root)
                self.assertEqual(bool(self.take_sent()), is_mailed)

    def test_ended_sessions_are_mailed_if_someone_else_ended_them(self):
        write(SecurityEvent.SESSIONS_ENDED, user=self.anna, actor=self.anna)
        self.assertEqual(self.take_sent(), {})
        write(SecurityEvent.SESSIONS_ENDED, user=self.anna, actor=self.root)
        self.assertEqual(
            self.take_sent(), {"anna@example.com": "You were signed out everywhere"}
        )

    def test_people_without_an_address_or_an_active_account_get_no_mail(self):
        nobody = create_user("nobody")
        write(SecurityEvent.PASSWORD_CHANGED, user=nobody, actor=nobody)
        offboard(self.anna, actor=self.root)
        gone = create_user("gone", email="gone@example.com")
        with mock.patch("orgadmin.access.audit_log.publish"):
            write(SecurityEvent.PASSWORD_CHANGED, user=gone)
        gone.delete()
        write(SecurityEvent.LOCKED_OUT)
        self.assertEqual(self.take_sent(), {})

    def test_nobody_takes_over_a_deactivated_account_unnoticed(self):
        """Someone may deactivate an account first, and activate it afterwards."""
        changes = [
            {"is_active": False, "password": "!"},
            {"email": "thief@example.com"},
            {"email": ""},
            {"is_active": True},
        ]
        for change in changes:
            User.objects.filter(pk=self.anna.pk).update(**change)
        subject = "Your account no longer has this email address"
        self.assertEqual(
            [
                message.subject
                for message in mail.outbox
                if message.to == ["anna@example.com"]
            ],
            [subject],
        )

    def test_people_are_told_of_a_password_for_their_deactivated_account(self):
        User.objects.filter(pk=self.anna.pk).update(is_active=False)
        self.anna.refresh_from_db()
        self.anna.set_password("other")
        self.anna.save()
        self.assertEqual(
            self.take_sent(), {"anna@example.com": "Your password was changed"}
        )

    @queues_mail()
    def test_a_mail_server_that_fails_does_not_undo_the_change(self):
        self.anna.set_password("other")
        self.anna.save()
        with fail_to_send():
            work()
        self.assertTrue(User.objects.get(pk=self.anna.pk).check_password("other"))
        self.assertEqual(self.take_sent(), {})
        work_later()
        self.assertEqual(
            self.take_sent(), {"anna@example.com": "Your password was changed"}
        )

    def test_mail_that_cannot_be_added_does_not_undo_the_change(self):
        with (
            mock.patch(
                "orgadmin.people.security_mail.outbox.enqueue", side_effect=KeyError
            ),
            self.assertLogs("orgadmin.audit", "ERROR"),
        ):
            self.anna.set_password("other")
            self.anna.save()
        self.assertTrue(User.objects.get(pk=self.anna.pk).check_password("other"))
        self.assertFalse(audit_log.find_unsealed().exists())

    @queues_mail()
    def test_mail_reaches_those_whom_someone_made_unreachable_meanwhile(self):
        """Someone takes over an account while no worker is running."""
        boss = create_superuser("boss", email="boss@example.com")
        self.anna.set_password("other")
        self.anna.is_superuser = True
        self.anna.save()
        for user in (self.anna, self.root, boss):
            user.refresh_from_db()
            user.changed_by = self.anna
            user.email = f"thief+{user.pk}@example.com"
            user.is_superuser = user == self.anna
            user.is_active = user == self.anna
            user.save()
        work()
        sent = {(message.to[0], message.subject) for message in mail.outbox}
        for expected in (
            ("anna@example.com", "Your password was changed"),
            ("root@example.com", "There is a new superuser"),
            ("boss@example.com", "There is a new superuser"),
        ):
            self.assertIn(expected, sent)


@tag("G6")
class SuperuserTests(MailCase):
    def setUp(self):
        super().setUp()
        create_superuser("boss", email="boss@example.com")
        create_superuser("silent")
        create_superuser("gone", email="gone@example.com", is_active=False)
        mail.outbox.clear()

    def test_superusers_get_a_mail_about_a_new_superuser(self):
        everyone = {"root@example.com", "boss@example.com"}
        self.anna.changed_by = self.root
        self.anna.is_superuser = True
        self.anna.save()
        [message, _other] = mail.outbox
        self.assertIn("“anna” is now a superuser", message.body)
        self.assertIn("By: root", message.body)
        self.assertEqual(
            self.take_sent(), dict.fromkeys(everyone, "There is a new superuser")
        )
        create_superuser("more", email="more@example.com")
        [message, _other] = [
            each for each in mail.outbox if each.to != ["anna@example.com"]
        ]
        self.assertIn("By: a command on the server", message.body)
        self.assertEqual(set(self.take_sent()), everyone | {"anna@example.com"})

    def test_no_mail_about_other_flags(self):
        self.anna.is_staff = True
        self.anna.save()
        self.root.is_superuser = False
        self.root.save()
        self.assertEqual(self.take_sent(), {})

    def test_superusers_get_a_mail_about_a_removed_factor_of_a_superuser(self):
        write(SecurityEvent.FACTOR_REMOVED, user=self.root, actor=self.root)
        self.assertEqual(list(self.take_sent()), ["root@example.com"])
        write(SecurityEvent.FACTOR_REMOVED, user=self.anna, actor=self.root)
        self.assertEqual(list(self.take_sent()), ["anna@example.com"])
        boss = User.objects.get(username="boss")
        write(SecurityEvent.FACTOR_REMOVED, user=self.root, actor=boss)
        self.assertEqual(
            self.take_sent(),
            {
                "root@example.com": "A second factor was removed from your account",
                "boss@example.com": "The second factor of a superuser was removed",
            },
        )

    def test_superusers_get_a_mail_about_a_refused_company_account(self):
        self.assertEqual(OTHER_SUBJECT, Reason.OTHER_SUBJECT)
        details = {"reason": "no access"}
        write(SecurityEvent.PROVIDER_REFUSED, user=self.anna, details=details)
        self.assertEqual(self.take_sent(), {})
        for _ in range(3):
            details = {"reason": str(Reason.OTHER_SUBJECT)}
            write(SecurityEvent.PROVIDER_REFUSED, user=self.anna, details=details)
        [message, _other] = mail.outbox
        self.assertIn("“anna”", message.body)
        self.assertEqual(
            set(self.take_sent()), {"root@example.com", "boss@example.com"}
        )
        write(SecurityEvent.PROVIDER_REFUSED, user=self.anna, details=details)
        self.assertEqual(self.take_sent(), {})

    def test_superusers_get_no_mail_about_other_refusals(self):
        for reason in ("no account", "unverified account", "wrong signature"):
            details = {"reason": reason}
            write(SecurityEvent.PROVIDER_REFUSED, user=self.anna, details=details)
            write(SecurityEvent.PROVIDER_REFUSED, details=details)
        self.assertEqual(self.take_sent(), {})


class RealServerTests(MailCase):
    @tag("G6")
    def test_reaches_a_mail_server_that_refuses_one_of_the_addresses(self):
        with run_mail_server(refused=("anna@example.com",)) as server:
            backend = "django.core.mail.backends.smtp.EmailBackend"
            with (
                override_settings(
                    EMAIL_BACKEND=backend,
                    EMAIL_HOST="127.0.0.1",
                    EMAIL_PORT=server.port,
                ),
                queues_mail(),
                self.assertLogs("orgadmin.mail", "ERROR"),
            ):
                self.anna.email = "new@example.com"
                self.anna.save()
                work()
        [message] = server.messages
        self.assertEqual(message["To"], "new@example.com")
        self.assertEqual(message["Subject"], "Your account now has this email address")
        for kind in ("plain", "html"):
            self.assertIn(f"{SITE}/", message.get_body([kind]).get_content())


class ListenerTests(MailCase):
    def test_the_site_listens(self):
        self.assertEqual(audit_log.listeners.count(send_mail_about), 1)
