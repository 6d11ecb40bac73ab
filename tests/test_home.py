"""The home page: what needs attention, growth, and recent activity."""

import datetime
from importlib import import_module
from types import SimpleNamespace
from unittest import mock

from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.db import connection
from django.test import TestCase, override_settings, tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orgadmin.access.audit_log import SecurityEvent, record
from orgadmin.admin.home import attention, feed_items
from orgadmin.models import (
    DoctorRun,
    Invitation,
    MonthlyCount,
    Organization,
    User,
)
from orgadmin.people.archive import archive
from orgadmin.people.invitations import invite
from orgadmin.people.offboarding import offboard
from orgadmin.people.worker import Worker
from orgadmin.records.feed import activity as feed
from orgadmin.records.imports.organizations import import_organizations

from .factories import (
    ADMIN,
    REVIEWER,
    as_file,
    create_organization,
    create_superuser,
    create_user,
    run_doctor,
    set_role,
)

HOME = "/admin/"
ALL_ACTIVITY = "/admin/all-activity/"
LIST = "/admin/orgadmin/organization/"


class HomeCase(TestCase):
    url = HOME

    def get_home(self, user):
        self.client.force_login(user)
        response = self.client.get(HOME)
        self.assertEqual(response.status_code, 200)
        return response

    def count_queries(self, user):
        self.get_home(user)
        with CaptureQueriesContext(connection) as queries:
            self.client.get(self.url)
        return len(queries)


def list_lines(response):
    """Return the activity on a page, as "links: text (author)"."""
    return [
        f"{' · '.join(link.text for link in item.links)}: {item.text}"
        f" ({item.author.text})"
        for item in response.context["activity"].items
    ]


