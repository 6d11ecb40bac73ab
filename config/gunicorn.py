"""How gunicorn serves: `gunicorn --config python:config.gunicorn config.wsgi`. Its own command line and
GUNICORN_CMD_ARGS win over what is set here."""

import os

from config import settings  # noqa: F401 (a wrong setting ends the start; a worker would be started again)
from orgadmin.logs import describe_logging

workers = int(os.environ.get("WEB_CONCURRENCY") or (os.cpu_count() or 1) + 1)
threads = worker_connections = 4  # who has no thread free accepts nothing that another worker could answer at once
worker_class, keepalive = "gthread", 0  # a kept connection would count as one; the proxy keeps those of clients
timeout, graceful_timeout = 60, 30  # seconds: without a sign of life, to end what runs
worker_tmp_dir = "/dev/shm"  # signs of life never wait for a disk
control_socket_disable = True  # it would lie in a home folder, which a service has not
# What the server's requests may take of PostgreSQL; commands may take longer. A pooler refuses it: set PGOPTIONS to "".
_limits = {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"}
os.environ.setdefault("PGOPTIONS", " ".join(f"-c {name}={value}" for name, value in _limits.items()))
logconfig_dict = describe_logging("stdout", "gunicorn.error")
logconfig_dict["loggers"]["gunicorn.access"] = {"level": "CRITICAL"}  # it tells addresses; orgadmin.logs tells more
