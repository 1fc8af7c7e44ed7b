"""What circumstances are worth: the context model with them, beside the same model without them.

    python -m benchmarks.context_ablation --events events.csv.gz --items items.csv.gz    # a real shop
    python -m benchmarks.context_ablation --simulated                                     # a planted truth

A real shop: Online Retail (columns as in `benchmarks.ranker_online_retail`), which has hour, weekday and country of
its orders only; each returning buyer of the window is asked for at the moment of the first order, and the whole
catalogue is ranked. The planted truth, `benchmarks.simulator`, has device, hour, weekday, region, current item and
query; it shows that the model finds what is there, and is no evidence of a benefit. Vectors are those of the untuned
encoder, or planted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import simulator
from benchmarks.ranker_online_retail import _seconds, read_events, read_items
from recommender.durations import DAY_SECONDS
from recommender.features import RequestVectors, features
from recommender.features.head import Head
from recommender.features.shop_state import ShopState, build_state
from recommender.features.weights import EVENT_WEIGHTS
from recommender.ml import metrics
from recommender.ml.artifacts import moved
from recommender.ml.context.model import ContextSettings, ContextTransformer, context_vector
from recommender.ml.context.training import ContextData, Trained, train_context
from recommender.ml.context.visits import Batchable, examples
from recommender.ml.encoder.model import load_encoder
from recommender.ml.hardware import limit_threads
from recommender.ml.head.additive import fit_head
from recommender.ml.head.lists import Sample, ShopHistory, Vectors, joined, lists_at
from recommender.ml.histories import Histories
from recommender.ml.plan import until
from recommender.tables import Interactions, ItemTable, Profile
from recommender.types import FloatArray, IntArray

CHOSEN = "chosen"
"""What a run does: it leaves out circumstances that do not surely lower the loss of the newest tenth of the past."""

RETAIL: Mapping[str, frozenset[str]] = {
    "all": frozenset(),
    "without hour": frozenset({"hour"}),
    "without weekday": frozenset({"weekday"}),
    "without region": frozenset({"region"}),
    "none": frozenset({"hour", "weekday", "region"}),
    CHOSEN: frozenset(),
}
PLANTED: Mapping[str, frozenset[str]] = {
    "all": frozenset(),
    **{f"without {name}": frozenset({name}) for name in ("device", "hour", "weekday", "region", "current")},
    "none": frozenset({"device", "hour", "weekday", "region", "current", "slot"}),
    CHOSEN: frozenset(),
}


@dataclass(frozen=True, slots=True)
class TrainedVariant:
    """One trained model and the vectors that it ranks by; `prior` (n_items,): what popularity adds to the logits."""

    model: ContextTransformer
    vectors: FloatArray
    prior: FloatArray
    temperature: float

    def scores(self, profile: Profile, query_vector: FloatArray | None = None) -> FloatArray:
        """Return (n_items,): the model's own logits."""
        ours = context_vector(self.model, profile, self.vectors, query_vector=query_vector)
        return self.vectors @ ours / self.temperature + self.prior


@dataclass(frozen=True, slots=True)
class Case:
    """One visitor at the first order of the window: `truth` is what was bought until its end."""

    profile: Profile
    truth: set[int]


def trained(
    behaviour: Interactions,
    items: ItemTable,
    texts: FloatArray,
    settings: ContextSettings,
    *,
    seed: int,
    query_vectors: FloatArray | None = None,
    n_examples: int = 20_000,
    is_chosen: bool = False,
) -> TrainedVariant:
    """Train U and δ for all epochs of the settings on at most `n_examples` of the past.

    If `is_chosen`, a first training on all but the newest tenth chooses the circumstances by the loss of that tenth.
    """
    cut = partial(examples, Histories(behaviour), new_weight=settings.new_weight, seed=seed, n_items=len(items))
    visits = cut(since=-np.inf, until=np.inf, most=n_examples)
    weight = np.where(behaviour.item >= 0, EVENT_WEIGHTS[behaviour.type], 0)
    popularity = np.bincount(np.maximum(behaviour.item, 0), weights=weight, minlength=len(items)).astype(np.float32)

    def train(visits: Batchable, check: Batchable | None) -> Trained:
        data = ContextData(visits, check, texts, popularity, query_vectors)
        return train_context(data, minutes=1e9, seed=seed, settings=settings)

    if is_chosen:
        newest = float(np.quantile(behaviour.time, 0.9))
        older, check = cut(since=-np.inf, until=newest, most=n_examples), cut(since=newest, until=np.inf, most=1_000)
        first = train(older, check)
        for name, worth in first.worth.items():
            print(f"{name}: loss falls by {worth.gain:.4f}, standard error {worth.error:.4f}", flush=True)
        settings = replace(settings, without=settings.without | first.idle)
    final = train(visits, None)
    prior = (settings.popularity * np.log(popularity + 1)).astype(np.float32)
    return TrainedVariant(final.model, moved(texts, final.delta), prior, settings.temperature)


