"""The middleware of the metrics, which clients can leave out with a cookie."""

import random
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from benchmarks.metrics import COOKIE, OFF
from orgadmin.metrics import MetricsMiddleware

# So many calls of `_call_deeper` fill more than one block, which has 16 KiB in Python
# 3.11: a call takes more than 80 bytes.
MOST_CALLS = 200


class SwitchedMiddleware(MetricsMiddleware):
    """Answers each request at another depth of calls.

    Python keeps the calls that are under way in blocks of memory. If a loop makes calls
    just where a block ends, each of them allocates a block and frees it again. So a
    page can cost 7 percent more or less after one more call anywhere in the middleware.
    With random depths, this happens in all ways equally often.
    """

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        answer = super().__call__
        if request.COOKIES.get(COOKIE) == OFF:
            answer = self.get_response
        return _call_deeper(answer, request, random.randrange(MOST_CALLS))


def _call_deeper(
    answer: Callable[[HttpRequest], HttpResponseBase],
    request: HttpRequest,
    calls: int,
) -> HttpResponseBase:
    if calls == 0:
        return answer(request)
    return _call_deeper(answer, request, calls - 1)
