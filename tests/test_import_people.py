"""Importing people: who gets a role, who is invited, and what is refused."""

from datetime import timedelta

from django.conf import settings
from django.core import mail
from django.db import connection
from django.test import TestCase, tag
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from orgadmin.models import (
    AuditEvent,
    Invitation,
    Membership,
    MembershipEvent,
    Organization,
    User,
)
from orgadmin.people import archive
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.ends import find_end_of_day, find_last_day, find_today
from orgadmin.people.invitations import invite
from orgadmin.people.membership import change_roles
from orgadmin.records.csv_files import write_csv
from orgadmin.records.export_people import list_people
from orgadmin.records.imports.options import ImportOptions
from orgadmin.records.imports.organizations import import_organizations
from orgadmin.records.imports.people import import_people
from orgadmin.records.imports.problems import ImportRefused, WarningsRefused

from .factories import (
    ADMIN,
    REVIEWER,
    as_file,
    create_organization,
    create_superuser,
    create_user,
    id_cells,
)

DAY = find_today() + timedelta(days=40)
LATER = DAY + timedelta(days=40)

ACCEPTED = ImportOptions(accepts_warnings=True)
BY_NAME = ImportOptions(matches_names=True)
PARTIAL = ImportOptions(leaves_out_problems=True, accepts_warnings=True)


class PeopleCase(TestCase):
    def setUp(self):
        self.root = create_superuser("root", email="root@example.com")
        self.acme = create_organization("Acme", reference="R1")
        self.beta = create_organization("Beta", reference="R2")
        self.boss = create_user("boss", email="boss@example.com", admin_of=[self.acme])
        self.mary = create_user(
            "mary", email="mary@example.com", first_name="Mary", last_name="Miller"
        )

    def run_import(self, text, **settings):
        settings.setdefault("actor", self.root)
        return import_people(as_file(text), **settings)

    def refuse(self, text, **settings):
        """Import a file that is refused, and return its problems as texts."""
        before = list(Membership.objects.values()), list(Invitation.objects.values())
        with self.assertRaises(ImportRefused) as caught:
            self.run_import(text, **settings)
        after = list(Membership.objects.values()), list(Invitation.objects.values())
        self.assertEqual(after, before)
        return [str(problem) for problem in caught.exception.problems]

    def assert_refused(self, text, *words, **settings):
        [problem] = self.refuse(text, **settings)
        for word in words:
            self.assertIn(word, problem)

    def find_role(self, user, organization):
        """Return the role of a person, and its last day."""
        for role in (ADMIN, REVIEWER):
            group = getattr(organization, role.key)
            for row in Membership.objects.current().filter(user=user, group=group):
                return role.key, row.ends_at and find_last_day(row.ends_at)
        return None

    def give(self, user, organization, role, day=None):
        end = MembershipEnd(find_end_of_day(day) if day else None)
        change_roles([RoleChange(user, organization, role, end=end)])


