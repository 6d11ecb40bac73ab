"""Settings. Deployments differ by environment variables only (docs/operations.md); a wrong one ends the start."""

import sys
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import URLValidator
from django.utils.translation import gettext_lazy as _
from environ import Env

env = Env()
BASE_DIR = Path(__file__).resolve().parent.parent


def read(name, parse, expected, default=""):
    """Return what `parse` makes of a variable, or of the default; where it raises, end the start with a line."""
    try:
        return parse(env.str(name, default="").strip() or default)
    except (ValueError, KeyError, OSError, ImproperlyConfigured, ValidationError):
        sys.exit(f"{name} is missing or wrong: expected {expected}.")


def read_flag(name):
    return read(
        name,
        lambda text: {"true": True, "false": False}[text.lower()],
        "true or false",
        "false",
    )


def require(value):
    if not value:
        raise ValueError
    return value


def parse_address(text):
    URLValidator(schemes=["http", "https"])(text)
    return text.rstrip("/")


def parse_server(text):
    require(
        not text or DEBUG or text.startswith("https://") and "@" not in text
    )  # what it says is not signed
    return text and parse_address(text)


def get_origin(url):
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


def parse_database(url):
    scheme, _separator, rest = url.partition("://")
    require(rest and scheme in ("sqlite", "postgres", "postgresql"))
    settings = env.db_url_config(url)
    require(settings["NAME"])
    if scheme != "sqlite":
        settings["ENGINE"] = (
            "django_zero_downtime_migrations.backends.postgres"  # Django's, with online migrations
        )
        settings["CONN_HEALTH_CHECKS"] = True
        if DATABASE_POOL == 0:  # a connection per thread
            return settings | {"CONN_MAX_AGE": 60}
        pool = {
            "min_size": 1,
            "max_size": DATABASE_POOL,
            "timeout": 10,
        }  # seconds that a request waits for one
        return settings | {"OPTIONS": settings.get("OPTIONS", {}) | {"pool": pool}}
    # One writer at a time: take the write lock at BEGIN, and wait for it, instead of failing half-way.
    options = {"transaction_mode": "IMMEDIATE", "timeout": 30}
    options["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
    return settings | {"OPTIONS": options}


DEBUG = read_flag("DEBUG")
_default = "insecure, for development only" if DEBUG else ""
SECRET_KEY = read(
    "SECRET_KEY",
    require,
    "a long random text (or DEBUG=true on a machine of your own)",
    _default,
)
SECRET_KEY_FALLBACKS = env.list(
    "SECRET_KEY_FALLBACKS", default=[]
)  # of before: what they signed still counts
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
BASE_URL = read(
    "BASE_URL",
    parse_address,
    "an address such as https://orgs.example.com",
    "http://127.0.0.1:8000",
)
CSRF_TRUSTED_ORIGINS = [get_origin(BASE_URL)]
DATABASE_POOL = read(
    "DATABASE_POOL",
    lambda text: int(require(text.isdecimal() and text)),
    "a whole number",
    "0",
)
_expected = "sqlite:///PATH or postgres://USER:PASSWORD@HOST:PORT/NAME"
DATABASES = {
    "default": read(
        "DATABASE_URL",
        parse_database,
        _expected,
        f"sqlite:///{BASE_DIR / 'db.sqlite3'}",
    )
}
_expected = "smtp+tls://USER:PASSWORD@HOST:PORT, or consolemail:// to print mail"
_default = "consolemail://" if DEBUG else "smtp://localhost:25"
vars().update(
    read(
        "EMAIL_URL",
        lambda url: env.email_url_config(require("://" in url and url)),
        _expected,
        _default,
    )
)
EMAIL_TIMEOUT = 10  # seconds
# Migrations on PostgreSQL wait no longer for a lock, and leave out what is done; tests refuse what is never safe.
ZERO_DOWNTIME_MIGRATIONS_LOCK_TIMEOUT = "80ms"
ZERO_DOWNTIME_MIGRATIONS_STATEMENT_TIMEOUT = "5s"  # longer than any of those takes
ZERO_DOWNTIME_MIGRATIONS_FLEXIBLE_STATEMENT_TIMEOUT = (
    True  # none for those that hold nobody up
)
ZERO_DOWNTIME_MIGRATIONS_IDEMPOTENT_SQL, ZERO_DOWNTIME_MIGRATIONS_DEFERRED_SQL = (
    True,
    False,
)  # for RequireRelation
NOTIFY_PEOPLE, NOTIFY_ADMINS = read_flag("NOTIFY_PEOPLE"), read_flag("NOTIFY_ADMINS")
INVITATION_DAYS = 7
ACCESS_CONTACT = env.str("ACCESS_CONTACT", default="")  # whom to ask for access
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="orgadmin@localhost")
TIME_ZONE = read(
    "TIME_ZONE",
    lambda name: ZoneInfo(name).key,
    "a name such as UTC or Europe/Berlin",
    "UTC",
)
TRUST_PROXY = read_flag("TRUST_PROXY")
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUST_PROXY else None

# Signing in with a company's own server (OpenID Connect), and a second factor: both are off until these say so.
OIDC_SERVER = read(
    "OIDC_SERVER",
    parse_server,
    "an address such as https://login.example.com (https, no password)",
)
_given = require if OIDC_SERVER else str
OIDC_CLIENT_ID = read("OIDC_CLIENT_ID", _given, "what OIDC_SERVER calls this site")
OIDC_CLIENT_SECRET = read(
    "OIDC_CLIENT_SECRET", _given, "what OIDC_SERVER gave to this site"
)
OIDC_NAME = env.str("OIDC_NAME", default="OpenID Connect")
OIDC_TRUST_EMAIL = read_flag(
    "OIDC_TRUST_EMAIL"
)  # for a server that does not say which addresses are confirmed
_expected = "off, optional, or staff, who then must have one"
SECOND_FACTOR = read(
    "SECOND_FACTOR",
    {way: way for way in ("off", "optional", "staff")}.__getitem__,
    _expected,
    "off",
)

