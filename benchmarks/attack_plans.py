"""The attacks that `attacks` measures: who claims what, and when it is received."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

CHUNK_SIZE = 5_000
SPREAD_DAYS = 30


@dataclass(frozen=True)
class Cast:
    """Who plays: the item that is pushed, the bestsellers beside which it is pushed, and the queries that name it."""

    target: str
    bestsellers: list[str]
    queries: list[str]
    bomb: str
    prefix: str
    now: dt.datetime

    def shoppers(self, n: int) -> Iterator[Any]:
        """Customers with most orders, as the pipeline sees them."""
        from django.contrib.auth.models import AnonymousUser
        from django.db.models import Count
        from django.test import RequestFactory

        from recommender.identity import shopper_of
        from shopreco.shop.models import Customer

        ranked = Customer.objects.annotate(n_orders=Count("orders")).order_by("-n_orders", "code")
        for customer in ranked.select_related("user")[:n]:
            request: Any = RequestFactory().get("/")
            request.COOKIES["recommender_consent"] = "granted"
            request.user = customer.user or AnonymousUser()
            yield shopper_of(request)


@dataclass(frozen=True)
class Act:
    """One claim: kind, item or query, seconds before `now` when it happened and when it was received."""

    kind: str
    item_id: str = ""
    query: str = ""
    happened: float = 60.0
    received: float = 30.0
    order: str = ""
    source: str = "api"


Plan = Callable[[Cast], Iterator[list[Act]]]
"""Gives the acts of one visitor after the other."""


@dataclass(frozen=True)
class Attack:
    """A plan by its name; is_honest: a true trend, which must not be suppressed."""

    name: str
    plan: Plan
    is_honest: bool = False


def cast_of(seed: int) -> Cast:
    """Draw a target that sells less than most and shares its last word with other items."""
    from collections import Counter

    from django.db.models import Count
    from django.utils import timezone

    from recommender.models import Event, Item

    titles = dict(Item.objects.filter(is_active=True).values_list("item_id", "title"))
    sold = Event.objects.filter(source="order", type="purchase").values("item_id").annotate(n=Count("pk"))
    ranked = [row["item_id"] for row in sold.order_by("-n", "item_id") if row["item_id"] in titles]
    last_words = Counter(title.lower().split()[-1] for title in titles.values() if title)
    seldom = [
        item_id
        for item_id in ranked[int(0.6 * len(ranked)) : int(0.9 * len(ranked))]
        if len(titles[item_id].split()) >= 3 and last_words[titles[item_id].lower().split()[-1]] >= 4
    ]
    target = seldom[int(np.random.default_rng(seed).integers(len(seldom)))]
    words = titles[target].lower().split()
    queries = [words[-1], " ".join(words[-2:]), f"{words[0]} {words[-1]}", words[0]]
    print(f"the target: {titles[target]}; queries: {', '.join(queries)}")
    return Cast(target, ranked[:5], queries, titles[target].lower(), words[0][:3], timezone.now())


def insert(attack: Attack, cast: Cast) -> tuple[int, int]:
    """Store what the attack claims; return the last visitor and event of before."""
    from recommender.models import Event, Visitor

    last = tuple(model.objects.order_by("-pk").values_list("pk", flat=True)[0] for model in (Visitor, Event))
    plans = list(attack.plan(cast))
    visitors = Visitor.objects.bulk_create([Visitor() for _ in plans], batch_size=CHUNK_SIZE)
    Event.objects.bulk_create(
        [_event(act, visitor.pk, cast) for visitor, acts in zip(visitors, plans, strict=True) for act in acts],
        batch_size=CHUNK_SIZE,
    )
    return last[0], last[1]


def remove_since(last: tuple[int, int]) -> None:
    """Delete what came after."""
    from recommender.models import Event, Visitor

    Event.objects.filter(pk__gt=last[1]).delete()
    Visitor.objects.filter(pk__gt=last[0]).delete()


def _event(act: Act, visitor: int, cast: Cast) -> Any:
    from recommender.models import Event

    return Event(
        message_id=f"api:{uuid.uuid4().hex}", type=act.kind, visitor_id=visitor, item_id=act.item_id, query=act.query,
        occurred_at=cast.now - dt.timedelta(seconds=act.happened), order_id=act.order, source=act.source,
        received_at=cast.now - dt.timedelta(seconds=act.received),
    )  # fmt: skip


def _by_one(kind: str, n: int, *, days: float = 0.0) -> Plan:
    """One visitor says the same n times, dated back over some days."""

    def plan(cast: Cast) -> Iterator[list[Act]]:
        yield [
            Act(kind, cast.target, happened=60.0 + number * (2 + days * 86_400 / n), order=f"one-{number}")
            for number in range(n)
        ]

    return plan


def _clicks(n: int, n_visitors: int) -> Plan:
    def plan(cast: Cast) -> Iterator[list[Act]]:
        for _visitor in range(n_visitors):
            yield [Act("select_item", cast.target, happened=60.0 + 2 * number) for number in range(n // n_visitors)]

    return plan


def _beside_bestsellers(n_visitors: int, *, days: int = 1) -> Plan:
    """New visitors who look at the target and a bestseller and claim to have bought both, over some days."""

    def plan(cast: Cast) -> Iterator[list[Act]]:
        for visitor in range(n_visitors):
            ago = 86_400.0 * (visitor % days)
            pair = (cast.bestsellers[visitor % len(cast.bestsellers)], cast.target)
            yield [
                Act(kind, item_id, happened=ago + 60.0 - step, received=ago + 30.0, order=f"pair-{visitor}")
                for kind in ("view_item", "purchase")
                for step, item_id in enumerate(pair)
            ]

    return plan


def _shilling(share: float) -> Plan:
    """So many of the visitors act like customers, five bestsellers each, and take the target besides: bandwagon."""

    def plan(cast: Cast) -> Iterator[list[Act]]:
        from recommender.models import Visitor

        for visitor in range(max(1, round(share * Visitor.objects.count()))):
            ago = 86_400.0 * (visitor % SPREAD_DAYS)
            yield [
                Act(kind, item_id, happened=ago + 600.0 - 10 * step, received=ago + 30.0, order=f"shill-{visitor}")
                for kind in ("view_item", "add_to_cart", "purchase")
                for step, item_id in enumerate([*cast.bestsellers, cast.target])
            ]

    return plan


def _dismissals(cast: Cast) -> Iterator[list[Act]]:
    for visitor in range(2_000):
        yield [Act("dismiss_item", item_id, happened=60.0 + visitor % 20) for item_id in cast.bestsellers]


def _suggestion_bombs(cast: Cast) -> Iterator[list[Act]]:
    for _visitor in range(2_000):
        yield [
            Act("search", query=cast.bomb, happened=90.0),
            Act("select_item", cast.target, happened=60.0),
        ]


def _query_bombs(cast: Cast) -> Iterator[list[Act]]:
    """Searches of head words that all end at the target."""
    for visitor in range(2_000):
        query = cast.queries[visitor % len(cast.queries)]
        yield [Act("search", query=query, happened=90.0), Act("view_item", cast.target, happened=60.0)]


def _both(first: Plan, second: Plan) -> Plan:
    def plan(cast: Cast) -> Iterator[list[Act]]:
        yield from first(cast)
        yield from second(cast)

    return plan


def _trend(cast: Cast) -> Iterator[list[Act]]:
    """A true bestseller of one day: orders of 60 people, each after a look, and 300 who only look."""
    for visitor in range(60):
        yield [
            Act("view_item", cast.target, happened=900.0, received=900.0, source="page"),
            Act("purchase", cast.target, happened=600.0, order=f"trend-{visitor}", source="order"),
        ]
    for _visitor in range(300):
        yield [Act("view_item", cast.target, happened=900.0, received=900.0, source="page")]


ATTACKS = (
    Attack("50,000 clicks by one visitor", _clicks(50_000, 1)),
    Attack("50,000 clicks by 5,000 visitors", _clicks(50_000, 5_000)),
    Attack("200 views by one, backdated", _by_one("view_item", 200, days=28)),
    Attack("200 carts by one, backdated", _by_one("add_to_cart", 200, days=28)),
    Attack("200 purchases by one, backdated", _by_one("purchase", 200, days=28)),
    Attack("500 new visitors beside bestsellers", _beside_bestsellers(500)),
    Attack("5,000 new visitors beside bestsellers", _beside_bestsellers(5_000)),
    Attack("5,000 new visitors over 30 days", _beside_bestsellers(5_000, days=30)),
    Attack("shilling by .5 % of visitors", _shilling(0.005)),
    Attack("shilling by 3 % of visitors", _shilling(0.03)),
    Attack("2,000 dismissals of each bestseller", _dismissals),
    Attack("suggestion bombing by 2,000", _suggestion_bombs),
    Attack("2,000 searches that end at the target", _query_bombs),
    Attack("a true bestseller of one day", _trend, is_honest=True),
)

POISON = Attack(
    "5,000 new visitors over 30 days, and shilling by 3 %", _both(_beside_bestsellers(5_000, days=30), _shilling(0.03))
)
"""What a training is poisoned with."""

STUFFINGS = (
    ("its last word three times before", "{last} {last} {last} {title}"),
    ("its words twice", "{title} {title}"),
    ("its first and last word in turn", "{last} {first} {last} {first} {last} {title}"),
)
"""Ways to stuff the target's title with the words that it has."""


@contextmanager
def stuffed(cast: Cast, form: str) -> Iterator[None]:
    """Give the target another title, and its own one back."""
    from django.utils import timezone

    from recommender.models import Item

    item = Item.objects.get(item_id=cast.target)
    first, *_between, last = item.title.split()
    title = form.format(title=item.title, first=first, last=last)
    changed = {"title": title, "text": title + item.text.removeprefix(item.title), "updated_at": timezone.now()}
    Item.objects.filter(pk=item.pk).update(**changed)
    try:
        yield
    finally:
        Item.objects.filter(pk=item.pk).update(title=item.title, text=item.text, updated_at=timezone.now())
