"""Closing an access review early, and canceling one that was a mistake."""

import threading
from datetime import timedelta
from unittest import mock

from django.core import mail
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.test import TransactionTestCase, skipUnlessDBFeature, tag

from orgadmin.access.sql import read_clock
from orgadmin.models import (
    AccessReview,
    AuditEvent,
    LaterDecision,
    ReviewAnswer,
    ReviewDecision,
    ReviewIsComplete,
    ReviewItem,
    ReviewNotice,
    ReviewRhythm,
    ReviewScope,
    User,
)
from orgadmin.people import (
    review_decisions,
    review_due,
    review_items,
    review_schedule,
)
from orgadmin.people.archive import archive
from orgadmin.people.ends import find_day
from orgadmin.people.membership import find_role
from orgadmin.people.review_closing import (
    AlreadyDecided,
    OpenItems,
    cancel,
    close_early,
    count_open_items,
)
from orgadmin.people.review_decisions import Decision, decide
from orgadmin.people.review_other_access import confirm_other_paths
from orgadmin.people.review_schedule import remind_now, run_reviews
from orgadmin.people.reviews import start_review
from tests.factories import (
    ADMIN,
    REVIEWER,
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)
from tests.mailing import queues_mail, work
from tests.test_review_pages import REVIEWS, PagesTestCase
from tests.test_reviews import (
    DUE,
    START,
    ReviewTestCase,
    answer,
    answers_of,
    section_of,
    start,
)
from tests.together import run_together


class ClosingTests(ReviewTestCase):
    """What a worker does at the due date happens as soon as someone closes a review."""

    def close(self, review):
        close_early(review, actor=self.root)
        run_reviews()
        review.refresh_from_db()

    def test_unconfirmed_access_is_reported_and_stays(self):
        review = start()
        answer(review, self.acme, self.cyd, actor=self.ada)
        self.close(review)
        self.assertEqual(review.completed_at, START)
        self.assertEqual(
            answers_of(review),
            {
                "ada": "unconfirmed",
                "ben": "unconfirmed",
                "cyd": "confirmed",
                "root": "unconfirmed",
            },
        )
        self.assertEqual(find_role(self.acme, self.ben), ADMIN)

    def test_unconfirmed_access_ends_if_the_review_says_so_and_people_are_told(self):
        self.cyd.email = "cyd@example.com"
        self.cyd.save()
        review = start(ends_access=True)
        answer(review, self.acme, self.ben, actor=self.ada)
        self.close(review)
        self.assertIsNone(find_role(self.acme, self.cyd))
        self.assertEqual(find_role(self.acme, self.ben), ADMIN)
        # Ada is the only admin of Beta.
        self.assertEqual(find_role(self.beta, self.ada), ADMIN)
        mail.outbox.clear()
        work()
        self.assertIn(["cyd@example.com"], [message.to for message in mail.outbox])

    def test_says_who_closed_it_and_when(self):
        review = start()
        close_early(review, actor=self.root)
        review.refresh_from_db()
        self.assertEqual(review.closed_at, START)
        self.assertEqual(review.closed_by_key, self.root.pk)
        self.assertEqual(review.closed_by_name, "root")
        self.assertFalse(review.is_cancelled)
        event = AuditEvent.objects.get(event="review closed")
        self.assertEqual(event.actor_key, self.root.pk)
        self.assertEqual(event.details["review"], review.pk)

    @tag("K4")
    def test_nobody_answers_from_that_moment_on(self):
        review = start(ends_access=True)
        close_early(review, actor=self.root)
        with self.assertRaises(ReviewIsComplete):
            answer(review, self.acme, self.cyd, actor=self.ada)
        staff = review.sections.get(organization_key=None)
        keys = staff.items.values_list("pk", flat=True)
        with self.assertRaises(ReviewIsComplete):
            confirm_other_paths(staff, keys, actor=self.root)
        self.assertFalse(review.sections.waiting().exists())
        self.assertFalse(ReviewDecision.objects.exists())

    def test_nobody_is_asked_any_more(self):
        review = start()
        run_reviews()
        asked = ReviewNotice.objects.count()
        close_early(review, actor=self.root)
        # What the worker has loaded is from before.
        self.assertFalse(remind_now(review))
        review_schedule.send_requests(review)
        mail.outbox.clear()
        work()
        self.assertEqual(ReviewNotice.objects.count(), asked)
        self.assertEqual(mail.outbox, [])

    @tag("K1")
    def test_only_superusers_close_and_cancel(self):
        review = start()
        demoted = create_superuser("demoted")
        User.objects.filter(pk=demoted.pk).update(is_superuser=False)
        for actor in (self.ada, demoted):
            for act in (close_early, cancel):
                with self.assertRaises(PermissionDenied):
                    act(review, actor=actor)
        review.refresh_from_db()
        self.assertIsNone(review.closed_at)

    def test_closes_nothing_twice_or_too_early_or_too_late(self):
        review = start_review(ReviewScope.ALL, due_on=DUE)
        with self.assertRaises(ReviewIsComplete):
            close_early(review, actor=self.root)
        review_items.prepare(review.pk)
        close_early(review, actor=self.root)
        for act in (close_early, cancel):
            with self.assertRaises(ReviewIsComplete):
                act(review, actor=self.root)
        other = start()
        self.travel(other.due_at)
        for act in (close_early, cancel):
            with self.assertRaises(ReviewIsComplete):
                act(other, actor=self.root)
        run_reviews()
        for act in (close_early, cancel):
            with self.assertRaises(ReviewIsComplete):
                act(other, actor=self.root)

    def test_counts_what_is_open(self):
        review = start()
        self.assertEqual(count_open_items(review), OpenItems(4, 2, 1))
        answer(review, self.beta, self.ada, actor=self.ada)
        staff = review.sections.get(organization_key=None)
        confirm_other_paths(
            staff, staff.items.values_list("pk", flat=True), actor=self.root
        )
        self.assertEqual(count_open_items(review), OpenItems(3, 1, 0))


