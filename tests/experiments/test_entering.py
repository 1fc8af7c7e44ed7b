"""Experiments for one segment: only its shoppers come in, in both arms, and whoever came in stays."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from recommender import datasets
from recommender.admin.people import seen_as
from recommender.capture import erasure, privacy
from recommender.exceptions import RunError
from recommender.experiments import conduct, measuring
from recommender.experiments.assignment import CONTROL, VARIANT
from recommender.experiments.entering import keep_entered
from recommender.experiments.live import live_experiments
from recommender.identity import Shopper
from recommender.jobs import erasing
from recommender.models import Event, Experiment, Impression, Segment, Visitor
from recommender.personas import merging, segmentation
from recommender.personas.axes import build_axes
from recommender.pipeline import of_shopper
from recommender.serving import current
from recommender.serving.experiments import plan
from recommender.types import Context, Request, Slot
from tests.admin.test_experiments import PLAN
from tests.conftest import assert_queries, request_of

pytestmark = pytest.mark.django_db

NOW = timezone.now()
URL = "/admin/recommender/experiment/"


@pytest.fixture
def segment() -> Segment:
    return Segment.objects.create(number=1, name="bags", n_people=40)


@pytest.fixture
def experiment(segment: Segment) -> Experiment:
    return Experiment.objects.create(
        name="calmer", changes={"diversity": 0.5}, state="live", started_at=NOW - dt.timedelta(days=1), segment=segment
    )


def shoppers(segment: Segment | None, n: int = 40) -> list[Visitor]:
    people = [Visitor.objects.create(segment=segment) for _number in range(n)]
    Event.objects.bulk_create(
        Event(message_id=f"{person.pk}", visitor=person, type="view_item", item_id="1", occurred_at=NOW)
        for person in people
    )
    return people


def arms(people: list[Visitor]) -> list[str]:
    """The arm of each person as the pipeline sees them; "" for who is not in the experiment."""
    served = replace(current(), experiments=live_experiments())
    request = Request(Slot.HOME, Context(NOW))
    return [plan(of_shopper(request, seen_as(Visitor.objects.get(pk=one.pk))), served).arms for one in people]


def seen(experiment: Experiment, people: list[Visitor]) -> None:
    """Each was shown a list in their arm."""
    Impression.objects.bulk_create(
        Impression(visitor=person, slot="home", rung="champion", arms=arm, occurred_at=NOW)
        for person, arm in zip(people, arms(people), strict=True)
        if arm
    )


def test_only_shoppers_of_the_segment_come_in_to_both_arms(experiment: Experiment, segment: Segment) -> None:
    others = Segment.objects.create(number=2, n_people=9)
    inside = arms(shoppers(segment))
    assert set(inside) == {f"{experiment.pk}{CONTROL}", f"{experiment.pk}{VARIANT}"}
    assert set(arms(shoppers(others, 20))) == {""}
    assert set(arms(shoppers(None, 20))) == {""}


def test_who_came_in_stays_in_the_same_arm_after_leaving_the_segment(experiment: Experiment, segment: Segment) -> None:
    people = shoppers(segment, 20)
    late = shoppers(segment, 20)
    before = arms(people)
    seen(experiment, people)
    Segment.objects.update(retired_at=NOW)
    segmentation.assign_segments(people[0].pk, late[-1].pk)
    assert not Visitor.objects.exclude(segment=None).exists()
    assert arms(people) == before
    assert set(arms(late)) == {""}


def test_shopper_of_a_request_is_read_with_segment_and_experiments(experiment: Experiment, segment: Segment) -> None:
    other, _third = (Segment.objects.create(number=number, n_people=9) for number in (2, 3))
    whole = merging.merge([segment.pk, other.pk], name="Both")
    user = User.objects.create(username="ada")
    (person,) = shoppers(segment, 1)
    Visitor.objects.filter(pk=person.pk).update(user_key=str(user.pk))
    seen(experiment, [person])
    keep_entered()
    shopper = Shopper(request_of(user))
    with assert_queries(1):
        shopper.history()
    assert (shopper.segment_id, shopper.entered) == (whole.pk, frozenset({experiment.pk}))


def test_merge_lets_others_in_and_dividing_keeps_who_came(experiment: Experiment, segment: Segment) -> None:
    other, _third = (Segment.objects.create(number=number, n_people=9) for number in (2, 3))
    people = shoppers(other, 12)
    whole = merging.merge([segment.pk, other.pk], name="Both")
    assert all(arms(people))
    seen(experiment, people)
    merging.divide(whole.pk)
    assert all(arms(people))
    late = [Visitor.objects.create(segment=other), Visitor.objects.create(segment=other)]
    assert set(arms(late)) == {""}


def test_end_of_an_experiment_is_the_end_of_what_is_kept(experiment: Experiment, segment: Segment) -> None:
    people = shoppers(segment, 3)
    seen(experiment, people)
    assert keep_entered() == 3
    assert keep_entered() == 0
    assert privacy.export(visitor_key=people[0].key)["visitors"][0]["entered"] == [experiment.pk]
    conduct.stop(experiment, at=NOW, reason="enough")
    assert keep_entered() == 3
    assert not Visitor.objects.exclude(entered=None).exists()


def test_people_of_a_part_of_the_table_are_kept_alone(experiment: Experiment, segment: Segment) -> None:
    people = shoppers(segment, 3)
    seen(experiment, people)
    assert keep_entered(between=(people[0].pk, people[1].pk)) == 2
    assert Visitor.objects.get(pk=people[2].pk).entered is None


def test_plan_counts_on_the_traffic_of_the_segment(experiment: Experiment, segment: Segment) -> None:
    at = NOW + dt.timedelta(days=7)
    for people in (shoppers(segment, 14), shoppers(None, 28)):
        Impression.objects.bulk_create(
            Impression(visitor=person, slot="home", rung="champion", occurred_at=NOW - dt.timedelta(days=1))
            for person in people
        )
    assert measuring.forecast(experiment, at=at).n_people_a_day == 1.0
    experiment.segment = None
    assert measuring.forecast(experiment, at=at).n_people_a_day == 3.0


@pytest.mark.parametrize("change", [{"n_people": 0}, {"retired_at": NOW}])
def test_segment_that_is_gone_lets_nobody_in_and_the_page_says_so(
    experiment: Experiment, segment: Segment, admin_client: Client, change: dict[str, object]
) -> None:
    page = admin_client.get(f"{URL}{experiment.pk}/change/").content.decode()
    assert "no new shoppers come in" not in page
    Segment.objects.filter(pk=segment.pk).update(**change)
    page = admin_client.get(f"{URL}{experiment.pk}/change/").content.decode()
    assert '<p class="rec-warning">Nobody is in its segment “bags” any more, so no new shoppers come in.' in page
    assert "choose another segment for the copy" in page
    assert "no new shoppers" in admin_client.get(URL).content.decode()
    draft = Experiment.objects.create(name="d", changes={"diversity": 0.5}, segment_id=segment.pk, group="g")
    with pytest.raises(RunError, match="Nobody is in the segment “bags” any more: choose another"):
        conduct.start(draft, at=NOW)


def test_erasing_everybody_of_a_segment_lets_nobody_in(experiment: Experiment, segment: Segment) -> None:
    items = datasets.read_items()
    axes = build_axes(items, np.zeros(len(items), np.float32)).names
    Segment.objects.update(axes=[[*axis, 0.5, 0.5] for axis in axes])
    for person in shoppers(segment, 2):
        erasure.erase(visitor_key=person.key)
    assert not conduct.closed_to_newcomers(Experiment.objects.get(pk=experiment.pk))
    erasing.finish_erasures()
    assert "Nobody is in its segment" in conduct.closed_to_newcomers(Experiment.objects.get(pk=experiment.pk))


def test_plan_for_a_segment_is_written_copied_and_shown(segment: Segment, admin_client: Client) -> None:
    admin_client.post(f"{URL}add/", PLAN | {"segment": segment.pk})
    draft = Experiment.objects.get()
    assert draft.segment == segment
    question = admin_client.get(f"{URL}{draft.pk}/start/").content.decode()
    assert "Only shoppers of “bags” come in" in question
    admin_client.post(f"{URL}{draft.pk}/start/")
    assert "<dt>Segment</dt><dd>bags</dd>" in admin_client.get(f"{URL}{draft.pk}/change/").content.decode()
    assert "50 % of shoppers · bags" in admin_client.get(URL).content.decode()
    admin_client.post(f"{URL}{draft.pk}/stop/")
    admin_client.post(f"{URL}{draft.pk}/copy/")
    assert Experiment.objects.order_by("-pk")[0].segment == segment


def test_part_of_a_merged_segment_cannot_be_planned_for(segment: Segment, admin_client: Client) -> None:
    other, _third = (Segment.objects.create(number=number, n_people=9) for number in (2, 3))
    merging.merge([segment.pk, other.pk], name="Both")
    page = admin_client.post(f"{URL}add/", PLAN | {"segment": segment.pk}).content.decode()
    assert "Select a valid choice" in page
    assert not Experiment.objects.exists()
