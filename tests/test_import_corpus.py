"""Every file of the corpus does what its table says: tests/import_corpus/."""

import io

from django.test import SimpleTestCase, TestCase

from orgadmin.models import Organization
from orgadmin.records.imports import ImportRefused, import_organizations
from tests.import_corpus.cases import CASES, STORED


def describe(case):
    """Import a file as a dry run, and return what it would do, in a line."""
    try:
        report = import_organizations(
            io.BytesIO(case.content), options=case.options, dry_run=True
        )
    except ImportRefused as error:
        return f"refused: {error.problems[0]}"
    numbers = {
        "new": report.created,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "emptied": report.cleared,
        "skipped": len(report.skipped),
    }
    parts = [f"{number} {name}" for name, number in numbers.items() if number]
    parts += [warning.word for warning in report.warnings]
    return ", ".join(parts)


class CorpusTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        Organization.objects.bulk_create(
            Organization(reference=reference, **fields)
            for reference, fields in STORED.items()
        )

    def test_each_file_does_what_the_table_says(self):
        before = list(Organization.objects.values())
        for case in CASES:
            with self.subTest(file=case.name):
                outcome = describe(case)
                if case.outcome.startswith("refused"):
                    outcome = outcome[: len(case.outcome)]
                self.assertEqual(outcome, case.outcome)
        self.assertEqual(list(Organization.objects.values()), before)


class CorpusTableTests(SimpleTestCase):
    def test_there_is_one_file_for_each_kind(self):
        self.assertGreaterEqual(len(CASES), 120)
        names = [case.name for case in CASES]
        self.assertEqual(len(names), len(set(names)))
