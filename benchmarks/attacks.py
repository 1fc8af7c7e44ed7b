"""What somebody gains who attacks the shop's lists: the lift of a target, with the defences and without them.

    python -m benchmarks.attacks [--customers 300] [--products 600] [--minutes 0] [--seed 0]

Real customers with their orders are loaded as a shop's past, and visitors who only look, and search, in its last 60
days are drawn by what sells. Each attack is stored as the API would, the jobs run, and `pipeline` answers. Exposure is
the mean of 1 / log2(1 + position) over the lists of a kind, in the first 100 places; lift is that after the attack
against that before it. Without the defences every event counts as its sender wants: claimed purchases are orders. With
`--minutes` one attack is measured instead after a training on the poisoned events. Exit code 1 beyond the limit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from unittest import mock

import numpy as np

from benchmarks.attack_plans import ATTACKS, POISON, STUFFINGS, Attack, Cast, cast_of, insert, remove_since, stuffed
from benchmarks.honest_traffic import add_visitors
from benchmarks.workbench import shop

LIMIT = 1.2
DEPTH = 100
N_SHOPPERS = 10
TREND_LEAST = 0.95
"""Of the exposure that a true trend has without the defences, so much must be left with them."""

Exposures = Mapping[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=300)
    parser.add_argument("--products", type=int, default=600)
    parser.add_argument("--minutes", type=float, default=0.0, help="time box of each of four trainings; 0 for none")
    parser.add_argument("--quality", action="store_true", help="only what the defences cost an honest shop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--attack", default="", help="only attacks whose name has this text")
    options = parser.parse_args()
    with shop():
        _fill(options.customers, options.products, options.seed)
        print_quality()
        report = Report(cast_of(options.seed), options.attack)
        if options.minutes:
            report.measure_trained(options.minutes)
        elif not options.quality:
            report.measure_all()
            report.measure_titles()
        sys.exit(report.n_missed > 0)


def _fill(n_customers: int, n_products: int, seed: int) -> None:
    from django.utils import timezone

    from recommender import tracking
    from recommender.catalog import sync
    from recommender.models import Event
    from shopreco.shop import loading

    loading.load(n_customers=n_customers, n_products=n_products, now=timezone.now())
    sync.sync()
    tracking.reconcile()
    n_orders = Event.objects.count()
    n_claims = add_visitors(seed=seed)
    print(f"{n_customers} customers, {n_products} products, {n_orders} order lines, {n_claims} events of visitors\n")


@contextmanager
def undefended() -> Iterator[None]:
    """Believe everything: no caps, no limits, everybody counts, a claimed purchase is an order."""
    from recommender.features.credibility import Control
    from recommender.types import EVENT_CODES

    def ones(events: object) -> np.ndarray:
        return np.ones(len(events), np.float32)  # type: ignore[arg-type]

    def nothing(events: object) -> np.ndarray:
        return np.zeros(len(events), bool)  # type: ignore[arg-type]

    with ExitStack() as stack:
        for name, replacement in {
            "recommender.datasets.cleaning.control": lambda events: Control(nothing(events)),
            "recommender.datasets.impressions.control": lambda events: Control(nothing(events)),
            "recommender.personas.segmentation.control": lambda events: Control(nothing(events)),
            "recommender.datasets.cleaning._floods": nothing,
            "recommender.datasets.cleaning.excess_claims": nothing,
            "recommender.retrieval.lexical.reading._once": iter,
            "recommender.retrieval.lexical.wording._once": iter,
            "recommender.personas.segmentation.excess_claims": nothing,
            "recommender.features.shop_state.person_weights": ones,
            "recommender.features.shop_state._trusted": lambda events: np.ones(len(events), bool),
            "recommender.features.shop_state._is_strongest": lambda claim, item, weight: np.ones(len(item), bool),
            "recommender.personas.segments.person_weights": ones,
            "recommender.datasets.queries.person_weights": ones,
            "recommender.datasets.columns._COUNTED_AS": np.arange(len(EVENT_CODES), dtype=np.int8),
            "recommender.datasets.columns._baskets": lambda basket, source: basket,
        }.items():
            stack.enter_context(mock.patch(name, replacement))
        yield


DEFENCES = (("without", undefended), ("with", ExitStack))
HEADER = f"\n{'attack':<52} {'list':<12} {'lift without':>13} {'lift with':>10} {'limit':>6}"


@dataclass
class Report:
    """Measures attack after attack, prints a line each, and counts what is beyond the limit."""

    cast: Cast
    chosen: str = ""
    n_missed: int = 0
    usual: dict[str, Exposures] = field(default_factory=dict)

    def measure_all(self) -> None:
        """Every attack on the untrained shop."""
        for name, defences in DEFENCES:
            with defences():
                self.usual[name] = exposures(self.cast)
        print(HEADER)
        for attack in (attack for attack in ATTACKS if self.chosen in attack.name):
            self._print(attack, self._lifts(attack))

    def _lifts(self, attack: Attack) -> dict[str, Exposures]:
        lifts: dict[str, Exposures] = {}
        last = insert(attack, self.cast)
        try:
            for name, defences in DEFENCES:
                with defences():
                    lifts[name] = ratios(exposures(self.cast), self.usual[name])
        finally:
            remove_since(last)
        return lifts

    def _print(self, attack: Attack, lifts: dict[str, Exposures]) -> None:
        for kind in lifts["with"]:
            before, after = lifts["without"][kind], lifts["with"][kind]
            if attack.is_honest:
                is_missed, limit = after < TREND_LEAST * before, f"{TREND_LEAST * before:.2f} ≤"
            else:
                is_missed, limit = after > LIMIT, f"{LIMIT}"
            self.n_missed += is_missed
            verdict = "MISSED" if is_missed else "ok"
            print(f"{attack.name:<52} {kind:<12} {before:>13.2f} {after:>10.2f} {limit:>6} {verdict}", flush=True)

    def measure_titles(self) -> None:
        """The target's title stuffed with its own words, in a search."""
        for name, form in STUFFINGS:
            lifts: dict[str, Exposures] = {}
            with stuffed(self.cast, form):
                for defended, defences in DEFENCES:
                    with defences():
                        lifts[defended] = ratios({"search": searched(self.cast)}, self.usual[defended])
            self._print(Attack(f"title stuffed: {name}", POISON.plan), lifts)

    def measure_trained(self, minutes: float) -> None:
        """After a training on what the attack left, against one on the events before it; first with the defences."""
        lifts: dict[str, Exposures] = {}
        for name, defences in reversed(DEFENCES):
            with defences():
                train(minutes)
                self.usual[name] = exposures(self.cast)
                last = insert(POISON, self.cast)
                train(minutes)
                lifts[name] = ratios(exposures(self.cast), self.usual[name])
                remove_since(last)
            print({kind: round(lift, 2) for kind, lift in lifts[name].items()}, f"{name} the defences", flush=True)
        print(HEADER)
        self._print(POISON, lifts)


