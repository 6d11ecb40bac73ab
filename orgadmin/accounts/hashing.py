"""Hashing passwords without keeping other people waiting.

A hash takes a core about half a second, which is its purpose. If every thread of a
process computed one, the process would answer nobody else. So in each process, one
thread hashes, one more waits, and others are told at once to try again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.hashers import PBKDF2PasswordHasher

# How many threads of a process hash or wait. Fewer than `threads` in
# docs/deployment/gunicorn.conf.py, so that the others can answer.
PLACES = 2

_places = threading.BoundedSemaphore(PLACES)
_turn = threading.Lock()
_thread = threading.local()


class TooBusy(Exception):
    """Too many passwords are being hashed. Trying again in a moment may help."""


@contextmanager
def take_place() -> Iterator[None]:
    """Take the place in this process that hashing a password requires.

    Within it, the thread can hash as often as it needs to. Raises `TooBusy` if no place
    is free.
    """
    if getattr(_thread, "has_place", False):
        yield
        return
    if not _places.acquire(blocking=False):
        raise TooBusy
    _thread.has_place = True
    try:
        yield
    finally:
        _thread.has_place = False
        _places.release()


class BoundedPasswordHasher(PBKDF2PasswordHasher):
    """Django's default hasher, of which one at a time works in each process."""

    def encode(self, password, salt, iterations=None):
        with take_place(), _turn:
            return super().encode(password, salt, iterations)
