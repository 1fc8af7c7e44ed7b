"""Lists that were shown: how they are read, how far down shoppers look, and what heads learn from it."""

import dataclasses
import datetime as dt
import json
import uuid

import numpy as np
import pytest
from scipy import stats

from recommender import datasets
from recommender.datasets import files as dataset_files
from recommender.datasets import impressions, pages
from recommender.durations import LABEL_WINDOW_SECONDS
from recommender.exceptions import BundleError
from recommender.features import FEATURE_NAMES
from recommender.features.head import NEW_SHARE, NEWCOMERS, Heads
from recommender.features.shop_state import build_state
from recommender.ml.artifacts import Artifacts
from recommender.ml.context import model as context
from recommender.ml.encoder.model import SCRATCH
from recommender.ml.export import write
from recommender.ml.hardware import limit_threads
from recommender.ml.head import additive as head
from recommender.ml.head import multitask, position, shown
from recommender.ml.head.lists import ShopHistory
from recommender.ml.head.shown import ShownItems
from recommender.ml.histories import Histories
from recommender.ml.metrics import ProbabilityScores
from recommender.ml.plan import TrainingData, TrainingSettings, until
from recommender.ml.train import fit
from recommender.models import Event, Impression, Item, Visitor
from recommender.serving.ranker import Ranker
from recommender.tables import Impressions
from recommender.types import SLOT_CODES, Slot
from tests import behaviour

NOW = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
K = 8
LOOKED = 1 / np.arange(1, K + 1) ** 0.8
"""How often each position is looked at in the simulated shop."""

