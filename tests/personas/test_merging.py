"""Merging segments: one stands for several, night after night, until somebody divides it again."""

from __future__ import annotations

import datetime as dt

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from recommender.capture import privacy
from recommender.exceptions import SegmentError
from recommender.models import Event, Experiment, Rule, Segment, Visitor, WatchedQuery
from recommender.outreach.members import members
from recommender.personas import merging, segmentation
from recommender.rules.checking import faults_of
from recommender.serving import current
from tests.admin.test_experiments import clerk
from tests.personas.test_segmentation import NOW, SEGMENTS, _catalogue, bought, grouped

__all__ = ["_catalogue"]

pytestmark = pytest.mark.django_db


def make(number: int, name: str = "", **fields: object) -> Segment:
    """A segment of five people that likes one category more than all visitors do."""
    fields = {
        "name": name or f"kind {number}",
        "n_people": 5,
        "axes": [["category", "bags", 0.6 if number == 1 else 0.1, 0.3], ["price", "low", 0.3, 0.3]],
        "traits": [["category", "bags", "bags", 0.6, 0.3]] if number == 1 else [],
        "item_counts": {"item:1": float(number)},
        **fields,
    }
    return Segment.objects.create(number=number, **fields)


def three() -> tuple[Segment, Segment, Segment]:
    return make(1), make(2), make(3)


def test_merged_segment_sums_up_its_parts() -> None:
    one, two, _three = three()
    whole = merging.merge([one.pk, two.pk], name=" Friends of bags ")
    assert (str(whole), whole.n_people, whole.item_counts) == ("Friends of bags", 10, {"item:1": 3.0})
    assert whole.axes == [["category", "bags", pytest.approx(0.35), 0.3], ["price", "low", pytest.approx(0.3), 0.3]]
    assert whole.traits == [["category", "bags", "bags", 0.35, 0.3]]
    assert [str(row) for row in Segment.objects.in_use()] == ["kind 3", "Friends of bags"]


def test_merge_outlasts_the_next_grouping_and_dividing_restores_the_parts() -> None:
    visitors = grouped()
    before = dict(Visitor.objects.values_list("pk", "segment__number"))
    christmas, bags, _clocks = (Visitor.objects.get(pk=visitor.pk).segment for visitor in visitors[:3])
    assert christmas is not None
    assert bags is not None
    whole = merging.merge([christmas.pk, bags.pk], name="Gifts")

    segmentation.refresh(at=NOW + dt.timedelta(hours=1))
    whole.refresh_from_db()
    assert whole.retired_at is None
    assert whole.n_people == 120
    assert [segmentation.segment_of(visitor.key) for visitor in visitors[:2]] == [whole, whole]
    assert segmentation.segment_of(visitors[2].key) != whole
    assert whole.traits

    merging.divide(whole.pk)
    assert dict(Visitor.objects.values_list("pk", "segment__number")) == before
    assert segmentation.segment_of(visitors[0].key) == christmas
    segmentation.refresh(at=NOW + dt.timedelta(hours=2))
    assert Segment.objects.get(pk=whole.pk).retired_at is not None


def test_merged_segment_whose_parts_are_all_gone_retires() -> None:
    one, two, _three = three()
    whole = merging.merge([one.pk, two.pk], name="Gifts")
    Segment.objects.filter(pk=one.pk).update(retired_at=NOW)
    merging.renew()
    assert Segment.objects.get(pk=whole.pk).n_people == 5
    whole.parts.update(retired_at=NOW)
    merging.renew()
    whole.refresh_from_db()
    assert (whole.retired_at is not None, whole.n_people) == (True, 0)


def test_a_new_segment_never_takes_the_number_of_a_merged_one() -> None:
    one, two, _three = three()
    whole = merging.merge([one.pk, two.pk], name="Both")
    visitors = grouped()
    whole.refresh_from_db()
    assert (str(whole), whole.is_merged) == ("Both", True)
    assert not Visitor.objects.filter(segment=whole).exists()
    assert all(number is not None and number < merging.FIRST_NUMBER for number in _numbers(visitors))


def _numbers(visitors: list[Visitor]) -> list[int | None]:
    pks = [visitor.pk for visitor in visitors]
    return list(Visitor.objects.filter(pk__in=pks).values_list("segment__number", flat=True))


