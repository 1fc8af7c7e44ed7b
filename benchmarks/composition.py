"""What the lists of the loaded demo are composed of: new and owned items, repeats, due times, limits, honest reasons.

    SHOPRECO_VAR=<a loaded and trained demo> python -m benchmarks.composition [--customers 25] [--seed 0]

Customers are drawn among those with three orders or more, and are served as `recommend` and the template tags serve a
page one day after the newest event. What they own, and when it is due, is counted in the shop's own orders. Exit code 1
where a limit is missed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import random
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    import uuid

    from recommender.models.corrections import Corrections
    from recommender.types import Context, Live, PastEvent, Ranking

LIMIT, BLOCK_LIMIT = 10, 8
N_HIDDEN = 15
LEAST_ORDERS = 3
LEAST_NEW, MOST_OWNED = 0.5, 0.5
LOOKS_LATER = dt.timedelta(minutes=3)
"""From one look of a session to the next."""

PAGES = {
    "home": "home trending recently_viewed buy_again",
    "product": "similar bought_together home buy_again",
    "cart": "cart home buy_again trending",
}
"""The blocks of three pages, in their order."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table."""

    name: str
    measured: str
    limit: str
    holds: bool

    def __str__(self) -> str:
        return f"{self.name:<66} {self.measured:>16} {self.limit:>12}  {'ok' if self.holds else 'MISSED'}"


@dataclass(slots=True)
class Person:
    """A shopper as the pipeline reads one, with a history that can be changed."""

    events: tuple[PastEvent, ...]
    at: dt.datetime
    visitor_key: uuid.UUID | None = None
    live: dict[str, Live | None] = field(default_factory=dict)
    n_live_reads: int = 0
    segment_id: int | None = None
    entered: frozenset[int] = frozenset()
    person_key: str = ""

    @property
    def corrections(self) -> Corrections:
        from recommender.models.corrections import UNCORRECTED

        return UNCORRECTED

    def history(self) -> tuple[PastEvent, ...]:
        return self.events

    def context(self, at: dt.datetime | None = None) -> Context:
        from recommender.types import Context

        return Context(at or self.at)

    def without(self, item_id: str) -> Person:
        """The same person who never met an item."""
        return Person(tuple(past for past in self.events if past.item_id != item_id), self.at)


@dataclass(frozen=True, slots=True)
class Known:
    """A customer with their history, and by item the times of the orders that they kept, from the shop's tables."""

    user: Any
    person: Person
    orders: dict[str, list[dt.datetime]]

    def read_orders(self, item_id: str) -> list[dt.datetime]:
        """The orders of an item that are among the newest 500 events, which is all that a request reads."""
        read = {past.at for past in self.person.events if past.item_id == item_id}
        return [moment for moment in self.orders.get(item_id, []) if moment in read]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shopreco.settings")
    django.setup()
    from recommender import serving

    served = serving.reload()
    if not len(served.shelf.items):
        raise SystemExit("There is no item. Run `make demo` first, or point SHOPRECO_VAR at a loaded demo.")
    customers = known_customers(options.customers, seed=options.seed)
    print(f"Served by {served.rung}, {len(served.shelf.items):,} items, {len(customers)} customers\n")
    print(f"{'figure':<66} {'measured':>16} {'limit':>12}")
    missed = 0
    for check in checks(customers):
        print(check, flush=True)
        missed += not check.holds
    sys.exit(1 if missed else 0)


def checks(customers: Sequence[Known]) -> Iterator[Check]:
    yield from _of_for_you(customers)
    yield from _of_pages(customers)
    yield _of_buy_again(customers)
    yield from _of_hidden_items(customers)
    yield from _of_limits(customers)
    yield from _of_reasons(customers)


