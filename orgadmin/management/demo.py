"""Load the demo: organizations, accounts to try, and several months of activity.

Changes are made with the functions that the pages use, but with earlier dates. So the
logs, the histories and the roles are consistent.
"""

from __future__ import annotations

import datetime
import io
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import Permission
from django.db import models, transaction

from orgadmin.access.origin import by_means_of
from orgadmin.access.roles import ADMIN, ROLES_BY_KEY, Role
from orgadmin.management.demo_clock import days_ago
from orgadmin.management.demo_story import LATER_FILES, tell_story
from orgadmin.models import MonthlyCount, Organization, User
from orgadmin.models.monthly_count import find_month, get_today
from orgadmin.people.changes import RoleChange
from orgadmin.people.membership import change_roles
from orgadmin.records.imports.organizations import import_organizations

FILE = Path(__file__).parents[1] / "data" / "demo.csv"
REVIEWER = ROLES_BY_KEY["reviewer"]

# How long ago the site of the demo was created.
AGE_IN_DAYS = 200


class NotADemo(Exception):
    """The database contains people or organizations that are not from the demo."""


@dataclass(frozen=True)
class DemoAccount:
    """An account to try.

    `roles` is {role: the number of organizations in which the account has it}.
    """

    username: str
    first_name: str
    last_name: str
    description: str
    email: str = ""
    roles: dict[Role, int] = field(default_factory=dict)
    permissions: tuple[str, ...] = ()
    is_superuser: bool = False

    @property
    def is_staff(self) -> bool:
        return self.is_superuser or bool(self.permissions)


STAFF = DemoAccount(
    username="demo-staff",
    first_name="Sam",
    last_name="Sorensen",
    email="sam@example.com",
    is_superuser=True,
    description="platform staff",
)
ORG_ADMIN = DemoAccount(
    username="demo-admin",
    first_name="Ada",
    last_name="Adeyemi",
    email="ada@example.com",
    roles={ADMIN: 3, REVIEWER: 1},
    description="admin of 3, reviewer of 1",
)
ORG_REVIEWER = DemoAccount(
    username="demo-reviewer",
    first_name="Ravi",
    last_name="Rao",
    email="ravi@example.com",
    roles={REVIEWER: 2},
    description="reviewer of 2",
)
DELEGATE = DemoAccount(
    username="demo-support",
    first_name="Dana",
    last_name="Díaz",
    email="dana@example.com",
    permissions=("view_organization", "view_user", "add_user", "change_user"),
    description="delegated staff: views all organizations, manages people",
)
NEWCOMER = DemoAccount(
    username="demo-newcomer",
    first_name="Nina",
    last_name="Novák",
    email="nina@example.com",
    description="does not belong to an organization yet, and is invited to one",
)

ACCOUNTS = [STAFF, ORG_ADMIN, ORG_REVIEWER, DELEGATE, NEWCOMER]


def is_loaded() -> bool:
    """Return whether the database contains the demo.

    Raises `NotADemo` if it contains people or organizations, but not the demo's staff
    account.
    """
    if User.objects.filter(username=STAFF.username).exists():
        return True
    if User.objects.exists() or Organization.objects.exists():
        raise NotADemo
    return False


@transaction.atomic
def load_demo() -> dict[str, str]:
    """Load the demo into an empty database, and return {username: password}."""
    first_file, *later_files = split_file(FILE.read_bytes(), 1 + LATER_FILES)
    with days_ago(AGE_IN_DAYS):
        import_organizations(io.BytesIO(first_file))
        passwords = create_accounts(ACCOUNTS)
    # In the story, people make all changes themselves. So the logs must not name the
    # command "demo" as their author.
    with by_means_of(""):
        tell_story(later_files)
    date_organizations()
    count_months()
    return passwords


def date_organizations() -> None:
    """Set the times at which organizations were created and changed to their history's.

    The database filled them in with the current time.
    """
    versions = Organization.history.order_by("history_date")
    times_by_pk = {}
    for pk, time in versions.values_list("id", "history_date"):
        first, _last = times_by_pk.get(pk, (time, time))
        times_by_pk[pk] = (first, time)
    for pk, (first, last) in times_by_pk.items():
        # Use Django's own queryset. `update()` of Organization.objects would write new
        # history records.
        models.QuerySet(Organization).filter(pk=pk).update(created_at=first)
        # Write `changed_at` last, because the database has just set it to the current
        # time again.
        Organization.objects.write_without_history([pk], {"changed_at": last})


def count_months() -> None:
    """Store the counts that a worker would have stored at the end of each month."""
    today = get_today()
    month = find_month(today - datetime.timedelta(days=AGE_IN_DAYS))
    while month < find_month(today):
        next_month = find_month(month + datetime.timedelta(days=31))
        MonthlyCount.objects.create(
            month=month,
            counted_on=next_month - datetime.timedelta(days=1),
            organizations=Organization.objects.filter(
                created_at__date__lt=next_month
            ).count(),
            people=User.objects.filter(date_joined__date__lt=next_month).count(),
        )
        month = next_month
    MonthlyCount.objects.count_today()


def split_file(content: bytes, number: int) -> list[bytes]:
    """Split a CSV file into a number of files, each with the header.

    The first file contains half of the rows, and the other files share the rest.
    """
    header, *rows = content.splitlines(keepends=True)
    half = len(rows) // 2
    size = -(-(len(rows) - half) // (number - 1))  # rounded up
    starts = range(half, len(rows), size)
    parts = [rows[:half]]
    for start in starts:
        parts.append(rows[start : start + size])
    return [header + b"".join(part) for part in parts]


def load_organizations() -> None:
    """Import all organizations of the demo now, without people and activity."""
    with FILE.open("rb") as stream:
        import_organizations(stream)


def create_accounts(accounts: Iterable[DemoAccount]) -> dict[str, str]:
    """Create accounts with their roles, and return {username: password}."""
    passwords = {}
    # All accounts take organizations from the same iterator, so no two accounts have
    # roles in the same organization.
    organizations = iter(Organization.objects.order_by("pk"))
    for account in accounts:
        passwords[account.username] = make_password()
        user = User.objects.create_user(
            account.username,
            account.email,
            passwords[account.username],
            first_name=account.first_name,
            last_name=account.last_name,
            is_staff=account.is_staff,
            is_superuser=account.is_superuser,
        )
        if account.email:
            user.verify_email()
        user.user_permissions.set(
            Permission.objects.filter(codename__in=account.permissions)
        )
        for role, number in account.roles.items():
            chosen = islice(organizations, number)
            changes = [RoleChange(user, organization, role) for organization in chosen]
            change_roles(changes, notify=False)
    return passwords


@transaction.atomic
def replace_passwords() -> dict[str, str]:
    """Set new passwords for the demo's accounts, and return {username: password}."""
    passwords = {}
    names = [account.username for account in ACCOUNTS]
    for user in User.objects.filter(username__in=names).order_by("pk"):
        passwords[user.username] = make_password()
        user.set_password(passwords[user.username])
        user.save()
    return passwords


def make_password() -> str:
    return secrets.token_urlsafe(12)  # 16 characters


@contextmanager
def without_mail() -> Iterator[None]:
    """Send no mail in this block. Otherwise, months of mail would fill the console."""
    backend = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    try:
        yield
    finally:
        settings.EMAIL_BACKEND = backend
