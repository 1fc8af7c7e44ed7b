"""What remains to be done after the draft: missing lines of settings, URLs and templates, then the commands to run."""

from __future__ import annotations

from importlib.util import find_spec

from django.apps import apps
from django.conf import settings
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from recommender import checks

CONSENT_QUESTION = gettext_lazy("""May past orders be used for training? The shop must decide.
  required      only orders of customers who have consented here; others are linked to no visitor (the default)
  pseudonymous  all orders; nobody sees lists based on them before consent
  shop.privacy.agreed, for example: your function that takes primary keys of users and returns those who agreed""")


def missing_lines(order_consent: str = "") -> list[str]:
    """The lines that are missing in the settings and the URLs."""
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
    """Is `ORDER_CONSENT` set?"""
    return "ORDER_CONSENT" in getattr(settings, "RECOMMENDER", {})


def commands() -> list[str]:
    """The commands to run next, in this order."""
    worker = "celery -A yourproject worker   # or: python manage.py recommender_worker"
    return [
        "python manage.py migrate",
        "python manage.py recommender_sync",
        "python manage.py recommender_reconcile      # past orders",
        "python manage.py recommender_doctor",
        worker if find_spec("celery") is not None else "python manage.py recommender_worker",
    ]


def template_lines() -> list[str]:
    """The lines of a template that show a list."""
    return ["{% load recommender %}", '{% recommendations "home" limit=8 %}']


def has_urls() -> bool:
    """Are the app's URLs included?"""
    try:
        reverse("recommender:events")
    except NoReverseMatch:
        return False
    return True


def oscar_lines() -> list[str]:
    """What a shop on Oscar needs instead of a draft; empty for other shops."""
    if not any(config.name.startswith("oscar.apps.") or config.name == "oscar" for config in apps.get_app_configs()):
        return []
    if apps.is_installed("recommender.contrib.oscar"):
        return [_("recommender.contrib.oscar is installed: products, baskets, pages and orders need no mapping.")]
    return [
        _("This is Oscar: one line does more than a draft can."),
        '  settings: INSTALLED_APPS += ["recommender.contrib.oscar"]',
        _("For a fork with little left of Oscar: python manage.py recommender_init --plain"),
    ]
