"""What graded answers bring to a search by how many there are, and whether the queue of answers to grade chooses well.

    python -m benchmarks.labels --data FOLDER [--labels 100 300 1000] [--draws 5] [--seed 0]

FOLDER holds `products.csv[.gz]`, `queries.csv[.gz]` and `labels.csv[.gz]`, with the columns of `search_relevance`. The
shop has the judged products of the queries that are drawn, and as many others as `--items` has room for. Some queries
test: their judged products among 100 random ones, NDCG@10 of the order by the trees that learned from the labels, as a
search mixes them, and by the fixed formula alone. The other queries are there to be graded: a label is the grade that
people gave, taken in the order of each rule below, and the rows that a training adds to a query come with its first
label. The encoder has seen no grade. Each draw takes the queries in another random order, since no traffic is known;
intervals are over test queries, whose figures are means over the draws.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import workbench
from benchmarks.workbench import InputError, number, read
from recommender.types import FloatArray, IntArray

N_AMONG = 100
"""Random products beside the judged ones of a test query."""

LEAST_GAP = 0.3
"""Test queries whose grades, 0 to 1, differ by less say nothing about an order."""

Pair = tuple[str, str]
"""A query and a product."""

Labels = Sequence[Pair]
Rule = Callable[[Sequence[str], "Pool", random.Random], Iterator[Pair]]


@dataclass(frozen=True, slots=True)
class Pool:
    """The queries to be graded. grades: by query and product; contested: by query the judged answers that the queue
    shows, the most contested first; rows of the trees: features (n, f), target (n,), query (n,) and product (n,), ""
    for a row that a training adds without a grade."""

    grades: Mapping[str, Mapping[str, float]]
    contested: Mapping[str, Sequence[str]]
    features: FloatArray
    target: FloatArray
    query: npt.NDArray[np.object_]
    product: npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Tests:
    """Of each test query the features (n, f) of its candidates and their grades (n,), 0 for what nobody judged."""

    features: Sequence[FloatArray]
    gains: Sequence[FloatArray]


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    chance = random.Random(options.seed)
    texts = {row["query_id"]: row["query"] for row in read(_file(options.data, "queries"), "query_id", "query")}
    grades = _grades(_file(options.data, "labels"))
    chosen = chance.sample(sorted(texts.keys() & grades.keys()), min(options.pool + options.tests, len(texts)))
    with workbench.shop():
        judged = {product for query in chosen for product in grades[query]}
        n = workbench.load_items(_products(options, judged, chance), "product_id")
        print(f"{n} products, {len(chosen)} queries", flush=True)
        workbench.start_untrained()
        _compare(options, {query: texts[query] for query in chosen}, grades)


def _compare(options: argparse.Namespace, texts: Mapping[str, str], grades: Mapping[str, Mapping[str, float]]) -> None:
    from recommender import serving

    served = serving.reload()
    queries = list(texts)
    tests = _tests(served, {query: texts[query] for query in queries[: options.tests]}, grades, seed=options.seed)
    pool = _pool(served, {query: texts[query] for query in queries[options.tests :]}, grades, seed=options.seed)
    n_contested = sum(map(len, pool.contested.values()))
    n_judged = sum(map(len, pool.grades.values()))
    print(f"{len(tests.gains)} test queries; {n_contested} of {n_judged} judged answers are contested", flush=True)
    without = _ndcg(tests, None)
    print(f"NDCG@10 without labels {without.mean():.4f}")
    for n_labels in options.labels:
        _show(n_labels, {name: _learned(pool, tests, rule, n_labels, options) for name, rule in RULES.items()}, without)


def _show(n_labels: int, figures: Mapping[str, FloatArray | None], without: FloatArray) -> None:
    from recommender.ml.metrics import paired_bootstrap

    print(f"\n{n_labels} labels: NDCG@10, gain per hundred labels [95 %], beside random labels [95 %]")
    for name, values in figures.items():
        at_random = figures["random answers"]
        if values is None or at_random is None:
            print(f"  {name:<26} the queries that are drawn give fewer: use a greater --pool", flush=True)
            continue
        gain, beside = (paired_bootstrap(values, other) for other in (without, at_random))
        per_hundred = " ".join(f"{100 * bound / n_labels:+.4f}" for bound in (gain.mean, gain.lower, gain.upper))
        print(
            f"  {name:<26} {values.mean():.4f}  {per_hundred}   {beside.mean:+.4f} [{beside.lower:+.4f}, "
            f"{beside.upper:+.4f}]", flush=True,
        )  # fmt: skip


def _learned(pool: Pool, tests: Tests, rule: Rule, n_labels: int, options: argparse.Namespace) -> FloatArray | None:
    """NDCG@10 (n_tests,) of trees that learned from so many labels of the rule, mean over the draws; None where the
    rule gives fewer."""
    figures = []
    for draw in range(options.draws):
        chance = random.Random(options.seed + 1 + draw)
        queries = chance.sample(list(pool.grades), len(pool.grades))
        labels = [pair for pair, _number in zip(rule(queries, pool, chance), range(n_labels), strict=False)]
        if len(labels) < n_labels:
            return None
        figures.append(_ndcg(tests, _forest(pool, labels, seed=draw)))
    mean: FloatArray = np.mean(figures, axis=0)
    return mean


def _forest(pool: Pool, labels: Labels, *, seed: int) -> Any:
    """The trees of a training that has these labels."""
    from dataclasses import replace

    from recommender.ml.head import trees
    from recommender.retrieval.matching import MATCH_FEATURES
    from recommender.training.matcher import RISING, TREES

    labelled, queries = set(labels), {query for query, _product in labels}
    pairs = zip(pool.query, pool.product, strict=True)
    rows = [query in queries and (not product or (query, product) in labelled) for query, product in pairs]
    rising = [MATCH_FEATURES.index(name) for name in RISING]
    settings = replace(TREES, seed=seed)
    return trees.grow(pool.features[rows], pool.target[rows], settings=settings, rising=rising)


def _ndcg(tests: Tests, forest: Any) -> FloatArray:
    """(n_tests,) by the trees as a search mixes them, or by the fixed formula alone."""
    from recommender.ml import metrics
    from recommender.ml.head import trees
    from recommender.serving.ranker import blended_grade, formula_grade

    features = np.concatenate(tests.features)
    scores = formula_grade(features)
    if forest is not None:
        scores = blended_grade(features, trees.predict([forest], features))
    ends = np.cumsum([len(gains) for gains in tests.gains])[:-1]
    lists = zip(np.split(scores, ends), tests.gains, strict=True)
    return np.array([metrics.ndcg_of_scores(own, gains) for own, gains in lists])


def _tests(served: Any, texts: Mapping[str, str], grades: Mapping[str, Mapping[str, float]], *, seed: int) -> Tests:
    generator, shelf = np.random.default_rng((seed, 2)), served.shelf
    row_of = {item_id: row for row, item_id in enumerate(shelf.items.ids)}
    features, gains = [], []
    for query, text in texts.items():
        own = np.array(list(grades[query].values()), np.float32)
        if np.ptp(own) < LEAST_GAP:
            continue
        judged = np.array([row_of[product] for product in grades[query]], np.int32)
        others = np.setdiff1d(generator.integers(0, len(shelf), N_AMONG).astype(np.int32), judged)
        features.append(_features(served, text, np.concatenate([judged, others])))
        gains.append(np.concatenate([own, np.zeros(len(others), np.float32)]))
    return Tests(features, gains)


def _features(served: Any, text: str, rows: IntArray) -> FloatArray:
    from recommender.retrieval.matching import match_features
    from recommender.text.query import encoder_text, normal_query

    shelf, query = served.shelf, normal_query(text)
    hits, vector = shelf.lexical.search(query, 200), served.ranker.encode_query(encoder_text(query))
    return match_features(query, rows, shelf, hits=hits, vector=vector, intent=shelf.understand(query))


def _pool(served: Any, texts: Mapping[str, str], grades: Mapping[str, Mapping[str, float]], *, seed: int) -> Pool:
    """The rows that a training would describe if it had every label, by the training's own functions."""
    from recommender.ml.encoder.model import load_encoder
    from recommender.serving.labelling import both_orders, disagreements
    from recommender.tables import Judgements
    from recommender.text.query import normal_query
    from recommender.training.matcher import N_NEAR_HITS, MatcherData, described, graded_rows

    shelf, names = served.shelf, list(texts)
    row_of = {item_id: row for row, item_id in enumerate(shelf.items.ids)}
    pairs = [(number, product, grade) for number, name in enumerate(names) for product, grade in grades[name].items()]
    judgements = Judgements(
        tuple(normal_query(texts[name]) for name in names),
        np.array([number for number, _product, _grade in pairs], np.int32),
        np.array([row_of[product] for _number, product, _grade in pairs], np.int32),
        np.array([grade for _number, _product, grade in pairs], np.float32),
    )
    judged = MatcherData(judgements, shelf, load_encoder(""), np.asarray(shelf.vectors, np.float32))
    hits = {row: shelf.lexical.search(text, N_NEAR_HITS) for row, text in enumerate(judgements.queries)}
    rows = graded_rows(judged, hits, seed=seed)
    features, _is_used = described(judged, rows, hits, most=2**62)
    products = [shelf.items.ids[row] for row in rows.item]
    owners = [names[number] for number in rows.query]
    graded = [product if product in grades[query] else "" for query, product in zip(owners, products, strict=True)]
    answers = {
        name: _worth_asking(disagreements(*(side.entries for side in both_orders(text, served))))
        for name, text in zip(names, judgements.queries, strict=True)
    }
    contested = {name: [item for item in items if item in grades[name]] for name, items in answers.items()}
    own = {name: grades[name] for name in names}
    return Pool(own, contested, features, rows.target, np.array(owners, object), np.array(graded, object))


