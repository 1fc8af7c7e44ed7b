"""What 200 live rules of merchandisers add to a list: microseconds of the processor to find, filter, move and pin.

The catalogue is generated: 100,000 items of 50 categories and 500 brands. Of the rules, half are for one query, a
quarter for words of a query, an eighth for a category and an eighth for a slot, in all seven actions. A search has
1,100 rows, another list 300: as many as are ever ranked. The last line is the worst case: 200 rules of the same list.

    python -m benchmarks.rules
"""

from __future__ import annotations

import datetime as dt
import os
import time
import uuid
from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.figures import Figure, show

N_ITEMS, N_RULES = 100_000, 200
N_ROWS_OF_SEARCH, N_ROWS = 1_100, 300
LIMIT_US = 200.0
N_TIMED = 300
NOW = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
WORDS = ("mug", "lamp", "bag", "clock", "card", "candle", "frame", "jar", "bowl", "chair")
COLOURS = ("red", "blue", "green", "white", "black")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    import django

    django.setup()
    show(f"{N_RULES} rules, {N_ITEMS:,} items, lists of {N_ROWS} and {N_ROWS_OF_SEARCH:,}", map(_figure, _cases()))


def _cases() -> Sequence[tuple[str, Any, Any, Any]]:
    from recommender.serving.rule_book import compiled
    from recommender.types import Context, Request, Slot

    served = _shop()
    mixed, all_at_once = compiled(_mixed(), served.shelf), compiled(_all_for_home(), served.shelf)
    at, key = Context(NOW), str(uuid.uuid4())
    search = Request(Slot.SEARCH, at, query="red mug", limit=24, person_key=key)
    return (
        ("a search with a query rule", served, mixed, search),
        ("a search without a rule of its own", served, mixed, Request(Slot.SEARCH, at, query="ladder", limit=24)),
        ("for you", served, mixed, Request(Slot.HOME, at, limit=8, person_key=key)),
        ("beside an item", served, mixed, Request(Slot.SIMILAR, at, item_id="i7", limit=8, person_key=key)),
        ("200 rules that all match", served, all_at_once, Request(Slot.HOME, at, limit=8, person_key=key)),
    )


def _figure(case: tuple[str, Any, Any, Any]) -> Figure:
    """The median of what is done for the rules: to find them, and to make the list of them, less the list itself."""
    from recommender.serving import ruling
    from recommender.serving.question import Listed, Question
    from recommender.types import Rung, Slot

    name, served, book, request = case
    n_rows = N_ROWS_OF_SEARCH if request.query else N_ROWS
    rows = np.random.default_rng(0).permutation(N_ITEMS)[:n_rows].astype(np.int32)
    listed = Listed(rows, np.linspace(1, 0, n_rows, dtype=np.float32), Rung.CHAMPION, n_rows)
    profile, seconds = served.shelf.profile(request), []
    with mock.patch.object(ruling, "LISTS", dict.fromkeys(Slot, lambda _question: listed)):
        for _ in range(N_TIMED):
            started = time.thread_time()
            applied = book.applied(request, served.shelf)
            chosen = ruling.ruled(Question(request, profile, served, applied.allowed), applied)
            for row in chosen.listed.rows[: request.limit].tolist():
                chosen.rules_of(row)
            seconds.append(time.thread_time() - started)
    n_rules = len(book.applied(request, served.shelf).rules)
    return Figure(f"{name} ({n_rules} apply)", 1e6 * float(np.median(seconds)), LIMIT_US, "us")


def _shop() -> Any:
    from recommender.features.shop_state import ShopState
    from recommender.serving import Served
    from recommender.serving.shelf import build_shelf
    from recommender.tables import ItemTable

    generator = np.random.default_rng(0)
    titles = [f"{COLOURS[n % 5]} {WORDS[n % 10]} {n}" for n in range(N_ITEMS)]
    items = ItemTable(
        ids=tuple(f"i{n}" for n in range(N_ITEMS)),
        texts=tuple(titles),
        price=generator.uniform(1, 50, N_ITEMS).astype(np.float32),
        category=generator.integers(50, size=N_ITEMS).astype(np.int32),
        category_names=tuple(f"category {n}" for n in range(50)),
        first_seen=np.zeros(N_ITEMS),
        active=np.ones(N_ITEMS, bool),
    )
    counts = generator.poisson(3, (N_ITEMS, 4)).astype(np.float32)
    state = ShopState.from_columns(at=NOW.timestamp(), counts=counts, last_event_at=np.full(N_ITEMS, -np.inf))
    brands = [f"brand {n}" for n in generator.integers(500, size=N_ITEMS).tolist()]
    return Served(build_shelf(items, state=state, titles=titles, brands=brands))


def _mixed() -> list[Any]:
    from recommender.models import Rule

    queries = [f"{colour} {word}" for colour in COLOURS for word in WORDS]
    rules = []
    for number in range(N_RULES):
        rule = Rule(pk=number + 1, **_effect(number))
        if number % 2:
            rule.match, rule.query = Rule.Match.EXACT, queries[number // 2 % 50]
        elif number % 4:
            rule.match, rule.query = Rule.Match.CONTAINS, queries[number // 4 % 50]
        elif number % 8:
            rule.match, rule.query = Rule.Match.CATEGORY, f"category {number % 50}"
        else:
            rule.slot = ("home", "similar", "cart", "trending", "search")[number // 8 % 5]
        rules.append(rule)
    return rules


def _all_for_home() -> list[Any]:
    from recommender.models import Rule

    return [Rule(pk=number + 1, slot="home", **_effect(number)) for number in range(N_RULES)]


def _effect(number: int) -> dict[str, Any]:
    from recommender.models import Rule

    ids = [f"i{(number * 977 + k * 31) % N_ITEMS}" for k in range(5)]
    effects: tuple[dict[str, Any], ...] = (
        {"action": Rule.Action.BOOST, "attribute": "brand", "values": [f"brand {number}"], "places": 5},
        {"action": Rule.Action.EXCLUDE, "item_ids": ids},
        {"action": Rule.Action.PIN, "item_ids": ids[:2], "position": 1 + number % 20},
        {"action": Rule.Action.BURY, "item_ids": ids},
        {"action": Rule.Action.FILTER, "attribute": "category", "values": [f"category {n}" for n in range(40)]},
        {"action": Rule.Action.BANNER, "text": "Ten per cent off"},
        {"action": Rule.Action.REDIRECT, "url": "/sale/"},
    )
    return effects[number % len(effects)]


if __name__ == "__main__":
    main()