class RoleTests(PeopleCase):
    def test_gives_roles_by_reference_with_an_end(self):
        report = self.run_import(
            "email,reference,role,until\n"
            f"mary@example.com,R1,reviewer,{DAY}\n"
            "mary@example.com,R2,admin,\n"
        )
        self.assertEqual(self.find_role(self.mary, self.acme), ("reviewer", DAY))
        self.assertEqual(self.find_role(self.mary, self.beta), ("admin", None))
        self.assertEqual((report.people, report.ends, report.unchanged), (2, 0, 0))

    def test_finds_organizations_by_their_id_and_key(self):
        self.run_import(
            "email,organization_id,organization_id_key,role\n"
            f"mary@example.com,{id_cells(self.beta.pk)},admin\n"
        )
        self.assertEqual(self.find_role(self.mary, self.beta), ("admin", None))

    @tag("A41")
    def test_an_id_counts_only_with_its_key(self):
        header = "email,organization_id,organization_id_key,role\n"
        _pk, key = id_cells(self.acme.pk).split(",")
        for cells in (f"{self.beta.pk},", f"{self.beta.pk},{key}"):
            self.assert_refused(
                f"{header}mary@example.com,{cells},admin\n",
                "belong to the “organization_id_key”",
            )
        self.assert_refused(
            f"{header}mary@example.com,abc,{key},admin\n",
            "This is not an ID of an organization.",
        )
        self.assert_refused(
            f"email,organization_id,role\nmary@example.com,{self.beta.pk},admin\n",
            "No column says which organization",
        )

    def test_finds_organizations_by_name_only_if_asked(self):
        text = "email,Firma,Rolle\nmary@example.com,BETA,Leser\n"
        self.assert_refused(text, "let the import match organizations by name")
        self.run_import(text, options=BY_NAME)
        self.assertEqual(self.find_role(self.mary, self.beta), ("reviewer", None))

    def test_a_name_that_several_have_is_not_clear(self):
        create_organization("Beta")
        text = "email,Company,role\nmary@example.com,Beta,admin\n"
        self.assert_refused(text, "2 organizations have this name", options=BY_NAME)

    def test_knows_words_for_roles_in_several_languages(self):
        self.give(self.boss, self.beta, ADMIN)
        words = {
            "Administratorin": "admin",
            "ADMINISTRATEUR": "admin",
            "Leser": "reviewer",
            "Prüfer": "reviewer",
            "lectrice": "reviewer",
            "Reviewer": "reviewer",
        }
        for word, role in words.items():
            with self.subTest(word=word):
                self.run_import(
                    f"E-Mail,Kundennummer,Rolle\nmary@example.com,R2,{word}\n",
                    options=ACCEPTED,
                )
                self.assertEqual(self.find_role(self.mary, self.beta), (role, None))

    def test_knows_days_as_germans_write_them(self):
        text = "E-Mail,Kundennummer,Rolle,Bis\nmary@example.com,R2,Admin,%s\n"
        self.run_import(text % f"{DAY.day}.{DAY.month}.{DAY.year}")
        self.assertEqual(self.find_role(self.mary, self.beta), ("admin", DAY))
        for day in ("31.2.2099", "soon"):
            self.assert_refused(text % day, "This is not a date")
        self.assert_refused(text % "1/2/2099", "Either number can be the month")
        self.assert_refused(text % "2020-01-01", "This day has passed")

    def test_an_empty_day_keeps_the_end_and_a_word_removes_it(self):
        header = "email,reference,role,until\n"
        self.give(self.mary, self.beta, REVIEWER, DAY)
        report = self.run_import(f"{header}mary@example.com,R2,reviewer,\n")
        self.assertEqual((report.unchanged, report.ends), (1, 0))
        # Another role keeps the end, too.
        self.run_import(f"{header}mary@example.com,R2,admin,\n")
        self.assertEqual(self.find_role(self.mary, self.beta), ("admin", DAY))
        for word in ("none", "–", "unbefristet", "aucune"):
            self.give(self.mary, self.beta, ADMIN, DAY)
            report = self.run_import(f"{header}mary@example.com,R2,admin,{word}\n")
            self.assertEqual(self.find_role(self.mary, self.beta), ("admin", None))
            self.assertEqual((report.people, report.ends), (0, 1))

    def test_records_what_it_has_done(self):
        self.run_import("email,reference,role\nmary@example.com,R2,admin\n")
        event = AuditEvent.objects.get(event="imported")
        self.assertEqual(event.actor_key, self.root.pk)
        self.assertEqual(event.details["subject"], "people")
        self.assertEqual(event.details["people"], 1)
        logged = MembershipEvent.objects.latest("pk")
        self.assertEqual(
            (logged.user_key, logged.actor_key), (self.mary.pk, self.root.pk)
        )
        self.assertEqual(logged.source, "(import)")

    def test_a_dry_run_changes_nothing_and_shows_both_values(self):
        self.give(self.mary, self.beta, REVIEWER, DAY)
        rows = []
        report = self.run_import(
            "email,reference,role,until\n"
            f"mary@example.com,R2,admin,{LATER}\n"
            f"new@example.com,R1,reviewer,{DAY}\n",
            dry_run=True,
            send_mail=True,
            on_row=rows.append,
        )
        self.assertEqual(self.find_role(self.mary, self.beta), ("reviewer", DAY))
        self.assertFalse(Invitation.objects.exists())
        self.assertEqual((report.people, report.invited), (1, 1))
        self.assertEqual(
            [(row.title, row.effects) for row in rows],
            [
                (
                    "mary@example.com, Beta",
                    ["role: “Reviewer” → “Admin”", f"until: “{DAY}” → “{LATER}”"],
                ),
                (
                    "new@example.com, Acme",
                    ["is invited", "role: “Reviewer”", f"until: “{DAY}”"],
                ),
            ],
        )


