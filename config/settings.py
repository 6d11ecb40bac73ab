"""Django settings of orgadmin.

Deployments differ only in their environment variables, which docs/operations.md lists.
The functions in `env.py` and `providers.py` read and check the variables.

For all settings and their values, see
https://docs.djangoproject.com/en/5.2/ref/settings/
"""

import sys
from pathlib import Path

from config import env, providers

BASE_DIR = Path(__file__).resolve().parent.parent

# Whether this process was started with manage.py, as commands and the worker are.
IS_COMMAND = Path(sys.argv[0]).name == "manage.py"


# Debugging and secrets

DEBUG = env.read_flag("DEBUG")

SECRET_KEY = env.read_required(
    "SECRET_KEY",
    expected="a long random text (or DEBUG=true on your own machine)",
    default="insecure, for development only" if DEBUG else "",
)

# Earlier secret keys. Sessions and links that were signed with these remain valid, and
# second factors that were encrypted with these still work.
SECRET_KEY_FALLBACKS = env.read_list("SECRET_KEY_FALLBACKS", default=[])


# The address of the site

ALLOWED_HOSTS = env.read_list(
    "ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"]
)

BASE_URL = env.read_url("BASE_URL", default="http://127.0.0.1:8000")

CSRF_TRUSTED_ORIGINS = [env.get_origin(BASE_URL)]

# Whether a trusted proxy sets X-Forwarded-Proto and X-Forwarded-For.
TRUST_PROXY = env.read_flag("TRUST_PROXY")

SECURE_PROXY_SSL_HEADER = None
if TRUST_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")


# Applications

INSTALLED_APPS = [
    "orgadmin.apps.OrgadminConfig",
    "orgadmin.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "guardian",
    "simple_history",
    "csp",
    "django_tasks",
    "django_tasks_db",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
]

MIDDLEWARE = [
    # Middleware that adds headers comes first, so that error responses have the headers
    # as well.
    "django.middleware.security.SecurityMiddleware",
    "orgadmin.headers.ResourcePolicyMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "orgadmin.logs.RequestLogMiddleware",
    "orgadmin.metrics.MetricsMiddleware",
    # Adds random bytes to compressed pages as a protection against the BREACH attack.
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "orgadmin.health.HostMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "orgadmin.accounts.preferences.PreferencesMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "orgadmin.accounts.middleware.SessionLimitsMiddleware",
    "orgadmin.accounts.middleware.SecondFactorMiddleware",
    "orgadmin.accounts.middleware.StepUpMiddleware",
    "orgadmin.accounts.middleware.SetUpLinkMiddleware",
    # ViewAsMiddleware changes `request.user`. The middleware above must still deal with
    # the person who is signed in.
    "orgadmin.accounts.view_as_middleware.ViewAsMiddleware",
    # ReplicaMiddleware comes last, so that all other middleware reads from the primary.
    "orgadmin.access.replica_pages.ReplicaMiddleware",
]

ROOT_URLCONF = "config.urls"

WSGI_APPLICATION = "config.wsgi.application"


# Templates

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.request",
                "orgadmin.accounts.sessions.session_end.add_seconds_left",
            ],
        },
    },
]


# Database

# The number of connections to PostgreSQL that the threads of a process share. If it is
# 0, each thread has its own connection.
DATABASE_POOL = env.read_number("DATABASE_POOL", default=0)

# If DATABASE_URL leads to a connection pooler, commands use DIRECT_DATABASE_URL, which
# bypasses it. Some commands need the same connection for more than one transaction.
DATABASE_VARIABLE = "DATABASE_URL"
if IS_COMMAND and env.read_text("DIRECT_DATABASE_URL", default=""):
    DATABASE_VARIABLE = "DIRECT_DATABASE_URL"

DATABASES = {
    "default": env.read_database(
        DATABASE_VARIABLE,
        pool_size=DATABASE_POOL,
        default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}",
    ),
}

# An optional standby, from which most lists, search, history and exports are read.
replica = env.read_replica("DATABASE_REPLICA_URL", primary=DATABASES["default"])

DATABASE_ROUTERS = []
if replica is not None:
    DATABASES["replica"] = replica
    DATABASE_ROUTERS = ["orgadmin.access.replica.ReplicaRouter"]

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Makes `dumpdata` write exact times. Django's JSON truncates times to milliseconds.
SERIALIZATION_MODULES = {"json": "orgadmin.records.fixtures"}


# Migrations on PostgreSQL (django-zero-downtime-migrations)

