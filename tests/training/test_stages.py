"""A run from its lease to its end: on real orders, on thin data, cancelled, killed, and never looking ahead."""

import dataclasses
import datetime as dt
import itertools
import threading

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone

from recommender import bundles, datasets, runs, serving
from recommender.exceptions import InsufficientData
from recommender.features.shop_state import build_state
from recommender.models import Bundle, Event, Item, ItemStatistics, Run, Visitor, WatchedQuery
from recommender.runs import supervision
from recommender.runs.comparisons import GUARDRAILS
from recommender.training import fitting, run, stages
from recommender.training.judging import evaluation, judge
from recommender.training.judging.gate import Decision, Review
from recommender.training.split import split_in_time
from recommender.training.watch import SHARES, Watch
from recommender.types import Rung

SETTINGS = {
    "minutes": 0.05, "encoder": "scratch", "seed": 1, "least_pairs": 20, "least_examples": 20, "least_lists": 5,
    "least_steps": 0, "least_tuning_steps": 0, "least_cases": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _scratch_encoder(settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}


def leased(**settings):
    requested = runs.request_run(trigger="command", settings={**SETTINGS, **settings})
    return requested, runs.lease(requested.pk, worker="test")


def trained(**settings):
    run_row, token = leased(**settings)
    run(run_row.pk, token)
    run_row.refresh_from_db()
    return run_row


def add_item(name="mug"):
    return Item.objects.create(
        item_id=name, label="shop.Product", object_id=name, title=name, text=name, text_hash=name
    )


def _at_stage(watch, name, act):
    """Let something happen just as a stage begins."""
    begin = watch.stage

    def stage(begun):
        begin(begun)
        if begun == name:
            act()

    return stage


def buy(item_id, *, days_ago, visitor=None, order=""):
    Event.objects.create(
        message_id=f"m{Event.objects.count()}", type="purchase", item_id=item_id, visitor=visitor, order_id=order,
        occurred_at=timezone.now() - dt.timedelta(days=days_ago), source="order",
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_run_on_real_orders_ends_with_figures_a_bundle_and_a_reason(live_demo_shop):
    watched = WatchedQuery.objects.create(query="red bag")
    ended = trained(least_texts=20, fine_tuning="lora")
    assert (ended.state, ended.verdict) == (Run.State.SUCCEEDED, Run.Verdict.REFUSED), ended.reason
    assert ended.metrics["encoder"]["fine_tuning"] == "lora"
    assert ended.reason.startswith(
        "The previous model keeps serving, because the new model is surely better on neither"
    )
    names = {
        "random", "popularity", "own_frequency", "item_knn", "tifu_knn", "ease", "blend", "lexical", "untuned_encoder",
        "linear_baseline", "champion", "ranker",
    }  # fmt: skip
    for scope in ("all", "new"):
        assert set(ended.metrics["lists"][scope]) == names
        assert set(ended.metrics["intervals"][scope]) == names - {"ranker"}
        for figures in ended.metrics["lists"][scope].values():
            assert set(figures) == {"ndcg", "recall", "mrr", "coverage", "popularity_share"}
            assert all(0 <= value <= 1 for value in figures.values())
    assert ended.metrics["served"] == "champion"
    for groups in (ended.metrics["exposure"][name] for name in ("price", "newness")):
        assert sum(group["exposure"][1] for group in groups) == pytest.approx(1)
        assert sum(group["catalogue"] for group in groups) == pytest.approx(1)
    assert {row["name"] for row in ended.metrics["guardrails"]} == set(GUARDRAILS)
    rails = {row["name"]: row for row in ended.metrics["guardrails"]}
    assert rails["parity"]["verdict"] == rails["future"]["verdict"] == "held"
    assert rails["parity"]["n"] > 0
    assert "are needed" in rails["tail_query"]["note"]
    assert {"tuned", "untuned", "lexical", "kept", "n_queries"} <= set(ended.metrics["search"])
    assert ended.report["n_read"] > 500
    assert set(SHARES) == set(ended.seconds) | {"teacher", "impressions"}  # no grades and no lists that were shown
    assert ended.losses
    assert ended.progress == 1.0
    assert ended.bundle.state == Bundle.State.CANDIDATE
    assert not bundles.items_without_vector(ended.bundle.encoder_hash).exists()
    assert [path.name for path in supervision.log_path(ended.pk).parent.iterdir()] in ([], ["log.txt"])
    result = watched.results.get()
    assert result.run == ended
    assert 0 < result.overlap <= 1
    assert 0 < len(result.item_ids) <= 10
    assert result.ndcg is None, "nobody graded an answer"


@pytest.mark.django_db(transaction=True)
def test_promoted_bundle_serves_the_next_list(live_demo_shop, monkeypatch):
    before = trained().metrics
    promoting = lambda measured, least_cases: Decision(Run.Verdict.PROMOTED, "ranker", "Planted.")  # noqa: E731
    monkeypatch.setattr(judge, "decide", promoting)
    ended = trained(seed=2)
    assert ended.verdict == Run.Verdict.PROMOTED
    assert bundles.champion() == ended.bundle
    assert serving.reload().bundle == ended.bundle.name
    assert serving.reload().rung == Rung.CHAMPION
    assert before["champion"] == "champion"
    assert ItemStatistics.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_run_that_lost_its_lease_at_its_very_end_promotes_nothing(live_demo_shop, monkeypatch):
    """A promotion and the end of its run are recorded together or not at all."""
    promoting = lambda measured, least_cases: Decision(Run.Verdict.PROMOTED, "ranker", "Planted.")  # noqa: E731
    monkeypatch.setattr(judge, "decide", promoting)
    before, finish = bundles.ensure_champion(), runs.finish

    def too_late(run_id, token, **ending):
        Run.objects.filter(pk=run_id).update(fencing_token=token + 1)
        finish(run_id, token, **ending)

    monkeypatch.setattr(runs, "finish", too_late)
    left = trained()
    assert (left.state, left.verdict) == (Run.State.RUNNING, "")
    assert Bundle.objects.filter(is_trained=True).exists()
    assert bundles.champion() == before


@pytest.mark.django_db(transaction=True)
def test_few_cases_are_pooled_with_earlier_windows_and_judged_by_expectation(live_demo_shop, monkeypatch):
    windows = []

    def trained_before(split, settings, folder, watch, *, share):
        """To train anew takes minutes: what the run itself trained stands in."""
        windows.append(split)
        return fitting.fitted(split, settings, folder.parent, watch)

    monkeypatch.setattr(judge, "fitted", trained_before)
    ended = trained(least_cases=500)
    assert all(split.past.time.max() < split.test_start for split in windows)
    starts = [split.test_start for split in windows]
    assert starts == sorted(starts, reverse=True)
    n_windows, n_cases = ended.metrics["n_windows"], ended.metrics["n_cases"]["all"]
    assert n_windows == 1 + len(windows) > 1
    assert n_cases > len(evaluation.cases(split_in_time(datasets.read_dataset()), most=1_000, seed=1))
    spread = ended.metrics["rolling"]["lists"]["all"]["ranker"]
    assert len(spread["windows"]) == ended.metrics["rolling"]["n_windows"] == n_windows - 1
    gains = [ended.metrics["intervals"][scope]["champion"][1] for scope in ("all", "new")]
    is_expected = sum(gains) > 0
    assert ended.verdict == (Run.Verdict.PROVISIONAL if is_expected else Run.Verdict.REFUSED), ended.reason
    assert (bundles.champion() == ended.bundle) == bundles.champion().is_provisional == is_expected


@pytest.mark.django_db(transaction=True)
def test_stage_that_was_cut_off_before_it_learned_ends_the_run_before_the_gate(live_demo_shop, monkeypatch):
    monkeypatch.setattr(judge, "decide", lambda *_, **__: pytest.fail("the gate judges what has not learned"))
    monkeypatch.setattr(stages, "review", lambda *_, **__: Review(Review.Result.TAKEN_BACK, "It was taken back."))
    ended = trained(least_steps=20)
    assert (ended.state, ended.verdict) == (Run.State.SUCCEEDED, Run.Verdict.TOO_SHORT), ended.reason
    assert ended.reason.startswith("The previous model keeps serving, because there was not enough time: the stage")
    assert "recommender_train --minutes" in ended.reason
    assert ended.reason.endswith(" It was taken back.")
    assert not Bundle.objects.filter(is_trained=True).exists()
    assert "clock" in ended.provenance["ended_by"].values()


@pytest.mark.django_db(transaction=True)
def test_no_event_ends_as_insufficient_data():
    add_item("mug")
    add_item("bag")
    ended = trained()
    assert (ended.state, ended.verdict) == (Run.State.SUCCEEDED, Run.Verdict.INSUFFICIENT)
    assert "0 usable events" in ended.reason
    assert "recommender_reconcile" in ended.reason


@pytest.mark.django_db(transaction=True)
def test_three_events_end_as_insufficient_data():
    add_item("mug")
    add_item("bag")
    for days_ago in (1, 2, 3):
        buy("mug", days_ago=days_ago, visitor=Visitor.objects.create())
    ended = trained()
    assert ended.verdict == Run.Verdict.INSUFFICIENT
    assert "3 usable events of 3" in ended.reason


@pytest.mark.django_db(transaction=True)
def test_one_item_ends_as_insufficient_data():
    add_item("mug")
    ann = Visitor.objects.create()
    for days_ago in range(100):
        buy("mug", days_ago=days_ago, visitor=ann, order=f"o{days_ago}")
    ended = trained()
    assert ended.verdict == Run.Verdict.INSUFFICIENT
    assert "1 active items" in ended.reason


@pytest.mark.django_db(transaction=True)
def test_orders_without_visitors_end_as_insufficient_data():
    for name in ("mug", "bag", "lamp"):
        add_item(name)
    for number in range(100):
        buy(("mug", "bag", "lamp")[number % 3], days_ago=number, order=f"o{number}")
    ended = trained()
    assert ended.verdict == Run.Verdict.INSUFFICIENT
    assert "0 visitors came before the test window" in ended.reason
    assert "100 of 100 purchases belong to no visitor" in ended.reason


@pytest.mark.django_db(transaction=True)
def test_cancelled_run_stops_at_the_next_step(live_demo_shop, monkeypatch):
    requested, token = leased(minutes=5)
    watch = Watch(requested.pk, token)
    monkeypatch.setattr(watch, "stage", _at_stage(watch, "encoder", lambda: runs.cancel(requested)))
    run(requested.pk, token, watch=watch)
    requested.refresh_from_db()
    assert (requested.state, requested.reason) == (Run.State.CANCELLED, "Cancelled by a command.")
    assert not Bundle.objects.filter(is_trained=True).exists()


@pytest.mark.django_db(transaction=True)
def test_run_that_lost_its_lease_writes_nothing_more(live_demo_shop, monkeypatch):
    requested, token = leased()
    watch = Watch(requested.pk, token)
    taken = lambda: Run.objects.filter(pk=requested.pk).update(fencing_token=token + 1)  # noqa: E731
    monkeypatch.setattr(watch, "stage", _at_stage(watch, "encoder", taken))
    run(requested.pk, token, watch=watch)
    requested.refresh_from_db()
    assert (requested.state, requested.fencing_token, requested.verdict) == (Run.State.RUNNING, token + 1, "")
    assert not Bundle.objects.filter(is_trained=True).exists()


@pytest.mark.django_db(transaction=True)
def test_interrupted_run_is_queued_again_and_resumes_from_its_files(live_demo_shop, monkeypatch):
    requested, token = leased()
    watch = Watch(requested.pk, token)
    monkeypatch.setattr(watch, "stage", _at_stage(watch, "evaluation", watch.interrupt))
    run(requested.pk, token, watch=watch)
    requested.refresh_from_db()
    assert requested.state == Run.State.QUEUED
    fit = fitting.fit

    def only_untuned(data, settings, watch):
        """On so small a shop tuning harms search by chance, and the rest is then trained on the untuned encoder."""
        assert settings.least_pairs == fitting.NEVER, "what was trained is trained again"
        return fit(data, settings, watch)

    monkeypatch.setattr(fitting, "fit", only_untuned)
    monkeypatch.setattr(datasets, "read_dataset", lambda: pytest.fail("the data is read again"))
    run(requested.pk, runs.lease(requested.pk, worker="second"))
    requested.refresh_from_db()
    assert requested.state == Run.State.SUCCEEDED, requested.reason
    assert requested.metrics["lists"]["all"]["ranker"]
    (before,) = requested.provenance["attempts"]
    assert before["seconds"]["encoder"] > 0
    assert requested.provenance["data_hash"]


@pytest.mark.django_db(transaction=True)
def test_tuning_that_harms_search_trains_the_rest_untuned(live_demo_shop, monkeypatch):
    monkeypatch.setattr(judge, "SEARCH_TOLERANCE", -2.0)  # whatever the gain, it is too little
    fit, least_pairs = fitting.fit, []

    def noted(data, settings, watch):
        least_pairs.append(settings.least_pairs)
        return fit(data, settings, watch)

    monkeypatch.setattr(fitting, "fit", noted)
    ended = trained()
    assert ended.state == Run.State.SUCCEEDED, ended.reason
    assert least_pairs == [SETTINGS["least_pairs"], fitting.NEVER]
    search = ended.metrics["search"]
    assert search["kept"] == "untuned"
    assert 0 < search["kept_mrr"] <= 1


@pytest.mark.django_db(transaction=True)
def test_failure_is_told_in_words_with_its_stage(live_demo_shop, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(fitting, "fit", broken)
    ended = trained()
    assert ended.state == Run.State.FAILED
    assert "ZeroDivisionError: planted at stage dataset" in ended.reason


@pytest.mark.django_db(transaction=True)
def test_heartbeat_goes_on_while_a_stage_is_silent(live_demo_shop, monkeypatch):
    monkeypatch.setattr("recommender.training.watch.BEAT_SECONDS", 0.05)
    requested, token = leased()
    silence = threading.Event()
    with Watch(requested.pk, token) as watch:
        watch.stage("encoder")
        Run.objects.filter(pk=requested.pk).update(heartbeat_at=None)
        silence.wait(0.5)
    requested.refresh_from_db()
    assert requested.heartbeat_at is not None
    assert requested.stage == "encoder"


@pytest.mark.django_db(transaction=True)
def test_process_forks_between_two_beats_and_with_no_connection(live_demo_shop, monkeypatch):
    monkeypatch.setattr("recommender.training.watch.BEAT_SECONDS", 0.02)
    requested, token = leased()
    beating, opened = [], []
    write = runs.heartbeat

    def heartbeat(*arguments, **columns):
        beating.append(True)
        try:
            return write(*arguments, **columns)
        finally:
            beating.pop()

    monkeypatch.setattr(runs, "heartbeat", heartbeat)
    with Watch(requested.pk, token) as watch:
        for _ in range(20):
            Run.objects.count()
            with watch.apart():
                is_in_memory = connection.vendor == "sqlite" and connection.is_in_memory_db()
                opened += beating if is_in_memory else [*beating, *filter(None, [connection.connection])]
    assert not opened


def test_progress_never_falls():
    watch = Watch(0, 0)
    seen = []
    for stage in ("dataset", "encoder", "a stage of tomorrow", "head", "evaluation", "bundle", "evaluation"):
        watch.stage(stage)
        for done in (0, 5, 10):
            watch.step(done, 10)
            seen.append(watch.progress)
    assert seen == sorted(seen)
    assert 0.9 < seen[-1] <= 1


def test_split_is_global_in_time_and_the_newest_fifth_of_a_short_past(demo_shop):
    dataset = datasets.read_dataset()
    split = split_in_time(dataset)
    assert split.past.time.max() < split.test_start < split.test_end
    assert split.test_end - split.test_start == pytest.approx(30 * 86_400)
    short = dataset.recorded.take(dataset.recorded.interactions.time > split.test_end - 50 * 86_400)
    split = split_in_time(dataclasses.replace(dataset, recorded=short))
    span = split.test_end - short.interactions.time[0]
    assert split.test_end - split.test_start == pytest.approx(span / 5)


def test_item_first_seen_in_the_test_window_is_not_ranked(demo_shop):
    newest = Item.objects.order_by("pk").first()
    Event.objects.filter(item_id=newest.item_id).update(occurred_at=Event.objects.latest("occurred_at").occurred_at)
    Item.objects.filter(pk=newest.pk).update(first_seen_at=timezone.now())
    dataset = datasets.read_dataset()
    assert dataset.items.active[0]
    assert not split_in_time(dataset).items.active[0]


def test_what_happens_in_the_test_window_changes_nothing_that_is_fitted(demo_shop):
    """The canary: refunds, floods, huge orders and new visitors after the cut leave every number before it alone."""
    dataset = datasets.read_dataset()
    before = split_in_time(dataset)
    recorded = dataset.recorded
    later = recorded.interactions.time >= before.test_start
    generator = np.random.default_rng(0)
    scrambled = dataclasses.replace(
        recorded.interactions,
        type=np.where(later, generator.choice([2, 6, 7], len(later)), recorded.interactions.type).astype(np.int8),
        item=np.where(later, generator.permutation(recorded.interactions.item), recorded.interactions.item),
        quantity=np.where(later, 1e6, recorded.interactions.quantity).astype(np.float32),
        visitor=np.where(later, 0, recorded.interactions.visitor).astype(np.int32),
    )
    after = split_in_time(dataclasses.replace(dataset, recorded=dataclasses.replace(recorded, interactions=scrambled)))
    assert datasets.data_hash(after.past, after.items) == datasets.data_hash(before.past, before.items)
    n_past = len(before.past)
    assert len(after.whole) != len(before.whole) or (after.whole.item != before.whole.item).any()
    for name in ("visitor", "item", "type", "time", "quantity", "basket"):
        assert np.array_equal(getattr(after.whole, name)[:n_past], getattr(before.whole, name)[:n_past])
    states = [build_state(split.whole, split.items, at=before.test_start) for split in (before, after)]
    assert np.array_equal(states[0].counts, states[1].counts)
    assert np.array_equal(states[0].visitor.score, states[1].visitor.score)


def test_case_knows_only_what_came_before_the_test(demo_shop):
    split = split_in_time(datasets.read_dataset())
    cases = evaluation.cases(split, most=1_000, seed=0)
    assert len(cases) >= 10
    for case in cases:
        assert case.request.context.at.timestamp() == pytest.approx(split.test_start)
        assert all(event.at < case.request.context.at for event in case.request.history)
        assert case.truth
        assert not case.wanted("new") & set(case.own.tolist())


def test_new_items_list_holds_nothing_known_and_perfect_lists_score_one(demo_shop):
    split = split_in_time(datasets.read_dataset())
    state = build_state(split.past, split.items, at=split.test_start)
    some = evaluation.cases(split, most=30, seed=0)
    seen = []

    def perfect(case, scope):
        return sorted(case.wanted(scope))

    def popular(profile, state, items):
        seen.append(len(profile.item))
        return state.counts[:, 3]

    rankers = {"ranker": perfect, "popularity": evaluation.scored(popular, state, split.items)}
    results = evaluation.compare(rankers, some)
    figures = evaluation.figures(results, state, split.items, seed=0)
    for scope in ("all", "new"):
        assert figures.lists[scope]["ranker"].ndcg == pytest.approx(1)
        assert figures.intervals[scope]["popularity"].low > 0
        assert figures.best_competitor[scope] == "popularity"
    own = [set(case.own.tolist()) for case in some if case.wanted("new")]
    lists = results.lists["new"]["popularity"]
    assert all(not own_items & set(listed) for own_items, listed in zip(own, lists, strict=True))


def test_number_of_cases_does_not_depend_on_the_clock(demo_shop, monkeypatch):
    split = split_in_time(datasets.read_dataset())
    some = evaluation.cases(split, most=15, seed=0)
    clock = itertools.count(step=3_600)
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    results = evaluation.compare({"ranker": lambda case, scope: []}, some)
    assert len(results.truths["all"]) == 15


def test_history_without_events_before_the_test_is_insufficient(db):
    for name in ("mug", "bag"):
        add_item(name)
    with pytest.raises(InsufficientData, match="at least 50"):
        split_in_time(datasets.read_dataset())
