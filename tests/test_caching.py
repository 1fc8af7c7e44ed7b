"""Django's caches above and below: no cookie or list reaches another visitor; what a cache answers still counts."""

from __future__ import annotations

import itertools
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.http import HttpResponse
from django.template import engines
from django.test import Client
from django.urls import include, path
from django.views.decorators.cache import cache_control, cache_page

from recommender import capture, identity
from recommender.capture import visitors
from recommender.checks import check_middleware
from recommender.identity import shopper_of
from recommender.models import Event
from recommender.tracking import page, track_pages
from recommender.types import Entry, Ranking, Rung, Slot

pytestmark = pytest.mark.django_db

OURS = "recommender.middleware.RecommenderMiddleware"
UPDATE = "django.middleware.cache.UpdateCacheMiddleware"
CONDITIONAL = "django.middleware.http.ConditionalGetMiddleware"
FETCH = "django.middleware.cache.FetchFromCacheMiddleware"
ORDERS = list(itertools.permutations((OURS, UPDATE, CONDITIONAL, FETCH)))
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"

n_made = 0


def plain(request: Any, name: str) -> HttpResponse:
    global n_made
    n_made += 1
    return HttpResponse(name)


def listed(request: Any, name: str) -> HttpResponse:
    """A page with a list, which tells whose it is."""
    ranking = Ranking(uuid.uuid4(), Slot.HOME, (Entry("a", 1, 1.0),), Rung.POPULARITY)
    capture.record_impression(request, ranking)
    return HttpResponse(f"for {shopper_of(request).visitor_key}")


def lazy(request: Any, name: str) -> HttpResponse:
    template = engines["django"].from_string(
        '{% load recommender %}{% lazy_recommendations "home" limit=3 title="T" %}'
    )
    return HttpResponse(template.render({}, request))


urlpatterns = [
    path("plain/<name>/", plain, name="plain"),
    path("listed/<name>/", listed, name="listed"),
    path("page/<name>/", cache_page(60)(listed), name="page"),
    path("lazy/<name>/", cache_control(public=True, max_age=60)(cache_page(60)(lazy)), name="lazy"),
    path("r/", include("recommender.urls")),
]


@pytest.fixture(autouse=True)
def _pages(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ROOT_URLCONF = __name__
    monkeypatch.setattr("recommender.tracking._pages", {})
    visitors.forget_visitors()
    cache.clear()
    track_pages(*(page(name, "view_item", item_id="kwargs.name") for name in ("plain", "listed", "page")))
    track_pages(page("lazy", "view_item", item_id="kwargs.name", beacon=True))


def browser(key: uuid.UUID | None = None) -> Client:
    client = Client(headers={"user-agent": CHROME})
    client.cookies["recommender_consent"] = "granted"
    if key is not None:
        client.cookies["recommender_visitor"] = identity.cookie_for(key)
    return client


def given(response: Any) -> str | None:
    cookie = response.cookies.get("recommender_visitor")
    return str(identity.visitor_key_from_cookie(cookie.value)) if cookie else None


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "-".join(name.rpartition(".")[2][:6] for name in order))
def test_no_order_of_middleware_hands_one_visitor_to_another(settings: Any, order: tuple[str, ...]) -> None:
    settings.MIDDLEWARE = list(order)
    for url in ("/plain/mug/", "/listed/mug/", "/page/mug/"):
        first = browser().get(url)
        seen = {given(first)} - {None}
        for headers in ({}, {"If-None-Match": first.get("ETag", '"x"')}):
            for visitor_key in (None, uuid.uuid4()):
                other = browser(visitor_key).get(url, headers=headers)
                assert given(other) not in seen, f"{url}: the cookie of another"
                text = other.content.decode()
                assert not any(str(key) in text for key in seen), f"{url}: the list of another"
                assert visitor_key is None or "listed" not in url or str(visitor_key) in text
                seen |= {given(other)} - {None}


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "-".join(name.rpartition(".")[2][:6] for name in order))
def test_cookie_that_one_visitor_gives_back_is_not_taken_from_another(settings: Any, order: tuple[str, ...]) -> None:
    settings.MIDDLEWARE = list(order)
    withdrawn = browser(uuid.uuid4())
    withdrawn.cookies["recommender_consent"] = "denied"
    assert withdrawn.get("/plain/mug/").cookies["recommender_visitor"].value == ""
    assert "recommender_visitor" not in browser(uuid.uuid4()).get("/plain/mug/").cookies


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "-".join(name.rpartition(".")[2][:6] for name in order))
def test_every_order_but_with_ours_first_is_warned_of(settings: Any, order: tuple[str, ...]) -> None:
    settings.MIDDLEWARE = list(order)
    assert [message.id for message in check_middleware(None)] == ([] if order[0] == OURS else ["recommender.W002"])


@pytest.mark.parametrize("conditional", [[], [CONDITIONAL]])
def test_page_out_of_the_sites_cache_is_a_view_all_the_same(settings: Any, conditional: list[str]) -> None:
    settings.MIDDLEWARE = [OURS, *conditional, UPDATE, FETCH]
    key, before = uuid.uuid4(), n_made
    client = browser(key)
    for _ in range(3):
        assert client.get("/plain/mug/").status_code == 200
    assert n_made == before + 1
    assert list(Event.objects.values_list("item_id", "visitor__key")) == [("mug", key)] * 3


def test_cached_page_gives_the_cookie_to_each_newcomer(settings: Any) -> None:
    settings.MIDDLEWARE = [OURS, UPDATE, FETCH]
    keys = {given(browser().get("/plain/mug/")) for _ in range(3)}
    assert len(keys) == 3
    assert None not in keys


def test_lazy_place_is_the_same_for_everybody_and_is_filled_for_one(settings: Any) -> None:
    settings.MIDDLEWARE = [OURS, UPDATE, FETCH]
    pages = {browser(uuid.uuid4()).get("/lazy/mug/").content.decode() for _ in range(3)}
    source = "/r/blocks/home?limit=3&amp;title=T&amp;language=en-gb"
    assert pages == {f'<div class="recommender-lazy" data-recommender-src="{source}"></div>'}
    assert not Event.objects.exists()
    piece = browser(uuid.uuid4()).get("/r/blocks/home?limit=3&title=T")
    assert (piece.status_code, piece["Cache-Control"]) == (200, "private, no-store")
    assert "Cookie" in piece["Vary"]


def test_page_of_a_cdn_counts_by_its_beacon_only(settings: Any) -> None:
    settings.MIDDLEWARE = [OURS]
    client = browser(uuid.uuid4())
    client.get("/lazy/mug/")
    assert not Event.objects.exists()
    sent = json.dumps({"path": "/lazy/mug/"})
    client.post("/r/beacon", sent, content_type="text/plain", headers={"sec-fetch-site": "same-origin"})
    assert Event.objects.get().item_id == "mug"


def test_script_and_pieces_hold_nothing_that_a_strict_policy_forbids() -> None:
    from django.contrib.staticfiles import finders

    path = finders.find("recommender/recommender.js")
    assert path is not None
    script = Path(path).read_text()
    assert not any(word in script for word in ("eval(", "new Function", "document.write", 'setTimeout("'))
    assert len(script) < 2000
