"""The exposure of a new bundle: measured beside the champion's on the same cases, reported, alarmed and shown."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone

from recommender.exposure.floors import raise_alarms
from recommender.exposure.reports import standings_of
from recommender.models import Alarm, Bundle, ExposureFloor, Item, Run
from recommender.runs.comparisons import CHAMPION, RANKER
from recommender.runs.figures import Figures, GroupShare, ShareInterval
from recommender.training.judging.evaluation import Results
from recommender.training.judging.exposed import exposure_figures
from recommender.training.split import Split, split_in_time
from tests import planted

pytestmark = pytest.mark.django_db

SECOND = 1 / 1.5849625007211562  # log2(3)


@pytest.fixture(scope="module")
def split() -> Split:
    return split_in_time(planted.dataset(n_visitors=60))


@pytest.fixture
def catalogue(split: Split) -> None:
    """The planted items, stored in another order; every third is of Axo, item 0 is gone."""
    Item.objects.bulk_create(
        Item(item_id=item_id, label="shop.Item", object_id=item_id, title=item_id, text=item_id, text_hash=item_id,
             brand="Axo" if row % 3 == 1 else "Bly", first_seen_at=dt.datetime(1970, 1, 1, tzinfo=dt.UTC))
        for row, item_id in reversed(list(enumerate(split.items.ids)))
        if row
    )  # fmt: skip


def results(ours: list[list[int]], theirs: list[list[int]], truths: list[set[int]]) -> Results:
    return Results({"all": [frozenset(truth) for truth in truths]}, {"all": {RANKER: ours, CHAMPION: theirs}})


def by_value(figures: dict[str, tuple[GroupShare, ...]], attribute: str) -> dict[str, GroupShare]:
    return {share.value: share for share in figures[attribute]}


def test_lists_of_both_models_and_what_was_wanted_are_compared(split: Split, catalogue: None) -> None:
    measured = by_value(exposure_figures(results([[1, 2]] * 40, [[2, 1]] * 40, [{4}, {2}] * 20), split), "brand")
    axo = measured["Axo"]
    assert axo.exposure is not None
    assert axo.exposure.value == pytest.approx(1 / (1 + SECOND))
    assert axo.champion == pytest.approx(SECOND / (1 + SECOND))
    assert axo.demand == 0.5
    assert axo.catalogue == pytest.approx(20 / 59, abs=0.01)


def test_only_the_first_ten_places_count_and_what_is_gone_counts_for_nobody(split: Split, catalogue: None) -> None:
    lists = [[0, *([2] * 9), 1]] * 20
    measured = by_value(exposure_figures(results(lists, lists, [{2}] * 20), split), "brand")
    assert measured["Axo"].exposure is not None
    assert measured["Axo"].exposure.value == 0
    assert measured["Bly"].exposure == ShareInterval(*(pytest.approx(x) for x in measured["Bly"].exposure or ()))
    assert measured["Bly"].exposure.value == 1  # type: ignore[union-attr]


def test_run_without_a_case_has_no_exposure(split: Split) -> None:
    assert exposure_figures(results([], [], []), split) == {}


def test_figures_are_read_as_they_were_stored(split: Split, catalogue: None) -> None:
    measured = exposure_figures(results([[1, 2]] * 40, [[2, 1]] * 40, [{4}] * 40), split)
    stored = Figures.of(Figures(exposure=measured).as_json()).exposure
    assert stored == measured


def test_bundle_below_a_floor_raises_an_alarm_that_names_it(split: Split, catalogue: None) -> None:
    ExposureFloor.objects.create(attribute="brand", value="Axo", part=0.5)
    measured = exposure_figures(results([[2]] * 60, [[1]] * 60, [{4}] * 60), split)
    own = [one for standings in standings_of(measured).values() for one in standings]
    assert raise_alarms(own, at=timezone.now(), bundle="abcdef0123456789") == 1
    (alarm,) = Alarm.objects.all()
    assert alarm.query == "brand: Axo, in the lists of bundle abcdef012345"


@pytest.fixture
def challenger() -> Bundle:
    """A bundle whose lists never show Axo, which has a floor; Bly is shown as before."""
    shares = (
        GroupShare("Axo", ShareInterval(0.0, 0.0, 0.06), 0.31, 0.4, 0.3, 0.2),
        GroupShare("Bly", ShareInterval(0.9, 1.0, 1.0), 0.69, 0.6, 0.7),
    )
    bundle = Bundle.objects.create(name="c" * 64, encoder_hash="e")
    metrics = Figures(exposure={"brand": shares}).as_json()
    Run.objects.create(bundle=bundle, metrics=metrics, state="succeeded", verdict="refused")
    return bundle


@pytest.mark.parametrize("step", ["promote", "approve"])
def test_exposure_stands_beside_the_button(admin_client: Client, challenger: Bundle, step: str, settings: Any) -> None:
    text = words(admin_client, f"/admin/recommender/bundle/{challenger.pk}/{step}/")
    assert "1 group is shown less than its floor." in text
    assert re.search(r"Axo</th>.*0\.0 %.*\[0\.0, 6\.0\].*31\.0 %.*40\.0 %.*below its floor", text)


def test_exposure_stands_on_the_page_of_the_run(admin_client: Client, challenger: Bundle) -> None:
    text = words(admin_client, f"/admin/recommender/run/{challenger.runs.get().pk}/change/")
    assert "whom its lists show" in text
    assert "Present model" in text


def test_bundle_of_before_is_promoted_without_it(admin_client: Client, challenger: Bundle) -> None:
    Run.objects.update(metrics={})
    assert "whom its lists show" not in words(admin_client, f"/admin/recommender/bundle/{challenger.pk}/promote/")


def words(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", response.content.decode())


def test_items_of_the_run_need_not_stand_in_the_order_of_the_table(split: Split, catalogue: None) -> None:
    turned = dataclasses.replace(split, items=dataclasses.replace(split.items, ids=split.items.ids[::-1]))
    row = len(split.items.ids) - 1 - 1
    measured = by_value(exposure_figures(results([[row]] * 20, [[row]] * 20, [{row}] * 20), turned), "brand")
    assert np.isclose(measured["Axo"].demand, 1)