class NameTests(PeopleCase):
    def test_never_replaces_the_name_of_an_account(self):
        for header, cells in (
            ("first_name,last_name", "Maria,Müller"),
            ("Name,Anrede", "Maria Müller,Frau"),
        ):
            report = self.run_import(
                f"email,reference,role,{header}\nmary@example.com,R2,admin,{cells}\n"
            )
            [warning] = report.warnings
            self.assertIn("other name", str(warning))
            self.assertIn("Mary Miller", str(warning))
            self.mary.refresh_from_db()
            self.assertEqual(self.mary.get_full_name(), "Mary Miller")

    def test_the_same_name_is_no_difference(self):
        for header, cells in (
            ("Vorname,Nachname", "MARY,Miller"),
            ("Name,Ort", "Mary  Miller,Berlin"),
            ("Vorname,Nachname", ","),
        ):
            report = self.run_import(
                f"email,reference,role,{header}\nmary@example.com,R2,admin,{cells}\n"
            )
            self.assertEqual(report.warnings, [])

    def test_a_key_of_an_organization_with_another_name_needs_consent(self):
        text = "email,reference,organization,role\nmary@example.com,R2,Acme,admin\n"
        with self.assertRaises(WarningsRefused):
            self.run_import(text)
        self.run_import(text, options=ACCEPTED)
        self.assertEqual(self.find_role(self.mary, self.beta), ("admin", None))


class InvitationTests(PeopleCase):
    TEXT = (
        f"email,first_name,reference,role,until\nNew@Example.com,Ann,R1,admin,{DAY}\n"
    )

    def test_invites_unknown_addresses(self):
        with self.captureOnCommitCallbacks(execute=True):
            report = self.run_import(self.TEXT, send_mail=True)
        invitation = Invitation.objects.get()
        self.assertEqual(
            (invitation.email, invitation.role, invitation.invited_by),
            ("new@example.com", "admin", self.root),
        )
        self.assertEqual(find_last_day(invitation.membership_ends_at), DAY)
        self.assertEqual((report.invited, report.people), (1, 0))
        self.assertIn("new@example.com", [message.to[0] for message in mail.outbox])
        self.assertFalse(User.objects.filter(email="new@example.com").exists())

    def test_without_mail_an_unknown_address_is_a_problem(self):
        self.assert_refused(self.TEXT, "line 2", "Nobody has this email address")

    def test_whoever_is_invited_already_gets_no_second_invitation(self):
        self.run_import(self.TEXT, send_mail=True)
        report = self.run_import(self.TEXT, send_mail=True)
        self.assertEqual((report.invited, report.unchanged), (0, 1))
        other = self.TEXT.replace(str(DAY), str(LATER))
        report = self.run_import(other, send_mail=True)
        self.assertEqual((report.invited, report.unchanged), (1, 0))
        self.assertEqual(Invitation.objects.count(), 1)

    def test_whose_invitation_has_expired_is_invited_again(self):
        self.run_import(self.TEXT, send_mail=True)
        long_ago = timezone.now() - timedelta(days=settings.INVITATION_DAYS)
        Invitation.objects.update(sent_at=long_ago)
        report = self.run_import(self.TEXT, send_mail=True)
        self.assertEqual((report.invited, report.unchanged), (1, 0))
        self.assertFalse(Invitation.objects.get().expired)

    @tag("D19")
    def test_an_address_that_a_user_manager_chose_gets_no_role(self):
        manager = create_user("manager", is_staff=True)
        doubtful = User(username="doubtful", email="doubtful@example.com")
        doubtful.set_unusable_password()
        doubtful.changed_by = manager
        doubtful.save()
        text = "email,reference,role\ndoubtful@example.com,R2,admin\n"
        self.assert_refused(text, "has not confirmed it")
        report = self.run_import(text, send_mail=True)
        self.assertEqual((report.invited, report.people), (1, 0))
        self.assertIsNone(self.find_role(doubtful, self.beta))


