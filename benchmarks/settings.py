"""The project's settings, with the apps and pages that it is compared with.

Needs the environment of production, not DEBUG, which would slow everything down.
"""

import os
from copy import deepcopy

from environ import Env

from config.settings import *  # noqa: F403
from config.settings import DATABASES, INSTALLED_APPS, LOGGING, STORAGES, TEMPLATES

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.peers"]
ROOT_URLCONF = "benchmarks.urls"
ALLOWED_HOSTS = ["*"]

# The templates of the admin that ours is compared with: none of this project.
STOCK_TEMPLATES = {
    "NAME": "stock",
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {
        "context_processors": [
            "django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ],
    },
}
TEMPLATES = [*TEMPLATES, STOCK_TEMPLATES]

STORAGES = {
    **STORAGES,
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage",
    },
}

# Files for browsers come from their folders, without `collectstatic`.
WHITENOISE_USE_FINDERS = True

# A second database, with few organizations, to compare sizes within one run.
DATABASE_ROUTERS = ["benchmarks.router.Router"]
SMALL_DATABASE_URL = os.environ.get("SMALL_DATABASE_URL")
if SMALL_DATABASE_URL:
    DATABASES["small"] = {
        **DATABASES["default"],
        **Env().db_url_config(SMALL_DATABASE_URL),
    }

# The log is written, because it is a part of what a page costs, but not shown: standard
# output is for results. benchmarks/logged.py has settings that show it.
LOGGING = deepcopy(LOGGING)
for handler in LOGGING["handlers"].values():
    handler["stream"] = open(os.devnull, "w")  # noqa: SIM115 (open as long as the process)
