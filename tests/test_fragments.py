"""Fragments that Django's `{% cache %}` keeps: a list within one is nobody's, however the templates are nested."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.core.cache import cache
from django.http import HttpRequest
from django.template import RequestContext, engines
from django.template.backends.django import DjangoTemplates

from recommender import capture, identity, serving
from recommender.models import Event
from recommender.templatetags import recommender as tags
from tests.conftest import DemoShop, request_of

pytestmark = pytest.mark.django_db
N_CUSTOMERS = 10
BUY_AGAIN = '{% recommendations "buy_again" limit=4 %}'
TEMPLATES = {
    "own": "{% load cache recommender %}{% cache 60 side %}" + BUY_AGAIN + "{% endcache %}",
    "list.html": "{% load recommender %}" + BUY_AGAIN,
    "included": '{% load cache %}{% cache 60 side %}<p>{% include "list.html" %}</p>{% endcache %}',
    "base.html": "{% load cache %}{% cache 60 side %}{% block side %}{% endblock %}{% endcache %}",
    "inherited": '{% extends "base.html" %}{% load recommender %}{% block side %}' + BUY_AGAIN + "{% endblock %}",
    "variable": '{% load cache recommender %}{% cache 60 side %}{% recommend "buy_again" as ranking %}'
    "{% for entry in ranking %}{{ entry.item_id }}{% endfor %}{% endcache %}",
    "cart": "{% load cache recommender %}{% cache 60 side %}"
    '{% recommendations "home" cart=cart limit=4 %}{% endcache %}',
    "search": '{% load cache recommender %}{% cache 60 side %}{% search "bag" limit=4 cart=cart %}{% endcache %}',
}


@pytest.fixture
def engine(settings: Any) -> DjangoTemplates:
    loaders = [("django.template.loaders.locmem.Loader", TEMPLATES), "django.template.loaders.app_directories.Loader"]
    options = {**settings.TEMPLATES[0]["OPTIONS"], "loaders": loaders, "context_processors": []}
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [], "APP_DIRS": False, "OPTIONS": options}]
    backend: Any = engines["django"]
    return backend


@pytest.fixture
def users(demo_shop: DemoShop) -> list[Any]:
    """Customers who bought different things."""
    serving.reload()
    users = [demo_shop.customer(index).user for index in range(N_CUSTOMERS)]
    identity.grant_consent([str(user.pk) for user in users])
    return users


def seen_by(user: Any, name: str, engine: DjangoTemplates, **values: Any) -> tuple[str, HttpRequest]:
    """The fragment, and the request that asked for it."""
    request = request_of(user)
    template = engine.engine.get_template(name)
    return str(template.render(RequestContext(request, {"request": request, **values}))), request


@pytest.mark.parametrize("name", ["own", "included", "inherited", "variable", "cart", "search"])
def test_list_in_a_cached_fragment_is_nobodys(
    name: str, engine: DjangoTemplates, users: list[Any], caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags, "_logged", set())
    nobody, _ = seen_by(None, name, engine)
    for user in users:
        cache.clear()
        bought = Event.objects.filter(visitor__user_key=str(user.pk)).values_list("item_id", flat=True)
        with caplog.at_level(logging.WARNING, "recommender"):
            html, request = seen_by(user, name, engine, cart=list(bought[:3]))
        assert _items_of(html) == _items_of(nobody)
        assert not capture.buffer_of(request).impressions
    assert caplog.text.count("lazy_recommendations") == 1


def test_the_same_list_beside_the_fragment_is_each_visitors_own(engine: DjangoTemplates, users: list[Any]) -> None:
    pages = [seen_by(user, "list.html", engine) for user in users]
    assert len({tuple(_items_of(html)) for html, _ in pages}) == N_CUSTOMERS
    assert all(capture.buffer_of(request).impressions for _, request in pages)


def _items_of(html: str) -> list[str]:
    """The ids of the items in the order shown; the ids of the rankings differ in any case."""
    return [part.partition('"')[0] for part in html.split('data-item-id="')[1:]] or [html]
