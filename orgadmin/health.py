"""What a load balancer asks: does the process live, and is all that it needs in order?"""

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpResponse
from django.views.decorators.cache import never_cache

livez = never_cache(lambda request: HttpResponse("ok\n", content_type="text/plain"))


@never_cache
def healthz(request):
    """Answer 200 when the database answers and no migration is open, else 503 with what is wrong."""
    try:
        executor = MigrationExecutor(connection)
        problem = executor.migration_plan(executor.loader.graph.leaf_nodes()) and "migrations are open\n"
    except DatabaseError:
        problem = "the database does not answer\n"
    return HttpResponse(problem or "ok\n", status=503 if problem else 200, content_type="text/plain")
