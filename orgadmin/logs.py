"""The site's log: lines of JSON without names and addresses of people.

Each line about a request has the ID of the request, and the primary key of the user if
the request has loaded the user.
"""

import logging
import re
import time
import traceback
import uuid

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.utils.cache import add_never_cache_headers
from django.utils.functional import LazyObject
from pythonjsonlogger.json import JsonFormatter

from orgadmin.access.origin import current_request

logger = logging.getLogger("orgadmin.requests")

# This must be larger than the files that the import page accepts
# (orgadmin/records/imports/options.py), and smaller than client_max_body_size in
# docs/deployment/nginx.conf.
MAX_REQUEST_SIZE = 22_000_000  # bytes

MAX_TRACEBACK_LINES = 1_000

# The format of the request ID that a proxy may send.
REQUEST_ID = re.compile(r"[\w-]{8,64}", re.ASCII)

# Parts of a message that may identify a person.
PERSONAL = re.compile(
    r"""
    # A path and everything after it. The path may contain keys, searches, spaces and
    # line breaks, so its end is unknown. A slash after a word or ">" does not begin a
    # path, as in "text/html" and "</p>".
    (?<![\w>])/\S.*

    # An email address, and the word that contains it. The match must begin at the start
    # of a word, because trying each character of a long word would take seconds.
    |(?<!\S)\S+@\S+

    # An IPv4 address, except addresses that servers listen on.
    |\b(?!127\.0|0\.0)\d{1,3}(\.\d{1,3}){3}\b

    # A full IPv6 address. Four colons are required, because text with two colons may be
    # a time of day.
    |\b([\da-f]{1,4}:){4}[\da-f:]+

    # A shortened IPv6 address.
    |\b([\da-f]{1,4}:)+:[\da-f:]*
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
REPLACEMENT = "…"


class RequestLogMiddleware:
    """Logs requests, refuses large requests, and prevents caches from storing pages.

    Also gives each request an ID, sets `current_request`, and runs the functions of
    `run_after_response()`.
    """

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        check_size(request)
        request.id = choose_request_id(request)
        token = current_request.set(request)
        started = time.perf_counter()
        try:
            response = self.get_response(request)
            seconds = time.perf_counter() - started
            # `LogFormatter` adds the route, the user and the ID of the request.
            logger.info(
                request.method,
                extra={
                    "status": response.status_code,
                    "ms": round(1000 * seconds, 1),
                },
            )
        finally:
            current_request.reset(token)
        # Django calls these functions after the response has been sent.
        response._resource_closers += getattr(request, "after_response", [])
        response.headers["X-Request-ID"] = request.id
        if not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        return response


def check_size(request: HttpRequest) -> None:
    """Raise `RequestDataTooBig` if a request says that it is too large.

    The request has not been read yet. Django's own limit does not include uploaded
    files. Requests without a Content-Length header are not limited here.
    """
    size = int(request.META.get("CONTENT_LENGTH") or 0)
    if size > MAX_REQUEST_SIZE:
        raise RequestDataTooBig(f"The request is larger than {MAX_REQUEST_SIZE} bytes.")


def choose_request_id(request: HttpRequest) -> str:
    """Return the request's ID from a trusted proxy, or a new ID.

    With the proxy's ID, the request can also be found in the proxy's log.
    """
    if settings.TRUST_PROXY:
        sent = request.headers.get("X-Request-ID", "")
        if REQUEST_ID.fullmatch(sent):
            return sent
    return uuid.uuid4().hex


class LogFormatter(JsonFormatter):
    """Writes a record as JSON, without names and addresses of people.

    Requests are logged with their route instead of their path. Errors are logged with
    their type and traceback, because their messages may contain what someone typed.
    """

    def add_fields(self, log_data, record, message_dict):
        """Add the request and the user, and remove personal data from the message."""
        super().add_fields(log_data, record, message_dict)
        request = log_data.pop("request", None) or current_request.get()
        # Django's development server logs a socket as the request, which has no ID.
        if hasattr(request, "id"):
            log_data["request"] = request.id
            # Records about sign-ins already contain the user.
            log_data.setdefault("user", get_user_id(request))
            if getattr(request, "viewing", None):
                # A superuser views the site as this person.
                log_data["viewed_as"] = request.viewing.person.pk
            log_data["route"] = getattr(request.resolver_match, "route", None)
        message = log_data["message"]
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and message == str(error):
            message = type(error).__name__
        log_data["message"] = PERSONAL.sub(REPLACEMENT, message)

    def formatException(self, exc_info):
        """Return the traceback of an error and its causes, without their messages."""
        lines = []
        error = exc_info[1]
        # The limit ends the loop if an error is among its own causes.
        while error and len(lines) < MAX_TRACEBACK_LINES:
            lines += traceback.format_tb(error.__traceback__)
            lines.append(f"{type(error).__module__}.{type(error).__name__}\n")
            error = error.__cause__ or error.__context__
        return "".join(lines)


class WithoutStaticFiles(logging.Filter):
    """Leaves out the lines of `runserver` about static files, except for errors.

    Each page loads about a dozen static files.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.INFO or not isinstance(record.args, tuple):
            return True
        request_line = str(record.args[0]) if record.args else ""
        return f" {settings.STATIC_URL}" not in request_line


def get_user_id(request: HttpRequest) -> int | None:
    """Return the primary key of the user, or None.

    Does not load the user: if the request has not done so yet, returns None.

    - If the request signs someone in, this is the person who has just signed in.
    - If a superuser views the site as someone else, this is the superuser.
    """
    viewing = getattr(request, "viewing", None)
    if viewing is not None:
        return viewing.viewer.pk
    user = request.__dict__.get("user")
    if isinstance(user, LazyObject) or not getattr(user, "is_authenticated", False):
        user = getattr(request, "_cached_user", None)
    return getattr(user, "pk", None)
