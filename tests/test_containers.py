"""docs/deployment/compose and the Containerfile. No container is started."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from unittest import skipUnless

from django.conf import settings
from django.test import SimpleTestCase, tag

PROJECT = Path(settings.BASE_DIR)
COMPOSE = PROJECT / "docs/deployment/compose"
DOCKER_COMPOSE = shutil.which("docker-compose")


def read_sections(name):
    """Return {name: text} of the entries of a top-level section, such as "services"."""
    text = (COMPOSE / "compose.yml").read_text()
    section = re.search(rf"(?m)^{name}:.*\n((?: .*\n|\n|#.*\n)*)", text)[1]
    parts = re.split(r"(?m)^  (\w+):\n", section)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


class ComposeTests(SimpleTestCase):
    def setUp(self):
        self.text = (COMPOSE / "compose.yml").read_text()
        self.services = read_sections("services")

    def test_has_everything_that_a_site_needs(self):
        self.assertEqual(
            set(self.services), {"database", "migrate", "web", "worker", "backup"}
        )

    @tag("I4")
    def test_no_container_can_write_into_its_image_or_gain_rights(self):
        hardened = re.search(r"(?s)x-hardened: &hardened\n(.*?)\n\n", self.text)[1]
        for line in (
            "read_only: true",
            "cap_drop: [ALL]",
            'security_opt: ["no-new-privileges:true"]',
        ):
            self.assertIn(f"  {line}\n", hardened)
        site = re.search(r"(?s)x-site: &site\n(.*?)\n\n", self.text)[1]
        self.assertIn("<<: *hardened", site)
        for name, text in self.services.items():
            self.assertRegex(text, r"<<: \*(hardened|site)\n", name)
            self.assertNotIn("privileged", text)
            self.assertNotIn("read_only: false", text)

    def test_what_ends_is_started_again(self):
        for name, text in self.services.items():
            policy = re.search(r"(?m)^    restart: (.+)$", text)[1]
            self.assertEqual(policy, '"no"' if name == "migrate" else "unless-stopped")

    def test_nothing_starts_before_the_migrations(self):
        for name in ("web", "worker"):
            self.assertRegex(
                self.services[name],
                r"migrate:\n +condition: service_completed_successfully",
            )
        for name in ("migrate", "backup"):
            self.assertRegex(
                self.services[name], r"database:\n +condition: service_healthy"
            )

    @tag("I4")
    def test_only_this_machine_reaches_the_site_and_nobody_the_database(self):
        ports = re.findall(r'ports: \["([^"]+)"\]', self.text)
        self.assertEqual(ports, ["127.0.0.1:8000:8000"])
        self.assertIn("internal: true", read_sections("networks")["database"])
        for name in ("database", "backup"):
            self.assertIn("    networks: [database]\n", self.services[name])

    @tag("I5")
    def test_there_is_no_image_without_a_digest(self):
        images = set(re.findall(r"(?m)^ +image: (.+)$", self.text))
        # The operator sets the second one, and Compose stops if nobody has.
        self.assertEqual(
            {image.partition(":?")[0] for image in images},
            {"orgadmin", '"${POSTGRES_IMAGE'},
        )

    @tag("I3")
    def test_secrets_and_backups_are_neither_in_the_image_nor_committed(self):
        ignored = (PROJECT / ".gitignore").read_text().splitlines()
        for name in ("secrets/", "backups/", "backup-state/", "orgadmin.env", ".env"):
            self.assertIn(f"/docs/deployment/compose/{name}", ignored)
        allowed = re.findall(r"(?m)^!(.+)$", (PROJECT / ".dockerignore").read_text())
        self.assertFalse([name for name in allowed if "compose" in name])
        self.assertNotIn("docs", allowed)

    def test_the_files_that_it_mounts_exist(self):
        for name in re.findall(r"(?m)^ +- (\.[^:]+):", self.text):
            is_created = name in (*("./orgadmin.env", "./backups", "./backup-state"),)
            self.assertTrue(is_created or (COMPOSE / name).exists(), name)

    @skipUnless(DOCKER_COMPOSE, "docker-compose is missing")
    def test_docker_compose_accepts_it(self):
        command = [DOCKER_COMPOSE, "-f", COMPOSE / "compose.yml", "config", "-q"]
        image = {"POSTGRES_IMAGE": "postgres:17@sha256:" + "0" * 64}
        result = subprocess.run(
            command, env=os.environ | image, capture_output=True, text=True
        )
        self.assertEqual(result.returncode, 0, result.stderr)
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("set it to an image", result.stderr)


class ImageTests(SimpleTestCase):
    def test_the_build_copies_nothing_that_dockerignore_leaves_out(self):
        ignored = (PROJECT / ".dockerignore").read_text()
        text = (PROJECT / "docs/deployment/Containerfile").read_text()
        sources = re.findall(r"(?m)^COPY (\S+) ", text)
        self.assertGreater(len(sources), 5)
        for source in sources:
            self.assertTrue((PROJECT / source).exists(), source)
            self.assertRegex(ignored, rf"(?m)^!{re.escape(source)}$")


class BackupScriptTests(SimpleTestCase):
    """back-up-daily.sh, with programs in place of the backup and of a day."""

    def run_script(self, folder, *, weekday, status):
        (folder / "status").write_text(status)
        (folder / "password").write_text("secret\n")
        for name in ("backup", "verify-backup"):
            (folder / name).write_text(
                f'echo {name} "$PGPASSWORD" "$1" >>{folder}/log; exit 1\n'
            )
        programs = {
            "date": f"#!/bin/sh\necho {weekday}\n",
            "sleep": "#!/bin/sh\nexit 7",
        }
        for name, text in programs.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        script = (COMPOSE / "back-up-daily.sh").read_text()
        script = script.replace("/usr/local/bin/orgadmin-", f"{folder}/")
        script = script.replace("/run/secrets/backup_", f"{folder}/")
        result = subprocess.run(
            ["sh", "-c", script],
            env={
                "PATH": f"{folder}:{os.environ['PATH']}",
                "STATE_DIRECTORY": str(folder),
            },
        )
        # The day was not waited for.
        self.assertEqual(result.returncode, 7)
        return (folder / "log").read_text().splitlines()

    def test_backs_up_each_day_and_restores_each_sunday(self):
        backup = "backup secret /backups"
        restore = "verify-backup secret /backups"
        cases = {
            (3, "BACKUP=x\n"): [backup, restore],  # the first time
            (3, "VERIFIED=x\n"): [backup],
            (7, "VERIFIED=x\n"): [backup, restore],
        }
        for (weekday, status), steps in cases.items():
            with self.subTest(weekday=weekday, status=status):
                with tempfile.TemporaryDirectory() as folder:
                    printed = self.run_script(
                        Path(folder), weekday=weekday, status=status
                    )
                self.assertEqual(printed, steps)
