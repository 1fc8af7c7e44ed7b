"""Proposes synonyms: wordings that lead shoppers to the same items more often than chance explains."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile
from math import log
from operator import eq
from typing import NamedTuple

from recommender.text.letters import fold
from recommender.text.past_queries import PastQuery
from recommender.text.stems import stem
from recommender.text.words import LINKING_WORDS

FEWEST_EVIDENCE = 5
"""Visitors that each of the two wordings needs, over all pairs of queries that differ by them."""

FEWEST_SHARED = 2
MIN_SURPRISE = 10.83
"""Dunning 1993, "Accurate methods for the statistics of surprise and coincidence": a log-likelihood ratio that chance
reaches once in a thousand (chi-squared, one degree of freedom)."""

MIN_CONTAINED = 0.5
"""Least share of the visits of one wording that went to items of the other, for the other to stand for it."""

MAX_QUERIES_OF_ITEM = 200
MAX_DIFFERENT_WORDS = 3

Visits = Mapping[int, int]
"""Row of an item to the number of visitors that a query led there."""


@dataclass(frozen=True, slots=True)
class LearnedSynonym:
    """Typing `words` should also find what `meaning` finds, and the reverse where `is_two_way`.

    evidence: visitors of the rarer of the two; surprise: the largest log-likelihood ratio of a pair of queries.
    """

    words: str
    meaning: str
    is_two_way: bool
    evidence: int
    surprise: float


class _Pair(NamedTuple):
    """Two queries that differ by two wordings: visits of each, the share that the other also led to, the ratio."""

    n_first: int
    n_second: int
    first_in_second: float
    second_in_first: float
    surprise: float

    def flipped(self) -> _Pair:
        return _Pair(self.n_second, self.n_first, self.second_in_first, self.first_in_second, self.surprise)


def learned_synonyms(
    queries: Sequence[PastQuery], *, fewest: int = FEWEST_EVIDENCE, surprise: float = MIN_SURPRISE
) -> list[LearnedSynonym]:
    """Find synonyms, most evidence first.

    Counted are pairs of queries that share items beyond chance and differ in one run of words: "red sofa" and "red
    couch". Words that stand together in one query, or are plural and singular of each other, are no synonyms.
    """
    visits = {past.query: dict(past.items) for past in queries if past.items}
    all_visits: Counter[int] = Counter()
    for items in visits.values():
        all_visits.update(items)
    evidence: dict[tuple[str, str], list[_Pair]] = defaultdict(list)
    for query, other in _sharing_queries(visits):
        wordings = _difference(query, other)
        if wordings is None:
            continue
        first, second = visits[query], visits[other]
        ratio = min(_log_likelihood_ratio(first, second, all_visits), _log_likelihood_ratio(second, first, all_visits))
        if ratio >= surprise:
            pair = _Pair(
                sum(first.values()), sum(second.values()), _contained(first, second), _contained(second, first), ratio
            )
            evidence[min(wordings, wordings[::-1])].append(pair if wordings <= wordings[::-1] else pair.flipped())
    together = {frozenset(pair) for query in visits for pair in combinations(sorted(set(query.split())), 2)}
    apart = ((wordings, pairs) for wordings, pairs in evidence.items() if frozenset(wordings) not in together)
    synonyms = [synonym for wordings, pairs in apart if (synonym := _synonym(*wordings, pairs)) is not None]
    return sorted(
        (synonym for synonym in synonyms if synonym.evidence >= fewest),
        key=lambda synonym: (-synonym.evidence, synonym.words),
    )


def _sharing_queries(visits: Mapping[str, Visits]) -> list[tuple[str, str]]:
    """Return the pairs of queries that led to at least `FEWEST_SHARED` common items, or to the only item of either."""
    by_item: dict[int, list[str]] = defaultdict(list)
    for query in sorted(visits):
        for row in visits[query]:
            by_item[row].append(query)
    shared: Counter[tuple[str, str]] = Counter()
    for queries in by_item.values():
        shared.update(combinations(queries[:MAX_QUERIES_OF_ITEM], 2))
    return sorted(
        (query, other)
        for (query, other), n in shared.items()
        if n >= min(FEWEST_SHARED, len(visits[query]), len(visits[other]))
    )


def _difference(query: str, other: str) -> tuple[str, str] | None:
    """Return the runs of words by which two queries differ; None where they differ elsewhere too, or not at all."""
    first, second = query.split(), other.split()
    n_before = _n_equal(first, second)
    n_after = _n_equal(first[n_before:][::-1], second[n_before:][::-1])
    left, right = first[n_before : len(first) - n_after], second[n_before : len(second) - n_after]
    stems = [{stem(fold(word)) for word in part} - LINKING_WORDS for part in (left, right)]
    if not all(stems) or stems[0] & stems[1] or max(len(left), len(right)) > MAX_DIFFERENT_WORDS:
        return None
    if any(letter.isdigit() for letter in "".join((*left, *right))):
        return None
    return " ".join(left), " ".join(right)


def _n_equal(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many words the two begin with in common."""
    return sum(1 for _ in takewhile(bool, map(eq, first, second)))


def _log_likelihood_ratio(first: Visits, second: Visits, all_visits: Visits) -> float:
    """Dunning 1993, section 4: does `first` lead to the items of `second` more than all other queries do?

    The table is (first or the others) x (to an item of second or not); all_visits: of all queries together.
    """
    shared = sum(count for row, count in first.items() if row in second)
    others = sum(all_visits.values()) - sum(first.values()) - sum(second.values())
    others_shared = sum(all_visits[row] - first.get(row, 0) - count for row, count in second.items())
    table = (shared, sum(first.values()) - shared, others_shared, others - others_shared)
    if shared * others <= others_shared * sum(first.values()) and others:
        return 0.0  # not more than chance
    rows, columns = (table[0] + table[1], table[2] + table[3]), (table[0] + table[2], table[1] + table[3])
    return 2 * (_entropy(table) - _entropy(rows) - _entropy(columns) + _entropy((sum(table),)))


def _entropy(counts: Iterable[int]) -> float:
    return sum(count * log(count) for count in counts if count > 0)


def _contained(first: Visits, second: Visits) -> float:
    """Return the share of the visits of `first` that went to items of `second`."""
    return sum(count for row, count in first.items() if row in second) / max(sum(first.values()), 1)


def _synonym(first: str, second: str, pairs: Sequence[_Pair]) -> LearnedSynonym | None:
    """Decide over all pairs of queries which wording may stand for the other: one, both or none."""
    n_first, n_second = sum(pair.n_first for pair in pairs), sum(pair.n_second for pair in pairs)
    first_in_second = sum(pair.n_first * pair.first_in_second for pair in pairs) / max(n_first, 1) >= MIN_CONTAINED
    second_in_first = sum(pair.n_second * pair.second_in_first for pair in pairs) / max(n_second, 1) >= MIN_CONTAINED
    if not first_in_second and not second_in_first:
        return None
    wordings = (first, second) if first_in_second else (second, first)
    is_two_way = first_in_second and second_in_first
    return LearnedSynonym(*wordings, is_two_way, min(n_first, n_second), max(pair.surprise for pair in pairs))
