"""The whole training on the tiny shop, with a small BERT built from its texts."""

import dataclasses
import datetime as dt

import numpy as np
import pytest
import torch

from recommender import pipeline
from recommender.exceptions import RunError
from recommender.features.head import NEWCOMERS
from recommender.features.neighbours import Neighbours
from recommender.features.shop_state import build_state
from recommender.ml.context import model as context
from recommender.ml.context.training import Trained, Worth
from recommender.ml.encoder import model as encoders
from recommender.ml.encoder import pairs
from recommender.ml.encoder.contrastive import TuneSettings, fine_tune
from recommender.ml.encoder.model import SCRATCH, _half_pays, build_scratch, load_encoder, low_precision
from recommender.ml.export import export_untrained, write
from recommender.ml.hardware import device, limit_threads
from recommender.ml.head import additive as head
from recommender.ml.head.lists import Lists, ShopHistory, Vectors
from recommender.ml.histories import Histories
from recommender.ml.loop import Box
from recommender.ml.plan import TrainingData, TrainingSettings, plan, until
from recommender.ml.rivals import baselines
from recommender.ml.train import Training, fit
from recommender.retrieval import candidates as generator
from recommender.serving.lists import home
from recommender.serving.memory import Served
from recommender.serving.question import Question
from recommender.serving.ranker import Ranker
from recommender.serving.shelf import build_shelf
from recommender.training.judging.evaluation import history_of
from recommender.types import EVENT_CODES, Context, EventType, PastEvent, Request, Rung, Slot
from tests import behaviour
from tests.progress import Recorder

