"""How gunicorn serves, from the project's folder: gunicorn --config docs/deployment/gunicorn.conf.py config.wsgi
Its own command line and GUNICORN_CMD_ARGS win over what is set here."""

import os

from config import settings  # a wrong setting ends the start here; a worker would be started again, without end

workers = int(os.environ.get("WEB_CONCURRENCY") or (os.cpu_count() or 1) + 1)
threads = worker_connections = 4  # who has no thread free accepts nothing that another worker could answer at once
worker_class, keepalive = "gthread", 0  # a kept connection would count as one; the proxy keeps those of clients
timeout, graceful_timeout = 60, 30  # seconds: without a sign of life, to end what runs
worker_tmp_dir = "/dev/shm"  # signs of life never wait for a disk
control_socket_disable = True  # it would lie in a home folder, which a service has not
# What the server's requests may take of PostgreSQL; commands may take longer. A pooler refuses it: set PGOPTIONS to "".
limits = {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "60s"}
os.environ.setdefault("PGOPTIONS", " ".join(f"-c {name}={value}" for name, value in limits.items()))
if not settings.DEBUG:
    # The lines of gunicorn's own log like the others; its log of requests names addresses, orgadmin's does not.
    loggers = {"gunicorn.error": {"handlers": [], "propagate": True}, "gunicorn.access": {"level": "CRITICAL"}}
    logconfig_dict = settings.LOGGING | {"loggers": settings.LOGGING["loggers"] | loggers}
