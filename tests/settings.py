"""The settings of the tests: those of the project, without what makes tests slow."""

from config.settings import *  # noqa: F403
from config.settings import MIDDLEWARE

TEST_RUNNER = "tests.runner.AllTestsRunner"

# Hashes passwords fast, which is not safe.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"

TASKS = {"default": {"BACKEND": "tests.at_once.TestBackend"}}

ROOT_URLCONF = "tests.urls"

# The tests collect no static files.
MIDDLEWARE = [middleware for middleware in MIDDLEWARE if "whitenoise" not in middleware]
