"""Trains one ranker on the purchases of a real shop and compares it with every simple competitor.

    python -m benchmarks.ranker_online_retail --events events.csv.gz --items items.csv.gz

events: timestamp, user_id, order_id, item_id, event_type (purchase | cancel), quantity, country. items: item_id, title,
list_price, first_seen. Source of the data: UCI Online Retail (Chen, Sain and Guo 2012, doi 10.1057/dbm.2012.17).
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import gzip
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import django
import numpy as np

from recommender.features import ORDER_DECAY, purchases
from recommender.features.head import Head
from recommender.features.shop_state import ShopState, build_state
from recommender.ml import metrics
from recommender.ml.encoder.stage import search_quality
from recommender.ml.export import export_untrained, write
from recommender.ml.histories import Histories
from recommender.ml.plan import TrainingData, TrainingSettings
from recommender.ml.progress import Progress
from recommender.ml.rivals import baselines
from recommender.ml.train import fit
from recommender.tables import Interactions, ItemTable, Profile
from recommender.types import EVENT_CODES, EventType, IntArray

if TYPE_CHECKING:
    from recommender.serving.ranker import Ranker

FULL = "full head"


@dataclass(frozen=True, slots=True)
class Quality:
    """The figures of one ranker in one scope: NDCG@10 per case, and the means of the rest."""

    ndcg: list[float]
    recall: float
    mrr: float
    coverage: float


class Printed(Progress):
    """Prints the stages of a run."""

    def stage(self, name: str) -> None:
        print(f"stage {name}", flush=True)

    def figure(self, name: str, value: float) -> None:
        print(f"  {name} {value:.4f}", flush=True)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    django.setup()
    from recommender.serving.ranker import Ranker

    options = _options()
    items = read_items(options.items)
    interactions = read_events(options.events, items)
    start, end = (_seconds(text) for text in (options.test_start, options.test_end))
    settings = TrainingSettings(minutes=options.minutes, seed=options.seed, encoder=options.encoder)
    print(f"{len(interactions)} events, {len(items)} items; {asdict(settings)}")
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        artifacts = fit(TrainingData(interactions, items, start, start, end), settings, Printed())
        write(artifacts, Path(folder) / "trained")
        print(f"seconds {artifacts.seconds}, with export {time.monotonic() - began:.0f}")
        export_untrained(options.encoder, Path(folder) / "untrained", texts=items.texts)
        ours, untrained = Ranker.load(Path(folder) / "trained"), Ranker.load(Path(folder) / "untrained")
        assert artifacts.baseline is not None
        state = build_state(interactions, items, at=start)
        scorers = competitors(ours, untrained, artifacts.baseline, items)
        for name, ranker in (("untuned", untrained), ("tuned", ours)):
            mrr = search_quality(ranker.encode, items.texts, ranker.encode(items.texts), seed=99)
            print(f"known-item search, {name} encoder: MRR {mrr:.4f}")
    histories = Histories(interactions)
    for scope in ("all", "new"):
        show(scope, evaluate(scorers, histories, state, items, end=end, scope=scope), seed=options.seed)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def competitors(ours: Ranker, untrained: Ranker, baseline: Head, items: ItemTable) -> dict[str, baselines.Scorer]:
    """Return every scorer by name, the served ranker among them."""
    plain = untrained.encode(items.texts)
    vectors = ours.item_vectors(ours.encode(items.texts), items.ids)
    everything = np.arange(len(items), dtype=np.int32)

    def full(profile: Profile, state: ShopState, table: ItemTable) -> np.ndarray:
        return ours.score(profile, everything, state, table, vectors).logits

    return {
        "random": baselines.random_order(),
        "popularity 7 days": baselines.popularity(1),
        "popularity 30 days": baselines.popularity(2),
        "own frequency": baselines.own_frequency,
        "decayed own frequency": decayed_frequency,
        "item-kNN": baselines.item_knn,
        "lexical": baselines.lexical(items.texts),
        "untuned encoder, mean": baselines.mean_vector(plain),
        "tuned encoder, mean": baselines.mean_vector(vectors),
        "tuned encoder + context": baselines.context_match(vectors, lambda p: ours.context_vector(p, vectors)),
        "linear baseline": baselines.headed(baseline),
        FULL: full,
    }


def decayed_frequency(profile: Profile, state: ShopState, items: ItemTable) -> np.ndarray:
    """Orders with the item, newer ones weigh more, then popularity: the personal part of TIFU-KNN (Hu et al. 2020)."""
    orders = purchases(profile)
    weight = ORDER_DECAY ** (orders.n_orders - 1 - orders.order)
    own = np.bincount(orders.item, weights=weight, minlength=len(items))
    return (own + baselines.TIE_BREAK * state.popularity[:, 2]).astype(np.float32)


def evaluate(
    scorers: dict[str, baselines.Scorer],
    histories: Histories,
    state: ShopState,
    items: ItemTable,
    *,
    end: float,
    scope: str,
) -> dict[str, Quality]:
    """Rank everything that was in the shop at `state.at` for each returning buyer of the window."""
    available = items.active & (items.first_seen <= state.at)
    cases = _cases(histories, state.at, end, scope)
    results = {}
    for name, scorer in scorers.items():
        lists = [_ranked(scorer(profile, state, items), available, hidden) for profile, _, hidden in cases]
        results[name] = _quality(lists, [truth for _, truth, _ in cases], int(available.sum()))
    return results


def show(scope: str, results: dict[str, Quality], *, seed: int) -> None:
    """Print one table; the interval is that of the served ranker's NDCG@10 minus the competitor's."""
    n = len(results[FULL].ndcg)
    print(f"\n{scope} items, {n} visitors")
    print(f"{'ranker':<26}{'NDCG@10':>8}{'recall@20':>10}{'MRR':>7}{'cover':>7}  gain, 95 %")
    for name, quality in results.items():
        gain = metrics.paired_bootstrap(results[FULL].ndcg, quality.ndcg, seed=seed)
        interval = "" if name == FULL else f"{gain.mean:+.4f} [{gain.lower:+.4f}, {gain.upper:+.4f}]"
        figures = f"{np.mean(quality.ndcg):8.4f}{quality.recall:10.4f}{quality.mrr:7.3f}{quality.coverage:7.3f}"
        print(f"{name:<26}{figures}  {interval}", flush=True)


def read_items(path: Path) -> ItemTable:
    """Read the catalogue; an item without a first day is not yet in the shop."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return ItemTable(
        ids=tuple(row["item_id"] for row in rows),
        texts=tuple(row["title"] for row in rows),
        price=np.asarray([float(row["list_price"] or "nan") for row in rows], np.float32),
        category=np.full(len(rows), -1, np.int32),
        category_names=(),
        first_seen=np.asarray([_seconds(row["first_seen"]) if row["first_seen"] else np.inf for row in rows]),
        active=np.ones(len(rows), bool),
    )


