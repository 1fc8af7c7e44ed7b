"""A shop that nobody here designed. `KIOSK_WITHOUT=1` is the same shop before, or after, the recommender."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
IS_WITHOUT = os.environ.get("KIOSK_WITHOUT") == "1"
SECRET_KEY = "kiosk"
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
ROOT_URLCONF = "kiosk.urls"
AUTH_USER_MODEL = "goods.Customer"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.sites",
    "django.contrib.staticfiles",
    "rest_framework",
    "goods",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "goods.policy.content_security",
]
if not IS_WITHOUT:
    INSTALLED_APPS.append("recommender")
    MIDDLEWARE.insert(0, "recommender.middleware.RecommenderMiddleware")
    RECOMMENDER = {
        "DIRECTORY": os.environ.get("KIOSK_VAR", BASE_DIR / "var"),
        "REFRESH_SECONDS": float(os.environ.get("KIOSK_REFRESH", "0")),
    }

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "APP_DIRS": True,
        "OPTIONS": {"environment": "goods.jinja.environment"},
    },
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": ["django.template.context_processors.request"],
            "builtins": ["recommender.templatetags.recommender"] if not IS_WITHOUT else ["goods.absent"],
        },
    },
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("KIOSK_DATABASE", ":memory:"),
        "ATOMIC_REQUESTS": True,
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL;"},
    }
}
if os.environ.get("KIOSK_CACHE") == "none":
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}

LANGUAGE_CODE = "de"
LANGUAGES = [("de", "Deutsch"), ("en", "English")]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "Asia/Kolkata"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
SITE_ID = 1
STATIC_URL = "/static/"
REST_FRAMEWORK = {
    "EXCEPTION_HANDLER": "goods.cart.refuse",
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
}

if os.environ.get("KIOSK_ODD"):
    USE_TZ = False
    DEFAULT_AUTO_FIELD = "django.db.models.SmallAutoField"
    LANGUAGE_CODE = "fr"
    LANGUAGES = [("fr", "Français")]
