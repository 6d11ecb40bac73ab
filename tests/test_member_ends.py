"""Pages about the end of memberships: setting, extending and removing it."""

from datetime import date, timedelta
from unittest.mock import patch

from django.core import mail
from django.db import connection
from django.test import TestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext
from django.utils.formats import date_format

from orgadmin.access.ends import find_start_of_next_day
from orgadmin.access.membership_log import Event
from orgadmin.admin.members.ends import NO_MEMBER
from orgadmin.models import Membership, MembershipEvent
from orgadmin.people import invitations
from orgadmin.people.ends import PlannedEnd, find_last_day, find_today

from .factories import (
    ADMIN,
    REVIEWER,
    age_sign_in,
    create_organization,
    create_superuser,
    create_user,
    grant,
    set_role,
)
from .mailing import work
from .test_organization_people import LIST, read_page

DAY = timedelta(days=1)


def set_last_day(user, organization, day):
    """Set the end of a membership to the end of a day, without any checks."""
    rows = Membership.objects.filter(user=user, group__in=organization.group_ids)
    rows.update(ends_at=find_start_of_next_day(day) if day else None)


class EndsMixin:
    @classmethod
    def setUpTestData(cls):
        cls.staff = create_superuser()
        cls.acme = create_organization("Acme")
        cls.ada = create_user("ada", admin_of=[cls.acme], email="ada@example.com")
        cls.mary = create_user("mary", reviewer_of=[cls.acme])
        cls.url = f"{LIST}{cls.acme.pk}/people/"
        cls.today = find_today()
        cls.later = cls.today + 30 * DAY

    def setUp(self):
        self.client.force_login(self.ada)

    def post(self, **data):
        return self.client.post(self.url, data, follow=True)

    def find_last_day(self, user):
        rows = Membership.objects.filter(user=user, group__in=self.acme.group_ids)
        ends_at = rows.get().ends_at
        return find_last_day(ends_at) if ends_at else None

    def set_end(self, user, role, **data):
        return self.post(user=user.pk, role=role.key, set_end="1", **data)


