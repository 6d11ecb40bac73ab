"""Settings of the stock admin that the load test compares with.

It has the middleware of `startproject` and Django's own templates, and writes no log of
requests.
"""

from benchmarks.settings import *  # noqa: F403
from benchmarks.settings import STOCK_TEMPLATES

# Our own hasher refuses to hash many passwords at once, which only our pages handle.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]

AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
LOGGING = {}
TEMPLATES = [STOCK_TEMPLATES]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # The allauth app refuses to start without this one.
    "allauth.account.middleware.AccountMiddleware",
]
