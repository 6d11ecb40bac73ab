"""Mail about access that ends within a week, and what platform staff see before."""

from unittest import mock, skipUnless

from django.core import mail
from django.db import IntegrityError, connection
from django.test import TestCase, TransactionTestCase, override_settings, tag
from django.utils.formats import date_format

from orgadmin.models import EndReminder, Membership, User
from orgadmin.people import archive, end_reminders
from orgadmin.people.end_reminders import remind_of_ends
from orgadmin.people.ends import find_today
from orgadmin.people.membership import list_roles

from .factories import (
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from .mailing import fail_to_send, queues_mail, work, work_later
from .test_member_ends import DAY, set_last_day
from .together import run_together

HOME = "/admin/"
LIST = "/admin/orgadmin/organization/"


def list_mail():
    """Return {address: text} of the mail that was sent since the last call."""
    sent = {message.to[0]: message.body for message in mail.outbox}
    assert len(sent) == len(mail.outbox), "Somebody got two messages."
    mail.outbox.clear()
    return sent


@queues_mail()
class ReminderTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.staff = create_superuser(email="root@example.com")
        cls.acme = create_organization("Acme")
        cls.ada = create_user("ada", admin_of=[cls.acme], email="ada@example.com")
        cls.eve = create_user("eve", admin_of=[cls.acme], email="eve@example.com")
        cls.mary = create_user("mary", reviewer_of=[cls.acme], email="mary@example.com")
        cls.soon = find_today() + 5 * DAY

    def remind(self):
        """Return {address: text} of the mail that a worker sends now."""
        remind_of_ends()
        work()
        return list_mail()

    @tag("J4")
    def test_reminds_the_member_and_the_admins_once(self):
        set_last_day(self.mary, self.acme, self.soon)
        sent = self.remind()
        day = date_format(self.soon)
        self.assertEqual(
            set(sent), {"mary@example.com", "ada@example.com", "eve@example.com"}
        )
        self.assertIn(
            f"Your access to “Acme” as Reviewer ends after {day}.",
            sent["mary@example.com"],
        )
        self.assertIn(
            f"The access of “mary” to “Acme” as Reviewer ends after {day}.",
            sent["ada@example.com"],
        )
        self.assertIn(f"{LIST}{self.acme.pk}/people/", sent["ada@example.com"])
        self.assertEqual(self.remind(), {})

    @tag("J4")
    def test_is_due_seven_days_before_and_not_earlier(self):
        set_last_day(self.mary, self.acme, find_today() + 8 * DAY)
        self.assertEqual(self.remind(), {})
        set_last_day(self.mary, self.acme, find_today() + 6 * DAY)
        self.assertEqual(len(self.remind()), 3)

    @tag("J4")
    def test_reminds_again_if_the_end_has_changed(self):
        set_last_day(self.mary, self.acme, self.soon)
        self.remind()
        set_last_day(self.mary, self.acme, self.soon + DAY)
        self.assertIn(date_format(self.soon + DAY), self.remind()["mary@example.com"])

    @tag("J4")
    def test_people_get_one_message_about_all_organizations(self):
        other = create_organization("Other")
        for organization in (other, self.acme):
            set_role(organization, [self.mary], REVIEWER, notify=False)
            set_last_day(self.mary, organization, self.soon)
        [_first, _second] = [
            line
            for line in self.remind()["mary@example.com"].splitlines()
            if line.startswith("Your access to")
        ]

    @tag("J4")
    def test_says_nothing_about_what_has_changed_since(self):
        set_last_day(self.mary, self.acme, self.soon)
        remind_of_ends()
        set_role(self.acme, [self.mary], None, notify=False)
        work()
        self.assertEqual(list_mail(), {})
        set_role(self.acme, [self.mary], REVIEWER, notify=False)
        set_last_day(self.mary, self.acme, self.soon + DAY)
        self.assertEqual(remind_of_ends(), 1)
        set_last_day(self.mary, self.acme, self.soon + 30 * DAY)
        work()
        self.assertEqual(list_mail(), {})

    @tag("J4")
    def test_says_nothing_to_admins_who_have_left(self):
        set_last_day(self.mary, self.acme, self.soon)
        remind_of_ends()
        set_role(self.acme, [self.eve], REVIEWER, notify=False)
        work()
        self.assertEqual(set(list_mail()), {"mary@example.com", "ada@example.com"})

    def test_says_nothing_about_archived_organizations(self):
        set_last_day(self.mary, self.acme, self.soon)
        archive.archive([self.acme.pk], actor=self.staff)
        mail.outbox.clear()
        self.assertEqual(self.remind(), {})
        archive.restore([self.acme.pk], actor=self.staff)
        mail.outbox.clear()
        self.assertIn("mary@example.com", self.remind())

    def test_says_nothing_about_what_was_archived_since(self):
        set_last_day(self.mary, self.acme, self.soon)
        remind_of_ends()
        archive.archive([self.acme.pk], actor=self.staff)
        work()
        self.assertEqual(list_mail(), {})

    def test_people_can_turn_it_off(self):
        set_last_day(self.mary, self.acme, self.soon)
        User.objects.filter(pk=self.mary.pk).update(mail_own_roles=False)
        User.objects.filter(pk=self.ada.pk).update(mail_people=False)
        self.assertEqual(set(self.remind()), {"eve@example.com"})

    @override_settings(NOTIFY_PEOPLE=False)
    def test_the_site_can_turn_it_off(self):
        set_last_day(self.mary, self.acme, self.soon)
        self.assertEqual(self.remind(), {})

    @tag("J4")
    def test_is_sent_later_if_the_mail_server_is_down(self):
        set_last_day(self.mary, self.acme, self.soon)
        with fail_to_send():
            self.assertEqual(self.remind(), {})
        work_later()
        self.assertEqual(len(list_mail()), 3)

    @tag("J4")
    def test_nothing_is_lost_if_the_worker_is_killed(self):
        set_last_day(self.mary, self.acme, self.soon)
        with mock.patch.object(
            end_reminders, "_add_mail", side_effect=KeyboardInterrupt
        ):
            with self.assertRaises(KeyboardInterrupt):
                remind_of_ends()
        self.assertEqual(len(self.remind()), 3)

    def test_forgets_reminders_after_the_end(self):
        set_last_day(self.mary, self.acme, self.soon)
        remind_of_ends()
        self.assertEqual(EndReminder.objects.count(), 1)
        EndReminder.objects.update(ends_at=find_today() - DAY)
        set_role(self.acme, [self.mary], None, notify=False)
        remind_of_ends()
        self.assertFalse(EndReminder.objects.exists())

    def test_warns_superusers_of_the_end_of_the_last_admin(self):
        set_last_day(self.ada, self.acme, self.soon)
        self.assertNotIn("root@example.com", self.remind())
        set_last_day(self.eve, self.acme, self.soon + DAY)
        text = self.remind()["root@example.com"]
        day = date_format(self.soon + DAY)
        self.assertIn(f"“Acme” will have no active admin after {day}", text)
        self.assertIn(f"{LIST}?admins=ending", text)

    def test_does_not_warn_superusers_if_someone_stays_by_then(self):
        for admin in (self.ada, self.eve):
            set_last_day(admin, self.acme, self.soon)
        remind_of_ends()
        set_last_day(self.eve, self.acme, None)
        work()
        self.assertNotIn("root@example.com", list_mail())

    def test_goes_through_many_in_batches(self):
        people = [create_user(f"p{number}") for number in range(5)]
        set_role(self.acme, people, REVIEWER, notify=False)
        for person in people:
            set_last_day(person, self.acme, self.soon)
        with mock.patch.object(end_reminders, "BATCH", 2):
            self.assertEqual(remind_of_ends(), 5)
        self.assertEqual(EndReminder.objects.count(), 5)


@queues_mail()
class ManyWorkersTests(TransactionTestCase):
    def setUp(self):
        acme = create_organization("Acme")
        create_user("ada", admin_of=[acme], email="ada@example.com")
        mary = create_user("mary", reviewer_of=[acme], email="mary@example.com")
        set_last_day(mary, acme, find_today() + 5 * DAY)

    @tag("J4")
    @skipUnless(connection.vendor == "postgresql", "SQLite has one writer")
    def test_workers_at_the_same_time_remind_once(self):
        run_together(*[remind_of_ends] * 4)
        work()
        self.assertEqual(set(list_mail()), {"ada@example.com", "mary@example.com"})

    @tag("J4")
    def test_the_database_refuses_a_second_reminder(self):
        row = Membership.objects.exclude(ends_at=None).get()
        values = {
            "user_key": row.user_id,
            "group_key": row.group_id,
            "ends_at": row.ends_at,
        }
        EndReminder.objects.create(**values)
        with self.assertRaises(IntegrityError):
            EndReminder.objects.create(**values)


class AttentionTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.staff = create_superuser()
        cls.today = find_today()
        cls.expected = []
        # {name: days until the access of each admin ends; None for never}
        for name, ends in {
            "One": [10],
            "Two": [29, 3],
            "Stays": [10, None],
            "Later": [10, 31],
            "Never": [None],
            "Nobody": [],
        }.items():
            organization = create_organization(name)
            for number, days in enumerate(ends):
                user = create_user(f"{name}{number}", admin_of=[organization])
                day = cls.today + days * DAY if days is not None else None
                set_last_day(user, organization, day)
            inactive = create_user(f"{name}-inactive", admin_of=[organization])
            User.objects.filter(pk=inactive.pk).update(is_active=False)

    def test_counts_and_lists_organizations_that_lose_their_last_admin(self):
        self.client.force_login(self.staff)
        response = self.client.get(HOME)
        self.assertContains(response, f"{LIST}?admins=ending")
        self.assertContains(response, "admins&#x27; access ends within 30 days")
        [concern] = [row for row in response.context["concerns"] if "ending" in row.url]
        self.assertEqual(concern.count, 2)
        response = self.client.get(f"{LIST}?admins=ending")
        names = [row.name for row in response.context["cl"].result_list]
        self.assertEqual(names, ["One", "Two"])

    def test_others_do_not_learn_it_about_organizations_that_they_do_not_manage(self):
        reviewer = create_user("reviewer")
        for user in User.objects.filter(username__in=["One0", "Two0"]):
            [organization] = [row.organization for row in list_roles(user)]
            set_role(organization, [reviewer], REVIEWER, notify=False)
        self.client.force_login(reviewer)
        response = self.client.get(f"{LIST}?admins=ending")
        self.assertEqual(list(response.context["cl"].result_list), [])
