"""Access reviews: what is asked, what is decided, and when."""

import datetime
import itertools
import random
from contextlib import contextmanager, suppress
from datetime import UTC, timedelta
from unittest import mock

from django.contrib.auth.models import Group, Permission
from django.core import mail
from django.core.exceptions import PermissionDenied
from django.db import (
    DatabaseError,
    IntegrityError,
    NotSupportedError,
    connection,
    models,
    transaction,
)
from django.test import TestCase, override_settings, tag
from django.utils import timezone

from config.providers import GroupRole, OpenIDProvider
from orgadmin.models import (
    AccessReview,
    AuditEvent,
    LaterDecision,
    Membership,
    MembershipEvent,
    Organization,
    ReviewAnswer,
    ReviewDecision,
    ReviewIsComplete,
    ReviewItem,
    ReviewNotice,
    ReviewRhythm,
    ReviewScope,
    ReviewSection,
    User,
)
from orgadmin.models.guards import LastAdminError
from orgadmin.people import review_due, review_items, review_schedule
from orgadmin.people.archive import archive, restore
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.membership import change_roles, find_role
from orgadmin.people.review_decisions import Decision, decide
from orgadmin.people.review_other_access import confirm_other_paths, decide_other_paths
from orgadmin.people.review_schedule import remind_now, run_reviews
from orgadmin.people.reviews import (
    DueDateInThePast,
    NothingToReview,
    find_overlapping,
    start_review,
)
from tests.clocks import database_time
from tests.factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    grant,
    set_role,
)
from tests.mailing import queues_mail, work

START = datetime.datetime(2026, 11, 2, 10, tzinfo=UTC)
DUE = datetime.date(2026, 12, 14)

PROVIDER = OpenIDProvider(
    "company",
    "Example ID",
    "https://id.example.com",
    "orgadmin",
    "hush",
    roles=(GroupRole("staff", "reviewer", "R-1"),),
)

MANAGING = ["view_organization", "manage_members_organization"]


