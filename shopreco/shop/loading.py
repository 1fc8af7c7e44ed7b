"""Fills the shop's tables from the committed data: products, customers, orders and lines, with dates moved to now."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from statistics import median
from typing import IO, Any, TypeVar
from zoneinfo import ZoneInfo

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.db import models, transaction
from django.utils import timezone

from recommender.identity import grant_consent, user_key_of
from shopreco.shop.models import Customer, Order, OrderLine, Product
from shopreco.shop.titles import readable

FOLDER = Path(__file__).resolve().parent / "data"
SHOP_TIME = ZoneInfo("Europe/London")
NOT_GOODS = frozenset({"Next Day Carriage", "High Resolution Image"})
"""Titles in the data that are services of the shop, not goods."""

CHUNK = 5_000
MIN_ORDERS_OF_SAMPLED = 4

Progress = Callable[[int, int], None]
Row = TypeVar("Row", bound=models.Model)


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One row of events.csv; `at` is naive local UK time as recorded, `customer` is "" for a guest."""

    at: str
    customer: str
    order: str
    stock_code: str
    is_cancellation: bool
    quantity: int
    unit_price: Decimal
    country: str


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What `load` wrote; `was_loaded` means that the shop already had products, so nothing was written."""

    n_products: int = 0
    n_customers: int = 0
    n_orders: int = 0
    n_lines: int = 0
    was_loaded: bool = False


def load(
    *,
    n_customers: int | None = None,
    n_products: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    now: dt.datetime | None = None,
) -> LoadReport:
    """Fill an empty shop in one transaction; a shop with products is not changed.

    With `n_customers`, only that many real customers, chosen by `seed`, and a third as many guest orders are loaded,
    with the `n_products` that they ordered most often, by default twice `n_customers`.
    """
    if Product.objects.exists():
        return LoadReport(was_loaded=True)
    lines = list(_read_lines())
    shift = _shift_to(now or timezone.now(), newest=max(line.at for line in lines))
    titles = _read_items()
    if n_customers is not None:
        lines = _sample(lines, n_customers=n_customers, n_products=n_products or 2 * n_customers, seed=seed)
        sold = {line.stock_code for line in lines}
        titles = [item for item in titles if item["item_id"] in sold]
    with transaction.atomic():
        return _write(titles, lines, shift, progress or (lambda done, total: None))


def _write(items: list[dict[str, str]], lines: list[SourceLine], shift: dt.timedelta, progress: Progress) -> LoadReport:
    products = {product.stock_code: product for product in _create(_products(items, lines, shift))}
    customers = _write_customers(lines)
    orders = {order.number: order for order in _create(_orders(lines, customers, shift))}
    rows = (
        OrderLine(
            order=orders[line.order],
            product=products[line.stock_code],
            quantity=line.quantity,
            unit_price=line.unit_price,
        )
        for line in lines
    )
    for done, chunk in _chunks(rows):
        OrderLine.objects.bulk_create(chunk)
        progress(done, len(lines))
    return LoadReport(len(products), len(customers), len(orders), len(lines))


def _shift_to(now: dt.datetime, *, newest: str) -> dt.timedelta:
    """Return the whole weeks that move the newest order to less than a week before `now`; weekdays stay the same."""
    return (now - _aware(newest, dt.timedelta())) // dt.timedelta(weeks=1) * dt.timedelta(weeks=1)


def _aware(recorded: str, shift: dt.timedelta) -> dt.datetime:
    """Shift the local time, then add the time zone, so that nine in the morning stays nine across summer time."""
    return (dt.datetime.fromisoformat(recorded) + shift).replace(tzinfo=SHOP_TIME)


def _open(name: str) -> IO[str]:
    return gzip.open(FOLDER / name, "rt", encoding="utf-8", newline="")


def _read_items() -> list[dict[str, str]]:
    with _open("items.csv.gz") as file:
        return list(csv.DictReader(file))


def _read_lines() -> Iterator[SourceLine]:
    prices: dict[str, Decimal] = {}
    with _open("events.csv.gz") as file:
        rows = csv.reader(file)
        next(rows)
        for at, customer, order, stock_code, kind, quantity, price, country in rows:
            unit_price = prices.get(price) or prices.setdefault(price, Decimal(price).quantize(Decimal("0.01")))
            yield SourceLine(at, customer, order, stock_code, kind == "cancel", int(quantity), unit_price, country)


def _sample(lines: list[SourceLine], *, n_customers: int, n_products: int, seed: int) -> list[SourceLine]:
    orders: defaultdict[str, set[str]] = defaultdict(set)
    for line in lines:
        orders[line.customer].add(line.order)
    chance = random.Random(seed)
    guests = sorted(orders.pop("", ()))
    regulars = sorted(customer for customer, numbers in orders.items() if len(numbers) >= MIN_ORDERS_OF_SAMPLED)
    chosen = set(chance.sample(regulars, min(n_customers, len(regulars))))
    chosen_guests = set(chance.sample(guests, min(n_customers // 3, len(guests))))
    sampled = [line for line in lines if line.customer in chosen or line.order in chosen_guests]
    popular = {code for code, _ in Counter(line.stock_code for line in sampled).most_common(n_products)}
    return [line for line in sampled if line.stock_code in popular]


def _products(items: list[dict[str, str]], lines: list[SourceLine], shift: dt.timedelta) -> Iterator[Product]:
    paid: defaultdict[str, list[Decimal]] = defaultdict(list)
    stocks, n_sold = _stocks(lines)
    for line in lines:
        paid[line.stock_code].append(line.unit_price)
    for item in items:
        code, title = item["item_id"], readable(item["title"])
        price = Decimal(item["list_price"] or 0) or (median(paid[code]) if paid[code] else Decimal(0))
        first_seen = dt.date.fromisoformat(item["first_seen"]) + shift if item["first_seen"] else timezone.localdate()
        yield Product(
            stock_code=code,
            title=title,
            price=price.quantize(Decimal("0.01")),
            stock=stocks.get(code, 0),
            n_sold=n_sold[code],
            is_visible=bool(price) and title not in NOT_GOODS,
            first_seen=first_seen,
        )


def _stocks(lines: list[SourceLine]) -> tuple[dict[str, int], Counter[str]]:
    """Return units in stock and orders of the last month, by stock code.

    The data contains no stock, so it is invented: a month's sales, at least twelve; three of what last sold long ago.
    """
    newest = dt.datetime.fromisoformat(max(line.at for line in lines))
    recently, long_ago = ((newest - dt.timedelta(days=days)).isoformat() for days in (30, 120))
    units: Counter[str] = Counter()
    n_sold: Counter[str] = Counter()
    last: dict[str, str] = {}
    for line in lines:
        last[line.stock_code] = line.at
        if line.at >= recently and not line.is_cancellation:
            units[line.stock_code] += line.quantity
            n_sold[line.stock_code] += 1
    return {code: max(12, units[code]) if at >= long_ago else 3 for code, at in last.items()}, n_sold


def _write_customers(lines: list[SourceLine]) -> dict[str, Customer]:
    """Users who cannot log in with a password, their customers, and the consent that the recommender asks for."""
    countries = {line.customer: line.country for line in lines if line.customer}  # the latest one they ordered from
    user_model: Any = get_user_model()
    password = make_password(None)
    users = _create(user_model(username=code, password=password) for code in sorted(countries))
    customers = _create(Customer(user=user, code=user.username, country=countries[user.username]) for user in users)
    grant_consent([user_key_of(user) for user in users])
    return {customer.code: customer for customer in customers}


def _orders(lines: list[SourceLine], customers: dict[str, Customer], shift: dt.timedelta) -> Iterator[Order]:
    first: dict[str, SourceLine] = {}
    for line in lines:
        first.setdefault(line.order, line)
    for number, line in first.items():
        yield Order(
            number=number,
            customer=customers.get(line.customer),
            placed_at=_aware(line.at, shift),
            is_cancellation=line.is_cancellation,
        )


def _create(rows: Iterator[Row]) -> list[Row]:
    created: list[Row] = []
    for _, chunk in _chunks(rows):
        created += type(chunk[0])._default_manager.bulk_create(chunk)
    return created


def _chunks(rows: Iterator[Row]) -> Iterator[tuple[int, list[Row]]]:
    done = 0
    while chunk := list(islice(rows, CHUNK)):
        done += len(chunk)
        yield done, chunk