# A statement that has to wait longer for a lock is canceled and tried again, so that
# other transactions do not have to wait behind it.
ZERO_DOWNTIME_MIGRATIONS_LOCK_TIMEOUT = "80ms"

# A statement that blocks other transactions is canceled if it runs longer.
ZERO_DOWNTIME_MIGRATIONS_STATEMENT_TIMEOUT = "5s"

# Statements that do not block others, such as building an index, have no timeout.
ZERO_DOWNTIME_MIGRATIONS_FLEXIBLE_STATEMENT_TIMEOUT = True

# A migration that was interrupted can be run again. It skips what already exists.
ZERO_DOWNTIME_MIGRATIONS_IDEMPOTENT_SQL = True

# Run each statement immediately instead of at the end of the migration, so that
# `RequireRelation` in orgadmin/operations/required_relation.py can handle its errors.
ZERO_DOWNTIME_MIGRATIONS_DEFERRED_SQL = False


# Backups

# The path of the file that says when backups, and restores that verify them, last
# succeeded and failed. Optional.
BACKUP_STATUS = env.read_text("BACKUP_STATUS", default="")


# Monitoring

# Programs that send this token can read /metrics. Without this setting, there are no
# metrics.
METRICS_TOKEN = env.read_text("METRICS_TOKEN", default="")

# The addresses that get an email when the backup, or another job of a systemd timer,
# fails.
FAILURE_EMAIL = env.read_list("FAILURE_EMAIL", default=[])


# Background tasks (django-tasks)

# Tasks, such as emails, wait in the database until "manage.py worker" runs them. With
# DEBUG, they run after the commit of the transaction that adds them, so that developers
# do not need a worker.
TASKS = {
    "default": {
        "BACKEND": "django_tasks_db.DatabaseBackend",
    },
}
if DEBUG:
    TASKS["default"]["BACKEND"] = "orgadmin.people.at_once.AtOnceBackend"


# Mail

email_server = env.read_email_server(
    "EMAIL_URL",
    default="consolemail://" if DEBUG else "smtp://localhost:25",
)

EMAIL_BACKEND = email_server.backend

EMAIL_HOST = email_server.host

EMAIL_PORT = email_server.port

EMAIL_HOST_USER = email_server.host_user

EMAIL_HOST_PASSWORD = email_server.host_password

EMAIL_USE_TLS = email_server.use_tls

EMAIL_USE_SSL = email_server.use_ssl

EMAIL_FILE_PATH = email_server.file_path

EMAIL_TIMEOUT = 10  # seconds

DEFAULT_FROM_EMAIL = env.read_text("DEFAULT_FROM_EMAIL", default="orgadmin@localhost")

# Whether people get an email when their own role changes or soon ends, and when someone
# accepts an invitation that they sent. Each person can turn off these emails.
NOTIFY_PEOPLE = env.read_flag("NOTIFY_PEOPLE", default=True)

# Whether admins get an email when the members of their organization change. Each admin
# can turn off these emails.
NOTIFY_ADMINS = env.read_flag("NOTIFY_ADMINS")


# Links in emails

# The number of days after which the link in an invitation expires. If the membership
# would end earlier, so does the link.
INVITATION_DAYS = 7

# The number of seconds after which a link to set a password expires. This must be at
# least one day, because emails state it in days.
PASSWORD_RESET_TIMEOUT = 3 * 24 * 60 * 60


# Records

# The number of days after which the worker permanently deletes organizations in the
# trash.
TRASH_DAYS = env.read_positive_number("TRASH_DAYS", default=30)

# Whether everyone who can view an organization, including its reviewers, can see the
# names of its admins.
REVIEWERS_SEE_ADMINS = env.read_flag("REVIEWERS_SEE_ADMINS")

# The country, such as "DE", of phone numbers that do not begin with "+" or "00".
# Without this setting, such numbers are stored as they were entered.
PHONE_REGION = env.read_phone_region("PHONE_REGION")


# Users and permissions

AUTH_USER_MODEL = "orgadmin.User"

AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    # A subclass of django-guardian's backend that applies the access rule.
    "orgadmin.gate.backend.RuleBackend",
]

# The check requires django-guardian's own backend instead of a subclass.
SILENCED_SYSTEM_CHECKS = ["guardian.W001"]

# Prevents django-guardian from creating a user that represents visitors.
ANONYMOUS_USER_NAME = None

GUARDIAN_MONKEY_PATCH_USER = False

GUARDIAN_MONKEY_PATCH_GROUP = False


# Passwords

