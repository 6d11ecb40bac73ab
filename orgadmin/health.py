"""Health checks for load balancers, and the error page for people."""

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

# The errors after which another attempt may succeed. For example, the database did not
# respond in time, or many people are signing in.
TEMPORARY_ERRORS = (OperationalError, InterfaceError, TooBusy)

RETRY_AFTER = 10  # seconds

PLAIN_TEXT = "text/plain; charset=utf-8"

# The client addresses that gunicorn reports for Unix sockets ("") and for the loopback
# interface.
ADDRESSES_OF_THIS_MACHINE = ("", "127.0.0.1", "::1")


UNAPPLIED_MIGRATIONS = "there are unapplied migrations"
NO_DATABASE = "the database does not answer"


@dataclass(frozen=True)
class Problem:
    """Why the site does not work."""

    text: str
    reason: str = ""  # the text of an error, or ""

    def __str__(self) -> str:
        return f"{self.text}: {self.reason}" if self.reason else self.text


class HostMiddleware(CommonMiddleware):
    """Refuses unknown hosts, except for health checks and metrics.

    Load balancers and Prometheus use the IP address of each server, which is not in
    ALLOWED_HOSTS. This is safe, because these responses do not use the host name.
    """

    def process_request(self, request):
        if request.path_info in PATHS_WITHOUT_SESSION:
            return None
        return super().process_request(request)


@never_cache
def livez(request: HttpRequest) -> HttpResponse:
    """Respond with status 200, which shows that the process is running."""
    return HttpResponse("ok\n", content_type=PLAIN_TEXT)


@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """Respond with status 200 if the database works and is migrated, or else 503.

    The response describes the problem only to superusers and to programs on this
    machine. With "?details", programs on this machine also get the age of the backup if
    there is no problem. Runs one query if the request has no session.
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
    """Return the problem of the database, or None if there is none."""
    try:
        applied = MigrationRecorder(connection).migration_qs.values_list("app", "name")
        if find_migrations() <= set(applied):
            return None
    except ProgrammingError:
        # The table of applied migrations is missing, because no migration was ever run.
        return Problem(UNAPPLIED_MIGRATIONS)
    except Error as error:
        reasons.report("database", error)
        # For an error without a text, this would only be the error's class, which does
        # not help.
        reason = reasons.describe_error(error) if str(error) else ""
        return Problem(NO_DATABASE, reason)
    return Problem(UNAPPLIED_MIGRATIONS)


@cache
def find_migrations() -> frozenset[tuple[str, str]]:
    """Return (app label, name) of all migrations of this release.

    They are read from the disk only once, because a release does not change while it is
    running.
    """
    return frozenset(MigrationLoader(connection=None).graph.nodes)


def _may_read_details(request: HttpRequest) -> bool:
    """Return whether the response may describe the problem.

    Returns False if the database cannot be asked whether the user is a superuser.
    """
    if _is_from_this_machine(request):
        return True
    try:
        return is_active_superuser(request.user)
    except Error:
        return False


def _is_from_this_machine(request: HttpRequest) -> bool:
    """Return whether a program on this machine, except a proxy, sent the request."""
    if "X-Forwarded-For" in request.headers:
        return False
    return request.META.get("REMOTE_ADDR", "") in ADDRESSES_OF_THIS_MACHINE


def server_error(request: HttpRequest) -> HttpResponse:
    """Respond with status 503 if another attempt may succeed, or else with 500."""
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
