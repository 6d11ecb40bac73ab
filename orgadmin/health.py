"""Is all in order? What a load balancer asks, and what people are told when it is not."""

import sys

from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse
from django.template.loader import render_to_string
from django.views import defaults
from django.views.decorators.cache import never_cache
from requests import RequestException

AWAY = (OperationalError, InterfaceError, RequestException)
livez = never_cache(lambda request: HttpResponse("ok\n", content_type="text/plain"))


@never_cache
def healthz(request):
    """Answer 200 when the database answers and no migration is open, else 503 with what is wrong."""
    try:
        executor = MigrationExecutor(connection)
        problem = (
            executor.migration_plan(executor.loader.graph.leaf_nodes())
            and "migrations are open\n"
        )
    except DatabaseError:
        problem = "the database does not answer\n"
    return HttpResponse(
        problem or "ok\n", status=503 if problem else 200, content_type="text/plain"
    )


def server_error(request):
    """Answer 500; 503 where the database, or the server that people sign in with, did not answer in time."""
    if isinstance(sys.exc_info()[1], AWAY):
        return HttpResponse(
            render_to_string("503.html"), status=503, headers={"Retry-After": "10"}
        )
    return defaults.server_error(request)
