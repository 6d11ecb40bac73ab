"""What activity shows about end dates, archives, requests, reviews, bulk changes."""

from collections import defaultdict
from contextlib import contextmanager
from datetime import timedelta
from unittest import mock

from django.contrib.admin.models import CHANGE, LogEntry
from django.db import connection
from django.test import TestCase, tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orgadmin.access.ends import find_start_of_next_day
from orgadmin.admin.home import feed_items
from orgadmin.models import AccessReview, Membership, Organization, ReviewSection
from orgadmin.people import access_requests, archive, reviews
from orgadmin.people.bulk import EndAccess, GiveRole, carry_out, make_plan
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.ends import find_today
from orgadmin.people.expiry import remove_ended_memberships
from orgadmin.people.membership import change_roles
from orgadmin.people.offboarding import offboard
from orgadmin.people.review_items import prepare
from orgadmin.people.review_schedule import complete_if_answered
from orgadmin.records.feed import (
    activity as feed,
    membership_events as feed_events,
    own as feed_own,
)
from orgadmin.records.feed.entries import make_key, read_key
from orgadmin.records.imports.organizations import import_organizations

from .factories import (
    ADMIN,
    REVIEWER,
    as_file,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)

HOME = "/admin/"
ALL_ACTIVITY = "/admin/all-activity/"


class FeedCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser("root", first_name="Rita", last_name="Root")
        cls.acme = create_organization("Acme")
        cls.foreign = create_organization("Foreign")
        cls.ada = create_user("ada", admin_of=[cls.acme])
        cls.rev = create_user("rev", reviewer_of=[cls.acme])
        cls.other = create_user("other", admin_of=[cls.foreign])
        cls.viewer = create_user(
            "viewer", is_staff=True, permissions=["view_organization"]
        )
        cls.manager = create_user(
            "manager",
            is_staff=True,
            permissions=["view_organization", "manage_members_organization"],
        )

    def read(self, user, url=HOME):
        """Return what a page shows, as "links: text (author)"."""
        self.client.force_login(user)
        response = self.client.get(url)
        self.assertEqual(response.status_code, 200)
        lines = []
        for item in response.context["activity"].items:
            links = " · ".join(link.text for link in item.links)
            lines.append(f"{links}: {item.text} ({item.author.text})")
        return lines

    def read_new(self, user, before):
        """Return the lines that are new since the lines `before`."""
        lines = self.read(user)
        return lines[: len(lines) - len(before)]

    def set_end(self, user, day, actor):
        end = MembershipEnd(day and find_start_of_next_day(day))
        change = RoleChange(user, self.acme, REVIEWER, end=end)
        change_roles([change], actor=actor, notify=False)


class EndTests(FeedCase):
    def test_a_change_of_the_role_is_one_entry(self):
        before = self.read(self.root)
        set_role(self.acme, [self.rev], ADMIN, actor=self.ada, notify=False)
        self.assertEqual(
            self.read_new(self.root, before),
            ["rev · Acme: role changed (Reviewer → Admin) (ada)"],
        )

    @tag("A50")
    def test_says_until_when_access_lasts(self):
        readers = (self.root, self.ada)
        before = {user: self.read(user) for user in readers}
        late = find_today().replace(year=2990, month=12, day=31)
        for day in (late, late - timedelta(days=1), None):
            self.set_end(self.rev, day, self.root)
        for user, author in ((self.root, "You"), (self.ada, "Platform staff")):
            self.assertEqual(
                self.read_new(user, before[user]),
                [
                    f"rev · Acme: access without an end date (Reviewer) ({author})",
                    f"rev · Acme: access until Dec. 30, 2990 (Reviewer) ({author})",
                    f"rev · Acme: access until Dec. 31, 2990 (Reviewer) ({author})",
                ],
            )
        for user in (self.rev, self.viewer, self.other):
            self.assertNotIn(", 2990", str(self.read(user)))

    def test_says_that_access_has_ended_as_planned(self):
        before = self.read(self.ada)
        rows = Membership.objects.filter(user=self.rev)
        rows.update(ends_at=timezone.now() - timedelta(minutes=3))
        remove_ended_memberships()
        self.assertIn(
            "rev · Acme: access ended as planned (Reviewer) ()", self.read(self.ada)
        )
        self.assertEqual(len(self.read(self.ada)), len(before) + 1)

    def test_offboarding_is_one_entry_also_with_two_roles(self):
        set_role(self.foreign, [self.rev], ADMIN, notify=False)
        before = self.read(self.root)
        offboard(self.rev, actor=self.root)
        self.assertEqual(
            self.read_new(self.root, before), ["rev · 2 organizations: left (You)"]
        )


