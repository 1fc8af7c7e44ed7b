"""Does a teacher pay? Compares encoders trained on graded queries with and without a teacher, for the same minutes.

`python -m benchmarks.distillation --products P.csv.gz --queries Q.csv.gz --labels L.csv.gz --minutes 4`

Products `product_id,title`, queries `query_id,query`, labels `query_id,product_id,relevance`, as `search_relevance`
reads them. A fifth of the queries judges and is learned by none; the figure is the share of their pairs, a quarter of
the scale or more apart, that are ordered as people did. Every arm begins with the same encoder. "grades" learns for all
the minutes; "distilled" spends them on teacher, answers and student together, the vectors that it needs included;
"grades, student's share" learns about as long as the distilled student does: what it lacks is what the teacher brings.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.workbench import number, read
from recommender.ml.encoder import distillation
from recommender.ml.encoder.distillation import Lesson, student_accuracy
from recommender.ml.encoder.graded import GradedSettings, tune_on_grades
from recommender.ml.encoder.model import Encoder, load_encoder
from recommender.ml.encoder.teacher import TeacherSettings
from recommender.ml.hardware import limit_threads
from recommender.ml.loop import Box
from recommender.tables import Judgements

TEST_SHARE = 0.2


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    limit_threads(options.threads)
    judged, texts = _judged(options)
    is_test = np.random.default_rng((options.seed, 8)).random(len(judged.queries)) < TEST_SHARE
    learned, test = judged.of_queries(~is_test), judged.of_queries(is_test)
    print(f"{len(texts)} products, {len(learned)} grades to learn from, {len(test)} that judge", flush=True)
    start = load_encoder("")
    _tell("untuned", start, test, texts, 0, 0.0)
    settings = TeacherSettings()
    student_share = (1 - settings.learning_share) * 2 / 3
    for name, minutes in (
        ("grades", options.minutes),
        ("grades, student's share", options.minutes * student_share),
    ):
        encoder, began = _copied(start), time.monotonic()
        n_steps = tune_on_grades(encoder, learned, texts, Box(minutes, options.seed)).n_steps
        _tell(name, encoder, test, texts, n_steps, time.monotonic() - began)
    encoder, began = _copied(start), time.monotonic()
    vectors = encoder.encode(texts)
    left = options.minutes - (time.monotonic() - began) / 60
    done = distillation.distil(
        encoder, Lesson.of(learned, seed=options.seed), texts, Box(left, options.seed),
        vectors=vectors, settings=settings, graded=GradedSettings(),
    )  # fmt: skip
    _tell("distilled", encoder, test, texts, 0, time.monotonic() - began)
    print("  " + ", ".join(f"{key} {value:.4f}" for key, value in done.figures.items()))


def _tell(name: str, encoder: Encoder, test: Judgements, texts: Sequence[str], n_steps: int, seconds: float) -> None:
    accuracy = student_accuracy(encoder, test, texts)
    print(f"{name:<24} {accuracy:.4f}  {n_steps} steps, {seconds:.0f} s", flush=True)


def _copied(encoder: Encoder) -> Encoder:
    return Encoder(encoder.name, copy.deepcopy(encoder.model), encoder.tokenizer)


def _judged(options: argparse.Namespace) -> tuple[Judgements, tuple[str, ...]]:
    """Draw whole queries until their products are `--most-products`; grades are brought to 0 to 1."""
    titles = {row["product_id"]: row["title"] for row in read(options.products, "product_id", "title")}
    queries = {row["query_id"]: row["query"] for row in read(options.queries, "query_id", "query")}
    by_query: dict[str, list[tuple[str, float]]] = {}
    for row in read(options.labels, "query_id", "product_id", "relevance"):
        if row["query_id"] in queries and row["product_id"] in titles:
            by_query.setdefault(row["query_id"], []).append((row["product_id"], number(row["relevance"])))
    grades = [grade for some in by_query.values() for _, grade in some]
    low, span = min(grades), max(grades) - min(grades)
    items: dict[str, int] = {}
    columns: list[tuple[int, int, float]] = []
    names = sorted(by_query)
    chosen = [names[row] for row in np.random.default_rng(options.seed).permutation(len(names))]
    drawn_queries: list[str] = []
    for query_id in chosen:
        if len(items) >= options.most_products:
            break
        columns += [
            (len(drawn_queries), items.setdefault(item, len(items)), (grade - low) / span)
            for item, grade in by_query[query_id]
        ]
        drawn_queries.append(queries[query_id])
    query, item, grade = (np.asarray(column) for column in zip(*columns, strict=True))
    judged = Judgements(tuple(drawn_queries), query.astype(np.int32), item.astype(np.int32), grade.astype(np.float32))
    return judged, tuple(titles[item_id] for item_id in items)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("products", "queries", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--most-products", type=int, default=8_000)
    parser.add_argument("--minutes", type=float, default=4.0, help="wall time of each arm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
