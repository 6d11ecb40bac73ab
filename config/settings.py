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

from orgadmin.logs import describe_logging

env = Env()
BASE_DIR = Path(__file__).resolve().parent.parent


def refuse(name, expected):
    """End the start: `name` is missing or wrong, `expected` says what it should be."""
    sys.exit(f"{name} is missing or wrong: expected {expected}.")


def boolean(name, default):
    value = env.str(name, default=default).strip().lower()
    return value == "true" if value in ("true", "false") else refuse(name, "true or false")


def number(name, default):
    value = env.str(name, default=default).strip()
    return int(value) if value.isascii() and value.isdigit() else refuse(name, "a whole number")


def address(name, default=""):
    """Return an address without a slash at its end, or "" where it is left out."""
    value = env.str(name, default=default).rstrip("/")
    try:
        return value and (URLValidator(schemes=["http", "https"])(value) or value)
    except ValidationError:
        refuse(name, "an address such as https://orgs.example.com")


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
        settings["CONN_HEALTH_CHECKS"] = True
        if not (size := number("DATABASE_POOL", "0")):
            return settings | {"CONN_MAX_AGE": 60}
        pool = {"min_size": 1, "max_size": size, "timeout": 10}  # seconds that a request waits for a connection
        return settings | {"OPTIONS": settings.get("OPTIONS", {}) | {"pool": pool}}
    # One writer at a time: take the write lock at BEGIN, and wait for it, instead of failing half-way.
    options = {"transaction_mode": "IMMEDIATE", "timeout": 30}
    options["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
    return settings | {"OPTIONS": options}


def origin(url):
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


def email():
    url = env.str("EMAIL_URL", default="") or ("consolemail://" if DEBUG else "smtp://localhost:25")
    with suppress(ImproperlyConfigured, ValueError):
        if "://" in url and url.partition("://")[0] in env.EMAIL_SCHEMES:
            return env.email_url_config(url)
    refuse("EMAIL_URL", "smtp+tls://USER:PASSWORD@HOST:PORT, or consolemail:// to print mail")


DEBUG = boolean("DEBUG", "false")
SECRET_KEY = env.str("SECRET_KEY", default="insecure, for development only" if DEBUG else "")
if not SECRET_KEY:
    refuse("SECRET_KEY", "a long random text (or DEBUG=true on a machine of your own)")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])  # of before: what they signed still counts
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
BASE_URL = address("BASE_URL", "http://127.0.0.1:8000") or refuse("BASE_URL", "the address of the site")
CSRF_TRUSTED_ORIGINS = [origin(BASE_URL)]
DATABASES = {"default": database()}
vars().update(email())
EMAIL_TIMEOUT = 10  # seconds
# Migrations on PostgreSQL wait no longer for a lock, and leave out what is done; tests refuse what is never safe.
ZERO_DOWNTIME_MIGRATIONS_LOCK_TIMEOUT = "80ms"
ZERO_DOWNTIME_MIGRATIONS_STATEMENT_TIMEOUT = "5s"  # longer than any of those takes
ZERO_DOWNTIME_MIGRATIONS_FLEXIBLE_STATEMENT_TIMEOUT = True  # none for those that hold nobody up
ZERO_DOWNTIME_MIGRATIONS_IDEMPOTENT_SQL = True
NOTIFY_PEOPLE = boolean("NOTIFY_PEOPLE", "false")
NOTIFY_ADMINS = boolean("NOTIFY_ADMINS", "false")
INVITATION_DAYS = 7
ACCESS_CONTACT = env.str("ACCESS_CONTACT", default="")  # whom to ask for access
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="orgadmin@localhost")
TIME_ZONE = env.str("TIME_ZONE", default="UTC")
if TIME_ZONE not in available_timezones():
    refuse("TIME_ZONE", "a name such as UTC or Europe/Berlin")
