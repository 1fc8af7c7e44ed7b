"""What likings cost on graded queries: NDCG@10 of a search with the past of a random shopper, beside that without one.

    python -m benchmarks.personal_graded --products P --queries Q --labels L [--seed 1] [--n-queries 400]

Columns as in `benchmarks.search_relevance`. The shop holds the judged products of queries drawn by the seed and as many
others again, all of which is searched (what was not judged counts as no answer); nobody ever bought anything, and the
encoder is the packaged one, or that of a bundle with `--load`. A shopper has bought what other queries led to, whatever
its grade, and has just looked at three more such items: tastes that have nothing to do with the query. As a check on
the sales, they are made up too, independent of the grades, which is the worst that they can be.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import workbench
from benchmarks.judging import Figure, difference, graded_ndcg
from benchmarks.workbench import number, read
from recommender.types import Context, EventType, PastEvent, Request, Slot

N_LISTED = 10
N_ORDERS, N_LOOKS = 12, 3

Grades = Mapping[str, Mapping[str, float]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("products", "queries", "labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n-queries", type=int, default=400)
    parser.add_argument("--load", type=Path, help="folder of a bundle to search with")
    options = parser.parse_args(argv)
    chance = random.Random(options.seed)
    texts = {row["query_id"]: row["query"] for row in read(options.queries, "query_id", "query")}
    chosen = chance.sample(sorted(texts), min(options.n_queries, len(texts)))
    grades: dict[str, dict[str, float]] = {query: {} for query in chosen}
    for row in read(options.labels, "query_id", "product_id", "relevance"):
        if row["query_id"] in grades:
            grades[row["query_id"]][row["product_id"]] = number(row["relevance"])
    with workbench.shop():
        n = workbench.load_items(_products(options.products, grades, chance), "product_id")
        print(f"{n} products, {len(chosen)} queries", flush=True)
        workbench.adopt(options.load) if options.load else workbench.start_untrained()
        _compare({query: texts[query] for query in chosen}, grades, chance)


def _products(path: Path, grades: Grades, chance: random.Random) -> Iterator[dict[str, str]]:
    """The judged products and as many others."""
    judged = {product for own in grades.values() for product in own}
    rows = list(read(path, "product_id", "title"))
    others = [row for row in rows if row["product_id"] not in judged]
    yield from (row for row in rows if row["product_id"] in judged)
    yield from chance.sample(others, min(len(judged), len(others)))


def _compare(queries: Mapping[str, str], grades: Grades, chance: random.Random) -> None:
    from django.utils import timezone

    from recommender import pipeline, serving
    from recommender.text.query import normal_query

    served, now = serving.reload(), timezone.now()
    sold = replace(served, shelf=_with_sales(served.shelf))
    pool = sorted({product for own in grades.values() for product in own})
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in ("without", "past", "sales", "both")}
    for query_id, text in queries.items():
        foreign = [product for product in chance.sample(pool, 60) if product not in grades[query_id]]
        history = _history(foreign, now)
        for name, of, past in (
            ("without", served, ()), ("past", served, history), ("sales", sold, ()), ("both", sold, history),
        ):  # fmt: skip
            request = Request(Slot.SEARCH, Context(now), query=normal_query(text), history=past, limit=N_LISTED)
            places = {entry.item_id: -float(entry.position) for entry in pipeline.rank(request, served=of)}
            figures[name].append(graded_ndcg(places, grades[query_id], [*{*grades[query_id], *places}]))
    base = Figure.of(figures.pop("without"))
    print(f"NDCG@{N_LISTED} without a past and sales {base.value:.4f}")
    for name, cases in figures.items():
        figure = Figure.of(cases)
        gap = difference(figure, base)
        print(f"{name}: {figure.value:.4f}, {gap.mean:+.4f} [{gap.lower:+.4f}, {gap.upper:+.4f}]", flush=True)


def _history(foreign: Sequence[str], now: dt.datetime) -> tuple[PastEvent, ...]:
    bought = [
        PastEvent(EventType.PURCHASE, now - dt.timedelta(days=90 - number), item_id=item, order_id=f"o{number}")
        for number, item in enumerate(foreign[:N_ORDERS])
    ]
    looks = foreign[N_ORDERS : N_ORDERS + N_LOOKS]
    return (*bought, *(PastEvent(EventType.VIEW_ITEM, now - dt.timedelta(minutes=1), item_id=item) for item in looks))


def _with_sales(shelf: Any) -> Any:
    """The shelf with sales of 30 days by a long-tailed lot: the log-normal fits the demo's (sigma 1.3)."""
    from recommender.features.shop_state import ShopState

    sold = np.random.default_rng(0).lognormal(1.5, 1.3, len(shelf)).astype(np.float32)
    counts = np.stack([sold / 30, sold / 4, sold, sold * 6], axis=1)
    never = np.full(len(shelf), -np.inf)
    return replace(shelf, state=ShopState.from_columns(at=shelf.state.at, counts=counts, last_event_at=never))


if __name__ == "__main__":
    main()
