"""How far claims count: each signal that is made of what shoppers do goes through this module.

What the shop's own rows say is true. Everything else is a claim, and new visitors cost nothing (the Sybil attack of
Douceur 2002; in recommenders a shilling attack, Lam and Riedl 2004). So people are counted instead of events, a new
visitor counts less than one who returns, and the people who have not bought anything count only up to a control limit:
as many as the shop usually has for each one who has.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from recommender.tables import Interactions
from recommender.text.words import folded
from recommender.types import EVENT_CODES, EventType, FloatArray

MONTH_DAYS = 30
SIGMAS = 3.0
"""Width of a control chart: Shewhart 1931, "Economic control of quality of manufactured product"."""

PRIOR = 0.5
"""People added to those counted: Jeffreys' prior for the rate of a Poisson distribution."""

MOST_PER_BUYER = 100.0
"""Visitors for each buyer, at most: one in a hundred buys in a shop where few do."""

FEWEST_LIMITED = 3
"""So many people are always counted."""

RETURNING_DAYS = 3
"""Days after which a visitor counts half, and is credible in a shop without a single order."""

FEWEST_ALARMED, ALARMED_RATIO = 10, 2.0
"""People of a burst that is worth an alarm, and how far beyond the limit they must be."""

N_ROUNDS = 20
LOOK, CART, SEARCH, OTHER = KINDS = ("look", "cart", "search", "other")
KIND_OF_TYPE = np.full(len(EVENT_CODES), KINDS.index(OTHER), np.int64)
for _type, _name in {
    EventType.SELECT_ITEM: LOOK, EventType.VIEW_ITEM: LOOK, EventType.ADD_TO_CART: CART, EventType.SEARCH: SEARCH,
}.items():  # fmt: skip
    KIND_OF_TYPE[EVENT_CODES[_type]] = KINDS.index(_name)

_PURCHASE, _SEARCH = EVENT_CODES[EventType.PURCHASE], EVENT_CODES[EventType.SEARCH]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Burst:
    """More people than are likely did one kind of thing, one of `KINDS`, with an item or a query.

    item: row of the item, -1 for a query; day: the last day, since the epoch; n_days: 1 or `MONTH_DAYS`; n_people: who
    have not bought, each counted once a day; limit: of whom so many count, at most.
    """

    kind: str
    item: int
    query: str
    day: int
    n_days: int
    n_people: int
    limit: int


@dataclass(frozen=True, slots=True)
class Control:
    """is_excess (n,) bool: claims beyond the control limits; bursts: what an alarm is worth, the largest first."""

    is_excess: Mask
    bursts: tuple[Burst, ...] = ()


def person_weights(events: Interactions) -> FloatArray:
    """Return (n,) in [.25, 1]: 1 for rows of the shop and those who have bought, d / (d + 3) for a visitor of d days.

    Days are days of receipt: nobody becomes an old visitor by dating events back. Where nobody is credible, as in a new
    shop, all count the same.
    """
    weights, credible = np.ones(len(events), np.float32), is_credible(events)
    claims = np.flatnonzero(events.claim >= 0)
    if len(claims) and credible.any():
        n_days = _days_seen(events, claims)
        weights[claims] = np.where(credible[claims], 1.0, n_days / (n_days + RETURNING_DAYS))
    return weights


def is_credible(events: Interactions) -> Mask:
    """Mark, (n,), rows of the shop and claims of visitors who have bought something.

    In a shop without a single order these are visitors who came on `RETURNING_DAYS` days.
    """
    is_row = events.claim < 0
    bought = is_row & (events.type == _PURCHASE)
    claims = np.flatnonzero(~is_row)
    credible = is_row.copy()
    if bought.any():
        credible[claims] = (events.visitor[claims] >= 0) & np.isin(events.visitor[claims], events.visitor[bought])
    else:
        credible[claims] = _days_seen(events, claims) >= RETURNING_DAYS
    return credible


def control_limit(n_credible: FloatArray | float, ratio: float) -> npt.NDArray[np.float64]:
    """Return how many others there are at most, where there are `ratio` for each credible person in the mean.

    The upper control limit of a Poisson count whose rate is known from another one, n: the mean r n, and
    `SIGMAS` standard deviations of the gamma-Poisson (negative binomial) distribution, √(r n (1 + r)).
    """
    mean = ratio * np.asarray(n_credible, np.float64)
    return np.asarray(mean + SIGMAS * np.sqrt(mean * (1 + ratio)))