def retail(options: argparse.Namespace) -> None:
    """Train every variant on the past and rank the whole catalogue for the returning buyers of the window."""
    items = read_items(options.items)
    events = read_events(options.events, items)
    start, end = _seconds(options.test_start), _seconds(options.test_end)
    moments = (start - 60 * DAY_SECONDS, start - 30 * DAY_SECONDS)
    behaviour, histories = until(events, moments[0]), Histories(events)
    texts = load_encoder("", items.texts, seed=options.seed).encode(items.texts)
    settings = ContextSettings(n_epochs=options.epochs)
    cases = {scope: _cases(histories, start, end, scope, options) for scope in ("all", "new")}
    state = build_state(events, items, at=start)
    shown = items.active & (items.first_seen <= start)
    variants: dict[str, TrainedVariant] = {}
    for name, without in RETAIL.items():
        if name not in options.variants:
            continue
        began, variant = time.monotonic(), replace(settings, without=without)
        variants[name] = trained(
            behaviour, items, texts, variant,
            seed=options.seed, n_examples=options.examples, is_chosen=name == CHOSEN,
        )  # fmt: skip
        print(f"trained {name!r}: {time.monotonic() - began:.0f} s", flush=True)
    for scope, scope_cases in cases.items():
        figures = {
            name: _ndcg(scope_cases, _context_scorer(variant), shown, scope) for name, variant in variants.items()
        }
        show(f"context model alone, {scope} items", figures, seed=options.seed)
    heads = {
        name: _head(variants[name], histories, items, moments, options)
        for name in ("all", "none", CHOSEN)
        if name in variants
    }
    for scope, scope_cases in cases.items():
        figures = {
            name: _ndcg(scope_cases, _head_scorer(head, variants[name], state, items), shown, scope)
            for name, head in heads.items()
        }
        show(f"head over the context model, {scope} items", figures, seed=options.seed)
    _show_changes(variants["all"], [case.profile for case in cases["all"][:300]], shown, events)


def planted(options: argparse.Namespace) -> None:
    """Train every variant on the first visits and compare its lists of the later ones with the true probabilities."""
    simulation = simulator.simulate(n_visitors=options.visitors, n_visits=10, seed=options.seed)
    texts, kinds = simulator.vectors(simulation.shop, seed=options.seed)
    cut = float(np.quantile([request.at.timestamp() for request in simulation.requests], 0.8))
    behaviour, histories = until(simulation.interactions, cut), Histories(simulation.interactions)
    settings = ContextSettings(n_epochs=options.epochs, new_weight=1.0, width=64)
    later = [request for request in simulation.requests if request.at.timestamp() >= cut][:1_000]
    mass: dict[str, list[float]] = {"oracle": [_best_mass(simulation.shop.probabilities(request)) for request in later]}
    for name, without in PLANTED.items():
        variant = trained(
            behaviour,
            simulation.shop.items,
            texts,
            replace(settings, without=without),
            seed=options.seed,
            query_vectors=kinds,
            is_chosen=name == CHOSEN,
        )
        mass[name] = [_mass(variant, request, histories, simulation.shop, kinds) for request in later]
    show("planted truth: true chance that the next item is among the 10 listed", mass, seed=options.seed)


def show(title: str, figures: Mapping[str, Sequence[float]], *, seed: int) -> None:
    """Print one table; the interval is that of "all" minus the other, by a paired bootstrap over the cases."""
    print(f"\n{title}, {len(figures['all'])} cases")
    for name, values in figures.items():
        gain = metrics.paired_bootstrap(figures["all"], values, seed=seed)
        interval = "" if name == "all" else f"all is {gain.mean:+.4f} [{gain.lower:+.4f}, {gain.upper:+.4f}]"
        print(f"{name:<18}{np.mean(values):8.4f}  {interval}", flush=True)


