"""Health checks for load balancers, and the error page that people see."""

import sys

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views import defaults
from django.views.decorators.cache import never_cache
from requests import RequestException

# Errors that may be gone on the next attempt: the database or the OpenID provider did
# not respond in time.
TEMPORARY_ERRORS = (OperationalError, InterfaceError, RequestException)

RETRY_AFTER = 10  # seconds


@never_cache
def livez(request: HttpRequest) -> HttpResponse:
    """Answer 200, because the process is running."""
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer 200 if the database works and is migrated, else 503 with the problem."""
    problem = find_problem()
    if problem:
        return HttpResponse(f"{problem}\n", status=503, content_type="text/plain")
    return HttpResponse("ok\n", content_type="text/plain")


def find_problem() -> str:
    """Return what is wrong with the database, or "" if all is well."""
    try:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return "there are unapplied migrations"
    except DatabaseError:
        return "the database does not answer"
    return ""


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 503 if trying again later may help, else 500."""
    error = sys.exc_info()[1]
    if not isinstance(error, TEMPORARY_ERRORS):
        return defaults.server_error(request)
    return HttpResponse(
        render_to_string("503.html"),
        status=503,
        headers={"Retry-After": str(RETRY_AFTER)},
    )
