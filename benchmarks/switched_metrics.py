"""The middleware of the metrics, which clients can leave out with a cookie."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from benchmarks.metrics import COOKIE, OFF
from orgadmin.metrics import MetricsMiddleware


class SwitchedMiddleware(MetricsMiddleware):
    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.COOKIES.get(COOKIE) == OFF:
            return self.get_response(request)
        return super().__call__(request)
