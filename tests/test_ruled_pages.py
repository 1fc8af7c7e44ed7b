"""What shoppers see of the shop's rules: banners above lists, and searches that lead to another page."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from django.http import HttpResponse
from django.template import RequestContext, Template
from django.test import Client, RequestFactory

from recommender import serving
from recommender.middleware import RecommenderMiddleware
from recommender.models import Impression, Rule
from recommender.serving import rule_book
from tests.conftest import DemoShop, request_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nobody_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_book, "HELD_OUT_SHARE", 0)


def publish(action: str, *item_ids: str, **fields: Any) -> Rule:
    rule = Rule.objects.create(name=action, action=action, item_ids=item_ids, state=Rule.State.LIVE, **fields)
    serving.reload()
    return rule


def rendered(tag: str, path: str = "/?q=bag") -> str:
    request = request_of(path=path)
    html: str = Template("{% load recommender %}" + tag).render(RequestContext(request, {"request": request}))
    return html


def consenting() -> Client:
    client = Client()
    client.cookies["recommender_consent"] = "granted"
    return client


def test_banner_stands_above_its_list_and_is_escaped(demo_shop: DemoShop) -> None:
    publish("banner", text="Bags <b>now</b>", match="exact", query="bag")
    publish("banner", text="What sells", slot="trending")
    assert "Bags &lt;b&gt;now&lt;/b&gt;" in rendered("{% search %}")
    assert "Bags" not in rendered("{% search %}", "/?q=lamp")
    assert "What sells" in rendered('{% recommendations "trending" %}')
    assert "Bags &lt;b&gt;now" in Client().get("/search/?q=bag").content.decode()


def test_search_page_leads_to_the_page_of_a_redirect(demo_shop: DemoShop) -> None:
    rule = publish("redirect", url="/basket/", match="exact", query="bag")
    response = consenting().get("/search/?q=Bag")
    assert (response.status_code, response["Location"]) == (302, "/basket/")
    assert "private" in response["Cache-Control"]
    shown = Impression.objects.get(slot="search")
    assert (shown.item_ids, shown.rules, shown.query) == ([], [rule.pk], "Bag")
    assert shown.n_found is None  # whoever is led to a page has not searched in vain


def test_asynchronous_page_leads_there_too_unless_it_failed() -> None:
    async def page(request: Any) -> HttpResponse:
        request.recommender_redirect = "/basket/"
        return HttpResponse("results", status=int(request.GET["status"]))

    async def get(status: int) -> Any:
        return await RecommenderMiddleware(page)(RequestFactory().get("/search/", {"status": status}))

    assert asyncio.run(get(200))["Location"] == "/basket/"
    assert asyncio.run(get(500)).status_code == 500


def test_redirect_to_its_own_page_is_not_followed(demo_shop: DemoShop) -> None:
    publish("redirect", url="/search/?q=bag", match="exact", query="bag")
    assert Client().get("/search/?q=bag").status_code == 200


def test_page_without_the_middleware_shows_the_link(demo_shop: DemoShop) -> None:
    publish("redirect", url="/basket/", match="exact", query="bag")
    assert '<a href="/basket/">Go to the page for this search</a>' in rendered("{% search %}")


def test_api_says_which_rules_moved_an_item(demo_shop: DemoShop) -> None:
    plain = Client().get("/recommender/api/v1/recommendations/trending?limit=4").json()
    last, first = plain["items"][-1]["item_id"], plain["items"][0]["item_id"]
    pin = publish("pin", last, "gone", position=1, slot="trending")
    exclude = publish("exclude", first)
    answer = Client().get("/recommender/api/v1/recommendations/trending?limit=4").json()
    assert answer["items"][0]["item_id"] == last
    assert answer["items"][0]["rules"] == [pin.pk]
    assert answer["items"][1]["rules"] == []
    assert first not in [item["item_id"] for item in answer["items"]]
    assert sorted(answer["rules"]) == [pin.pk, exclude.pk]
    assert answer["skipped"] == [{"rule": pin.pk, "item_id": "gone", "why": "gone"}]
    assert (answer["redirect"], answer["banners"]) == ("", [])


def test_redirects_in_a_circle_show_the_search_itself(demo_shop: DemoShop) -> None:
    publish("redirect", url="/search/?q=lamp", match="exact", query="bag")
    publish("redirect", url="/search/?q=bag", match="category", query="Bags")
    Rule.objects.filter(match="category").update(match="exact", query="lamp")  # as a change of the model may make it
    serving.reload()
    for query in ("bag", "lamp"):
        response = Client().get(f"/search/?q={query}")
        assert response.status_code == 200
        assert "redirect" not in response.content.decode()


def test_redirect_over_another_one_arrives(demo_shop: DemoShop) -> None:
    publish("redirect", url="/search/?q=lamp", match="exact", query="bag")
    publish("redirect", url="/basket/", match="exact", query="lamp")
    response = Client().get("/search/?q=bag", follow=True)
    assert response.redirect_chain == [("/search/?q=lamp", 302), ("/basket/", 302)]


def test_api_names_the_redirect_and_keeps_the_list_for_older_apps(demo_shop: DemoShop) -> None:
    publish("redirect", url="/basket/", match="contains", query="bag")
    answer = Client().get("/recommender/api/v1/search?q=red bag").json()
    assert answer["redirect"] == "/basket/"
    assert answer["items"]


def test_frozen_pages_of_a_search_keep_the_pin(demo_shop: DemoShop) -> None:
    plain = Client().get("/recommender/api/v1/search?q=bag&limit=30").json()["items"]
    publish("pin", plain[-1]["item_id"], position=2, match="exact", query="bag")
    client = Client()
    page = client.get("/recommender/api/v1/search?q=bag&limit=1&cursor=*").json()
    following = client.get("/recommender/api/v1/search", {"limit": 1, "cursor": page["next_cursor"]}).json()
    assert following["items"][0]["item_id"] == plain[-1]["item_id"]
    assert uuid.UUID(following["ranking_id"]) != uuid.UUID(page["ranking_id"])
