"""What is still to be done after the draft: lines of settings, URLs and templates that are missing, then commands."""

from __future__ import annotations

from importlib.util import find_spec

from django.apps import apps
from django.conf import settings
from django.urls import NoReverseMatch, reverse

from recommender import checks

CONSENT_QUESTION = """May past orders teach the model? The decision is the shop's.
  required      only those of people who have consented here; all others count for nobody (the default)
  pseudonymous  everybody's; nobody is served a profile of past orders before consent
  shop.privacy.agreed, say: a function of yours that takes primary keys of users and returns those that have agreed"""


def missing_lines(order_consent: str = "") -> list[str]:
    """The lines that the settings and the URLs lack."""
    lines = []
    if not apps.is_installed("rest_framework"):
        lines.append('settings: INSTALLED_APPS = [..., "rest_framework", "recommender"]')
    middleware = list(settings.MIDDLEWARE or [])
    if middleware[:1] != [checks.MIDDLEWARE]:
        lines.append(f'settings: MIDDLEWARE = ["{checks.MIDDLEWARE}", ...]  # the first one')
    if not has_urls():
        lines.append('urls: path("recommender/", include("recommender.urls")),')
    if order_consent:
        lines.append(f'settings: RECOMMENDER = {{..., "ORDER_CONSENT": "{order_consent}"}}')
    return lines


def is_consent_decided() -> bool:
    """Do the settings say already whose orders teach?"""
    return "ORDER_CONSENT" in getattr(settings, "RECOMMENDER", {})


def commands() -> list[str]:
    """What to run next, in this order."""
    worker = "celery -A yourproject worker   # or: python manage.py recommender_worker"
    return [
        "python manage.py migrate",
        "python manage.py recommender_sync",
        "python manage.py recommender_reconcile      # past orders",
        "python manage.py recommender_doctor",
        worker if find_spec("celery") is not None else "python manage.py recommender_worker",
    ]


def template_lines() -> list[str]:
    """What shows a list."""
    return ["{% load recommender %}", '{% recommendations "home" limit=8 %}']


def has_urls() -> bool:
    """Are the app's URLs included?"""
    try:
        reverse("recommender:events")
    except NoReverseMatch:
        return False
    return True


def oscar_lines() -> list[str]:
    """What a shop on Oscar needs instead of a draft; nothing on another one."""
    if not any(config.name.startswith("oscar.apps.") or config.name == "oscar" for config in apps.get_app_configs()):
        return []
    if apps.is_installed("recommender.contrib.oscar"):
        return [
            "recommender.contrib.oscar is installed: products, baskets, pages and orders are known without a mapping."
        ]
    return [
        "This is Oscar: one line does more than a draft can.",
        '  settings: INSTALLED_APPS += ["recommender.contrib.oscar"]',
        "A fork that has no more in common with Oscar: python manage.py recommender_init --plain",
    ]
