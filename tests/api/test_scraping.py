"""Nobody copies the catalogue or its neighbours call by call: all lists of one address without a key count together."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from recommender.api import throttling
from tests.api.test_api import ROOT
from tests.conftest import DemoShop

pytestmark = pytest.mark.django_db
LIMIT = 10
PUBLIC, OTHER = "8.8.8.8", "8.8.4.4"
"""Addresses of no proxy: calls from within would be believed what they forward."""


@pytest.fixture(autouse=True)
def _limits(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "THROTTLES": {"address": f"{LIMIT}/min"}}
    monkeypatch.setattr(throttling.Throttle, "timer", lambda self: 1_000_000_001.0)


def scrape(demo_shop: DemoShop, address: str = PUBLIC, **headers: str) -> list[int]:
    """Ask for the neighbours of one item after the other, and for what a search finds, all in one minute."""
    item_ids = [demo_shop.product(number).stock_code for number in range(LIMIT)]
    paths = [f"recommendations/{slot}?item_id={one}" for one in item_ids for slot in ("similar", "bought_together")]
    paths += [f"search?q={letter}&offset=0" for letter in "abcdef"] + ["suggest?q=a", "recommendations/trending"]
    client = Client()
    return [client.get(ROOT + path, REMOTE_ADDR=address, headers=headers).status_code for path in paths]


def test_neighbours_and_searches_of_one_address_end_at_one_limit(demo_shop: DemoShop) -> None:
    answers = scrape(demo_shop)
    assert answers[:LIMIT] == [200] * LIMIT
    assert set(answers[LIMIT:]) == {429}


def test_address_that_a_scraper_makes_up_is_not_believed(demo_shop: DemoShop) -> None:
    scrape(demo_shop)
    answers = {status for n in range(3) for status in scrape(demo_shop, **{"X-Forwarded-For": f"198.51.100.{n}"})}
    assert answers == {429}


def test_another_address_is_served(demo_shop: DemoShop) -> None:
    scrape(demo_shop)
    assert scrape(demo_shop, OTHER)[0] == 200
