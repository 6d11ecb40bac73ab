"""How gunicorn serves: `gunicorn --config python:config.gunicorn config.wsgi`. Its own command line and
GUNICORN_CMD_ARGS win over what is set here."""

import os

from config import settings

workers = int(os.environ.get("WEB_CONCURRENCY") or (os.cpu_count() or 1) + 1)
worker_class, threads = "gthread", 4
timeout, graceful_timeout, keepalive = 60, 30, 5  # seconds: without a sign of life, to end what runs, between requests
worker_tmp_dir = "/dev/shm"  # signs of life never wait for a disk
# What the server's requests may take of PostgreSQL; commands may take longer. A pooler refuses it: set PGOPTIONS to "".
_limits = {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"}
os.environ.setdefault("PGOPTIONS", " ".join(f"-c {name}={value}" for name, value in _limits.items()))
if not settings.DEBUG:
    _loggers = {"gunicorn.error": {"propagate": True}, "gunicorn.access": {"level": "CRITICAL"}}  # it tells addresses
    logconfig_dict = settings.LOGGING | {"loggers": settings.LOGGING["loggers"] | _loggers}