# Django's default algorithm, but in each process, only one thread at a time computes a
# hash.
PASSWORD_HASHERS = ["orgadmin.accounts.hashing.BoundedPasswordHasher"]


# Password validation

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "orgadmin.accounts.passwords.MaximumLengthValidator"},
    {"NAME": "orgadmin.accounts.password_rules.LengthValidator"},
    {"NAME": "orgadmin.accounts.password_rules.BreachedPasswordValidator"},
    {"NAME": "orgadmin.accounts.password_rules.KnownWordsValidator"},
]

# A service with the API of Pwned Passwords, which checks if a new password is known
# from data breaches. The service gets the first five characters of the password's hash.
PWNED_PASSWORDS_URL = env.read_optional_url("PWNED_PASSWORDS_URL")


# Sign-in (django-allauth)

LOGIN_URL = "admin:login"

LOGIN_REDIRECT_URL = "admin:index"

# The sign-in page shows this contact to people who need access.
ACCESS_CONTACT = env.read_text("ACCESS_CONTACT", default="")

ACCOUNT_ADAPTER = "orgadmin.accounts.adapters.AccountAdapter"

ACCOUNT_EMAIL_VERIFICATION = "none"

# django-allauth counts attempts separately in each process. orgadmin.accounts.throttle
# replaces this. It counts attempts in the database, for all processes together.
ACCOUNT_RATE_LIMITS = False


# Sessions

# Django's sessions in the database, which also record the user of each session.
SESSION_ENGINE = "orgadmin.accounts.sessions.session_store"

# The number of seconds after which the session of a visitor ends. The session of a
# person who is signed in has the limits below instead.
SESSION_COOKIE_AGE = 60 * 60

# People are signed out after SESSION_IDLE_MINUTES without a request, and SESSION_HOURS
# after they signed in or last confirmed who they are. The defaults allow a long break
# and a working day. Most people visit the site about once a month, so longer sessions
# would not help them.
SESSION_IDLE_MINUTES = env.read_positive_number("SESSION_IDLE_MINUTES", default=60)

SESSION_HOURS = env.read_positive_number("SESSION_HOURS", default=12)

# The same limits for superusers and staff.
STAFF_SESSION_IDLE_MINUTES = env.read_positive_number(
    "STAFF_SESSION_IDLE_MINUTES", default=30
)

STAFF_SESSION_HOURS = env.read_positive_number("STAFF_SESSION_HOURS", default=8)


# Sign-in with OpenID providers

# The providers. If there are none, this way to sign in is off.
OIDC_PROVIDERS = providers.read_providers(allow_http=DEBUG)

# Whether people who sign in with a provider, and have no password, can set one for this
# site. By default, they cannot, so that only the provider controls who can sign in.
ALLOW_FIRST_PASSWORD = env.read_flag("ALLOW_FIRST_PASSWORD")


# Second factor

# "off", "optional", or "staff". With "staff", superusers and staff must have a second
# factor.
SECOND_FACTOR = env.read_choice(
    "SECOND_FACTOR",
    choices=["off", "optional", "staff"],
    expected="off, optional, or staff (who then must have one)",
    default="off",
)

MFA_ADAPTER = "orgadmin.accounts.adapters.MFAAdapter"

# orgadmin.accounts.throttle replaces this.
MFA_RATE_LIMITS = False

MFA_SUPPORTED_TYPES = ["recovery_codes", "totp", "webauthn"]

MFA_FORMS = {
    "authenticate": "orgadmin.accounts.second_factor.forms.SecondFactorForm",
    "authenticate_webauthn": (
        "orgadmin.accounts.second_factor.passkey_forms.SecondStepPasskeyForm"
    ),
    "activate_totp": "orgadmin.accounts.second_factor.forms.SetUpSecondFactorForm",
}

# Also accept the previous and the next code, because clocks can be wrong by half a
# minute.
MFA_TOTP_TOLERANCE = 1


# History (django-simple-history)

# Versions are looked up by organization or by ID, so an index by date is not necessary.
SIMPLE_HISTORY_DATE_INDEX = False


# Internationalization

# Each name is in the language itself.
LANGUAGES = [
    ("en", "English"),
    ("de", "Deutsch"),
    ("fr", "Français"),
]

# The cookie contains the language that someone has chosen in this browser. For people
# who are signed in, the language in their account is used instead.
LANGUAGE_COOKIE_AGE = 365 * 24 * 60 * 60  # seconds

LANGUAGE_COOKIE_HTTPONLY = True

LANGUAGE_COOKIE_SAMESITE = "Lax"