class GuardTests(PeopleCase):
    @tag("C9")
    def test_the_last_admin_cannot_lose_the_role(self):
        text = "email,reference,role\nboss@example.com,R1,reviewer\n"
        self.assert_refused(
            text, "line 2", "“Acme” would be left without", options=ACCEPTED
        )

    @tag("C9")
    def test_the_order_of_lines_does_not_matter_if_another_admin_follows(self):
        lines = [
            "boss@example.com,R1,reviewer",
            *(f"p{number}@example.com,R2,reviewer" for number in range(1_100)),
            "mary@example.com,R1,admin",
        ]
        User.objects.bulk_create(
            User(username=f"p{number}", email=f"p{number}@example.com")
            for number in range(1_100)
        )
        text = "email,reference,role\n" + "\n".join(lines)
        report = self.run_import(text, options=ACCEPTED)
        self.assertEqual(report.people, 1_102)
        self.assertEqual(self.find_role(self.boss, self.acme), ("reviewer", None))
        self.assertEqual(self.find_role(self.mary, self.acme), ("admin", None))

    @tag("C9")
    def test_a_row_that_takes_the_last_admin_is_left_out(self):
        report = self.run_import(
            "email,reference,role\n"
            "boss@example.com,R1,reviewer\n"
            "mary@example.com,R1,reviewer\n"
            "mary@example.com,R2,admin\n",
            options=PARTIAL,
        )
        [rejected] = report.rejected
        self.assertEqual(rejected.line, 2)
        self.assertIn("without an active admin", rejected.list_cells()[-1])
        self.assertEqual(self.find_role(self.boss, self.acme), ("admin", None))
        self.assertEqual(self.find_role(self.mary, self.acme), ("reviewer", None))
        self.assertEqual(report.people, 2)

    def test_losing_permissions_needs_consent(self):
        self.give(self.mary, self.acme, ADMIN)
        text = "email,reference,role\nmary@example.com,R1,reviewer\n"
        with self.assertRaises(WarningsRefused):
            self.run_import(text)
        self.assertEqual(self.find_role(self.mary, self.acme), ("admin", None))

    @tag("A41")
    def test_only_superusers_import_people(self):
        text = "email,reference,role\nmary@example.com,R1,admin\n"
        staff = create_user(
            "staff", is_staff=True, permissions=["view_organization", "change_user"]
        )
        for actor in (self.boss, staff):
            self.assert_refused(text, "Only platform staff", actor=actor)

    @tag("B15")
    def test_archived_organizations_get_nobody(self):
        archive.archive([self.beta.pk], actor=self.root)
        for header, cells in (
            ("reference", "R2"),
            ("organization_id,organization_id_key", id_cells(self.beta.pk)),
        ):
            self.assert_refused(
                f"email,{header},role\nmary@example.com,{cells},admin\n",
                "is archived",
                f"ID {self.beta.pk}",
            )
        text = "email,Company,role\nmary@example.com,Beta,admin\n"
        self.assert_refused(text, "no organization with this name", options=BY_NAME)

    def test_a_reference_that_is_almost_the_same_is_named(self):
        create_organization("Gamma", reference="00042")
        text = "email,reference,role\nmary@example.com,42,admin\n"
        self.assert_refused(text, "one has “00042”")
        create_organization("Delta", reference="042")
        self.assert_refused(text, "Several have almost the same one", "042", "00042")

    def test_deactivated_accounts_get_no_role(self):
        self.give(self.mary, self.acme, REVIEWER)
        User.objects.filter(pk=self.mary.pk).update(is_active=False)
        for cells in ("R2,admin", "R1,admin"):
            self.assert_refused(
                f"email,reference,role\nmary@example.com,{cells}\n", "is deactivated"
            )
        # The role that they already have is not a change.
        report = self.run_import("email,reference,role\nmary@example.com,R1,reviewer\n")
        self.assertEqual(report.unchanged, 1)

    def test_a_person_has_one_role_in_an_organization(self):
        header = "email,reference,role,until\n"
        for second in (
            f"MARY@example.com,R2,admin,{DAY}",
            "mary@example.com,R2,reviewer,",
        ):
            self.assert_refused(
                f"{header}mary@example.com,R2,admin,\n{second}\n",
                "line 3",
                "Line 2 gives",
            )

    def test_a_repeated_line_changes_nothing_more(self):
        line = "mary@example.com,R2,admin\n"
        for send_mail in (False, True):
            text = f"email,reference,role\n{line}{line}"
            if send_mail:
                text = text.replace("mary", "new")
            report = self.run_import(text, send_mail=send_mail)
            self.assertEqual(report.people + report.invited, 1)
            self.assertEqual(report.unchanged, 1)
        self.assertEqual(
            MembershipEvent.objects.filter(user_key=self.mary.pk).count(), 1
        )

    def test_lists_all_problems_with_their_lines(self):
        problems = self.refuse(
            "email,reference,role,until\n"
            "nobody,R1,boss,soon\n"
            ",R1,admin,\n"
            "mary@example.com,R9,admin,\n"
            "mary@example.com,R1,,\n"
            "mary@example.com,,admin,\n"
        )
        self.assertEqual(len(problems), 7)
        for problem, word in zip(
            problems,
            (
                "valid email",
                "There is no such role",
                "not a date",
                "Enter the email address",
                "No organization has this reference",
                "Enter the role",
                "Enter the reference",
            ),
        ):
            self.assertIn(word, problem)


