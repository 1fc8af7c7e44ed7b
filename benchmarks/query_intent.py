"""What a query is about: roles of words and categories on held-out queries, beside a majority and a dictionary.

python -m benchmarks.query_intent [--products P.csv.gz [--queries Q.csv.gz --labels L.csv.gz]]

Products have a column title, and may have product_id or item_id, brand, category and price; without --products the
items of the loaded demo are read. Queries have query_id and query, labels query_id, product_id and relevance.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.figures import Figure, show
from recommender.text.intent import INTENT_FEATURE_NAMES, IntentModel, LabelledTitles, fit, intent_features
from recommender.text.intent.model import TitleRoles
from recommender.text.intent.tagger import Example, Tagger, drawn_examples
from recommender.text.intent.titles import ROLES, split
from recommender.text.past_queries import PastQuery

LIMIT_US = 300
FIT_LIMIT_S = 15
GRADE_BEST, GRADE_SLACK = 2.33, 0.34
"""A query's products of at least this grade, and no further behind its best one, are taken for what it means."""

ABOUT_LABELS = """Label of a word: the part that it plays in the titles of the best graded products
of its query (brand: the leading name; attribute: number, unit, colour, size, material, finish; product: the last words
of the name). A query's own products label it, the catalogue's counts do not."""

GRADE_GAP = 0.5
N_TIMED = 1_000
N_ROUNDS = 3
SEED = 0

