"""Lets one process ask two databases in turn."""


class Router:
    alias = "default"

    def db_for_read(self, model, **hints):
        return Router.alias

    db_for_write = db_for_read

    def allow_relation(self, *objects, **hints):
        return True