def _worth_asking(answers: Sequence[Any]) -> list[str]:
    from recommender.admin.labelling import LEAST_DISAGREEMENT

    return [answer.entry.item_id for answer in answers if answer.disagreement >= LEAST_DISAGREEMENT]


def _random_answers(queries: Sequence[str], pool: Pool, chance: random.Random) -> Iterator[Pair]:
    pairs = [(query, product) for query in queries for product in pool.grades[query]]
    yield from chance.sample(pairs, len(pairs))


def _random_of_queries(queries: Sequence[str], pool: Pool, chance: random.Random) -> Iterator[Pair]:
    """Whole queries, their answers in no order."""
    for query in queries:
        yield from ((query, product) for product in chance.sample(list(pool.grades[query]), len(pool.grades[query])))


def _contested(n_per_query: int) -> Rule:
    def rule(queries: Sequence[str], pool: Pool, chance: random.Random) -> Iterator[Pair]:
        for query in queries:
            yield from ((query, product) for product in pool.contested[query][:n_per_query])

    return rule


RULES: Mapping[str, Rule] = {
    "random answers": _random_answers,
    "random, query by query": _random_of_queries,
    "queue, 6 of a query": _contested(6),
    "queue, 3 of a query": _contested(3),
    "queue, 1 of a query": _contested(1),
}


