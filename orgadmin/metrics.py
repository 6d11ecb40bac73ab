"""Metrics for Prometheus: counts of requests and events, and the state of the site.

If METRICS_TOKEN is set, /metrics responds to programs that send this token. Each
process counts in memory. Under gunicorn, the processes share their counts in files, so
that each process can return the counts of all (see docs/deployment/gunicorn.conf.py).
Metrics do not contain personal data or keys.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.db import Error, connection, connections
from django.db.migrations.recorder import MigrationRecorder
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from orgadmin.access import reasons
from orgadmin.access.audit_log import find_unsealed
from orgadmin.health import find_migrations
from orgadmin.models import AuditEvent, DoctorRun, Organization
from orgadmin.people.unsent import find_state
from orgadmin.records.backup_status import (
    STATUS_ERRORS,
    find_backup_problem,
    read_status,
)

# prometheus_client reads this variable when it is imported.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

# Rows are counted only up to this number, so that /metrics is fast even on large sites.
MAX_COUNT = 10_000

# The upper limits of the histogram's buckets. Most pages take 10 to 100 ms, and
# PostgreSQL cancels a statement after 30 s.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds

# All other methods share one count, because clients can send any text as the method.
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})

REGISTRY = CollectorRegistry()

REQUESTS = Counter(
    "orgadmin_requests",
    "Requests that were answered. Static files are not counted.",
    ["route", "method", "status"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "orgadmin_request_seconds",
    "How long requests took, without sending the response.",
    ["route"],
    buckets=BUCKETS,
    registry=REGISTRY,
)
QUERIES = Counter(
    "orgadmin_database_queries",
    "Statements that requests sent to the database.",
    ["route"],
    registry=REGISTRY,
)
QUERY_SECONDS = Counter(
    "orgadmin_database_seconds",
    "How long requests waited for the database.",
    ["route"],
    registry=REGISTRY,
)
CONNECTIONS = Gauge(
    "orgadmin_database_connections",
    "Connections of the pools of all processes, if the site uses pools.",
    ["state"],
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
REPLICA_REQUESTS = Counter(
    "orgadmin_replica_requests",
    "Requests that could have read the replica, by whether they did.",
    ["choice"],
    registry=REGISTRY,
)
EVENTS = Counter(
    "orgadmin_security_events",
    "Events of the audit log, such as sign-ins, lock-outs and imports.",
    ["event"],
    registry=REGISTRY,
)


# Counts of requests and events


class DatabaseTimer:
    """Counts the statements of a request, and how long they take in seconds."""

    def __init__(self) -> None:
        self.statements = 0
        self.seconds = 0.0

    def __call__(
        self, execute: Callable, sql: Any, parameters: Any, many: bool, context: Any
    ) -> Any:
        self.statements += 1
        started = time.perf_counter()
        try:
            return execute(sql, parameters, many, context)
        finally:
            self.seconds += time.perf_counter() - started


class MetricsMiddleware:
    """Counts and measures requests."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        if not settings.METRICS_TOKEN:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        timer = DatabaseTimer()
        started = time.perf_counter()
        with ExitStack() as stack:
            for database in connections.all():
                stack.enter_context(database.execute_wrapper(timer))
            response = self.get_response(request)
        seconds = time.perf_counter() - started
        route = find_route(request)
        method = request.method if request.method in KNOWN_METHODS else "other"
        REQUESTS.labels(route, method, response.status_code).inc()
        REQUEST_SECONDS.labels(route).observe(seconds)
        QUERIES.labels(route).inc(timer.statements)
        QUERY_SECONDS.labels(route).inc(timer.seconds)
        if hasattr(request, "replica_choice"):
            REPLICA_REQUESTS.labels(request.replica_choice).inc()
        if settings.DATABASE_POOL:
            store_connections()
        return response


def find_route(request: HttpRequest) -> str:
    """Return the route of a request, such as "admin/<path:object_id>/history/".

    The path is not used, because it may contain keys and secrets, and because there are
    too many different paths.
    """
    match = request.resolver_match
    return match.route if match is not None else "unknown"


def store_connections() -> None:
    """Store how many connections this process's pool has, and how many are free.

    Also stores how many requests wait for one. This is the pool for the primary, not
    for the replica.
    """
    statistics = connection.pool.get_stats()  # type: ignore[attr-defined]
    CONNECTIONS.labels("all").set(statistics["pool_size"])
    CONNECTIONS.labels("free").set(statistics["pool_available"])
    CONNECTIONS.labels("awaited").set(statistics["requests_waiting"])


