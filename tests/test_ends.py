"""Memberships that have ended give no access anywhere."""

import io
import json
import time as real_time
from datetime import UTC, date, datetime, timedelta
from unittest import mock, skipUnless

from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.core.serializers import deserialize, serialize
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext

from orgadmin.access.ends import find_start_of_next_day, show_end
from orgadmin.access.membership_log import ENDED_AS_PLANNED, Event
from orgadmin.access.roles import PERMISSIONS
from orgadmin.access.sql import read_clock
from orgadmin.models import (
    AuditEvent,
    Membership,
    MembershipEvent,
    Organization,
    User,
)
from orgadmin.models.guards import find_active_members
from orgadmin.people import worker
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.expiry import remove_ended_memberships
from orgadmin.people.invitations import InvitationExpired, accept, invite
from orgadmin.people.membership import (
    EndInThePast,
    change_roles,
    describe_members,
    find_members,
    find_role,
    list_first_roles,
    list_roles,
    lock,
    set_groups,
)
from orgadmin.records.erasure import erase_person

from .clocks import application_time, database_time, time
from .factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    grant,
    run_doctor,
)
from .together import run_together

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TICK = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)
VIEW = "orgadmin.view_organization"
LIST = "/admin/orgadmin/organization/"

on_postgresql = skipUnless(
    connection.vendor == "postgresql", "SQLite has one writer at a time"
)


def give(user, organization, role, ends_at, **options):
    """Give a role that ends, as `change_roles()` does. None means no end."""
    change = RoleChange(user, organization, role, end=MembershipEnd(ends_at))
    return change_roles([change], **options)


def set_end(user, organization, ends_at):
    """Write an end as it is, past all checks."""
    rows = Membership.objects.filter(user=user, group__in=organization.group_ids)
    assert rows.update(ends_at=ends_at) == 1


def list_events(organization):
    events = MembershipEvent.objects.filter(organization_key=organization.pk)
    return [
        (event.event, event.role, event.ends_at)
        for event in events.order_by("pk")
        if event.user_key is not None
    ]


class RuleTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme")
        cls.ada = create_user("ada", admin_of=[cls.acme])
        set_end(cls.ada, cls.acme, NOON)

    def find_permissions(self):
        """Return the permissions that each of the three statements finds."""
        organizations = Organization.objects
        listed = {
            permission
            for permission in PERMISSIONS
            if organizations.permitted(self.ada, permission).exists()
        }
        on_object = organizations.permissions_on(self.ada, self.acme.pk)
        self.assertEqual(listed, on_object)
        viewers = organizations.find_viewers(self.acme.pk)
        self.assertEqual("view" in listed, self.ada in viewers)
        for permission in PERMISSIONS:
            perm = f"orgadmin.{permission}_organization"
            user = User.objects.get(pk=self.ada.pk)
            self.assertEqual(user.has_perm(perm, self.acme), permission in listed)
        return listed

    def test_a_permission_of_another_app_is_not_one_of_the_rule(self):
        with database_time(NOON - TICK):
            self.assertTrue(self.ada.has_perm("orgadmin.view_organization", self.acme))
            self.assertFalse(self.ada.has_perm("other.view_organization", self.acme))

    @tag("C15")
    def test_counts_until_the_end_and_not_in_that_moment(self):
        with database_time(NOON - TICK):
            self.assertEqual(self.find_permissions(), {*ADMIN.permissions})
        with database_time(NOON):
            self.assertEqual(self.find_permissions(), set())
        with database_time(NOON + TICK):
            self.assertEqual(self.find_permissions(), set())

    @tag("C15")
    def test_only_the_clock_of_the_database_counts(self):
        for minutes in (-10, 10):
            with application_time(NOON + timedelta(minutes=minutes)):
                with database_time(NOON - SECOND):
                    self.assertEqual(self.find_permissions(), {*ADMIN.permissions})
                with database_time(NOON + SECOND):
                    self.assertEqual(self.find_permissions(), set())

    def test_microseconds_count(self):
        set_end(self.ada, self.acme, NOON + timedelta(microseconds=1_500))
        with database_time(NOON + TICK):
            self.assertEqual(self.find_permissions(), {*ADMIN.permissions})
        with database_time(NOON + 2 * TICK):
            self.assertEqual(self.find_permissions(), set())

    @tag("C15")
    def test_the_moment_of_the_end_does_not_count(self):
        # Django writes six digits, and SQLite's clock has three.
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE orgadmin_user_groups SET ends_at = %s",
                ["2026-06-01 12:00:00.001"],
            )
        with database_time(NOON + TICK):
            self.assertEqual(self.find_permissions(), set())

    def test_another_reason_stays(self):
        grant(self.ada, "view_organization", self.acme)
        with database_time(NOON + SECOND):
            self.assertEqual(self.find_permissions(), {"view"})

    def test_without_an_end_nothing_ends(self):
        set_end(self.ada, self.acme, None)
        with database_time(datetime(9000, 1, 1, tzinfo=UTC)):
            self.assertEqual(self.find_permissions(), {*ADMIN.permissions})

    def test_the_clock_is_the_databases(self):
        with database_time(NOON):
            self.assertEqual(read_clock(), NOON)
            self.assertEqual(Membership.objects.ended().count(), 1)
        self.assertLess(abs(read_clock() - datetime.now(UTC)), timedelta(minutes=1))

    def test_a_group_that_is_no_role(self):
        friends = Group.objects.create(name="Friends")
        view = Permission.objects.get(codename="view_organization")
        self.acme.group_grants.create(group=friends, permission=view)
        self.ada.groups.add(friends)
        Membership.objects.filter(group=friends).update(ends_at=NOON)
        with database_time(NOON - SECOND):
            self.assertIn("view", self.find_permissions())
        with database_time(NOON + SECOND):
            self.assertEqual(self.find_permissions(), set())