def _grades(path: Path) -> dict[str, dict[str, float]]:
    """By query and product, brought to 0 to 1."""
    rows = [(row["query_id"], row["product_id"], number(row["relevance"])) for row in
            read(path, "query_id", "product_id", "relevance")]  # fmt: skip
    readable = [row for row in rows if row[2] == row[2]]
    low, high = min((row[2] for row in readable), default=0.0), max((row[2] for row in readable), default=0.0)
    if low == high:
        raise InputError(f"{path} has no two grades: nothing can be learned from it.")
    grades: dict[str, dict[str, float]] = {}
    for query, product, grade in readable:
        grades.setdefault(query, {})[product] = (grade - low) / (high - low)
    return grades


def _products(options: argparse.Namespace, judged: set[str], chance: random.Random) -> Iterator[dict[str, str]]:
    rows = list(read(_file(options.data, "products"), "product_id", "title"))
    others = [row for row in rows if row["product_id"] not in judged]
    yield from (row for row in rows if row["product_id"] in judged)
    yield from chance.sample(others, min(max(options.items - len(judged), 0), len(others)))


def _file(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.csv.gz", folder / f"{name}.csv"):
        if path.is_file():
            return path
    raise InputError(f"{folder} has no {name}.csv or {name}.csv.gz: give the folder that holds the graded queries.")


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--pool", type=int, default=2_500, help="queries to be graded")
    parser.add_argument("--tests", type=int, default=1_000, help="queries to test with")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
