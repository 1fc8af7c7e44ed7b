"""Ranks your products for your queries by the app's own search: loads the files, trains a bundle and asks `pipeline`.

`python -m benchmarks.search_relevance --products P --train-queries Q --train-labels L --test-queries T --out run.csv`

Products `product_id,title[,category,brand,description,price,...]`, queries `query_id,query`, labels
`query_id,product_id,relevance` (any scale: the least grade counts as no answer, the highest as just what was meant),
candidates `query_id,product_id`. Without candidates the whole catalogue is searched and the first 200 are written; with
them exactly these. Without labels the untrained search answers. Out: `query_id,product_id,score`, best first.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import workbench
from benchmarks.workbench import Clock, InputError, number, read

N_LISTED = 200
LEAST_LABELS = 500
RANKED_PER_MINUTE = 2_500
"""Queries answered in a minute, low enough for a busy machine: this time is left for the test."""


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    clock = Clock(options.minutes)
    queries = _queries(options.test_queries)
    among = _candidates(options.candidates, queries) if options.candidates else {}
    with workbench.shop():
        n_items = workbench.load_items(read(options.products, "product_id", "title"), "product_id")
        print(f"{n_items} products, {len(queries)} test queries", flush=True)
        _prepare(options, clock, n_items=n_items, n_queries=len(queries))
        if options.save:
            workbench.keep(options.save)
        started = time.monotonic()
        n = workbench.write(options.out, ("query_id", "product_id", "score"), _answers(queries, among))
        seconds = time.monotonic() - started
    per_query = seconds / max(len(queries), 1) * 1000
    print(f"{n} rows written to {options.out}; {per_query:.1f} ms per query, encoding included")
    print(f"{clock.spent:.1f} of {clock.minutes:g} minutes")


def _prepare(options: argparse.Namespace, clock: Clock, *, n_items: int, n_queries: int) -> None:
    """Let a kept bundle, a trained one or bundle 0 serve."""
    if options.load:
        workbench.adopt(options.load)
        return
    n_judged = _load_judgements(options) if options.train_labels else 0
    if options.train_labels and n_judged < LEAST_LABELS:
        print(f"{n_judged} usable labels, at least {LEAST_LABELS} are needed to train: the untrained search answers")
    if n_judged < LEAST_LABELS:
        workbench.start_untrained()
        return
    from benchmarks.untested import train_untested

    minutes = clock.left - n_queries / RANKED_PER_MINUTE - 1
    print(f"{n_judged} labels; {minutes:.1f} minutes to train", flush=True)
    settings = {"minutes": max(minutes, 0.5), "seed": options.seed, "encoder": "auto", "n_threads": options.threads}
    bundle = train_untested(settings, at=time.time(), watch=workbench.Printed())
    print(f"bundle {bundle}", flush=True)


def _load_judgements(options: argparse.Namespace) -> int:
    """Put the labels into the tables, grades brought to 0 to 1; return how many are usable."""
    from recommender.models import Item, Judgement
    from recommender.text.query import normal_query

    item_ids = set(Item.objects.values_list("item_id", flat=True))
    texts = {query_id: normal_query(query) for query_id, query in _queries(options.train_queries).items()}
    grades: dict[tuple[str, str], float] = {}
    n_rows = 0
    for row in read(options.train_labels, "query_id", "product_id", "relevance"):
        n_rows += 1
        query, grade = texts.get(row["query_id"], ""), number(row["relevance"])
        if query and row["product_id"] in item_ids and grade == grade:
            grades[(query, row["product_id"])] = grade
    low, high = min(grades.values(), default=0.0), max(grades.values(), default=0.0)
    if n_rows > len(grades):
        print(f"{n_rows - len(grades)} of {n_rows} labels left out: query or product unknown, no number, or repeated")
    if low == high:
        print("every label has the same grade: it counts as a full answer")
    span = (high - low) or 1.0
    rows = [
        Judgement(query=query, item_id=item_id, grade=(grade - low) / span if high > low else 1.0, source="file")
        for (query, item_id), grade in grades.items()
    ]
    for start in range(0, len(rows), workbench.CHUNK_SIZE):
        Judgement.objects.bulk_create(rows[start : start + workbench.CHUNK_SIZE])
    return len(rows)


def _answers(queries: Mapping[str, str], among: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, str]]:
    from django.utils import timezone

    from recommender import pipeline, serving
    from recommender.text.query import normal_query
    from recommender.types import Context, Request, Slot

    served, now = serving.reload(), timezone.now()
    for query_id, query in queries.items():
        candidates = among.get(query_id, ()) if among else ()
        if among and not candidates:
            continue
        request = Request(
            Slot.SEARCH,
            Context(now),
            query=normal_query(query),
            among=tuple(candidates),
            limit=len(candidates) or N_LISTED,
        )
        entries = pipeline.rank(request, served=served).entries
        yield from ((query_id, entry.item_id, f"{entry.score:.6f}") for entry in entries)
        answered = {entry.item_id for entry in entries}
        yield from ((query_id, item_id, "-1.000000") for item_id in candidates if item_id not in answered)


def _queries(path: Path) -> dict[str, str]:
    queries = {row["query_id"]: row["query"] for row in read(path, "query_id", "query") if row["query_id"]}
    if not queries:
        raise InputError(f"{path} has no query: one row per query is needed.")
    return queries


def _candidates(path: Path, queries: Mapping[str, Any]) -> dict[str, list[str]]:
    candidates: dict[str, dict[str, None]] = {}
    for row in read(path, "query_id", "product_id"):
        if row["query_id"] in queries:
            candidates.setdefault(row["query_id"], {})[row["product_id"]] = None
    if not candidates:
        raise InputError(f"{path} names no query of the test queries: check the ids of both files.")
    return {query_id: list(items) for query_id, items in candidates.items()}


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--train-queries", type=Path)
    parser.add_argument("--train-labels", type=Path)
    parser.add_argument("--test-queries", type=Path, required=True)
    parser.add_argument("--candidates", type=Path)
    workbench.common_options(parser)
    options = parser.parse_args(argv)
    if bool(options.train_queries) != bool(options.train_labels):
        parser.error("--train-queries and --train-labels belong together: give both or none")
    if options.load and options.train_labels:
        parser.error("--load ranks with a kept bundle and trains nothing: leave out --train-queries and --train-labels")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
