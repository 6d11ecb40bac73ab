"""The settings file: parsed strictly, never executed, and read as by systemd."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import skipUnless

from django.conf import settings
from django.test import SimpleTestCase, tag

from config.env_file import EnvFileError, parse_env_file

PROJECT = Path(settings.BASE_DIR)

# Lines, and the variables in them. SystemdTests asks systemd about the same lines.
ACCEPTED = {
    "": {},
    "\n# comment\n; comment\n  # indented\n\t\n": {},
    "A=1": {"A": "1"},
    "A=": {"A": ""},
    "A=''\nB=\"\"\n": {"A": "", "B": ""},
    "a_1=x\n_B2=y\n": {"a_1": "x", "_B2": "y"},
    "A=b=c\n": {"A": "b=c"},
    "A=two words\n": {"A": "two words"},
    "A=value  \t\n": {"A": "value"},
    "A=a#b;c|d&e(f)g<h>i*j?k!l~m{n}o[p]q%r,s\n": {
        "A": "a#b;c|d&e(f)g<h>i*j?k!l~m{n}o[p]q%r,s"
    },
    "A=postgres:///orgadmin?host=/run/postgresql&a=b\n": {
        "A": "postgres:///orgadmin?host=/run/postgresql&a=b"
    },
    "A=über 株式会社\n": {"A": "über 株式会社"},
    "A='a \"b\" $c `d` \\e #f; g'\n": {"A": 'a "b" $c `d` \\e #f; g'},
    "A='  spaces  '  \n": {"A": "  spaces  "},
    'A="it\'s \\"x\\" \\$y \\`z\\` \\\\"\n': {"A": 'it\'s "x" $y `z` \\'},
    'A="\\\\$"\n'.replace("$", "n"): {"A": "\\n"},
    "A='two\nlines'\nB=2\n": {"A": "two\nlines", "B": "2"},
    'A="two\nlines"\nB=2\n': {"A": "two\nlines", "B": "2"},
    "A='tab\there'\n": {"A": "tab\there"},
}

# Content that is refused, the number of the wrong line, and a part of the message.
REFUSED = [
    (b"A=1\nnonsense\n", 2, "expected NAME=VALUE"),
    (b"export A=1\n", 1, "expected NAME=VALUE"),
    (b"A =1\n", 1, "expected NAME=VALUE"),
    (b" A=1\n", 1, "expected NAME=VALUE"),
    (b"1A=1\n", 1, "expected NAME=VALUE"),
    (b"A-B=1\n", 1, "expected NAME=VALUE"),
    (b"=1\n", 1, "expected NAME=VALUE"),
    (b"\xef\xbb\xbfA=1\n", 1, "expected NAME=VALUE"),
    (b"A= 1\n", 1, "space before"),
    (b"A=1 # why\n", 1, "single quotes"),
    (b"A=$B\n", 1, "single quotes"),
    (b"A=`id`\n", 1, "single quotes"),
    (b"A=a\\b\n", 1, "single quotes"),
    (b"A=a\\\nB=1\n", 1, "single quotes"),
    (b"A=a'b\n", 1, "single quotes"),
    (b'A=a"b"\n', 1, "single quotes"),
    (b"A='a\nB=1\n", 1, "not closed"),
    (b'A="a\nB=1\n', 1, "not closed"),
    (b'A="a\\"\n', 1, "not closed"),
    (b"A='a'b\n", 1, "continues"),
    (b"A='a' 'b'\n", 1, "continues"),
    (b"A='it'\\''s'\n", 1, "continues"),
    (b"A='a' # why\n", 1, "continues"),
    (b"A='two\nlines' # why\n", 1, "continues"),
    (b'A="$B"\n', 1, "dollar"),
    (b'A="\\\\$B"\n', 1, "dollar"),
    (b'A="`id`"\n', 1, "backtick"),
    (b'A="\\n"\n', 1, "backslash"),
    (b'A="a\\\nb"\n', 1, "backslash"),
    (b"B='x\ny'\nA=1\nA=2\n", 4, "already set in line 3"),
    (b"# comment \\\nA=1\n", 1, "comment"),
    (b"A=1\r\n", 1, "Windows"),
    (b"A=1\nB=\xff\n", 2, "not UTF-8"),
    (b"A=1\nB='\x00'\n", 2, "control character"),
    (b"A=\x1b[0m\n", 1, "control character"),
]

HAS_SYSTEMD = (
    os.path.isdir("/run/systemd/system")
    and os.geteuid() == 0
    and shutil.which("systemd-run") is not None
)


def parse(text):
    variables = parse_env_file(text.encode())
    return {name: variable.value for name, variable in variables.items()}


def quote(value):
    """Return a value between the quotes that docs/operations.md recommends."""
    if "'" not in value:
        return f"'{value}'"
    for character in '\\"$`':
        value = value.replace(character, f"\\{character}")
    return f'"{value}"'


class ParserTests(SimpleTestCase):
    def test_reads_what_every_program_reads_in_the_same_way(self):
        for text, expected in ACCEPTED.items():
            with self.subTest(text):
                self.assertEqual(parse(text), expected)

    @tag("I6")
    def test_refuses_what_programs_would_read_differently(self):
        for content, line, problem in REFUSED:
            with self.subTest(content):
                with self.assertRaisesMessage(EnvFileError, problem) as caught:
                    parse_env_file(content)
                self.assertEqual(caught.exception.line, line)

    def test_knows_the_lines(self):
        variables = parse_env_file(b"# x\nA='1\n2'\nB=3")
        self.assertEqual({k: v.line for k, v in variables.items()}, {"A": 2, "B": 4})

    def test_any_character_is_allowed_between_quotes(self):
        alphabet = "ab'\"\\$`#;|&()<>*? \t\n=%!~€株"
        chance = random.Random(27)
        for _round in range(2000):
            value = "".join(chance.choices(alphabet, k=chance.randrange(12)))
            with self.subTest(value):
                self.assertEqual(parse(f"A={quote(value)}\n"), {"A": value})

    @tag("I6")
    def test_messages_do_not_quote_values(self):
        for content in (b"KEY=geheim'\n", b"KEY='geheim\n", b"KEY=geheim\\\n"):
            with self.assertRaises(EnvFileError) as caught:
                parse_env_file(content)
            self.assertNotIn("geheim", str(caught.exception))

    def test_the_documented_file_is_accepted_without_and_with_its_examples(self):
        text = (PROJECT / "docs/deployment/orgadmin.env").read_text()
        self.assertIn("SECRET_KEY", parse(text))
        examples = text.replace("\n#OIDC", "\nOIDC").replace("\n#SECOND", "\nSECOND")
        self.assertIn("OIDC_CLIENT_SECRET", parse(examples))


@skipUnless(HAS_SYSTEMD, "systemd does not run here, or not for this user")
class SystemdTests(SimpleTestCase):
    def read_with_systemd(self, text):
        with tempfile.TemporaryDirectory(dir="/run") as folder:
            file = Path(folder, "site.env")
            file.write_text(text)
            output = Path(folder, "output")
            # Starting a unit of the type "oneshot" waits until its command has ended.
            properties = {
                "Type": "oneshot",
                "EnvironmentFile": file,
                "StandardOutput": f"truncate:{output}",
            }
            options = [f"--property={key}={properties[key]}" for key in properties]
            command = ["systemd-run", "--quiet", "--collect", *options]
            subprocess.run([*command, "/usr/bin/env", "-0"], check=True)
            printed = output.read_text()
        pairs = printed.split("\0")[:-1]
        return dict(pair.split("=", 1) for pair in pairs)

    def test_reads_the_same(self):
        for text, expected in ACCEPTED.items():
            with self.subTest(text):
                self.assertLessEqual(
                    expected.items(), self.read_with_systemd(text).items()
                )

    def test_reads_any_character_between_quotes_in_the_same_way(self):
        alphabet = "ab'\"\\$`#;|&()<>*? \t\n=%!~€株"
        chance = random.Random(27)
        values = {
            f"V{number}": "".join(chance.choices(alphabet, k=chance.randrange(12)))
            for number in range(500)
        }
        text = "".join(f"{name}={quote(value)}\n" for name, value in values.items())
        self.assertEqual(parse(text), values)
        self.assertLessEqual(values.items(), self.read_with_systemd(text).items())


class EnvironmentTests(SimpleTestCase):
    """What the site makes of the file."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def run_command(self, command, **environment):
        environment["PATH"] = os.environ["PATH"]
        return subprocess.run(
            [sys.executable, PROJECT / "manage.py", command],
            env=environment,
            capture_output=True,
            text=True,
            cwd=self.folder,
        )

    def show(self, text, **environment):
        """Return {name: (value, source)} of the settings with a file of this text."""
        path = self.write("site.env", text)
        result = self.run_command("show_settings", ENV_FILE=path, **environment)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.warnings = result.stderr
        rows = {}
        for line in result.stdout.splitlines():
            name, _space, rest = line.partition(" ")
            value, _space, source = rest.strip().rpartition("  ")
            rows[name] = (value.strip(), source.replace(path, "FILE"))
        return rows

    @tag("I6")
    def test_nothing_in_the_file_is_executed(self):
        marker = self.folder / "marker"
        evil = f"ACCESS_CONTACT=a; touch {marker} | touch {marker} & (touch {marker})\n"
        quoted = f"DEFAULT_FROM_EMAIL='`touch {marker}`$(touch {marker})'\n"
        rows = self.show(f"SECRET_KEY=x\n{evil}{quoted}")
        self.assertFalse(marker.exists())
        self.assertIn("; touch", rows["ACCESS_CONTACT"][0])

    def test_shows_what_is_in_force_and_where_it_comes_from(self):
        rows = self.show(
            "SECRET_KEY=x\nBASE_URL=https://a.example\nTIME_ZONE=Europe/Paris\n",
            TIME_ZONE="Europe/Berlin",
            PGSSLMODE="verify-full",
        )
        self.assertEqual(rows["BASE_URL"], ("https://a.example", "FILE, line 2"))
        self.assertEqual(rows["TIME_ZONE"], ("Europe/Berlin", "environment"))
        self.assertEqual(rows["PGSSLMODE"], ("verify-full", "environment"))
        self.assertEqual(rows["SECOND_FACTOR"], ("off", "default"))

    @tag("I6")
    def test_hides_secrets(self):
        text = (
            "SECRET_KEY=geheim-1\nSECRET_KEY_FALLBACKS=geheim-2\nPGPASSWORD=geheim-3\n"
            "DATABASE_URL=postgres://u:geheim-4@x@h/n?password=geheim-5&a=1\n"
            "EMAIL_URL=smtp+tls://u:geheim-6@h:587\n"
            "OIDC_SERVER=https://id.example.com\nOIDC_CLIENT_ID=me\n"
            "OIDC_CLIENT_SECRET=geheim-7\n"
        )
        rows = self.show(text)
        self.assertNotIn("geheim", str(rows))
        self.assertEqual(
            rows["DATABASE_URL"][0], "postgres://u:***@h/n?password=***&a=1"
        )
        self.assertEqual(rows["OIDC_CLIENT_SECRET"], ("***", "FILE, line 8"))

    def test_reports_variables_that_nothing_reads(self):
        self.show("SECRET_KEY=x\nALOWED_HOSTS=a\nPGHOST=h\nWEB_CONCURRENCY=2\n")
        self.assertIn("Line 2: this site does not read ALOWED_HOSTS.", self.warnings)
        self.assertEqual(len(self.warnings.splitlines()), 1)

    def test_a_secret_can_be_in_a_file_of_its_own(self):
        key = self.write("key", "geheim\n")
        rows = self.show(f"SECRET_KEY_FILE={key}\nPGPASSWORD_FILE={key}\n")
        self.assertEqual(rows["SECRET_KEY"], ("***", key))
        self.assertEqual(rows["PGPASSWORD"], ("***", key))

    def test_a_variable_of_the_environment_replaces_one_with_a_file_of_its_own(self):
        key = self.write("key", "geheim\n")
        text = f"SECRET_KEY=x\nTIME_ZONE_FILE={key}\n"
        rows = self.show(text, TIME_ZONE="Europe/Berlin")
        self.assertEqual(rows["TIME_ZONE"], ("Europe/Berlin", "environment"))

    def test_a_secret_without_its_file_stops_the_start(self):
        result = self.run_command("check", SECRET_KEY_FILE="/nothing")
        self.assertRegex(result.stderr, r"\ASECRET_KEY_FILE is missing or wrong: .*\n$")
        key = self.write("key", "x")
        both = {"SECRET_KEY": "y", "SECRET_KEY_FILE": key}
        result = self.run_command("check", **both)
        self.assertRegex(result.stderr, r"\ASECRET_KEY is missing or wrong: .*both")

    def test_a_wrong_line_stops_the_start(self):
        path = self.write("site.env", "SECRET_KEY=x\nTIME_ZONE='UTC\n")
        result = self.run_command("check", ENV_FILE=path)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(
            result.stderr, rf"\A{path}, line 2: the quote .* not closed\.\n$"
        )
        result = self.run_command("check", ENV_FILE="/nothing")
        self.assertEqual(
            result.stderr, "/nothing cannot be read: No such file or directory.\n"
        )

    def test_values_may_begin_with_a_dollar_sign(self):
        rows = self.show("SECRET_KEY='$x'\nACCESS_CONTACT='$HOME'\n", HOME="/root")
        self.assertEqual(rows["ACCESS_CONTACT"][0], "$HOME")

    def test_commands_bypass_the_pooler(self):
        pooler = "SECRET_KEY=x\nDATABASE_URL=sqlite:////nothing/pooler.sqlite3\n"
        database = self.folder / "direct.sqlite3"
        text = pooler + f"DIRECT_DATABASE_URL=sqlite:///{database}\n"
        path = self.write("site.env", text)
        result = self.run_command("showmigrations", ENV_FILE=path)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(database.exists())