def _cases(histories: Histories, start: float, end: float, scope: str, options: argparse.Namespace) -> list[Case]:
    cases: list[Case] = []
    buyers = np.random.default_rng(options.seed).permutation(histories.buyers(at=start, until=end))
    for visitor in buyers[: options.cases].tolist():
        before = histories.profile(visitor, at=start)
        truth = set(histories.bought(visitor, since=start, until=end).tolist())
        if scope == "new":
            truth -= set(before.item.tolist())
        if truth:
            cases.append(Case(histories.arrived(visitor, before, until=end), truth))
    return cases


def _ndcg(cases: Sequence[Case], score: Callable[[Profile], FloatArray], shown: np.ndarray, scope: str) -> list[float]:
    scores_by_case = []
    for case in cases:
        scores = np.where(shown, score(case.profile), -np.inf)
        if scope == "new":
            scores[case.profile.item] = -np.inf
        scores_by_case.append(metrics.ndcg_at_k(np.argsort(-scores, kind="stable")[:10].tolist(), case.truth, 10))
    return scores_by_case


def _context_scorer(variant: TrainedVariant) -> Callable[[Profile], FloatArray]:
    return variant.scores


def _head(
    variant: TrainedVariant,
    histories: Histories,
    items: ItemTable,
    moments: Sequence[float],
    options: argparse.Namespace,
) -> Head:
    vectors = Vectors(variant.vectors, lambda profile: context_vector(variant.model, profile, variant.vectors))
    shop, sample = ShopHistory(histories, items, vectors), Sample(options.lists, options.seed)
    return fit_head(joined([lists_at(shop, at, until=at + 30 * DAY_SECONDS, sample=sample) for at in moments]))


def _head_scorer(
    head: Head, variant: TrainedVariant, state: ShopState, items: ItemTable
) -> Callable[[Profile], FloatArray]:
    everything: IntArray = np.arange(len(items), dtype=np.int32)

    def score(profile: Profile) -> FloatArray:
        ours = context_vector(variant.model, profile, variant.vectors)
        rows = features(
            replace(profile, now=state.at), everything, state, items, vectors=RequestVectors(variant.vectors, ours)
        )
        return head.logits(rows)

    return score


def _show_changes(
    variant: TrainedVariant, profiles: Sequence[Profile], shown: np.ndarray, events: Interactions
) -> None:
    """Print how much of the first ten stays when one circumstance is another one."""
    other = events.regions[int(np.argsort(-np.bincount(events.region))[1])]
    swaps: dict[str, Callable[[Profile], Profile]] = {
        "hour + 6": lambda profile: replace(profile, now=profile.now + 6 * 3600),
        "weekday + 3": lambda profile: replace(profile, now=profile.now + 3 * DAY_SECONDS),
        f"region {other}": lambda profile: replace(profile, region=other),
    }

    def listed(profile: Profile) -> set[int]:
        return set(np.argsort(-np.where(shown, variant.scores(profile), -np.inf))[:10].tolist())

    print(f"\nshare of the first ten that stays, {len(profiles)} visitors")
    for name, swap in swaps.items():
        print(f"{name:<24}{np.mean([len(listed(p) & listed(swap(p))) / 10 for p in profiles]):6.3f}")


def _mass(
    variant: TrainedVariant,
    request: simulator.Circumstances,
    histories: Histories,
    shop: simulator.Shop,
    kinds: FloatArray,
) -> float:
    profile = replace(
        histories.profile(request.visitor, at=request.at.timestamp(), slot=request.slot),
        device=request.device, region=request.region, current_item=request.current,
    )  # fmt: skip
    scores = variant.scores(profile, kinds[request.query_kind] if request.query_kind >= 0 else None)
    return float(shop.probabilities(request)[np.argsort(-scores)[:10]].sum())


def _best_mass(probabilities: FloatArray) -> float:
    return float(np.sort(probabilities)[-10:].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=Path)
    parser.add_argument("--items", type=Path)
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--visitors", type=int, default=800, help="of the planted truth")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--examples", type=int, default=20_000, help="most moments of the past to learn from")
    parser.add_argument("--variants", nargs="+", default=list(RETAIL), help='of a real shop; "all" must be among them')
    parser.add_argument("--lists", type=int, default=300, help="of each of the head's two moments")
    parser.add_argument("--cases", type=int, default=1_000, help="most buyers of the window, drawn by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test-start", default="2011-10-10")
    parser.add_argument("--test-end", default="2011-11-10")
    options = parser.parse_args()
    limit_threads(1)
    if options.simulated:
        planted(options)
    elif options.events and options.items:
        retail(options)
    else:
        parser.error("give --events and --items, or --simulated")


if __name__ == "__main__":
    main()