class FileTests(PeopleCase):
    def test_a_file_of_organizations_is_recognized(self):
        for header in ("name,reference,email,admins,reviewers", "Firma,Email,Website"):
            with self.assertRaises(ImportRefused) as caught:
                self.run_import(f"{header}\na,b,c\n")
            [problem] = caught.exception.problems
            self.assertIn("This is a file of organizations", str(problem))
            self.assertEqual(problem.subject, "organizations")

    def test_a_file_of_people_is_recognized_as_such(self):
        for text in (
            "email,first_name,last_name,reference,role\nm@example.com,a,b,R1,admin\n",
            "Name,E-Mail,Kundennummer,Rolle\nMary,m@example.com,R1,admin\n",
            "email,organization,role,until\nm@example.com,Acme,admin,\n",
        ):
            with self.assertRaises(ImportRefused) as caught:
                import_organizations(as_file(text))
            [problem] = caught.exception.problems
            self.assertIn("This is a file of people", str(problem))
            self.assertEqual(problem.subject, "people")
        self.assertEqual(Organization.objects.count(), 2)

    def test_missing_columns_are_named(self):
        for header, word in (
            ("name,reference,role", "no column “email”"),
            ("email,reference,name", "no column “role”"),
            ("email,role,name", "which organization"),
        ):
            self.assert_refused(f"{header}\na,b,c\n", word)

    def test_totals_and_titles_are_skipped(self):
        report = self.run_import(
            "Zugriffe 2026,,\n"
            "email,reference,role\n"
            "mary@example.com,R2,admin\n"
            "Total,,2\n"
        )
        self.assertEqual([row.kind for row in report.skipped], ["title", "total"])
        self.assertEqual(report.people, 1)

    def test_costs_no_more_queries_for_more_rows(self):
        counts = []
        for numbers in (range(3), range(3, 43)):
            User.objects.bulk_create(
                User(username=f"p{number}", email=f"p{number}@example.com")
                for number in numbers
            )
            lines = [f"p{number}@example.com,R1,reviewer" for number in numbers]
            with CaptureQueriesContext(connection) as queries:
                self.run_import("email,reference,role\n" + "\n".join(lines))
            counts.append(len(queries))
        self.assertEqual(*counts)