class DayTests(TestCase):
    """People choose a day. The membership ends at its end, in the site's time zone."""

    def assert_ends(self, day, expected, shown):
        ends_at = find_start_of_next_day(day)
        self.assertEqual(ends_at, expected)
        self.assertEqual(show_end(ends_at), shown)
        acme = create_organization()
        ada = create_user(admin_of=[acme])
        set_end(ada, acme, ends_at)
        with time(expected - TICK):
            self.assertTrue(Organization.objects.permitted(ada).exists())
        with time(expected):
            self.assertFalse(Organization.objects.permitted(ada).exists())

    @override_settings(TIME_ZONE="Europe/Berlin")
    def test_the_day_of_25_hours(self):
        end = datetime(2026, 10, 25, 23, tzinfo=UTC)
        self.assert_ends(date(2026, 10, 25), end, "Oct. 25, 2026")

    @override_settings(TIME_ZONE="Europe/Berlin")
    def test_the_day_of_23_hours(self):
        end = datetime(2027, 3, 28, 22, tzinfo=UTC)
        self.assert_ends(date(2027, 3, 28), end, "March 28, 2027")

    @override_settings(TIME_ZONE="America/Havana")
    def test_a_day_that_begins_at_one_o_clock(self):
        # The clocks are changed at midnight, which does not exist on this day.
        end = find_start_of_next_day(date(2027, 3, 13))
        self.assertEqual(show_end(end), "March 13, 2027")
        self.assertEqual(end.astimezone(UTC), datetime(2027, 3, 14, 5, tzinfo=UTC))

    def test_the_leap_day(self):
        end = datetime(2028, 3, 1, tzinfo=UTC)
        self.assert_ends(date(2028, 2, 29), end, "Feb. 29, 2028")

    def test_an_end_within_a_day(self):
        self.assertEqual(show_end(NOON), "June 1, 2026, noon")