def print_quality() -> None:
    """Print NDCG@10 of simple competitors on the newest orders, with the defences and without them."""
    from recommender import datasets
    from recommender.ml.rivals import baselines
    from recommender.training.judging import evaluation
    from recommender.training.split import split_in_time

    scorers = {
        "popularity": baselines.popularity(), "own frequency": baselines.own_frequency, "item-kNN": baselines.item_knn,
    }  # fmt: skip
    for name, defences in DEFENCES:
        with defences():
            dataset = datasets.read_dataset()
            split = split_in_time(dataset)
            cases = evaluation.cases(split, most=400, seed=0)
            makers = {one: evaluation.scored(scorer, split.state, split.items) for one, scorer in scorers.items()}
            results = evaluation.compare(makers, cases)
        figures = (f"{one} {np.mean(results.ndcg('all', one)):.4f}" for one in scorers)
        print(f"NDCG@10 of {len(cases)} customers {name} the defences: {', '.join(figures)}", flush=True)
    left_out = datasets.clean(dataset.recorded)[1].removed.get("burst", 0)
    print(f"honest claims beyond the limits: {left_out} of {(dataset.recorded.interactions.claim >= 0).sum()}")


def train(minutes: float) -> None:
    """Train on what is stored and let that serve, whatever the gate says: here a worse ranker is interesting too."""
    from recommender import bundles, runs, training
    from recommender.models import Run

    run = runs.request_run(trigger="here", settings={"minutes": minutes, "fine_tuning": "frozen"})
    training.run(run.pk, runs.lease(run.pk, worker="benchmark") or 0)
    run = Run.objects.get(pk=run.pk)
    print(f"  {run.get_state_display()}, {run.get_verdict_display()}: {run.reason}", flush=True)
    if run.bundle is not None and run.bundle != bundles.champion():
        bundles.promote(run.bundle)


