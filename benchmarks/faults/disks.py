"""Disks that become full or read-only. Needs the permission to mount."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg

from tests.postgres import find_tools_path
from tests.scratch import PROJECT
from tests.servers import LIST, Person, serve

if TYPE_CHECKING:
    from benchmarks.faults.site import Site

DATA_SIZE = "2g"
SECONDS_FULL = 5
LOGGED_REQUESTS = 50
PAGE_SIZE = 4096

SECONDS_READ_ONLY = 5
IMAGE_SIZE = 2**31


def mount(folder: Path, size: str) -> bool:
    """Mount an empty disk of a size such as "10m". Return whether that worked."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "none", folder]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def mount_memory(folder: Path) -> bool:
    """Mount the disk of PostgreSQL, in memory. Return whether that worked."""
    return mount(folder, DATA_SIZE)


def mount_image(folder: Path) -> bool:
    """Mount the disk of PostgreSQL, in a file. Return whether that worked.

    The kernel makes such a disk read-only after an error.
    """
    image = folder.with_name("image")
    if not image.exists():
        with image.open("wb") as file:
            file.truncate(IMAGE_SIZE)
        if not succeeds("mkfs.ext4", "-q", image):
            return False
    return succeeds("mount", "-o", "loop,errors=remount-ro", image, folder)


def succeeds(*command: str | Path) -> bool:
    try:
        done = subprocess.run(command, capture_output=True)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def small_disk(site: Site, name: str, size: str) -> Iterator[Path]:
    folder = site.folder / name
    folder.mkdir()
    if not mount(folder, size):
        raise RuntimeError("The disk cannot be mounted.")
    try:
        yield folder
    finally:
        unmount(folder)


def fill(folder: Path) -> Path:
    """Write a file that takes all the space that is left, and return its path."""
    path = folder / "filling"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 2**20)
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x")
    return path


def fill_data_disk(site: Site) -> str:
    """Leave no space for PostgreSQL's tables and its log of changes."""
    filling = fill(site.disk)
    end = time.monotonic() + SECONDS_FULL
    try:
        while time.monotonic() < end:
            # PostgreSQL needs a new file for its log of changes.
            with suppress(psycopg.Error), psycopg.connect(site.url) as connection:
                connection.execute("SELECT pg_switch_wal()")
            time.sleep(0.2)
    finally:
        filling.unlink()
    time.sleep(3)
    is_running = answers(site)
    if not is_running:
        site.postgres.ensure_postgres_running()
    return "PostgreSQL recovered" if is_running else "PostgreSQL had to be started"


def make_data_disk_read_only(site: Site) -> str:
    """Make PostgreSQL's disk read-only, as the kernel does after an error."""
    command = ["findmnt", "--noheadings", "--output", "SOURCE", site.disk]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    device = Path(found.stdout.strip()).name
    Path("/sys/fs/ext4", device, "trigger_fs_error").write_text("1\n")
    time.sleep(SECONDS_READ_ONLY)
    is_running = answers(site)
    kill_postgres(site)
    repair_disk(site)
    site.postgres.ensure_postgres_running()
    return "PostgreSQL still answered" if is_running else "PostgreSQL had stopped"


def kill_postgres(site: Site) -> None:
    """End all processes of PostgreSQL that are left."""
    pid = int((site.disk / "data/postmaster.pid").read_text().splitlines()[0])
    try:
        postmaster = psutil.Process(pid)
        processes = [postmaster, *postmaster.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def repair_disk(site: Site) -> None:
    subprocess.run(["umount", site.disk], check=True)
    image = site.disk.with_name("image")
    checked = subprocess.run(["e2fsck", "-p", image], capture_output=True)
    # Status 1 means that errors were corrected.
    if checked.returncode > 1 or not mount_image(site.disk):
        raise RuntimeError("The disk cannot be repaired.")


def make_backup_disk_read_only(site: Site) -> str:
    """Make a backup on a disk that is read-only, and then on one that is not."""
    with small_disk(site, "read-only-backups", "1g") as folder:
        first = run_backup(site, folder)
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        failed = run_backup(site, folder)
        dumps = len(list(folder.glob("*.dump")))
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        time.sleep(1)  # the name of a dump has its second
        repeated = run_backup(site, folder)
    if failed.returncode == 0 or "Read-only" not in failed.stderr or dumps != 1:
        site.problems.append(f"a read-only disk of backups: {failed.stderr}")
    if first.returncode or repeated.returncode:
        site.problems.append(f"the backup does not heal: {repeated.stderr}")
    return f"status {failed.returncode}, then {repeated.returncode}"


def answers(site: Site) -> bool:
    try:
        psycopg.connect(site.url).close()
    except psycopg.Error:
        return False
    return True


def fill_log_disk(site: Site) -> str:
    """Use a separate server that cannot write its log."""
    statuses = []
    with small_disk(site, "logs", "1m") as folder:
        with (
            (folder / "log").open("ab", buffering=0) as log,
            serve(site.environment, 1, log) as server,
        ):
            person = Person(server.address)
            person.sign_in("user-0")
            filling = fill(folder)
            size = (folder / "log").stat().st_size
            for _ in range(LOGGED_REQUESTS):
                statuses.append(person.get(LIST).status)
            # The last page of the file has space that is already allocated.
            if (folder / "log").stat().st_size > size + PAGE_SIZE:
                site.problems.append("the disk of the log was not full")
            full_size = (folder / "log").stat().st_size
            filling.unlink()
            person.get(LIST)
            time.sleep(0.5)
        if (folder / "log").stat().st_size <= full_size:
            site.problems.append("nothing is logged after the disk was full")
    good = statuses.count(200)
    if good < LOGGED_REQUESTS:
        site.problems.append(f"without a log, {good} of {LOGGED_REQUESTS} answers good")
    return f"without a log: {good} of {LOGGED_REQUESTS} requests answered"


def fill_backup_disk(site: Site) -> str:
    """Make a backup on a disk that is too small, and then on one that is not."""
    with small_disk(site, "backups", "200k") as folder:
        failed = run_backup(site, folder)
        left = sorted(path.name for path in folder.glob("*.part"))
        subprocess.run(["mount", "-o", "remount,size=1g", folder], check=True)
        repeated = run_backup(site, folder)
    if failed.returncode == 0 or left:
        site.problems.append(f"a full disk of backups: {failed.returncode}, {left}")
    if repeated.returncode != 0:
        site.problems.append(f"the backup does not heal: {repeated.stderr}")
    return f"status {failed.returncode}, then {repeated.returncode}"


def run_backup(site: Site, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", PROJECT / "docs/deployment/orgadmin-backup", folder],
        env=os.environ | {"PATH": find_tools_path(), "DATABASE_URL": site.url},
        capture_output=True,
        text=True,
    )