class CancellingTests(ReviewTestCase):
    """A canceled review asks nobody, decides nothing, and does not change."""

    def test_nobody_is_asked_and_nobody_loses_access(self):
        review = start(ends_access=True)
        run_reviews()
        cancel(review, actor=self.root)
        mail.outbox.clear()
        work()
        self.travel(review.due_at + timedelta(days=1))
        run_reviews()
        review.refresh_from_db()
        self.assertEqual(mail.outbox, [])
        self.assertTrue(review.is_cancelled)
        self.assertEqual(review.closed_at, START)
        self.assertEqual(review.completed_at, START)
        self.assertFalse(ReviewDecision.objects.exists())
        self.assertEqual(find_role(self.acme, self.cyd), REVIEWER)
        event = AuditEvent.objects.get(event="review cancelled")
        self.assertEqual(event.actor_key, self.root.pk)

    def test_one_that_is_being_prepared_gets_no_more_items(self):
        review = start_review(ReviewScope.ALL, due_on=DUE)
        cancel(review, actor=self.root)
        review_items.prepare(review.pk)
        run_reviews()
        self.assertFalse(ReviewItem.objects.exists())

    def test_the_next_one_of_a_schedule_starts_on_its_day(self):
        rhythm = ReviewRhythm.objects.create(next_on=START.date())
        run_reviews()
        cancel(AccessReview.objects.get(), actor=self.root)
        self.travel(START + timedelta(days=90))
        run_reviews()
        self.assertEqual(rhythm.reviews.filter(is_cancelled=False).count(), 1)

    @tag("K4")
    def test_is_refused_once_someone_has_decided(self):
        review = start()
        answer(review, self.acme, self.cyd, actor=self.ada)
        with self.assertRaises(AlreadyDecided):
            cancel(review, actor=self.root)
        other = start()
        staff = other.sections.get(organization_key=None)
        create_superuser("second")
        [item] = staff.items.all()
        confirm_other_paths(staff, [item.pk], actor=User.objects.get(username="second"))
        with self.assertRaises(AlreadyDecided):
            cancel(other, actor=self.root)

    @tag("K4")
    def test_a_decision_after_someone_had_left_counts(self):
        review = start()
        set_role(self.acme, [self.cyd], None, notify=False)
        run_reviews()
        self.assertEqual(answers_of(review), {"cyd": "left"})
        set_role(self.acme, [self.cyd], REVIEWER, notify=False)
        section = section_of(review, self.acme)
        item = section.items.get(user_key=self.cyd.pk)
        again = Decision(item.pk, ReviewAnswer.CONFIRMED, number=1)
        decide(section, [again], actor=self.ada)
        self.assertTrue(LaterDecision.objects.exists())
        with self.assertRaises(AlreadyDecided):
            cancel(review, actor=self.root)

    def test_people_who_left_are_no_decision(self):
        review = start()
        set_role(self.acme, [self.cyd], None, notify=False)
        run_reviews()
        cancel(review, actor=self.root)
        review.refresh_from_db()
        self.assertTrue(review.is_cancelled)

    @tag("K4")
    def test_a_worker_that_was_about_to_close_it_adds_nothing(self):
        """It has loaded the review, and found that it is due."""
        review = start(ends_access=True)
        set_role(self.beta, [self.ben], ADMIN, notify=False)
        set_role(self.acme, [self.ben], None, notify=False)
        archive([self.beta.pk], actor=self.root)
        cancel(review, actor=self.root)
        staff = review.sections.get(organization_key=None)
        for close in (
            review_schedule.close_items_of_leavers,
            review_schedule.close_archived,
            review_due.close_unconfirmed,
        ):
            with (
                mock.patch.object(review_due, "MAX_WORK_TIME", 0),
                transaction.atomic(),
            ):
                close(review)
        review_due.close_other_paths(staff.pk)
        self.assertFalse(ReviewDecision.objects.exists())
        self.assertEqual(find_role(self.acme, self.cyd), REVIEWER)