Codes = npt.NDArray[np.int64]
Graded = dict[str, list[tuple[float, int]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--products", "--queries", "--labels"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    ids, catalogue, price = read_products(options.products) if options.products else read_demo()
    print(f"{len(catalogue.titles):,} titles, {len(set(filter(None, catalogue.brands))):,} brands named, "
          f"{len(catalogue.category_names)} categories")  # fmt: skip
    typed: list[str] = []
    if options.queries and options.labels:
        queries, graded = read_graded(options.queries, options.labels, {name: row for row, name in enumerate(ids)})
        judge_queries(catalogue, queries, graded)
        judge_features(catalogue, price, queries, graded)
        typed = list(queries.values())
    model = judge_titles(catalogue)
    show("Cost", costs(catalogue, model, typed))


def judge_queries(catalogue: LabelledTitles, queries: dict[str, str], graded: Graded) -> None:
    """Roles of the words of held-out real queries, one in five by the hash of its id."""
    answered = {key: past for key, grades in graded.items() if (past := answered_query(queries[key], grades))}
    trained = [past for key, past in answered.items() if not held_out(key)]
    tested = [past for key, past in answered.items() if held_out(key)]
    alone, taught = fit(catalogue), fit(catalogue, trained)
    examples = TitleRoles(catalogue, taught.tagger.brands, taught.tagger.categories).examples(tested)
    n_words = sum(len(example.roles) for example in examples)
    n_labelled = sum(role >= 0 for example in examples for role in example.roles)
    print(f"\nRoles on {len(examples):,} held-out queries. {ABOUT_LABELS}")
    print(f"{n_labelled:,} of {n_words:,} words are in such a title; the others have no label.")
    show_roles(examples, {"learned from titles": alone, "and from past queries": taught})


def judge_titles(catalogue: LabelledTitles) -> IntentModel:
    """Roles and categories of queries made of held-out titles, one in five; returns the model of the others."""
    rows = np.arange(len(catalogue.titles))
    is_test = np.array([held_out(str(row)) for row in rows], bool)
    model = fit(part(catalogue, rows[~is_test]))
    test = part(catalogue, rows[is_test])
    examples = [example for _, example in pseudo_queries(test, model, seed=SEED)]
    print(
        f"\nRoles on {len(examples):,} queries made of held-out titles: one to four words, told by the item's own data."
    )
    show_roles(examples, {"learned from titles": model})
    if len(catalogue.category_names) > 1:
        judge_categories(test, model)
    return model


def judge_categories(test: LabelledTitles, model: IntentModel) -> None:
    """The category of the item that a query was made of."""
    drawn = [(row, example) for row, example in pseudo_queries(test, model, seed=SEED) if test.category[row] >= 0]
    truth = np.array([test.category[row] for row, _ in drawn])
    odds = np.stack([model.categorizer.probabilities(example.keys) for _, example in drawn])
    majority = int(np.argmax(model.categorizer.prior))
    named = [{token.key for token in split(name)} for name in test.category_names]
    overlap = np.array([[len(words & set(example.keys)) for words in named] for _, example in drawn])
    dictionary = np.where(overlap.max(axis=1) > 0, overlap.argmax(axis=1), majority)
    print(f"\nCategories on {len(drawn):,} queries made of held-out titles, {len(named)} categories.")
    print(f"{'':<26} {'accuracy':>9} {'recall':>9} {'F1':>9}   recall and F1: mean over categories")
    guesses = {"majority": np.full(len(truth), majority), "dictionary of names": dictionary, "learned": odds.argmax(1)}
    for name, guess in guesses.items():
        print(f"{name:<26} " + " ".join(f"{value:9.3f}" for value in quality(truth, guess)[:3]))
    likely = odds[np.arange(len(truth)), truth]
    top_three = (odds > likely[:, None]).sum(axis=1) < 3
    sure = odds.max(axis=1)
    print(
        f"in the first three {top_three.mean():.3f}; log-loss {-np.log(np.maximum(likely, 1e-9)).mean():.3f} "
        f"(shares of the catalogue {-model.categorizer.prior[truth].mean():.3f}); mean confidence {sure.mean():.3f}"
    )


def judge_features(
    catalogue: LabelledTitles, price: npt.NDArray[np.float32], queries: dict[str, str], graded: Graded
) -> None:
    """How often each feature alone puts the better graded product of a held-out query first; a tie is half."""
    from recommender.features.neighbours import Neighbours
    from recommender.features.shop_state import ShopState
    from recommender.serving.shelf import build_shelf
    from recommender.tables import ItemTable

    n = len(catalogue.titles)
    items = ItemTable(
        tuple(map(str, range(n))), tuple(catalogue.titles), price, catalogue.category, catalogue.category_names,
        np.zeros(n), np.ones(n, bool),
    )  # fmt: skip
    nobody = Neighbours.none(n)
    state = ShopState.from_columns(
        at=0.0, counts=np.zeros((n, 4), np.float32), last_event_at=np.full(n, -np.inf), basket=nobody, visitor=nobody
    )
    shelf = build_shelf(items, state=state, brands=catalogue.brands)
    names = ("lexical", *INTENT_FEATURE_NAMES)
    right, n_pairs, n_apart, seconds = np.zeros(len(names)), 0, np.zeros(len(names)), []
    for key in filter(held_out, graded):
        grade = np.array([grade for grade, _ in graded[key]])
        rows = np.array([row for _, row in graded[key]], np.int32)
        intent = shelf.understand(queries[key])
        started = time.thread_time()
        table = intent_features(intent, rows, shelf)
        seconds.append(time.thread_time() - started)
        table = np.column_stack([shelf.lexical.score(queries[key], rows), table])
        better, worse = np.nonzero(grade[:, None] - grade[None, :] >= GRADE_GAP)
        difference = table[better] - table[worse]
        right += ((difference > 0) + 0.5 * (difference == 0)).sum(axis=0)
        n_apart += (difference != 0).sum(axis=0)
        n_pairs += len(better)
    print(f"\nFeatures alone on {n_pairs:,} pairs of products of held-out queries, grades {GRADE_GAP} and more apart.")
    print(f"{'':<26} {'right':>9} {'apart':>9}   chance is .500; apart: share of the pairs that it tells apart")
    for name, share, apart in zip(names, right / max(n_pairs, 1), n_apart / max(n_pairs, 1), strict=True):
        print(f"{name:<26} {share:9.3f} {apart:9.3f}")
    print(
        f"{1e6 * np.median(seconds):.0f} us a query (p50), all features together, of the few products that are graded"
    )


def show_roles(examples: Sequence[Example], models: dict[str, IntentModel]) -> None:
    """Accuracy, and recall and F1 as means over the roles that occur, of each way to tell."""
    truth = np.array([role for example in examples for role in example.roles])
    is_labelled = truth >= 0
    first = next(iter(models.values()))
    keys = [example.keys for example in examples]
    guesses: dict[str, Codes] = {
        "majority": np.full(len(truth), np.bincount(truth[is_labelled]).argmax()),
        "dictionary of titles": np.concatenate([commonest_roles(first.tagger, words) for words in keys]),
    } | {
        name: np.concatenate([model.tagger.probabilities(words).argmax(axis=1) for words in keys])
        for name, model in models.items()
    }
    present = [code for code in range(len(ROLES)) if (truth[is_labelled] == code).any()]
    print(f"{'':<26} {'accuracy':>9} {'recall':>9} {'F1':>9}   F1 of " + ", ".join(ROLES[code] for code in present))
    for name, guess in guesses.items():
        accuracy, recall, f1, each = quality(truth[is_labelled], guess[is_labelled])
        print(f"{name:<26} {accuracy:9.3f} {recall:9.3f} {f1:9.3f}   " + ", ".join(f"{value:.3f}" for value in each))


def pseudo_queries(titles: LabelledTitles, model: IntentModel, *, seed: int = 0) -> list[tuple[int, Example]]:
    """Make a query of each title of another catalogue, with its row and the role of each word."""
    roles = TitleRoles(titles, model.tagger.brands, model.tagger.categories)
    tokens = [roles.split(title) for title in titles.titles]
    labelled = [([token.key for token in title], roles.of(row, title)) for row, title in enumerate(tokens)]
    return list(drawn_examples(labelled, len(labelled), seed=seed))


def commonest_roles(tagger: Tagger, keys: Sequence[str]) -> Codes:
    """Return (n,) the commonest role of each word in titles: the dictionary that the model must beat."""
    commonest = int(np.argmax(tagger.prior))
    counts = [tagger.counts.word.get(key) for key in keys]
    return np.array([int(np.argmax(count)) if count else commonest for count in counts])


def costs(catalogue: LabelledTitles, model: IntentModel, typed: Sequence[str]) -> Iterator[Figure]:
    """Microseconds of this thread for a query that was never asked, best of three, and seconds of learning."""
    queries = list(typed) or [" ".join(example.keys) for _, example in pseudo_queries(catalogue, model, seed=SEED)]
    queries = list(dict.fromkeys(queries))[:N_TIMED]
    seconds = np.min([query_seconds(replace(model, _cache={}), queries) for _ in range(N_ROUNDS)], axis=0)
    yield Figure("understand a new query, p50", 1e6 * float(np.median(seconds)), LIMIT_US, "us")
    yield Figure("understand a new query, p99", 1e6 * float(np.quantile(seconds, 0.99)), LIMIT_US, "us")
    started = time.perf_counter()
    fit(catalogue)
    yield Figure("learn, in the background", time.perf_counter() - started, FIT_LIMIT_S, "s")


def query_seconds(model: IntentModel, queries: Sequence[str]) -> list[float]:
    """Seconds of each query."""
    seconds = []
    for query in queries:
        started = time.thread_time()
        model.understand(query)
        seconds.append(time.thread_time() - started)
    return seconds


def quality(truth: Codes, guess: Codes) -> tuple[float, float, float, list[float]]:
    """Return accuracy, mean recall and mean F1 over the classes that occur, and the F1 of each."""
    recalls, scores = [], []
    for code in np.unique(truth):
        hits = int(((truth == code) & (guess == code)).sum())
        recalls.append(hits / int((truth == code).sum()))
        scores.append(2 * hits / int((truth == code).sum() + (guess == code).sum()))
    return float((truth == guess).mean()), float(np.mean(recalls)), float(np.mean(scores)), scores


def answered_query(query: str, graded: Sequence[tuple[float, int]]) -> PastQuery | None:
    """Take the best graded products for what a query led to; none where no product is good."""
    best = max(grade for grade, _ in graded)
    if best < GRADE_BEST:
        return None
    rows = [(row, 1) for grade, row in graded if grade >= max(GRADE_BEST, best - GRADE_SLACK)]
    return PastQuery(query, 3, 3, 0.0, tuple(rows))


def held_out(key: str) -> bool:
    """One in five, by a hash that is the same everywhere."""
    return zlib.crc32(key.encode()) % 5 == 0


def part(catalogue: LabelledTitles, rows: Codes) -> LabelledTitles:
    """Return the same catalogue with some of its rows."""
    chosen = rows.tolist()
    return LabelledTitles(
        [catalogue.titles[row] for row in chosen],
        [catalogue.brands[row] for row in chosen],
        catalogue.category[rows],
        catalogue.category_names,
    )


def read_products(path: Path) -> tuple[list[str], LabelledTitles, npt.NDArray[np.float32]]:
    rows = read_rows(path)
    ids = [row.get("product_id") or row.get("item_id") or str(row_number) for row_number, row in enumerate(rows)]
    names = tuple(sorted({row["category"] for row in rows if row.get("category")}))
    code = {name: row_number for row_number, name in enumerate(names)}
    category = np.array([code.get(row.get("category") or "", -1) for row in rows], np.int32)
    price = np.array([float(row.get("price") or row.get("list_price") or "nan") for row in rows], np.float32)
    brands = [row.get("brand") or "" for row in rows]
    return ids, LabelledTitles([row["title"] for row in rows], brands, category, names), price


def read_demo() -> tuple[list[str], LabelledTitles, npt.NDArray[np.float32]]:
    """The active items of the loaded demo, with its departments as categories."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    import django

    django.setup()
    from recommender import serving

    shelf = serving.reload().shelf
    rows = np.flatnonzero(shelf.items.active)
    if not len(rows):
        raise SystemExit("There is no item. Run `make demo` first, or name a catalogue with --products.")
    chosen = rows.tolist()
    catalogue = LabelledTitles(
        [shelf.titles[row] for row in chosen], [shelf.brands[row] for row in chosen], shelf.items.category[rows],
        shelf.items.category_names,
    )  # fmt: skip
    return [shelf.items.ids[row] for row in chosen], catalogue, shelf.items.price[rows]


def read_graded(queries: Path, labels: Path, index: dict[str, int]) -> tuple[dict[str, str], Graded]:
    graded: Graded = defaultdict(list)
    for row in read_rows(labels):
        if row["product_id"] in index:
            graded[row["query_id"]].append((float(row["relevance"]), index[row["product_id"]]))
    return {row["query_id"]: row["query"] for row in read_rows(queries)}, graded


def read_rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


if __name__ == "__main__":
    # `recommender.retrieval` reads tables in other places, so that Django must know its settings.
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    import django

    django.setup()
    main()
