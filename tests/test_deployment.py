"""The files of docs/deployment: systemd units and the container file."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from unittest import skipUnless

from django.conf import settings
from django.core.management import get_commands
from django.test import SimpleTestCase, tag

from config.env_file import parse_env_file

PROJECT = Path(settings.BASE_DIR)
DEPLOYMENT = PROJECT / "docs/deployment"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")

# Directives that say who a unit is and what it runs. All others limit what it may do.
NOT_HARDENING = {
    "Environment",
    "EnvironmentFile",
    "ExecReload",
    "ExecStart",
    "KillMode",
    "ReadWritePaths",
    "Restart",
    "RestartSec",
    "StateDirectory",
    "StateDirectoryMode",
    "SyslogIdentifier",
    "SyslogLevel",
    "TimeoutStopSec",
    "Type",
    "User",
    "WorkingDirectory",
}
# For these directives, a part of what the service may do is stricter.
ALLOW_LISTS = ("RestrictAddressFamilies", "SystemCallFilter")


def read_service(name):
    """Return the [Service] section of a unit as {directive: [values]}."""
    section = ""
    directives = defaultdict(list)
    for line in (DEPLOYMENT / name).read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            directive, _, value = line.partition("=")
            directives[directive].append(value)
    return directives


def list_services():
    return sorted(path.name for path in DEPLOYMENT.glob("*.service"))


class HardeningTests(SimpleTestCase):
    """No unit has more permissions than the service, which strangers can reach."""

    @tag("I4")
    def test_every_unit_is_as_hardened_as_the_service(self):
        service = read_service("orgadmin@.service")
        hardening = service.keys() - NOT_HARDENING
        self.assertGreater(len(hardening), 20)
        for name in list_services():
            unit = read_service(name)
            for directive in hardening:
                with self.subTest(unit=name, directive=directive):
                    self.assert_as_strict(directive, unit, service)

    def assert_as_strict(self, directive, unit, service):
        ours = unit[directive]
        required = service[directive]
        if directive in ALLOW_LISTS:
            self.assertTrue(ours, "Without a list, everything is allowed.")
            # The first list allows. Further lists begin with "~" and take away.
            self.assertLessEqual(set(ours[0].split()), set(required[0].split()))
            self.assertTrue(all(value.startswith("~") for value in ours[1:]))
            return
        self.assertEqual(ours, required)

    @tag("I3", "I4")
    def test_the_backup_is_another_user_without_the_settings_and_the_network(self):
        service = read_service("orgadmin@.service")
        backup = read_service("orgadmin-backup.service")
        self.assertNotEqual(backup["User"], service["User"])
        self.assertNotIn("root", backup["User"])
        self.assertNotIn("/etc/orgadmin.env", " ".join(backup["EnvironmentFile"]))
        self.assertEqual(backup["ReadWritePaths"], ["/var/backups/orgadmin"])
        self.assertEqual(backup["PrivateNetwork"], ["true"])
        self.assertEqual(backup["RestrictAddressFamilies"], ["AF_UNIX"])
        # The service creates its socket, and nothing else.
        self.assertEqual(service["ReadWritePaths"], ["/run/orgadmin"])
        folder = re.search(
            r"install -d .*-o (\S+) .*-m (\d+) /var/backups/orgadmin",
            (PROJECT / "docs/deployment.md").read_text(),
        )
        self.assertEqual(folder.groups(), (backup["User"][0], "700"))

    @tag("I4")
    @skipUnless(SYSTEMD_ANALYZE, "systemd-analyze is missing: apt-get install systemd")
    def test_systemd_rates_the_units_as_the_docs_say(self):
        limits = {
            "orgadmin@.service": 1.6,
            "orgadmin-backup.service": 0.5,
            "orgadmin-check.service": 1.6,
            "orgadmin-cleanup.service": 1.6,
            "orgadmin-failure@.service": 1.6,
            "orgadmin-offsite.service": 1.4,
            "orgadmin-verify-backup.service": 0.5,
            "orgadmin-worker.service": 1.6,
        }
        self.assertEqual(sorted(limits), list_services())
        with tempfile.TemporaryDirectory() as root:
            units = Path(root, "etc/systemd/system")
            units.mkdir(parents=True)
            for name, limit in limits.items():
                # systemd rates an instance of a template.
                instance = name.replace("@.", "@a.")
                shutil.copy(DEPLOYMENT / name, units / instance)
                self.assertLessEqual(self.rate(root, instance), limit, name)

    def rate(self, root, unit):
        """Return the exposure of a unit, from 0 to 10."""
        result = subprocess.run(
            [SYSTEMD_ANALYZE, "security", "--offline=yes", f"--root={root}", unit],
            capture_output=True,
            text=True,
        )
        found = re.search(r"exposure level for \S+: ([\d.]+)", result.stdout)
        self.assertIsNotNone(found, result.stderr)
        return float(found[1])


class FailureTests(SimpleTestCase):
    """Nothing fails silently."""

    def read(self, name):
        return (DEPLOYMENT / name).read_text()

    def test_each_unit_is_started_again_or_reported(self):
        for name in list_services():
            text = self.read(name)
            if "Type=oneshot" not in text:
                self.assertIn("\nRestart=always\n", text, name)
            elif not name.startswith("orgadmin-failure@"):
                self.assertIn("\nOnFailure=orgadmin-failure@%n.service\n", text, name)

    def test_the_guide_starts_each_timer(self):
        guide = (PROJECT / "docs/deployment.md").read_text()
        enabled = re.search(r"systemctl enable --now (.*?[^\\])\n", guide, re.DOTALL)[1]
        timers = {path.name for path in DEPLOYMENT.glob("*.timer")}
        self.assertEqual({name for name in enabled.split() if "timer" in name}, timers)
        for timer in timers:
            service = timer.replace(".timer", ".service")
            self.assertTrue((DEPLOYMENT / service).exists(), service)

    def test_what_fails_again_and_again_is_not_mailed_each_time(self):
        text = self.read("orgadmin-failure@.service")
        unit = text[text.index("[Unit]") : text.index("[Service]")]
        self.assertIn("StartLimitBurst=1\n", unit)
        self.assertIn("StartLimitIntervalSec=4h\n", unit)

    @skipUnless(SYSTEMD_ANALYZE, "systemd-analyze is missing: apt-get install systemd")
    def test_systemd_understands_every_line(self):
        with tempfile.TemporaryDirectory() as root:
            units = Path(root, "etc/systemd/system")
            units.mkdir(parents=True)
            for path in [*DEPLOYMENT.glob("*.service"), *DEPLOYMENT.glob("*.timer")]:
                shutil.copy(path, units / path.name.replace("@.", "@a."))
            names = sorted(path.name for path in units.iterdir())
            result = subprocess.run(
                [SYSTEMD_ANALYZE, "verify", "--man=no", *names],
                cwd=units,
                env=os.environ | {"SYSTEMD_UNIT_PATH": f"{units}:"},
                capture_output=True,
                text=True,
            )
        # The programs are not installed here.
        messages = [
            line
            for line in result.stderr.splitlines()
            if "orgadmin" in line and "is not executable" not in line
        ]
        self.assertEqual(messages, [])


class WrapperTests(SimpleTestCase):
    """docs/deployment/orgadmin runs commands with the service's settings only."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        # Stands in for the program that becomes another user.
        runuser = self.folder / "runuser"
        runuser.write_text('#!/bin/sh\nshift 3\nexec "$@"\n')
        runuser.chmod(0o755)
        self.release = self.folder / "release"
        python = self.release / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.symlink_to(sys.executable)
        (self.release / "manage.py").write_text(
            "import os, sys, json\n"
            "print(json.dumps([os.getcwd(), sys.argv[1:], dict(os.environ)]))\n"
        )

    def run_wrapper(self, *arguments, **environment):
        """Return the working directory, the arguments and the environment."""
        environment["PATH"] = f"{self.folder}:{os.environ['PATH']}"
        result = subprocess.run(
            ["sh", DEPLOYMENT / "orgadmin", *arguments],
            env={"RELEASE": str(self.release), **environment},
            capture_output=True,
            text=True,
            check=True,
            cwd=self.folder,
        )
        return json.loads(result.stdout)

    def test_relative_paths_are_those_of_the_caller(self):
        folder, arguments, _environment = self.run_wrapper("import", "a b.csv")
        self.assertEqual(folder, str(self.folder))
        self.assertEqual(arguments, ["import", "a b.csv"])

    @tag("I6")
    def test_the_variables_of_the_caller_do_not_count(self):
        _folder, _arguments, environment = self.run_wrapper(
            "check", DEBUG="true", TIME_ZONE="UTC", SECRET_KEY="x\ny=z", LANG="C"
        )
        environment.pop("PWD", None)
        environment.pop("LC_CTYPE", None)
        self.assertEqual(sorted(environment), ["ENV_FILE", "LANG", "PATH"])
        self.assertEqual(environment["ENV_FILE"], "/etc/orgadmin.env")

    def test_a_given_database_or_file_is_used(self):
        _folder, _arguments, environment = self.run_wrapper(
            "check", DATABASE_URL="sqlite:////a b", ENV_FILE="/etc/new.env"
        )
        self.assertEqual(environment["DATABASE_URL"], "sqlite:////a b")
        self.assertEqual(environment["DIRECT_DATABASE_URL"], "sqlite:////a b")
        self.assertEqual(environment["ENV_FILE"], "/etc/new.env")