@contextmanager
def at(moment):
    """Stop both clocks at a moment. Yields the application's, which can be set."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.moment

    Clock.moment = moment
    with (
        mock.patch("django.utils.timezone.datetime", Clock),
        database_time(moment),
    ):
        yield Clock


@contextmanager
def killed_at_each(limit):
    """Kill the process in each statement whose number is divisible by this number."""
    numbers = itertools.count(1)

    def run_or_die(execute, *arguments):
        if next(numbers) % limit == 0:
            raise KeyboardInterrupt
        return execute(*arguments)

    with connection.execute_wrapper(run_or_die), suppress(KeyboardInterrupt):
        yield


def start(*, due_on=DUE, **values):
    """Start a review of all organizations, and let a worker prepare it."""
    values.setdefault("scope", ReviewScope.ALL)
    review = start_review(values.pop("scope"), due_on=due_on, **values)
    review_items.prepare(review.pk)
    review.refresh_from_db()
    return review


def section_of(review, organization):
    return review.sections.get(organization_key=organization.pk)


def answer(review, organization, user, what="confirmed", **values):
    """Decide about a member as someone. Returns the outcome."""
    actor = values.pop("actor")
    section = section_of(review, organization)
    item = section.items.get(user_key=user.pk)
    decision = Decision(item.pk, ReviewAnswer(what), role=values.pop("role", None))
    return decide(section, [decision], actor=actor, **values)


def answers_of(review):
    """Return {username: answer} of the members in a review."""
    decisions = ReviewDecision.objects.filter(item__section__review=review)
    return dict(decisions.values_list("item__user_name", "answer"))


class ReviewTestCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser("root", email="root@example.com")
        cls.acme = create_organization("Acme")
        cls.beta = create_organization("Beta")
        cls.ada = create_user("ada", email="ada@example.com", first_name="Ada")
        cls.ben = create_user("ben", email="ben@example.com")
        cls.cyd = create_user("cyd")
        with at(START - timedelta(days=100)):
            set_role(cls.acme, [cls.ada, cls.ben], ADMIN, actor=cls.root, notify=False)
            set_role(cls.acme, [cls.cyd], REVIEWER, actor=cls.ada, notify=False)
            set_role(cls.beta, [cls.ada], ADMIN, notify=False)

    def setUp(self):
        self.enterContext(queues_mail())
        self.clock = self.enterContext(at(START))

    def travel(self, moment):
        self.set_clocks(moment, moment)

    def set_clocks(self, application, database):
        self.clock.moment = application
        self.enterContext(database_time(database))


class ItemTests(ReviewTestCase):
    """Everyone who has access when a review starts is an item, once."""

    def test_lists_who_has_access_since_when_and_by_whom(self):
        self.cyd.last_login = START - timedelta(days=3)
        self.cyd.save()
        review = start()
        items = section_of(review, self.acme).items.order_by("user_name")
        self.assertEqual([item.user_name for item in items], ["ada", "ben", "cyd"])
        item = items.get(user_key=self.cyd.pk)
        self.assertEqual(item.role, "reviewer")
        self.assertEqual(item.since, START - timedelta(days=100))
        self.assertEqual(item.added_by_name, "ada")
        self.assertEqual(item.added_by_key, self.ada.pk)
        self.assertEqual(item.last_sign_in, START - timedelta(days=3))
        self.assertEqual(items.get(user_key=self.ada.pk).full_name, "Ada")
        section = section_of(review, self.acme)
        self.assertEqual((section.items_total, section.open_items), (3, 3))

    def test_an_end_is_part_of_what_is_asked_and_ended_access_is_not(self):
        end = timezone.now() + timedelta(days=1000)
        changes = [
            RoleChange(user, self.acme, role, end=MembershipEnd(end))
            for user, role in ((self.cyd, REVIEWER), (self.ben, ADMIN))
        ]
        change_roles(changes, notify=False)
        memberships = Membership.objects.filter(user=self.ben)
        memberships.update(ends_at=START - timedelta(days=1))
        section = section_of(start(), self.acme)
        items = section.items.order_by("user_name")
        self.assertEqual([item.user_name for item in items], ["ada", "cyd"])
        self.assertEqual(items[1].ends_at, end)
        seen = Decision(items[1].pk, ReviewAnswer.CONFIRMED, seen="reviewer -")
        outcome = decide(section, [seen], actor=self.ada)
        self.assertEqual(outcome.changed_meanwhile, [items[1]])

    def test_an_organization_without_members_needs_no_answer(self):
        empty = create_organization("Empty")
        section = section_of(start(), empty)
        self.assertEqual(section.open_items, 0)
        self.assertEqual(section.answered_at, START)

    def test_who_joined_after_the_start_is_not_part_of_it(self):
        review = start_review(ReviewScope.ALL, due_on=DUE)
        self.travel(START + timedelta(seconds=5))
        late = create_user("late", reviewer_of=[self.acme])
        # People who were members and get a new role are still reviewed.
        set_role(self.acme, [self.cyd], ADMIN, notify=False)
        review_items.prepare(review.pk)
        names = section_of(review, self.acme).items.values_list("user_name", flat=True)
        self.assertNotIn(late.username, names)
        self.assertIn("cyd", names)

    def test_a_list_and_a_single_organization_cover_no_others(self):
        organizations = Organization.objects.filter(name="Beta")
        for scope in (ReviewScope.LIST, ReviewScope.ONE):
            review = start(scope=scope, organizations=organizations)
            keys = review.sections.exclude(organization_key=None)
            found = keys.values_list("organization_key", "organization_name")
            self.assertEqual(list(found), [(self.beta.pk, "Beta")])

    @override_settings(OIDC_PROVIDERS=[PROVIDER])
    def test_other_paths_of_access_are_for_platform_staff(self):
        Organization.objects.filter(pk=self.acme.pk).update(reference="R-1")
        viewer = create_user("viewer", is_staff=True, permissions=["view_organization"])
        grant(self.cyd, "view_organization", self.beta)
        grant(self.cyd, "change_organization", self.beta)
        group = Group.objects.create(name="Auditors")
        permission = Permission.objects.get(codename="view_organization")
        self.beta.group_grants.create(group=group, permission=permission)
        create_superuser("gone", is_active=False)
        section = start().sections.get(organization_key=None)
        rows = section.items.order_by("path", "user_name")
        found = [
            (
                item.path,
                item.user_key,
                item.organization_name,
                item.role,
                item.shown_detail,
            )
            for item in rows
        ]
        self.assertEqual(
            found,
            [
                ("delegated", viewer.pk, "", "", "view it"),
                ("grant", self.cyd.pk, "Beta", "", "view it, edit it"),
                ("group", None, "Beta", "", "Auditors: view it"),
                ("provider", None, "Acme", "reviewer", "Example ID: staff"),
                ("superuser", self.root.pk, "", "", ""),
            ],
        )

    def test_killed_and_resumed_it_creates_each_item_once(self):
        for number in range(7):
            create_user(f"user {number}", admin_of=[create_organization()])
        self.enterContext(mock.patch.object(review_items, "BATCH", 2))
        whole = start()
        review = start_review(ReviewScope.ALL, due_on=DUE)
        # Killed at each place: a statement later each time.
        for limit in range(2, 40):
            with killed_at_each(limit):
                review_items.prepare(review.pk)
        review_schedule.continue_preparing()
        self.assertEqual(self.read_items(review), self.read_items(whole))
        self.assertIsNotNone(AccessReview.objects.get(pk=review.pk).prepared_at)

    def read_items(self, review):
        rows = ReviewItem.objects.filter(section__review=review)
        columns = ["section__organization_key", "key", "user_name", "since"]
        return list(rows.order_by(*columns[:2]).values_list(*columns))

    def test_a_second_worker_adds_nothing(self):
        review = start()
        before = self.read_items(review)
        models.QuerySet.update(
            AccessReview.objects.all(), prepared_at=None, prepared_to=0
        )
        review_items.prepare(review.pk)
        self.assertEqual(self.read_items(review), before)

    def test_a_review_with_nothing_to_ask_does_not_start(self):
        empty = create_organization("Empty")
        ended = create_organization("Ended")
        create_user("gone", reviewer_of=[ended])
        Membership.objects.filter(group=ended.reviewer).update(ends_at=START)
        archive([self.acme.pk], actor=self.root)
        for pks in ([empty.pk], [ended.pk], [self.acme.pk], []):
            with self.subTest(pks), self.assertRaises(NothingToReview):
                start(
                    scope=ReviewScope.LIST,
                    organizations=Organization.objects.filter(pk__in=pks),
                )
        archive([self.beta.pk], actor=self.root)
        with self.assertRaises(NothingToReview):
            start()
        rhythm = ReviewRhythm.objects.create(next_on=START.date())
        run_reviews()
        self.assertFalse(AccessReview.objects.exists())
        rhythm.refresh_from_db()
        self.assertEqual(rhythm.next_on, START.date() + timedelta(days=90))

    def test_finds_open_reviews_of_the_same_organizations(self):
        acme = Organization.objects.filter(pk=self.acme.pk)
        beta = Organization.objects.filter(pk=self.beta.pk)
        self.assertFalse(find_overlapping(None))
        review = start(scope=ReviewScope.ONE, organizations=acme)
        for organizations, found in ((None, [review]), (acme, [review]), (beta, [])):
            self.assertEqual(list(find_overlapping(organizations)), found)
        models.QuerySet.update(AccessReview.objects.all(), completed_at=START)
        self.assertFalse(find_overlapping(acme))
        preparing = start_review(ReviewScope.ALL, due_on=DUE)
        self.assertEqual(list(find_overlapping(beta)), [preparing])

    def test_the_due_date_is_after_today(self):
        with self.assertRaises(DueDateInThePast):
            start_review(ReviewScope.ALL, due_on=START.date())


class DecisionTests(ReviewTestCase):
    """Admins confirm, change or end each access; the change is made at once."""

    def setUp(self):
        super().setUp()
        self.review = start()

    def answer(self, user, what="confirmed", organization=None, **values):
        values.setdefault("actor", self.ada)
        organization = organization or self.acme
        return answer(self.review, organization, user, what, **values)

    def test_confirmed_access_stays(self):
        self.answer(self.cyd)
        decision = ReviewDecision.objects.get()
        self.assertEqual(decision.answer, "confirmed")
        self.assertEqual(
            (decision.actor_key, decision.actor_name), (self.ada.pk, "ada")
        )
        self.assertEqual(
            (decision.role_before, decision.role), ("reviewer", "reviewer")
        )
        self.assertEqual(decision.at, START)
        self.assertEqual(find_role(self.acme, self.cyd), REVIEWER)
        self.assertEqual(section_of(self.review, self.acme).open_items, 2)

    def test_ended_access_ends_and_the_membership_log_says_why(self):
        self.answer(self.cyd, "ended", reason="Moved on")
        self.assertIsNone(find_role(self.acme, self.cyd))
        event = MembershipEvent.objects.latest("pk")
        self.assertEqual((event.event, event.reason), ("left", "Moved on"))
        self.assertEqual(event.actor_key, self.ada.pk)
        decision = ReviewDecision.objects.get()
        self.assertEqual((decision.role_before, decision.role), ("reviewer", ""))

    def test_access_that_ended_by_its_date_is_closed_as_left(self):
        Membership.objects.filter(user=self.cyd).update(ends_at=START)
        self.answer(self.cyd)
        self.assertEqual(answers_of(self.review), {"cyd": "left"})

    def test_a_new_end_is_set_and_the_role_stays(self):
        end = timezone.now() + timedelta(days=1000)
        section = section_of(self.review, self.acme)
        item = section.items.get(user_key=self.cyd.pk)
        decision = Decision(
            item.pk, ReviewAnswer.CHANGED, role=REVIEWER, end=MembershipEnd(end)
        )
        decide(section, [decision], actor=self.ada)
        self.assertEqual(Membership.objects.get(user=self.cyd).ends_at, end)
        made = ReviewDecision.objects.get()
        self.assertEqual((made.ends_at_before, made.ends_at), (None, end))
        self.assertEqual((made.role_before, made.role), ("reviewer", "reviewer"))

    def test_a_changed_role_is_given(self):
        self.answer(self.cyd, "changed", role=ADMIN)
        self.assertEqual(find_role(self.acme, self.cyd), ADMIN)
        decision = ReviewDecision.objects.get()
        self.assertEqual((decision.role_before, decision.role), ("reviewer", "admin"))

    @tag("K1")
    def test_nobody_confirms_themselves_if_another_admin_can(self):
        outcome = self.answer(self.ada)
        self.assertEqual([item.user_name for item in outcome.own], ["ada"])
        outcome = self.answer(self.ada, "changed", role=REVIEWER)
        self.assertEqual(len(outcome.own), 1)
        self.assertFalse(ReviewDecision.objects.exists())
        self.answer(self.ada, actor=self.ben)
        self.assertEqual(answers_of(self.review), {"ada": "confirmed"})

    @tag("K1")
    def test_the_only_active_admin_confirms_themselves_and_the_evidence_says_so(self):
        self.ben.is_active = False
        self.ben.save()
        self.answer(self.ada)
        decision = ReviewDecision.objects.get()
        self.assertTrue(decision.is_own)
        self.assertIn("own access", decision.shown_actor)

    def test_people_can_give_up_their_own_access(self):
        self.answer(self.ada, "ended")
        self.assertIsNone(find_role(self.acme, self.ada))

    @tag("K1")
    def test_only_those_who_manage_members_decide(self):
        for actor in (
            self.cyd,
            create_user("stranger"),
            create_user("x", is_staff=True),
        ):
            for what in ("confirmed", "ended"):
                with self.assertRaises(PermissionDenied):
                    self.answer(self.cyd, what, actor=actor)
        self.assertFalse(ReviewDecision.objects.exists())

    @tag("K1")
    def test_who_may_not_decide_any_more_decides_nothing(self):
        """The person was loaded before they lost what let them decide."""
        demoted = create_superuser("demoted")
        User.objects.filter(pk=demoted.pk).update(is_superuser=False)
        inactive = create_user("inactive", admin_of=[self.acme])
        User.objects.filter(pk=inactive.pk).update(is_active=False)
        set_role(self.acme, [self.ben], REVIEWER, notify=False)
        deleted = create_superuser("deleted")
        User.objects.filter(pk=deleted.pk).delete()
        for actor in (demoted, inactive, self.ben, deleted):
            for what in ("confirmed", "ended"):
                with self.subTest(actor, what=what):
                    with self.assertRaises(PermissionDenied):
                        self.answer(self.cyd, what, actor=actor)
        self.assertFalse(ReviewDecision.objects.exists())

    @tag("K1")
    def test_an_admin_of_two_organizations_decides_where_they_still_are(self):
        change_roles([RoleChange(self.ada, self.acme, None)], notify=False)
        with self.assertRaises(PermissionDenied):
            self.answer(self.cyd)
        self.answer(self.ada, organization=self.beta)
        self.assertEqual(answers_of(self.review), {"ada": "confirmed"})

    @tag("K1")
    def test_only_superusers_decide_about_other_access_and_start_reviews(self):
        staff = create_user("staff", is_staff=True, permissions=MANAGING)
        demoted = create_superuser("demoted")
        User.objects.filter(pk=demoted.pk).update(is_superuser=False)
        section = self.review.sections.get(organization_key=None)
        keys = list(section.items.values_list("pk", flat=True))
        for actor in (self.ada, staff, demoted):
            with self.subTest(actor):
                with self.assertRaises(PermissionDenied):
                    confirm_other_paths(section, keys, actor=actor)
                with self.assertRaises(PermissionDenied):
                    start_review(ReviewScope.ALL, due_on=DUE, actor=actor)
        self.assertEqual(AccessReview.objects.count(), 1)
        self.assertFalse(ReviewDecision.objects.exists())

    @tag("K1")
    def test_an_item_of_another_organization_is_out_of_reach(self):
        mine = section_of(self.review, self.acme)
        other = section_of(self.review, self.beta).items.get()
        decision = Decision(other.pk, ReviewAnswer.ENDED)
        outcome = decide(mine, [decision], actor=self.ben)
        self.assertEqual(outcome.decided, [])
        self.assertEqual(find_role(self.beta, self.ada), ADMIN)

    def test_the_last_admin_cannot_be_ended(self):
        with self.assertRaises(LastAdminError):
            self.answer(self.ada, "ended", organization=self.beta)
        self.assertFalse(ReviewDecision.objects.exists())

    @tag("K2")
    def test_access_that_changed_after_it_was_seen_is_not_confirmed(self):
        section = section_of(self.review, self.acme)
        item = section.items.get(user_key=self.cyd.pk)
        set_role(self.acme, [self.cyd], ADMIN, actor=self.ben, notify=False)
        seen = Decision(item.pk, ReviewAnswer.CONFIRMED, seen="reviewer -")
        outcome = decide(section, [seen], actor=self.ada)
        self.assertEqual(outcome.changed_meanwhile, [item])
        self.assertFalse(ReviewDecision.objects.exists())
        seen = Decision(item.pk, ReviewAnswer.CONFIRMED, seen="admin -")
        decide(section, [seen], actor=self.ada)
        decision = ReviewDecision.objects.get()
        self.assertEqual(decision.role, "admin")

    def test_a_second_decision_changes_nothing(self):
        self.answer(self.cyd)
        outcome = self.answer(self.cyd, "ended", actor=self.ben)
        self.assertEqual(outcome.decided, [])
        self.assertEqual(find_role(self.acme, self.cyd), REVIEWER)
        self.assertEqual(answers_of(self.review), {"cyd": "confirmed"})
        self.assertEqual(section_of(self.review, self.acme).open_items, 2)

    def replace(self, user, what, number, **values):
        """Replace a decision as Ben, who has seen this number of decisions."""
        section = section_of(self.review, self.acme)
        item = section.items.get(user_key=user.pk)
        decision = Decision(item.pk, ReviewAnswer(what), number=number, **values)
        return decide(section, [decision], actor=self.ben)

    def read_answers(self, user):
        section = section_of(self.review, self.acme)
        item = section.items.with_decisions().get(user_key=user.pk)
        return [(row.answer, row.actor_name, row.role) for row in item.list_decisions()]

    @tag("K2")
    def test_a_decision_can_be_replaced_and_both_stay(self):
        self.answer(self.cyd)
        self.replace(self.cyd, "changed", 1, role=ADMIN)
        self.assertEqual(find_role(self.acme, self.cyd), ADMIN)
        self.replace(self.cyd, "ended", 2)
        self.assertIsNone(find_role(self.acme, self.cyd))
        told = [
            ("confirmed", "ada", "reviewer"),
            ("changed", "ben", "admin"),
            ("ended", "ben", ""),
        ]
        self.assertEqual(self.read_answers(self.cyd), told)
        self.assertEqual(section_of(self.review, self.acme).open_items, 2)
        # Nobody confirms access that has ended.
        outcome = self.replace(self.cyd, "confirmed", 3)
        self.assertEqual([item.user_name for item in outcome.left], ["cyd"])
        self.assertEqual(self.read_answers(self.cyd), told)

    @tag("K2")
    def test_nobody_replaces_a_decision_that_they_have_not_seen(self):
        self.answer(self.cyd)
        for number in (0, 2):
            outcome = self.replace(self.cyd, "ended", number)
            self.assertTrue(outcome.is_empty)
        self.replace(self.cyd, "confirmed", 1)
        self.assertTrue(self.replace(self.cyd, "ended", 1).is_empty)
        self.assertEqual(find_role(self.acme, self.cyd), REVIEWER)

    @tag("K1")
    def test_nobody_replaces_what_others_decided_about_their_access(self):
        self.answer(self.ben, "changed", role=REVIEWER)
        set_role(self.acme, [self.ben], ADMIN, notify=False)
        outcome = self.replace(self.ben, "confirmed", 1)
        self.assertEqual([item.user_name for item in outcome.own], ["ben"])
        self.assertEqual(len(self.read_answers(self.ben)), 1)

    def test_who_left_meanwhile_is_closed_as_left(self):
        set_role(self.acme, [self.cyd], None, notify=False)
        self.ben.delete()
        run_reviews()
        self.assertEqual(answers_of(self.review), {"cyd": "left", "ben": "left"})

    def test_who_left_and_came_back_is_still_asked_about(self):
        set_role(self.acme, [self.cyd], None, notify=False)
        set_role(self.acme, [self.cyd], REVIEWER, notify=False)
        run_reviews()
        self.assertEqual(answers_of(self.review), {})

    def test_who_left_a_moment_ago_is_not_confirmed(self):
        set_role(self.acme, [self.cyd], None, notify=False)
        self.answer(self.cyd)
        self.assertEqual(answers_of(self.review), {"cyd": "left"})

    @tag("K1")
    def test_platform_staff_confirm_each_other(self):
        section = self.review.sections.get(organization_key=None)
        items = section.items.values_list("pk", flat=True)
        other = create_superuser("other")
        outcome = confirm_other_paths(section, list(items), actor=self.root)
        self.assertEqual([item.user_name for item in outcome.own], ["root"])
        confirm_other_paths(section, list(items), actor=other)
        self.assertEqual(answers_of(self.review), {"root": "confirmed"})


class OtherAccessTests(ReviewTestCase):
    """Superusers confirm or end access that does not come from a role."""

    def setUp(self):
        super().setUp()
        self.other = create_superuser("other")
        self.viewer = create_user(
            "viewer", is_staff=True, permissions=["view_organization"]
        )
        grant(self.cyd, "view_organization", self.beta)
        grant(self.cyd, "change_organization", self.beta)
        self.group = Group.objects.create(name="Auditors")
        self.permission = Permission.objects.get(codename="view_organization")
        self.beta.group_grants.create(group=self.group, permission=self.permission)
        watchers = Group.objects.create(name="Watchers")
        watchers.permissions.add(self.permission)
        self.viewer.groups.add(watchers)
        self.review = start()
        self.section = self.review.sections.get(organization_key=None)

    def end(self, path, user=None, *, actor=None, number=0):
        item = self.section.items.get(path=path, user_key=user.pk if user else None)
        decision = Decision(item.pk, ReviewAnswer.ENDED, number=number)
        actor = actor or self.root
        return decide_other_paths(
            self.section, [decision], actor=actor, reason="Not needed"
        )

    def can_view(self, user):
        user = User.objects.get(pk=user.pk)
        return Organization.objects.permitted(user).filter(pk=self.beta.pk).exists()

    def test_ends_what_a_superuser_has(self):
        self.end("superuser", self.other)
        self.assertFalse(self.can_view(self.other))
        event = AuditEvent.objects.latest("pk")
        self.assertEqual(event.actor_key, self.root.pk)
        self.assertEqual(event.user_key, self.other.pk)

    def test_ends_permissions_of_their_own_and_by_groups(self):
        self.assertTrue(self.can_view(self.viewer))
        self.end("delegated", self.viewer)
        self.assertFalse(self.can_view(self.viewer))
        actors = AuditEvent.objects.filter(user_key=self.viewer.pk).order_by("-pk")[:2]
        self.assertEqual({event.actor_key for event in actors}, {self.root.pk})

    def test_ends_permissions_on_one_organization(self):
        self.assertTrue(self.can_view(self.cyd))
        self.end("grant", self.cyd)
        self.assertFalse(self.can_view(self.cyd))
        event = AuditEvent.objects.latest("pk")
        self.assertEqual(event.details["organization"], self.beta.pk)
        self.assertEqual(len(event.details["removed"]), 2)
        self.end("group")
        self.assertFalse(self.beta.group_grants.filter(group=self.group).exists())
        decisions = ReviewDecision.objects.values_list("answer", "reason")
        self.assertEqual(list(decisions), [("ended", "Not needed")] * 2)

    @tag("K1")
    def test_nobody_ends_their_own_or_the_last_superuser(self):
        outcome = self.end("superuser", self.root)
        self.assertEqual([item.user_name for item in outcome.own], ["root"])
        self.assertTrue(self.can_view(self.root))
        # The one who decides is a superuser no more when it is their turn.
        User.objects.filter(pk=self.other.pk).update(is_superuser=False)
        with self.assertRaises(PermissionDenied):
            self.end("superuser", self.root, actor=self.other)
        self.assertFalse(ReviewDecision.objects.exists())

    def test_a_confirmation_can_be_replaced_by_who_has_seen_it(self):
        item = self.section.items.get(path="grant")
        confirm_other_paths(self.section, [item.pk], actor=self.root)
        self.assertTrue(self.end("grant", self.cyd).is_empty)
        self.assertTrue(self.can_view(self.cyd))
        self.end("grant", self.cyd, number=1)
        self.assertFalse(self.can_view(self.cyd))
        self.assertEqual([row.answer for row in item.list_decisions()][1:], ["ended"])

    def test_what_has_ended_already_is_closed(self):
        self.beta.user_grants.all().delete()
        outcome = self.end("grant", self.cyd)
        self.assertEqual(len(outcome.left), 1)
        self.assertEqual(answers_of(self.review), {"cyd": "left"})

    @tag("K1")
    @override_settings(OIDC_PROVIDERS=[PROVIDER])
    def test_the_settings_are_not_changed(self):
        Organization.objects.filter(pk=self.acme.pk).update(reference="R-1")
        self.section = start().sections.get(organization_key=None)
        with self.assertRaises(PermissionDenied):
            self.end("provider")


class DueTests(ReviewTestCase):
    """At the end of the due date, the rest is reported or ended."""

    def after(self):
        self.travel(AccessReview.objects.latest("pk").due_at)

    def test_it_is_open_until_the_end_of_the_day(self):
        review = start(ends_access=True)
        self.travel(review.due_at - timedelta(seconds=1))
        run_reviews()
        self.assertEqual(answers_of(review), {})
        self.after()
        run_reviews()
        review.refresh_from_db()
        self.assertEqual(review.completed_at, review.due_at)

    def test_unconfirmed_access_is_reported(self):
        review = start()
        answer(review, self.acme, self.cyd, actor=self.ada)
        self.after()
        run_reviews()
        found = ReviewDecision.objects.values_list(
            "item__section__organization_name", "item__user_name", "answer", "actor_key"
        )
        self.assertEqual(
            set(found),
            {
                ("Acme", "cyd", "confirmed", self.ada.pk),
                ("Acme", "ada", "unconfirmed", None),
                ("Acme", "ben", "unconfirmed", None),
                ("Beta", "ada", "unconfirmed", None),
                ("", "root", "unconfirmed", None),
            },
        )
        self.assertEqual(find_role(self.acme, self.ben), ADMIN)

    @tag("K3")
    def test_unconfirmed_access_ends_if_the_review_says_so(self):
        review = start(ends_access=True)
        answer(review, self.acme, self.ben, actor=self.ada)
        self.after()
        run_reviews()
        self.assertIsNone(find_role(self.acme, self.cyd))
        self.assertIsNone(find_role(self.acme, self.ada))
        self.assertEqual(find_role(self.acme, self.ben), ADMIN)
        event = MembershipEvent.objects.filter(user_key=self.cyd.pk).latest("pk")
        self.assertEqual(event.reason, review_due.NOT_CONFIRMED)

    @tag("K3")
    def test_the_last_decision_about_a_role_counts_for_the_other_role(self):
        """Someone may have both roles. Confirming one keeps the other."""
        self.acme.reviewer.user_set.add(self.ben)
        review = start(ends_access=True)
        section = section_of(review, self.acme)
        item = section.items.get(user_key=self.ben.pk, role="reviewer")
        for number, what in enumerate(["confirmed", "ended"]):
            decision = Decision(item.pk, ReviewAnswer(what), number=number)
            decide(section, [decision], actor=self.ada)
        set_role(self.acme, [self.ben], ADMIN, notify=False)
        answer(review, self.acme, self.ada, actor=self.ben)
        self.after()
        run_reviews()
        other = section.items.get(user_key=self.ben.pk, role="admin")
        self.assertEqual(other.decision.answer, "expired")
        self.assertIsNone(find_role(self.acme, self.ben))

    @tag("K3")
    def test_no_organization_loses_its_last_admins(self):
        start(ends_access=True)
        self.after()
        run_reviews()
        found = ReviewDecision.objects.values_list(
            "item__section__organization_name", "item__user_name", "answer"
        )
        self.assertEqual(
            set(found),
            {
                ("Acme", "ada", "kept"),
                ("Acme", "ben", "kept"),
                ("Acme", "cyd", "expired"),
                ("Beta", "ada", "kept"),
                ("", "root", "unconfirmed"),
            },
        )
        self.assertEqual(find_role(self.acme, self.ben), ADMIN)

    @tag("K3")
    def test_the_last_admins_are_kept_however_many_items_are_closed_at_once(self):
        self.enterContext(mock.patch.object(review_due, "ITEMS_BATCH", 1))
        review = start(ends_access=True)
        self.after()
        run_reviews()
        found = ReviewDecision.objects.filter(
            item__section__in=review.sections.filter(organization_key=self.acme.pk)
        )
        self.assertEqual(
            dict(found.values_list("item__user_name", "answer")),
            {"ada": "kept", "ben": "kept", "cyd": "expired"},
        )
        self.assertEqual(find_role(self.acme, self.ada), ADMIN)

    def test_killed_anywhere_each_item_gets_one_decision(self):
        for number in range(5):
            create_user(f"user {number}", admin_of=[create_organization()])
        self.enterContext(mock.patch.object(review_due, "SECTIONS_BATCH", 2))
        review = start(ends_access=True)
        self.after()
        for limit in range(5, 200, 7):
            with killed_at_each(limit):
                run_reviews()
        run_reviews()
        review.refresh_from_db()
        self.assertIsNotNone(review.completed_at)
        items = ReviewItem.objects.filter(section__review=review)
        self.assertEqual(items.filter(decision=None).count(), 0)
        self.assertFalse(review.sections.filter(open_items__gt=0).exists())

    def test_a_review_with_all_answers_is_complete_before_the_due_date(self):
        one = Organization.objects.filter(pk=self.beta.pk)
        review = start(scope=ReviewScope.ONE, organizations=one)
        answer(review, self.beta, self.ada, actor=self.ada)
        run_reviews()
        review.refresh_from_db()
        self.assertIsNone(review.completed_at)
        staff = review.sections.get(organization_key=None)
        keys = list(staff.items.values_list("pk", flat=True))
        confirm_other_paths(staff, keys, actor=self.root)
        run_reviews()
        review.refresh_from_db()
        self.assertEqual(review.completed_at, START)
        event = AuditEvent.objects.latest("pk")
        self.assertEqual(event.event, "review completed")

    def test_archived_organizations_are_left_out(self):
        archive([self.acme.pk], actor=self.root)
        review = start()
        keys = review.sections.values_list("organization_key", flat=True)
        self.assertNotIn(self.acme.pk, keys)
        archive([self.beta.pk], actor=self.root)
        run_reviews()
        section = section_of(review, self.beta)
        self.assertEqual(section.items.get().decision.answer, "left")

    @tag("C40")
    def test_nothing_ends_in_one_that_is_archived_during_the_last_step(self):
        review = start(ends_access=True)
        self.after()
        archive([self.acme.pk], actor=self.root)
        review_due.close_unconfirmed(review)
        self.assertEqual(answers_of(review)["cyd"], "left")
        restore([self.acme.pk], actor=self.root)
        self.assertEqual(find_role(self.acme, self.cyd), REVIEWER)

    def test_a_deleted_organization_is_closed(self):
        review = start(ends_access=True)
        Organization.objects.filter(pk=self.beta.pk).delete()
        self.after()
        run_reviews()
        section = review.sections.get(organization_key=self.beta.pk)
        self.assertEqual(section.organization_name, "Beta")
        self.assertEqual(section.items.get().decision.answer, "left")


class EvidenceTests(ReviewTestCase):
    """A completed review cannot be changed, and is kept when its subject is deleted."""

    def complete(self):
        review = start()
        run_reviews()
        answer(review, self.acme, self.cyd, actor=self.ada)
        section = section_of(review, self.acme)
        item = section.items.get(user_key=self.cyd.pk)
        again = Decision(item.pk, ReviewAnswer.CONFIRMED, number=1)
        decide(section, [again], actor=self.ben)
        self.travel(review.due_at)
        run_reviews()
        review.refresh_from_db()
        return review

    @tag("K4")
    def test_nobody_decides_after_the_end(self):
        review = self.complete()
        section = section_of(review, self.acme)
        item = section.items.first()
        with self.assertRaises(ReviewIsComplete):
            decide(section, [Decision(item.pk, ReviewAnswer.ENDED)], actor=self.ada)
        cyd = section.items.get(user_key=self.cyd.pk)
        again = Decision(cyd.pk, ReviewAnswer.ENDED, number=2)
        with self.assertRaises(ReviewIsComplete):
            decide(section, [again], actor=self.ada)
        self.assertEqual(find_role(self.acme, self.cyd), REVIEWER)

    @tag("K4")
    def test_the_models_refuse_changes(self):
        review = self.complete()
        self.assertEqual(AccessReview.objects.update(due_on=START.date()), 0)
        for change in (review.save, review.delete, AccessReview.objects.all().delete):
            with self.assertRaises(ReviewIsComplete):
                change()
        rows = [ReviewItem, ReviewDecision, LaterDecision, ReviewNotice]
        for model in rows:
            with self.assertRaises(NotSupportedError):
                model.objects.all().delete()
            with self.assertRaises(NotSupportedError):
                model.objects.update(pk=0)

    @tag("K4")
    def test_the_database_refuses_changes(self):
        if connection.vendor != "postgresql":
            self.skipTest("Only PostgreSQL has triggers for this.")
        review = self.complete()
        models_of_evidence = (
            AccessReview,
            ReviewSection,
            ReviewItem,
            ReviewDecision,
            LaterDecision,
            ReviewNotice,
        )
        for model in models_of_evidence:
            rows = models.QuerySet(model)
            with self.assertRaises(DatabaseError), transaction.atomic():
                rows.delete()
            changed = {"due_on": DUE} if model is AccessReview else {"id": 0}
            with self.assertRaises(DatabaseError), transaction.atomic():
                rows.update(**changed)
        self.assertEqual(AccessReview.objects.get(), review)

    @tag("K4")
    def test_it_stays_when_people_and_organizations_are_deleted(self):
        review = self.complete()
        before = list(ReviewItem.objects.order_by("pk").values())
        decisions = list(ReviewDecision.objects.order_by("pk").values())
        Organization.objects.all().delete()
        User.objects.exclude(pk=self.root.pk).delete()
        self.assertEqual(list(ReviewItem.objects.order_by("pk").values()), before)
        self.assertEqual(
            list(ReviewDecision.objects.order_by("pk").values()), decisions
        )
        self.assertEqual(section_of(review, self.beta).organization_name, "Beta")

    @tag("K4")
    def test_evidence_equals_what_happened(self):
        """Random people do random things; the evidence says exactly that."""
        for seed in range(12):
            with self.subTest(seed=seed), transaction.atomic():
                self.live(random.Random(seed))
                transaction.set_rollback(True)

    def live(self, dice):
        organizations = [create_organization(f"Org {n}") for n in range(3)]
        people = [create_user(f"p{n}") for n in range(6)]
        for organization in organizations:
            for person in dice.sample(people, 4):
                set_role(
                    organization, [person], dice.choice([ADMIN, REVIEWER]), notify=False
                )
        asked = self.read_roles(organizations)
        review = start(ends_access=dice.random() < 0.5)
        happened = {}
        for _step in range(15):
            self.do_something(dice, review, organizations, people, happened)
        self.travel(review.due_at)
        before = self.read_roles(organizations)
        run_reviews()
        after = self.read_roles(organizations)
        self.travel(START)
        self.assertEqual(self.read_asked(review, organizations), asked)
        for key in asked:
            told = self.read_decision(review, *key)
            if key in happened:
                self.assertEqual(told, happened[key])
                continue
            self.assertIsNone(told.actor)
            if key not in before:
                self.assertEqual(told.answer, "left")
            elif key in after:
                self.assertIn(told.answer, ("unconfirmed", "kept"))
                self.assertEqual(told.role, after[key])
            else:
                self.assertEqual(told.answer, "expired")
        # The review has ended the access of all people who are no longer members.
        for key in before.keys() - after.keys():
            self.assertEqual(self.read_decision(review, *key).answer, "expired")

    def do_something(self, dice, review, organizations, people, happened):
        organization = dice.choice(organizations)
        person = dice.choice(people)
        actor = dice.choice([*people, self.root])
        role = dice.choice([ADMIN, REVIEWER, None])
        key = (organization.pk, person.pk)
        try:
            with transaction.atomic():
                if dice.random() < 0.3:
                    set_role(
                        organization, [person], role, actor=self.root, notify=False
                    )
                    return
                section = section_of(review, organization)
                item = section.items.filter(user_key=person.pk).first()
                if item is None:
                    return
                what = ReviewAnswer.CHANGED if role else ReviewAnswer.ENDED
                if dice.random() < 0.4:
                    what = ReviewAnswer.CONFIRMED
                current = find_role(organization, person)
                decision = Decision(item.pk, what, role=role)
                outcome = decide(section, [decision], actor=actor)
        except (PermissionDenied, LastAdminError):
            return
        if outcome.left:
            happened.setdefault(key, Told("left", None, "", ""))
        elif outcome.decided:
            new = current if what == ReviewAnswer.CONFIRMED else role
            self.assertEqual(find_role(organization, person), new)
            new_key = new.key if new else ""
            happened[key] = Told(what.value, actor.pk, current.key, new_key)

    def read_roles(self, organizations):
        return {
            (organization.pk, user.pk): role.key
            for organization in organizations
            for role in (ADMIN, REVIEWER)
            for user in getattr(organization, role.key).user_set.all()
        }

    def read_asked(self, review, organizations):
        items = ReviewItem.objects.filter(
            section__review=review,
            section__organization_key__in=[row.pk for row in organizations],
        )
        return {
            (item.section.organization_key, item.user_key): item.role
            for item in items.select_related("section")
        }

    def read_decision(self, review, organization, user):
        decision = ReviewDecision.objects.get(
            item__section__review=review,
            item__section__organization_key=organization,
            item__user_key=user,
        )
        return Told(
            decision.answer, decision.actor_key, decision.role_before, decision.role
        )


class Told:
    """What the evidence says about an item."""

    def __init__(self, answer, actor, before, role):
        self.answer = answer
        self.actor = actor
        self.before = before
        self.role = role

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __hash__(self):
        return hash(self.answer)

    def __repr__(self):
        return str(vars(self))


class RequestTests(ReviewTestCase):
    """Admins are asked at the start, and two weeks, a week and a day before the end."""

    def read_notices(self):
        rows = ReviewNotice.objects.order_by("pk")
        return list(rows.values_list("kind", "user_name", "organization_key"))

    def send(self):
        run_reviews()
        mail.outbox.clear()
        work()
        return sorted(message.to[0] for message in mail.outbox)

    @tag("K5")
    def test_each_request_is_sent_once_on_its_day(self):
        review = start()
        expected = {
            START: ["ada@example.com", "ben@example.com"],
            review.due_at - timedelta(days=14, seconds=1): [],
            review.due_at - timedelta(days=14): ["ada@example.com", "ben@example.com"],
            review.due_at - timedelta(days=7, seconds=1): [],
            review.due_at - timedelta(days=7): ["ada@example.com", "ben@example.com"],
            review.due_at - timedelta(days=1, seconds=1): [],
            review.due_at - timedelta(days=1): ["ada@example.com", "ben@example.com"],
            review.due_at - timedelta(seconds=1): [],
        }
        for moment, recipients in expected.items():
            self.travel(moment)
            with self.subTest(moment):
                self.assertEqual(self.send(), recipients)
                self.assertEqual(self.send(), [])
        kinds = [kind for kind, _name, _organization in self.read_notices()]
        self.assertEqual(sorted(set(kinds)), ["1 day", "14 days", "7 days", "start"])

    def test_daylight_saving_moves_no_request(self):
        with self.settings(TIME_ZONE="Europe/Berlin"):
            timezone.get_default_timezone.cache_clear()
            self.addCleanup(timezone.get_default_timezone.cache_clear)
            # The clocks change on 28 March 2027, in the last week.
            self.travel(datetime.datetime(2027, 3, 1, tzinfo=UTC))
            review = start(due_on=datetime.date(2027, 3, 30))
            self.send()
            due_at = datetime.datetime(2027, 3, 30, 22, tzinfo=UTC)
            self.assertEqual(review.due_at, due_at)
            # Midnight in Berlin, both times.
            week_before = datetime.datetime(2027, 3, 23, 23, tzinfo=UTC)
            self.travel(week_before - timedelta(seconds=1))
            self.send()
            self.assertEqual(self.read_notices()[-1][0], "14 days")
            self.travel(week_before)
            self.send()
            self.assertEqual(self.read_notices()[-1][0], "7 days")

    def test_a_leap_day_is_a_day(self):
        self.travel(datetime.datetime(2028, 2, 1, tzinfo=UTC))
        review = start(due_on=datetime.date(2028, 2, 29))
        self.assertEqual(review.due_at, datetime.datetime(2028, 3, 1, tzinfo=UTC))

    def test_after_a_long_outage_only_the_latest_request_is_sent(self):
        review = start()
        self.send()
        self.travel(review.due_at - timedelta(days=2))
        self.assertEqual(len(self.send()), 2)
        kinds = {kind for kind, _name, _organization in self.read_notices()}
        self.assertEqual(kinds, {"start", "7 days"})

    def test_a_short_review_has_no_request_from_before_its_start(self):
        start(due_on=START.date() + timedelta(days=5))
        self.send()
        self.assertEqual({row[0] for row in self.read_notices()}, {"start"})

    def test_who_has_answered_is_not_asked_again(self):
        review = start()
        self.send()
        for user, actor in ((self.cyd, self.ada), (self.ben, self.ada)):
            answer(review, self.acme, user, actor=actor)
        answer(review, self.acme, self.ada, actor=self.ben)
        self.travel(review.due_at - timedelta(days=7))
        self.assertEqual(self.send(), ["ada@example.com"])
        self.assertEqual(self.read_notices()[-1], ("7 days", "ada", self.beta.pk))

    def test_who_has_no_address_is_not_recorded_as_asked(self):
        User.objects.filter(pk=self.ben.pk).update(email="")
        start()
        self.assertEqual(self.send(), ["ada@example.com"])
        self.assertEqual({row[1] for row in self.read_notices()}, {"ada"})

    def test_the_mail_names_what_waits_and_until_when(self):
        start(ends_access=True)
        self.send()
        [to_ada] = [row for row in mail.outbox if row.to == ["ada@example.com"]]
        for text in ("Acme", "Beta", "Dec. 14, 2026", "ends"):
            self.assertIn(text, to_ada.body)
        self.assertNotIn("Acme", to_ada.subject)

    def test_who_is_no_admin_any_more_gets_no_mail(self):
        start()
        run_reviews()
        set_role(self.acme, [self.ben], REVIEWER, notify=False)
        mail.outbox.clear()
        work()
        self.assertEqual([row.to for row in mail.outbox], [["ada@example.com"]])

    @tag("K5")
    def test_killed_anywhere_everyone_is_asked_once(self):
        for number in range(6):
            create_user(
                f"user {number}",
                email=f"{number}@example.com",
                admin_of=[create_organization()],
            )
        self.enterContext(mock.patch.object(review_schedule, "PEOPLE_BATCH", 2))
        start()
        for limit in range(3, 60, 2):
            with killed_at_each(limit):
                run_reviews()
        mail.outbox.clear()
        self.send()
        recipients = [message.to[0] for message in mail.outbox]
        self.assertEqual(len(recipients), len(set(recipients)))
        self.assertEqual(len(recipients), 8)

    def test_platform_staff_can_remind_once_a_day(self):
        review = start()
        self.send()
        self.assertTrue(remind_now(review))
        self.assertFalse(remind_now(review))
        self.assertEqual(len(self.send()), 2)
        self.assertFalse(remind_now(review))
        self.travel(START + timedelta(days=1))
        self.assertTrue(remind_now(review))


class ClockTests(ReviewTestCase):
    """Only the database clock matters, even if the application's clock is wrong."""

    # The application may be ahead or behind.
    APART = (timedelta(minutes=-20), timedelta(minutes=20))

    @contextmanager
    def clocks_apart(self, moment, apart):
        """Set the database's clock to a moment, and undo what happens then."""
        with self.subTest(moment=moment, apart=apart), transaction.atomic():
            self.set_clocks(moment + apart, moment)
            yield
            transaction.set_rollback(True)
        self.travel(START)

    def test_all_times_of_a_review_are_of_one_clock(self):
        for apart in self.APART:
            with self.clocks_apart(START, apart):
                review = start()
                run_reviews()
                answer(review, self.beta, self.ada, actor=self.ada)
                times = [
                    review.started_at,
                    review.prepared_at,
                    review.notices.latest("pk").at,
                    ReviewDecision.objects.get().at,
                    section_of(review, self.beta).answered_at,
                ]
                self.assertEqual(times, [START] * 5)

    @tag("K4")
    def test_it_is_open_until_the_due_date_is_over(self):
        review = start()
        item = section_of(review, self.acme).items.get(user_key=self.cyd.pk)
        for apart in self.APART:
            with self.clocks_apart(review.due_at - timedelta(seconds=1), apart):
                run_reviews()
                self.assertIsNone(AccessReview.objects.get().completed_at)
                self.assertTrue(review.is_answerable)
                answer(review, self.acme, self.cyd, actor=self.ada)
                self.assertEqual(answers_of(review), {"cyd": "confirmed"})
        for apart in self.APART:
            with self.clocks_apart(review.due_at, apart):
                self.assertFalse(review.is_answerable)
                # No worker has completed it yet.
                with self.assertRaises(ReviewIsComplete):
                    answer(review, self.acme, self.cyd, "ended", actor=self.ada)
                staff = review.sections.get(organization_key=None)
                with self.assertRaises(ReviewIsComplete):
                    confirm_other_paths(staff, [item.pk], actor=self.root)
                run_reviews()
                stored = AccessReview.objects.get()
                self.assertEqual(stored.completed_at, review.due_at)
                self.assertEqual(item.decision.at, review.due_at)

    def test_whether_a_membership_has_ended_during_a_review(self):
        review = start(ends_access=True)
        end = START + timedelta(days=1)
        Membership.objects.filter(user=self.cyd).update(ends_at=end)
        for apart in self.APART:
            with self.clocks_apart(end - timedelta(seconds=1), apart):
                answer(review, self.acme, self.cyd, actor=self.ada)
                self.assertEqual(answers_of(review), {"cyd": "confirmed"})
        for apart in self.APART:
            with self.clocks_apart(end, apart):
                answer(review, self.acme, self.cyd, actor=self.ada)
                self.assertEqual(answers_of(review), {"cyd": "left"})

    def test_nobody_who_was_there_is_left_out(self):
        """The log has times of the application, and reviews those of the database."""
        for apart in self.APART:
            with self.clocks_apart(START, apart):
                early = create_user("early", reviewer_of=[self.acme])
                review = start_review(ReviewScope.ALL, due_on=DUE)
                late = create_user("late", reviewer_of=[self.acme])
                review_items.prepare(review.pk)
                keys = section_of(review, self.acme).items.values_list("user_key")
                self.assertIn((early.pk,), keys)
                self.assertNotIn((late.pk,), keys)

    def test_requests_and_rhythms_follow_it(self):
        review = start()
        run_reviews()
        week_before = review.due_at - timedelta(days=7)
        for moment, name in (
            (week_before - timedelta(seconds=1), "14 days"),
            (week_before, "7 days"),
        ):
            for apart in self.APART:
                with self.clocks_apart(moment, apart):
                    run_reviews()
                    self.assertEqual(review.notices.latest("pk").kind, name)
        midnight = datetime.datetime(2026, 11, 5, tzinfo=UTC)
        ReviewRhythm.objects.create(next_on=midnight.date())
        for apart in self.APART:
            with self.clocks_apart(midnight - timedelta(seconds=1), apart):
                run_reviews()
                self.assertEqual(AccessReview.objects.count(), 1)
        for apart in self.APART:
            with self.clocks_apart(midnight, apart):
                run_reviews()
                self.assertEqual(AccessReview.objects.count(), 2)
                with self.assertRaises(DueDateInThePast):
                    start_review(ReviewScope.ALL, due_on=midnight.date())


