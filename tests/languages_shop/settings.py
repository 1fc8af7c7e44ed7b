"""A shop whose texts have two languages, by django-parler and by django-modeltranslation, and a tree by django-mptt."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent
SECRET_KEY = "languages"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = [
    "modeltranslation",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "parler",
    "mptt",
    "toys",
    "recommender",
]
MIDDLEWARE = [
    "recommender.middleware.RecommenderMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
RECOMMENDER = {"DIRECTORY": os.environ.get("LANGUAGES_VAR", BASE_DIR / "var"), "REFRESH_SECONDS": 0}
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
MODELTRANSLATION_DEFAULT_LANGUAGE = "de"
USE_TZ = True
STATIC_URL = "/static/"