def control(events: Interactions) -> Control:
    """Find the claims of people without an order that are beyond the limit of their item or query, of a day or a month.

    The limit of a day is that of its own credible people or of those of the month, whichever is higher: what sells
    today may be looked at today. Without a credible person there is nothing to compare with, and no limit.
    """
    is_excess = np.zeros(len(events), bool)
    credible, subjects = is_credible(events), _Subjects.of(events)
    judged = np.flatnonzero(~credible & (subjects.row >= 0))
    if not len(judged) or not (credible & (subjects.row >= 0)).any():
        return Control(is_excess)
    reference, n_days = _Reference.of(events, subjects, credible), np.zeros(len(events), np.int64)
    n_days[judged] = _days_seen(events, judged)
    bursts: list[Burst] = []
    for number, kind in enumerate(KINDS):
        rows = judged[KIND_OF_TYPE[events.type[judged]] == number]
        if len(rows):
            cells = _Cells.of(events, subjects.row[rows], rows, n_days[rows], reference)
            ratio = cells.ratio(is_query=kind == SEARCH)
            is_excess[rows] = ~cells.counted(ratio)[cells.of_row]
            bursts += cells.bursts(kind, ratio, subjects)
    return Control(is_excess, tuple(sorted(bursts, key=lambda burst: -burst.n_people / burst.limit)))


