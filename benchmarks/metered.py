"""Settings of a server with metrics, which clients can leave out with a cookie."""

from benchmarks.settings import *  # noqa: F403
from config.settings import MIDDLEWARE

MIDDLEWARE = [
    name.replace("orgadmin.metrics.Metrics", "benchmarks.switched_metrics.Switched")
    for name in MIDDLEWARE
]
