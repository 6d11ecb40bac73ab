"""What the site logs: lines of JSON, each with the key of its request and of its user, and nothing else of a person."""

import logging
import re
import time
import traceback
import uuid
from contextvars import ContextVar

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.utils.cache import add_never_cache_headers
from pythonjsonlogger.json import JsonFormatter

logger = logging.getLogger("orgadmin.requests")
REQUEST_SIZE = 5_000_000  # bytes
current = ContextVar("request", default=None)
# Addresses of pages, which carry keys, searches and spaces; of mail; IPv4, but for what servers listen_to_groups at; IPv6.
PERSONAL = re.compile(
    r"(?<![\w>])/\S.*|\S+@\S+|\b(?!127\.0|0\.0)\d{1,3}(\.\d{1,3}){3}\b"
    r"|\b([\da-f]{1,4}:){4}[\da-f:]+|\b([\da-f]{1,4}:)+:[\da-f:]*",
    re.IGNORECASE | re.DOTALL,
)


class RequestLogMiddleware:
    """Logs each request, and keeps caches from storing an answer that does not allow it."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if (
            int(request.META.get("CONTENT_LENGTH") or 0) > REQUEST_SIZE
        ):  # Django limits all of it but files
            raise RequestDataTooBig(f"The request has more than {REQUEST_SIZE} bytes.")
        sent = (
            request.headers.get("X-Request-ID", "") if settings.TRUST_PROXY else ""
        )  # both logs tell of the same
        request.id = (
            sent if re.fullmatch(r"[\w-]{8,64}", sent, re.ASCII) else uuid.uuid4().hex
        )
        began, token = time.perf_counter(), current.set(request)
        try:
            response = self.get_response(request)
            ms = round(1000 * (time.perf_counter() - began), 1)
            logger.info(
                request.method, extra={"status": response.status_code, "ms": ms}
            )
        finally:
            current.reset(token)
        response.headers["X-Request-ID"] = request.id
        if not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        return response


class LogFormatter(JsonFormatter):
    """Writes a record as JSON: what happened in which request, by the route instead of the address.
    Of an exception it tells kind and place, as its text may quote what somebody typed."""

    def add_fields(self, log_data, record, message_dict):
        super().add_fields(log_data, record, message_dict)
        request = log_data.pop("request", None) or current.get()
        if hasattr(request, "id"):
            route = getattr(request.resolver_match, "route", None)
            user = getattr(
                getattr(request, "_cached_user", None), "pk", None
            )  # without asking for it
            log_data.update(request=request.id, user=user, route=route)
        log_data["message"] = PERSONAL.sub("…", log_data["message"])

    def formatException(self, exc_info):
        lines, error = [], exc_info[1]
        while error and len(lines) < 1_000:  # causes may go round in circles
            lines += [
                *traceback.format_tb(error.__traceback__),
                f"{type(error).__module__}.{type(error).__name__}\n",
            ]
            error = error.__cause__ or error.__context__
        return "".join(lines)