OLD, LIKED = FEATURE_NAMES.index("knn"), FEATURE_NAMES.index("price_level")
"""What the old ranker went by, and what shoppers really go by."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    limit_threads(1)


def simulated(n_lists: int, *, seed: int, slot: Slot = Slot.HOME, looked: np.ndarray = LOOKED) -> ShownItems:
    """Lists in the order of a ranker that knows little of what shoppers like; clicks need a look, carts a click."""
    generator = np.random.default_rng(seed)
    n = n_lists * K
    rows = np.zeros((n_lists, K, len(FEATURE_NAMES)), np.float32)
    rows[:, :, OLD], rows[:, :, LIKED] = generator.normal(size=(2, n_lists, K))
    score = rows[:, :, OLD] + 0.3 * rows[:, :, LIKED] + 0.5 * generator.normal(size=(n_lists, K))
    rows = np.take_along_axis(rows, np.argsort(-score, axis=1)[:, :, None], axis=1).reshape(n, -1)
    index = np.tile(np.arange(K), n_lists)
    clicked = (generator.random(n) < looked[index]) & (generator.random(n) < attraction(rows))
    carted = clicked & (generator.random(n) < 0.5)
    bought = carted & (generator.random(n) < attraction(rows))
    return ShownItems(
        rows=rows,
        list=np.repeat(np.arange(n_lists), K),
        slot=np.full(n, SLOT_CODES[slot], np.int8),
        position=(index + 1).astype(np.int32),
        weight=np.ones(n, np.float32),
        labels={
            name: part.astype(np.float32)
            for name, part in zip(("click", "cart", "buy"), (clicked, carted, bought), strict=True)
        },
    )


def attraction(rows: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(1 - 1.2 * rows[:, LIKED]))


def joined(one: ShownItems, two: ShownItems) -> ShownItems:
    parts = {
        field.name: np.concatenate([getattr(one, field.name), getattr(two, field.name)])
        for field in dataclasses.fields(one)
        if field.name != "labels"
    }
    return ShownItems(
        **parts, labels={name: np.concatenate([one.labels[name], two.labels[name]]) for name in one.labels}
    )


def examined(items: ShownItems) -> position.Examination:
    return position.estimate(items.rows, items.slot, items.position, items.labels["click"], weight=items.weight)


@pytest.fixture(scope="module")
def train():
    return simulated(3_000, seed=1)


@pytest.fixture(scope="module")
def later():
    return simulated(1_200, seed=2)


@pytest.fixture(scope="module")
def fitted(train, later):
    return multitask.fit_heads(train, later, settings=multitask.MultitaskSettings())


# How far down shoppers look


def test_position_bias_of_known_size_is_recovered(train):
    curve = examined(train).curves[SLOT_CODES[Slot.HOME], :K]
    assert curve[0] == 1
    np.testing.assert_allclose(curve, LOOKED, atol=0.06)


def test_a_slot_with_clicks_has_its_own_curve_and_one_without_shares_the_common_one(train):
    flat = np.full(K, 0.9)
    flat[0] = 1
    both = examined(joined(train, simulated(3_000, seed=3, slot=Slot.CART, looked=flat)))
    np.testing.assert_allclose(both.curves[SLOT_CODES[Slot.HOME], :K], LOOKED, atol=0.08)
    np.testing.assert_allclose(both.curves[SLOT_CODES[Slot.CART], :K], flat, atol=0.18)
    unseen = both.curves[SLOT_CODES[Slot.SEARCH], :K]
    assert (unseen[1:] > both.curves[SLOT_CODES[Slot.HOME], 1:K]).all()
    assert (unseen[1:] < both.curves[SLOT_CODES[Slot.CART], 1:K]).all()


def test_naive_click_rates_are_no_position_bias(train):
    rate = np.bincount(train.position, weights=train.labels["click"])[1:] / 3_000
    assert np.abs(rate / rate[0] - LOOKED).max() > np.abs(examined(train).curves[0, :K] - LOOKED).max()


def test_weights_are_clipped_and_low_positions_count_as_the_lowest_estimated():
    curves = np.full((len(SLOT_CODES), position.MOST_POSITIONS), 0.01, np.float32)
    examination = position.Examination(curves)
    slot, positions = np.zeros(2, np.int8), np.asarray([2, 900], np.int32)
    assert examination.weights(slot, positions).tolist() == [position.MOST_WEIGHT] * 2
    assert position.exploration_weights(np.asarray([1, 0.25, 1e-4], np.float32)).tolist() == [1, 4, 10]


# What heads learn


def test_heads_order_by_attraction_where_naive_ones_order_by_position(train, later, fitted):
    def blind(items):
        return dataclasses.replace(items, position=np.ones_like(items.position))

    naive = multitask.fit_heads(blind(train), blind(later), settings=multitask.MultitaskSettings())
    rows = np.zeros((400, len(FEATURE_NAMES)), np.float32)
    rows[:, [OLD, LIKED]] = np.random.default_rng(5).normal(size=(400, 2))
    truth = attraction(rows)
    ours, theirs = (of.heads.probabilities(rows)["click"] for of in (fitted, naive))
    assert stats.spearmanr(ours, truth).statistic > 0.97
    assert stats.spearmanr(theirs, truth).statistic < 0.9
    assert stats.spearmanr(theirs, rows[:, OLD]).statistic > 0.3
    assert abs(stats.spearmanr(ours, rows[:, OLD]).statistic) < 0.2


def test_probability_of_a_click_is_that_of_an_item_that_is_looked_at(later, fitted):
    chance = fitted.heads.probabilities(later.rows)["click"]
    assert abs(chance.mean() - attraction(later.rows).mean()) < 0.03
    assert np.abs(chance - attraction(later.rows)).mean() < 0.05


def test_nothing_is_likelier_than_the_click_it_needs(fitted):
    rows = 3 * np.random.default_rng(0).normal(size=(2_000, len(FEATURE_NAMES))).astype(np.float32)
    chances = fitted.heads.probabilities(rows)
    assert list(chances) == ["click", "cart", "buy"]
    assert (chances["buy"] <= chances["click"]).all()
    assert (chances["cart"] <= chances["click"]).all()
    assert min(chance.min() for chance in chances.values()) > 0


def test_scores_compare_what_was_predicted_of_shown_items_with_what_happened(fitted):
    by_event = fitted.scores(simulated(1_500, seed=9))
    assert set(by_event) == {"click", "cart", "buy"}
    for scores in by_event.values():
        assert scores.calibration_error < 0.02
        share = scores.positive_share
        assert scores.log_loss < -share * np.log(share) - (1 - share) * np.log1p(-share)


def test_an_event_that_was_hardly_seen_has_no_probability(train, later):
    never = {"buy": np.zeros_like(later.labels["buy"])}
    unsold = dataclasses.replace(later, labels=later.labels | never)
    model = multitask.fit_heads(train, unsold, settings=multitask.MultitaskSettings(n_epochs=1, least_steps=10))
    assert model.heads.events == ("click", "cart")
    assert set(model.heads.probabilities(train.rows[:3])) == {"click", "cart"}
    unclicked = dataclasses.replace(later, labels={name: 0 * labels for name, labels in later.labels.items()})
    assert multitask.fit_heads(train, unclicked, settings=multitask.MultitaskSettings()) is None


def test_heads_order_lists_only_where_they_are_surely_better(fitted, later):
    settings = multitask.MultitaskSettings()
    newest = simulated(1_500, seed=4)
    heads, gain = multitask.ordering(fitted, newest.rows[:, OLD], newest, settings)
    assert heads.orders
    assert gain > 0.05
    np.testing.assert_array_equal(heads.order(newest.rows), heads.probabilities(newest.rows)["buy"])
    heads, _ = multitask.ordering(fitted, attraction(newest.rows), newest, settings)
    assert not heads.orders
    assert heads.order(newest.rows) is None
    few = dataclasses.replace(settings, least_cases=10**6)
    assert not multitask.ordering(fitted, newest.rows[:, OLD], newest, few)[0].orders


def test_heads_are_written_and_read_equal(fitted, later):
    again = Heads.from_json(fitted.heads.to_json())
    for name, chance in fitted.heads.probabilities(later.rows[:50]).items():
        np.testing.assert_allclose(again.probabilities(later.rows[:50])[name], chance, atol=1e-5)
    np.testing.assert_allclose(again.curves[Slot.HOME], fitted.examination.curves[0, :K], atol=1e-4)
    with pytest.raises(BundleError, match="train a new bundle"):
        Heads.from_json(json.dumps({"format": 99}))


def test_scores_of_every_head_stand_under_its_name():
    first, second, third = (ProbabilityScores(*[number] * 6) for number in (0.1, 0.2, 0.3))
    artifacts = Artifacts(
        None, None, None, None,
        head_scores={"validation": first},
        shown_scores={"validation": {"click": second}, "test": {"click": third}},
    )  # fmt: skip
    assert artifacts.scores_by_head == {
        "click": {"validation": second, "test": third}, "buy": {"validation": first},
    }  # fmt: skip
    artifacts.shown_scores["test"]["buy"] = third
    assert artifacts.scores_by_head["buy"] == {"test": third}
    assert artifacts.scores_by_head["buy_later"] == {"validation": first}


# From events to features

ITEMS = behaviour.table()
EVENTS = behaviour.shop()
END, TEST_END = 75 * behaviour.DAY, 90 * behaviour.DAY
SETTINGS = TrainingSettings(
    minutes=1.0,  # so that a busy machine leaves no list out
    encoder=SCRATCH,
    lists_per_cutoff=30,
    least_pairs=10**9,
    least_examples=10**9,
    least_lists=10,
    least_impressions=300,
    context=context.ContextSettings(width=32, n_epochs=1, n_negatives=16),
    head=head.HeadSettings(n_epochs=2, batch_lists=16),
    multitask=multitask.MultitaskSettings(n_epochs=2, least_steps=60, least_events=10, least_cases=5),
)


def lists_shown(n_lists: int, *, seed: int = 0) -> Impressions:
    """Lists of five items over 90 days; visitors click what is from the half of the shop that they like."""
    generator = np.random.default_rng(seed)
    time = np.sort(generator.uniform(20, 90, n_lists)) * behaviour.DAY
    visitor = generator.integers(0, 60, n_lists).astype(np.int32)
    item = np.concatenate([generator.permutation(12)[:5] for _ in range(n_lists)]).astype(np.int32)
    index = np.tile(np.arange(5), n_lists)
    likes = (item // 6) == np.repeat(visitor % 2, 5)
    looked = generator.random(len(item)) < 1 / (1 + index) ** 0.5
    clicked = looked & (generator.random(len(item)) < np.where(likes, 0.8, 0.1))
    soon, bought = np.repeat(time, 5) + 60, clicked & (generator.random(len(item)) < 0.5)
    return Impressions(
        visitor=visitor,
        slot=np.zeros(n_lists, np.int8),
        time=time,
        query=np.full(n_lists, -1, np.int32),
        current=np.full(n_lists, -1, np.int32),
        start=np.arange(n_lists + 1) * 5,
        item=item,
        position=(index + 1).astype(np.int32),
        propensity=np.ones(len(item), np.float32),
        clicked=np.where(clicked, soon, np.inf),
        carted=np.full(len(item), np.inf),
        bought=np.where(bought, soon, np.inf),
    )


def data(n_lists: int) -> TrainingData:
    return TrainingData(EVENTS, ITEMS, END, END, TEST_END, impressions=lists_shown(n_lists))


@pytest.fixture(scope="module")
def artifacts():
    return fit(data(2_500), SETTINGS)


def test_a_run_learns_from_lists_and_judges_them_twice(artifacts):
    assert artifacts.heads.events == ("click", "buy")
    scores = artifacts.scores_by_head
    assert set(scores) == {"click", "buy", "buy_later"}
    assert all(set(by_window) == {"validation", "test"} for by_window in scores.values())
    assert "impressions" in artifacts.seconds
    assert artifacts.thresholds.keys() == {"buy", NEWCOMERS, NEW_SHARE}


def test_a_bundle_serves_the_heads_that_were_trained(artifacts, tmp_path):
    write(artifacts, tmp_path)
    ranker = Ranker.load(tmp_path)
    rows = np.random.default_rng(0).normal(size=(40, len(FEATURE_NAMES))).astype(np.float32)
    for name, chance in artifacts.heads.probabilities(rows).items():
        np.testing.assert_allclose(ranker.probabilities(rows)[name], chance, atol=1e-5)
    profile = behaviour.profile([(7, 70, 1)], now_day=76)
    vectors = ranker.item_vectors(ranker.encode(ITEMS.texts), ITEMS.ids)
    state = build_state(EVENTS, ITEMS, at=END)
    everything = np.arange(len(ITEMS), dtype=np.int32)
    for orders in (True, False):
        ranker.heads = dataclasses.replace(ranker.heads, orders=orders)
        artifacts.shown = dataclasses.replace(
            artifacts.shown, heads=dataclasses.replace(artifacts.heads, orders=orders)
        )
        scored = ranker.score(profile, everything, state, ITEMS, vectors)
        np.testing.assert_allclose(scored.scores, artifacts.probabilities(scored.features), atol=1e-5)
        assert (np.diff(scored.logits[np.argsort(scored.scores)]) >= -1e-5).all()
    (tmp_path / "golden.json").write_text(
        json.dumps(json.loads((tmp_path / "golden.json").read_text()) | {"chances": {"click": 2.0, "buy": 2.0}})
    )
    with pytest.raises(BundleError, match="golden"):
        Ranker.load(tmp_path)


def test_thin_evidence_changes_nothing(tmp_path):
    none = dataclasses.replace(data(1), impressions=Impressions.none())
    without, few = fit(none, SETTINGS), fit(data(200), SETTINGS)
    assert few.heads is None
    assert few.head.to_json() == without.head.to_json()
    assert few.metrics.keys() == without.metrics.keys()
    assert few.seconds.keys() == without.seconds.keys()
    write(few, tmp_path)
    ranker = Ranker.load(tmp_path)
    rows = np.ones((3, len(FEATURE_NAMES)), np.float32)
    np.testing.assert_allclose(ranker.probabilities(rows)["buy"], without.probabilities(rows), atol=1e-5)
    assert not (tmp_path / "heads.json").exists()


def test_no_list_knows_what_happened_after_it_was_shown():
    lists = lists_shown(300)
    cut = 60 * behaviour.DAY
    chosen = np.flatnonzero(lists.time < cut)

    def rows(interactions):
        shop = ShopHistory(Histories(interactions), ITEMS)
        return shown.shown_items(shop, lists, chosen, most_lists=10**6, seed=0).rows

    np.testing.assert_array_equal(rows(EVENTS), rows(until(EVENTS, cut)))
    states = shown.States(ShopHistory(Histories(EVENTS), ITEMS), lists.time)
    assert all(states.before(at).at <= at for at in lists.time.tolist())


def test_slices_are_over_before_the_next_begins():
    lists = lists_shown(2_000)
    cut = shown.slices(lists, since=30 * behaviour.DAY, until=END)
    parts = (cut.train, cut.calibration, cut.validation)
    assert all(len(part) > 100 for part in parts)
    ends = [lists.time[part].max() + LABEL_WINDOW_SECONDS for part in parts]
    begins = [lists.time[part].min() for part in parts]
    assert ends[0] <= begins[1]
    assert ends[1] <= begins[2]
    assert begins[0] >= 30 * behaviour.DAY
    assert ends[2] <= END


# From SQL to columns


@pytest.fixture
def items(db):
    for name in ("mug", "bag", "pen"):
        Item.objects.create(
            item_id=name, label="shop.Product", object_id=name, title=name, text=name, text_hash=name,
            first_seen_at=NOW - dt.timedelta(days=90),
        )  # fmt: skip
    return datasets.read_items()


@pytest.fixture
def visitor(db):
    return Visitor.objects.create()


def show(visitor, *item_ids, minutes_ago=60.0, **values):
    return Impression.objects.create(
        visitor=visitor, item_ids=list(item_ids), rung="champion", occurred_at=NOW - dt.timedelta(minutes=minutes_ago),
        **{"slot": "home", **values},
    )  # fmt: skip


def follow(shown_list, kind, item_id, *, visitor=None, minutes_ago=50.0, **values):
    values.setdefault("source", "order" if kind == "purchase" else "page")
    return Event.objects.create(
        message_id=uuid.uuid4().hex, type=kind, item_id=item_id, visitor=visitor or shown_list.visitor,
        ranking_id=shown_list.ranking_id, occurred_at=NOW - dt.timedelta(minutes=minutes_ago), **values,
    )  # fmt: skip


def test_lists_are_read_with_what_followed_through_their_token(items, visitor):
    beside = show(
        visitor, "bag", "gone", "mug", slot="similar", current_item_id="pen", first_position=9,
        propensities=[1.0, 1.0, 0.25], query="cup",
    )  # fmt: skip
    show(visitor, "mug", minutes_ago=90)
    follow(beside, "select_item", "bag")
    follow(beside, "purchase", "mug", minutes_ago=40)
    follow(beside, "select_item", "pen")
    lists = datasets.read_impressions(items)
    assert lists.start.tolist() == [0, 1, 4]
    assert lists.item.tolist() == [0, 1, -2, 0]
    assert lists.position.tolist() == [1, 9, 10, 11]
    assert lists.propensity.tolist() == [1, 1, 1, 0.25]
    assert lists.slot.tolist() == [SLOT_CODES[Slot.HOME], SLOT_CODES[Slot.SIMILAR]]
    assert lists.current.tolist() == [-1, 2]
    assert [lists.queries[row] for row in lists.query if row >= 0] == ["cup"]
    assert np.isfinite(lists.clicked).tolist() == [False, True, False, True]  # an order implies the click
    assert np.isfinite(lists.bought).tolist() == [False, False, False, True]
    assert lists.bought[3] == (NOW - dt.timedelta(minutes=40)).timestamp()
    assert not np.isfinite(lists.carted).any()


def test_bots_and_people_without_consent_are_left_out(items, visitor):
    for someone in (
        Visitor.objects.create(has_consented=False), Visitor.objects.create(is_profiled=False),
        Visitor.objects.create(is_bot=True), None,
    ):  # fmt: skip
        show(someone, "mug")
    show(visitor, "mug", is_bot=True)
    assert len(datasets.read_impressions(items)) == 0
    impression = show(visitor, "mug")
    follow(impression, "select_item", "mug", is_bot=True)
    follow(impression, "select_item", "mug", visitor=Visitor.objects.create())  # a link that was passed on
    lists = datasets.read_impressions(items)
    assert len(lists) == 1
    assert not np.isfinite(lists.clicked).any()


def test_orders_of_a_user_follow_from_the_list_in_their_browser(items):
    browser, own = (Visitor.objects.create(user_key="ann") for _ in range(2))
    follow(show(browser, "mug"), "purchase", "mug", visitor=own)
    assert np.isfinite(datasets.read_impressions(items).bought).all()


def test_what_follows_a_day_later_or_before_the_list_is_not_its_doing(items, visitor):
    old = show(visitor, "mug", "bag", "pen", minutes_ago=3_000)
    follow(old, "select_item", "mug", minutes_ago=3_000 - 1_441)
    follow(old, "select_item", "bag", minutes_ago=3_010)
    follow(old, "select_item", "pen", minutes_ago=3_001)  # within the skew of clocks
    lists = datasets.read_impressions(items)
    assert np.isfinite(lists.clicked).tolist() == [False, False, True]
    assert lists.clicked[2] == lists.time[0]


def test_flood_of_lists_is_no_shoppers(items, visitor, monkeypatch):
    monkeypatch.setattr(impressions, "MAX_VIEWS_PER_DAY", 3)
    for minutes in range(4):
        show(visitor, "mug", minutes_ago=minutes)
    show(visitor, "mug", minutes_ago=60 * 30)
    assert len(datasets.read_impressions(items)) == 1


def test_lists_are_read_in_chunks(items, visitor, monkeypatch, django_assert_num_queries):
    for minutes in range(5):
        follow(show(visitor, "mug", minutes_ago=minutes + 60), "select_item", "mug")
    with django_assert_num_queries(7):  # a page and the empty page behind it, of visitors, lists and events; the staff
        datasets.read_impressions(items)
    monkeypatch.setattr(pages, "CHUNK_SIZE", 2)
    lists = datasets.read_impressions(items)
    assert len(lists) == 5
    assert np.isfinite(lists.clicked).all()


def test_saved_lists_load_equal(items, visitor, tmp_path):
    follow(show(visitor, "mug", "bag", query="red mug"), "select_item", "bag")
    dataset = datasets.read_dataset()
    dataset_files.save(dataset, tmp_path)
    loaded = dataset_files.load(tmp_path).impressions
    for field in dataclasses.fields(Impressions):
        np.testing.assert_array_equal(getattr(loaded, field.name), getattr(dataset.impressions, field.name))
    assert len(loaded) == 1


def test_propensities_that_cannot_be_read_count_as_none(items, visitor):
    show(visitor, "mug", "bag", propensities=[0.5])
    show(visitor, "mug", "bag", propensities=[0, "x"], minutes_ago=50)
    assert datasets.read_impressions(items).propensity.tolist() == [1, 1, 1, 1]
