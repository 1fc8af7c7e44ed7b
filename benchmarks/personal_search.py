"""What the past of a customer is worth in a search: the loaded demo, taken back to what its ranker had learned from.

    SHOPRECO_VAR=<a trained demo> python -m benchmarks.personal_search [--half b] [--untrained] [--folder COPY]

Queries are the category of an item that a customer bought later, one word of its title, or two; the truth is that item.
Compared are the order of the grades, the impersonal order, in which sales count too, and the personal one, which knows
the events before the moment; as a check also the order with the past of another customer. The constants of
`serving.personal` were chosen on half a of the customers.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.judging import Figure, difference
from benchmarks.rewound import Customer, customers, rewind
from recommender.types import PastEvent

KINDS = ("category", "one word", "two words")
N_ITEMS = 6
"""Items of a customer that are searched for, drawn by lot."""

N_LISTED = 100
N_LOOKS = 3
N_QUERIES, N_PAIRS, N_FIRST = 20, 10, 10
N_TIMED = 300

Search = Callable[..., list[str]]
"""A query and a history to the ids of the items, best first."""


@dataclass(frozen=True, slots=True)
class Case:
    """A search of a customer for one item; others: further items of the same order."""

    customer: Customer
    item: str
    others: tuple[str, ...]
    kind: str
    query: str

    @property
    def is_new(self) -> bool:
        """Whether the customer had never bought the item before."""
        return all(event.item_id != self.item for event in self.customer.history)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("a", "b"), default="b", help="which half of the customers")
    parser.add_argument("--folder", type=Path, help="keep the copy of the demo here, or use the one that is here")
    parser.add_argument("--cases", type=int, default=10**6, help="at most so many, drawn by lot")
    parser.add_argument("--untrained", action="store_true", help="bundle 0 serves")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="shopreco-bench-") as temporary:
        _measure(options, options.folder or Path(temporary))


def _measure(options: argparse.Namespace, folder: Path) -> None:
    at = rewind(folder, is_untrained=options.untrained)
    from recommender import serving

    served = serving.reload()
    search = partial(_search, served, at)
    everybody = customers(folder)
    half = [customer for customer in everybody if in_half(customer.name, options.half)]
    searched = list(cases(half, served.shelf))
    searched = random.Random(0).sample(searched, min(options.cases, len(searched)))
    print(f"{served.rung}, {at:%Y-%m-%d}: {len(half)} customers of half {options.half}, {len(searched)} searches")
    _print_gains(searched, everybody, search)
    _print_session(searched, at, search)
    _print_differences(half, served.shelf, search)
    _print_times(searched, search)


def in_half(name: str, half: str) -> bool:
    """Whether a customer belongs to half "a" or "b"."""
    return (zlib.crc32(name.encode()) % 2 == 0) is (half == "a")


def cases(everybody: Sequence[Customer], shelf: Any, *, seed: int = 0) -> Iterator[Case]:
    """Give the searches of each customer for some of the items bought later, of each kind in turn."""
    for customer in everybody:
        chance = random.Random(f"{seed} {customer.name}")
        order_of = {item: order for order in customer.orders for item in order if shelf.row(item) >= 0}
        for n, item in enumerate(chance.sample(sorted(order_of), min(N_ITEMS, len(order_of)))):
            kind = KINDS[(n + zlib.crc32(customer.name.encode())) % len(KINDS)]
            query = _query(kind, shelf, shelf.row(item), chance)
            if query:
                others = tuple(other for other in order_of[item] if other != item)
                yield Case(customer, item, others, kind, query)


def _query(kind: str, shelf: Any, row: int, chance: random.Random) -> str:
    """The name of the item's category, or words of its title in their order; "" where it has too few."""
    if kind == "category":
        code = int(shelf.items.category[row])
        return shelf.items.category_names[code] if code >= 0 else ""
    words, n = _words(shelf.titles[row]), KINDS.index(kind)
    chosen = set(chance.sample(words, n)) if len(words) >= n else set()
    return " ".join(word for word in words if word in chosen)


def _words(title: str) -> list[str]:
    from recommender.text.words import LINKING_WORDS

    words = dict.fromkeys(re.findall(r"[^\W\d_]{3,}", title.lower()))
    return [word for word in words if word not in LINKING_WORDS]


def _search(served: Any, at: Any, query: str, history: Sequence[PastEvent] = (), limit: int = N_LISTED) -> list[str]:
    from recommender import pipeline
    from recommender.text.query import normal_query
    from recommender.types import Context, Request, Slot

    request = Request(Slot.SEARCH, Context(at), query=normal_query(query), history=tuple(history), limit=limit)
    return [entry.item_id for entry in pipeline.rank(request, served=served)]


def _by_grades(search: Search, query: str) -> list[str]:
    from recommender.serving import personal

    with patch.object(personal, "SALES_WEIGHT", 0.0):
        return search(query)