class PeoplePageTests(EndsMixin, TestCase):
    def test_says_until_when_members_have_access(self):
        self.assertNotContains(self.client.get(self.url), date_format(self.later))
        set_last_day(self.mary, self.acme, self.later)
        response = self.client.get(self.url)
        self.assertContains(response, f">{date_format(self.later)}</span>")
        self.assertNotContains(response, "Ends in")

    def test_access_that_ends_while_a_link_is_opened_is_no_error(self):
        address = f"{self.url}?change={self.mary.pk}"
        with patch("orgadmin.people.membership.find_member", return_value=None):
            response = self.client.get(address, follow=True)
        self.assertContains(response, NO_MEMBER)

    def test_says_in_words_when_access_ends_soon(self):
        for days, words in [
            (0, "Ends today"),
            (1, "Ends tomorrow"),
            (6, "Ends in 6 days"),
        ]:
            set_last_day(self.mary, self.acme, self.today + days * DAY)
            self.assertContains(self.client.get(self.url), words)
        set_last_day(self.mary, self.acme, self.today + 7 * DAY)
        self.assertNotContains(self.client.get(self.url), "Ends in")

    def test_runs_as_many_queries_with_ends_as_without(self):
        with CaptureQueriesContext(connection) as without:
            self.client.get(self.url)
        set_last_day(self.mary, self.acme, self.later)
        with self.assertNumQueries(len(without)):
            self.client.get(self.url)

    @tag("C18")
    def test_extends_access_by_one_press(self):
        self.assertNotContains(self.client.get(self.url), "Extend by a year")
        for day, is_offered in (
            (self.today + 30 * DAY, False),
            (self.today + 29 * DAY, True),
        ):
            set_last_day(self.mary, self.acme, day)
            has_button = "Extend by a year" in self.client.get(self.url).text
            self.assertEqual(has_button, is_offered)
        extended = PlannedEnd(find_start_of_next_day(day)).extended_day
        response = self.client.get(self.url)
        self.assertContains(response, "Extend by a year")
        self.assertContains(
            response, f"Extend access of mary until {date_format(extended)}"
        )
        self.assertContains(response, f'value="{extended.isoformat()}"')
        for _press in range(2):
            # The second press of the same button changes nothing more.
            response = self.set_end(self.mary, REVIEWER, ends_on=extended)
            self.assertEqual(self.find_last_day(self.mary), extended)
        response = self.set_end(self.mary, REVIEWER, ends_on=extended + DAY)
        day = date_format(extended + DAY)
        self.assertContains(response, f"“mary” has access to “Acme” until {day}.")
        [_first, event] = MembershipEvent.objects.filter(event=Event.END_CHANGED)[::-1]
        self.assertEqual(event.actor_name, "ada")
        self.assertEqual(event.ends_at, find_start_of_next_day(extended + DAY))

    def test_a_year_later_is_the_same_day_or_the_last_one_of_february(self):
        for year, month, day, expected in (
            (2026, 12, 31, "2027-12-31"),
            (2027, 2, 28, "2028-02-28"),
            (2028, 2, 29, "2029-02-28"),
        ):
            end = find_start_of_next_day(date(year, month, day))
            self.assertEqual(PlannedEnd(end).extended_day.isoformat(), expected)

    def test_has_one_link_about_the_end_of_each_member(self):
        page = self.client.get(self.url)
        self.assertContains(page, "Set end date of mary", 1)
        self.assertContains(page, "?end=", 2)
        set_last_day(self.mary, self.acme, self.later)
        page = self.client.get(self.url)
        self.assertContains(page, "Change end date of mary", 1)
        self.assertContains(page, "?end=", 2)

    def test_removes_the_end(self):
        set_last_day(self.mary, self.acme, self.later)
        self.assertContains(
            self.client.get(self.url, {"end": self.mary.pk}), "Remove end date"
        )
        self.set_end(self.mary, REVIEWER, no_end="1")
        self.assertIsNone(self.find_last_day(self.mary))
        set_last_day(self.mary, self.acme, self.later)
        response = self.set_end(self.mary, REVIEWER, ends_on=self.later, no_end="1")
        self.assertContains(response, "The access of “mary” to “Acme” no longer ends.")
        self.assertIsNone(self.find_last_day(self.mary))
        self.assertNotContains(
            self.client.get(self.url, {"end": self.mary.pk}), "Remove end date"
        )

    def test_refuses_days_that_are_no_use_next_to_the_field(self):
        for day, text in [
            (self.today - DAY, "This day has passed."),
            ("2026-02-30", "Enter a valid date."),
            (date(3000, 1, 1), "This day is too far in the future."),
            (date.max, "This day is too far in the future."),
        ]:
            response = self.set_end(self.mary, REVIEWER, ends_on=day)
            self.assertContains(response, text)
            self.assertContains(response, "Save end date")
            self.assertIsNone(self.find_last_day(self.mary))
        self.set_end(self.mary, REVIEWER, ends_on=self.today)
        self.assertEqual(self.find_last_day(self.mary), self.today)

    def test_asks_with_the_present_end(self):
        set_last_day(self.mary, self.acme, self.later)
        for question in ("end", "change"):
            with self.settings(LANGUAGE_CODE="de"):
                response = self.client.get(self.url, {question: self.mary.pk})
            self.assertContains(response, f'value="{self.later.isoformat()}"')

    @tag("C18")
    def test_does_not_change_a_role_that_is_no_longer_the_same(self):
        set_role(self.acme, [self.mary], ADMIN)
        response = self.set_end(self.mary, REVIEWER, ends_on=self.later)
        self.assertContains(response, "does not have this role any more")
        self.assertIsNone(self.find_last_day(self.mary))
        self.assertIn(self.mary, self.acme.admin.user_set.all())

    @tag("C18")
    def test_answers_the_same_about_strangers_and_people_who_do_not_exist(self):
        stranger = create_user("stranger")
        pages = []
        for pk in (stranger.pk, 10**9):
            shown = self.client.get(self.url, {"end": pk}, follow=True)
            sent = self.post(user=pk, role="reviewer", set_end="1", ends_on=self.later)
            wrong = self.post(user=pk, role="reviewer", set_end="1", ends_on="x")
            pages.append([read_page(page) for page in (shown, sent, wrong)])
        self.assertEqual(*pages)
        self.assertFalse(stranger.groups.exists())

    @tag("C18")
    def test_needs_a_recent_sign_in_to_extend_admins(self):
        create_user("other", admin_of=[self.acme])
        set_last_day(self.ada, self.acme, self.later)
        age_sign_in(self.client, minutes=60)
        self.set_end(self.ada, ADMIN, ends_on="")
        self.assertEqual(self.find_last_day(self.ada), self.later)
        self.set_end(self.mary, REVIEWER, ends_on=self.later)
        self.assertEqual(self.find_last_day(self.mary), self.later)

    def test_reviewers_cannot_change_ends(self):
        self.client.force_login(self.mary)
        self.set_end(self.mary, REVIEWER, ends_on=self.later)
        self.assertIsNone(self.find_last_day(self.mary))


