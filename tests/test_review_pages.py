"""The pages of access reviews: for admins, and for platform staff."""

import csv
import datetime
import io
import re
from datetime import timedelta
from unittest import mock

from django.db import connection
from django.test import override_settings, tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.formats import date_format
from python_calamine import CalamineWorkbook

from orgadmin.access.ends import find_start_of_next_day
from orgadmin.admin.organizations import review as organization_review
from orgadmin.admin.organizations.review import list_sections
from orgadmin.admin.reviews import access_reviews
from orgadmin.models import (
    AccessReview,
    AuditEvent,
    Membership,
    Organization,
    ReviewAnswer,
    ReviewDecision,
    ReviewNotice,
    ReviewRhythm,
    ReviewScope,
)
from orgadmin.people.membership import find_role
from orgadmin.people.review_decisions import Decision, decide
from orgadmin.people.review_schedule import run_reviews
from tests.factories import (
    ADMIN,
    REVIEWER,
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
    grant,
    refresh_sign_in,
    set_role,
)
from tests.mailing import work
from tests.test_reviews import (
    START,
    ReviewTestCase,
    answer,
    answers_of,
    section_of,
    start,
)

REVIEWS = "/admin/orgadmin/accessreview/"
ORGANIZATIONS = "/admin/orgadmin/organization/"


def read_csv(response):
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def read_workbook(response):
    file = io.BytesIO(response.getvalue())
    sheet = CalamineWorkbook.from_filelike(file).get_sheet_by_index(0)
    header, *rows = sheet.to_python()
    return [dict(zip(header, row)) for row in rows]


@override_settings(SECOND_FACTOR="optional")
class PagesTestCase(ReviewTestCase):
    def sign_in(self, user):
        self.user = user
        self.client.force_login(user)
        refresh_sign_in(self.client)

    def sign_in_again(self):
        """Sign in as the same person, after the clock has moved on."""
        self.sign_in(self.user)

    def page_of(self, organization):
        return f"{ORGANIZATIONS}{organization.pk}/review/"

    def read_form(self, organization):
        """Return what the form of an admin's page sends besides its button."""
        page = self.client.get(self.page_of(organization)).content.decode()
        data = {"item": re.findall(r'name="item" value="(\d+)"', page)}
        fields = r'name="((?:seen|decisions)-\d+)" value="([^"]*)"'
        data.update(re.findall(fields, page))
        return data

    def item_of(self, user, organization=None):
        section = section_of(self.review, organization or self.acme)
        return section.items.get(user_key=user.pk)


