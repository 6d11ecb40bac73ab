"""The last days of people's access in files that are imported."""

import io
from datetime import UTC, datetime, timedelta
from unittest import mock

from django.conf import settings
from django.db import connection
from django.test import TestCase, tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orgadmin.access.ends import find_start_of_next_day
from orgadmin.models import AuditEvent, Membership, MembershipEvent, Organization, User
from orgadmin.people.ends import find_today
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.organizations import ImportRefused, import_organizations

from .factories import (
    ADMIN,
    REVIEWER,
    create_organization,
    create_superuser,
    create_user,
    set_role,
)

IMPORT = "/admin/orgadmin/organization/import/"
PASSED = "This day has passed. Choose today or a later day."
NO_DATE = "This is not a date. Write the year, month and day, as in 2026-12-31."
PLACE = (
    "Write “until” between an email address and a day, as in"
    " “mary@example.com until 2026-12-31”."
)


class ImportEndsMixin:
    def setUp(self):
        self.acme = create_organization("Acme", reference="R1")
        self.anna = self.create_person("anna")
        self.bert = self.create_person("bert")
        set_role(self.acme, [self.anna, self.bert], ADMIN)
        self.day = find_today() + timedelta(days=30)
        self.end = find_start_of_next_day(self.day)

    def create_person(self, name):
        user = create_user(name, email=f"{name}@example.com")
        user.verify_email()
        return user

    def run_import(self, cell, column="admins", **options):
        text = f'reference,name,{column}\nR1,Acme,"{cell}"\n'
        return import_organizations(io.BytesIO(text.encode()), **options)

    def read_ends(self):
        """Return {username: end} of the members of the organization."""
        rows = Membership.objects.filter(group__in=self.acme.group_ids)
        return dict(rows.values_list("user__username", "ends_at"))


