"""Experiments in the lists of shoppers: who sees what, in which arm it is logged, and that others see nothing of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recommender.experiments.assignment import CONTROL, VARIANT, Allocation
from recommender.experiments.live import LiveExperiment
from recommender.models import Bundle, Experiment, Impression
from recommender.serving import memory
from recommender.serving.experiments import plan
from recommender.serving.ranking import rank
from recommender.types import Context, Request, Slot
from tests.serving.small_shop import NOW, SmallShop

SEARCH = Request(Slot.SEARCH, Context(NOW), query="lamp", limit=4, person_key="ann")
PEOPLE = [f"person {number}" for number in range(60)]


def by_rank(request, served):
    return rank(request, served=served)


def ids(ranking):
    return [entry.item_id for entry in ranking]


@pytest.fixture
def shop():
    lamps = [(f"lamp {word}", "light", "", 5.0) for word in ("red", "blue", "green", "white", "black", "oak")]
    return SmallShop(*lamps)


@pytest.fixture
def rival(shop):
    """The same items, of which the shop sells the last ones most."""
    other = SmallShop(*shop.items)
    other.sales[:] = range(len(shop.items))
    return other.served()


def experiment(*, interleaved=False, **changes):
    allocation = Allocation("main", "salt", 0.0, 1.0, 1.0 if interleaved else 0.5)
    return replace(LiveExperiment(7, interleaved, allocation, frozenset(), bundle="rival"), **changes)


def tried(shop, rival, **changes):
    return replace(shop.served(), experiments=(experiment(**changes),), challengers={"rival": rival})


def person_in(served, arm):
    return next(key for key in PEOPLE if served.experiments[0].allocation.arm(key) == arm)


def test_variant_is_answered_by_its_bundle_and_control_as_before(shop, rival):
    served = tried(shop, rival)
    lists = {}
    for arm in (CONTROL, VARIANT):
        request = replace(SEARCH, person_key=person_in(served, arm))
        planned = plan(request, served)
        assert planned.arms == f"7{arm}"
        lists[arm] = ids(planned.rank(request, by_rank))
    assert lists[CONTROL] == ids(rank(SEARCH, served=shop.served()))
    assert lists[VARIANT] == ids(rank(SEARCH, served=rival))
    assert lists[CONTROL] != lists[VARIANT]


def test_nobody_without_a_key_is_in_an_experiment(shop, rival):
    assert plan(replace(SEARCH, person_key=""), tried(shop, rival)).arms == ""


def test_slot_outside_the_experiment_is_answered_as_before(shop, rival):
    served = tried(shop, rival, slots=frozenset({Slot.HOME}))
    assert plan(SEARCH, served).arms == ""


def test_interleaved_list_names_the_arm_of_each_entry(shop, rival):
    served = tried(shop, rival, interleaved=True)
    planned = plan(SEARCH, served)
    ranking = planned.rank(SEARCH, by_rank)
    assert planned.arms == "7ab"
    assert {entry.team for entry in ranking} == {CONTROL, VARIANT}
    assert [entry.position for entry in ranking] == [1, 2, 3, 4]
    assert len(set(ids(ranking))) == 4


def test_pages_of_an_interleaved_search_are_one_draft(shop, rival):
    served = tried(shop, rival, interleaved=True)
    whole = replace(SEARCH, limit=6)
    pages = [replace(SEARCH, limit=2, offset=offset) for offset in (0, 2, 4)]
    expected = plan(whole, served).rank(whole, by_rank)
    parts = [entry for page in pages for entry in plan(page, served).rank(page, by_rank)]
    assert [(entry.item_id, entry.position, entry.team) for entry in parts] == [
        (entry.item_id, entry.position, entry.team) for entry in expected
    ]


def test_setting_of_a_variant_reaches_its_requests_alone(shop):
    served = replace(
        shop.served(), experiments=(experiment(bundle="", changes={"diversity": 0.2, "personal_search": 2.0}),)
    )
    requests = {}
    for arm in (CONTROL, VARIANT):
        request = replace(SEARCH, person_key=person_in(served, arm))
        plan(request, served).rank(
            request, lambda request_of_arm, _served, arm=arm: requests.setdefault(arm, request_of_arm)
        )
    assert (requests[VARIANT].diversity, requests[VARIANT].personal_weight) == (0.2, 2.0)
    assert (requests[CONTROL].diversity, requests[CONTROL].personal_weight) == (None, 1.0)


def test_experiment_leaves_the_impersonal_search_impersonal(shop):
    served = replace(shop.served(), experiments=(experiment(bundle="", changes={"personal_search": 2.0}),))
    request = replace(SEARCH, person_key=person_in(served, VARIANT), personal_weight=0.0)
    assert plan(request, served).rank(request, lambda request_of_arm, _served: request_of_arm).personal_weight == 0.0


def test_rival_whose_items_alone_have_changed_is_renewed(shop, rival, monkeypatch):
    served, changed = tried(shop, rival), SmallShop(*shop.items).served().shelf
    monkeypatch.setattr(memory, "live_experiments", lambda: served.experiments)
    monkeypatch.setattr(memory, "declared_explorations", lambda: served.explorations)
    assert memory._with_experiments(served, served) is served
    monkeypatch.setattr(memory, "refresh_shelf", lambda shelf: changed)
    assert memory._with_experiments(served, served).challengers["rival"].shelf is changed


@pytest.fixture
def live_experiment(demo_shop):
    return Experiment.objects.create(
        name="calmer lists", changes={"diversity": 0.5}, state=Experiment.State.LIVE, started_at=NOW
    )


def test_list_that_was_shown_is_recorded_with_its_arm(client, demo_shop, live_experiment):
    client.cookies["recommender_consent"] = "granted"
    for _page in range(2):
        client.get("/")
    shown = set(Impression.objects.values_list("arms", flat=True))
    assert shown in ({f"{live_experiment.pk}a"}, {f"{live_experiment.pk}b"})


def test_ended_experiment_is_recorded_no_more(client, demo_shop, live_experiment):
    Experiment.objects.update(state=Experiment.State.STOPPED)
    client.cookies["recommender_consent"] = "granted"
    client.get("/")
    assert set(Impression.objects.values_list("arms", flat=True)) == {""}


def test_experiment_whose_bundle_is_gone_is_not_tried(demo_shop, live_experiment):
    Experiment.objects.update(needs_bundle=True)
    from recommender.experiments.live import live_experiments

    assert live_experiments() == ()


def test_bundle_of_a_live_experiment_is_kept(demo_shop):
    from recommender import bundles

    rows = [Bundle.objects.create(name=f"b{number}", encoder_hash="h", manifest={}) for number in range(6)]
    Experiment.objects.create(name="old one", bundle=rows[0], state=Experiment.State.LIVE)
    kept_rows = bundles.retained()
    assert rows[0] in kept_rows
    assert rows[1] not in kept_rows
