"""Events in, what each query led to out, and the words that lead to the same items: pure, of many visitors only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log

from recommender.durations import SESSION_SECONDS
from recommender.tables import Interactions
from recommender.text.words import LINKING_WORDS, fold, folded, stem, words
from recommender.types import EVENT_CODES, EventType

FEWEST_VISITORS = 3
"""A query of fewer visitors is theirs alone: it is neither stored nor shown to anybody."""

MAX_ITEMS = 20
FEWEST_EVIDENCE = 5
"""Visitors that each of two wordings must have behind it, over all pairs of queries that differ by them."""

FEWEST_SHARED = 2
MIN_SURPRISE = 10.83
"""Dunning 1993, "Accurate methods for the statistics of surprise and coincidence": a log-likelihood ratio that chance
reaches once in a thousand (chi-squared, one degree of freedom)."""

MIN_CONTAINED = 0.5
"""Share of what one wording led to that the other led to as well, from which it may stand for it."""

MAX_QUERIES_OF_ITEM = 200

TAKEN = frozenset(
    EVENT_CODES[kind]
    for kind in (EventType.SELECT_ITEM, EventType.VIEW_ITEM, EventType.ADD_TO_CART, EventType.PURCHASE)
)


@dataclass(frozen=True, slots=True)
class AskedQuery:
    """A query of several visitors: `items` are (row, visitors that it led there), most first."""

    query: str
    n_visitors: int
    n_searches: int
    last_at: float
    items: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class LearnedSynonym:
    """Typing `words` should find what `meaning` finds, and the reverse where `is_two_way`.

    evidence: the fewer of the visitors behind the two; surprise: the largest log-likelihood ratio of a pair of queries.
    """

    words: str
    meaning: str
    is_two_way: bool
    evidence: int
    surprise: float


def normalised(query: str) -> str:
    """Return the words of a query in lower case, as they were typed, without punctuation."""
    return " ".join(word.shown for word in words(query))


def asked_queries(interactions: Interactions, *, fewest: int = FEWEST_VISITORS) -> list[AskedQuery]:
    """Count the queries of at least `fewest` known visitors, and what each led them to; most visitors first."""
    asked: dict[str, set[int]] = defaultdict(set)
    led: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    n_searches: Counter[str] = Counter()
    last_at: dict[str, float] = {}
    for query, visitor, time, taken in _searches(interactions):
        asked[query].add(visitor)
        n_searches[query] += 1
        last_at[query] = max(time, last_at.get(query, 0.0))
        for row in taken:
            led[query][row].add(visitor)
    found = [
        AskedQuery(query, len(visitors), n_searches[query], last_at[query], _counted(led[query]))
        for query, visitors in asked.items()
        if len(visitors) >= fewest
    ]
    return sorted(found, key=lambda one: (-one.n_visitors, one.query))


def learned_synonyms(
    asked: Sequence[AskedQuery], *, fewest: int = FEWEST_EVIDENCE, surprise: float = MIN_SURPRISE
) -> list[LearnedSynonym]:
    """Find wordings that lead to the same items more often than chance; most evidence first.

    Two queries count that share items beyond chance and differ in one run of words: "red sofa" and "red couch". Words
    that stand beside each other in a query, or are plural and singular of one, are no synonyms.
    """
    led = {one.query: dict(one.items) for one in asked if one.items}
    led_to: Counter[int] = Counter()
    for items in led.values():
        led_to.update(items)
    evidence: dict[tuple[str, str], list[tuple[int, int, float, float, float]]] = defaultdict(list)
    for one, other in _sharing_queries(led):
        parts = _difference(one, other)
        if parts is None:
            continue
        first, second = led[one], led[other]
        ratio = min(_log_likelihood_ratio(first, second, led_to), _log_likelihood_ratio(second, first, led_to))
        if ratio >= surprise:
            pair = (sum(first.values()), sum(second.values()), *_contained(first, second), ratio)
            flipped = (pair[1], pair[0], pair[3], pair[2], ratio)
            evidence[min(parts, parts[::-1])].append(pair if parts <= parts[::-1] else flipped)
    together = _said_together(led)
    found = [_synonym(parts, pairs) for parts, pairs in evidence.items() if frozenset(parts) not in together]
    kept = [synonym for synonym in found if synonym is not None and synonym.evidence >= fewest]
    return sorted(kept, key=lambda synonym: (-synonym.evidence, synonym.words))


def _searches(interactions: Interactions) -> Iterable[tuple[str, int, float, list[int]]]:
    """Give each search of a known visitor as (query, visitor, time, rows taken up), ended by the next or by time."""
    search = EVENT_CODES[EventType.SEARCH]
    names = _spellings(interactions)
    open_searches: dict[int, tuple[str, float, list[int]]] = {}
    columns = (interactions.visitor, interactions.type, interactions.time, interactions.item, interactions.query)
    for visitor, kind, time, item, query in zip(*(column.tolist() for column in columns), strict=True):
        if visitor < 0:
            continue
        if kind == search and query >= 0 and names[query]:
            if visitor in open_searches:
                text, started, taken = open_searches[visitor]
                yield text, visitor, started, taken
            open_searches[visitor] = (names[query], time, [])
        elif kind in TAKEN and item >= 0 and visitor in open_searches:
            text, started, taken = open_searches[visitor]
            if time - started <= SESSION_SECONDS:
                taken.append(item)
    for visitor, (text, started, taken) in open_searches.items():
        yield text, visitor, started, taken


def _spellings(interactions: Interactions) -> list[str]:
    """Return each query as most write it, of those that differ in accents, letters of a keyboard or hyphens alone."""
    shown = [normalised(query) for query in interactions.queries]
    keys = [folded(query) for query in interactions.queries]
    n_written: dict[str, Counter[str]] = defaultdict(Counter)
    for place in interactions.query.tolist():
        if place >= 0:
            n_written[keys[place]][shown[place]] += 1
    commonest = {key: min(forms, key=lambda form: (-forms[form], form)) for key, forms in n_written.items()}
    return [commonest.get(key, form) for key, form in zip(keys, shown, strict=True)]


def _counted(led: Mapping[int, set[int]]) -> tuple[tuple[int, int], ...]:
    counted = sorted(((row, len(visitors)) for row, visitors in led.items()), key=lambda pair: (-pair[1], pair[0]))
    return tuple(counted[:MAX_ITEMS])


def _sharing_queries(led: Mapping[str, Mapping[int, int]]) -> list[tuple[str, str]]:
    """Return the pairs of queries that led to at least `FEWEST_SHARED` items, or to the only one of either."""
    by_item: dict[int, list[str]] = defaultdict(list)
    for query in sorted(led):
        for row in led[query]:
            by_item[row].append(query)
    shared: Counter[tuple[str, str]] = Counter()
    for queries in by_item.values():
        shared.update(combinations(queries[:MAX_QUERIES_OF_ITEM], 2))
    return sorted(
        (one, other) for (one, other), n in shared.items() if n >= min(FEWEST_SHARED, len(led[one]), len(led[other]))
    )


def _difference(one: str, other: str) -> tuple[str, str] | None:
    """Return the runs of words by which two queries differ; None where they differ elsewhere too, or by nothing."""
    first, second = one.split(), other.split()
    n_before = next(
        (place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    n_after = 0
    while n_after < min(len(first), len(second)) - n_before and first[-1 - n_after] == second[-1 - n_after]:
        n_after += 1
    left = first[n_before : len(first) - n_after]
    right = second[n_before : len(second) - n_after]
    stems = [{stem(fold(word)) for word in part} - LINKING_WORDS for part in (left, right)]
    if not all(stems) or stems[0] & stems[1] or max(len(left), len(right)) > 3:
        return None
    if any(letter.isdigit() for letter in (*"".join(left), *"".join(right))):
        return None
    return " ".join(left), " ".join(right)


def _log_likelihood_ratio(first: Mapping[int, int], second: Mapping[int, int], led_to: Mapping[int, int]) -> float:
    """Dunning 1993, section 4: does `first` lead to the items of `second` more than all other queries do?

    led_to: how often any query led to each row. The table is (first or the others) x (to an item of second or not).
    """
    shared = sum(count for row, count in first.items() if row in second)
    others = sum(led_to.values()) - sum(first.values()) - sum(second.values())
    others_shared = sum(led_to[row] - first.get(row, 0) - count for row, count in second.items())
    table = (shared, sum(first.values()) - shared, others_shared, others - others_shared)
    if shared * others <= others_shared * sum(first.values()) and others:
        return 0.0  # not more than chance
    rows, columns = (table[0] + table[1], table[2] + table[3]), (table[0] + table[2], table[1] + table[3])
    return 2 * (_entropy(table) - _entropy(rows) - _entropy(columns) + _entropy((sum(table),)))


def _entropy(counts: Iterable[int]) -> float:
    return sum(count * log(count) for count in counts if count > 0)


def _contained(first: Mapping[int, int], second: Mapping[int, int]) -> tuple[float, float]:
    """Return the shares of what each led to that the other led to as well."""
    in_second = sum(count for row, count in first.items() if row in second) / max(sum(first.values()), 1)
    in_first = sum(count for row, count in second.items() if row in first) / max(sum(second.values()), 1)
    return in_second, in_first


def _said_together(led: Iterable[str]) -> set[frozenset[str]]:
    """Return the pairs of words that stand in one query: who says both does not mean the same by them."""
    return {frozenset(pair) for query in led for pair in combinations(sorted(set(query.split())), 2)}


def _synonym(parts: tuple[str, str], pairs: Sequence[tuple[int, int, float, float, float]]) -> LearnedSynonym | None:
    """Weigh the pairs of queries that differ by `parts`: the wording that leads where the other does stands for it."""
    n_first, n_second = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    in_second = sum(pair[0] * pair[2] for pair in pairs) / max(n_first, 1)
    in_first = sum(pair[1] * pair[3] for pair in pairs) / max(n_second, 1)
    strength = max(pair[4] for pair in pairs)
    evidence = min(n_first, n_second)
    if in_second >= MIN_CONTAINED and in_first >= MIN_CONTAINED:
        return LearnedSynonym(parts[0], parts[1], True, evidence, strength)
    if in_second >= MIN_CONTAINED:
        return LearnedSynonym(parts[0], parts[1], False, evidence, strength)
    if in_first >= MIN_CONTAINED:
        return LearnedSynonym(parts[1], parts[0], False, evidence, strength)
    return None