class ArchiveTests(FeedCase):
    @tag("A50", "B15")
    def test_superusers_read_what_became_of_organizations(self):
        gone = create_organization("Gone")
        pks = [self.foreign.pk, gone.pk]
        archive.archive(pks, actor=self.root)
        self.assertEqual(self.read(self.root)[0], "2 organizations: Archived. (You)")
        archive.restore([self.foreign.pk], actor=self.root)
        archive.move_to_trash([gone.pk], actor=self.root)
        item = self.client.get(HOME).context["activity"].items[0]
        self.assertEqual(self.client.get(item.links[0].url).status_code, 200)
        archive.delete_permanently([gone.pk], actor=self.root)
        self.assertEqual(
            self.read(self.root)[:4],
            [
                "Gone: Deleted. (You)",
                "Gone: Moved to the trash. (You)",
                "Foreign: Restored from the archive. (You)",
                "2 organizations: Archived. (You)",
            ],
        )

    @tag("A50", "B15")
    def test_org_admins_read_what_the_history_page_shows(self):
        before = {user: self.read(user) for user in (self.ada, self.rev, self.viewer)}
        archive.archive([self.acme.pk], actor=self.root)
        for user in (self.viewer, self.other, self.manager):
            self.assertNotIn("Archived", str(self.read(user)))
        archive.restore([self.acme.pk], actor=self.root)
        self.assertEqual(
            self.read_new(self.ada, before[self.ada]),
            [
                "Acme: Restored from the archive. (Platform staff)",
                "Acme: Archived. (Platform staff)",
            ],
        )
        for user in (self.rev, self.viewer):
            self.assertEqual(self.read(user), before[user])
        for user in (self.other, self.manager):
            self.assertNotIn("archive", str(self.read(user)))

    def test_emptying_the_trash_is_one_entry(self):
        organizations = [create_organization(f"Gone {number}") for number in range(3)]
        pks = [organization.pk for organization in organizations]
        archive.archive(pks, actor=self.root)
        archive.move_to_trash(pks, actor=self.root)
        Organization.objects.write_without_history(
            pks, {"trashed_at": timezone.now() - timedelta(days=365)}
        )
        archive.purge_trash()
        lines = self.read(self.root)
        self.assertIn("3 organizations: Deleted.", lines[0])
        self.assertEqual(str(lines).count("Deleted."), 1)


