"""Every file of the corpus does what its table says: tests/import_corpus/."""

import io
import re
import tempfile

from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import SimpleTestCase, TestCase, tag

from orgadmin.models import Organization
from orgadmin.records.imports.options import DEFAULTS
from orgadmin.records.imports.organizations import ImportRefused, import_organizations
from tests.factories import create_superuser, id_cells
from tests.import_corpus.cases import CASES, STORED

IMPORT = "/admin/orgadmin/organization/import/"


def fill_in(content):
    """Return a file with the ID and its key instead of "<reference>"."""
    for pk, reference in Organization.objects.values_list("pk", "reference"):
        content = content.replace(f"<{reference}>".encode(), id_cells(pk).encode())
    return content


def dry_run(command, content, **arguments):
    """Run a command as a dry run. Returns its output, and the first problem or ""."""
    out = io.StringIO()
    err = io.StringIO()
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            call_command(
                command, file.name, dry_run=True, stdout=out, stderr=err, **arguments
            )
        except CommandError:
            for line in err.getvalue().splitlines():
                if not line.endswith(" lines read"):
                    return out.getvalue(), line
    return out.getvalue(), ""


def describe(case):
    """Import a file as a dry run, and return what it would do, in a line."""
    file = io.BytesIO(fill_in(case.content))
    try:
        report = import_organizations(file, options=case.options, dry_run=True)
    except ImportRefused as error:
        return f"refused: {error.problems[0]}"
    return describe_report(report)


def describe_report(report):
    return describe_numbers(report, len(report.skipped), report.warnings)


def describe_page(context):
    """Return what the preview on a page says."""
    report = context["report"]
    return describe_numbers(report, report.number_skipped, context["warnings"])


def describe_numbers(report, skipped, warnings):
    numbers = {
        "new": report.created,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "emptied": report.cleared,
        "skipped": skipped,
    }
    parts = [f"{number} {name}" for name, number in numbers.items() if number]
    parts += [warning.word for warning in warnings]
    return ", ".join(parts)


class StoredMixin:
    @classmethod
    def setUpTestData(cls):
        Organization.objects.bulk_create(
            Organization(reference=reference, **fields)
            for reference, fields in STORED.items()
        )


class CorpusTests(StoredMixin, TestCase):
    @tag("E14")
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


# A part of the corpus is enough to see that the page and the command pass on what the
# engine says. They have limits of their own, and the page has no mapping.
SAMPLE = [case for case in CASES if case.options.limits == DEFAULTS.limits][::4]


class AgreementTests(StoredMixin, TestCase):
    def test_the_page_says_what_the_engine_says(self):
        self.client.force_login(create_superuser())
        for case in SAMPLE:
            options = case.options
            if options.mapping or "name" in options.clear_blank:
                # The page offers neither.
                continue
            with self.subTest(file=case.name):
                file = SimpleUploadedFile("file.csv", fill_in(case.content))
                data = {
                    "file": file,
                    "encoding": options.encoding or "",
                    "sheet": options.sheet,
                    "clear_blank": list(options.clear_blank),
                    "matches_names": "on" if options.matches_names else "",
                    "keeps_totals": "on" if options.keeps_totals else "",
                }
                context = self.client.post(IMPORT, data, follow=True).context
                if context.get("report") is not None:
                    outcome = describe_page(context)
                elif context["form"].errors:
                    outcome = "refused: The file has no header line."
                else:
                    outcome = f"refused: {context['problems'][0]}"
                self.assert_outcome(outcome, case)

    def test_the_command_says_what_the_engine_says(self):
        for case in SAMPLE:
            with self.subTest(file=case.name):
                self.assert_outcome(self.run_command(case), case)

    def run_command(self, case):
        """Return what the command says about a file, as `describe()` does."""
        options = case.options
        arguments = {
            "encoding": options.encoding,
            "sheet": options.sheet,
            "map": [f"{title}={name}" for title, name in options.mapping.items()],
            "clear_blank": list(options.clear_blank),
            "match": "name" if options.matches_names else None,
            "keep_totals": options.keeps_totals,
        }
        content = fill_in(case.content)
        output, problem = dry_run("import_organizations", content, **arguments)
        return f"refused: {problem}" if problem else describe_output(output)

    def assert_outcome(self, outcome, case):
        if case.outcome.startswith("refused"):
            outcome = outcome[: len(case.outcome)]
        self.assertEqual(outcome, case.outcome)


def describe_output(output):
    """Return the numbers and words that a dry run has printed."""
    patterns = {
        "new": r"(\d+) would be created",
        "changed": r"(\d+) would be changed",
        "unchanged": r"(\d+) unchanged",
        "emptied": r"(\d+) would be emptied",
        "skipped": r"(\d+) skipped",
    }
    parts = []
    for name, pattern in patterns.items():
        number = re.search(pattern, output)[1]
        if number != "0":
            parts.append(f"{number} {name}")
    parts += re.findall(r"(?m)^Warning: line .*?: ([a-z ]+)\. ", output)
    return ", ".join(parts)