def _days_seen(events: Interactions, claims: Rows) -> Rows:
    """Return (m,): on how many days something came from the visitor of each claim; 1 for one who is anonymous."""
    visitor = events.visitor[claims].astype(np.int64)
    identified = visitor >= 0
    pairs = np.unique(np.stack([visitor[identified], events.claim[claims][identified]]), axis=1)
    n_days = np.bincount(pairs[0], minlength=int(visitor.max(initial=-1)) + 1)
    return np.where(identified, np.append(n_days, 1)[visitor], 1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Subjects:
    """What events are about. row (n,): the item, or n_items + the query, however it is written; -1 for neither."""

    row: Rows
    n_items: int
    queries: tuple[str, ...]

    @classmethod
    def of(cls, events: Interactions) -> _Subjects:
        n_items = int(events.item.max(initial=-1)) + 1
        codes: dict[str, int] = {}
        code = np.array([codes.setdefault(folded(query), len(codes)) for query in events.queries], np.int64)
        is_search = (events.type == _SEARCH) & (events.query >= 0)
        row = np.where(events.item >= 0, events.item, -1).astype(np.int64)
        row[is_search] = n_items + code[events.query[is_search]]
        return cls(row, n_items, tuple(codes))


@dataclass(frozen=True, slots=True)
class _Reference:
    """Credible people: subject, day and block (m,) of each, once a day. A block is a month, counted back from the end.

    n_of_day and n_of_block: how many there are, by the keys of `_key`.
    """

    subject: Rows
    day: Rows
    last_day: int
    n_items: int
    of_day: tuple[Rows, Rows] = field(repr=False)
    of_block: tuple[Rows, Rows] = field(repr=False)

    @classmethod
    def of(cls, events: Interactions, subjects: _Subjects, credible: Mask) -> _Reference:
        rows = np.flatnonzero(credible & (subjects.row >= 0))
        n_visitors, n_baskets = int(events.visitor.max(initial=-1)) + 1, int(events.basket.max(initial=-1)) + 1
        basket = events.basket[rows].astype(np.int64)
        nobody = np.where(basket >= 0, n_visitors + basket, n_visitors + n_baskets + rows)
        person = np.where(events.visitor[rows] >= 0, events.visitor[rows], nobody)
        subject, day, _ = np.unique(np.stack([subjects.row[rows], events.day[rows], person]), axis=1)
        last_day = int(events.day.max())
        block = (last_day - day) // MONTH_DAYS
        of_day, of_block = (np.unique(_key(subject, part), return_counts=True) for part in (day, block))
        return cls(subject, day, last_day, subjects.n_items, of_day, of_block)

    def since(self, day: int, *, is_query: bool) -> int:
        """How many there are from a day on, of queries or of items."""
        return int(((self.day >= day) & ((self.subject >= self.n_items) == is_query)).sum())


@dataclass(frozen=True, slots=True)
class _Cells:
    """The people of one kind: one cell for each subject, person and day.

    of_row (n_rows,): the cell of each event; subject, day (n,) and order (n,): cells that are counted first come first;
    day_group and block_group (n,): the cells of one subject in one day and in one month, with the number of credible
    people (n_groups,) of each; block_of_day (n_day_groups,).
    """

    of_row: Rows
    subject: Rows
    day: Rows
    order: Rows
    day_group: Rows
    block_group: Rows
    credible_of_day: FloatArray
    credible_of_block: FloatArray
    block_of_day: Rows
    reference: _Reference = field(repr=False)

    @classmethod
    def of(cls, events: Interactions, subject: Rows, rows: Rows, n_days: Rows, reference: _Reference) -> _Cells:
        key = np.stack([subject, events.claim[rows].astype(np.int64)])
        (subject, claim), first, of_row = np.unique(key, axis=1, return_index=True, return_inverse=True)
        day = events.day[rows][first].astype(np.int64)
        lot = (claim * 2_654_435_761 + subject * 2_246_822_519) % (2**32)  # the same draw each time (Knuth 1998, 6.4)
        order = np.lexsort((lot, -n_days[first]))
        block = (reference.last_day - day) // MONTH_DAYS
        day_keys, day_first, day_group = np.unique(_key(subject, day), return_index=True, return_inverse=True)
        block_keys, block_group = np.unique(_key(subject, block), return_inverse=True)
        return cls(
            of_row.ravel(), subject, day, order, day_group, block_group,
            _looked_up(reference.of_day, day_keys), _looked_up(reference.of_block, block_keys),
            block_group[day_first], reference,
        )  # fmt: skip

    def ratio(self, *, is_query: bool) -> float:
        """Return how many people there are for each credible one since the first of the kind came, winsorised.

        What is beyond the limits does not raise them: the ratio is computed again until it no longer falls.
        """
        n_credible = max(self.reference.since(int(self.day.min()), is_query=is_query), 1)
        n_of_day = np.bincount(self.day_group)
        ratio = min(len(self.subject) / n_credible, MOST_PER_BUYER)
        for _ in range(N_ROUNDS):
            of_day, of_block = self.limits(ratio)
            of_month = np.bincount(self.block_of_day, weights=np.minimum(n_of_day, of_day))
            lower = float(np.minimum(of_month, of_block).sum()) / n_credible
            if lower > 0.99 * ratio:
                break
            ratio = lower
        return ratio

    def limits(self, ratio: float) -> tuple[Rows, Rows]:
        """Return how many people are in control, of each subject on each day, and in each month."""
        month = self.credible_of_block + PRIOR
        usual = control_limit(month, ratio / MONTH_DAYS)[self.block_of_day]
        of_day = np.maximum(control_limit(self.credible_of_day, ratio), usual)
        return _at_least(of_day), _at_least(control_limit(month, ratio))

    def allowed(self, ratio: float) -> tuple[Rows, Rows]:
        """Return how many people count: all within a limit, and beyond it as many as are likely, the mean.

        So who exceeds a limit gains less than who keeps it (a redescending estimator, Hampel 1974).
        """
        month = (self.credible_of_block + PRIOR) * ratio
        of_day = np.maximum(self.credible_of_day * ratio, month[self.block_of_day] / MONTH_DAYS)
        pairs = zip((self.day_group, self.block_group), self.limits(ratio), (of_day, month), strict=True)
        day, block = (np.where(np.bincount(group) > limit, _at_least(mean), limit) for group, limit, mean in pairs)
        return day, block

    def counted(self, ratio: float) -> Mask:
        """Mark the cells (n,) that count: those who came on most days first, then by lot."""
        of_day, of_block = self.allowed(ratio)
        is_counted = np.zeros(len(self.subject), bool)
        first = self.order[_position(self.day_group[self.order]) < of_day[self.day_group[self.order]]]
        is_counted[first[_position(self.block_group[first]) < of_block[self.block_group[first]]]] = True
        return is_counted

    def bursts(self, kind: str, ratio: float, subjects: _Subjects) -> list[Burst]:
        """Return the days and the months with far more people than count."""
        bursts = []
        groups = (self.day_group, self.block_group)
        for group, limits, allowed, n_days in zip(
            groups, self.limits(ratio), self.allowed(ratio), (1, MONTH_DAYS), strict=True
        ):
            n_people = np.bincount(group)
            last_day = np.zeros(len(n_people), np.int64)
            np.maximum.at(last_day, group, self.day)
            subject = np.zeros(len(n_people), np.int64)
            subject[group] = self.subject
            for row in np.flatnonzero((n_people >= FEWEST_ALARMED) & (n_people > ALARMED_RATIO * limits)).tolist():
                number = int(subject[row])
                is_item = number < subjects.n_items
                item, query = (number, "") if is_item else (-1, subjects.queries[number - subjects.n_items])
                bursts.append(
                    Burst(kind, item, query, int(last_day[row]), n_days, int(n_people[row]), int(allowed[row]))
                )
        return bursts


def _key(subject: Rows, part: Rows) -> Rows:
    return np.asarray(subject.astype(np.int64) * 2**20 + part, np.int64)  # a day of the next 900 years fits


def _looked_up(counts: tuple[Rows, Rows], keys: Rows) -> FloatArray:
    names, n = counts
    at = np.minimum(np.searchsorted(names, keys), len(names) - 1)
    return np.where(names[at] == keys, n[at], 0).astype(np.float32)


def _at_least(limit: npt.NDArray[np.float64]) -> Rows:
    return np.maximum(limit, FEWEST_LIMITED).astype(np.int64)


def _position(group: Rows) -> Rows:
    """Return (n,): how many of the same group come before each."""
    order = np.argsort(group, kind="stable")
    arranged = group[order]
    start = np.flatnonzero(np.r_[True, arranged[1:] != arranged[:-1]]) if len(group) else np.empty(0, np.int64)
    length = np.diff(np.append(start, len(group)))
    position = np.empty(len(group), np.int64)
    position[order] = np.arange(len(group)) - np.repeat(start, length)
    return position