def count_event(event: AuditEvent) -> None:
    """Count an event of the audit log, in the process that seals the event."""
    EVENTS.labels(event.event).inc()


# The state of the site


class SiteCollector(Collector):
    """Reads the state of the site from the database for each request to /metrics."""

    def collect(self) -> Iterator[Metric]:
        try:
            metrics = [*describe_migrations(), *describe_site(), *describe_mail()]
        except Error as error:
            reasons.report("database", error)
            metrics = []
        is_up = bool(metrics)
        yield make_gauge("database_up", "Whether the database responds.", is_up)
        yield from metrics
        yield from describe_backups()


def make_gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"orgadmin_{name}", text, value)


def describe_migrations() -> Iterator[Metric]:
    applied = MigrationRecorder(connection).migration_qs.values_list("app", "name")
    missing = find_migrations() - set(applied)
    yield make_gauge(
        "migrations_unapplied",
        "Migrations of this release that the database does not have.",
        len(missing),
    )


def describe_site() -> Iterator[Metric]:
    rows = Organization.objects.unarchived().order_by()
    orphaned = rows.filter(active_admins=0).values("pk")[:MAX_COUNT].count()
    yield make_gauge(
        "organizations_without_admin",
        f"Organizations without an active admin, at most {MAX_COUNT}.",
        orphaned,
    )
    yield make_gauge(
        "audit_events_unsealed",
        f"Events of the audit log that are not sealed yet, at most {MAX_COUNT}.",
        find_unsealed().values("pk")[:MAX_COUNT].count(),
    )
    run = DoctorRun.objects.order_by("pk").last()
    if run is not None:
        yield make_gauge(
            "doctor_errors", "Errors that the last run of doctor left.", run.total
        )
        yield make_gauge(
            "doctor_age_seconds",
            "Seconds since the last run of doctor.",
            find_age(run.at),
        )


def describe_mail() -> Iterator[Metric]:
    outbox = find_state()
    yield make_gauge("mail_waiting", "Messages and tasks that wait.", outbox.waiting)
    yield make_gauge(
        "mail_waiting_seconds",
        "How long the oldest message or task has been waiting.",
        find_age(outbox.waiting_since) if outbox.waiting_since else 0,
    )
    yield make_gauge(
        "mail_given_up", "Messages that could not be sent.", outbox.given_up
    )
    if outbox.seen_at is not None:
        yield make_gauge(
            "worker_silent_seconds",
            "Seconds since a worker last reported.",
            find_age(outbox.seen_at),
        )


def describe_backups() -> Iterator[Metric]:
    """Yield metrics about the backups, if BACKUP_STATUS is set."""
    if not settings.BACKUP_STATUS:
        return
    problem = find_backup_problem()
    yield make_gauge(
        "backup_ok", "Whether there is a recent backup that was tested.", not problem
    )
    try:
        status = read_status()
    except STATUS_ERRORS:
        # The metric `backup_ok` already reports the problem.
        return
    if status.backup is not None:
        yield make_gauge(
            "backup_age_seconds",
            "Seconds since the last backup.",
            find_age(status.backup),
        )


def find_age(moment: Any) -> float:
    """Return the number of seconds since a moment."""
    return (timezone.now() - moment).total_seconds()


# The page


@never_cache
def show_metrics(request: HttpRequest) -> HttpResponse:
    """Return all metrics in Prometheus's text format.

    The request needs the header "Authorization: Bearer" with METRICS_TOKEN. With any
    other header, and without the setting, the response is 404.
    """
    if not may_read(request):
        raise Http404
    site_registry = CollectorRegistry()
    site_registry.register(SiteCollector())
    content = generate_latest(find_registry()) + generate_latest(site_registry)
    return HttpResponse(content, content_type=CONTENT_TYPE_LATEST)


def may_read(request: HttpRequest) -> bool:
    if not settings.METRICS_TOKEN:
        return False
    expected = f"Bearer {settings.METRICS_TOKEN}"
    return constant_time_compare(request.headers.get("Authorization", ""), expected)


def find_registry() -> CollectorRegistry:
    """Return the counts of this process, or of all processes if they share files."""
    if SHARED_FOLDER not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return registry