class RhythmTests(ReviewTestCase):
    """A rhythm starts one review at a time."""

    def test_it_starts_every_so_many_days(self):
        rhythm = ReviewRhythm.objects.create(next_on=START.date(), ends_access=True)
        run_reviews()
        run_reviews()
        review = AccessReview.objects.get()
        self.assertEqual(review.rhythm, rhythm)
        self.assertEqual(review.due_on, START.date() + timedelta(days=30))
        self.assertTrue(review.ends_access)
        rhythm.refresh_from_db()
        self.assertEqual(rhythm.next_on, START.date() + timedelta(days=90))

    @tag("K5")
    def test_the_next_one_waits_until_the_previous_one_is_complete(self):
        rhythm = ReviewRhythm.objects.create(
            next_on=START.date(), every_days=30, answer_days=60
        )
        run_reviews()
        self.travel(START + timedelta(days=31))
        run_reviews()
        self.assertEqual(AccessReview.objects.count(), 1)
        with self.assertRaises(IntegrityError), transaction.atomic():
            start_review(ReviewScope.ALL, due_on=DUE + timedelta(99), rhythm=rhythm)
        self.travel(START + timedelta(days=62))
        run_reviews()
        run_reviews()
        self.assertEqual(AccessReview.objects.count(), 2)
        self.assertEqual(AccessReview.objects.open().count(), 1)

    def test_an_inactive_rhythm_starts_nothing(self):
        ReviewRhythm.objects.create(next_on=START.date(), is_active=False)
        run_reviews()
        self.assertFalse(AccessReview.objects.exists())
