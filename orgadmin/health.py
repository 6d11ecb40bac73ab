"""Health checks for load balancers, and the error page that people see."""

import sys
from dataclasses import dataclass
from functools import cache

from django.db import (
    DatabaseError,
    Error,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connection,
)
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse
from django.middleware.common import CommonMiddleware
from django.template.loader import render_to_string
from django.views import defaults
from django.views.decorators.cache import never_cache

from orgadmin.access import reasons
from orgadmin.access.rule import is_active_superuser
from orgadmin.accounts.hashing import TooBusy
from orgadmin.accounts.preferences import PATHS_WITHOUT_SESSION
from orgadmin.records.backup_status import describe_backup

# Errors that may be gone on the next attempt: the database did not respond in time, or
# many people are signing in.
TEMPORARY_ERRORS = (OperationalError, InterfaceError, TooBusy)

RETRY_AFTER = 10  # seconds

PLAIN_TEXT = "text/plain; charset=utf-8"

# What gunicorn reports as the address of a client on a Unix socket, and on the loopback
# interface.
ADDRESSES_OF_THIS_MACHINE = ("", "127.0.0.1", "::1")


UNAPPLIED_MIGRATIONS = "there are unapplied migrations"
NO_DATABASE = "the database does not answer"


@dataclass(frozen=True)
class Problem:
    """Why the site cannot serve people. The reason is an error's text, or empty."""

    text: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.reason}" if self.reason else self.text


class HostMiddleware(CommonMiddleware):
    """Refuse unknown hosts, except for health checks and metrics.

    Load balancers and Prometheus ask each server by its IP address, which is in no
    setting. The answers use the host name for nothing.
    """

    def process_request(self, request):
        if request.path_info in PATHS_WITHOUT_SESSION:
            return None
        return super().process_request(request)


@never_cache
def livez(request: HttpRequest) -> HttpResponse:
    """Answer 200, because the process is running."""
    return HttpResponse("ok\n", content_type=PLAIN_TEXT)


@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200 if the database works and is migrated, else 503.

    Only superusers and programs on this machine learn what the problem is. With
    "?details", programs on this machine also learn how old the backup is. Runs one
    query if there is no session.
    """
    problem = find_problem()
    if problem is None:
        text = "ok"
        if "details" in request.GET and _is_from_this_machine(request):
            text = f"ok\n{describe_backup()}"
        return HttpResponse(f"{text}\n", content_type=PLAIN_TEXT)
    text = str(problem) if _may_read_details(request) else "unavailable"
    return HttpResponse(f"{text}\n", status=503, content_type=PLAIN_TEXT)


def find_problem() -> Problem | None:
    """Return what is wrong with the database, or None if all is well."""
    try:
        applied = MigrationRecorder(connection).migration_qs.values_list("app", "name")
        if find_migrations() <= set(applied):
            return None
    except ProgrammingError:
        # Nothing was ever migrated, so the table of applied migrations is missing.
        return Problem(UNAPPLIED_MIGRATIONS)
    except Error as error:
        reasons.report("database", error)
        # Without a text, the class of the error would say nothing new.
        reason = reasons.describe_error(error) if str(error) else ""
        return Problem(NO_DATABASE, reason)
    return Problem(UNAPPLIED_MIGRATIONS)


@cache
def find_migrations() -> frozenset[tuple[str, str]]:
    """Return (app label, name) of all migrations of this release.

    They are read from the disk once. A release does not change while it is running.
    """
    return frozenset(MigrationLoader(connection=None).graph.nodes)


def _may_read_details(request: HttpRequest) -> bool:
    if _is_from_this_machine(request):
        return True
    try:
        return is_active_superuser(request.user)
    except Error:
        return False


def _is_from_this_machine(request: HttpRequest) -> bool:
    """Return whether a program on this machine sent the request, and not a proxy."""
    if "X-Forwarded-For" in request.headers:
        return False
    return request.META.get("REMOTE_ADDR", "") in ADDRESSES_OF_THIS_MACHINE


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 503 if trying again later may help, else 500."""
    error = sys.exc_info()[1]
    if not isinstance(error, TEMPORARY_ERRORS):
        return defaults.server_error(request)
    if isinstance(error, DatabaseError | InterfaceError):
        reasons.report("database", error)
    return HttpResponse(
        render_to_string("503.html"),
        status=503,
        headers={"Retry-After": str(RETRY_AFTER)},
    )
