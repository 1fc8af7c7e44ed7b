"""The live rules of merchandisers in memory, compiled so that a list finds its own without looking at all of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from django.db.models import Count, Max, Q, Sum
from django.utils import timezone

from recommender.models import Rule
from recommender.retrieval.base import Mask
from recommender.rules.redirects import query_led_to
from recommender.serving.attributes import column_of
from recommender.serving.shelf import Shelf
from recommender.text.letters import fold
from recommender.text.query import normal_query
from recommender.text.stems import stem
from recommender.text.words import tokens
from recommender.types import IntArray, Request, Slot

HELD_OUT_SHARE = 0.05
"""Of the visitors, by rule: they are not shown what it does, so that its effect can be measured."""

FAR = 100_000
"""Places that lead to the front or to the end of any list."""

LEAST_PROBABILITY = 0.5
"""From this probability on a query is about a category: more likely than about all others together."""

N_CACHED = 16
"""Combinations of rules whose masks and moves are kept."""

_DRAWN = 1 << 32
_MODULUS = (1 << 96) - 1

Stamp = tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LiveRule:
    """A rule in rows of one shelf. rows (n,) int32: its items, ascending; pins: those of a pin in their order.

    starts and ends are seconds; moves: by how many places an item goes up. multiplier and addend draw who is held out.
    """

    id: int
    action: str
    slot: str
    segment_id: int | None
    experiment_id: int | None
    starts: float
    ends: float
    rows: IntArray
    pins: tuple[tuple[int, str], ...]
    position: int
    moves: int
    url: str
    text: str
    words: tuple[str, ...]
    multiplier: int
    addend: int

    def holds_out(self, person: int) -> bool:
        """Whether this person, see `person_number`, is one of those who are not shown the rule, always the same.

        Multiply-add-shift on the hashed key: strongly universal, so that two rules hold out people independently
        (Dietzfelbinger 1996, "Universal hashing and k-wise independent random variables via integer arithmetic").
        Nobody is held out of a rule that an experiment tries: its control is not under it.
        """
        return (
            self.experiment_id is None
            and ((self.multiplier * person + self.addend) & _MODULUS) >> 64 < HELD_OUT_SHARE * _DRAWN
        )


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """By how many places the rules of one list move each item.

    number (n_items,) int32: of an item among the m that any rule of the book moves, from 1 on, else 0. places (m + 1,)
    by this number; the ids of the rules that move item i are rules[starts[i]:starts[i + 1]].
    """

    number: IntArray
    places: IntArray
    rules: tuple[int, ...]
    starts: IntArray

    @classmethod
    def of(cls, rules: Sequence[LiveRule], number: IntArray) -> Moves:
        """Collect the moves of several rules."""
        sizes = [len(rule.rows) for rule in rules]
        moved = np.concatenate([number[rule.rows] for rule in rules])
        n_numbers = int(number.max(initial=0)) + 1
        places = np.bincount(moved, np.repeat([rule.moves for rule in rules], sizes), n_numbers).astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(np.bincount(moved, minlength=n_numbers))]).astype(np.int32)
        ids = np.repeat([rule.id for rule in rules], sizes)[np.argsort(moved, kind="stable")]
        return cls(number, places, tuple(ids.tolist()), starts)

    def of_rows(self, rows: IntArray) -> IntArray:
        """By how many places each of rows (n,) goes up, (n,)."""
        return self.places[self.number[rows]]

    def rules_of(self, row: int) -> tuple[int, ...]:
        """The ids of the rules that move a row."""
        number = self.number[row]
        return self.rules[self.starts[number] : self.starts[number + 1]] if number else ()


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """The rules that one list obeys. allowed (n_items,) bool: what filters and excludes leave, None for all;
    unfiltered: the same without the filters."""

    rules: tuple[LiveRule, ...] = ()
    held_out: tuple[int, ...] = ()
    allowed: Mask | None = None
    unfiltered: Mask | None = None
    moves: Moves | None = None
    pins: tuple[LiveRule, ...] = ()
    redirect: str = ""
    banners: tuple[str, ...] = ()


NOTHING = Applied()


@dataclass(frozen=True, slots=True, eq=False)
class RuleBook:
    """All live rules by what they are for. stamp: the state of the table; sources: its rows, for the next shelf;
    number (n_items,): see `Moves`."""

    sources: tuple[Rule, ...] = ()
    stamp: Stamp = ()
    shelf: Shelf | None = None
    by_slot: Mapping[str, Sequence[LiveRule]] = field(default_factory=dict)
    exact: Mapping[str, Sequence[LiveRule]] = field(default_factory=dict)
    containing: Mapping[str, Sequence[LiveRule]] = field(default_factory=dict)
    by_category: Mapping[str, Sequence[LiveRule]] = field(default_factory=dict)
    number: IntArray = field(default_factory=lambda: np.empty(0, np.int32))
    masks: dict[tuple[int, ...], Mask] = field(default_factory=dict)
    moved: dict[tuple[int, ...], Moves] = field(default_factory=dict)

    def applied(self, request: Request, shelf: Shelf) -> Applied:
        """What the rules make of a request; who is held out of a rule is not shown what it does. No query."""
        if not self.sources or request.among:
            return NOTHING
        matching, held_out = list(self.matching(request, shelf)), frozenset[int]()
        if matching and request.person_key:
            person = person_number(request.person_key)
            held_out = frozenset(rule.id for rule in matching if rule.holds_out(person))
        rules = [rule for rule in matching if rule.id not in held_out] if held_out else matching
        if not rules:
            return Applied(held_out=tuple(sorted(held_out))) if held_out else NOTHING
        by_action: defaultdict[str, list[LiveRule]] = defaultdict(list)
        for rule in rules:
            by_action[rule.action].append(rule)
        excludes, filters = by_action[Rule.Action.EXCLUDE], by_action[Rule.Action.FILTER]
        moving = [*by_action[Rule.Action.BOOST], *by_action[Rule.Action.BURY]]
        return Applied(
            tuple(rules),
            tuple(sorted(held_out)),
            self._mask([*excludes, *filters], len(shelf)),
            self._mask(excludes, len(shelf)),
            self._moves(moving),
            tuple(by_action[Rule.Action.PIN]),
            self._redirect(request, shelf, by_action[Rule.Action.REDIRECT]),
            tuple(rule.text for rule in by_action[Rule.Action.BANNER]),
        )

    def matching(self, request: Request, shelf: Shelf) -> Iterator[LiveRule]:
        """The rules whose conditions a request fulfils: first those that an experiment tries, and of all the closest
        first: the query, words of it, category, slot."""
        at, slot, segment_id = request.context.at.timestamp(), request.slot.value, request.segment_id
        others = []
        for rule in dict.fromkeys(self._candidates(request, shelf)):
            is_for_all = rule.segment_id is None or rule.segment_id == segment_id
            if not (rule.starts <= at < rule.ends and is_for_all and rule.slot in ("", slot)):
                continue
            if rule.experiment_id is None:
                others.append(rule)
            elif rule.experiment_id in request.variants:
                yield rule
        yield from others

    def _redirect(self, request: Request, shelf: Shelf, redirects: Sequence[LiveRule]) -> str:
        """Where the closest redirect leads; "" where others would lead on from there for ever, also for who is held out
        of one of them."""
        if not redirects:
            return ""
        address = redirects[0].url
        seen = {address}
        while query := query_led_to(address):
            there = self.matching(replace(request, query=query), shelf)
            following = next((rule.url for rule in there if rule.action == Rule.Action.REDIRECT), address)
            if following == address:
                break
            if following in seen:
                return ""
            seen.add(following)
            address = following
        return redirects[0].url

    def _candidates(self, request: Request, shelf: Shelf) -> Iterator[LiveRule]:
        if request.query and self.exact:
            yield from self.exact.get(fold(request.query), ())
        if request.query and self.containing:
            words = query_words(request.query)
            for start, word in enumerate(words):
                for rule in self.containing.get(word, ()):
                    if words[start : start + len(rule.words)] == rule.words:
                        yield rule
        if self.by_category:
            for name in _categories(request, shelf):
                yield from self.by_category.get(fold(name), ())
        yield from self.by_slot.get(request.slot.value, ())

    def _mask(self, rules: Sequence[LiveRule], n_items: int) -> Mask | None:
        """What the filters and excludes leave, (n_items,) bool; None for everything."""
        if not rules:
            return None
        key = tuple(rule.id for rule in rules)
        if (mask := self.masks.get(key)) is None:
            mask = np.ones(n_items, bool)
            for rule in rules:
                is_named = np.zeros(n_items, bool)
                is_named[rule.rows] = True
                mask &= is_named if rule.action == Rule.Action.FILTER else ~is_named
            _remember(self.masks, key, mask)
        return mask

    def _moves(self, rules: Sequence[LiveRule]) -> Moves | None:
        if not rules:
            return None
        key = tuple(rule.id for rule in rules)
        if (moves := self.moved.get(key)) is None:
            moves = Moves.of(rules, self.number)
            _remember(self.moved, key, moves)
        return moves


def person_number(person_key: str) -> int:
    """A number of 64 bits by which rules draw whom they hold out."""
    return int.from_bytes(hashlib.blake2b(person_key.encode(), digest_size=8).digest(), "little")


def stamp() -> Stamp:
    """The state of the live rules. One query."""
    counted = _live().aggregate(n=Count("pk"), newest=Max("updated_at"), versions=Sum("version"))
    return counted["n"], counted["newest"], counted["versions"]


def renewed(book: RuleBook, shelf: Shelf) -> RuleBook:
    """The rules as they are now, in rows of the shelf: the same object if neither has changed. One query, two where the
    rules have changed."""
    now = stamp()
    if now == book.stamp and (shelf is book.shelf or not book.sources):
        return book
    sources = book.sources if now == book.stamp else live_rules()
    return compiled(sources, shelf, now)


def compiled(rules: Iterable[Rule], shelf: Shelf, state: Stamp = ()) -> RuleBook:
    """A book of these rules, whatever their state. No query."""
    sources = tuple(rules)
    by_slot: defaultdict[str, list[LiveRule]] = defaultdict(list)
    exact: defaultdict[str, list[LiveRule]] = defaultdict(list)
    containing: defaultdict[str, list[LiveRule]] = defaultdict(list)
    by_category: defaultdict[str, list[LiveRule]] = defaultdict(list)
    number = np.zeros(len(shelf), np.int32)
    for rule in sources:
        live = _compiled(rule, shelf)
        if live.moves:
            number[live.rows] = 1
        if rule.match == Rule.Match.EXACT:
            exact[fold(normal_query(rule.query))].append(live)
        elif rule.match == Rule.Match.CONTAINS:
            containing[next(iter(live.words), "")].append(live)
        elif rule.match == Rule.Match.CATEGORY:
            by_category[fold(rule.query)].append(live)
        else:
            for slot in Slot if not rule.slot else (rule.slot,):
                by_slot[str(slot)].append(live)
    number = np.where(number, np.cumsum(number), 0).astype(np.int32)
    return RuleBook(sources, state, shelf, dict(by_slot), dict(exact), dict(containing), dict(by_category), number)


def rows_of(rule: Rule, shelf: Shelf) -> IntArray:
    """The rows (n,) of the items that a rule names, ascending."""
    if rule.item_ids:
        rows = [shelf.row(item_id) for item_id in rule.item_ids]
        return np.unique(np.array([row for row in rows if row >= 0], np.int32))
    if not rule.attribute:
        return np.empty(0, np.int32)
    column = column_of(shelf, rule.attribute)
    return np.flatnonzero(np.isin(column.codes, [column.code(value) for value in rule.values])).astype(np.int32)


def query_words(query: str) -> tuple[str, ...]:
    """The words of a query by which rules tell whether it contains theirs: folded, singular and plural alike."""
    return tuple(map(stem, tokens(query)))


def live_rules() -> tuple[Rule, ...]:
    """The rules that are published and have not ended, the oldest first. One query."""
    return tuple(_live().order_by("pk"))


def _live() -> Any:
    return Rule.objects.filter(Q(ends_at=None) | Q(ends_at__gt=timezone.now()), state=Rule.State.LIVE)


def _compiled(rule: Rule, shelf: Shelf) -> LiveRule:
    digest = hashlib.blake2b(f"rule {rule.pk}".encode(), digest_size=24).digest()
    moves = rule.places or FAR
    return LiveRule(
        id=rule.pk or 0,
        action=rule.action,
        slot=rule.slot,
        segment_id=rule.segment_id,
        experiment_id=rule.experiment_id,
        starts=rule.starts_at.timestamp() if rule.starts_at else -np.inf,
        ends=rule.ends_at.timestamp() if rule.ends_at else np.inf,
        rows=rows_of(rule, shelf),
        pins=tuple((shelf.row(item_id), item_id) for item_id in rule.item_ids),
        position=rule.position or 1,
        moves={Rule.Action.BOOST: moves, Rule.Action.BURY: -moves}.get(Rule.Action(rule.action), 0),
        url=rule.url,
        text=rule.text,
        words=query_words(rule.query) if rule.match == Rule.Match.CONTAINS else (),
        multiplier=int.from_bytes(digest[:12], "little"),
        addend=int.from_bytes(digest[12:], "little"),
    )


def _categories(request: Request, shelf: Shelf) -> Iterator[str]:
    """The category that a search is narrowed to or is about, or that of the item beside the list."""
    if request.slot != Slot.SEARCH:
        row = shelf.row(request.item_id) if request.item_id else -1
        code = int(shelf.items.category[row]) if row >= 0 else -1
        if code >= 0:
            yield shelf.items.category_names[code]
        return
    chosen = request.filters.get("category", ())
    yield from (chosen,) if isinstance(chosen, str) else chosen
    likely = shelf.understand(request.query).categories[:1] if request.query else ()
    yield from (name for name, probability in likely if probability >= LEAST_PROBABILITY)


def _remember(cache: dict[tuple[int, ...], Any], key: tuple[int, ...], value: Any) -> None:
    if len(cache) >= N_CACHED:
        cache.clear()
    cache[key] = value