def exposures(cast: Cast) -> Exposures:
    """Return the target's exposure by kind of list, after every job has run."""
    from recommender import serving
    from recommender.datasets import queries, statistics
    from recommender.personas import segmentation

    statistics.refresh_statistics()
    queries.learn_queries()
    segmentation.refresh()
    serving.reload()
    return {kind: mean_exposure(make(cast)) for kind, make in LISTS.items()}


def searched(cast: Cast) -> float:
    """Return the target's exposure in searches with the catalogue as it is now."""
    from recommender import serving

    serving.reload()
    return mean_exposure(_search(cast))


def ratios(after: Exposures, before: Exposures) -> Exposures:
    """Return the lift of each kind of list."""
    return {kind: after[kind] / before[kind] for kind in after}


def mean_exposure(positions: Sequence[int]) -> float:
    """Return the mean of 1 / log2(1 + position); position `DEPTH` + 1 where it is not listed."""
    return float(np.mean(1 / np.log2(1 + np.array(positions, np.float64))))


def _position(ranking: object, target: str) -> int:
    listed = [entry.item_id for entry in ranking.entries]  # type: ignore[attr-defined]
    return listed.index(target) + 1 if target in listed else DEPTH + 1


def _home(cast: Cast) -> list[int]:
    from recommender import pipeline

    rankings = [pipeline.recommend("home", limit=DEPTH)]
    rankings += [pipeline.recommend("home", shopper=shopper, limit=DEPTH) for shopper in cast.shoppers(N_SHOPPERS)]
    return [_position(ranking, cast.target) for ranking in rankings]


def _slot(name: str) -> Callable[[Cast], list[int]]:
    def positions(cast: Cast) -> list[int]:
        from recommender import pipeline

        beside = [""] if name == "trending" else cast.bestsellers
        cart = [(item_id,) if name == "cart" else () for item_id in beside]
        pages = [item_id if name != "cart" else "" for item_id in beside]
        return [
            _position(pipeline.recommend(name, item_id=page, cart_item_ids=items, limit=DEPTH), cast.target)
            for page, items in zip(pages, cart, strict=True)
        ]

    return positions


def _search(cast: Cast) -> list[int]:
    from recommender import pipeline

    plain = [_position(pipeline.search(query, limit=DEPTH), cast.target) for query in cast.queries]
    return [*plain, _position(pipeline.search(cast.queries[0], sort="popular", limit=DEPTH), cast.target)]


def _suggestions(cast: Cast) -> list[int]:
    """Where the bombed query stands among the completions of what its first word begins with."""
    from recommender import pipeline

    texts = [one.text for one in pipeline.suggest(cast.prefix, limit=20) if one.kind == "query"]
    return [texts.index(cast.bomb) + 1 if cast.bomb in texts else DEPTH + 1]


def _segments(cast: Cast) -> list[int]:
    """Where the target stands in what the members of each segment like."""
    from recommender.models import Segment

    counts = [segment.item_counts for segment in Segment.objects.filter(retired_at=None)]
    orders = [sorted(one, key=lambda item_id: (-one[item_id], item_id))[:DEPTH] for one in counts]
    return [order.index(cast.target) + 1 if cast.target in order else DEPTH + 1 for order in orders] or [DEPTH + 1]


LISTS: dict[str, Callable[[Cast], list[int]]] = {
    "home": _home,
    "trending": _slot("trending"),
    "similar": _slot("similar"),
    "together": _slot("bought_together"),
    "cart": _slot("cart"),
    "search": _search,
    "suggestions": _suggestions,
    "segments": _segments,
}


if __name__ == "__main__":
    main()
