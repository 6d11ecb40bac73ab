"""How gunicorn serves the site. Start it in the project's folder:

    gunicorn --config docs/deployment/gunicorn.conf.py config.wsgi

Gunicorn's command line and GUNICORN_CMD_ARGS override the values in this file.
"""

import os

# Importing the settings here ends the start if one of them is wrong. Otherwise gunicorn
# would restart a failing worker again and again.
from config import settings

# Processes and threads.
workers = int(os.environ.get("WEB_CONCURRENCY") or (os.cpu_count() or 1) + 1)
worker_class = "gthread"
threads = 4
# A worker without a free thread accepts no connection, because another worker could
# answer it at once.
worker_connections = threads
# A connection that is kept open would occupy a thread. The proxy keeps the connections
# of clients open instead.
keepalive = 0

# Seconds: how long a worker may show no sign of life, and how long the running requests
# may take when it stops.
timeout = 60
graceful_timeout = 30
# The workers' signs of life are files. In memory, they never wait for a disk.
worker_tmp_dir = "/dev/shm"
# The control socket would be in the home folder, and the service has none.
control_socket_disable = True

# What a request may take of PostgreSQL. Commands may take longer. A connection pooler
# refuses these options: set PGOPTIONS to "" behind one.
limits = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}
pgoptions = " ".join(f"-c {name}={value}" for name, value in limits.items())
os.environ.setdefault("PGOPTIONS", pgoptions)

if not settings.DEBUG:
    # Gunicorn's own log has the format of the others. Its access log contains IP
    # addresses, so it is off: orgadmin logs requests without them.
    loggers = {
        "gunicorn.error": {"handlers": [], "propagate": True},
        "gunicorn.access": {"level": "CRITICAL"},
    }
    logconfig_dict = {
        **settings.LOGGING,
        "loggers": {**settings.LOGGING["loggers"], **loggers},
    }