def known_customers(n: int, *, seed: int) -> list[Known]:
    """Draw customers with at least `LEAST_ORDERS` orders."""
    from django.db.models import Count

    from recommender.identity import shopper_of
    from recommender.models import Event
    from shopreco.shop.models import Customer

    at = Event.objects.latest("occurred_at").occurred_at + dt.timedelta(days=1)
    ordering = Customer.objects.annotate(n=Count("orders")).filter(n__gte=LEAST_ORDERS).select_related("user")
    drawn = random.Random(seed).sample(list(ordering.order_by("pk")), n)
    people = [Person(shopper_of(request_of(customer.user)).history(), at) for customer in drawn]
    return [
        Known(customer.user, person, _kept_orders(customer)) for customer, person in zip(drawn, people, strict=True)
    ]


def request_of(user: Any) -> Any:
    """A request of a signed-in customer who has consented."""
    from django.test import RequestFactory

    request: Any = RequestFactory().get("/", headers={"host": "127.0.0.1"})
    request.COOKIES["recommender_consent"] = "granted"
    request.user = user
    return request


def _kept_orders(customer: Any) -> dict[str, list[dt.datetime]]:
    """By item the times of its orders, the oldest first, without what was sent back, the newest of it first."""
    from shopreco.shop.models import OrderLine

    lines = OrderLine.objects.filter(order__customer=customer).order_by("order__placed_at")
    columns = lines.values_list("product__stock_code", "order__placed_at", "order__is_cancellation", "quantity")
    quantities: dict[str, Counter[dt.datetime]] = {}
    for code, at, is_cancellation, quantity in columns:
        orders = quantities.setdefault(code, Counter())
        if not is_cancellation:
            orders[at] += quantity
            continue
        for moment in sorted(orders, reverse=True):
            n_returned = min(quantity, orders[moment])
            orders[moment] -= n_returned
            quantity -= n_returned
    times = {code: sorted(moment for moment, n in orders.items() if n > 0) for code, orders in quantities.items()}
    return {code: moments for code, moments in times.items() if moments}


def recommend(slot: str, person: Person, **options: Any) -> Ranking:
    """The list as a page gets it, with nothing read before."""
    from recommender import pipeline

    return pipeline.recommend(slot, shopper=Person(person.events, person.at), at=person.at, **options)


def _of_for_you(customers: Sequence[Known]) -> Iterator[Check]:
    lists = [[entry.item_id for entry in recommend("home", one.person, limit=LIMIT)] for one in customers]
    owned = [sum(item_id in one.orders for item_id in ids) for ids, one in zip(lists, customers, strict=True)]
    n_places = sum(map(len, lists))
    new = [1 - n / len(ids) for n, ids in zip(owned, lists, strict=True)]
    yield _least("shortest list of “for you”", min(map(len, lists)), LIMIT, "items")
    yield Check(
        "owned items in “for you”",
        f"{sum(owned)} of {n_places}",
        f"<= {MOST_OWNED:.0%}",
        sum(owned) <= MOST_OWNED * n_places,
    )
    yield Check(
        "  least share of new items in one list", f"{min(new):.0%}", f">= {LEAST_NEW:.0%}", min(new) >= LEAST_NEW
    )
    yield Check("  share of new items, median", f"{statistics.median(new):.0%}", "-", True)
    n_with_due = sum(n > 0 for n in owned)
    yield Check("  customers whose list takes in what is due", f"{n_with_due} of {len(lists)}", ">= 1", n_with_due > 0)
    only_new = [recommend("home", one.person, limit=LIMIT, new_only=True) for one in customers]
    n_known = sum(
        entry.item_id in one.orders for ranking, one in zip(only_new, customers, strict=True) for entry in ranking
    )
    yield _none("owned items with new_only", n_known, sum(len(ranking.entries) for ranking in only_new))


def _of_pages(customers: Sequence[Known]) -> Iterator[Check]:
    """Through the template tags, each page with one request."""
    for name, slots in PAGES.items():
        n_repeats = n_shown = 0
        for one in customers:
            shown = _ids_of_page(slots.split(), one)
            n_shown += len(shown)
            n_repeats += len(shown) - len(set(shown))
        yield _none(f"items shown twice on the {name} page", n_repeats, n_shown)


