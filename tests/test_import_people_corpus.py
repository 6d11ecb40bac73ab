"""Every file of people does what its table says: import_corpus/people_cases.py."""

import io
import re

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import SimpleTestCase, TestCase, tag

from orgadmin.models import Invitation, Membership, Organization, User
from orgadmin.people import archive
from orgadmin.people.changes import MembershipEnd, RoleChange
from orgadmin.people.ends import find_end_of_day
from orgadmin.people.membership import change_roles
from orgadmin.records.imports.organizations import ImportRefused
from orgadmin.records.imports.people import import_people
from tests.factories import ADMIN, REVIEWER, create_superuser, create_user
from tests.import_corpus.people_cases import (
    ARCHIVED,
    CASES,
    DEACTIVATED,
    PEOPLE,
    STORED,
    STORED_DAY,
)

from .test_import_corpus import dry_run, fill_in

IMPORT = "/admin/orgadmin/user/import/"


def describe_numbers(report, unchanged, skipped, warnings):
    numbers = {
        "roles": report.people,
        "ends": report.ends,
        "invited": report.invited,
        "unchanged": unchanged,
        "skipped": skipped,
    }
    parts = [f"{number} {name}" for name, number in numbers.items() if number]
    parts += [warning.word for warning in warnings]
    return ", ".join(parts)


class PeopleCorpusCase(TestCase):
    @classmethod
    def setUpTestData(cls):
        organizations = {}
        for reference, name in STORED.items():
            organizations[reference] = Organization.objects.create(
                reference=reference, name=name
            )
        for username, (admin_of, reviewer_of) in PEOPLE.items():
            create = create_superuser if username == "root" else create_user
            user = create(username, email=f"{username}@example.com")
            for reference in admin_of:
                cls.give(user, organizations[reference], ADMIN)
            for reference in reviewer_of:
                cls.give(user, organizations[reference], REVIEWER)
        User.objects.filter(username="staff").update(is_staff=True)
        User.objects.filter(username="mary").update(
            first_name="Mary", last_name="Miller"
        )
        User.objects.filter(username=DEACTIVATED).update(is_active=False)
        cls.root = User.objects.get(username="root")
        archive.archive([organizations[ARCHIVED].pk], actor=cls.root)

    @staticmethod
    def give(user, organization, role):
        at = find_end_of_day(STORED_DAY) if user.username == "mary" else None
        change = RoleChange(user, organization, role, end=MembershipEnd(at))
        change_roles([change], notify=False)

    def assert_outcome(self, outcome, case):
        if case.outcome.startswith("refused"):
            outcome = outcome[: len(case.outcome)]
        self.assertEqual(outcome, case.outcome)


class PeopleCorpusTests(PeopleCorpusCase):
    @tag("E14")
    def test_each_file_does_what_the_table_says(self):
        before = self.read_roles()
        for case in CASES:
            with self.subTest(file=case.name):
                self.assert_outcome(self.describe(case), case)
        self.assertEqual(self.read_roles(), before)

    def read_roles(self):
        return list(Membership.objects.values()), list(Invitation.objects.values())

    def describe(self, case):
        """Import a file as a dry run, and return what it would do, in a line."""
        try:
            report = import_people(
                io.BytesIO(fill_in(case.content)),
                actor=self.root,
                options=case.options,
                send_mail=case.send_mail,
                dry_run=True,
            )
        except ImportRefused as error:
            return f"refused: {error.problems[0]}"
        skipped = len(report.skipped)
        return describe_numbers(report, report.unchanged, skipped, report.warnings)

    def test_the_page_says_what_the_engine_says(self):
        self.client.force_login(self.root)
        for case in CASES:
            with self.subTest(file=case.name):
                self.assert_outcome(self.upload(case), case)

    def upload(self, case):
        """Return what the page says about a file, as `describe()` does."""
        options = case.options
        data = {
            "file": SimpleUploadedFile("file.csv", fill_in(case.content)),
            "send_mail": "on" if case.send_mail else "",
            "sheet": options.sheet,
            "matches_names": "on" if options.matches_names else "",
            "keeps_totals": "on" if options.keeps_totals else "",
        }
        context = self.client.post(IMPORT, data, follow=True).context
        report = context.get("report")
        if report is not None:
            skipped = report.number_skipped
            warnings = context["warnings"]
            return describe_numbers(report, report.unchanged, skipped, warnings)
        if context["form"].errors:
            return "refused: The file has no header line."
        return f"refused: {context['problems'][0]}"

    def test_the_command_says_what_the_engine_says(self):
        for case in CASES:
            with self.subTest(file=case.name):
                self.assert_outcome(self.run_command(case), case)

    def run_command(self, case):
        """Return what the command says about a file, as `describe()` does."""
        options = case.options
        output, problem = dry_run(
            "import_people",
            fill_in(case.content),
            actor="root",
            sheet=options.sheet,
            match="name" if options.matches_names else None,
            keep_totals=options.keeps_totals,
            send_mail=case.send_mail,
        )
        return f"refused: {problem}" if problem else describe_output(output)


def describe_output(output):
    """Return the numbers and words that a dry run has printed."""
    patterns = {
        "roles": r"(\d+) would be given a role",
        "ends": r"(\d+) would be changed",
        "invited": r"(\d+) would be invited",
        "unchanged": r"(\d+) unchanged",
        "skipped": r"(\d+) skipped",
    }
    parts = []
    for name, pattern in patterns.items():
        match = re.search(pattern, output)
        if match is not None and match[1] != "0":
            parts.append(f"{match[1]} {name}")
    parts += re.findall(r"(?m)^Warning: line .*?: ([a-z ]+)\. ", output)
    return ", ".join(parts)


class PeopleCorpusTableTests(SimpleTestCase):
    def test_there_is_one_file_for_each_kind(self):
        self.assertGreaterEqual(len(CASES), 100)
        names = [case.name for case in CASES]
        self.assertEqual(len(names), len(set(names)))
