"""Prints the first five titles of 54 queries to the demo's gift shop, to be judged by eye: good, partly or bad.

`SHOPRECO_VAR=<a loaded demo> python -m benchmarks.queries_by_eye [--words] [query ...]`. With `--words` the vectors are
left out. No shopper is signed in, so that the lists are the same for everybody.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import django

N_TITLES = 5
QUERIES = (
    # what the shop sells, by its name
    "umbrella", "teapot", "candle holder", "birthday card", "lunch bag", "alarm clock", "door mat", "jewellery box",
    "cake tins", "wrapping paper", "children's umbrella", "retrospot",
    # misspelt, or spelt like something else
    "candel", "umbrela", "necklase", "chritsmas decoration", "train set", "cerammic mug", "choclate", "lampshde",
    "cofee mug", "waterng can", "photo fram", "insence sticks",
    # something is not wanted
    "mug without handle", "lamp no battery", "candle without scent", "mug not white", "bag without polkadot",
    "earrings no silver", "clock not red", "do not touch sign",
    # not sold, or only in part
    "desk lamp", "dog bed", "iphone case", "coffee machine", "tennis racket", "baby bottle", "wine glasses",
    "garden hose",
    # in other words than the titles
    "gift for grandma", "garden party", "kids art supplies", "bathroom accessories", "picnic", "halloween",
    "present for a teacher", "timepiece",
    # with properties and prices
    "red mug under 3", "cheap earrings", "pink things for girls", "blue heart t-light holder", "set of 6 plates",
    "silver photo frame under £5",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("queries", nargs="*", default=QUERIES)
    parser.add_argument("--words", action="store_true", help="search by words alone")
    options = parser.parse_args(argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    django.setup()
    _print_lists(options.queries, only_words=options.words)


def _print_lists(queries: Sequence[str], *, only_words: bool) -> None:
    from dataclasses import replace

    from django.utils import timezone

    from recommender import pipeline, serving
    from recommender.serving import Served
    from recommender.text.query import normal_query
    from recommender.types import Context, Request, Slot

    served = serving.reload()
    if only_words:
        served = Served(replace(served.shelf, vectors=None))
    now = timezone.now()
    for query in queries:
        ranking = pipeline.rank(
            Request(Slot.SEARCH, Context(now), query=normal_query(query), limit=N_TITLES), served=served
        )
        titles = [served.shelf.titles[served.shelf.row(entry.item_id)] for entry in ranking]
        searched = f" [{ranking.corrected_query}]" if ranking.corrected_query else ""
        print(f"{query}{searched}: {ranking.n_found} found, {ranking.n_near} near. {ranking.notice}")
        print(f"    {' | '.join(titles)}")


if __name__ == "__main__":
    main()