def _ids_of_page(slots: Sequence[str], one: Known) -> list[str]:
    from django.template import engines

    tags = "".join(
        f'{{% recommend "{slot}" item_id=item_id cart=cart limit={BLOCK_LIMIT} as list %}}'
        "{% for entry in list %}{{ entry.item_id }} {% endfor %}"
        for slot in slots
    )
    template = engines["django"].from_string(f"{{% load recommender %}}{tags}")
    newest = list(dict.fromkeys(past.item_id for past in reversed(one.person.events) if past.item_id))
    values = {"item_id": newest[0], "cart": newest[1:3] if "cart" in slots else []}
    return template.render(values, request_of(one.user)).split()


def _of_buy_again(customers: Sequence[Known]) -> Check:
    """What is due stands in the order of how much of its own cycle has passed, before what is not due."""
    from recommender.features.cycles import MOST_OVERDUE

    n_pairs = n_wrong = 0
    for one in customers:
        elapsed = [
            _elapsed(one.read_orders(entry.item_id), one.person.at) for entry in recommend("buy_again", one.person)
        ]
        passed = [share if share <= MOST_OVERDUE else 0 for share in elapsed]
        n_pairs += max(len(passed) - 1, 0)
        n_wrong += sum(later > earlier + 1e-6 for earlier, later in pairwise(passed))
    return _none("neighbours of “buy again” that do not stand by due time", n_wrong, n_pairs)


def _elapsed(times: Sequence[dt.datetime], at: dt.datetime) -> float:
    """The days since the last order, by the mean of the days between the orders, one added to both."""
    if len(times) < 2:
        return 0
    gap = (times[-1] - times[0]) / (len(times) - 1)
    day = dt.timedelta(days=1)
    return ((at - times[-1]) / day + 1) / (gap / day + 1)


def _of_hidden_items(customers: Sequence[Known]) -> Iterator[Check]:
    """The best items of a list hidden by `update()`, which sends no signal: others take their places."""
    from django.db import transaction

    from shopreco.shop.models import Product

    for slot in ("home", "similar", "trending"):
        shortest, n_hidden, n_shown = LIMIT, 0, 0
        for one in customers:
            item_id = one.person.events[-1].item_id
            with transaction.atomic():
                best = [entry.item_id for entry in recommend(slot, one.person, limit=N_HIDDEN, item_id=item_id)]
                Product.objects.filter(stock_code__in=best).update(is_visible=False)
                shown = [entry.item_id for entry in recommend(slot, one.person, limit=BLOCK_LIMIT, item_id=item_id)]
                transaction.set_rollback(True)
            shortest = min(shortest, len(shown))
            n_hidden += len({*shown} & {*best})
            n_shown += len(shown)
        yield _least(f"shortest list of “{slot}” with {N_HIDDEN} hidden", shortest, BLOCK_LIMIT, "items")
        yield _none(f"  hidden items in “{slot}”", n_hidden, n_shown)


def _of_limits(customers: Sequence[Known]) -> Iterator[Check]:
    """At most two of a category; and of a brand, for which the demo, that has none, gets the first word of a title."""
    from recommender import serving

    shelf = serving.current().shelf
    category = {item_id: int(code) for item_id, code in zip(shelf.items.ids, shelf.items.category, strict=True)}
    yield _limit("category", 2, category, (recommend("home", one.person, at_most={"category": 2}) for one in customers))
    brands = [title.split(maxsplit=1)[0] if title else "" for title in shelf.titles]
    codes = {name: code for code, name in enumerate(dict.fromkeys(brands))}
    brand = dict(zip(shelf.items.ids, (codes[name] for name in brands), strict=True))
    yield _limit("brand", 1, brand, (_with_brands(one.person, list(brand.values())) for one in customers))