class AddAndChangeTests(EndsMixin, TestCase):
    def add(self, who, role, ends_on=""):
        return self.post(
            **{
                "add": "1",
                "add-who": who,
                "add-role": role.key,
                "add-ends_on": ends_on,
            }
        )

    def test_adds_a_person_with_an_end(self):
        self.client.force_login(self.staff)
        bert = create_user("bert")
        response = self.add("bert", REVIEWER, self.later)
        day = date_format(self.later)
        self.assertContains(
            response, f"“bert” is now Reviewer of “Acme”. Access ends on {day}."
        )
        self.assertEqual(self.find_last_day(bert), self.later)

    def test_the_mail_about_a_new_role_says_until_when(self):
        self.client.force_login(self.staff)
        create_user("bert", email="bert@example.com")
        with self.captureOnCommitCallbacks(execute=True):
            self.add("bert", REVIEWER, self.later)
        work()
        [message] = mail.outbox
        self.assertIn(
            "gave you access to “Acme” as Reviewer. This access ends after"
            f" {date_format(self.later)}.",
            message.body,
        )

    def test_shows_the_form_again_if_the_day_has_passed(self):
        self.client.force_login(self.staff)
        bert = create_user("bert")
        response = self.add("bert", REVIEWER, self.today - DAY)
        self.assertContains(response, "This day has passed.")
        self.assertFalse(bert.groups.exists())

    def test_keeps_the_end_of_members_who_are_added_again_without_a_day(self):
        self.client.force_login(self.staff)
        set_last_day(self.mary, self.acme, self.later)
        self.add("mary", REVIEWER)
        self.assertEqual(self.find_last_day(self.mary), self.later)
        self.add("mary", ADMIN)
        self.assertEqual(self.find_last_day(self.mary), self.later)
        self.add("mary", ADMIN, self.later + DAY)
        self.assertEqual(self.find_last_day(self.mary), self.later + DAY)

    def test_invitations_take_the_end_along(self):
        self.add("new@example.com", REVIEWER, self.later)
        [invitation] = self.acme.invitations.all()
        self.assertEqual(find_last_day(invitation.membership_ends_at), self.later)
        self.assertContains(
            self.client.get(self.url), f">{date_format(self.later)}</span>"
        )
        self.post(invitation=invitation.pk, resend="1")
        [invitation] = self.acme.invitations.all()
        self.assertEqual(find_last_day(invitation.membership_ends_at), self.later)
        new = create_user("new", email="new@example.com")
        invitations.accept(invitation, new, account_is_unused=False)
        self.assertEqual(self.find_last_day(new), self.later)

    def test_does_not_resend_an_invitation_to_access_that_has_ended(self):
        self.add("new@example.com", REVIEWER, self.later)
        work()
        mail.outbox.clear()
        yesterday = find_start_of_next_day(self.today - DAY)
        self.acme.invitations.update(membership_ends_at=yesterday)
        [invitation] = self.acme.invitations.all()
        response = self.post(invitation=invitation.pk, resend="1")
        self.assertContains(response, "Invite the person again, with a later end.")
        work()
        self.assertEqual(mail.outbox, [])

    def test_changes_the_role_and_the_end_together(self):
        self.post(user=self.mary.pk, role="admin", confirmed="1", ends_on=self.later)
        self.assertEqual(self.find_last_day(self.mary), self.later)
        self.post(user=self.mary.pk, role="reviewer", confirmed="1", ends_on="")
        self.assertIsNone(self.find_last_day(self.mary))

    def test_keeps_the_end_if_only_the_role_was_sent(self):
        set_last_day(self.mary, self.acme, self.later)
        self.post(user=self.mary.pk, role="admin", confirmed="1")
        self.assertEqual(self.find_last_day(self.mary), self.later)

    def test_asks_again_for_the_role_if_the_day_has_passed(self):
        response = self.post(
            user=self.mary.pk,
            role="admin",
            confirmed="1",
            ends_on=self.today - DAY,
        )
        self.assertContains(response, "This day has passed.")
        self.assertContains(response, "Change role of mary")
        self.assertIn(self.mary, self.acme.reviewer.user_set.all())

    def test_keeps_the_day_while_it_asks_to_confirm(self):
        set_role(self.acme, [self.mary], ADMIN)
        response = self.post(user=self.mary.pk, role="reviewer", ends_on=self.later)
        self.assertContains(response, f"Access ends on {date_format(self.later)}.")
        self.assertContains(
            response,
            f'<input type="hidden" name="ends_on" value="{self.later}">',
            html=True,
        )