class SupplyTests(SimpleTestCase):
    """Nothing is installed whose content could have been exchanged."""

    @tag("I5")
    def test_the_container_file_names_its_base_image_by_digest(self):
        text = (DEPLOYMENT / "Containerfile").read_text()
        images = re.findall(r"(?m)^FROM (\S+)", text)
        self.assertEqual(len(images), 1)
        for image in images:
            self.assertRegex(image, r"@sha256:[0-9a-f]{64}\Z")

    @tag("I5")
    def test_pip_checks_the_hash_of_every_package(self):
        for path in PROJECT.glob("requirements*.txt"):
            text = path.read_text().replace("\\\n", " ")
            for line in text.splitlines():
                if line.strip() and not line.strip().startswith("#"):
                    self.assertRegex(line, r"^[\w.\[\],-]+==\S+ .*--hash=sha256:")
        for path in [PROJECT / "docs/deployment.md", DEPLOYMENT / "Containerfile"]:
            for command in re.findall(r"pip install .*", path.read_text()):
                self.assertIn("--require-hashes", command, path)


class NginxTests(SimpleTestCase):
    """nginx accepts the configuration without a warning, as the guide installs it."""

    def install(self, version):
        """Return the text that the guide's commands write for a version of nginx."""
        guide = (PROJECT / "docs/deployment.md").read_text()
        found = re.search(r"(?m)^    case \$\(nginx -v.*?^    esac$", guide, re.DOTALL)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "orgadmin")
            shutil.copy(DEPLOYMENT / "nginx.conf", path)
            command = found[0].replace("/etc/nginx/sites-available/orgadmin", str(path))
            function = f'nginx() {{ echo "nginx version: nginx/{version}" >&2; }}\n'
            subprocess.run(["sh", "-c", function + command], check=True)
            return path.read_text()

    def test_switches_http2_on_in_the_way_of_each_version(self):
        for version in ("1.18.0", "1.22.1"):
            text = self.install(version)
            self.assertEqual(text.count("443 ssl http2;"), 2)
            self.assertNotIn("http2 on;", text)
        for version in ("1.26.3", "1.28.0", "1.25.1"):
            text = self.install(version)
            self.assertNotIn("ssl http2", text)
            self.assertEqual(text.count("    http2 on;\n"), 1)

    @skipUnless(NGINX, "nginx is missing: apt-get install nginx")
    def test_nginx_accepts_it_without_a_warning(self):
        shown = subprocess.run([NGINX, "-v"], capture_output=True, text=True).stderr
        text = self.install(shown.strip().rpartition("/")[2])
        with tempfile.TemporaryDirectory() as folder:
            for name in ("/etc/ssl/orgadmin", "/var/log/nginx"):
                text = text.replace(name, folder)
            Path(folder, "site.conf").write_text(text)
            certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"]
            subprocess.run(
                [*certificate, "-subj", "/CN=x", "-keyout", "key.pem"]
                + ["-out", "fullchain.pem"],
                cwd=folder,
                check=True,
                capture_output=True,
            )
            Path(folder, "nginx.conf").write_text(
                f"pid {folder}/pid; error_log stderr; events {{}}\n"
                f"http {{ include {folder}/site.conf; }}\n"
            )
            result = subprocess.run(
                [NGINX, "-t", "-c", f"{folder}/nginx.conf", "-e", "stderr"],
                capture_output=True,
                text=True,
            )
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn("[warn]", result.stderr)

    @skipUnless(NGINX, "nginx is missing: apt-get install nginx")
    def test_nginx_answers_at_once_while_no_server_runs(self):
        with tempfile.TemporaryDirectory() as folder:
            process = self.start(folder)
            try:
                connection = http.client.HTTPConnection("localhost", timeout=10)
                connection.sock = self.connect(f"{folder}/socket")
                started = time.monotonic()
                connection.request("GET", "/admin/")
                response = connection.getresponse()
                self.assertLess(time.monotonic() - started, 2)
            finally:
                process.terminate()
                process.wait()
        self.assertEqual(response.status, 503)
        self.assertEqual(response.headers["Retry-After"], "10")
        self.assertIn("default-src", response.headers["Content-Security-Policy"])
        self.assertIn("The site is not available", response.read().decode())

    def start(self, folder):
        """Run the last server of the configuration on a socket, without TLS."""
        text = (DEPLOYMENT / "nginx.conf").read_text()
        text = text[: text.index("\nserver {")] + text[text.rindex("\nserver {") :]
        text = re.sub(r"(?m)^ *(listen|ssl_\w+|access_log|error_log) .*\n", "", text)
        listen = f"server {{\n    listen unix:{folder}/socket;\n"
        text = re.sub(r"(?m)^server \{\n", listen, text)
        folders = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{name}_temp_path {folder}/{name};\n" for name in folders)
        Path(folder, "nginx.conf").write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;"
            f" events {{}} http {{ access_log off; {paths}{text} }}"
        )
        return subprocess.Popen([NGINX, "-c", f"{folder}/nginx.conf"])

    def connect(self, path):
        for _ in range(100):
            connected = socket.socket(socket.AF_UNIX)
            connected.settimeout(10)
            try:
                connected.connect(path)
            except OSError:
                connected.close()
                time.sleep(0.1)
            else:
                return connected
        self.fail("nginx has not started.")