LOCALE_PATHS = [BASE_DIR / "orgadmin" / "locale"]

TIME_ZONE = env.read_time_zone("TIME_ZONE", default="UTC")


# Static files

STATIC_URL = "static/"

STATIC_ROOT = BASE_DIR / "staticfiles"

STATICFILES_DIRS = [BASE_DIR / "static"]

WHITENOISE_ALLOW_ALL_ORIGINS = False

# There is no storage for uploads: imports store their files in the database.
STORAGES = {
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage",
    },
}
if DEBUG:
    STORAGES["staticfiles"]["BACKEND"] = (
        "django.contrib.staticfiles.storage.StaticFilesStorage"
    )


# Security headers and cookies

# Pages cannot load anything from other sites, run inline scripts, use inline styles, or
# be shown in frames. Images can be in "data:" URLs.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
    },
}

PERMISSIONS_POLICY = {
    "camera": [],
    "display-capture": [],
    "geolocation": [],
    "microphone": [],
    "payment": [],
    "publickey-credentials-create": ["self"],
    "publickey-credentials-get": ["self"],
    "usb": [],
}

# Messages contain names of people and organizations, so they are stored in the session
# instead of a cookie.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# Forms contain the CSRF token, so scripts do not have to read the cookie.
CSRF_COOKIE_HTTPONLY = True

# Shows a form of this site again if its CSRF token belongs to another session, for
# example because the session of its page has ended.
CSRF_FAILURE_VIEW = "orgadmin.accounts.sessions.expired_session_forms.csrf_failure"

if BASE_URL.startswith("https://"):
    # Only redirect behind a proxy that reports the scheme. Without it, all requests
    # seem to use HTTP, and Django would redirect forever.
    SECURE_SSL_REDIRECT = TRUST_PROXY

    SECURE_REDIRECT_EXEMPT = ["^healthz$", "^livez$"]

    SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60

    # Whether browsers also use HTTPS for all subdomains. The owner of the domain
    # decides, because browsers store this for SECURE_HSTS_SECONDS.
    SECURE_HSTS_INCLUDE_SUBDOMAINS = env.read_flag("HSTS_SUBDOMAINS")

    # These checks require HSTS for all subdomains, and preloading in browsers. The
    # owner of the domain decides about both.
    SILENCED_SYSTEM_CHECKS += ["security.W005", "security.W021"]

    SESSION_COOKIE_NAME = "__Host-sessionid"

    SESSION_COOKIE_SECURE = True

    CSRF_COOKIE_NAME = "__Host-csrftoken"

    CSRF_COOKIE_SECURE = True

    LANGUAGE_COOKIE_NAME = "__Host-language"

    LANGUAGE_COOKIE_SECURE = True


# Logging

# With DEBUG, Django's default applies, but without the lines about static files that
# were served successfully. Otherwise, each line is JSON.

# Commands print their results to standard output, so they log to standard error.
LOG_STREAM = "ext://sys.stdout"
if IS_COMMAND:
    LOG_STREAM = "ext://sys.stderr"

if DEBUG:
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "loggers": {
            "django.server": {
                "handlers": ["server"],
                "level": "INFO",
                "propagate": False,
            },
        },
        "handlers": {
            "server": {
                "class": "logging.StreamHandler",
                "formatter": "server",
                "filters": ["without_static_files"],
            },
        },
        "filters": {
            "without_static_files": {"()": "orgadmin.logs.WithoutStaticFiles"},
        },
        "formatters": {
            "server": {
                "()": "django.utils.log.ServerFormatter",
                "format": "[{server_time}] {message}",
                "style": "{",
            },
        },
    }
else:
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "root": {
            "handlers": ["all"],
            "level": "INFO",
        },
        "loggers": {
            # The root logger handles these.
            "django": {"handlers": []},
            "django.server": {"handlers": []},
            # Below WARNING, fido2 logs the ID of each passkey, which identifies a
            # person.
            "fido2": {"level": "WARNING"},
            # Below ERROR, this logger reports each use of a connection, and each failed
            # attempt to open one.
            "psycopg.pool": {"level": "ERROR"},
        },
        "handlers": {
            "all": {
                "class": "logging.StreamHandler",
                "stream": LOG_STREAM,
                "formatter": "json",
            },
        },
        "formatters": {
            "json": {
                "()": "orgadmin.logs.LogFormatter",
                "json_ensure_ascii": False,
                "fmt": ["levelname", "name", "message"],
                "rename_fields": {"levelname": "level"},
                "timestamp": True,
            },
        },
    }