def _print_gains(searched: Sequence[Case], everybody: Sequence[Customer], search: Search) -> None:
    """Mean reciprocal rank of each order, and the gain of the personal one over the others."""
    ranks: dict[str, list[float]] = {"grades": [], "impersonal": [], "personal": [], "past of another": []}
    for number, case in enumerate(searched):
        other = everybody[(number * 7919 + 13) % len(everybody)]
        lists = {
            "grades": _by_grades(search, case.query),
            "impersonal": search(case.query),
            "personal": search(case.query, case.customer.history),
            "past of another": search(case.query, other.history),
        }
        for name, listed in lists.items():
            ranks[name].append(reciprocal(listed, case.item))
    slices: Mapping[str, Callable[[Case], bool]] = {
        "all": lambda case: True,
        **{kind: lambda case, kind=kind: case.kind == kind for kind in KINDS},  # type: ignore[misc]
        "new items": lambda case: case.is_new,
        "bought before": lambda case: not case.is_new,
    }
    print(f"\n{'MRR':<16} {'n':>6} " + " ".join(f"{name:>16}" for name in ranks))
    for name, belongs in slices.items():
        chosen = [number for number, case in enumerate(searched) if belongs(case)]
        means = " ".join(f"{np.mean(np.array(values)[chosen]):16.4f}" for values in ranks.values())
        print(f"{name:<16} {len(chosen):>6} {means}")
    for better, worse in (
        ("impersonal", "grades"), ("personal", "grades"), ("personal", "impersonal"), ("past of another", "impersonal"),
    ):  # fmt: skip
        print(f"{better} over {worse}: {gain(searched, ranks[better], ranks[worse])}", flush=True)


def reciprocal(listed: Sequence[str], item: str) -> float:
    """One over the position of the item, 0 where it is not listed."""
    return 1 / (listed.index(item) + 1) if item in listed else 0.0


def gain(searched: Sequence[Case], ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The gain in per cent of their mean, with a 95 % interval over resampled customers."""
    names = [case.customer.name for case in searched]
    mean = float(np.mean(theirs))
    interval = difference(*(_by_customer(names, values) for values in (ours, theirs)))
    low, middle, high = (100 * value / mean for value in (interval.lower, interval.mean, interval.upper))
    return f"{middle:+.1f} % [{low:+.1f}, {high:+.1f}]"


def _by_customer(names: Sequence[str], values: Sequence[float]) -> Figure:
    total: dict[str, list[float]] = {}
    for name, value in zip(names, values, strict=True):
        total.setdefault(name, []).append(value)
    return Figure.of([(sum(own), len(own)) for own in total.values()])


def _print_session(searched: Sequence[Case], at: Any, search: Search) -> None:
    """Looks at other items of the same order a minute before: for a visitor without a past, and for the customer."""
    chosen = [case for case in searched if len(case.others) >= N_LOOKS]
    print(f"\nafter {N_LOOKS} looks at other items of the same order, {len(chosen)} searches")
    for who in ("anonymous", "customer"):
        with_looks, without = [], []
        for case in chosen:
            past = case.customer.history if who == "customer" else ()
            without.append(reciprocal(search(case.query, past), case.item))
            with_looks.append(reciprocal(search(case.query, (*past, *_looks(case, at))), case.item))
        print(f"{who}: {np.mean(without):.4f} -> {np.mean(with_looks):.4f}, {gain(chosen, with_looks, without)}")


def _looks(case: Case, at: Any) -> Iterator[PastEvent]:
    import datetime as dt

    from recommender.types import EventType

    for number, item in enumerate(case.others[:N_LOOKS]):
        yield PastEvent(EventType.VIEW_ITEM, at - dt.timedelta(seconds=90 - number), item_id=item)


def _print_differences(half: Sequence[Customer], shelf: Any, search: Search) -> None:
    """In how many of the most frequent words of titles two customers see other first items, for the median pair."""
    frequency: dict[str, int] = {}
    for row, title in enumerate(shelf.titles):
        for word in _words(title) if shelf.items.active[row] else ():
            frequency[word] = frequency.get(word, 0) + 1
    queries = sorted(frequency, key=lambda word: (-frequency[word], word))[:N_QUERIES]
    chance = random.Random(1)
    pairs = [chance.sample(half, 2) for _ in range(N_PAIRS)]
    n_different = {
        query: sum(search(query, one.history, N_FIRST) != search(query, two.history, N_FIRST) for one, two in pairs)
        for query in queries
    }
    n_queries = sum(2 * n > N_PAIRS for n in n_different.values())
    print(f"\n{', '.join(f'{query} {n}' for query, n in n_different.items())} of {N_PAIRS} pairs")
    print(f"other first {N_FIRST} items for most pairs of customers: {n_queries} of {len(queries)} queries", flush=True)


def _print_times(searched: Sequence[Case], search: Search) -> None:
    """Median milliseconds of a search, with and without a past in turns."""
    times: dict[str, list[float]] = {"without": [], "with": []}
    for case in searched[:N_TIMED]:
        search(case.query)  # the vector of the query is cached for both
        for name, history in (("without", ()), ("with", case.customer.history)):
            started = time.perf_counter()
            search(case.query, history, 24)
            times[name].append((time.perf_counter() - started) * 1000)
    plain, personal = (float(np.median(values)) for values in times.values())
    print(f"\np50 of a search without a past {plain:.1f} ms, with it {personal:.1f} ms: {personal / plain:.2f} x")


if __name__ == "__main__":
    main()