class RequestTests(FeedCase):
    def setUp(self):
        self.mary = create_user("mary")
        token = access_requests.make_link(self.acme, actor=self.ada)
        self.request = access_requests.ask(token, self.mary, REVIEWER, "CANARY")

    ASKED = "mary · Acme: asked for a role (Reviewer) ()"

    @tag("A50")
    def test_those_who_answer_requests_read_of_them(self):
        for user in (self.root, self.ada, self.manager):
            self.assertEqual(self.read(user)[0], self.ASKED)
        for user in (self.rev, self.viewer, self.other):
            self.assertNotIn("mary", str(self.read(user)))
        for user in (self.root, self.ada):
            self.assertNotIn("CANARY", str(self.read(user)))

    @tag("A50")
    def test_names_platform_staff_to_nobody_else(self):
        access_requests.decline(self.request, "CANARY", actor=self.root)
        text = "mary · Acme: request declined (Reviewer)"
        for user, author in (
            (self.root, "You"),
            (self.ada, "Platform staff"),
            (self.manager, "Platform staff"),
        ):
            with self.subTest(user=str(user)):
                lines = self.read(user)
                self.assertEqual(lines[:2], [f"{text} ({author})", self.ASKED])
                self.assertNotIn("CANARY", str(lines))
        for user in (self.rev, self.viewer, self.other):
            self.assertNotIn("mary", str(self.read(user)))

    def test_names_people_as_the_page_of_requests_does(self):
        self.mary.first_name, self.mary.last_name = "Mary", "Jones"
        self.mary.save()
        asked = "Mary Jones · Acme: asked for a role (Reviewer) ()"
        self.assertEqual(self.read(self.ada)[0], asked)
        url = f"/admin/orgadmin/organization/{self.acme.pk}/requests/"
        self.assertContains(self.client.get(url), "Mary Jones")

    def test_names_an_admin_who_declined(self):
        access_requests.decline(self.request, "", actor=self.ada)
        for user, author in ((self.ada, "You"), (self.root, "ada")):
            self.assertIn(f"declined (Reviewer) ({author})", self.read(user)[0])

    def test_an_approved_request_is_one_entry(self):
        end = MembershipEnd(find_start_of_next_day(find_today().replace(2990, 12, 31)))
        access_requests.approve(self.request, REVIEWER, actor=self.ada, end=end)
        for user in (self.root, self.ada):
            lines = self.read(user)
            self.assertIn("mary · Acme: request approved (Reviewer, until", lines[0])
            self.assertEqual(lines[1], self.ASKED)

    @tag("A50", "B15")
    def test_is_silent_about_archived_organizations(self):
        archive.archive([self.acme.pk], actor=self.root)
        for user in (self.root, self.ada, self.manager):
            if user is not self.ada:
                self.assertNotIn("mary", str(self.read(user)))

    def test_pages_show_each_entry_once(self):
        for number in range(5):
            person = create_user(f"person {number}")
            token = access_requests.make_link(self.acme, actor=self.ada)
            asked = access_requests.ask(token, person, REVIEWER, "")
            access_requests.decline(asked, "", actor=self.ada)
        for user in (self.ada, self.root):
            with mock.patch.object(feed_items, "ENTRIES_PER_PAGE", 1_000):
                expected = self.read(user, ALL_ACTIVITY)
            lines = []
            query = ""
            with mock.patch.object(feed_items, "ENTRIES_PER_PAGE", 3):
                while query is not None:
                    lines += self.read(user, f"{ALL_ACTIVITY}{query}")
                    response = self.client.get(f"{ALL_ACTIVITY}{query}")
                    older = response.context["activity"].older
                    query = f"?before={older}" if older else None
            self.assertEqual(lines, expected)

    @tag("A50")
    def test_says_that_an_action_has_more_parts_than_a_page_reads(self):
        organizations = [create_organization(f"Org {number}") for number in range(8)]
        nora = create_user("nora")
        changes = [RoleChange(nora, row, REVIEWER) for row in organizations]
        change_roles(changes, actor=self.root, notify=False)
        self.assertIn("nora · 8 organizations: joined", self.read(self.root)[0])
        with mock.patch.object(feed, "MAX_ROWS", 5):
            line = self.read(self.root)[0]
            older = self.client.get(HOME).context["activity"].older
            rest = self.read(self.root, f"{ALL_ACTIVITY}?before={older}")
        self.assertIn("nora · more than 5 organizations: joined", line)
        self.assertIn("nora · 3 organizations: joined", rest[0])

    def change(self, organization, value):
        """Write a record of the history, and an entry in the log of Django's admin."""
        organization.phone = value
        organization.save()
        message = [{"added": {"name": "contact", "object": value}}]
        LogEntry.objects.log_actions(self.root.pk, [organization], CHANGE, message)

    @tag("A28", "A50")
    def test_reads_nothing_of_what_happens_elsewhere(self):
        """Neither on the first page nor on older ones, however much that is."""
        for organization in (self.acme, self.foreign, self.acme, self.foreign):
            for number in range(3):
                self.change(organization, str(number))
        own = Organization.history.filter(id=self.acme.pk)
        own_entries = LogEntry.objects.filter(object_id=str(self.acme.pk))
        read = defaultdict(set)
        with (
            mock.patch.object(feed_items, "ENTRIES_PER_PAGE", 4),
            mock.patch.object(feed, "FIRST_BATCH", 2),
            spy_on("read_records", read),
            spy_on("read_log_entries", read),
        ):
            self.client.force_login(self.ada)
            query = ""
            while query is not None:
                response = self.client.get(f"{ALL_ACTIVITY}{query}")
                older = response.context["activity"].older
                query = f"?before={older}" if older else None
        self.assertLessEqual(
            read["read_records"], set(own.values_list("history_id", flat=True))
        )
        self.assertEqual(
            read["read_log_entries"], set(own_entries.values_list("pk", flat=True))
        )