INSTALLED_APPS = ["orgadmin.apps.OrgadminConfig", "orgadmin.apps.AdminConfig"]
INSTALLED_APPS += [
    f"django.contrib.{name}"
    for name in ("auth", "contenttypes", "sessions", "messages")
]
INSTALLED_APPS += [
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "guardian",
    "simple_history",
    "csp",
]
INSTALLED_APPS += [
    f"allauth{name}" for name in ("", ".account", ".mfa", ".socialaccount")
]
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
    "orgadmin.accounts.middleware.SecondFactorMiddleware",
]
# Nothing from elsewhere, nothing inline, in nobody's frame.
_policy = {"default-src": ["'self'"], "img-src": ["'self'", "data:"]}
_policy |= dict.fromkeys(("object-src", "base-uri", "frame-ancestors"), ["'none'"])
_policy["form-action"] = [
    "'self'",
    *filter(None, [OIDC_SERVER and get_origin(OIDC_SERVER)]),
]
CONTENT_SECURITY_POLICY = {"DIRECTIVES": _policy}
PERMISSIONS_POLICY = dict.fromkeys(
    ("camera", "display-capture", "geolocation", "microphone", "payment", "usb"), []
)
CSRF_COOKIE_HTTPONLY = True  # forms carry the token; no script reads it
if BASE_URL.startswith("https://"):
    SECURE_SSL_REDIRECT = (
        TRUST_PROXY  # who is not told how people come would redirect them for ever
    )
    SECURE_REDIRECT_EXEMPT = ["^healthz$", "^livez$"]
    SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60
    # HSTS is for this host: what the others of the domain do, and a list in browsers, are not this site's to say.
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
ROOT_URLCONF, WSGI_APPLICATION = "config.urls", "config.wsgi.application"
_context = [
    f"django.contrib.{name}.context_processors.{name}" for name in ("auth", "messages")
]
_context += ["django.template.context_processors.request"]
_templates = {
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "DIRS": [BASE_DIR / "templates"],
}
TEMPLATES = [
    _templates | {"APP_DIRS": True, "OPTIONS": {"context_processors": _context}}
]

AUTH_USER_MODEL = "orgadmin.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "guardian.backends.ObjectPermissionBackend",
]
_names = (
    "UserAttributeSimilarity",
    "MinimumLength",
    "CommonPassword",
    "NumericPassword",
)
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}Validator"}
    for name in _names
]
LOGIN_URL, LOGIN_REDIRECT_URL = "admin:login", "admin:index"
ACCOUNT_ADAPTER = "orgadmin.accounts.adapters.AccountAdapter"
SOCIALACCOUNT_ADAPTER, MFA_ADAPTER = (
    "orgadmin.accounts.adapters.SocialAccountAdapter",
    "orgadmin.accounts.adapters.MFAAdapter",
)
MFA_FORMS = {
    "authenticate": "orgadmin.accounts.forms.CodeForm",
    "activate_totp": "orgadmin.accounts.forms.SetUpForm",
}
ACCOUNT_RATE_LIMITS = (
    False  # kept in a process each; orgadmin.accounts.throttle counts for all of them
)
ACCOUNT_EMAIL_VERIFICATION = "none"
MFA_TOTP_TOLERANCE = 1  # clocks that are half a minute off
_oidc = {
    "provider_id": "company",
    "name": OIDC_NAME,
    "client_id": OIDC_CLIENT_ID,
    "secret": OIDC_CLIENT_SECRET,
}
_oidc |= {"settings": {"server_url": OIDC_SERVER}}
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {"APPS": [_oidc], "OAUTH_PKCE_ENABLED": True}
}
ANONYMOUS_USER_NAME = None  # guardian: no user row stands for visitors
GUARDIAN_MONKEY_PATCH_USER = GUARDIAN_MONKEY_PATCH_GROUP = False
SIMPLE_HISTORY_DATE_INDEX = False  # looked up by organization

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGES = [("en", _("English")), ("de", _("German"))]
LOCALE_PATHS = [BASE_DIR / "orgadmin" / "locale"]
STATIC_URL, STATIC_ROOT = "static/", BASE_DIR / "staticfiles"
STATICFILES_DIRS, WHITENOISE_ALLOW_ALL_ORIGINS = [BASE_DIR / "static"], False
_storage = (
    "whitenoise.storage.CompressedManifest"
    if not DEBUG
    else "django.contrib.staticfiles.storage."
)
STORAGES = {
    "staticfiles": {"BACKEND": f"{_storage}StaticFilesStorage"}
}  # nothing is uploaded to stay
if (
    not DEBUG
):  # lines of JSON, on standard output but where a command prints there what it finds
    _stream = (
        "ext://sys.stderr"
        if Path(sys.argv[0]).name == "manage.py"
        else "ext://sys.stdout"
    )
    _format = {
        "fmt": ["levelname", "name", "message"],
        "rename_fields": {"levelname": "level"},
        "timestamp": True,
    }
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "root": {"handlers": ["all"], "level": "INFO"},
    }
    LOGGING["loggers"] = {"django": {"handlers": []}, "django.server": {"handlers": []}}
    LOGGING["handlers"] = {
        "all": {
            "class": "logging.StreamHandler",
            "stream": _stream,
            "formatter": "json",
        }
    }
    LOGGING["formatters"] = {
        "json": {
            "()": "orgadmin.logs.LogFormatter",
            "json_ensure_ascii": False,
            **_format,
        }
    }
