"""Is the measuring honest? On a shop of planted truth, every claim that figures rest on is tried and can fail."""

import dataclasses
import datetime as dt
import math

import numpy as np
import pytest
import torch

from recommender.features import FEATURE_NAMES, features
from recommender.features.shop_state import build_state
from recommender.ml import metrics
from recommender.ml.context.model import ContextSettings, ContextTransformer, context_vector
from recommender.ml.head.additive import fit_head
from recommender.ml.head.lists import Sample, ShopHistory, lists_at
from recommender.ml.histories import Histories
from recommender.ml.rivals import baselines, competitors
from recommender.models import Run
from recommender.runs.comparisons import CHAMPION, RANKER, SCOPES
from recommender.runs.figures import Rolling
from recommender.serving import Served
from recommender.serving.shelf import build_shelf
from recommender.training.judging import evaluation, parity, windows
from recommender.training.judging.bench import tuned_blend
from recommender.training.judging.gate import Measurements, decide
from recommender.training.split import split_in_time
from recommender.types import Context as Circumstances
from recommender.types import Request, Slot
from tests import planted
from tests.behaviour import DAY

DATA = planted.dataset()
SPLIT = split_in_time(DATA)
ITEMS = SPLIT.items
STATE = build_state(SPLIT.past, ITEMS, at=SPLIT.test_start)
CASES = evaluation.cases(SPLIT, most=200, seed=0)


def scrambled():
    """The same shop with another future: from the test on everybody buys, floods and refunds one item at random."""
    recorded = DATA.recorded.interactions
    later = recorded.time >= SPLIT.test_start
    generator = np.random.default_rng(1)
    changed = dataclasses.replace(
        recorded,
        item=np.where(later, generator.integers(0, 5, len(recorded)), recorded.item).astype(np.int32),
        type=np.where(later, planted.PURCHASE, recorded.type).astype(np.int8),
        visitor=np.where(later, generator.permutation(recorded.visitor), recorded.visitor).astype(np.int32),
        basket=np.where(later, np.arange(len(recorded)) + 10**6, recorded.basket).astype(np.int32),
        query=np.where(later, -1, recorded.query).astype(np.int32),
    )
    dataset = dataclasses.replace(DATA, recorded=dataclasses.replace(DATA.recorded, interactions=changed))
    return split_in_time(dataset)


def scorers(split, state):
    """Every competitor that behaviour is fitted for, as a run fits it."""
    basis = competitors.Basis(split.past, split.items, state)
    return {
        "popularity": baselines.popularity(),
        "own_frequency": baselines.own_frequency,
        "item_knn": baselines.item_knn,
        "tifu_knn": competitors.tifu_knn(basis),
        "ease": competitors.ease(basis),
        "blend": tuned_blend(split),
        "lexical": baselines.lexical(split.items.texts),
    }


def quality(scorer, scope="all", cases=CASES):
    make = evaluation.scored(scorer, STATE, ITEMS)
    wanted = [(case, case.wanted(scope)) for case in cases]
    return [metrics.ndcg_at_k(make(case, scope), truth) for case, truth in wanted if truth]


def lists(interactions, *, at):
    """Candidates and features of one moment, labelled by what was bought from then to the test."""
    return lists_at(ShopHistory(Histories(interactions), ITEMS), at, until=SPLIT.test_start, sample=Sample(120))


def with_exchanged_visitors(at):
    """From `at` on everybody does what somebody else did: labels keep what is popular and lose what is personal."""
    whole = SPLIT.whole
    exchanged = np.random.default_rng(0).permutation(whole.visitor.max() + 1)[whole.visitor].astype(np.int32)
    return dataclasses.replace(whole, visitor=np.where(whole.time >= at, exchanged, whole.visitor))


