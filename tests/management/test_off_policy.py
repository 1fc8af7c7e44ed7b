"""The command that answers for a bundle from the explored positions: its weights are known by construction."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from recommender import bundles, pipeline
from recommender.management import off_policy
from recommender.models import Event, Impression, Item, Visitor

pytestmark = pytest.mark.django_db

SHOWN_AT = timezone.now() - dt.timedelta(days=3)


def explore(n, pool, *, clicked=()):
    """n lists whose last position was drawn from the pool, each item as often as the others."""
    visitor, rows = Visitor.objects.create(), []
    for number in range(n):
        item_id = pool[number % len(pool)]
        row = Impression.objects.create(
            visitor=visitor, slot="home", rung="untrained", item_ids=["other", item_id], pool=pool,
            propensities=[1.0, 1 / len(pool)], occurred_at=SHOWN_AT + dt.timedelta(seconds=number),
        )  # fmt: skip
        if item_id in clicked:
            Event.objects.create(
                message_id=f"c{number}", visitor=visitor, type="select_item", item_id=item_id, ranking_id=row.pk,
                occurred_at=row.occurred_at + dt.timedelta(minutes=1),
            )  # fmt: skip
        rows.append(row)
    return rows


def test_click_counts_on_the_drawn_item_and_within_its_day():
    rows = explore(3, ["a", "b", "c"], clicked={"b"})
    late = {"message_id": "late", "type": "select_item", "item_id": "a", "ranking_id": rows[0].pk}
    Event.objects.create(occurred_at=SHOWN_AT + dt.timedelta(days=2), **late)
    positions = off_policy.explored_positions(until=timezone.now())
    assert [(position.item_id, position.is_clicked) for position in positions] == [
        ("a", False),
        ("b", True),
        ("c", False),
    ]


def test_lists_without_exploration_and_of_today_are_left_out():
    Impression.objects.create(slot="home", rung="champion", item_ids=["a"], propensities=[1.0], occurred_at=SHOWN_AT)
    explore(1, ["a", "b"])
    Impression.objects.update(occurred_at=timezone.now())
    assert off_policy.explored_positions(until=timezone.now()) == []


@pytest.fixture
def untrained(demo_shop):
    """Bundle 0 with the vectors of the shop's items."""
    bundles.ensure_champion()
    from recommender.serving import vectors

    bundle = bundles.champion()
    vectors.encode_missing(bundle.name)
    return bundle


def test_weights_are_those_of_what_the_bundle_would_show(untrained):
    pool = list(Item.objects.filter(is_active=True).order_by("pk").values_list("item_id", flat=True)[:4])
    explore(200, pool)
    positions = off_policy.explored_positions(until=timezone.now())
    logged = off_policy.logged(positions, off_policy.served_by(untrained.name))
    assert np.mean(logged.weight) == pytest.approx(1)
    assert set(logged.weight) == {0.0, 4.0}
    assert len(set(logged.expected)) == 1


def test_bundle_whose_choice_is_always_clicked_is_told_so(untrained, capsys):
    pool = list(Item.objects.filter(is_active=True).order_by("pk").values_list("item_id", flat=True)[:4])
    probe = off_policy.logged([*_positions(pool)], off_policy.served_by(untrained.name))
    choice = pool[probe.weight.index(max(probe.weight))]
    Impression.objects.all().delete()
    explore(200, pool, clicked={choice})
    call_command("recommender_off_policy")
    printed = capsys.readouterr().out
    assert "200 explored positions, clicks per position 0.2500" in printed
    assert f"{untrained} champion   SNIPS  1.0000 [1.0000, 1.0000]  n 50" in printed


def _positions(pool):
    explore(len(pool), pool)
    return off_policy.explored_positions(until=timezone.now())


def test_too_few_positions_and_an_unknown_bundle_are_refused(demo_shop):
    with pytest.raises(CommandError, match=r"There are 0 explored positions, and 100 are needed"):
        call_command("recommender_off_policy")
    explore(100, ["a", "b"])
    with pytest.raises(CommandError, match=r"There is no such bundle"):
        call_command("recommender_off_policy", bundle=["zz"])


def test_positions_of_items_that_are_gone_are_left_out(untrained):
    explore(3, ["gone", "away"])
    positions = off_policy.explored_positions(until=timezone.now())
    assert off_policy.logged(positions, off_policy.served_by(untrained.name)).reward == []
    assert len(pipeline.recommend("trending")) > 0