class AdminPageTests(PagesTestCase):
    """Admins see who has access, and decide."""

    def setUp(self):
        super().setUp()
        self.review = start()
        self.sign_in(self.ada)
        self.url = self.page_of(self.acme)

    def test_shows_each_person_and_what_is_known(self):
        page = self.client.get(self.url)
        for text in ("Ada", "ben", "cyd", "Reviewer", "July 25, 2026", "never"):
            self.assertContains(page, text)
        self.assertContains(page, "Review access by Dec. 14, 2026")
        self.assertContains(page, "Another admin must confirm your own access.")
        self.assertContains(page, "Confirm all 2 people")

    def test_one_press_confirms_everyone_on_the_page(self):
        data = self.read_form(self.acme)
        response = self.client.post(self.url, data | {"confirm": "all"}, follow=True)
        self.assertContains(response, "The access of 2 people is confirmed.")
        self.assertEqual(
            answers_of(self.review), {"ben": "confirmed", "cyd": "confirmed"}
        )

    @tag("K2")
    def test_only_what_the_page_showed_is_confirmed(self):
        data = self.read_form(self.acme)
        set_role(self.acme, [self.cyd], ADMIN, actor=self.ben, notify=False)
        response = self.client.post(self.url, data | {"confirm": "all"}, follow=True)
        self.assertEqual(answers_of(self.review), {"ben": "confirmed"})
        self.assertContains(
            response, "Someone changed this while you were reading: “cyd”."
        )
        # A request that says nothing of what was seen confirms nothing.
        self.client.post(self.url, {"confirm": str(self.item_of(self.cyd).pk)})
        self.assertEqual(answers_of(self.review), {"ben": "confirmed"})

    def test_ending_asks_first(self):
        item = self.item_of(self.cyd)
        question = self.client.get(f"{self.url}?end={item.pk}")
        self.assertContains(question, "End the access of “cyd” to “Acme”?")
        self.assertEqual(answers_of(self.review), {})
        data = self.read_form(self.acme) | {"end": item.pk, "reason": "Moved on"}
        response = self.client.post(self.url, data, follow=True)
        self.assertContains(response, "The access of “cyd” has ended.")
        self.assertIsNone(find_role(self.acme, self.cyd))
        self.assertEqual(ReviewDecision.objects.get().reason, "Moved on")

    @tag("K2")
    def test_a_decision_can_be_replaced_as_long_as_it_is_the_last(self):
        item = self.item_of(self.cyd)
        old = self.read_form(self.acme)
        self.client.post(self.url, old | {"confirm": "all"})
        new = self.read_form(self.acme)
        page = self.client.get(self.url)
        self.assertContains(page, f"end={item.pk}")
        # Only Ben can decide about Ada.
        self.assertNotContains(page, 'name="confirm"')
        response = self.client.post(self.url, old | {"end": item.pk}, follow=True)
        self.assertContains(response, "Someone else has decided about this")
        self.assertEqual(find_role(self.acme, self.cyd), REVIEWER)
        question = self.client.get(f"{self.url}?end={item.pk}")
        field = f'name="decisions-{item.pk}" value="1"'
        self.assertContains(question, field)
        response = self.client.post(self.url, new | {"end": item.pk}, follow=True)
        self.assertContains(response, "The access of “cyd” has ended.")
        answers = [row.answer for row in item.list_decisions()]
        self.assertEqual(answers, ["confirmed", "ended"])
        self.assertNotContains(response, f"end={item.pk}")

    def test_changing_a_role(self):
        item = self.item_of(self.cyd)
        question = self.client.get(f"{self.url}?change={item.pk}")
        self.assertContains(question, "Change the access of “cyd” to “Acme”?")
        data = self.read_form(self.acme) | {"change": item.pk, "role": "admin"}
        self.client.post(self.url, data)
        self.assertEqual(find_role(self.acme, self.cyd), ADMIN)

    def test_changing_only_the_end(self):
        item = self.item_of(self.cyd)
        data = self.read_form(self.acme) | {"change": item.pk, "role": "reviewer"}
        for until, text in (
            ("", "Choose another role, or another last day."),
            ("2020-01-01", "Choose today or a later day."),
            ("9999-12-31", "This day is too far in the future."),
        ):
            response = self.client.post(self.url, data | {"until": until})
            self.assertContains(response, text)
        self.assertEqual(answers_of(self.review), {})
        day = timezone.localdate() + timedelta(days=400)
        self.client.post(self.url, data | {"until": day.isoformat()}, follow=True)
        membership = Membership.objects.get(user=self.cyd, group=self.acme.reviewer)
        self.assertEqual(membership.ends_at, find_start_of_next_day(day))
        decision = ReviewDecision.objects.get()
        self.assertEqual(decision.answer, "changed")
        self.assertEqual(decision.ends_at, membership.ends_at)
        self.assertIsNone(decision.ends_at_before)
        page = self.client.get(self.url)
        self.assertContains(page, f"until {date_format(day, 'DATE_FORMAT')}")

    def test_an_end_stays_in_each_language(self):
        """Browsers leave a field empty if its date is not in ISO form."""
        day = timezone.localdate() + timedelta(days=400)
        Membership.objects.filter(user=self.cyd, group=self.acme.reviewer).update(
            ends_at=find_start_of_next_day(day)
        )
        item = self.item_of(self.cyd)
        for language in ("en", "de", "fr"):
            headers = {"accept-language": language}
            page = self.client.get(f"{self.url}?change={item.pk}", headers=headers)
            self.assertContains(page, f'value="{day.isoformat()}"')

    @tag("D26")
    def test_making_someone_an_admin_needs_a_recent_sign_in(self):
        item = self.item_of(self.cyd)
        data = self.read_form(self.acme) | {"change": item.pk, "role": "admin"}
        age_sign_in(self.client, 30)
        self.client.post(self.url, data)
        self.assertEqual(find_role(self.acme, self.cyd), REVIEWER)

    def test_the_last_admin_is_not_ended(self):
        item = self.item_of(self.ada, self.beta)
        url = self.page_of(self.beta)
        data = self.read_form(self.beta) | {"end": item.pk}
        response = self.client.post(url, data, follow=True)
        self.assertContains(response, "no active admin would be left")
        self.assertEqual(find_role(self.beta, self.ada), ADMIN)
        response = self.client.get(f"{url}?end={item.pk}", follow=True)
        self.assertContains(response, "no active admin would be left")

    def test_giving_up_ones_own_access_leads_elsewhere(self):
        item = self.item_of(self.ada)
        data = self.read_form(self.acme) | {"end": item.pk}
        response = self.client.post(self.url, data)
        self.assertRedirects(response, "/admin/")

    def test_a_completed_review_stays_readable(self):
        answer(self.review, self.acme, self.cyd, actor=self.ada)
        self.travel(self.review.due_at)
        run_reviews()
        self.sign_in_again()
        page = self.client.get(self.url)
        self.assertContains(page, "This review was completed on Dec. 15, 2026.")
        self.assertContains(page, "not confirmed")
        self.assertNotContains(page, 'name="confirm"')
        data = {"confirm": self.item_of(self.ben).pk}
        response = self.client.post(self.url, data, follow=True)
        self.assertContains(response, "This review has ended")

    def test_shows_and_lists_the_newest_review_first(self):
        """Also after many of them: older ones are left out instead."""
        for _review in range(2):
            self.travel(self.review.due_at)
            run_reviews()
            due_on = self.review.due_on + timedelta(days=30)
            self.review = start(due_on=due_on)
        self.travel(self.review.due_at)
        run_reviews()
        self.sign_in_again()
        with mock.patch.object(organization_review, "REVIEWS_SHOWN", 2):
            page = self.client.get(self.url)
        newest, older = list_sections(self.acme)[:2]
        self.assertEqual(newest.review, self.review)
        links = re.findall(r'href="\?review=(\d+)"', page.text)
        self.assertEqual(links, [str(newest.review_id), str(older.review_id)])
        self.assertEqual(page.context["section"], newest)

    @tag("K1")
    def test_is_closed_to_reviewers_and_strangers(self):
        data = self.read_form(self.acme) | {"confirm": "all"}
        missing = f"{ORGANIZATIONS}999999/review/"
        stranger = create_user("stranger", admin_of=[create_organization("Else")])
        for user in (self.cyd, stranger):
            self.sign_in(user)
            for method in (self.client.get, self.client.post):
                response = method(self.url, data)
                if user == self.cyd:
                    self.assertEqual(response.status_code, 403)
                    self.assertNotRegex(response.content.decode(), r"\bben\b")
                else:
                    self.assertRedirects(response, "/admin/")
                    self.assertRedirects(method(missing, data), "/admin/")
        self.assertEqual(answers_of(self.review), {})

    @tag("K1")
    def test_offers_nothing_about_people_with_more_permissions(self):
        helper = create_user("helper")
        grant(helper, "view_organization", self.acme)
        grant(helper, "manage_members_organization", self.acme)
        self.sign_in(helper)
        page = self.client.get(self.url)
        self.assertContains(page, "Someone with more permissions must review this.", 2)
        self.assertContains(page, "Confirm 1 person")
        ben = self.item_of(self.ben)
        for button in ("confirm", "end", "change"):
            data = {button: ben.pk, f"seen-{ben.pk}": "admin -", "role": "reviewer"}
            response = self.client.post(self.url, data)
            self.assertEqual(response.status_code, 403)
        for question in ("end", "change"):
            response = self.client.get(f"{self.url}?{question}={ben.pk}")
            self.assertEqual(response.status_code, 403)
        cyd = self.item_of(self.cyd)
        question = self.client.get(f"{self.url}?change={cyd.pk}")
        self.assertNotContains(question, 'value="admin"')
        self.client.post(self.url, self.read_form(self.acme) | {"confirm": "all"})
        self.assertEqual(answers_of(self.review), {"cyd": "confirmed"})

    @tag("A27")
    def test_names_no_platform_staff(self):
        set_role(self.acme, [self.cyd], None, actor=self.root, notify=False)
        data = {"end": self.item_of(self.ben).pk}
        self.sign_in(self.root)
        self.client.post(self.url, self.read_form(self.acme) | data)
        self.sign_in(self.ada)
        page = self.client.get(self.url)
        self.assertContains(page, "Platform staff")
        self.assertNotContains(page, "root")

    @tag("A27")
    def test_says_nothing_new_about_someone_who_has_left(self):
        set_role(self.acme, [self.cyd], None, actor=self.ada, notify=False)
        run_reviews()
        elsewhere = create_organization("Elsewhere")
        set_role(elsewhere, [self.cyd], REVIEWER, notify=False)
        self.cyd.refresh_from_db()
        self.cyd.username = "cyd.new"
        self.cyd.first_name = "Cydney"
        self.cyd.last_login = START + timedelta(days=5)
        self.cyd.is_active = False
        self.cyd.save()
        page = self.client.get(self.url)
        self.assertContains(page, "cyd")
        for text in ("cyd.new", "Cydney", "Nov. 7, 2026", "cannot sign in"):
            self.assertNotContains(page, text)

    @tag("K1")
    def test_the_item_of_another_organization_does_nothing(self):
        theirs = self.item_of(self.ada, self.beta)
        self.sign_in(self.ben)
        for button in ("confirm", "end"):
            data = {button: theirs.pk, f"seen-{theirs.pk}": "admin -"}
            self.client.post(self.url, data)
        self.client.get(f"{self.url}?end={theirs.pk}")
        self.assertEqual(answers_of(self.review), {})
        self.assertEqual(find_role(self.beta, self.ada), ADMIN)

    def test_a_review_of_another_organization_is_not_found_by_its_id(self):
        other = start(
            scope=ReviewScope.ONE,
            organizations=type(self.beta).objects.filter(pk=self.beta.pk),
        )
        self.sign_in(self.ben)
        page = self.client.get(f"{self.url}?review={other.pk}")
        self.assertContains(page, "cyd")
        self.assertNotContains(page, f'href="?review={other.pk}"')

    def test_makes_no_sense(self):
        for data in ({}, {"confirm": "x"}, {"end": "-1"}, {"item": 1}):
            with self.subTest(data):
                response = self.client.post(self.url, data, follow=True)
                self.assertContains(response, "Nothing was changed.")

    def test_costs_as_much_as_the_people_page(self):
        for number in range(40):
            create_user(f"user {number}", reviewer_of=[self.acme])
        models = type(self.review).objects
        models.all().update(completed_at=START)
        start()
        numbers = []
        for page in ("people", "review"):
            url = f"{ORGANIZATIONS}{self.acme.pk}/{page}/"
            self.client.get(url)
            with CaptureQueriesContext(
                connection,
            ) as queries:
                self.client.get(url)
            numbers.append(len(queries))
        people, review = numbers
        self.assertLessEqual(review, people)

    def test_the_home_page_and_the_people_page_say_so(self):
        home = self.client.get("/admin/")
        self.assertContains(home, "Review access by Dec. 14, 2026", count=2)
        self.assertContains(home, self.url)
        people = self.client.get(f"{ORGANIZATIONS}{self.acme.pk}/people/")
        self.assertContains(people, "Review the access of 3 people by")
        self.sign_in(self.cyd)
        self.assertNotContains(self.client.get("/admin/"), "Review access")

    def test_without_a_review_the_page_says_so(self):
        self.sign_in(create_user("eve", admin_of=[create_organization("New")]))
        url = self.page_of(type(self.acme).objects.get(name="New"))
        self.assertContains(self.client.get(url), "has not had an access review")


