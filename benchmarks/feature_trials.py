"""Tries further features of lists on earlier windows: candidates and features are cached, only trees are fitted anew.

`python -m benchmarks.feature_trials --items I --events E --at 2011-07-11 --at 2011-08-10 --cache FOLDER --try repeats`

Files as `benchmarks.recommendation` reads them. Each `--at` begins a window: trees learn from the lists of earlier
moments whose `--days` were over by then, with the served features and with the further columns of each trial, and are
judged on what was bought in the days after. Printed is the gain in NDCG@10 over customers, of all candidates and of
those new to the customer. The context vector is the decayed mean of untuned vectors, so that a trial takes a minute
and no training: what wins here in several windows still has to win in a whole training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import judging
from benchmarks.events import DAY, EventRow, moment_of, read_events
from benchmarks.feature_candidates import TRIALS, Columns, Moment
from benchmarks.judging import Figure
from benchmarks.recommendation_rivals import read_past
from benchmarks.workbench import InputError
from recommender.features import FEATURE_NAMES
from recommender.features.sequence import decayed_mean, sequence
from recommender.features.weights import positive_events
from recommender.ml.hardware import limit_threads
from recommender.ml.head import trees
from recommender.ml.head.lists import ShopHistory, Vectors
from recommender.ml.head.trees import TreeSettings
from recommender.ml.metrics import ndcg_of_scores
from recommender.retrieval.base import Mask
from recommender.retrieval.candidates import N_CANDIDATES
from recommender.tables import Profile
from recommender.types import FloatArray, IntArray

N_MISSES = 60
"""Misses of a list that the trees learn from, drawn at random beside all hits: a trial is to be quick."""

SETTINGS = TreeSettings(n_trees=100, learning_rate=0.08, n_leaves=15, least_in_leaf=100)


@dataclass(frozen=True, slots=True)
class Cached:
    """The lists of one moment; visitor (n,) int32, the rest (n, `N_CANDIDATES`), rows with a further axis of features.

    item is -1 where a list is shorter; is_new: not yet bought or looked at by the visitor.
    """

    visitor: IntArray
    item: IntArray
    rows: FloatArray
    labels: FloatArray
    is_new: Mask

    def __len__(self) -> int:
        return len(self.visitor)


class Trials:
    """A shop whose lists are cached by moment in a folder, and the columns of each trial beside them."""

    def __init__(self, shop: ShopHistory, folder: Path, *, seconds: float, n_visitors: int) -> None:
        self.shop, self.folder, self.seconds, self.n_visitors = shop, folder, seconds, n_visitors
        self._read: dict[float, Cached] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def lists(self, at: float) -> Cached:
        """Return the lists of buyers of the window after `at`; their candidates and features are computed once."""
        path = self._path(at, "lists")
        if at not in self._read and path.is_file():
            with np.load(path, allow_pickle=False) as stored:
                self._read[at] = Cached(**{entry.name: stored[entry.name] for entry in fields(Cached)})
        if at not in self._read:
            self._read[at] = lists = self._computed(at)
            np.savez(path, **{entry.name: getattr(lists, entry.name) for entry in fields(Cached)})
        return self._read[at]

    def columns(self, at: float, trial: str) -> FloatArray:
        """Return (n, N_CANDIDATES, n_columns) of one trial for the lists of a moment, 0 where a list is shorter."""
        path = self._path(at, trial)
        if not path.is_file():
            lists, histories = self.lists(at), self.shop.histories
            column_of = TRIALS[trial](Moment(self.shop.state(at), self.shop.items, histories.interactions))
            parts = [
                _filled(column_of(histories.profile(int(visitor), at=at), item[item >= 0]))
                for visitor, item in zip(lists.visitor, lists.item, strict=True)
            ]
            np.savez(path, columns=np.stack(parts))
        with np.load(path, allow_pickle=False) as stored:
            return np.asarray(stored["columns"])

    def _computed(self, at: float) -> Cached:
        shop, state, histories = self.shop, self.shop.state(at), self.shop.histories
        visitors = np.random.default_rng(0).permutation(histories.buyers(at=at, until=at + self.seconds))
        visitors = visitors[: self.n_visitors].astype(np.int32)
        shape = (len(visitors), N_CANDIDATES)
        item, rows = np.full(shape, -1, np.int32), np.zeros((*shape, len(FEATURE_NAMES)), np.float32)
        labels, is_new = np.zeros(shape, np.float32), np.zeros(shape, bool)
        for n, visitor in enumerate(visitors.tolist()):
            profile = histories.profile(visitor, at=at)
            vector = shop.vectors.context_of(profile)
            chosen = shop.candidates(profile, state, vector)
            here = slice(len(chosen))
            item[n, here], rows[n, here] = chosen, shop.rows(profile, chosen, state, vector)
            labels[n, here] = np.isin(chosen, histories.bought(visitor, since=at, until=at + self.seconds))
            is_new[n, here] = ~np.isin(chosen, profile.item[positive_events(profile)])
        return Cached(visitors, item, rows, labels, is_new)

    def _path(self, at: float, name: str) -> Path:
        return self.folder / f"{at:.0f}-{self.seconds:.0f}-{self.n_visitors}-{name}.npz"


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    unknown = set(options.trials) - set(TRIALS)
    if unknown:
        raise InputError(f"There is no trial {', '.join(sorted(unknown))}: choose from {', '.join(TRIALS)}.")
    limit_threads(1)
    events, has_clock = read_events(options.events)
    trials = _trials(options, events, seconds=options.days * DAY if has_clock else DAY)
    for text in options.at:
        at = moment_of(text, events)
        for scope, rows in judged(trials, at, options.trials, step=options.step * DAY, n_moments=options.moments):
            print(f"\n{text}, {scope}\n{judging.markdown(['columns', 'NDCG@10', 'gain, 95 % interval'], rows)}")


def judged(
    trials: Trials, at: float, names: Sequence[str], *, step: float, n_moments: int
) -> Iterator[tuple[str, list[list[str]]]]:
    """Yield the table of each scope of one window: the served features first, then with each trial and with all."""
    earlier = [at - trials.seconds - step * back for back in reversed(range(n_moments))]
    sets = [(), *((name,) for name in names), *([tuple(names)] if len(names) > 1 else [])]
    figures = {"+".join(chosen) or "served": _figures(trials, at, earlier, chosen) for chosen in sets}
    for scope in ("all", "new"):
        served = figures["served"][scope]
        yield (
            scope,
            [
                [name, judging.figure_text(by[scope]), "" if name == "served" else judging.gain_text(by[scope], served)]
                for name, by in figures.items()
            ],
        )


def _figures(trials: Trials, at: float, earlier: Sequence[float], names: Sequence[str]) -> dict[str, Figure]:
    booster, lists = _grown(trials, earlier, names), trials.lists(at)
    is_item = lists.item >= 0
    scores = np.zeros(is_item.shape, np.float32)
    scores[is_item] = trees.predict([booster], _rows(trials, at, names, is_item))
    return {
        scope: Figure.of([_ndcg(*case) for case in zip(scores, lists.labels, used, strict=True)])
        for scope, used in (("all", is_item), ("new", is_item & lists.is_new))
    }


def _ndcg(scores: FloatArray, labels: FloatArray, used: Mask) -> tuple[float, float]:
    return (ndcg_of_scores(scores[used], labels[used]), 1.0) if labels[used].any() else (0.0, 0.0)


def _grown(trials: Trials, moments: Sequence[float], names: Sequence[str]) -> Any:
    generator = np.random.default_rng(0)
    rows, labels, sizes = [], [], []
    for at in moments:
        lists = trials.lists(at)
        drawn = generator.random(lists.item.shape).argsort(axis=1).argsort(axis=1) < N_MISSES
        used = (lists.item >= 0) & ((lists.labels > 0) | drawn)
        rows.append(_rows(trials, at, names, used))
        labels.append(lists.labels[used])
        sizes.append(used.sum(axis=1))
    size = np.concatenate(sizes)
    return trees.grow(
        np.concatenate(rows), np.concatenate(labels), objective="lambdarank", group=size[size > 0], settings=SETTINGS
    )


def _rows(trials: Trials, at: float, names: Sequence[str], used: Mask) -> FloatArray:
    """Return (n_used, n_columns): the served features and the columns of the trials, of the used candidates."""
    parts = [trials.lists(at).rows, *(trials.columns(at, name) for name in names)]
    return np.concatenate([part[used] for part in parts], axis=1)


def _filled(columns: Columns) -> FloatArray:
    table = np.stack(list(columns.values()), axis=1)
    return np.pad(table, ((0, N_CANDIDATES - len(table)), (0, 0))).astype(np.float32)


def _trials(options: argparse.Namespace, events: Sequence[EventRow], *, seconds: float) -> Trials:
    past = read_past(options.items, events, [], at=events[-1].at + 1)
    vectors = _vectors(past.items.texts, options.cache)
    shop = ShopHistory(past.histories, past.items, Vectors(vectors, partial(_mean, vectors)))
    return Trials(shop, options.cache, seconds=seconds, n_visitors=options.visitors)


def _vectors(texts: Sequence[str], folder: Path) -> FloatArray:
    path = folder / "vectors.npy"
    if not path.is_file():
        from recommender.ml.encoder.model import load_encoder

        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, load_encoder("").encode(texts, exact=False), allow_pickle=False)
    return np.asarray(np.load(path, allow_pickle=False), np.float32)


def _mean(vectors: FloatArray, profile: Profile) -> FloatArray:
    events = sequence(profile)
    is_item = events.item >= 0
    return decayed_mean(vectors[events.item[is_item]], events.weight[is_item])


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder for lists and columns, for these files only")
    parser.add_argument("--at", action="append", required=True, help="first moment of a window, may be given again")
    parser.add_argument("--try", action="append", dest="trials", default=[], help=f"one of {', '.join(TRIALS)}")
    parser.add_argument("--days", type=float, default=30.0, help="of a window; one where events have no time")
    parser.add_argument("--step", type=float, default=15.0, help="days between the moments of learning")
    parser.add_argument("--moments", type=int, default=4, help="of learning, for each window")
    parser.add_argument("--visitors", type=int, default=500, help="of each moment")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(sys.argv[1:])