class ClosingPageTests(PagesTestCase):
    """Superusers read what happens before they close or cancel a review."""

    def setUp(self):
        super().setUp()
        self.sign_in(self.root)

    def url_of(self, review, page):
        return f"{REVIEWS}{review.pk}/{page}/"

    def test_says_what_ends(self):
        review = start(ends_access=True)
        page = self.client.get(self.url_of(review, "overview"))
        self.assertContains(page, "Close review now")
        page = self.client.get(self.url_of(review, "close"))
        self.assertContains(page, "4 roles that nobody has confirmed end.")
        self.assertContains(page, "This affects 2 organizations.")
        self.assertContains(page, "1 entry of other access is reported, and stays.")
        response = self.client.post(self.url_of(review, "close"), follow=True)
        self.assertContains(response, "Nobody can answer any more.")
        self.assertNotContains(response, "Close review now")
        run_reviews()
        page = self.client.get(self.url_of(review, "evidence"))
        self.assertContains(page, "Closed early")

    def test_says_what_is_reported(self):
        review = start()
        page = self.client.get(self.url_of(review, "close"))
        self.assertContains(page, "4 roles that nobody has confirmed are reported")
        self.assertNotContains(page, "get an email")

    def test_cancels_until_someone_has_decided(self):
        review = start()
        overview = self.url_of(review, "overview")
        self.assertContains(self.client.get(overview), "Cancel review")
        self.assertContains(self.client.get(self.url_of(review, "cancel")), "nobody")
        answer(review, self.acme, self.cyd, actor=self.ada)
        self.assertNotContains(self.client.get(overview), "Cancel review")
        response = self.client.post(self.url_of(review, "cancel"), follow=True)
        self.assertContains(response, "Someone has made a decision in this review.")
        other = start()
        response = self.client.post(self.url_of(other, "cancel"), follow=True)
        self.assertContains(response, "The review was canceled.")
        self.assertContains(self.client.get(REVIEWS), "Canceled")
        page = self.client.get(self.url_of(other, "evidence"))
        self.assertContains(page, "no answer needed")

    def test_admins_read_that_they_need_not_answer(self):
        review = start()
        cancel(review, actor=self.root)
        self.sign_in(self.ada)
        page = self.client.get(self.page_of(self.acme))
        self.assertContains(page, "Platform staff canceled this review on")
        self.assertNotContains(page, "root")
        home = self.client.get("/admin/")
        self.assertContains(home, "access review canceled")

    def test_says_that_a_completed_review_has_ended(self):
        review = start()
        self.travel(review.due_at)
        self.sign_in_again()
        for method in (self.client.get, self.client.post):
            for page in ("close", "cancel"):
                response = method(self.url_of(review, page), follow=True)
                self.assertContains(response, "This review has ended")

    def test_a_reminder_after_the_end_says_that_the_review_has_ended(self):
        review = start()
        overview = self.url_of(review, "overview")
        close_early(review, actor=self.root)
        response = self.client.post(overview, {"remind": "1"}, follow=True)
        self.assertContains(response, "This review has ended")

    @tag("D26")
    def test_needs_a_recent_sign_in(self):
        review = start()
        age_sign_in(self.client, 30)
        for page in ("close", "cancel"):
            self.client.post(self.url_of(review, page))
        review.refresh_from_db()
        self.assertIsNone(review.closed_at)

    @tag("K1")
    def test_is_closed_to_others(self):
        review = start()
        staff = create_user("staff", is_staff=True, permissions=["view_organization"])
        for user in (self.ada, staff):
            self.sign_in(user)
            for page in ("close", "cancel"):
                for method in (self.client.get, self.client.post):
                    self.assertEqual(method(self.url_of(review, page)).status_code, 302)
        review.refresh_from_db()
        self.assertIsNone(review.closed_at)