class KeyRotationTests(SimpleTestCase):
    """The commands of the guide that replace SECRET_KEY keep all earlier keys."""

    def rotate(self, text):
        guide = (PROJECT / "docs/deployment.md").read_text()
        section = guide.split("### SECRET_KEY\n")[1].split("### ")[0]
        lines = re.findall(r"(?m)^    (.*)$", section)
        commands = "\n".join(line for line in lines if not line.startswith("orgadmin"))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "orgadmin.env")
            path.write_text(text)
            commands = commands.replace("/etc/orgadmin.env", str(path))
            subprocess.run(["sh", "-euc", commands], check=True)
            return path.read_text()

    def test_a_second_rotation_keeps_both_earlier_keys(self):
        once = self.rotate("SECRET_KEY=first\nDEBUG=false\n")
        twice = self.rotate(once)
        variables = parse_env_file(twice.encode())
        second = parse_env_file(once.encode())["SECRET_KEY"].value
        self.assertEqual(variables["SECRET_KEY_FALLBACKS"].value, f"{second},first")
        self.assertNotIn(variables["SECRET_KEY"].value, (second, "first"))
        self.assertEqual(variables["DEBUG"].value, "false")


class DocumentedCommandTests(SimpleTestCase):
    """Commands and units that the pages for operators name exist."""

    PAGES = ("deployment.md", "operations.md", "troubleshooting.md")

    def setUp(self):
        texts = [(PROJECT / "docs" / page).read_text() for page in self.PAGES]
        self.text = "\n".join(texts)

    def test_commands_of_the_site(self):
        names = set(re.findall(r"(?m)(?:`|^    )orgadmin ([a-z]\w+)", self.text))
        self.assertGreater(len(names), 7)
        self.assertEqual(names - get_commands().keys(), set())

    def test_commands_for_releases(self):
        names = set(re.findall(r"orgadmin-release ([a-z]+)\b", self.text))
        self.assertGreater(len(names), 7)
        script = [sys.executable, DEPLOYMENT / "orgadmin-release"]
        shown = subprocess.run([*script, "--help"], capture_output=True, text=True)
        known = set(re.findall(r"(?m)^    orgadmin-release (\w+)", shown.stdout))
        self.assertEqual(names - known, set())

    def test_units(self):
        names = set(re.findall(r"(orgadmin[\w@-]*\.(?:service|timer))", self.text))
        self.assertGreater(len(names), 7)
        # The guide says how to remove this one, which earlier releases had.
        names.remove("orgadmin.service")
        for name in names:
            file = re.sub("@\\w*\\.", "@.", name)
            self.assertTrue((DEPLOYMENT / file).exists(), name)