def _with_brands(person: Person, brand: Sequence[int]) -> Ranking:
    import numpy as np

    from recommender import pipeline, serving
    from recommender.serving import Served
    from recommender.types import Request, Slot

    served = serving.current()
    branded = Served(replace(served.shelf, brand=np.array(brand, np.int32)), served.ranker)
    limits = {"brand": 1}
    request = Request(Slot.HOME, person.context(), history=person.events, is_composed=True, at_most=limits)
    return pipeline.rank(request, served=branded)


def _limit(name: str, most: int, code: dict[str, int], lists: Iterable[Ranking]) -> Check:
    n_beyond = n_shown = 0
    for ranking in lists:
        counts = Counter(code[entry.item_id] for entry in ranking if code[entry.item_id] >= 0)
        n_beyond += sum(max(n - most, 0) for n in counts.values())
        n_shown += len(ranking.entries)
    return _none(f"items beyond at_most={most} of a {name}", n_beyond, n_shown)


def _of_reasons(customers: Sequence[Known]) -> Iterator[Check]:
    """Remove the item that a reason names from the past: the entry must stand lower, or not at all, without it.

    The named item itself is not counted, as it may take a place once it is new.
    """
    for name, n_looks in (("“for you”", 0), ("after one look", 1), ("after three looks", 3)):
        named = moved = n_entries = 0
        for number, one in enumerate(customers):
            person = _looking(one.person, n_looks, seed=number)
            ranking = recommend("home", person)
            n_entries += len(ranking.entries)
            for item_id, reason_item in _named(ranking):
                named += 1
                moved += _falls(ranking, recommend("home", person.without(reason_item)), item_id, reason_item)
        yield _faithful(name, named, moved, n_entries, must_name=n_looks > 0)
    named = moved = n_entries = 0
    for one in customers:
        cart = list(dict.fromkeys(past.item_id for past in reversed(one.person.events) if past.item_id))[:3]
        ranking = recommend("cart", one.person, cart_item_ids=cart)
        n_entries += len(ranking.entries)
        for item_id, reason_item in _named(ranking):
            rest = [in_cart for in_cart in cart if in_cart != reason_item]
            named += 1
            without = recommend("cart", one.person.without(reason_item), cart_item_ids=rest)
            moved += _falls(ranking, without, item_id, reason_item)
    yield _faithful("cart of three", named, moved, n_entries)


def _looking(person: Person, n_looks: int, *, seed: int) -> Person:
    """The person after looking at items drawn by the seed, just now."""
    from recommender import serving
    from recommender.types import EventType, PastEvent

    item_ids = random.Random(seed).sample(serving.current().shelf.items.ids, n_looks)
    first = person.at - n_looks * LOOKS_LATER
    looks = (PastEvent(EventType.VIEW_ITEM, first + n * LOOKS_LATER, item_id) for n, item_id in enumerate(item_ids))
    return Person((*person.events, *looks), person.at)


def _named(ranking: Ranking) -> list[tuple[str, str]]:
    """(entry, item that a reason of it names)."""
    return [(entry.item_id, reason.item_id) for entry in ranking for reason in entry.reasons if reason.item_id]


def _falls(ranking: Ranking, without: Ranking, item_id: str, named: str) -> bool:
    before, after = ([entry.item_id for entry in one if entry.item_id != named] for one in (ranking, without))
    return item_id not in after or after.index(item_id) > before.index(item_id)


def _faithful(name: str, n_named: int, n_moved: int, n_entries: int, *, must_name: bool = True) -> Check:
    """In a long past without a session hardly any item decides; with a session or a cart some must."""
    label = f"reasons that move their entry, {name} ({n_entries} entries)"
    return Check(label, f"{n_moved} of {n_named}", "all", n_moved == n_named and (n_named > 0 or not must_name))


def _none(name: str, n: int, total: int) -> Check:
    return Check(name, f"{n} of {total}", "0", n == 0 and total > 0)


def _least(name: str, n: int, least: int, unit: str) -> Check:
    return Check(name, f"{n} {unit}", f">= {least}", n >= least)


if __name__ == "__main__":
    main()
