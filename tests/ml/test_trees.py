"""Trees: what LightGBM grows is what ONNX Runtime serves; a forest beside a head on lists with a known answer."""

import numpy as np
import onnxruntime
import pytest

from recommender.exceptions import RunError
from recommender.features import FEATURE_NAMES
from recommender.features.head import Mixture
from recommender.ml.head import trees
from recommender.ml.head.additive import HeadSettings, fit_head
from recommender.ml.head.forest import ForestSettings, fit_forest, mean_ndcg
from recommender.ml.head.lists import Lists
from recommender.ml.head.trees import TreeSettings
from tests.progress import Recorder

SETTINGS = TreeSettings(n_trees=40, learning_rate=0.1, n_leaves=7, least_in_leaf=10)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(2_000, 5)).astype(np.float32)


def served(path, rows):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {trees.INPUT: rows})[0][:, 0]


def test_served_trees_equal_those_that_were_grown(rows, tmp_path):
    target = (rows[:, 0] * rows[:, 1] > 0).astype(np.float32)
    boosters = [trees.grow(rows, target, settings=TreeSettings(n_trees=30, seed=seed)) for seed in (0, 1)]
    trees.export(boosters, tmp_path / "two.onnx", n_features=5, sample=rows)
    fresh = np.random.default_rng(1).normal(size=(500, 5)).astype(np.float32)
    np.testing.assert_allclose(served(tmp_path / "two.onnx", fresh), trees.predict(boosters, fresh), atol=1e-5)


def test_value_on_a_threshold_goes_the_same_way(tmp_path):
    grid = np.repeat(np.arange(20, dtype=np.float32) / 10, 20)[:, None]
    booster = trees.grow(grid, (grid[:, 0] > 0.7).astype(np.float32), settings=SETTINGS)
    trees.export([booster], tmp_path / "one.onnx", n_features=1, sample=grid)
    np.testing.assert_allclose(served(tmp_path / "one.onnx", grid), trees.predict([booster], grid), atol=1e-6)


def test_trees_find_a_product_that_no_sum_can_say(rows):
    target = (rows[:, 0] * rows[:, 1] > 0).astype(np.float32)
    booster = trees.grow(rows[:1500], target[:1500], settings=TreeSettings(n_trees=80, learning_rate=0.1))
    right = (trees.predict([booster], rows[1500:]) > 0.5) == target[1500:].astype(bool)
    assert right.mean() > 0.9
    shares = trees.importance([booster], list("abcde"))
    assert set(list(shares)[:2]) == {"a", "b"}


