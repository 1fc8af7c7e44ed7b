"""System checks of the settings and URLs of an Oscar shop. Importing this module does not need Oscar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.urls import LocalePrefixPattern, NoReverseMatch, Resolver404, get_resolver, resolve, reverse
from django.utils.module_loading import import_string
from django.utils.translation import gettext

OSCAR_APPS = ("catalogue", "partner", "basket", "order", "search")
"""Labels of Oscar's apps that are needed; a forked app keeps its label."""

SIGNALLED = ("catalogue:detail", "search:search", "basket:add")
"""Pages whose events Oscar's signals report."""

RECOMMENDED = "recommender.contrib.oscar.recommended"


def register() -> None:
    """Tell Django about the checks of this app."""
    for check in (check_apps, check_middleware, check_pages, check_search_page, check_recommended):
        checks.register(check, "recommender")


def missing_apps() -> list[str]:
    """Labels of Oscar's apps that are not installed."""
    labels = {config.label for config in apps.get_app_configs()}
    return [label for label in OSCAR_APPS if label not in labels]


def check_apps(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterator[checks.CheckMessage]:
    """E001 and E002: the apps that this one needs."""
    if not apps.is_installed("recommender"):
        yield checks.Error(
            gettext("recommender.contrib.oscar is installed without the app it belongs to."),
            hint=gettext('Add "recommender" and "rest_framework" to INSTALLED_APPS.'),
            id="recommender_oscar.E001",
        )
    if missing := missing_apps():
        yield checks.Error(
            gettext("recommender.contrib.oscar is installed without Oscar's apps %s: nothing is recorded.")
            % ", ".join(missing),
            hint=gettext(
                "Add oscar.INSTALLED_APPS, or your forks of these apps, to INSTALLED_APPS; or remove this app."
            ),
            id="recommender_oscar.E002",
        )


def check_middleware(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterator[checks.CheckMessage]:
    """W001: the prices for a shopper come from the strategy that Oscar's middleware sets on the request."""
    if missing_apps() or any(_is_of_baskets(path) for path in settings.MIDDLEWARE):
        return
    yield checks.Warning(
        gettext("Oscar's basket middleware is not installed: lists show the prices for an anonymous shopper."),
        hint=gettext('Add "oscar.apps.basket.middleware.BasketMiddleware" to MIDDLEWARE, below authentication.'),
        id="recommender_oscar.W001",
    )


def check_pages(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterator[checks.CheckMessage]:
    """W002: a page that is declared beside a signal counts twice."""
    if not apps.is_installed("recommender"):
        return
    from recommender.tracking import tracked_pages

    for name in sorted({page.view_name for page in tracked_pages()} & set(SIGNALLED)):
        yield checks.Warning(
            gettext("track_pages() names %r, which Oscar's signals report already: its events count twice.") % name,
            hint=gettext("Remove the page from your recommendations.py."),
            id="recommender_oscar.W002",
        )


def check_search_page(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterator[checks.CheckMessage]:
    """W003: the first URL that matches the address of Oscar's search wins, under the prefix of a language too."""
    try:
        ours, oscars = reverse("recommender_search:search"), reverse("search:search")
        winner = resolve(oscars).view_name
    except (NoReverseMatch, Resolver404):
        return
    if winner != "recommender_search:search":
        yield checks.Warning(
            gettext("The recommender's search page is never shown: %(view)r answers %(path)s, where the forms lead.")
            % {"view": winner, "path": oscars},
            hint=(
                gettext("Include the recommender's page there, at the top of urls.py: %s")
                if ours != oscars
                else gettext("Include the recommender's page above Oscar's URLs: %s")
            )
            % _replacement(oscars),
            id="recommender_oscar.W003",
        )


def _replacement(address: str) -> str:
    """The line of urls.py that puts our page at this address."""
    route = address.lstrip("/")
    for pattern in get_resolver().url_patterns:
        if isinstance(pattern.pattern, LocalePrefixPattern) and pattern.pattern.match(route):
            route = route.removeprefix(pattern.pattern.language_prefix)
            return f'urlpatterns[:0] = i18n_patterns(path("{route}", include("recommender.contrib.oscar.urls")))'
    return f'urlpatterns.insert(0, path("{route}", include("recommender.contrib.oscar.urls")))'


def check_recommended(app_configs: Sequence[AppConfig] | None, **_: Any) -> Iterator[checks.CheckMessage]:
    """W004: the first app that has a template wins."""
    names = [config.name for config in apps.get_app_configs()]
    if RECOMMENDED in names and "oscar" in names and names.index("oscar") < names.index(RECOMMENDED):
        yield checks.Warning(
            gettext("%s stands below Oscar in INSTALLED_APPS: Oscar's product page takes precedence.") % RECOMMENDED,
            hint=gettext("Put it above Oscar's apps."),
            id="recommender_oscar.W004",
        )


def _is_of_baskets(path: str) -> bool:
    """Is it Oscar's middleware or a subclass of it?"""
    from oscar.apps.basket.middleware import BasketMiddleware

    try:
        middleware = import_string(path)
    except ImportError:
        return False
    return isinstance(middleware, type) and issubclass(middleware, BasketMiddleware)
