"""A shop that uses what Django allows: composite keys, proxies, inherited models, states in words, prices in text."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent
SECRET_KEY = "odd"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "parler",
    "wares",
    "recommender",
]
MIDDLEWARE = [
    "recommender.middleware.RecommenderMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
RECOMMENDER = {"DIRECTORY": os.environ.get("ODD_VAR", BASE_DIR / "var"), "REFRESH_SECONDS": 0}
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "de"
LANGUAGES = [("de", "Deutsch"), ("en", "English")]
PARLER_LANGUAGES = {
    None: ({"code": "de"}, {"code": "en"}),
    "default": {"fallbacks": ["de"], "hide_untranslated": False},
}
USE_TZ = True
STATIC_URL = "/static/"
