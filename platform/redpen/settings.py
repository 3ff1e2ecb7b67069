"""Django's settings. What differs between machines comes from redpen.env; everything else is here."""

import dj_database_url

from redpen import env as environment
from redpen.services import addresses

env = environment.read()
BASE_DIR = environment.REPOSITORY

# The data folder, and what lies in it
DATA_DIR = env.DATA_DIR
STATIC_ROOT = DATA_DIR / "static"
MEDIA_ROOT = DATA_DIR / "uploads"

# What the code of the apps reads
BASE_MODEL = env.BASE_MODEL
TRAIN_THREADS = env.TRAIN_THREADS
CHECKPOINT_SECONDS = env.CHECKPOINT_SECONDS
ACCELERATE_CONFIG = env.ACCELERATE_CONFIG
LEASE_SECONDS = env.LEASE_SECONDS
BEAT_SECONDS = env.BEAT_SECONDS
WEB_THREADS = env.WEB_THREADS
REDACTOR = env.REDACTOR
MODEL_SERVER_PORT = env.MODEL_SERVER_PORT or env.PORT + 1
MODEL_SERVER_URL = env.MODEL_SERVER_URL or f"http://127.0.0.1:{MODEL_SERVER_PORT}"
INTAKE_BODY_MB = env.INTAKE_BODY_MB
INTAKE_ITEM_KB = env.INTAKE_ITEM_KB
INTAKE_BATCH_ITEMS = env.INTAKE_BATCH_ITEMS
INTAKE_NDJSON_LINES = env.INTAKE_NDJSON_LINES
INTAKE_BODY_SECONDS = env.INTAKE_BODY_SECONDS
INTAKE_WAITING_MB = env.INTAKE_WAITING_MB
INTAKE_WRITERS = env.INTAKE_WRITERS
WEBHOOK_ALLOW = [entry.lower() for entry in env.WEBHOOK_ALLOW]

DEBUG = env.DEBUG
SECRET_KEY = env.SECRET_KEY or environment.secret_key(DATA_DIR)
# The loopback names always: health checks and the supervisor ask under them.
ALLOWED_HOSTS = sorted({*env.ALLOWED_HOSTS, "localhost", "127.0.0.1", "[::1]"})

INSTALLED_APPS = [
    "redpen.accounts",
    "redpen.services",
    "redpen.ops.apps.OpsConfig",
    "annotation",
    "training",
    "frontend",
    "redpen.accounts.apps.SupportConfig",  # django.contrib.admin, under our rules
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "redpen.ops.apps.StaticFiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "django_htmx",
]
MIDDLEWARE = [
    "redpen.ops.middleware.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "redpen.accounts.middleware.ErrorsMiddleware",
]
ROOT_URLCONF = "redpen.urls"
WSGI_APPLICATION = "redpen.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Postgres: psycopg's pool holds the connections, so Django must keep none of its own (CONN_MAX_AGE 0). A pooled
# connection is checked before it is used: after a restart of Postgres the first request must not fail.
DATABASES = {
    "default": dj_database_url.parse(
        env.DATABASE_URL or addresses.embedded_database_url(DATA_DIR), conn_max_age=0, conn_health_checks=True
    )
}
DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {
    "min_size": 1,
    "max_size": env.DATABASE_POOL,
    "timeout": 5,
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Postgres must not be set to lose what it acknowledged; the tests' server is, because they are quicker so
REQUIRE_DURABLE = True

# Redis carries Celery's bells, nothing else
REDIS_URL = env.REDIS_URL or addresses.embedded_redis_url(DATA_DIR)
CELERY_BROKER_URL = addresses.celery_broker_url(REDIS_URL)

# People
AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "/sign-in/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/sign-in/"
PASSWORD_RESET_TIMEOUT = 24 * 3600
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# Mail: only password resets. Without a server an admin or `manage.py reset_link` makes the link.
vars().update(addresses.mail_settings(env.EMAIL_URL))
DEFAULT_FROM_EMAIL = env.EMAIL_FROM

# Language and time
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True

# Static files carry a hash of their content in their names; ES modules import each other by plain relative names, and
# the storage writes the hashed ones into them.
STATIC_URL = "/static/"
STATICFILES_DIRS = [("client", BASE_DIR / "clients" / "web")]  # what product teams load from here
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "redpen.ops.staticfiles.HashedStaticFiles"
    },
}
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG

# Security. No inline script or style anywhere, so the policy needs no exception.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CONTENT_TYPE_NOSNIFF = True
SESSION_COOKIE_NAME = "redpen_session"
SESSION_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "redpen.accounts.middleware.csrf_failure"
if env.HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_HSTS_SECONDS = 31536000
    CSRF_TRUSTED_ORIGINS = [f"https://{host.lstrip('.')}" for host in ALLOWED_HOSTS if host != "*"]

# The API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["redpen.accounts.parsing.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "redpen.accounts.problems.exception_handler",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Redpen",
    "DESCRIPTION": "Answers go in, what people say about them comes back, and models learn from it.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "annotation.api.schema.complete",  # the hot path, errors, tags
    ],
}

# Logs: one JSON object a line, on stderr; ids, never people's text
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "redpen.ops.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": env.LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": "INFO", "propagate": True},
        # two lines for each sweep, every five seconds
        "celery.beat": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        # at DEBUG they would log what strangers' servers answer
        "httpcore": {"level": "WARNING"},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        # Django's own line for a 4xx or 5xx carries the whole URL; redpen.ops.middleware writes ours instead
        "django.request": {"handlers": [], "level": "ERROR", "propagate": True},
    },
}