def test_same_seed_grows_the_same_trees(rows):
    target = rows[:, 2]
    first, again = (trees.predict([trees.grow(rows, target, settings=SETTINGS)], rows) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_file_that_differs_is_refused(rows, tmp_path, monkeypatch):
    booster = trees.grow(rows, rows[:, 0], settings=SETTINGS)
    monkeypatch.setattr(trees, "_floor32", lambda threshold: threshold + 1)
    with pytest.raises(RunError, match=r"constraints\.txt"):
        trees.export([booster], tmp_path / "bad.onnx", n_features=5, sample=rows)


def lists(n, *, seed):
    """What is bought has the one sign of two features equal: a product, which the additive head cannot say."""
    generator = np.random.default_rng(seed)
    table = np.zeros((n, 40, len(FEATURE_NAMES)), np.float32)
    table[:, :, :4] = generator.normal(size=(n, 40, 4))
    chance = np.where(table[:, :, 0] * table[:, :, 1] > 0.4, 0.5, 0.02)
    mask = np.ones((n, 40), bool)
    mask[:, 35:] = False
    return Lists(table, (generator.random((n, 40)) < chance).astype(np.float32) * mask, mask, is_new=mask)


def test_forest_is_kept_where_it_ranks_what_the_head_cannot():
    past, check, later = lists(300, seed=0), lists(150, seed=1), lists(150, seed=2)
    head = fit_head(past, settings=HeadSettings(n_epochs=2))
    recorder = Recorder()
    settings = ForestSettings(TreeSettings(n_trees=60, learning_rate=0.1, n_leaves=7, least_in_leaf=30))
    forest = fit_forest(past, check, head, settings=settings, progress=recorder)
    assert forest is not None
    flat = later.rows.reshape(-1, later.rows.shape[-1])
    ours = mean_ndcg(forest.scores(head, flat).reshape(later.mask.shape), later)
    theirs = mean_ndcg(head.logits(flat).reshape(later.mask.shape), later)
    assert ours > theirs + 0.1
    assert recorder.figures["validation_ndcg_head_0_trees_1"] > recorder.figures["validation_ndcg_head_1_trees_0"]
    rows, labels = later.flat()
    chance = forest.mixture.calibrate(forest.scores(head, rows))
    assert abs(chance.mean() - labels.mean()) < 0.03


def test_two_processes_grow_the_forest_of_one():
    past, check, later = lists(120, seed=0), lists(60, seed=1), lists(20, seed=2)
    head = fit_head(past, settings=HeadSettings(n_epochs=2))
    settings = ForestSettings(TreeSettings(n_trees=30, learning_rate=0.1, n_leaves=7, least_in_leaf=30))
    alone, shared = (fit_forest(past, check, head, settings=settings, n=n) for n in (1, 2))
    assert alone is not None
    assert shared is not None
    rows, _ = later.flat()
    np.testing.assert_array_equal(shared.scores(head, rows), alone.scores(head, rows))


def habits(n, *, seed):
    """Of the first 20 items the visitor buys 12, as one feature says; new are the others, bought as in `lists`."""
    generator = np.random.default_rng(seed)
    novelties = lists(n, seed=seed)
    labels, is_new = novelties.labels, np.tile(np.arange(40) >= 20, (n, 1))
    habitual = np.argsort(generator.random((n, 20)), axis=1) < 12
    labels[:, :20] = habitual
    novelties.rows[:, :, 4] = np.where(is_new, 0.0, 4 * np.hstack([habitual, habitual]))
    return Lists(novelties.rows, labels, novelties.mask, is_new)


def test_forest_that_is_better_on_new_items_only_is_kept():
    past, check = habits(300, seed=0), habits(150, seed=1)
    head = fit_head(past, settings=HeadSettings(n_epochs=8))
    recorder = Recorder()
    settings = ForestSettings(TreeSettings(n_trees=60, learning_rate=0.1, n_leaves=7, least_in_leaf=30))
    forest = fit_forest(past, check, head, settings=settings, progress=recorder)
    all_items, new_items = (
        {key: value for key, value in recorder.figures.items() if key.startswith(f"validation_ndcg_{scope}head")}
        for scope in ("", "new_")
    )
    assert max(all_items.values()) == all_items["validation_ndcg_head_1_trees_0"] == pytest.approx(1)
    assert new_items["validation_ndcg_new_head_0_trees_1"] > new_items["validation_ndcg_new_head_1_trees_0"] + 0.1
    assert forest is not None


def test_perfect_order_has_ndcg_one_and_the_reverse_much_less():
    random = lists(50, seed=3)
    assert mean_ndcg(random.labels, random) == pytest.approx(1)
    assert mean_ndcg(-random.labels, random) < 0.1


def test_mixture_reads_what_it_wrote():
    mixture = Mixture((0.5, 1.0), (2.0, 4.0), (0.5, 1.0), np.array([-1, 1], np.float32), np.array([0, 1], np.float32))
    again = Mixture.from_json(mixture.to_json())
    scores = again.scores(np.array([2.5], np.float32), np.array([9.0], np.float32))
    assert scores.tolist() == [0.5 * 1 + 1 * 2]
    assert again.calibrate(np.array([0.0], np.float32)).tolist() == [0.5]