@skipUnlessDBFeature("has_select_for_update")
class RaceTests(TransactionTestCase):
    """Decisions and the end of a review come one after the other."""

    def setUp(self):
        self.enterContext(queues_mail())
        self.root = create_superuser("root")
        self.acme = create_organization("Acme")
        self.ada = create_user("ada", admin_of=[self.acme])
        self.cyd = create_user("cyd", reviewer_of=[self.acme])
        due_on = find_day(read_clock()) + timedelta(days=30)
        self.review = start(due_on=due_on, ends_access=True)
        self.section = section_of(self.review, self.acme)
        self.item = self.section.items.get(user_key=self.cyd.pk)

    def decide_slowly(self, meanwhile):
        """Decide, and do something else before the decision is committed."""
        is_deciding = threading.Event()

        def pause(*arguments, **values):
            is_deciding.set()
            # The other one either ends within this time, or waits for the lock.
            ended.wait(timeout=1)
            return change_roles(*arguments, **values)

        def confirm():
            decision = Decision(self.item.pk, ReviewAnswer.CONFIRMED)
            return decide(self.section, [decision], actor=self.ada)

        def do_meanwhile():
            is_deciding.wait(timeout=10)
            try:
                return meanwhile()
            except (AlreadyDecided, ReviewIsComplete) as error:
                return type(error)
            finally:
                ended.set()

        ended = threading.Event()
        change_roles = review_decisions.change_roles
        with mock.patch.object(review_decisions, "change_roles", pause):
            return run_together(confirm, do_meanwhile)

    @tag("K4")
    def test_nobody_cancels_a_review_while_someone_decides(self):
        _outcome, refused = self.decide_slowly(
            lambda: cancel(self.review, actor=self.root)
        )
        self.assertEqual(refused, AlreadyDecided)
        self.review.refresh_from_db()
        self.assertFalse(self.review.is_cancelled)
        self.assertEqual(ReviewDecision.objects.get().actor_key, self.ada.pk)

    @tag("K4")
    def test_a_decision_at_the_last_moment_counts(self):
        def close():
            close_early(self.review, actor=self.root)
            run_reviews()

        self.decide_slowly(close)
        run_reviews()
        self.review.refresh_from_db()
        self.assertIsNotNone(self.review.completed_at)
        self.assertEqual(answers_of(self.review)["cyd"], "confirmed")
        self.assertEqual(find_role(self.acme, self.cyd), REVIEWER)

    @tag("K4")
    def test_of_two_who_close_it_one_is_told_that_it_has_ended(self):
        def act(function):
            try:
                function(self.review, actor=self.root)
            except ReviewIsComplete:
                return "ended"
            return "done"

        outcomes = run_together(lambda: act(close_early), lambda: act(cancel))
        self.assertEqual(sorted(outcomes), ["done", "ended"])