def test_rules_experiments_and_watched_queries_follow_and_return() -> None:
    one, two, other = three()
    rule = Rule.objects.create(name="r", action="banner", segment=one, version=4, state="live")
    stays = Rule.objects.create(name="s", action="banner", segment=other)
    over = Rule.objects.create(name="o", action="banner", segment=one, state="withdrawn")
    experiment = Experiment.objects.create(name="e", segment=two, state="live", started_at=NOW)
    ended = Experiment.objects.create(name="f", segment=two, state="finished")
    queries = [WatchedQuery.objects.create(query="tea", segment=row, item_ids=[]) for row in (one, two)]
    whole = merging.merge([one.pk, two.pk], name="Both")

    def named() -> list[int | None]:
        rows = (rule, stays, over, experiment, ended, *queries)
        for row in rows:
            row.refresh_from_db()
        return [row.segment_id for row in rows]

    assert named() == [whole.pk, other.pk, one.pk, whole.pk, two.pk, whole.pk, two.pk]
    assert rule.version == 5
    late = Rule.objects.create(name="late", action="banner", text="x", segment=whole)
    assert merging.left_behind(whole).rules == (late,)

    merging.divide(whole.pk)
    assert named() == [one.pk, other.pk, one.pk, two.pk, two.pk, one.pk, two.pk]
    assert rule.version == 6
    assert "Nobody is in this segment any more" in faults_of(Rule.objects.get(pk=late.pk), host="shop")["segment"]


def test_part_of_a_merged_segment_is_no_condition_of_a_new_rule() -> None:
    one, two, _three = three()
    merging.merge([one.pk, two.pk], name="Both")
    rule = Rule(name="r", action="banner", text="x", segment=Segment.objects.get(pk=one.pk))
    assert "part of “Both”" in faults_of(rule, host="shop")["segment"]


def test_merging_a_merged_segment_is_taken_back_one_merge_at_a_time() -> None:
    one, two, three_, _four = *three(), make(4)
    rule = Rule.objects.create(name="r", action="banner", segment=one)
    inner = merging.merge([one.pk, two.pk], name="Inner")
    outer = merging.merge([inner.pk, three_.pk], name="Outer")
    assert set(outer.parts.values_list("number", flat=True)) == {1, 2, 3}
    assert outer.n_people == 15
    merging.divide(outer.pk)
    inner.refresh_from_db()
    rule.refresh_from_db()
    assert (inner.retired_at, inner.n_people, rule.segment_id) == (None, 10, inner.pk)
    merging.divide(inner.pk)
    rule.refresh_from_db()
    assert rule.segment_id == one.pk
    assert set(Segment.objects.in_use()) == {one, two, three_, _four}


@pytest.mark.parametrize(
    ("chosen", "name", "repair"),
    [
        ((), "New", "Choose at least two"),
        ((1,), "New", "Choose at least two"),
        ((1, 2, 3), "New", "Leave at least one out"),
        ((1, 2), "  ", "Give the merged segment a name"),
        ((1, 2), "KIND 3", "Choose another name"),
        ((1, 2), "x" * 161, "Choose a shorter one"),
        ((1, 99), "New", "Choose at least two"),
    ],
)
def test_merge_that_makes_no_sense_is_refused_with_its_repair(chosen: tuple[int, ...], name: str, repair: str) -> None:
    three()
    pks = dict(Segment.objects.values_list("number", "pk"))
    with pytest.raises(SegmentError, match=repair):
        merging.merge([pks.get(number, 12345) for number in chosen], name=name)
    assert not Segment.objects.filter(is_merged=True).exists()


def test_a_merge_may_have_the_name_of_one_of_its_parts() -> None:
    one, two, _three = three()
    assert str(merging.merge([one.pk, two.pk], name="kind 1")) == "kind 1"


def test_second_of_two_people_is_told_what_the_first_did() -> None:
    one, two, other = three()
    make(4)
    whole = merging.merge([one.pk, two.pk], name="First")
    with pytest.raises(SegmentError, match="“kind 2” is part of “First” meanwhile"):
        merging.merge([two.pk, other.pk], name="Second")
    Segment.objects.filter(pk=other.pk).update(retired_at=timezone.now())
    with pytest.raises(SegmentError, match="“kind 3” is gone meanwhile"):
        merging.merge([whole.pk, other.pk], name="Second")
    merging.divide(whole.pk)
    with pytest.raises(SegmentError, match="somebody has divided it already"):
        merging.divide(whole.pk)