class LastAdminTests(EndsMixin, TestCase):
    def test_warns_if_the_access_of_all_admins_ends(self):
        warning = "will have no active admin after"
        other = create_user("other", admin_of=[self.acme])
        gone = create_user("gone", admin_of=[self.acme], is_active=False)
        set_last_day(self.ada, self.acme, self.later)
        self.assertNotContains(self.client.get(self.url), warning)
        set_last_day(other, self.acme, self.later + DAY)
        for user in (self.ada, self.staff):
            self.client.force_login(user)
            self.assertContains(
                self.client.get(self.url),
                f"{warning} {date_format(self.later + DAY)}",
            )
        set_last_day(gone, self.acme, None)
        self.assertContains(self.client.get(self.url), warning)

    def test_allows_the_end_of_the_only_admin(self):
        self.set_end(self.ada, ADMIN, ends_on=self.later)
        self.assertEqual(self.find_last_day(self.ada), self.later)


class OtherPagesTests(EndsMixin, TestCase):
    """Other pages that show when someone's access ends."""

    def setUp(self):
        super().setUp()
        set_last_day(self.ada, self.acme, self.later)
        self.until = f"until {date_format(self.later)}"
        self.record = f"{LIST}{self.acme.pk}"

    def assert_shows_end(self, url, user=None):
        self.client.force_login(user or self.ada)
        self.assertContains(self.client.get(url), self.until)

    def test_own_pages(self):
        self.assert_shows_end("/admin/")
        self.assert_shows_end("/admin/account/")
        set_last_day(self.ada, self.acme, self.today)
        for url in ("/admin/", "/admin/account/"):
            self.assertContains(self.client.get(url), "Ends today")

    def test_pages_of_the_organization(self):
        for user in (self.ada, self.staff):
            for page in ("overview", "access"):
                self.assert_shows_end(f"{self.record}/{page}/", user)
            people = self.client.get(f"{self.record}/people/")
            self.assertContains(people, f">{date_format(self.later)}</span>")

    @override_settings(REVIEWERS_SEE_ADMINS=True)
    def test_reviewers_see_no_more_than_the_names_of_admins(self):
        self.client.force_login(self.mary)
        overview = self.client.get(f"{self.record}/overview/")
        self.assertContains(overview, "ada")
        self.assertNotContains(overview, self.until)

    def test_pages_of_the_person(self):
        self.assert_shows_end(
            f"/admin/orgadmin/user/{self.ada.pk}/organizations/", self.staff
        )

    def test_pending_invitations_on_the_overview(self):
        ends_at = find_start_of_next_day(self.later)
        invitations.invite(
            self.acme, "new@example.com", REVIEWER, actor=self.ada, ends_at=ends_at
        )
        response = self.client.get(f"{self.record}/overview/")
        self.assertContains(response, f"access {self.until}")

    def test_home_says_nothing_if_access_has_another_reason(self):
        grant(self.ada, "view_organization", self.acme)
        self.client.force_login(self.ada)
        self.assertNotContains(self.client.get("/admin/"), self.until)

    def test_logs_and_recent_activity(self):
        self.client.force_login(self.ada)
        set_last_day(self.mary, self.acme, None)
        self.set_end(self.mary, REVIEWER, ends_on=self.later)
        ledger = self.client.get(f"{self.record}/ledger/")
        self.assertContains(ledger, f"end changed, {self.until}")
        on_day = self.client.get(f"{self.record}/ledger/", {"on": self.today})
        self.assertContains(on_day, f"joined, {self.until}")
        self.assertContains(
            self.client.get("/admin/"), f"access {self.until} (Reviewer)"
        )
        self.set_end(self.mary, REVIEWER, ends_on="")
        ledger = self.client.get(f"{self.record}/ledger/")
        self.assertContains(ledger, "end changed, no end date")
        self.client.force_login(self.staff)
        log = self.client.get("/admin/orgadmin/membershipevent/")
        self.assertContains(log, f"end changed, {self.until}")

    def test_the_invitation_says_until_when(self):
        self.post(
            **{
                "add": "1",
                "add-who": "new@example.com",
                "add-role": "reviewer",
                "add-ends_on": self.later,
            }
        )
        work()
        [message] = [row for row in mail.outbox if row.to == ["new@example.com"]]
        self.assertIn(
            f"This access ends after {date_format(self.later)}.", message.body
        )
