"""A database router with which one process uses two databases in turn."""

from collections.abc import Iterator
from contextlib import contextmanager


class Router:
    alias = "default"

    def db_for_read(self, model, **hints):
        return Router.alias

    def db_for_write(self, model, **hints):
        return Router.alias

    def allow_relation(self, *objects, **hints):
        return True


@contextmanager
def use_database(alias: str) -> Iterator[None]:
    Router.alias = alias
    try:
        yield
    finally:
        Router.alias = "default"