class RoundTripTests(PeopleCase):
    def export(self, people=None):
        rows = list_people(User.objects.order_by("pk") if people is None else people)
        return "".join(write_csv(rows))

    def test_an_export_changes_nothing_when_it_is_imported(self):
        self.give(self.mary, self.acme, REVIEWER, DAY)
        self.give(self.mary, self.beta, ADMIN)
        nameless = create_organization("Without a reference")
        self.give(self.mary, nameless, REVIEWER)
        left = create_user("left", email="left@example.com", is_active=False)
        self.give(left, self.acme, REVIEWER)
        both = create_user("both", email="both@example.com", first_name="=1+1")
        both.groups.add(self.acme.admin, self.acme.reviewer)
        create_user("no address", reviewer_of=[self.acme])
        archived = create_organization("Archived", reference="R3")
        self.give(self.mary, archived, ADMIN)
        archive.archive([archived.pk], actor=self.root)
        invite(self.acme, "invited@example.com", REVIEWER, actor=self.root)
        before = list(Membership.objects.order_by("pk").values())
        events = MembershipEvent.objects.count()
        for language in ("en", "de"):
            with translation.override(language):
                report = self.run_import(self.export(), send_mail=True)
        self.assertEqual(list(Membership.objects.order_by("pk").values()), before)
        self.assertEqual(MembershipEvent.objects.count(), events)
        self.assertEqual(report.warnings, [])
        self.assertEqual((report.people, report.ends, report.invited), (0, 0, 0))
        # A row without a role for root, one of boss, mary three times, left and both
        self.assertEqual(report.unchanged, 7)

    def test_finds_each_organization_once(self):
        text = self.export()
        with CaptureQueriesContext(connection) as queries:
            self.run_import(text, dry_run=True)
        found = [query["sql"] for query in queries if '"name_key"' in query["sql"]]
        self.assertEqual(len(found), 1)
        # No query lowers the addresses of the file, which are in lower case.
        self.assertFalse([query for query in queries if "LOWER('" in query["sql"]])

    def test_an_end_within_a_day_stays(self):
        self.give(self.mary, self.beta, ADMIN)
        moment = timezone.now() + timedelta(days=3, hours=1)
        Membership.objects.filter(user=self.mary).update(ends_at=moment)
        self.run_import(self.export())
        self.assertEqual(Membership.objects.get(user=self.mary).ends_at, moment)

    def test_has_no_archived_organizations_and_nobody_without_an_address(self):
        archived = create_organization("Vault")
        self.give(self.mary, archived, ADMIN)
        archive.archive([archived.pk], actor=self.root)
        create_user("hidden one")
        text = self.export()
        self.assertNotIn("Vault", text)
        self.assertNotIn("hidden", text)

    def test_costs_the_same_queries_for_any_number_of_people(self):
        with self.assertNumQueries(5):
            self.export()
        for number in range(30):
            create_user(
                f"p{number}", email=f"p{number}@example.com", reviewer_of=[self.acme]
            )
        with self.assertNumQueries(5):
            self.export()
