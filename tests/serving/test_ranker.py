"""A bundle in memory: odd texts, broken files, the fallback formula."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from recommender.exceptions import BundleError
from recommender.features.shop_state import build_state
from recommender.ml.encoder.model import SCRATCH
from recommender.ml.export import export_untrained
from recommender.serving.ranker import Ranker, fallback_logits
from tests import behaviour

ITEMS = behaviour.table()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    export_untrained(SCRATCH, folder, texts=ITEMS.texts)
    return folder


@pytest.fixture(scope="module")
def ranker(folder):
    return Ranker.load(folder)


@pytest.mark.parametrize("text", ["", "🎁", "红色的杯子", "x" * 10_000, "word " * 5_000, "\ud800", "\x00"])
def test_any_text_becomes_a_unit_vector(ranker, text):
    assert np.linalg.norm(ranker.encode([text])[0]) == pytest.approx(1, abs=1e-4)


def test_a_vector_does_not_depend_on_its_batch(ranker):
    together = ranker.encode(ITEMS.texts)
    np.testing.assert_allclose(together[5], ranker.encode([ITEMS.texts[5]])[0], atol=1e-5)
    assert ranker.encode([]).shape == (0, ranker.dimension)


def test_a_query_is_remembered_by_its_words(ranker):
    assert ranker.encode_query("Red  CUP ") is ranker.encode_query("red cup")


def test_context_of_an_untrained_bundle_is_the_decayed_mean(ranker):
    vectors = ranker.encode(ITEMS.texts)
    profile = behaviour.profile([(4, 1, 1)], now_day=2)
    np.testing.assert_allclose(ranker.context_vector(profile, vectors), vectors[4], atol=1e-5)
    assert not ranker.context_vector(behaviour.profile([], now_day=2), vectors).any()


def test_a_search_of_the_history_enters_the_context(ranker):
    vectors = ranker.encode(ITEMS.texts)
    profile = behaviour.profile([(-1, 1, -1)], now_day=2)
    code = behaviour.EVENT_CODES[behaviour.EventType.SEARCH]
    profile = dataclasses.replace(profile, type=np.asarray([code], np.int8), queries=("red tea cup",))
    np.testing.assert_allclose(ranker.context_vector(profile, vectors), ranker.encode_query("red tea cup"), atol=1e-5)


def test_without_a_head_interest_comes_before_popularity(ranker):
    state = build_state(behaviour.shop(), ITEMS, at=80 * behaviour.DAY)
    vectors = ranker.encode(ITEMS.texts)
    everything = np.arange(len(ITEMS), dtype=np.int32)
    nobody = behaviour.profile([], now_day=80)
    scored = ranker.score(nobody, everything, state, ITEMS, vectors, context_vector=vectors[9])
    assert scored.scores.argmax() == 9
    assert ((scored.scores > 0) & (scored.scores < 1)).all()
    np.testing.assert_allclose(scored.logits, fallback_logits(scored.features))


def test_unknown_items_keep_their_text_vector(ranker):
    vectors = ranker.encode(ITEMS.texts)
    np.testing.assert_array_equal(ranker.item_vectors(vectors, ITEMS.ids), vectors)


def _changed(folder, tmp_path, name, content):
    copy = shutil.copytree(folder, tmp_path / "copy")
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_text(content)
    return copy


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("encoder.json", json.dumps({"format": 99})),
        ("encoder.json", None),
        ("encoder.onnx", "broken"),
        ("tokenizer.json", "{}"),
        ("head.json", "{}"),
        ("golden.json", None),
    ],
)
def test_a_broken_bundle_names_the_repair(folder, tmp_path, name, content):
    with pytest.raises(BundleError, match=r"roll back|train a new bundle"):
        Ranker.load(_changed(folder, tmp_path, name, content))


def test_a_wrong_golden_answer_is_refused(folder, tmp_path):
    golden = json.loads((folder / "golden.json").read_text())
    golden["vector"][0] += 0.5
    with pytest.raises(BundleError, match="golden"):
        Ranker.load(_changed(folder, tmp_path, "golden.json", json.dumps(golden)))


def test_serving_never_loads_torch():
    code = (
        "import sys, django; django.setup(); import recommender.serving.ranker; "
        "sys.exit('torch' in sys.modules or 'recommender.ml' in sys.modules)"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "shopreco.settings"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