def test_another_future_changes_no_score_of_any_competitor():
    other = scrambled()
    assert other.test_start == SPLIT.test_start
    state = build_state(other.whole, ITEMS, at=SPLIT.test_start)
    histories = [Histories(SPLIT.whole), Histories(other.whole)]
    first, second = scorers(SPLIT, STATE), scorers(other, state)
    for visitor in range(12):
        profiles = [each.profile(visitor, at=SPLIT.test_start) for each in histories]
        for name in first:
            scores = [fitted[name](p, s, ITEMS) for fitted, p, s in zip((first, second), profiles, (STATE, state),
                                                                     strict=True)]  # fmt: skip
            np.testing.assert_array_equal(*scores, err_msg=name)


def test_features_hold_nothing_of_the_future():
    assert parity.future_difference(parity.features_at(SPLIT, seed=0), SPLIT) == 0


def test_feature_that_looks_ahead_is_caught():
    honest = parity.features_at(SPLIT, seed=0)

    def leaky(interactions):
        """One column counts all that was ever bought, as a feature does that forgets its moment."""
        rows = honest(interactions).copy()
        sold = np.bincount(interactions.item[interactions.type == planted.PURCHASE], minlength=len(ITEMS))
        rows[:, 0] = np.tile(sold, len(rows) // len(ITEMS))
        return rows

    assert parity.future_difference(leaky, SPLIT) > 0


def test_event_at_the_moment_itself_is_not_known_to_the_server():
    case = CASES[0]
    shelf = build_shelf(ITEMS, state=STATE)
    last = dataclasses.replace(case.request.history[-1], at=case.request.context.at)
    profile = shelf.profile(dataclasses.replace(case.request, history=(*case.request.history, last)))
    assert len(profile.item) == len(shelf.profile(case.request).item)


def test_head_learns_the_planted_truth_and_of_shuffled_labels_only_popularity():
    at = SPLIT.test_start - 24 * DAY
    true, false = (
        baselines.headed(fit_head(lists(interactions, at=at)))
        for interactions in (SPLIT.whole, with_exchanged_visitors(at))
    )
    popular = max((quality(baselines.popularity(window)) for window in (2, 3)), key=np.mean)
    assert metrics.paired_bootstrap(quality(true), popular).lower > 0.1
    assert metrics.paired_bootstrap(quality(false), popular).lower <= 0


def test_random_order_hits_ten_of_n():
    n_draws, n = 2_000, len(ITEMS)
    profile = CASES[0].profile
    hits = 0
    for seed in range(n_draws):
        best = competitors.best_rows(baselines.random_order(seed)(profile, STATE, ITEMS), 10)
        hits += seed % n in best
    expected = 10 / n
    assert abs(hits / n_draws - expected) < 3 * math.sqrt(expected * (1 - expected) / n_draws)


def test_oracle_scores_one_and_its_opposite_zero():
    for scope in ("all", "new"):
        truths = [truth for case in CASES if (truth := case.wanted(scope))]
        assert [metrics.ndcg_at_k(sorted(truth), truth) for truth in truths] == pytest.approx([1.0] * len(truths))
        others = [[row for row in range(len(ITEMS)) if row not in truth] for truth in truths]
        assert not any(metrics.ndcg_at_k(wrong, truth) for wrong, truth in zip(others, truths, strict=True))


def test_planted_habit_and_taste_are_ranked_as_planted():
    """Half of what is bought is habit, a third taste: habit beats neighbours on all, neighbours bestsellers on new."""
    fitted = scorers(SPLIT, STATE)
    assert metrics.paired_bootstrap(quality(fitted["own_frequency"]), quality(fitted["item_knn"])).lower > 0
    for name in ("item_knn", "ease"):
        gain = metrics.paired_bootstrap(quality(fitted[name], "new"), quality(fitted["popularity"], "new"))
        assert gain.lower > 0, name


def test_untrained_context_model_is_the_mean_vector():
    torch.manual_seed(0)
    vectors = np.random.default_rng(0).normal(size=(len(ITEMS), 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    model = ContextTransformer(16, ContextSettings(width=16)).eval()
    assert float(model.alpha.detach()) == 0
    matched = baselines.context_match(vectors, lambda profile: context_vector(model, profile, vectors))
    mean = baselines.mean_vector(vectors)
    for case in CASES[:20]:
        scores = matched(case.profile, STATE, ITEMS), mean(case.profile, STATE, ITEMS)
        np.testing.assert_allclose(*scores, atol=1e-5)
    with torch.no_grad():
        model.alpha.fill_(0.5)
    assert np.abs(matched(CASES[0].profile, STATE, ITEMS) - mean(CASES[0].profile, STATE, ITEMS)).max() > 1e-3


def test_equal_rankers_pass_the_whole_gate_at_most_twice_in_forty():
    """A/A: both rank by habit with a little noise of their own, through lists, bootstrap and rule."""
    n_promoted = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)

        def noisy(profile, state, items, generator=generator):
            return baselines.own_frequency(profile, state, items) + generator.normal(0, 0.5, len(items))

        rankers = {RANKER: noisy, CHAMPION: noisy, "random": baselines.random_order(seed)}
        makers = {name: evaluation.scored(score, STATE, ITEMS) for name, score in rankers.items()}
        results = evaluation.compare(makers, CASES)
        gains = evaluation.gains(results, seed=seed)
        n_cases = {scope: len(results.truths[scope]) for scope in SCOPES}
        n_promoted += decide(Measurements(n_cases, gains), least_cases=100).verdict == Run.Verdict.PROMOTED
    assert n_promoted <= 2


def test_trainer_and_server_compute_the_same_features():
    histories, past = Histories(SPLIT.whole), Histories(SPLIT.past)
    shelf = Served(build_shelf(ITEMS, state=STATE)).shelf
    trained_state = build_state(SPLIT.whole, ITEMS, at=SPLIT.test_start)
    everything = np.arange(len(ITEMS), dtype=np.int32)
    at = dt.datetime.fromtimestamp(SPLIT.test_start, dt.UTC)
    for visitor in range(50):
        trained = features(histories.profile(visitor, at=SPLIT.test_start), everything, trained_state, ITEMS)
        history = evaluation.history_of(past, visitor, ITEMS.ids, at=SPLIT.test_start)
        profile = shelf.profile(Request(Slot.HOME, Circumstances(at), history=history))
        served = features(profile, everything, STATE, ITEMS)
        worst = np.abs(trained - served).max(axis=0)
        assert worst.max() <= 1e-4, FEATURE_NAMES[int(worst.argmax())]


def test_who_comes_later_has_no_history_yet():
    """A newcomer has the highest number, which the events of the past do not reach."""
    newcomer = int(SPLIT.whole.visitor.max()) + 1
    assert evaluation.history_of(Histories(SPLIT.past), newcomer, ITEMS.ids, at=SPLIT.test_start) == ()
    assert not len(Histories(SPLIT.past).bought(newcomer, since=0.0, until=SPLIT.test_end))


def test_earlier_windows_judge_by_what_was_known_then():
    rolling = windows.rolling(SPLIT, seed=0)
    assert rolling.n_windows >= 2
    habit, popular = (rolling.lists["all"][name] for name in ("own_frequency", "popularity"))
    assert len(habit.windows) == rolling.n_windows
    assert habit.mean > popular.mean > 0
    assert habit.deviation == pytest.approx(np.std(habit.windows, ddof=1))
    for window in windows.earlier(SPLIT):
        assert window.past.time.max() < window.test_start
        assert window.whole.time.max() < window.test_end <= SPLIT.test_start


def test_short_past_has_no_earlier_window():
    longer = dataclasses.replace(SPLIT, test_end=SPLIT.test_start + (SPLIT.test_start - SPLIT.past.time[0]) / 2 + 1)
    assert windows.rolling(longer, seed=0) == Rolling(0, windows.NOTE, {"all": {}, "new": {}})