@contextmanager
def spy_on(name, read):
    """Add the keys of the rows that a log yields to `read`."""
    original = getattr(feed, name)

    def read_and_note(*args):
        for row in original(*args):
            read[name].add(row.key)
            yield row

    with mock.patch.object(feed, name, read_and_note):
        yield


class ReviewTests(FeedCase):
    def start(self, organizations=None):
        scope = "all" if organizations is None else "list"
        review = reviews.start_review(
            scope,
            due_on=find_today().replace(2990, 12, 31),
            organizations=organizations,
            scope_text="CANARY",
            actor=self.root,
        )
        prepare(review.pk)
        return AccessReview.objects.get(pk=review.pk)

    @tag("A50")
    def test_those_who_answer_read_when_a_review_began(self):
        before = {user: self.read(user) for user in (self.rev, self.viewer)}
        self.start()
        lines = self.read(self.root)
        self.assertEqual(lines[0], "Access review: Started. (You)")
        item = self.client.get(HOME).context["activity"].items[0]
        self.assertEqual(self.client.get(item.links[0].url).status_code, 200)
        lines = self.read(self.ada)
        text = "access review started, answers until Dec. 31, 2990"
        self.assertEqual(lines[0], f"Acme: {text} ()")
        for user, expected in before.items():
            self.assertEqual(self.read(user), expected)
        self.assertNotIn("review", str(self.read(self.manager)))

    @tag("A50")
    def test_nobody_reads_of_reviews_of_other_organizations(self):
        before = self.read(self.ada)
        self.start(Organization.objects.filter(pk=self.foreign.pk))
        self.assertEqual(self.read(self.ada), before)
        self.assertIn("Foreign: access review", self.read(self.other)[0])

    def test_reads_the_newest_reviews(self):
        self.start()
        newest = self.start()
        with mock.patch.object(feed_own, "MAX_REVIEWS", 1):
            sections = ReviewSection.objects.exclude(organization_key=None)
            [row] = feed_own.select_reviews(sections)
        self.assertEqual(row[0], newest.started_at)

    def test_says_that_a_review_is_completed_and_counts_organizations(self):
        set_role(self.foreign, [self.ada], ADMIN, notify=False)
        review = self.start()
        for section in review.sections.all():
            section.open_items = 0
            section.save()
        complete_if_answered(review)
        lines = self.read(self.ada)
        self.assertEqual(lines[0], "2 organizations: access review completed ()")
        self.assertIn("2 organizations: access review started", lines[1])
        self.assertEqual(self.read(self.root)[0], "Access review: Completed. ()")