class AttentionTests(HomeCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()

    def get_concerns(self, user=None):
        """Return {text: (number, URL)}, or None if the page has no such part."""
        concerns = self.get_home(user or self.root).context.get("concerns")
        if concerns is None:
            return None
        return {
            concern.text: (concern.number, concern.url.removeprefix("/admin/orgadmin/"))
            for concern in concerns
        }

    def test_says_so_if_there_is_nothing(self):
        self.assertEqual(self.get_concerns(), {})
        self.assertContains(self.get_home(self.root), "Nothing needs attention.")

    def test_counts_organizations_by_their_active_admins(self):
        acme = create_organization("Acme")
        create_organization("Beta")
        create_organization("Gamma")
        create_user("anna", admin_of=[acme])
        self.assertEqual(
            self.get_concerns(),
            {
                "organizations without an active admin": (
                    "2",
                    "organization/?admins=none",
                ),
                "organization with only one admin": ("1", "organization/?admins=one"),
            },
        )

    def test_counts_organizations_with_expired_invitations(self):
        acme = create_organization()
        for address in ("a@example.com", "b@example.com"):
            invite(acme, address, REVIEWER, actor=self.root)
        self.assertNotIn("invitation", str(self.get_concerns()))
        Invitation.objects.update(sent_at=timezone.now() - datetime.timedelta(days=99))
        self.assertEqual(
            self.get_concerns()["organization with an expired invitation"],
            ("1", "organization/?invitations=expired"),
        )

    def test_counts_members_who_cannot_sign_in(self):
        acme = create_organization()
        create_user("gone", reviewer_of=[acme], is_active=False)
        create_user("no member", is_active=False)
        self.assertEqual(
            self.get_concerns()["member who cannot sign in"],
            ("1", "user/?status=cannot-sign-in"),
        )

    def test_counts_refused_imports_until_another_succeeds(self):
        record(SecurityEvent.IMPORT_REFUSED, actor=self.root)
        self.assertEqual(
            self.get_concerns()["refused import"],
            ("1", "auditevent/?event=import+refused"),
        )
        import_organizations(as_file("name\nNew\n"), actor=self.root)
        self.assertNotIn("refused import", self.get_concerns())

    def test_says_that_the_backups_need_attention(self):
        self.assertNotIn("problem with the backups", self.get_concerns())
        with override_settings(BACKUP_STATUS="/nonexistent/status"):
            self.assertEqual(
                self.get_concerns()["problem with the backups"],
                ("1", "/admin/doctor/"),
            )
            page = self.client.get("/admin/doctor/")
        self.assertContains(page, "No backup has been made yet.")

    def test_shows_what_the_last_run_of_doctor_has_found(self):
        DoctorRun.objects.create(pk=1, errors={"group name": 2, "permission": 1})
        self.assertEqual(
            self.get_concerns()["errors found by doctor"], ("3", "/admin/doctor/")
        )
        self.assertContains(self.client.get("/admin/doctor/"), "Group name")
        run_doctor()
        self.assertEqual(DoctorRun.objects.get().errors, {})
        self.assertEqual(self.get_concerns(), {})
        self.assertContains(self.client.get("/admin/doctor/"), "no errors")

    def test_counts_up_to_a_limit(self):
        Organization.objects.bulk_create(
            Organization(name=f"Bulk {number}") for number in range(4)
        )
        with mock.patch.object(attention, "MAX_COUNT", 3):
            number, _url = self.get_concerns()["organizations without an active admin"]
        self.assertEqual(number, "3+")

    @tag("A50")
    def test_each_number_is_only_for_people_who_may_open_its_list(self):
        acme = create_organization()
        create_user("gone", reviewer_of=[acme], is_active=False)
        viewer = create_user("v", is_staff=True, permissions=["view_organization"])
        self.assertIsNone(self.get_concerns(viewer))
        delegate = create_user(
            "d",
            is_staff=True,
            permissions=["view_organization", "manage_members_organization"],
        )
        self.assertEqual(
            list(self.get_concerns(delegate)), ["organization without an active admin"]
        )
        self.assertIsNone(self.get_concerns(create_user("a", admin_of=[acme])))
        for user in (viewer, delegate):
            self.client.force_login(user)
            self.assertEqual(self.client.get("/admin/doctor/").status_code, 404)


class GrowthTests(HomeCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser()
        cls.acme = create_organization()

    def add_month(self, year, month, organizations=0, people=0):
        MonthlyCount.objects.create(
            month=datetime.date(year, month, 1),
            counted_on=datetime.date(year, month, 28),
            organizations=organizations,
            people=people,
        )

    def test_is_counted_once_a_day_after_the_first_visit(self):
        MonthlyCount.objects.all().delete()
        self.add_month(2020, 1)
        self.assertIsNone(self.get_home(self.root).context["growth"])
        count = MonthlyCount.objects.first()
        self.assertEqual(count.organizations, 1)
        self.assertEqual(count.people, 1)
        create_organization("Second")
        growth = self.get_home(self.root).context["growth"]
        self.assertEqual([chart.last for chart in growth.charts], [1, 1])
        MonthlyCount.objects.update(counted_on=datetime.date(2020, 1, 1))
        MonthlyCount.objects.count_today()
        self.assertEqual(MonthlyCount.objects.first().organizations, 2)

    def test_a_worker_counts_too(self):
        MonthlyCount.objects.all().delete()
        Worker().do_periodic_work()
        self.assertEqual(MonthlyCount.objects.get().organizations, 1)

    def test_the_past_is_worked_out_from_the_history(self):
        MonthlyCount.objects.all().delete()
        long_ago = timezone.now() - datetime.timedelta(days=70)
        Organization.history.update(history_date=long_ago)
        User.objects.update(date_joined=long_ago)
        create_organization("Second")
        create_organization("Third").delete()
        migration = import_module("orgadmin.migrations.0062_fill_monthly_counts")
        migration.fill(apps, SimpleNamespace(connection=connection))
        counts = list(MonthlyCount.objects.values_list("organizations", "people"))
        self.assertEqual(counts[:2], [(2, 1), (1, 1)])
        self.assertLess(len(counts), 5)

    def test_shows_the_last_twelve_months_as_a_chart_and_as_a_table(self):
        MonthlyCount.objects.all().delete()
        for month in range(1, 13):
            for year in (2024, 2025):
                self.add_month(year, month, organizations=100 * month)
        response = self.get_home(self.root)
        growth = response.context["growth"]
        self.assertEqual(len(growth.months), 12)
        self.assertEqual(growth.months[0].month, datetime.date(2025, 1, 1))
        organizations, people = growth.charts
        self.assertEqual(organizations.bars[-1].height, organizations.height)
        self.assertEqual(organizations.bars[5].height, organizations.height / 2)
        self.assertEqual({bar.height for bar in people.bars}, {0})
        last = organizations.bars[-1]
        self.assertEqual(last.x + last.width, organizations.width)
        self.assertContains(response, 'role="img"', 2)
        self.assertContains(response, "100 in January 2025, 1200 now")
        self.assertContains(response, '<td class="end">1200</td>', html=True)
        self.assertNotContains(response, "style=")

    @tag("A50")
    def test_is_only_for_people_who_may_see_what_is_counted(self):
        MonthlyCount.objects.all().delete()
        self.add_month(2025, 1)
        self.add_month(2025, 2)
        viewer = create_user("v", is_staff=True, permissions=["view_organization"])
        charts = self.get_home(viewer).context["growth"].charts
        self.assertEqual([chart.name for chart in charts], ["organizations"])
        manager = create_user("m", is_staff=True, permissions=["view_user"])
        self.assertIsNone(self.get_home(manager).context["growth"])
        ada = create_user("ada", admin_of=[self.acme])
        self.assertNotIn("growth", self.get_home(ada).context)


class ActivityTests(HomeCase):
    @classmethod
    def setUpTestData(cls):
        cls.root = create_superuser("root", first_name="Rita", last_name="Root")
        cls.acme = create_organization("Acme")
        cls.foreign = create_organization("Foreign")
        cls.ada = create_user("ada", first_name="Ada", admin_of=[cls.acme])
        cls.rev = create_user("rev", reviewer_of=[cls.acme])

    def read(self, user):
        """Return what the page shows, as "links: text (author)"."""
        return list_lines(self.get_home(user))

    def change(self, user, organization=None, **values):
        organization = organization or self.acme
        organization._history_user = user
        for name, value in values.items():
            setattr(organization, name, value)
        organization.save()

    def test_shows_superusers_changes_of_all_kinds_newest_first(self):
        self.change(self.ada, phone="2")
        self.client.force_login(self.root)
        contact = self.acme.contacts.create(name="Eve")
        url = f"/admin/orgadmin/contact/{contact.pk}/change/"
        self.client.post(url, {"organization": self.acme.pk, "name": "Eva"})
        set_role(self.foreign, [self.ada], REVIEWER, actor=self.root)
        self.change(None, self.foreign, name="Foreign 2")
        lines = self.read(self.root)
        self.assertEqual(
            lines[:4],
            [
                "Foreign 2: Name: from “Foreign” to “Foreign 2”. (unknown)",
                "Ada (ada) · Foreign 2: joined (Reviewer) (You)",
                "Eva · Acme: Changed Name. (You)",
                "Acme: Phone: “2” added. (Ada (ada))",
            ],
        )

    def test_links_lead_to_what_still_exists(self):
        self.change(self.ada, self.foreign, phone="2")
        set_role(self.foreign, [self.rev], REVIEWER, actor=self.root)
        contact = self.acme.contacts.create(name="Eve")
        LogEntry.objects.log_actions(
            self.root.pk, [contact], CHANGE, [{"changed": {"fields": ["Name"]}}]
        )
        response = self.get_home(self.root)
        for item in response.context["activity"].items:
            for link in [item.author, *item.links]:
                if link.url:
                    self.assertEqual(self.client.get(link.url).status_code, 200)
        self.assertContains(response, f"/orgadmin/user/{self.ada.pk}/")
        contact.delete()
        self.foreign.delete()
        self.rev.delete()
        activity = self.get_home(self.root).context["activity"].items
        gone = [
            link
            for item in activity
            for link in item.links
            if link.text in ("Foreign", "rev", "Eve")
        ]
        self.assertGreater(len(gone), 3)
        self.assertEqual({link.url for link in gone}, {""})
        self.assertIn("Foreign: Deleted. (unknown)", self.read(self.root))

    @tag("A50")
    def test_org_admins_read_about_their_own_organizations(self):
        self.change(self.root, phone="2")
        self.change(self.root, self.foreign, phone="CANARY")
        self.change(self.ada, tax_id="SECRET")
        set_role(self.acme, [self.rev], ADMIN, actor=self.root, notify=False)
        lines = self.read(self.ada)
        self.assertEqual(
            lines[:3],
            [
                "rev · Acme: role changed (Reviewer → Admin) (Platform staff)",
                "Acme: Tax ID: “SECRET” added. (You)",
                "Acme: Phone: “2” added. (Platform staff)",
            ],
        )
        for hidden in ("Foreign", "CANARY", "Rita", "root"):
            self.assertNotIn(hidden, str(lines))

    @tag("A50", "A27")
    def test_reviewers_read_no_names_no_people_and_nothing_confidential(self):
        before = self.read(self.rev)
        self.change(self.ada, tax_id="SECRET")
        set_role(self.acme, [create_user("new")], REVIEWER, actor=self.ada)
        invite(self.acme, "x@example.com", REVIEWER, actor=self.ada)
        self.assertEqual(self.read(self.rev), before)
        self.change(self.ada, notes="SECRET", phone="2")
        lines = self.read(self.rev)
        self.assertEqual(
            lines,
            ["Acme: Phone: “2” added. (An admin of this organization)", *before],
        )

    @tag("A50", "A27")
    def test_hidden_changes_do_not_displace_what_a_reviewer_may_read(self):
        self.change(self.ada, phone="2")
        expected = self.read(self.rev)
        for number in range(2 * feed.BATCH + 1):
            self.change(self.ada, tax_id=str(number))
        self.assertEqual(self.read(self.rev), expected)

    @tag("A50")
    def test_details_about_contacts_are_for_people_who_see_everything(self):
        self.client.force_login(self.ada)
        contact = self.acme.contacts.create(name="Eve")
        url = f"/admin/orgadmin/contact/{contact.pk}/change/"
        self.client.post(url, {"organization": self.acme.pk, "name": "Eva"})
        self.assertEqual(self.read(self.ada)[0], "Eva · Acme: Changed Name. (You)")
        self.assertEqual(
            self.read(self.rev)[0], "Eva · Acme: Change (An admin of this organization)"
        )

    @tag("A50")
    def test_delegated_viewers_read_about_all_organizations_but_not_about_people(self):
        viewer = create_user("v", is_staff=True, permissions=["view_organization"])
        self.change(self.ada, self.foreign, phone="2", tax_id="SECRET")
        lines = self.read(viewer)
        self.assertIn(
            "Foreign: Phone: “2” added. (An admin of this organization)", lines
        )
        for hidden in ("joined", "SECRET", "ada", "rev"):
            self.assertNotRegex(str(lines), rf"\b{hidden}\b")
        manager = create_user("m", is_staff=True, permissions=["view_user"])
        self.assertEqual(self.read(manager), [])

    @tag("A50")
    def test_names_nobody_in_entries_about_what_was_deleted(self):
        viewer = create_user("v", is_staff=True, permissions=["view_organization"])
        self.change(self.root, self.foreign, phone="2")
        contacts = [
            self.foreign.contacts.create(name="Eve"),
            self.acme.contacts.create(name="Eve"),
        ]
        LogEntry.objects.log_actions(
            self.root.pk, contacts, CHANGE, [{"changed": {"fields": ["Email"]}}]
        )
        contacts[1].delete()
        Organization.objects.filter(pk=self.foreign.pk).delete(actor=self.root)
        lines = self.read(viewer)
        self.assertIn("Foreign: Deleted. (Someone)", lines)
        self.assertEqual(lines.count("Eve: Change (Someone)"), 2)
        for hidden in ("Rita", "root"):
            self.assertNotIn(hidden, str(lines))
        self.assertIn("Foreign: Deleted. (You)", self.read(self.root))

    @tag("A50")
    def test_nobody_can_pass_for_a_command_or_for_platform_staff(self):
        other = create_user("other", admin_of=[self.acme])
        for name in ("Command doctor", "Platform staff"):
            self.ada.first_name, self.ada.last_name = name.split()
            self.ada.save()
            self.change(self.ada, phone=name)
            for user in (self.root, other):
                self.assertIn(f"({name} (ada))", self.read(user)[0])

    def test_an_import_is_one_entry(self):
        rows = "".join(f"Imported {number},\n" for number in range(30))
        import_organizations(as_file(f"name,phone\n{rows}"), actor=self.root)
        lines = self.read(self.root)
        self.assertIn("30 organizations added", lines[0])
        self.assertIn("You", lines[0])
        self.assertNotIn("Imported", str(lines))

    @tag("A50")
    def test_org_admins_read_that_an_import_changed_their_organizations(self):
        set_role(self.foreign, [self.ada], ADMIN, notify=False)
        for organization in (self.acme, self.foreign):
            self.change(None, organization, reference=organization.name)
        rows = "Acme,Acme,x\nForeign,Foreign,x\n"
        file = as_file(f"reference,name,address\n{rows}")
        import_organizations(file, actor=self.root)
        self.assertIn(
            "2 organizations: Changed. (Import by Platform staff)", self.read(self.ada)
        )
        self.assertIn(
            "Acme: Address: “x” added. (Import by Platform staff)", self.read(self.rev)
        )

    def test_reads_on_until_an_action_on_many_organizations_is_complete(self):
        organizations = [
            create_organization(f"Own {number}", reference=str(number))
            for number in range(feed.FIRST_BATCH + 4)
        ]
        for organization in organizations:
            set_role(organization, [self.ada], ADMIN, notify=False)
        self.change(self.ada, phone="1")
        rows = "".join(f"{row.reference},{row.name},x\n" for row in organizations)
        file = as_file(f"reference,name,address\n{rows}")
        import_organizations(file, actor=self.root)
        lines = self.read(self.ada)
        self.assertIn(f"{len(organizations)} organizations: Changed.", lines[0])
        self.assertIn("Acme: Phone: “1” added. (You)", lines)

    def test_one_action_on_several_organizations_is_one_entry(self):
        set_role(self.foreign, [self.rev], REVIEWER, notify=False)
        offboard(self.rev, actor=self.root)
        lines = self.read(self.root)
        self.assertIn("rev · 2 organizations: left (Reviewer) (You)", lines)

    @tag("A50", "B15")
    def test_archived_organizations_neither_count_nor_displace_others(self):
        contacts = [self.foreign.contacts.create(name=f"C {n}") for n in range(60)]
        set_role(self.foreign, [self.rev], REVIEWER, notify=False)
        archive([self.foreign.pk], actor=self.root)
        offboard(self.rev, actor=self.root)
        self.change(self.ada, phone="1")
        for number in range(20):
            person = create_user(f"p{number}")
            self.foreign.reviewer.user_set.add(person)
        for changed in (self.foreign, *contacts):
            parts = [{"added": {"name": "contact", "object": "Secret"}}]
            LogEntry.objects.log_actions(self.ada.pk, [changed], CHANGE, parts)
        lines = self.read(self.root)
        self.assertIn("rev · Acme: left (Reviewer) (You)", lines)
        self.assertIn("Acme: Phone: “1” added. (Ada (ada))", lines)
        # Superusers read that it was archived, and nothing else of it.
        lines.remove("Foreign: Archived. (You)")
        for text in ("Secret", "C 1", "p1", self.foreign.name):
            self.assertNotRegex(" ".join(lines), rf"\b{text}\b")

    def test_reads_the_same_for_one_and_for_many(self):
        self.change(self.ada, phone="1")
        for user in (self.root, self.ada, self.rev):
            few = self.count_queries(user)
            for number in range(30):
                self.change(self.ada, phone=str(number))
                self.change(self.ada, self.foreign, phone=str(number))
                self.acme.contacts.create(name=f"Contact {number}")
            # Few versions of organizations are one batch, and many are two.
            self.assertLessEqual(self.count_queries(user), max(few + 1, 12))

    def test_takes_a_few_queries(self):
        MonthlyCount.objects.count_today()
        # One of them asks which organizations are archived.
        self.assertLessEqual(self.count_queries(self.root), 13)
        # One of them asks all logs for their newest rows, and one asks how people of
        # hers are called.
        self.assertLessEqual(self.count_queries(self.ada), 11)
        self.assertLessEqual(self.count_queries(self.rev), 9)


class AllActivityTests(ActivityTests):
    """The pages behind the home page. What they show follows the same rules."""

    url = ALL_ACTIVITY

    def read(self, user):
        self.client.force_login(user)
        response = self.client.get(ALL_ACTIVITY)
        self.assertEqual(response.status_code, 200)
        return list_lines(response)

    def read_pages(self, user):
        """Return what all pages show, and check that each has a link to the next."""
        self.client.force_login(user)
        lines = []
        query = ""
        while query is not None:
            response = self.client.get(f"{ALL_ACTIVITY}{query}")
            lines += list_lines(response)
            older = response.context["activity"].older
            query = f"?before={older}" if older else None
            if older:
                self.assertContains(response, f'href="{query}"')
        return lines

    def test_takes_a_few_queries(self):
        self.assertLessEqual(self.count_queries(self.root), 11)
        self.assertLessEqual(self.count_queries(self.ada), 14)
        self.assertLessEqual(self.count_queries(self.rev), 11)

    def make_history(self):
        for number in range(12):
            self.change(self.ada, phone=str(number))
            self.change(self.ada, tax_id=str(number))
            self.change(self.root, self.foreign, phone=str(number))
            person = create_user(f"p{number}")
            set_role(self.acme, [person], REVIEWER, actor=self.ada, notify=False)
            contact = self.acme.contacts.create(name=f"Contact {number}")
            LogEntry.objects.log_actions(
                self.ada.pk, [contact], CHANGE, [{"changed": {"fields": ["Name"]}}]
            )

    @tag("A50")
    def test_pages_show_each_entry_once_and_in_order(self):
        self.make_history()
        for user in (self.root, self.ada, self.rev):
            with self.subTest(user=str(user)):
                with mock.patch.object(feed_items, "ENTRIES_PER_PAGE", 1_000):
                    expected = self.read(user)
                self.assertGreater(len(expected), 20)
                with mock.patch.object(feed_items, "ENTRIES_PER_PAGE", 5):
                    self.assertEqual(self.read_pages(user), expected)

    @tag("A50")
    def test_positions_name_nothing_that_is_hidden(self):
        self.make_history()
        with mock.patch.object(feed_items, "ENTRIES_PER_PAGE", 5):
            self.client.force_login(self.rev)
            before = self.client.get(ALL_ACTIVITY).context["activity"].older
            self.change(self.ada, tax_id="hidden")
            invite(self.acme, "x@example.com", REVIEWER, actor=self.ada)
            after = self.client.get(ALL_ACTIVITY).context["activity"].older
        self.assertEqual(before, after)

    def test_other_positions_are_the_beginning(self):
        self.make_history()
        expected = self.read(self.ada)
        for text in ("", "x", "1-2", "1-2-3-x", "1-2-3-٤", "-1-2-3", "1-2-3-4-5-6-7"):
            response = self.client.get(f"{ALL_ACTIVITY}?before={text}")
            self.assertEqual(list_lines(response), expected, text)
        largest = "-".join(["9" * 18] * 6)
        response = self.client.get(f"{ALL_ACTIVITY}?before={largest}")
        self.assertEqual(list_lines(response), expected)

    def test_the_home_page_leads_there_if_there_is_more(self):
        self.assertNotContains(self.get_home(self.rev), ALL_ACTIVITY)
        self.make_history()
        self.assertContains(self.get_home(self.rev), ALL_ACTIVITY)

    def test_only_people_who_may_enter_may_open_it(self):
        self.client.force_login(create_user("nobody"))
        self.assertEqual(self.client.get(ALL_ACTIVITY).status_code, 302)
        self.client.logout()
        self.assertEqual(self.client.get(ALL_ACTIVITY).status_code, 302)