class ImportEndsTests(ImportEndsMixin, TestCase):
    def assert_refused(self, cell, value, message, **options):
        before = self.read_ends()
        with self.assertRaises(ImportRefused) as caught:
            self.run_import(cell, **options)
        [problem] = caught.exception.problems
        self.assertEqual(str(problem), f"line 2, column “admins”, “{value}”: {message}")
        self.assertEqual(self.read_ends(), before)

    def test_sets_the_end_of_the_person_before_it(self):
        report = self.run_import(f"anna@example.com until {self.day}; bert@example.com")
        self.assertEqual((report.people, report.ends), (0, 1))
        self.assertEqual(self.read_ends(), {"anna": self.end, "bert": None})
        event = MembershipEvent.objects.latest("pk")
        self.assertEqual((event.event, event.user_key), ("end changed", self.anna.pk))
        details = AuditEvent.objects.get(event="imported").details
        self.assertEqual((details["people"], details["ends"]), (0, 1))

    def test_understands_other_separators_and_capitals(self):
        for cell in (
            f"Anna@Example.com UNTIL {self.day},bert@example.com",
            f"bert@example.com\nanna@example.com  until\n{self.day}",
            f"anna@example.com until {self.day} bert@example.com",
            f"anna@example.com; anna@example.com until {self.day}",
        ):
            with self.subTest(cell=cell):
                Membership.objects.update(ends_at=None)
                self.run_import(cell)
                self.assertEqual(self.read_ends(), {"anna": self.end, "bert": None})

    def test_extends_and_shortens_and_keeps(self):
        late = find_start_of_next_day(self.day + timedelta(days=9))
        Membership.objects.filter(user=self.anna).update(ends_at=late)
        self.run_import(f"anna@example.com until {self.day}")
        self.assertEqual(self.read_ends()["anna"], self.end)
        report = self.run_import("anna@example.com")
        self.assertEqual((report.people, report.ends, report.unchanged), (0, 0, 1))
        self.assertEqual(self.read_ends()["anna"], self.end)

    def test_a_new_member_gets_an_end(self):
        carl = self.create_person("carl")
        report = self.run_import(f"{carl.email} until {self.day}", "reviewers")
        self.assertEqual((report.people, report.ends), (1, 0))
        self.assertEqual(self.read_ends()["carl"], self.end)

    def test_a_new_role_can_have_another_end(self):
        Membership.objects.filter(user=self.anna).update(ends_at=self.end)
        late = self.day + timedelta(days=9)
        self.run_import(
            f"anna@example.com until {late}",
            "reviewers",
            options=ImportOptions(accepts_warnings=True),
        )
        self.assertEqual(self.read_ends()["anna"], find_start_of_next_day(late))

    def test_today_is_the_earliest_day(self):
        today = find_today()
        self.run_import(f"anna@example.com until {today}")
        self.assertEqual(self.read_ends()["anna"], find_start_of_next_day(today))
        yesterday = today - timedelta(days=1)
        self.assert_refused(f"anna@example.com until {yesterday}", yesterday, PASSED)

    def test_a_day_that_passes_during_the_import_is_refused(self):
        clock = "orgadmin.people.membership.read_clock"
        with mock.patch(clock, return_value=datetime(2990, 1, 1, tzinfo=UTC)):
            with self.assertRaises(ImportRefused) as caught:
                self.run_import(f"anna@example.com until {self.day}")
        [problem] = caught.exception.problems
        self.assertEqual(str(problem), f"“{self.day}”: {PASSED}")

    def test_refuses_what_is_no_day(self):
        for day in ("31.12.2026", "2026-02-30", "20261231", "2026-W01-1", "x", "٢٠٢٦"):
            with self.subTest(day=day):
                self.assert_refused(f"anna@example.com until {day}", day, NO_DATE)
        self.assert_refused(
            "anna@example.com until 3000-01-01",
            "3000-01-01",
            "This day is too far in the future. Choose a day before the year 3000.",
        )

    def test_refuses_a_word_without_an_address_or_a_day(self):
        for cell in (
            f"until {self.day}",
            "anna@example.com until",
            f"anna@example.com until {self.day} until {self.day}",
        ):
            with self.subTest(cell=cell):
                self.assert_refused(cell, cell, PLACE)

    def test_refuses_two_days_of_a_person(self):
        late = self.day + timedelta(days=1)
        self.assert_refused(
            f"anna@example.com until {self.day}; anna@example.com until {late}",
            late,
            "This person already has another last day here. Keep only one.",
        )

    @tag("D19")
    def test_does_not_extend_the_access_of_an_unconfirmed_address(self):
        manager = create_user("manager", is_staff=True)
        eve = User(username="eve", email="mary@example.com")
        eve.set_unusable_password()
        eve.changed_by = manager
        eve.save()
        set_role(self.acme, [eve], ADMIN)
        # It already has a role, so naming it does not change anything.
        self.run_import("mary@example.com")
        self.assert_refused(
            f"mary@example.com until {self.day}",
            "mary@example.com",
            "The person with this email address has not confirmed it. Change the last"
            " day on the People page.",
        )

    def test_a_preview_says_what_happens_to_the_last_day(self):
        carl = self.create_person("carl")
        shown = []
        self.run_import(
            f"anna@example.com until 2990-12-31; {carl.email} until 2990-12-30;"
            " dora@example.com until 2990-12-29",
            actor=create_superuser(),
            send_mail=True,
            dry_run=True,
            on_row=shown.append,
        )
        [row] = shown
        self.assertEqual(
            row.effects,
            [
                "anna stays Admin, now until Dec. 31, 2990",
                "carl becomes Admin, until Dec. 30, 2990",
                "dora@example.com is invited as Admin, until Dec. 29, 2990",
            ],
        )
        self.assertEqual(self.read_ends(), {"anna": None, "bert": None})

    def test_an_invitation_offers_the_last_day(self):
        root = create_superuser()
        cell = f"dora@example.com until {self.day}"
        for expected in (1, 0):
            report = self.run_import(cell, "reviewers", actor=root, send_mail=True)
            self.assertEqual(report.invited, expected)
        invitation = self.acme.invitations.get()
        self.assertEqual(invitation.membership_ends_at, self.end)
        # Without a day, any invitation will do.
        self.run_import("dora@example.com", "reviewers", actor=root, send_mail=True)
        self.assertEqual(self.acme.invitations.get(), invitation)
        late = self.day + timedelta(days=1)
        cell = f"dora@example.com until {late}"
        report = self.run_import(cell, "reviewers", actor=root, send_mail=True)
        self.assertEqual(report.invited, 1)
        replaced = self.acme.invitations.get()
        self.assertEqual(replaced.membership_ends_at, find_start_of_next_day(late))

    def test_whose_invitation_has_expired_is_invited_again(self):
        values = {"actor": create_superuser(), "send_mail": True}
        self.run_import("dora@example.com", "reviewers", **values)
        long_ago = timezone.now() - timedelta(days=settings.INVITATION_DAYS)
        self.acme.invitations.update(sent_at=long_ago)
        report = self.run_import("dora@example.com", "reviewers", **values)
        self.assertEqual(report.invited, 1)
        self.assertFalse(self.acme.invitations.get().expired)

    def test_the_number_of_queries_does_not_grow_with_people(self):
        people = [self.create_person(f"person{number}") for number in range(20)]
        set_role(self.acme, people, REVIEWER)
        with CaptureQueriesContext(connection) as few:
            self.run_import(f"{people.pop().email} until {self.day}", "reviewers")
        cell = "; ".join(f"{user.email} until {self.day}" for user in people)
        with self.assertNumQueries(len(few)):
            self.run_import(cell, "reviewers")


class ImportEndsPageTests(ImportEndsMixin, TestCase):
    @tag("A41")
    def test_people_who_are_no_superusers_cannot_set_ends(self):
        clerk = create_user(
            "clerk",
            is_staff=True,
            permissions=[
                "view_organization",
                "change_organization",
                "manage_members_organization",
            ],
        )
        for person in (self.anna, clerk):
            with self.assertRaises(ImportRefused) as caught:
                self.run_import(f"bert@example.com until {self.day}", actor=person)
            self.assertEqual(
                str(caught.exception.problems[0]),
                "line 2, column “admins”: You cannot edit this field. Remove the"
                " column.",
            )
        self.assertIsNone(self.read_ends()["bert"])

    def test_the_page_previews_and_changes_last_days(self):
        self.client.force_login(create_superuser())
        file = io.BytesIO(
            b"reference,name,admins\nR1,Acme,anna@example.com until 2990-12-31\n"
        )
        file.name = "organizations.csv"
        response = self.client.post(IMPORT, {"file": file}, follow=True)
        self.assertContains(
            response, "<li>Change the last day of 1 person</li>", html=True
        )
        self.assertContains(response, "anna stays Admin, now until Dec. 31, 2990")
        self.assertIsNone(self.read_ends()["anna"])
        url = response.request["PATH_INFO"]
        data = {"seen": response.context["stored"].digest}
        response = self.client.post(url, data, follow=True)
        self.assertContains(response, "The last day of 1 person was changed.")
        self.assertEqual(self.read_ends()["anna"].year, 2991)
        self.assertEqual(Organization.objects.count(), 1)
