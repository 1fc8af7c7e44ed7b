"""Settings of the demo: embedded by default; `DATABASE_URL` and `REDIS_URL` select production."""

import os
from pathlib import Path
from typing import Any

import dj_database_url


def variable(name: str, default: str = "") -> str:
    """A variable of the environment, or what stands in the file that `<name>_FILE` names, as secrets are mounted."""
    path = os.environ.get(f"{name}_FILE")
    return Path(path).read_text().strip() if path else os.environ.get(name, default)


BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("SHOPRECO_VAR", BASE_DIR / "var"))
DATABASE_URL = variable("DATABASE_URL")
REDIS_URL = variable("REDIS_URL")
BROKER_URL = variable("BROKER_URL", REDIS_URL)

DEBUG = os.environ.get("DJANGO_DEBUG", "1") == "1"
SECRET_KEY = variable("DJANGO_SECRET_KEY", "demo-only-never-use-it-in-a-real-shop" if DEBUG else "")
# 127.0.0.1 is always allowed: a container's health check asks there, whatever the shop's names are.
ALLOWED_HOSTS = [*os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost,[::1]").split(","), "127.0.0.1"]
DEMO_SIGN_IN = os.environ.get("SHOPRECO_DEMO_SIGN_IN", "1" if DEBUG else "0") == "1"
# In production the shop is served by TLS, ended by gunicorn or by a proxy that says so in X-Forwarded-Proto.
USES_TLS = os.environ.get("SHOPRECO_TLS", "0" if DEBUG else "1") == "1"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "drf_spectacular",
    "shopreco.shop",
    "recommender",
]

MIDDLEWARE = [
    "recommender.middleware.RecommenderMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "shopreco.urls"
WSGI_APPLICATION = "shopreco.wsgi.application"
ASGI_APPLICATION = "shopreco.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "shopreco.shop.context.shop",
            ],
        },
    },
]

if DATABASE_URL:
    DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=600, conn_health_checks=True)}
    if DATABASE_URL.startswith("postgres"):
        DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", 5)
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": VAR_DIR / "shop.sqlite3",
            "CONN_MAX_AGE": 600,
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16000;",
            },
        }
    }

if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},  # a page must not wait for the cache
        }
    }
else:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any]
if BROKER_URL:
    CELERY_BROKER_URL = BROKER_URL
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "visibility_timeout": 6 * 3600,
    }
else:
    CELERY_BROKER_URL = "filesystem://"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": VAR_DIR / "broker",
        "data_folder_out": VAR_DIR / "broker",
        "control_folder": VAR_DIR / "broker" / "control",
    }
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TIMEZONE = "UTC"

SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = USES_TLS
SECURE_REDIRECT_EXEMPT = ["^(healthz|readyz|metrics)$"]
SECURE_HSTS_SECONDS = 365 * 86_400 if USES_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = USES_TLS

SESSION_ENGINE = "django.contrib.sessions.backends.db"
AUTH_PASSWORD_VALIDATORS: list[dict[str, str]] = []
LOGIN_URL = "/sign-in/"
LOGIN_REDIRECT_URL = "/"

LANGUAGE_CODE = "en-gb"
LANGUAGES = [("en-gb", "English"), ("de", "Deutsch"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "shopreco" / "locale"]
TIME_ZONE = "Europe/London"
USE_I18N = True
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
WHITENOISE_USE_FINDERS = DEBUG

REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}

RECOMMENDER = {
    "DIRECTORY": VAR_DIR / "recommender",
    "TRAINING_MINUTES": float(os.environ.get("SHOPRECO_TRAINING_MINUTES", "3")),
    "METRICS_TOKEN": variable("SHOPRECO_METRICS_TOKEN"),
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"one_traceback": {"()": "recommender.logs.OneTraceback"}},
    "formatters": {
        "plain": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
        "json": {"()": "recommender.logs.JSONFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "plain" if DEBUG else "json",
            "filters": ["one_traceback"],
        }
    },
    "loggers": {
        "django": {"handlers": ["console"], "level": "INFO"},
        "recommender": {"handlers": ["console"], "level": "INFO", "propagate": False},
    },
}
