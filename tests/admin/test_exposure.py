"""The page of exposure: who may see it, what it says of floors, and a file that no spreadsheet runs."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.test import Client
from django.utils import timezone

from recommender.exposure import count_days, watch_floors
from recommender.models import ExposureFloor
from tests.admin.test_experiments import clerk
from tests.exposure.test_days import item
from tests.overview.shop import shown, visitor

pytestmark = pytest.mark.django_db

URL = "/admin/recommender/exposure/"
FLOORS = "/admin/recommender/exposurefloor/"


@pytest.fixture
def counted() -> None:
    """Sixty lists with one brand of two; the other has a floor, and a name that a spreadsheet would run."""
    item("mug", brand="Axo")
    item("bowl", brand="=cmd|' /C calc'!A0")
    ExposureFloor.objects.create(attribute="brand", value="=cmd|' /C calc'!A0", part=0.5)
    for _number in range(60):
        shown(visitor(), "mug", at=timezone.now() - dt.timedelta(minutes=1))
    shown(visitor(), "mug", at=timezone.now() - dt.timedelta(minutes=1), bundle="b2")
    count_days()
    watch_floors()


def text_of(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


def test_page_shows_bars_a_table_and_what_is_below_its_floor(admin_client: Client, counted: None) -> None:
    text = text_of(admin_client, URL)
    assert '<svg class="rec-chart rec-bars"' in text
    assert "below its floor" in text
    assert "100.0 %" in text
    assert 'class="rec-floor"' in text


def test_page_of_one_arm_counts_its_lists_alone(admin_client: Client, counted: None) -> None:
    assert "<dt>Lists</dt><dd>61</dd>" in text_of(admin_client, URL)
    assert "<dt>Lists</dt><dd>1</dd>" in text_of(admin_client, URL + "?arm=b2&days=30")


def test_page_before_the_first_count_says_what_to_do(admin_client: Client) -> None:
    text = text_of(admin_client, URL + "?days=nonsense&arm=none")
    assert "Nothing has been counted yet" in text
    assert "No list was shown" in text


def test_permission_is_its_own() -> None:
    client = clerk("view_overview", "view_alarm")
    for url in (URL, URL + "export/", FLOORS):
        assert client.get(url).status_code == 403


def test_who_may_see_it_may_not_set_floors(counted: None) -> None:
    client = clerk("view_exposure")
    assert "Export as CSV" in text_of(client, URL)
    assert FLOORS not in text_of(client, URL)
    assert client.get(FLOORS + "add/").status_code == 403


def test_file_has_every_group_and_no_formula(admin_client: Client, counted: None) -> None:
    response = admin_client.get(URL + "export/?days=7")
    text = b"".join(response).decode()  # type: ignore[arg-type]
    assert "brand,Axo,1" in text
    assert "brand,'=cmd" in text
    assert ",=cmd" not in text


def test_alarm_stands_in_the_list_of_alarms(admin_client: Client, counted: None) -> None:
    text = text_of(admin_client, "/admin/recommender/alarm/")
    assert "shown too little" in text
    assert "the floor is 25.0 %" in text


def test_floor_of_an_attribute_that_is_not_counted_is_refused(admin_client: Client) -> None:
    values = {"value": "red", "basis": "catalogue", "part": "0.5"}
    response = admin_client.post(FLOORS + "add/", {"attribute": "colour", **values})
    assert "Write one of brand, category, vendor, price, newness" in response.content.decode()
    response = admin_client.post(FLOORS + "add/", {"attribute": "price", **values})
    assert "Write one of 1, 2, 3, 4" in response.content.decode()
    assert not ExposureFloor.objects.exists()
    assert admin_client.post(FLOORS + "add/", {"attribute": "brand", **values}).status_code == 302
    assert "brand: red" in text_of(admin_client, FLOORS)