def test_members_filters_and_the_export_of_a_person_go_by_the_merged_segment(admin_client: Client) -> None:
    one, two, _three = three()
    ada = Visitor.objects.create(user_key="ada", segment=one)
    Event.objects.bulk_create([bought(ada, 1, NOW)])
    whole = merging.merge([one.pk, two.pk], name="Both")
    assert [member.user_key for member in members(whole, current().shelf)] == ["ada"]
    assert privacy.export(user_key="ada")["visitors"][0]["segment"] == "Both"
    personas = admin_client.get(f"/admin/recommender/persona/?segment={whole.number}").content.decode()
    assert f"/persona/{ada.pk}/change/" in personas
    assert "Both</td>" in personas
    nobody = admin_client.get("/admin/recommender/persona/?segment=3").content.decode()
    assert f"/persona/{ada.pk}/change/" not in nobody


def test_nightly_grouping_does_not_undo_a_name_given_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    grouped()
    segment = Segment.objects.order_by("number")[0]
    real = segmentation.trait_in_words

    def slow(*positional: object, **named: object) -> str:
        Segment.objects.filter(pk=segment.pk).update(own_name="Given meanwhile")
        return str(real(*positional, **named))  # type: ignore[arg-type]

    monkeypatch.setattr(segmentation, "trait_in_words", slow)
    segmentation.refresh(at=NOW + dt.timedelta(hours=1))
    segment.refresh_from_db()
    assert segment.own_name == "Given meanwhile"


def test_merging_asks_first_says_what_follows_and_is_written_down(admin_client: Client) -> None:
    one, two, _three = three()
    Rule.objects.create(name="Bags first", action="banner", segment=one)
    Experiment.objects.create(name="Calmer", segment=two)
    chosen = {"action": "merge_selected", "_selected_action": [one.pk, two.pk]}
    response = admin_client.post(SEGMENTS, chosen)
    question = admin_client.get(response["Location"]).content.decode()
    for text in ("“kind 1” (5)", "one segment of 10 shoppers", "“Bags first”", "“Calmer”", "divided again"):
        assert text in question, text
    assert not Segment.objects.filter(is_merged=True).exists()

    page = admin_client.post(response["Location"], {"name": "Kind 3"}).content.decode()
    assert "There is a segment “Kind 3” already" in page
    assert 'value="Kind 3"' in page
    page = admin_client.post(response["Location"], {"name": "Both"}, follow=True).content.decode()
    whole = Segment.objects.get(is_merged=True)
    assert "“Both” is one segment now" in page
    assert "kind 1 (5), kind 2 (5)" in page
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (str(whole.pk), "Merged from “kind 1”, “kind 2”.")

    question = admin_client.get(f"{SEGMENTS}{whole.pk}/divide/").content.decode()
    assert "“kind 1”, “kind 2”" in question
    assert "These return to the segment that they named: “Bags first”, “Calmer”" in question
    admin_client.post(f"{SEGMENTS}{whole.pk}/divide/")
    assert Segment.objects.in_use().count() == 3
    assert LogEntry.objects.filter(change_message__startswith="Divided into").exists()


def test_merging_less_than_two_leads_back_to_the_list_with_the_repair(admin_client: Client) -> None:
    one, *_others = three()
    page = admin_client.get(f"{SEGMENTS}merge/?segment={one.pk}", follow=True).content.decode()
    assert "Choose at least two segments to merge." in page


def test_dividing_what_is_not_merged_leads_back_to_the_list(admin_client: Client) -> None:
    one, *_others = three()
    page = admin_client.get(f"{SEGMENTS}{one.pk}/divide/", follow=True).content.decode()
    assert "This segment is not merged, or not any more: choose another." in page


def test_merging_and_dividing_need_their_permission(admin_client: Client) -> None:
    one, two, _three = three()
    url = f"{SEGMENTS}merge/?segment={one.pk}&segment={two.pk}"
    client = clerk("view_segment", "change_segment")
    assert client.post(url, {"name": "Both"}).status_code == 403
    assert "merge_selected" not in client.get(SEGMENTS).content.decode()
    whole = merging.merge([one.pk, two.pk], name="Both")
    assert client.post(f"{SEGMENTS}{whole.pk}/divide/").status_code == 403
    assert "divide/" not in client.get(f"{SEGMENTS}{whole.pk}/change/").content.decode()
    assert "divide/" in admin_client.get(f"{SEGMENTS}{whole.pk}/change/").content.decode()


def test_second_of_two_names_is_refused(admin_client: Client) -> None:
    one, *_others = three()
    url = f"{SEGMENTS}{one.pk}/change/"
    assert 'name="read_name"' in admin_client.get(url).content.decode()
    admin_client.post(url, {"own_name": "First", "read_name": ""})
    page = admin_client.post(url, {"own_name": "Second", "read_name": ""}).content.decode()
    assert "Somebody has named it “First” since you opened this page" in page
    one.refresh_from_db()
    assert one.own_name == "First"
