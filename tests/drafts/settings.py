"""One of the small shops of this folder, `DRAFT_SHOP`, which has written no `recommendations.py` yet."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent
SHOP = os.environ["DRAFT_SHOP"]
SECRET_KEY = "drafts"
ALLOWED_HOSTS = ["testserver"]
ROOT_URLCONF = f"{SHOP}.urls"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    *({"till": ["till.web", "till.counter"]}.get(SHOP, [SHOP])),
    "recommender",
]
MIDDLEWARE = [
    "recommender.middleware.RecommenderMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
if SHOP == "gear":
    AUTH_USER_MODEL = "gear.Member"
RECOMMENDER = {"DIRECTORY": os.environ.get("DRAFT_VAR", BASE_DIR / "var"), "REFRESH_SECONDS": 0}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("DRAFT_DATABASE", ":memory:")}}
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
