from __future__ import annotations

import builtins
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommender import bundles
from recommender.ml.export import export_untrained
from recommender.models import Item, ItemVector
from recommender.serving import runtimes, vectors
from recommender.serving.ranker import Ranker
from recommender.serving.runtimes import LEAST_AGREEMENT, OpenVino, agreement, fastest

TEXTS = [
    f"{colour} {thing} with {n} handles" for colour in ("red", "blue") for thing in ("mug", "bag") for n in range(12)
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ranker, Path]:
    folder = tmp_path_factory.mktemp("untrained")
    export_untrained("", folder)
    return Ranker.load(folder), folder / "encoder.onnx"


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_agreement_is_the_share_of_the_right_neighbours() -> None:
    exact = unit(np.random.default_rng(0).normal(size=(200, 16)))
    assert agreement(exact, exact) == 1
    assert agreement(unit(exact + 0.001), exact) > LEAST_AGREEMENT
    assert agreement(unit(np.random.default_rng(1).normal(size=(200, 16))), exact) < 0.2


def test_order_among_near_duplicates_is_no_disagreement() -> None:
    exact = unit(1 + 1e-5 * np.random.default_rng(0).normal(size=(50, 8)))
    assert agreement(exact[:, ::-1], exact) == 1


def test_openvino_encodes_as_onnx_runtime_whatever_else_is_in_the_batch(encoder: tuple[Ranker, Path]) -> None:
    ranker, path = encoder
    other = ranker.with_encoder(OpenVino(path))
    exact, together = ranker.encode(TEXTS), other.encode(TEXTS)
    np.testing.assert_allclose((exact * together).sum(axis=1), 1, atol=2e-3)
    np.testing.assert_allclose(other.encode(TEXTS[:1]), together[:1], atol=1e-3)
    assert agreement(together, exact) >= LEAST_AGREEMENT
    assert np.array_equal(ranker.encode(TEXTS), exact)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """Sets how long OpenVINO takes for what ONNX Runtime takes a second for."""

    def takes(seconds: float) -> None:
        moments = iter([0.0, 1.0, 0.0, seconds])
        monkeypatch.setattr(runtimes.time, "perf_counter", lambda: next(moments))

    return takes


def test_faster_runtime_that_agrees_encodes(encoder: tuple[Ranker, Path], clock: Callable[[float], None]) -> None:
    ranker, path = encoder
    clock(0.5)
    assert fastest(ranker, path, TEXTS) is not ranker
    clock(0.95)
    assert fastest(ranker, path, TEXTS) is ranker


def test_faster_runtime_that_finds_others_does_not(
    encoder: tuple[Ranker, Path],
    clock: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ranker, path = encoder

    def spoilt(self: Any, names: None, feeds: Any) -> Any:
        computed = run(self, names, feeds)[0]
        return [np.random.default_rng(0).permutation(computed.ravel()).reshape(computed.shape)]

    run = OpenVino.run
    monkeypatch.setattr(OpenVino, "run", spoilt)
    clock(0.1)
    with caplog.at_level(logging.INFO, logger="recommender"):
        assert fastest(ranker, path, TEXTS) is ranker
    assert "does not encode" in caplog.text


def test_runtime_that_fails_or_is_not_installed_leaves_the_work_to_onnx_runtime(
    encoder: tuple[Ranker, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ranker, path = encoder
    assert fastest(ranker, path.with_name("none.onnx"), TEXTS) is ranker
    assert "cannot compute none.onnx" in caplog.text
    imported = builtins.__import__

    def without_openvino(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "openvino":
            raise ImportError(name)
        return imported(name, *arguments, **options)

    caplog.clear()
    monkeypatch.setattr(builtins, "__import__", without_openvino)
    assert fastest(ranker, path, TEXTS) is ranker
    assert not caplog.records


@pytest.mark.django_db
def test_catalogue_is_encoded_by_the_runtime_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    name, chosen, choose = bundles.ensure_champion().name, [], runtimes.fastest

    def fastest(ranker: Ranker, path: Path, texts: list[str]) -> Ranker:
        chosen.append((path.is_file(), len(texts)))
        return choose(ranker, path, texts)

    monkeypatch.setattr(runtimes, "fastest", fastest)
    Item.objects.bulk_create(Item(item_id=str(n), text=text, text_hash=str(n)) for n, text in enumerate(TEXTS))
    vectors.encode_missing(name)
    assert (chosen, ItemVector.objects.count()) == ([], len(TEXTS))
    ItemVector.objects.all().delete()
    monkeypatch.setattr(runtimes, "LEAST_TEXTS", 10)
    vectors.encode_missing(name)
    assert (chosen, ItemVector.objects.count()) == ([(True, len(TEXTS))], len(TEXTS))
