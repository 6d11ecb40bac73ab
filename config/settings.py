"""Settings. Deployments differ by environment variables only (docs/operations.md); a wrong one ends the start."""

import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import URLValidator
from django.utils.translation import gettext_lazy as _
from environ import Env

env = Env()
BASE_DIR = Path(__file__).resolve().parent.parent


def refuse(name, expected):
    """End the start: `name` is missing or wrong, `expected` says what it should be."""
    sys.exit(f"{name} is missing or wrong: expected {expected}.")


def boolean(name, default):
    value = env.str(name, default=default).strip().lower()
    return value == "true" if value in ("true", "false") else refuse(name, "true or false")


def database():
    url = env.str("DATABASE_URL", default="") or f"sqlite:///{BASE_DIR / 'db.sqlite3'}"
    scheme, _separator, rest = url.partition("://")
    settings = {}
    with suppress(ImproperlyConfigured, ValueError):
        settings = env.db_url_config(url) if rest and scheme in ("sqlite", "postgres", "postgresql") else {}
    if not settings.get("NAME"):
        refuse("DATABASE_URL", "sqlite:///PATH or postgres://USER:PASSWORD@HOST:PORT/NAME")
    if scheme != "sqlite":
        settings["ENGINE"] = "django_zero_downtime_migrations.backends.postgres"  # Django's, with online migrations
        return settings | {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
    # One writer at a time: take the write lock at BEGIN, and wait for it, instead of failing half-way.
    options = {"transaction_mode": "IMMEDIATE", "timeout": 30}
    options["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
    return settings | {"OPTIONS": options}


def email():
    url = env.str("EMAIL_URL", default="") or ("consolemail://" if DEBUG else "smtp://localhost:25")
    with suppress(ImproperlyConfigured, ValueError):
        if "://" in url and url.partition("://")[0] in env.EMAIL_SCHEMES:
            return env.email_url_config(url)
    refuse("EMAIL_URL", "smtp+tls://USER:PASSWORD@HOST:PORT, or consolemail:// to print mail")


def base_url():
    value = env.str("BASE_URL", default="http://127.0.0.1:8000").rstrip("/")
    try:
        URLValidator(schemes=["http", "https"])(value)
    except ValidationError:
        refuse("BASE_URL", "the address of the site, such as https://orgs.example.com")
    return value


DEBUG = boolean("DEBUG", "false")
SECRET_KEY = env.str("SECRET_KEY", default="insecure, for development only" if DEBUG else "")
if not SECRET_KEY:
    refuse("SECRET_KEY", "a long random text (or DEBUG=true on a machine of your own)")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
BASE_URL = base_url()
CSRF_TRUSTED_ORIGINS = ["{0.scheme}://{0.netloc}".format(urlsplit(BASE_URL))]
DATABASES = {"default": database()}
vars().update(email())
EMAIL_TIMEOUT = 10  # seconds
# Migrations on PostgreSQL wait no longer for a lock, refuse what is never safe, and leave out what is done already.
ZERO_DOWNTIME_MIGRATIONS_LOCK_TIMEOUT = "80ms"
ZERO_DOWNTIME_MIGRATIONS_STATEMENT_TIMEOUT = "5s"  # longer than any of those takes
ZERO_DOWNTIME_MIGRATIONS_FLEXIBLE_STATEMENT_TIMEOUT = True  # none for those that hold nobody up
ZERO_DOWNTIME_MIGRATIONS_RAISE_FOR_UNSAFE = ZERO_DOWNTIME_MIGRATIONS_IDEMPOTENT_SQL = True
NOTIFY_PEOPLE = boolean("NOTIFY_PEOPLE", "false")
NOTIFY_ADMINS = boolean("NOTIFY_ADMINS", "false")
INVITATION_DAYS = 7
ACCESS_CONTACT = env.str("ACCESS_CONTACT", default="")  # whom to ask for access
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="orgadmin@localhost")
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
if TIME_ZONE not in available_timezones():
    refuse("TIME_ZONE", "a name such as UTC or Europe/Berlin")
if boolean("TRUST_PROXY", "false"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

INSTALLED_APPS = ["orgadmin.apps.OrgadminConfig", "orgadmin.apps.AdminConfig"]
INSTALLED_APPS += [f"django.contrib.{name}" for name in ("auth", "contenttypes", "sessions", "messages")]
INSTALLED_APPS += ["whitenoise.runserver_nostatic", "django.contrib.staticfiles", "guardian", "simple_history", "csp"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",  # with random bytes against BREACH
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
]
# Nothing from elsewhere, nothing inline, in nobody's frame.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        **dict.fromkeys(("default-src", "form-action"), ["'self'"]),
        **dict.fromkeys(("object-src", "base-uri", "frame-ancestors"), ["'none'"]),
        "img-src": ["'self'", "data:"],
    }
}
CSRF_COOKIE_HTTPONLY = True  # forms carry the token; no script reads it
if BASE_URL.startswith("https://"):
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
ROOT_URLCONF, WSGI_APPLICATION = "config.urls", "config.wsgi.application"
_context = [
    f"django.{name}" for name in ("template.context_processors.request", "contrib.auth.context_processors.auth")
]
_context += ["django.contrib.messages.context_processors.messages"]
_templates = {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [BASE_DIR / "templates"]}
TEMPLATES = [_templates | {"APP_DIRS": True, "OPTIONS": {"context_processors": _context}}]

AUTH_USER_MODEL = "orgadmin.User"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "guardian.backends.ObjectPermissionBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}Validator"}
    for name in ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")
]
LOGIN_URL, LOGIN_REDIRECT_URL = "admin:login", "admin:index"
ANONYMOUS_USER_NAME = None  # guardian: no user row stands for visitors
GUARDIAN_MONKEY_PATCH_USER = GUARDIAN_MONKEY_PATCH_GROUP = False
SIMPLE_HISTORY_DATE_INDEX = False  # looked up by organization

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGES = [("en", _("English")), ("de", _("German"))]
LOCALE_PATHS = [BASE_DIR / "orgadmin" / "locale"]
STATIC_URL, STATIC_ROOT = "static/", BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
_storage = "whitenoise.storage.CompressedManifestStaticFilesStorage"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage" if DEBUG else _storage},
}