def read_events(path: Path, items: ItemTable) -> Interactions:
    """Read purchases and cancellations, ascending by time; a guest is visitor -1."""
    row_of = {item_id: row for row, item_id in enumerate(items.ids)}
    visitors: dict[str, int] = {}
    orders: dict[str, int] = {}
    countries: dict[str, int] = {}
    kinds = {"purchase": EVENT_CODES[EventType.PURCHASE], "cancel": EVENT_CODES[EventType.REFUND]}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        rows = [
            (
                _seconds(row["timestamp"]),
                orders.setdefault(row["order_id"], len(orders)),
                visitors.setdefault(row["user_id"], len(visitors)) if row["user_id"] else -1,
                row_of[row["item_id"]],
                kinds[row["event_type"]],
                float(row["quantity"]),
                countries.setdefault(row.get("country", ""), len(countries)),
            )
            for row in csv.DictReader(lines)
        ]
    rows.sort()
    time_, basket, visitor, item, kind, quantity, region = (np.asarray(column) for column in zip(*rows, strict=True))
    return Interactions(
        visitor=visitor.astype(np.int32),
        item=item.astype(np.int32),
        type=kind.astype(np.int8),
        time=time_.astype(np.float64),
        quantity=quantity.astype(np.float32),
        basket=basket.astype(np.int32),
        query=np.full(len(rows), -1, np.int32),
        region=region.astype(np.int32),
        regions=tuple(countries),
    )


def _cases(histories: Histories, at: float, end: float, scope: str) -> list[tuple[Profile, set[int], IntArray]]:
    cases = []
    for visitor in histories.buyers(at=at, until=end):
        profile = histories.profile(int(visitor), at=at, limit=10**9)
        hidden = np.unique(profile.item) if scope == "new" else np.empty(0, np.int32)
        truth = set(histories.bought(int(visitor), since=at, until=end).tolist()) - set(hidden.tolist())
        if truth:
            cases.append((histories.profile(int(visitor), at=at), truth, hidden))
    return cases


def _ranked(scores: np.ndarray, available: np.ndarray, hidden: IntArray) -> list[int]:
    scores = np.where(available, scores, -np.inf)
    scores[hidden] = -np.inf
    return np.argsort(-scores, kind="stable")[:100].tolist()


def _quality(lists: list[list[int]], truths: list[set[int]], n_items: int) -> Quality:
    pairs = list(zip(lists, truths, strict=True))

    def mean(figure: Callable[[list[int], set[int]], float]) -> float:
        return float(np.mean([figure(ranked, truth) for ranked, truth in pairs]))

    return Quality(
        ndcg=[metrics.ndcg_at_k(ranked, truth, 10) for ranked, truth in pairs],
        recall=mean(lambda ranked, truth: metrics.recall_at_k(ranked, truth, 20)),
        mrr=mean(metrics.reciprocal_rank),
        coverage=metrics.coverage([ranked[:10] for ranked in lists], n_items),
    )


def _seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path, required=True)
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoder", default="")
    parser.add_argument("--test-start", default="2011-10-10")
    parser.add_argument("--test-end", default="2011-11-10")
    return parser.parse_args()


if __name__ == "__main__":
    main()