class ReadTests(TestCase):
    """Code that reads members finds only memberships that have not ended."""

    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme")
        cls.ada = create_user("ada", admin_of=[cls.acme], email="ada@example.com")
        cls.ada.verify_email()
        cls.bob = create_user("bob", admin_of=[cls.acme])
        set_end(cls.ada, cls.acme, NOON)

    def describe(self):
        group_ids = self.acme.group_ids
        memberships = Membership.objects.current().filter(group__in=group_ids)
        return {
            "members": {
                member.user.username: member.ends_at
                for member in describe_members(
                    self.acme, memberships.select_related("user")
                )
            },
            "admins": find_active_members([self.acme.admin_id])[self.acme.admin_id],
            "role": find_role(self.acme, self.ada),
            "roles": [(row.role, row.ends_at) for row in list_roles(self.ada)],
            "first": [(row.role, row.ends_at) for row in list_first_roles(self.ada, 5)],
            "by email": [
                member.user for member in find_members(self.acme, ["ada@example.com"])
            ],
        }

    def test_before_the_end(self):
        with database_time(NOON - SECOND):
            self.assertEqual(
                self.describe(),
                {
                    "members": {"ada": NOON, "bob": None},
                    "admins": {self.ada.pk, self.bob.pk},
                    "role": ADMIN,
                    "roles": [(ADMIN, NOON)],
                    "first": [(ADMIN, NOON)],
                    "by email": [self.ada],
                },
            )

    @tag("C16")
    def test_after_the_end(self):
        with database_time(NOON):
            self.assertEqual(
                self.describe(),
                {
                    "members": {"bob": None},
                    "admins": {self.bob.pk},
                    "role": None,
                    "roles": [],
                    "first": [],
                    "by email": [],
                },
            )

    @tag("C16")
    def test_the_form_of_a_person_shows_groups_that_have_not_ended(self):
        with time(datetime.now(UTC)):
            self.client.force_login(create_superuser())
            path = f"/admin/orgadmin/user/{self.ada.pk}/change/"
            form = self.client.get(path).context["adminform"].form
            self.assertEqual(form.initial["groups"], [])
            set_end(self.ada, self.acme, None)
            form = self.client.get(path).context["adminform"].form
            self.assertEqual(form.initial["groups"], [self.acme.admin])

    @tag("C16")
    def test_the_last_admin_is_one_that_has_not_ended(self):
        root = create_superuser()
        with time(NOON + SECOND):
            with self.assertRaises(Exception) as caught:
                change = RoleChange(self.bob, self.acme, None)
                change_roles([change], actor=root)
            self.assertEqual(type(caught.exception).__name__, "LastAdminError")


class ChangeTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme")
        cls.root = create_superuser()
        cls.bob = create_user("bob", admin_of=[cls.acme])
        cls.ada = create_user("ada")

    def read_end(self, user):
        [row] = Membership.objects.filter(user=user, group__in=self.acme.group_ids)
        return row.ends_at

    def test_a_new_membership_has_the_end(self):
        with time(NOON):
            [made] = give(self.ada, self.acme, REVIEWER, NOON + HOUR)
        self.assertEqual(made.ends_at, NOON + HOUR)
        self.assertFalse(made.is_only_of_end)
        self.assertEqual(self.read_end(self.ada), NOON + HOUR)
        self.assertEqual(
            list_events(self.acme)[-1], (Event.JOINED, "reviewer", NOON + HOUR)
        )

    def test_another_role_keeps_the_end(self):
        with time(NOON):
            give(self.ada, self.acme, REVIEWER, NOON + HOUR)
            [made] = change_roles([RoleChange(self.ada, self.acme, ADMIN)])
        self.assertEqual((made.previous, made.ends_at), (REVIEWER, NOON + HOUR))
        self.assertEqual(self.read_end(self.ada), NOON + HOUR)
        self.assertEqual(
            list_events(self.acme)[-1], (Event.JOINED, "admin", NOON + HOUR)
        )

    def test_a_new_end_is_a_change(self):
        with time(NOON):
            give(self.ada, self.acme, REVIEWER, NOON + HOUR)
            [made] = give(self.ada, self.acme, REVIEWER, NOON + 2 * HOUR)
            self.assertTrue(made.is_only_of_end)
            self.assertEqual(give(self.ada, self.acme, REVIEWER, NOON + 2 * HOUR), [])
            self.assertEqual(self.read_end(self.ada), NOON + 2 * HOUR)
            [made] = give(self.ada, self.acme, REVIEWER, None)
            self.assertTrue(made.is_only_of_end)
            self.assertIsNone(made.ends_at)
        self.assertIsNone(self.read_end(self.ada))
        self.assertEqual(
            list_events(self.acme)[-2:],
            [
                (Event.END_CHANGED, "reviewer", NOON + 2 * HOUR),
                (Event.END_CHANGED, "reviewer", None),
            ],
        )

    def test_without_an_end_in_the_change_the_end_stays(self):
        with time(NOON):
            give(self.ada, self.acme, REVIEWER, NOON + HOUR)
            same = RoleChange(self.ada, self.acme, REVIEWER)
            self.assertEqual(change_roles([same]), [])
        self.assertEqual(self.read_end(self.ada), NOON + HOUR)

    @tag("C17")
    def test_an_end_needs_the_permissions_of_the_role(self):
        eve = create_user("eve", reviewer_of=[self.acme])
        with time(NOON):
            give(self.ada, self.acme, REVIEWER, NOON + HOUR)
            for actor in (eve, self.ada):
                with self.assertRaises(PermissionDenied):
                    give(self.ada, self.acme, REVIEWER, None, actor=actor)
            give(self.ada, self.acme, REVIEWER, None, actor=self.bob)

    @tag("C17")
    def test_whose_membership_has_ended_cannot_extend_it(self):
        with time(NOON):
            give(self.ada, self.acme, ADMIN, NOON + HOUR)
        with time(NOON + HOUR), self.assertRaises(PermissionDenied):
            give(self.ada, self.acme, ADMIN, None, actor=self.ada)

    def test_an_end_in_the_past_is_refused(self):
        before = list_events(self.acme)
        for clock in (NOON - HOUR, NOON + HOUR):
            # Only the database clock matters.
            with application_time(clock), database_time(NOON):
                with self.assertRaises(EndInThePast) as caught:
                    give(self.ada, self.acme, REVIEWER, NOON)
        self.assertEqual(caught.exception.ends_at, NOON)
        self.assertEqual(list_events(self.acme), before)

    def test_who_has_ended_joins_again(self):
        with time(NOON):
            give(self.ada, self.acme, REVIEWER, NOON + HOUR)
        with time(NOON + 2 * HOUR):
            [made] = change_roles([RoleChange(self.ada, self.acme, REVIEWER)])
            self.assertIsNone(made.previous)
            self.assertIsNone(made.ends_at)
        self.assertIsNone(self.read_end(self.ada))
        self.assertEqual(
            list_events(self.acme)[-2:],
            [(Event.LEFT, "reviewer", None), (Event.JOINED, "reviewer", None)],
        )
        left = MembershipEvent.objects.get(event=Event.LEFT)
        self.assertEqual((left.at, left.reason), (NOON + HOUR, ENDED_AS_PLANNED))
        self.assertTrue(left.is_planned_end)

    def test_removing_who_has_ended_only_removes_the_row(self):
        with time(NOON):
            give(self.ada, self.acme, REVIEWER, NOON + HOUR)
        with time(NOON + 2 * HOUR):
            change = RoleChange(self.ada, self.acme, None)
            self.assertEqual(change_roles([change], actor=self.root), [])
        self.assertFalse(Membership.objects.filter(user=self.ada).exists())
        left = MembershipEvent.objects.get(event=Event.LEFT)
        self.assertEqual((left.actor_name, left.reason), ("", ENDED_AS_PLANNED))

    def test_a_group_is_given_again_in_the_form_of_the_person(self):
        friends = Group.objects.create(name="Friends")
        self.ada.groups.add(friends)
        with time(NOON):
            give(self.ada, self.acme, REVIEWER, NOON + HOUR)
            Membership.objects.filter(group=friends).update(ends_at=NOON)
        with time(NOON + 2 * HOUR):
            set_groups(self.ada, [friends, self.acme.reviewer], actor=self.root)
        ends = Membership.objects.filter(user=self.ada).values_list("ends_at")
        self.assertEqual([*ends], [(None,), (None,)])

    def test_no_mail_says_that_someone_joined_when_only_the_end_changed(self):
        with time(NOON):
            give(self.ada, self.acme, REVIEWER, NOON + HOUR, notify=False)
            with mock.patch("orgadmin.people.mail.notify_about") as notify:
                give(self.ada, self.acme, REVIEWER, None)
        notify.assert_called_once_with([], None, "")

    def test_costs_one_more_query_than_without_an_end(self):
        eve = create_user("eve")
        with time(NOON):
            with CaptureQueriesContext(connection) as with_end:
                give(self.ada, self.acme, REVIEWER, NOON + HOUR, actor=self.root)
            with CaptureQueriesContext(connection) as without:
                give(eve, self.acme, REVIEWER, None, actor=self.root)
        self.assertEqual(len(with_end), len(without) + 1)


class InvitationTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme")
        cls.ada = create_user("ada", admin_of=[cls.acme])
        cls.eve = create_user("eve", email="eve@example.com")
        cls.eve.verify_email()

    def test_keeps_the_end_that_was_offered(self):
        with time(NOON):
            invitation = invite(
                self.acme,
                "eve@example.com",
                REVIEWER,
                actor=self.ada,
                ends_at=NOON + HOUR,
            )
            self.assertEqual(invitation.membership_ends_at, NOON + HOUR)
            accept(invitation, self.eve, account_is_unused=False)
        self.assertEqual(Membership.objects.get(user=self.eve).ends_at, NOON + HOUR)
        self.assertEqual(
            list_events(self.acme)[-1], (Event.JOINED, "reviewer", NOON + HOUR)
        )

    def test_cannot_be_accepted_after_that_end(self):
        with time(NOON):
            invitation = invite(
                self.acme,
                "eve@example.com",
                REVIEWER,
                actor=self.ada,
                ends_at=NOON + HOUR,
            )
        with time(NOON + HOUR):
            self.assertTrue(invitation.expired)
            with self.assertRaises(InvitationExpired):
                accept(invitation, self.eve, account_is_unused=False)

    def test_an_end_in_the_past_is_refused(self):
        with time(NOON), self.assertRaises(EndInThePast):
            invite(self.acme, "x@example.com", REVIEWER, actor=self.ada, ends_at=NOON)


class RemovalTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme")
        cls.bob = create_user("bob", admin_of=[cls.acme])
        cls.ada = create_user("ada", admin_of=[cls.acme])
        set_end(cls.ada, cls.acme, NOON)

    def test_the_worker_removes_and_logs_what_has_ended(self):
        with time(NOON - SECOND):
            self.assertEqual(remove_ended_memberships(), 0)
        with time(NOON + HOUR):
            worker.Worker().do_periodic_work()
        self.assertFalse(Membership.objects.filter(user=self.ada).exists())
        event = MembershipEvent.objects.latest("pk")
        self.assertEqual(
            (event.event, event.role, event.user_name, event.at, event.reason),
            (Event.LEFT, "admin", "ada", NOON, ENDED_AS_PLANNED),
        )
        self.assertEqual((event.actor_name, event.source), ("", ""))
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.active_admins, 1)
        with time(NOON + HOUR):
            self.assertEqual(remove_ended_memberships(), 0)

    def test_a_group_that_is_no_role_is_recorded_in_the_audit_log(self):
        friends = Group.objects.create(name="Friends")
        self.bob.groups.add(friends)
        Membership.objects.filter(group=friends).update(ends_at=NOON)
        with time(NOON):
            self.assertEqual(remove_ended_memberships(), 2)
        self.assertFalse(self.bob.groups.filter(pk=friends.pk).exists())

    def test_in_batches(self):
        for number in range(5):
            user = create_user(f"user {number}", reviewer_of=[self.acme])
            set_end(user, self.acme, NOON)
        with time(NOON), mock.patch("orgadmin.people.expiry.BATCH", 2):
            self.assertEqual(remove_ended_memberships(), 6)

    def test_work_that_fails_does_not_stop_the_mail(self):
        def fail():
            raise ValueError

        failing = worker.PeriodicWork(fail, every=HOUR)
        ran = mock.Mock()
        working = worker.PeriodicWork(ran, every=HOUR)
        with (
            mock.patch.object(worker, "PERIODIC", [failing, working]),
            self.assertLogs("orgadmin.mail", "ERROR"),
        ):
            sending = worker.Worker()
            sending.do_periodic_work()
            sending.do_periodic_work()
        self.assertEqual(ran.call_count, 1)
        with (
            mock.patch.object(worker, "PERIODIC", [working]),
            application_time(datetime.now(UTC) + 2 * HOUR),
        ):
            sending.do_periodic_work()
        self.assertEqual(ran.call_count, 2)