ITEMS = behaviour.table()
EVENTS = behaviour.shop(n_visitors=200)
END, TEST_END = 75 * behaviour.DAY, 90 * behaviour.DAY
DATA = TrainingData(EVENTS, ITEMS, train_end=END, test_start=END, test_end=TEST_END)
SETTINGS = TrainingSettings(
    minutes=5.0,
    seed=3,  # on so small a shop one seed of six keeps no epoch of the context model
    encoder=SCRATCH,
    lists_per_cutoff=40,
    least_pairs=10,
    least_examples=10,
    least_lists=10,
    tune=TuneSettings(n_steps=12, batch_pairs=12, learning_rate=5e-4),
    context=context.ContextSettings(width=32, n_epochs=8, batch=16, n_negatives=32, learning_rate=3e-3),
    head=head.HeadSettings(n_epochs=10, batch_lists=16),
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    limit_threads(1)


@pytest.fixture(scope="module")
def artifacts():
    """Trained in single precision on every machine, so that trainer and server can be compared to the last digits."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(encoders, "_half_pays", lambda kind: False)
        return fit(DATA, SETTINGS)


@pytest.fixture(scope="module")
def bundle(artifacts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    write(artifacts, folder)
    return folder


def test_every_stage_leaves_its_part(artifacts):
    assert artifacts.context is not None
    assert artifacts.delta is not None
    assert np.linalg.norm(artifacts.delta, axis=1).max() <= SETTINGS.context.reach + 1e-5
    assert artifacts.head is not None
    assert not {name for name in artifacts.baseline.seen if name.endswith("_match")}
    assert set(artifacts.seconds) == {"encoder", "context", "head", "refresh"}
    assert 0 <= artifacts.head_scores["test"].log_loss < 0.7


def test_trained_head_prefers_the_half_of_the_shop_that_is_theirs(artifacts):
    state = build_state(EVENTS, ITEMS, at=END)
    histories = Histories(EVENTS)
    scorer = baselines.headed(artifacts.head, artifacts.item_vectors, artifacts.context_vector)
    hits = 0
    for visitor in range(10):
        best = np.argsort(-scorer(histories.profile(visitor, at=END), state, ITEMS))[:5]
        hits += int(np.isin(best, np.arange(6) + 6 * (visitor % 2)).sum())
    assert hits >= 45


def test_bundle_serves_what_was_trained(artifacts, bundle):
    ranker = Ranker.load(bundle)
    vectors = ranker.item_vectors(ranker.encode(ITEMS.texts), ITEMS.ids)
    np.testing.assert_allclose(vectors, artifacts.item_vectors, atol=1e-4)
    profile = Histories(EVENTS).profile(3, at=END)
    np.testing.assert_allclose(ranker.context_vector(profile, vectors), artifacts.context_vector(profile), atol=1e-4)
    grown = {"forest.onnx", "mixture.json"} if artifacts.forest is not None else set()
    assert {path.name for path in bundle.iterdir()} == grown | {
        "encoder.onnx", "tokenizer.json", "encoder.json", "golden.json", "context.onnx", "context.json", "delta.npy",
        "delta_ids.json", "head.json", "baseline.json", "thresholds.json",
    }  # fmt: skip


def test_visitor_of_whom_nothing_is_known_has_the_same_finite_vector_in_both(artifacts, bundle):
    ranker = Ranker.load(bundle)
    vectors = ranker.item_vectors(ranker.encode(ITEMS.texts), ITEMS.ids)
    nobody = behaviour.profile([], now_day=76)
    served = ranker.context_vector(nobody, vectors)
    assert np.isfinite(served).all()
    np.testing.assert_allclose(served, artifacts.context_vector(nobody), atol=1e-4)
    everything, state = np.arange(len(ITEMS), dtype=np.int32), build_state(EVENTS, ITEMS, at=END)
    assert np.isfinite(ranker.score(nobody, everything, state, ITEMS, vectors).logits).all()


def test_context_that_the_file_computes_otherwise_is_refused(artifacts, tmp_path, monkeypatch):
    monkeypatch.setattr("recommender.ml.export_check.TOLERANCE", -1.0)
    with pytest.raises(RunError, match="do not use it"):
        context.export_context(artifacts.context, tmp_path / "context.onnx")


def test_searches_of_a_history_mean_the_same_to_trainer_and_server(artifacts, bundle):
    ranker, search = Ranker.load(bundle), EVENT_CODES[EventType.SEARCH]
    vectors = ranker.item_vectors(ranker.encode(ITEMS.texts), ITEMS.ids)
    plain = Histories(EVENTS).profile(3, at=END)
    kinds, queries = plain.type.copy(), [""] * len(plain.type)
    for index in range(-5, 0):  # five searches: the newest three are read
        kinds[index], queries[index] = search, f"Red  garden {index}"
    profile = dataclasses.replace(
        plain, type=kinds, item=np.where(kinds == search, -1, plain.item).astype(np.int32), queries=tuple(queries)
    )
    served = ranker.context_vector(profile, vectors)
    np.testing.assert_allclose(served, artifacts.context_vector(profile), atol=1e-4)
    without = dataclasses.replace(profile, queries=("",) * len(queries))
    assert np.abs(served - ranker.context_vector(without, vectors)).max() > 1e-3


def test_same_texts_give_the_same_words_in_the_same_order():
    """What the trainer of the vocabulary draws between equally frequent pieces would change with every process."""
    texts = [f"{colour} {thing}" for colour in ("white", "round", "pink") for thing in ("mug", "tin", "cup", "hose")]
    first, *others = (build_scratch(texts).tokenizer.get_vocab() for _ in range(4))
    assert all(other == first for other in others)


def test_same_seed_gives_the_same_encoder():
    state = build_state(EVENTS, ITEMS, at=END)
    drawn = pairs.build_pairs(EVENTS, ITEMS, state)
    vectors = []
    for _ in range(2):
        encoder = build_scratch(ITEMS.texts, seed=1)
        fine_tune(encoder, drawn, Box(1e9, seed=1), settings=TuneSettings(n_steps=3, batch_pairs=8))
        vectors.append(encoder.encode(ITEMS.texts))
    np.testing.assert_array_equal(*vectors)


def test_measuring_the_machine_draws_no_random_number():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    _half_pays.cache_clear()
    low_precision(torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


def test_resumed_tuning_equals_uninterrupted_tuning(tmp_path):
    state = build_state(EVENTS, ITEMS, at=END)
    drawn = pairs.build_pairs(EVENTS, ITEMS, state)
    settings = TuneSettings(n_steps=6, batch_pairs=8, checkpoint_steps=3, check_steps=2, least_held_out=1, held_out=0.2)
    whole, broken = build_scratch(ITEMS.texts), build_scratch(ITEMS.texts)
    fine_tune(whole, drawn, Box(1e9), settings=settings)
    stopped = Box(1e9, progress=Recorder(stop_after=3), checkpoint_dir=tmp_path)
    ended = fine_tune(broken, drawn, stopped, settings=settings)
    assert (ended.n_steps, ended.ended_by) == (3, "stop")
    resumed = build_scratch(ITEMS.texts)
    ended = fine_tune(resumed, drawn, Box(1e9, checkpoint_dir=tmp_path), settings=settings)
    assert (ended.n_steps, ended.ended_by) == (6, "steps")
    np.testing.assert_array_equal(resumed.encode(ITEMS.texts), whole.encode(ITEMS.texts))


def test_thin_evidence_skips_stages():
    few = until(EVENTS, 12 * behaviour.DAY)
    data = dataclasses.replace(DATA, interactions=few, train_end=15 * behaviour.DAY, test_end=0, test_start=0)
    artifacts = fit(data, TrainingSettings(encoder=SCRATCH))
    assert artifacts.context is None
    assert artifacts.head is None


def test_stop_ends_a_run_without_a_head():
    assert fit(DATA, SETTINGS, Recorder(stop_after=0)).head is None


def test_no_moment_of_the_head_reaches_into_validation():
    cutoffs = plan(DATA, SETTINGS)
    assert cutoffs.behaviour_end <= cutoffs.head[0]
    window = cutoffs.horizon_days * behaviour.DAY
    assert max(cutoffs.head) + window <= cutoffs.validation + 1
    assert cutoffs.validation + window <= DATA.train_end + 1


def test_untrained_bundle_holds_the_encoder_only(tmp_path):
    export_untrained(SCRATCH, tmp_path, texts=ITEMS.texts)
    ranker = Ranker.load(tmp_path)
    assert ranker.head is None
    np.testing.assert_allclose(
        ranker.encode(ITEMS.texts), load_encoder(SCRATCH, ITEMS.texts).encode(ITEMS.texts), atol=1e-4
    )


def drawn_of(rows, category=None):
    rows = np.asarray(rows, np.int32)
    category = np.full(len(rows), -1, np.int32) if category is None else np.asarray(category, np.int32)
    return pairs.Drawn([""] * len(rows), rows, category)


def test_item_of_the_category_asked_for_is_no_negative():
    some = pairs.Pairs(
        ("a", "b", "c"), *([np.empty(0, np.int32)] * 2), np.empty(0, np.float32), (), Neighbours.none(3),
        category=np.asarray([0, 0, 1], np.int32), category_names=("Tea", "Toys"),
    )  # fmt: skip
    masked = pairs.false_negatives(some, drawn_of([[0, 0], [1, 1], [2, 2]], category=[0, -1, -1]))
    assert masked.tolist() == [[False, True, False], [False] * 3, [False] * 3]
    drawn = pairs.draw(some, 400, np.random.default_rng(0), share_items=0)
    has_category = drawn.category >= 0
    assert has_category.mean() == pytest.approx(pairs.CATEGORY_SHARE, abs=0.05)
    assert {drawn.left[row] for row in np.flatnonzero(has_category)} == {"tea", "toys"}
    assert (some.category[drawn.rows[has_category, 1]] == drawn.category[has_category]).all()


def test_mined_negatives_are_near_and_no_answers():
    near = np.asarray([[1, 0], [0.9, 0.435], [0.95, 0.31], [0.6, 0.8], [0, 1]], np.float32)
    alike = behaviour.neighbours([[(2, 0.5)], [], [(0, 0.5)], [], []])
    some = pairs.Pairs(tuple("abcde"), *([np.empty(0, np.int32)] * 2), np.empty(0, np.float32), (), alike)
    rows, used = pairs.hard_negatives(some, drawn_of([[0, 0], [0, 1], [0, 0]], category=[-1, -1, 0]), near, 4)
    pushed = [set(row[keep].tolist()) for row, keep in zip(rows, used, strict=True)]
    assert pushed == [{1, 3}, {3}, set()]  # not itself, not the alike, not what is as near as the answer; no category


def test_mined_negatives_are_pushed_away():
    drawn = pairs.build_pairs(EVENTS, ITEMS, build_state(EVENTS, ITEMS, at=END))
    some = pairs.draw(drawn, 64, np.random.default_rng(5), share_items=0)
    likeness = []
    for n in (0, 8):
        encoder = build_scratch(ITEMS.texts, seed=1)
        base = encoder.encode(ITEMS.texts)
        settings = TuneSettings(
            n_steps=20, batch_pairs=8, share_items=0.0, hard_negatives=n, learning_rate=1e-3, keep=0.0
        )
        fine_tune(encoder, drawn, Box(1e9, seed=1), settings=settings, base_vectors=base)
        rows, used = pairs.hard_negatives(drawn, some, base, 8)
        assert used.any()
        likeness.append((encoder.encode(some.left)[:, None] * base[rows]).sum(axis=2)[used].mean())
    assert likeness[1] < likeness[0]


@pytest.mark.parametrize(("epochs", "n_epochs"), [((2, 0), 2), ((2, 3), 3), ((0, 3), 3), ((0, 0), 0)])
def test_a_context_model_that_helped_is_not_lost_to_one_without_idle_circumstances(
    artifacts, monkeypatch, epochs, n_epochs
):
    unsure = dict.fromkeys(("hour", "weekday", "device", "region"), Worth(0.0, 0.1))
    results = [
        Trained(context.ContextTransformer(4, SETTINGS.context), np.full((1, 4), n), n, worth=unsure if n else {})
        for n in epochs
    ]
    monkeypatch.setattr(Training, "_train_context", lambda *arguments, **named: results.pop(0))
    again = dataclasses.replace(
        artifacts, context=None, delta=None, n_context_epochs=0, idle=frozenset(), metrics={}, ended_by={}
    )
    Training(DATA, SETTINGS, artifacts=again).fit_context()
    assert (again.n_context_epochs, again.context is None) == (n_epochs, n_epochs == 0)
    assert again.idle == set(unsure)
    assert not results


def test_run_says_what_circumstances_are_worth(artifacts):
    assert set(artifacts.circumstances) == {"hour", "weekday", "device", "region"}
    assert {name for name, worth in artifacts.circumstances.items() if not worth.is_sure} <= artifacts.idle
    assert artifacts.circumstances["device"].gain == 0  # nobody's is recorded in this shop
    assert "device" in artifacts.idle


def test_a_gpu_that_others_have_filled_is_left_alone(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Some GPU")
    free = {"bytes": 10**9}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (free["bytes"], 8 * 10**10))
    assert device().type == "cpu"
    assert "Some GPU has 1.0 GB free" in caplog.text
    free["bytes"] = 4 * 10**9
    assert device().type == "cuda"


def test_steps_grow_with_the_catalogue_and_a_gpu_takes_more_at_a_time():
    settings, processor, gpu = TuneSettings(), torch.device("cpu"), torch.device("cuda")
    small, large, there = (settings.of(n, at) for n, at in ((3_700, processor), (64_000, processor), (64_000, gpu)))
    assert (small.n_steps, small.batch_pairs) == (404, 64)
    assert (large.n_steps, large.batch_pairs) == (7_000, 64)
    assert (there.n_steps, there.batch_pairs) == (1_750, 256)
    assert settings.of(3_700, gpu) == small


def test_false_negatives_are_masked():
    alike = behaviour.neighbours([[(1, 0.5)], [(0, 0.5)], [], []])
    some = pairs.Pairs(("a", "b", "c", "c"), *([np.empty(0, np.int32)] * 2), np.empty(0, np.float32), (), alike)
    masked = pairs.false_negatives(some, drawn_of([[0, 0], [1, 1], [2, 2], [3, 3]]))
    assert masked[0].tolist() == [False, True, False, False]
    assert masked[2].tolist() == [False, False, False, True]  # another item of the same title
    assert not masked.diagonal().any()


def test_synthetic_query_keeps_words_of_the_title():
    generator = np.random.default_rng(0)
    queries = [pairs.synthetic_query("RED HEART HOLDER", generator) for _ in range(200)]
    assert "red heart holder" in queries
    assert {query.split()[0][0] for query in queries} <= set("redhoa")
    assert all(queries)


def test_training_and_serving_score_the_same_candidates(monkeypatch):
    monkeypatch.setattr(generator, "N_CANDIDATES", 5)  # of twelve items, so that it matters which are chosen
    items = dataclasses.replace(ITEMS, active=np.arange(len(ITEMS)) != 4)
    kinds = EVENTS.type.copy()
    dismissal = np.flatnonzero((EVENTS.visitor == 3) & (EVENTS.time < END))[-1]
    kinds[dismissal] = EVENT_CODES[EventType.DISMISS_ITEM]
    events = dataclasses.replace(EVENTS, type=kinds)
    state, vectors = build_state(events, items, at=END), np.eye(len(ITEMS), dtype=np.float32)
    shelf = build_shelf(items, titles=items.texts, state=state, vectors=vectors)
    scored = []
    monkeypatch.setattr(Question, "context_vector", lambda question: vectors[5])
    monkeypatch.setattr(Question, "scores", lambda question, rows, context: scored.append(rows.tolist()))
    histories = Histories(events)
    shop = ShopHistory(histories, items, Vectors(vectors))
    for visitor in (0, 3, 10**6):  # the last one has no history
        past = history_of(histories, visitor, items.ids, at=END)
        request = Request(Slot.HOME, Context(dt.datetime.fromtimestamp(END, dt.UTC)), history=past)
        home(Question(request, shelf.profile(request), Served(shelf)))
        trained = shop.candidates(histories.profile(visitor, at=END), state, vectors[5])
        assert trained.tolist() == scored.pop()
        assert len(trained) == 5
        assert not {4} & set(trained.tolist())
    assert events.item[dismissal] not in shop.candidates(histories.profile(3, at=END), state, vectors[5])


def test_head_learns_the_one_feature_that_decides():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(60, 20, len(head.FEATURE_NAMES))).astype(np.float32)
    labels = (rows[:, :, 4] > 1).astype(np.float32)
    everywhere = np.ones(labels.shape, bool)
    lists = Lists(rows, labels, everywhere, everywhere)
    fitted = head.calibrated(head.fit_head(lists), lists)
    assert np.abs(fitted.contributions(rows[0])).mean(axis=0).argmax() == 4
    scores = head.judge(fitted, lists, threshold=0.5)
    assert scores.accuracy > 0.97
    assert scores.calibration_error < 0.03


def test_newcomers_are_ranked_by_the_head_only_where_it_surely_beats_bestsellers():
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(60, 20, len(head.FEATURE_NAMES))).astype(np.float32)
    labels = (rows[:, :, 4] > 1.2).astype(np.float32)
    rows[:, :, head.COLD] = 1.0
    everywhere = np.ones(labels.shape, bool)
    lists = Lists(rows, labels, everywhere, everywhere)
    assert head.newcomer_gain(lists, lambda some: some[:, 4]) > 0.3
    assert head.newcomer_gain(lists, lambda some: some[:, 5]) < 0  # no better than what sells, which is as random here
    few = Lists(rows[:20], labels[:20], lists.mask[:20], lists.is_new[:20])
    assert head.newcomer_gain(few, lambda some: some[:, 4]) == -1
    rows[:, :, head.COLD] = 0.0
    assert head.newcomer_gain(lists, lambda some: some[:, 4]) == -1  # they all have a past


def test_somebody_unknown_sees_what_sells_until_the_head_is_known_to_be_better(artifacts, bundle):
    ranker = Ranker.load(bundle)
    assert artifacts.thresholds[NEWCOMERS] == ranker.thresholds[NEWCOMERS]
    state = build_state(EVENTS, ITEMS, at=END)
    shelf = build_shelf(ITEMS, titles=ITEMS.texts, state=state, vectors=artifacts.item_vectors)
    now = Context(dt.datetime.fromtimestamp(END, dt.UTC))
    request = Request(Slot.HOME, now)
    past = (PastEvent(EventType.VIEW_ITEM, now.at - dt.timedelta(days=2), item_id=ITEMS.ids[3]),)
    for gain, rung in ((-1.0, Rung.POPULARITY), (0.01, Rung.CHAMPION)):
        ranker.thresholds[NEWCOMERS] = gain
        shop = Served(shelf, ranker, ranker.name)
        assert pipeline.rank(request, served=shop).rung == rung
        assert pipeline.rank(dataclasses.replace(request, history=past), served=shop).rung == Rung.CHAMPION


def test_own_frequency_puts_the_habit_first():
    state = build_state(EVENTS, ITEMS, at=END)
    profile = behaviour.profile([(7, 1, 1), (7, 2, 2), (8, 3, 3)], now_day=75)
    assert np.argsort(-baselines.own_frequency(profile, state, ITEMS))[:2].tolist() == [7, 8]


def test_competitors_agree_on_the_known_answer():
    state = build_state(EVENTS, ITEMS, at=END)
    profile = behaviour.profile([(0, 70, 1)], now_day=75)
    assert baselines.item_knn(profile, state, ITEMS).argsort()[::-1][0] in range(6)
    assert baselines.lexical(ITEMS.texts)(profile, state, ITEMS).argmax() == 0
    vectors = np.eye(len(ITEMS), dtype=np.float32)
    assert baselines.mean_vector(vectors)(profile, state, ITEMS).argmax() == 0
    assert baselines.popularity(3)(profile, state, ITEMS).argmax() == state.counts[:, 3].argmax()
    first, again = (baselines.random_order(1)(profile, state, ITEMS) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_few_different_scores_are_calibrated():
    scores = np.repeat([0.0, 0.7, 1.1], [300, 90, 10]).astype(np.float32)
    labels = (np.arange(400) % 10 < np.repeat([1, 3, 8], [300, 90, 10])).astype(np.float32)
    raw, probability = head.calibrator(scores, labels)
    at = np.interp(scores, raw, probability)
    assert (np.diff(at) >= 0).all()
    assert at[0] < at[350] < at[-1]
