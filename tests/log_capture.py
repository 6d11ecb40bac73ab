"""Loggers whose lines a test reads."""

import logging
from contextlib import contextmanager


@contextmanager
def lines_sent_to(handler, *names):
    """Send what these loggers log, from INFO on, to `handler` and nowhere else.

    A logger remembers which levels are on, and only `setLevel()` makes it forget. So
    nobody should set `level` directly.
    """
    loggers = [logging.getLogger(name) for name in names]
    before = [(log.handlers, log.propagate, log.level) for log in loggers]
    for log in loggers:
        log.handlers = [handler]
        log.propagate = False
        log.setLevel(logging.INFO)
    try:
        yield
    finally:
        for log, (handlers, propagate, level) in zip(loggers, before):
            log.handlers = handlers
            log.propagate = propagate
            log.setLevel(level)