class RenewalTests(TestCase):
    """Django's own managers renew what has ended, while its row remains."""

    def setUp(self):
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", admin_of=[self.acme])
        self.friends = Group.objects.create(name="Friends")
        self.ada.groups.add(self.friends)
        self.end = read_clock() - timedelta(minutes=5)
        Membership.objects.filter(user=self.ada).update(ends_at=self.end)

    def renew(self, change):
        """Make a change, and return the members and the new events of the log."""
        before = MembershipEvent.objects.latest("pk").pk
        change()
        events = MembershipEvent.objects.filter(pk__gt=before).order_by("pk")
        return [(row.event, row.role, row.reason) for row in events]

    def test_each_way_to_add_makes_people_members_again(self):
        group = self.acme.admin
        for change in (
            lambda: self.ada.groups.add(group),
            lambda: self.ada.groups.add(group.pk),
            lambda: group.user_set.add(self.ada),
            lambda: self.ada.groups.set([group]),
            lambda: group.user_set.set([self.ada]),
        ):
            with self.subTest(), transaction.atomic():
                self.assertFalse(self.ada.has_perm(VIEW, self.acme))
                events = self.renew(change)
                left = ("left", "admin", ENDED_AS_PLANNED)
                self.assertEqual(events, [left, ("found", "admin", "")])
                ended = MembershipEvent.objects.filter(event="left").latest("pk")
                self.assertEqual(ended.at, self.end)
                row = Membership.objects.get(user=self.ada, group=group)
                self.assertIsNone(row.ends_at)
                self.assertTrue(self.ada.has_perm(VIEW, self.acme))
                # Nothing is left for the worker, except what was not renewed.
                remove_ended_memberships()
                self.assertTrue(self.ada.has_perm(VIEW, self.acme))
                transaction.set_rollback(True)

    def test_what_has_not_ended_keeps_its_end(self):
        later = read_clock() + timedelta(days=5)
        Membership.objects.filter(user=self.ada).update(ends_at=later)
        events = self.renew(lambda: self.ada.groups.add(self.acme.admin))
        self.assertEqual(events, [])
        row = Membership.objects.get(user=self.ada, group=self.acme.admin)
        self.assertEqual(row.ends_at, later)

    def test_groups_that_are_no_roles_are_in_the_audit_log(self):
        self.ada.groups.add(self.friends)
        changed = AuditEvent.objects.filter(user_key=self.ada.pk).order_by("-pk")[:2]
        details = [list(event.details) for event in changed]
        self.assertEqual(details, [["groups added"], ["groups removed"]])
        row = Membership.objects.get(user=self.ada, group=self.friends)
        self.assertIsNone(row.ends_at)
        # Nothing happened to the role, which was not named.
        self.assertFalse(self.ada.has_perm(VIEW, self.acme))


