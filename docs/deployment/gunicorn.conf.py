"""How gunicorn serves the site. Start it in the project's folder:

    gunicorn --config docs/deployment/gunicorn.conf.py config.wsgi

Gunicorn's command line and GUNICORN_CMD_ARGS override the values in this file.
"""

import os
import shutil
import tempfile

# If a setting is invalid, this import stops gunicorn immediately. Otherwise, gunicorn
# would repeatedly restart a failing worker.
from config import settings

# The number of processes and threads.
workers = int(os.environ.get("WEB_CONCURRENCY") or (os.cpu_count() or 1) + 1)
worker_class = "gthread"
threads = 4
# A worker without a free thread does not accept connections, because another worker may
# have a free thread.
worker_connections = threads
# Open connections count towards `worker_connections`, even if they are idle. The proxy
# keeps the connections of clients open instead.
keepalive = 0

# Both are in seconds. gunicorn kills a worker that does not report for `timeout`. A
# worker that stops gives its running requests `graceful_timeout` to finish.
timeout = 60
graceful_timeout = 30
# Workers report that they are alive through files. These files are in memory, so the
# workers never wait for a disk.
worker_tmp_dir = "/dev/shm"
# The control socket would be in the home folder, which the service does not have.
control_socket_disable = True

# PostgreSQL's timeouts for requests. They do not apply to commands. PgBouncer refuses
# connections with these options, so set PGOPTIONS to "" behind a pooler.
timeouts = {
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}
pgoptions = " ".join(f"-c {name}={value}" for name, value in timeouts.items())
os.environ.setdefault("PGOPTIONS", pgoptions)

# The processes write their metrics to files in memory, so that each process can report
# the metrics of all of them.
metrics_folder = ""
if settings.METRICS_TOKEN:
    metrics_folder = tempfile.mkdtemp(prefix="orgadmin-metrics-", dir="/dev/shm")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics_folder


def child_exit(server, worker):
    """Remove the database connections of a process that has ended from the metrics.

    The process's counts, such as the requests, remain.
    """
    if metrics_folder:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)


def on_exit(server):
    shutil.rmtree(metrics_folder, ignore_errors=True)


if not settings.DEBUG:
    # Gunicorn's error log has the same format as the application's log. Its access log
    # contains IP addresses, so it is off. orgadmin logs requests without IP addresses.
    loggers = {
        "gunicorn.error": {"handlers": [], "propagate": True},
        "gunicorn.access": {"level": "CRITICAL"},
    }
    logconfig_dict = {
        **settings.LOGGING,
        "loggers": {**settings.LOGGING["loggers"], **loggers},
    }