class StaffPageTests(PagesTestCase):
    """Superusers start reviews, see how they go, and download the evidence."""

    def setUp(self):
        super().setUp()
        self.sign_in(self.root)

    def begin(self, query="", **values):
        data = {"due_on": "2026-12-14", "ends_access": "reported"} | values
        return self.client.post(f"{REVIEWS}add/{query}", data, follow=True)

    def test_starts_a_review_of_everything(self):
        page = self.client.get(f"{REVIEWS}add/")
        self.assertContains(page, "all 2 organizations")
        response = self.begin(ends_access="ends")
        self.assertContains(response, "The review has started.")
        review = AccessReview.objects.get()
        self.assertEqual(review.started_by_name, "root")
        self.assertTrue(review.ends_access)
        self.assertEqual(review.due_on, datetime.date(2026, 12, 14))
        event = AuditEvent.objects.get(event="review started")
        self.assertEqual(event.actor_key, self.root.pk)
        work()
        review.refresh_from_db()
        self.assertTrue(review.is_answerable)

    def test_proposes_a_due_date_in_each_language(self):
        """Browsers leave a field empty if its date is not in ISO form."""
        day = timezone.localdate() + timedelta(days=30)
        for language in ("en", "de", "fr"):
            headers = {"accept-language": language}
            page = self.client.get(f"{REVIEWS}add/", headers=headers)
            self.assertContains(page, f'value="{day.isoformat()}"')

    def test_starts_a_review_of_a_filtered_list(self):
        organizations = self.client.get(f"{ORGANIZATIONS}?admins=one")
        link = re.search(r'accessreview/add/(\?list=[^"]*)"', organizations.text)
        query = link[1].replace("&amp;", "&")
        page = self.client.get(f"{REVIEWS}add/{query}")
        self.assertContains(page, "1 organization of a list")
        self.begin(query)
        work()
        review = AccessReview.objects.get()
        self.assertEqual(review.scope_text, "Admins: Only one active admin")
        sections = review.sections.exclude(organization_key=None)
        self.assertEqual([row.organization_key for row in sections], [self.beta.pk])

    def test_an_unknown_filter_covers_nothing_else(self):
        response = self.begin("?list=%3Fno_such_filter%3D1")
        self.assertEqual(response.status_code, 400)
        self.assertFalse(AccessReview.objects.exists())

    def test_starts_a_review_of_one_organization(self):
        self.begin(f"?organization={self.beta.pk}")
        review = AccessReview.objects.get()
        self.assertEqual((review.scope, review.scope_text), ("one", "Beta"))
        self.assertEqual(self.begin("?organization=99999").status_code, 404)

    def test_asks_before_the_same_people_are_asked_again(self):
        self.begin(f"?organization={self.beta.pk}")
        work()
        page = self.client.get(f"{REVIEWS}add/")
        self.assertContains(page, "Some of these organizations are already part")
        other = self.client.get(f"{REVIEWS}add/?organization={self.acme.pk}")
        self.assertNotContains(other, "These reviews of some of the same")
        response = self.begin()
        self.assertContains(response, "Select this to start another review.")
        self.assertEqual(AccessReview.objects.count(), 1)
        self.begin(start_anyway="on")
        self.assertEqual(AccessReview.objects.count(), 2)

    def test_says_if_there_is_nothing_to_ask(self):
        empty = create_organization("Empty")
        query = f"?organization={empty.pk}"
        page = self.client.get(f"{REVIEWS}add/{query}")
        self.assertContains(page, "so there is nothing to review.")
        self.assertNotContains(page, 'name="due_on"')
        response = self.begin(query)
        self.assertContains(response, "so there is nothing to review.")
        self.assertFalse(AccessReview.objects.exists())

    def test_refuses_a_due_date_that_nobody_can_keep(self):
        for day in ("2026-11-02", "2020-01-01", "2030-01-01", ""):
            self.begin(due_on=day)
        self.assertFalse(AccessReview.objects.exists())

    def test_a_form_that_is_sent_twice_starts_one_review(self):
        for _time in range(2):
            self.begin(form_key="once")
        self.assertEqual(AccessReview.objects.count(), 1)

    @tag("D26")
    def test_starting_needs_a_recent_sign_in(self):
        age_sign_in(self.client, 30)
        self.begin()
        self.assertFalse(AccessReview.objects.exists())

    @tag("K1")
    def test_others_get_no_page_of_reviews(self):
        review = start()
        staff = create_user(
            "staff",
            is_staff=True,
            permissions=["view_organization", "manage_members_organization"],
        )
        for user in (self.ada, staff):
            self.sign_in(user)
            for page in (
                "",
                "add/",
                f"{review.pk}/overview/",
                f"{review.pk}/evidence/",
            ):
                for method in (self.client.get, self.client.post):
                    response = method(f"{REVIEWS}{page}")
                    self.assertIn(response.status_code, (302, 403), page)
                    self.assertNotIn("Acme", response.text)
        self.assertEqual(AccessReview.objects.count(), 1)

    def test_shows_who_has_not_answered_and_reminds_them(self):
        review = start()
        run_reviews()
        answer(review, self.beta, self.ada, actor=self.ada)
        url = f"{REVIEWS}{review.pk}/overview/"
        page = self.client.get(url)
        self.assertContains(page, "1 of 2 organizations are done.")
        self.assertContains(page, "1 entry waits for platform staff.")
        self.assertContains(page, "3/3")
        response = self.client.post(url, {"remind": "1"}, follow=True)
        self.assertContains(response, "Everyone who has not answered gets an email.")
        run_reviews()
        kinds = ReviewNotice.objects.values_list("kind", "organization_key")
        self.assertIn(("by hand 2026-11-02", self.acme.pk), kinds)
        self.assertNotIn(("by hand 2026-11-02", self.beta.pk), kinds)
        response = self.client.post(url, {"remind": "1"}, follow=True)
        self.assertContains(response, "everyone was already reminded today")

    def test_lists_admins_that_were_kept(self):
        review = start(ends_access=True)
        self.travel(review.due_at)
        run_reviews()
        self.sign_in_again()
        page = self.client.get(f"{REVIEWS}{review.pk}/overview/")
        self.assertContains(page, "Kept, because no active admin would be left")
        self.assertContains(page, "ben")

    def test_confirms_other_access(self):
        grant(self.cyd, "view_organization", self.beta)
        create_superuser("other")
        review = start()
        url = f"{REVIEWS}{review.pk}/other_access/"
        page = self.client.get(url)
        self.assertContains(page, "Confirm all 3 entries")
        items = re.findall(r'name="item" value="(\d+)"', page.text)
        data = {"item": items, "confirm": "all"}
        response = self.client.post(url, data, follow=True)
        self.assertContains(response, "2 entries are confirmed.")
        self.assertContains(response, "must confirm your own access")
        self.assertEqual(answers_of(review), {"cyd": "confirmed", "other": "confirmed"})

    def test_ends_other_access_after_a_question(self):
        other = create_superuser("other")
        review = start()
        url = f"{REVIEWS}{review.pk}/other_access/"
        item = review.sections.get(organization_key=None).items.get(user_key=other.pk)
        mine = review.sections.get(organization_key=None).items.get(
            user_key=self.root.pk
        )
        page = self.client.get(url)
        self.assertContains(page, f"?end={item.pk}")
        self.assertNotContains(page, f"?end={mine.pk}")
        question = self.client.get(f"{url}?end={item.pk}")
        self.assertContains(question, "End the access of “other”?")
        self.assertEqual(answers_of(review), {})
        data = {"end": item.pk, f"decisions-{item.pk}": "0", "reason": "Moved on"}
        response = self.client.post(url, data, follow=True)
        self.assertContains(response, "The access of “other” has ended.")
        other.refresh_from_db()
        self.assertFalse(other.is_superuser)
        response = self.client.get(f"{url}?end={item.pk}", follow=True)
        self.assertContains(response, "This access has already ended")

    def test_a_reason_that_is_too_long_ends_nothing(self):
        other = create_superuser("other")
        review = start()
        item = review.sections.get(organization_key=None).items.get(user_key=other.pk)
        url = f"{REVIEWS}{review.pk}/other_access/?end={item.pk}"
        data = {"end": item.pk, f"decisions-{item.pk}": "0", "reason": "x" * 9_999}
        response = self.client.post(url, data, follow=True)
        self.assertContains(response, "Ensure this value has at most")
        self.assertContains(response, "End the access of “other”?")
        self.assertEqual(answers_of(review), {})

    def test_needs_attention_counts_what_is_open(self):
        start()
        page = self.client.get("/admin/")
        self.assertContains(page, "organizations without an answer in an access review")
        self.assertContains(page, "access review that waits for platform staff")

    @tag("K4")
    def test_the_files_have_all_that_happened(self):
        review = start()
        run_reviews()
        answer(review, self.acme, self.cyd, "ended", actor=self.ada, reason="=Gone")
        answer(review, self.beta, self.ada, actor=self.ada)
        item = section_of(review, self.acme).items.get(user_key=self.ben.pk)
        for number in range(2):
            decision = Decision(item.pk, ReviewAnswer.CONFIRMED, number=number)
            decide(section_of(review, self.acme), [decision], actor=self.ada)
        self.travel(review.due_at)
        run_reviews()
        self.sign_in_again()
        url = f"{REVIEWS}{review.pk}/evidence/"
        rows = read_csv(self.client.get(f"{url}?csv=decisions"))
        self.assertEqual(len(rows), 6)
        ben = [row["replaced"] for row in rows if row["person"] == "ben"]
        self.assertEqual(ben, ["yes", ""])
        [cyd] = [row for row in rows if row["person"] == "cyd"]
        self.assertEqual(cyd["organization"], "Acme")
        self.assertEqual(cyd["since"], "2026-07-25T10:00:00+00:00")
        self.assertEqual(cyd["decision"], "ended")
        self.assertEqual(cyd["decided_by_id"], str(self.ada.pk))
        self.assertEqual((cyd["role_before"], cyd["role_after"]), ("reviewer", ""))
        self.assertEqual(cyd["reason"], "'=Gone")
        own = [row["organization"] for row in rows if row["own_access"]]
        self.assertEqual(own, ["Beta"])
        requests = read_csv(self.client.get(f"{url}?csv=requests"))
        self.assertEqual(len(requests), ReviewNotice.objects.count())
        self.assertEqual({row["person"] for row in requests}, {"ada", "ben"})
        # A workbook needs no apostrophe against formulas.
        cyd["reason"] = "=Gone"
        for content, expected in (("decisions", rows), ("requests", requests)):
            response = self.client.get(f"{url}?xlsx={content}")
            self.assertEqual(read_workbook(response), expected)
        event = AuditEvent.objects.filter(event="exported").latest("pk")
        self.assertEqual(event.details["review"], review.pk)
        self.assertEqual(event.details["content"], "access review: requests")
        page = self.client.get(url)
        for text in ("Acme", "Beta", "(own access)", "not confirmed", "root"):
            self.assertContains(page, text)

    def add_members(self, number, name="member"):
        """Start a review of an organization with many members, and return the page."""
        big = create_organization("Big")
        for count in range(number):
            create_user(f"{name} {count:04}", reviewer_of=[big])
        big_only = Organization.objects.filter(pk=big.pk)
        review = start(scope=ReviewScope.ONE, organizations=big_only)
        return f"{REVIEWS}{review.pk}/evidence/"

    def test_the_evidence_is_paged_by_rows_at_the_same_cost(self):
        small = self.add_members(3, name="few")
        url = self.add_members(9)
        queries = []
        for page in (small, f"{url}?p=2"):
            with mock.patch.object(access_reviews, "EVIDENCE_PER_PAGE", 4):
                self.client.get(page)
                with CaptureQueriesContext(connection) as captured:
                    shown = self.client.get(page)
            queries.append(len(captured))
        # A list with more pages counts its rows.
        self.assertEqual(queries[1], queries[0] + 1)
        self.assertNotContains(shown, "member 0003")
        for number in range(4, 8):
            self.assertContains(shown, f"member {number:04}")
        self.assertNotContains(shown, "member 0008")

    def test_one_button_downloads_the_evidence_and_a_menu_has_the_rest(self):
        page = self.client.get(self.add_members(3)).content.decode()
        head = page[page.index('class="actions"') : page.index('class="tabs"')]
        [menu] = re.findall(r'<details class="more">.*?</details>', head, re.DOTALL)
        beside = head.replace(menu, "")
        self.assertEqual(re.findall(r'href="(.*?)"', beside), ["?xlsx=decisions"])
        self.assertEqual(beside.count('class="button primary"'), 1)
        for address in ("print=1", "csv=decisions", "xlsx=requests", "csv=requests"):
            self.assertIn(f'href="?{address}"', menu)

    def test_a_page_for_printing_says_what_it_leaves_out(self):
        url = self.add_members(9)
        with mock.patch.object(access_reviews, "MAX_PRINTED", 4):
            page = self.client.get(f"{url}?print=1")
        # Nine members and the superuser
        self.assertContains(page, "This page leaves out 6 rows.")
        self.assertContains(page, "The CSV file of the decisions has all of them.")
        self.assertContains(page, "member 0003")
        self.assertNotContains(page, "member 0004")
        with mock.patch.object(access_reviews, "MAX_PRINTED", 10):
            page = self.client.get(f"{url}?print=1")
        self.assertNotContains(page, "leaves out")
        self.assertContains(page, "member 0008")

    def test_the_file_reads_a_batch_at_a_time(self):
        url = self.add_members(9)
        with mock.patch("orgadmin.records.review_evidence.BATCH", 3):
            response = self.client.get(f"{url}?csv=decisions")
            rows = response.streaming_content
            with CaptureQueriesContext(connection) as queries:
                # The mark of the byte order, the header, and the first item
                for _row in range(3):
                    next(rows)
            # The first three items, and their later decisions
            self.assertLessEqual(len(queries), 2)
            rest = b"".join(rows).decode()
        self.assertIn("member 0008", rest)

    def test_rhythms_are_set_and_switched_off(self):
        rhythms = "/admin/orgadmin/reviewrhythm/"
        data = {"every_days": 90, "answer_days": 30, "next_on": "2026-12-01"}
        self.client.post(f"{rhythms}add/", data | {"is_active": "on"})
        rhythm = ReviewRhythm.objects.get()
        self.assertEqual(str(rhythm), "every 90 days")
        self.assertContains(self.client.get(rhythms), "every 90 days")
        self.client.post(f"{rhythms}{rhythm.pk}/delete/", {"post": "yes"})
        self.client.post(f"{rhythms}{rhythm.pk}/change/", data)
        rhythm.refresh_from_db()
        self.assertFalse(rhythm.is_active)

    def test_the_list_says_how_each_review_is(self):
        review = start()
        page = self.client.get(REVIEWS)
        self.assertContains(page, "Access review of Nov. 2, 2026")
        self.assertContains(page, "Open")
        page = self.client.get(f"{REVIEWS}{review.pk}/change/")
        self.assertRedirects(page, f"{REVIEWS}{review.pk}/overview/")
        self.assertContains(
            self.client.get(f"{REVIEWS}999/change/", follow=True), "There is no"
        )