class RaceTests(TransactionTestCase):
    """A worker removes what has ended while someone changes the same membership."""

    def setUp(self):
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", admin_of=[self.acme])
        create_user("bob", admin_of=[self.acme])

    def let_end(self):
        set_end(self.ada, self.acme, read_clock() - SECOND)

    def join_again(self):
        return change_roles([RoleChange(self.ada, self.acme, ADMIN)], notify=False)

    @on_postgresql
    def test_who_joins_again_meanwhile_is_a_member(self):
        for _attempt in range(5):
            self.let_end()
            run_together(remove_ended_memberships, self.join_again)
            self.assertIsNone(Membership.objects.get(user=self.ada).ends_at)
            events = MembershipEvent.objects.filter(user_key=self.ada.pk)
            last = list(events.order_by("-pk").values_list("event", flat=True)[:2])
            self.assertEqual(last, [Event.JOINED, Event.LEFT])
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.active_admins, 2)
        status, output = run_doctor()
        self.assertEqual(status, 0, output)

    @on_postgresql
    def test_waits_for_nobody(self):
        self.let_end()
        for model, pk in ((User, self.ada.pk), (Organization, self.acme.pk)):
            with transaction.atomic():
                lock(model, [pk])
                [removed] = run_together(remove_ended_memberships)
            self.assertEqual(removed, 0)
        self.assertEqual(remove_ended_memberships(), 1)


class PersonalDataTests(TestCase):
    def setUp(self):
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", admin_of=[self.acme], email="ada@example.com")
        create_user("bob", admin_of=[self.acme])

    def test_the_export_says_until_when(self):
        give(self.ada, self.acme, ADMIN, datetime(2999, 1, 1, tzinfo=UTC))
        out = io.StringIO()
        call_command("export_person", "ada", stdout=out)
        data = json.loads(out.getvalue())
        [role] = data["roles"]
        self.assertEqual(role["ends_at"], "2999-01-01T00:00:00Z")
        ends = [event["ends_at"] for event in data["membership_log"]]
        self.assertEqual(ends, [None, "2999-01-01T00:00:00Z"])

    def test_an_erased_person_leaves_no_membership_that_has_ended(self):
        set_end(self.ada, self.acme, datetime.now(UTC) - SECOND)
        root = create_superuser()
        erase_person(self.ada, actor=root)
        self.assertFalse(Membership.objects.filter(user=self.ada).exists())
        names = MembershipEvent.objects.filter(user_key=self.ada.pk)
        self.assertNotIn("ada", names.values_list("user_name", flat=True))
        self.assertEqual(names.latest("pk").event, Event.LEFT)


class DoctorTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.acme = create_organization("Acme")
        cls.bob = create_user("bob", admin_of=[cls.acme])
        cls.ada = create_user("ada", admin_of=[cls.acme])

    def test_ends_that_the_log_knows_are_no_issue(self):
        give(self.ada, self.acme, ADMIN, datetime.now(UTC) + HOUR)
        status, output = run_doctor()
        self.assertEqual((status, "membership" in output), (0, False), output)

    @mock.patch("orgadmin.records.doctor.ends_check.is_queued", lambda: True)
    def test_says_that_nobody_removes_what_has_ended(self):
        give(self.ada, self.acme, ADMIN, datetime.now(UTC) + HOUR)
        with time(datetime.now(UTC) + HOUR + timedelta(minutes=30)):
            status, output = run_doctor()
            self.assertEqual(status, 0, output)
        with time(datetime.now(UTC) + 3 * HOUR):
            status, output = run_doctor()
            self.assertEqual(status, 1)
            self.assertIn("ended membership: memberships that ended", output)
            run_doctor("--fix")
            status, output = run_doctor()
            self.assertEqual(status, 0, output)
        self.assertFalse(Membership.objects.filter(user=self.ada).exists())

    def test_finds_an_end_that_the_log_does_not_know(self):
        ends_at = datetime.now(UTC).replace(microsecond=0) + HOUR
        set_end(self.ada, self.acme, ends_at)
        status, output = run_doctor()
        self.assertEqual(status, 1)
        self.assertIn("does not say that ada got another end in its admin", output)
        run_doctor("--fix")
        self.assertEqual(run_doctor()[0], 0)
        self.assertEqual(
            list_events(self.acme)[-1], (Event.END_CHANGED, "admin", ends_at)
        )

    def test_finds_ends_of_groups_that_are_no_role(self):
        friends = Group.objects.create(name="Friends")
        self.ada.groups.add(friends)
        rows = Membership.objects.filter(group=friends)
        rows.update(ends_at=datetime.now(UTC) + HOUR)
        status, output = run_doctor("--fix")
        self.assertEqual(status, 1)
        self.assertIn("ada is in the group “Friends” until", output)


