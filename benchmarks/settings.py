"""The project's settings, and beside its pages the same content made the usual way, and the floor."""

import os

from config.settings import *  # noqa: F403
from config.settings import DATABASES, INSTALLED_APPS, STORAGES

INSTALLED_APPS += ["benchmarks.peers"]
ROOT_URLCONF = "benchmarks.urls"
ALLOWED_HOSTS = ["*"]
STORAGES["staticfiles"]["BACKEND"] = (
    "django.contrib.staticfiles.storage.StaticFilesStorage"
)
DATABASE_ROUTERS = ["benchmarks.router.Router"]
if url := os.environ.get(
    "SMALL_DATABASE_URL"
):  # the same with few organizations, to measure in one run
    from environ import Env

    DATABASES["small"] = {**DATABASES["default"], **Env().db_url_config(url)}