TRUST_PROXY = boolean("TRUST_PROXY", "false")
if TRUST_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Signing in with a company's own server (OpenID Connect), and a second factor: both are off until these say so.
OIDC_SERVER, OIDC_CLIENT_ID = address("OIDC_SERVER"), env.str("OIDC_CLIENT_ID", default="")
OIDC_CLIENT_SECRET, OIDC_NAME = (
    env.str("OIDC_CLIENT_SECRET", default=""),
    env.str("OIDC_NAME", default="OpenID Connect"),
)
for _name in ("OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"):
    if OIDC_SERVER and not vars()[_name]:
        refuse(_name, "what OIDC_SERVER gave to this site")
OIDC_TRUST_EMAIL = boolean("OIDC_TRUST_EMAIL", "false")  # for a server that does not say which addresses are confirmed
SECOND_FACTOR = env.str("SECOND_FACTOR", default="off")
if SECOND_FACTOR not in ("off", "optional", "staff"):
    refuse("SECOND_FACTOR", "off, optional, or staff, who then must have one")
SLOW_QUERY_MS = number("SLOW_QUERY_MS", "500")

INSTALLED_APPS = ["orgadmin.apps.OrgadminConfig", "orgadmin.apps.AdminConfig"]
INSTALLED_APPS += [f"django.contrib.{name}" for name in ("auth", "contenttypes", "sessions", "messages")]
INSTALLED_APPS += ["whitenoise.runserver_nostatic", "django.contrib.staticfiles", "guardian", "simple_history", "csp"]
INSTALLED_APPS += [f"allauth{name}" for name in ("", ".account", ".mfa", ".socialaccount")]
INSTALLED_APPS += ["allauth.socialaccount.providers.openid_connect"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "orgadmin.logs.RequestLogMiddleware",
    "django.middleware.gzip.GZipMiddleware",  # with random bytes against BREACH
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
# Nothing from elsewhere, nothing inline, in nobody's frame.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "form-action": ["'self'", *([origin(OIDC_SERVER)] if OIDC_SERVER else [])],
        **dict.fromkeys(("object-src", "base-uri", "frame-ancestors"), ["'none'"]),
        "img-src": ["'self'", "data:"],
    }
}
PERMISSIONS_POLICY = dict.fromkeys(("camera", "display-capture", "geolocation", "microphone", "payment", "usb"), [])
CSRF_COOKIE_HTTPONLY = True  # forms carry the token; no script reads it
if BASE_URL.startswith("https://"):
    SECURE_SSL_REDIRECT = TRUST_PROXY  # who is not told how people come would redirect them for ever
    SECURE_REDIRECT_EXEMPT = ["^healthz$", "^livez$"]
    SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60
    # HSTS is for this host: what the others of the domain do, and a list in browsers, are not this site's to say.
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
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
ACCOUNT_ADAPTER = "orgadmin.signin.AccountAdapter"
SOCIALACCOUNT_ADAPTER, MFA_ADAPTER = "orgadmin.signin.SocialAccountAdapter", "orgadmin.signin.MFAAdapter"
MFA_FORMS = {"authenticate": "orgadmin.signin.CodeForm"}
ACCOUNT_RATE_LIMITS = False  # kept in a process each; orgadmin.throttle counts for all of them
ACCOUNT_EMAIL_VERIFICATION = "none"
MFA_TOTP_TOLERANCE = 1  # clocks that are half a minute off
_oidc = {"provider_id": "oidc", "name": OIDC_NAME, "client_id": OIDC_CLIENT_ID, "secret": OIDC_CLIENT_SECRET}
_oidc |= {"settings": {"server_url": OIDC_SERVER}}
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {"APPS": [_oidc], "OAUTH_PKCE_ENABLED": True, "VERIFIED_EMAIL": OIDC_TRUST_EMAIL}
}
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
if not DEBUG:
    _stream = "stderr" if Path(sys.argv[0]).name == "manage.py" else "stdout"  # there, a command prints what it finds
    LOGGING = describe_logging(_stream)