class FixtureTests(TestCase):
    def test_dumpdata_and_loaddata_keep_ends(self):
        acme = create_organization("Acme")
        ada = create_user("ada", admin_of=[acme])
        bob = create_user("bob", reviewer_of=[acme])
        ends_at = NOON + timedelta(microseconds=1)
        set_end(ada, acme, ends_at)
        rows = [*Membership.objects.all(), *User.objects.all()]
        for order in (rows, rows[::-1]):
            text = serialize("json", order)
            Membership.objects.all().delete()
            for loaded in deserialize("json", text):
                loaded.save()
            self.assertEqual(
                dict(Membership.objects.values_list("user", "ends_at")),
                {ada.pk: ends_at, bob.pk: None},
            )


class RealTimeTests(TransactionTestCase):
    """Access ends within a second, while people are at work."""

    def setUp(self):
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", admin_of=[self.acme])
        self.bob = create_user("bob", admin_of=[self.acme])
        self.client.force_login(self.ada)
        self.path = f"{LIST}{self.acme.pk}/change/"

    def let_end(self, seconds=1.0):
        ends_at = read_clock() + timedelta(seconds=seconds)
        set_end(self.ada, self.acme, ends_at)
        return ends_at

    @staticmethod
    def wait_until(moment):
        real_time.sleep(max(0.0, (moment - read_clock()).total_seconds()) + 0.01)

    @tag("C15")
    def test_in_a_running_session(self):
        ends_at = self.let_end()
        # A wrong clock of the application changes nothing.
        for minutes in (-10, 10):
            with application_time(datetime.now(UTC) + timedelta(minutes=minutes)):
                response = self.client.get(self.path)
            if minutes == -10:
                self.assertEqual(response.status_code, 200)
        self.wait_until(ends_at)
        self.assertNotEqual(self.client.get(self.path).status_code, 200)
        self.assertNotContains(self.client.get("/admin/", follow=True), "Acme")

    @tag("C15")
    def test_in_a_running_transaction(self):
        with transaction.atomic():
            ends_at = self.let_end(0.3)
            self.assertTrue(Organization.objects.permitted(self.ada).exists())
            self.wait_until(ends_at)
            self.assertFalse(Organization.objects.permitted(self.ada).exists())
            permissions = Organization.objects.permissions_on(self.ada, self.acme.pk)
            self.assertEqual(permissions, frozenset())

    @tag("C15")
    def test_in_an_export_that_is_being_sent(self):
        Organization.objects.bulk_create(
            Organization(name=f"Number {number}") for number in range(3_000)
        )
        rows = Organization.objects.exclude(pk=self.acme.pk)
        changes = [RoleChange(self.ada, row, REVIEWER) for row in rows]
        change_roles(changes, notify=False)
        response = self.client.get(f"{LIST}export/")
        stream = iter(response.streaming_content)
        begun = next(stream)
        self.assertTrue(begun)
        ends_at = read_clock() + timedelta(seconds=0.2)
        Membership.objects.filter(user=self.ada).update(ends_at=ends_at)
        self.wait_until(ends_at)
        text = b"".join(stream).decode()
        self.assertLess(text.count("Number "), 2_500)

    def test_in_a_command(self):
        ends_at = self.let_end(0.5)
        call_command("explain", "ada", "Acme", stdout=mock.Mock())
        self.wait_until(ends_at)
        with self.assertRaises(SystemExit):
            call_command("explain", "ada", "Acme", stdout=mock.Mock())