class BulkTests(FeedCase):
    def carry_out(self, change):
        carry_out(change, actor=self.root, seen=make_plan(change).digest)

    @tag("A50")
    def test_a_bulk_change_is_one_entry(self):
        people = [create_user(f"person {number}") for number in range(3)]
        before = {user: self.read(user) for user in (self.root, self.manager)}
        self.carry_out(GiveRole(people, [self.acme, self.foreign], REVIEWER))
        for user, author in ((self.root, "You"), (self.manager, "Platform staff")):
            self.assertEqual(
                self.read_new(user, before[user]),
                [f"Roles given: 3 people, 6 roles changed ({author})"],
            )
        self.assertEqual(
            self.read(self.ada)[0],
            "3 people · Acme: joined (Reviewer) (Platform staff)",
        )
        for user in (self.rev, self.viewer):
            self.assertNotIn("people", str(self.read(user)))

    def test_one_change_in_bulk_names_the_person(self):
        self.carry_out(GiveRole([self.rev], [self.foreign], REVIEWER))
        self.assertEqual(
            self.read(self.other)[0],
            "rev · Foreign: joined (Reviewer) (Platform staff)",
        )

    def test_offboarding_in_bulk_is_one_entry(self):
        set_role(self.acme, [self.other], REVIEWER, notify=False)
        before = self.read(self.root)
        change = EndAccess([self.rev], offboards=True)
        self.carry_out(change)
        self.assertEqual(
            self.read_new(self.root, before),
            ["Access ended: 1 person, 1 role changed (You)"],
        )

    def test_many_rows_of_a_bulk_change_displace_nothing(self):
        people = [create_user(f"person {number}") for number in range(30)]
        set_role(self.acme, [self.other], REVIEWER, actor=self.ada, notify=False)
        organizations = [create_organization(f"Org {number}") for number in range(10)]
        self.carry_out(GiveRole(people, organizations, REVIEWER))
        lines = self.read(self.root)
        self.assertIn("30 people, 300 roles changed", str(lines))
        self.assertIn("other · Acme: joined (Reviewer) (ada)", lines)

    def test_an_import_counts_ends(self):
        self.rev.email = "rev@example.com"
        self.rev.save()
        self.rev.verify_email()
        self.acme.reference = "R1"
        self.acme.save()
        text = "reference,name,reviewers\nR1,Acme,rev@example.com until 2990-12-31\n"
        import_organizations(as_file(text), actor=self.root)
        self.assertIn("Import: 1 last day changed (You)", self.read(self.root))


class CostTests(FeedCase):
    def count_queries(self, user):
        self.client.force_login(user)
        self.client.get(HOME)
        with CaptureQueriesContext(connection) as queries:
            self.client.get(HOME)
        return len(queries)

    def make_activity(self, count):
        people = [create_user(f"p{count}-{number}") for number in range(count)]
        token = access_requests.make_link(self.acme, actor=self.ada)
        with (
            mock.patch.object(access_requests, "LIMIT_TO_ORGANIZATION", 10_000),
            mock.patch.object(access_requests, "tell_admins_of_request"),
            mock.patch.object(access_requests, "outbox"),
        ):
            for person in people:
                asked = access_requests.ask(token, person, REVIEWER, "")
                if person.pk % 2:
                    access_requests.decline(asked, "", actor=self.root)
        for person in people:
            set_role(self.acme, [person], REVIEWER, actor=self.root, notify=False)
            # By a command: Django's admin log has people only.
            archive.archive([self.foreign.pk], actor=None)
            archive.restore([self.foreign.pk], actor=None)

    def test_reads_no_more_for_many_than_for_few(self):
        readers = (self.root, self.ada, self.rev, self.manager)
        self.make_activity(10)
        few = {user: self.count_queries(user) for user in readers}
        self.make_activity(100)
        for user in readers:
            with self.subTest(user=str(user)):
                # With many, a log that has nothing as new is not read at all.
                self.assertLessEqual(self.count_queries(user), few[user])

    def test_admins_read_no_log_that_has_nothing_as_new(self):
        def count_reads():
            with CaptureQueriesContext(connection) as queries:
                self.client.get(HOME)
            # A column of the query for requests.
            return len([sql for sql in queries if "is_declined" in sql["sql"]])

        self.client.force_login(self.ada)
        self.client.get(HOME)
        self.assertEqual(count_reads(), 0)
        self.make_activity(1)
        self.assertEqual(count_reads(), 1)
        for number in range(feed.MAX_ENTRIES_ON_HOME + 1):
            self.acme.phone = str(number)
            self.acme.save()
        self.assertEqual(count_reads(), 0)

    def test_reads_few_rows_and_renders_each_text_once(self):
        self.make_activity(50)
        self.client.force_login(self.ada)
        with mock.patch.object(
            feed_events, "describe_event", side_effect=feed_events.describe_event
        ) as describe:
            self.client.get(HOME)
        self.assertLessEqual(describe.call_count, 2)
        with CaptureQueriesContext(connection) as queries:
            self.client.get(HOME)
        limits = [q for q in queries if f"LIMIT {feed.FIRST_BATCH}" in q["sql"]]
        # Versions and the membership log.
        self.assertGreaterEqual(len(limits), 2)

    def test_keys_of_times_can_be_read(self):
        now = timezone.now()
        self.assertEqual(read_key(make_key(now)), now)
        self.assertEqual(read_key(10**18 - 1).year, 9999)
