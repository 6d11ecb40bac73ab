"""Hashes passwords without blocking all other requests.

On purpose, a hash takes about half a second of CPU time. If all threads of a process
computed hashes, the process could not respond to anyone else. So in each process, one
thread hashes, one more thread can wait, and all others are refused immediately.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.hashers import PBKDF2PasswordHasher

# How many threads of a process can hash or wait at the same time. This must be less
# than `threads` in docs/deployment/gunicorn.conf.py, so that other threads can respond.
PLACES = 2

_places = threading.BoundedSemaphore(PLACES)
_hash_lock = threading.Lock()
_thread = threading.local()


class TooBusy(Exception):
    """Too many passwords are being hashed. The person can try again in a moment."""


@contextmanager
def take_place() -> Iterator[None]:
    """Reserve one of the process's places to hash passwords, until the block ends.

    Inside the block, the thread can hash any number of passwords, and can call
    `take_place` again. Raises `TooBusy` if no place is free.
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
    """Django's default hasher, limited to one hash at a time in each process."""

    def encode(self, password, salt, iterations=None):
        with take_place(), _hash_lock:
            return super().encode(password, salt, iterations)
