"""Orders the matches of a search that answer equally well: by what sells, and by what this shopper likes.

Both decide much where the query leaves it open, and nothing where it is sure. See docs/serving.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from recommender.features.orders import purchases
from recommender.features.persona import CATEGORY_PRIOR, evidence
from recommender.features.profiles import without_item
from recommender.features.shop_state import COUNT_DAYS
from recommender.retrieval.base import Candidates
from recommender.serving.corrections import items_of
from recommender.serving.nobody import log_odds
from recommender.serving.policy import Order
from recommender.serving.question import Question
from recommender.serving.session import session_looks
from recommender.types import FloatArray, IntArray

SALES_WEIGHT = 0.04
"""Grades per unit of the log of sales. Chosen on half of the demo's customers (`benchmarks.personal_tuning`, bundle 0,
MRR of the item that was bought later): .318 without, .337 with .02, .353 with .04, .364 with .08. On 400 graded queries
of a hardware shop NDCG@10 changed by -.007 with sales drawn by lot, the worst case."""

LIKING_WEIGHT = 0.04
"""Grades per unit of log-odds. On the same half it gains 8.5 % over the order with sales; .08 gains 8.3 %. On 400
graded queries of a hardware shop, likings that have nothing to do with the query change NDCG@10 by -.0026, with .08 by
-.0053."""

TEMPERATURE, N_OPEN = 0.02, 50
"""Of the softmax over the first grades: items within .02 of each other answer about equally well."""

LEAST_AMBIGUITY = 0.15
"""Below it the order is that of the grades: two items out of 50 that answer equally well are at .18."""

SESSION_LIKING = 4.0
"""Log-odds of an item with just the words of what was looked at in this session. Set by hand, so that after three red
mugs "mug" lists red ones first; `benchmarks.personal_search` measures what it is worth."""

PINNED_LIKING = SESSION_LIKING
"""Least log-odds of an item of a pinned interest; where something is liked more, as much as that."""

N_SESSION_ITEMS = 10
SALES_COLUMN = COUNT_DAYS.index(30)

OWN_LIKING, WORDS_LIKING = 2.0, 2.5
"""Log-odds where no head is trained: per log of one's own orders of the item, and of an item with just the words of the
history. Set by hand; `benchmarks.personal_search --untrained` measures what they are worth."""


@dataclass(frozen=True, slots=True)
class Preference:
    """The matches of a search as this shopper sees them.

    graded: rows (n,) and their grades, best first; answers (n,): how well the words of each answer the query, which
    no preference overrides. rows (n,) int32 and scores (n,) float32: in the order for this shopper; lifted (m,) int32:
    rows that stand higher in it than for somebody without a past. by_sales and by_liking (n,), in the order of graded:
    what sales and the shopper's likings add to the grade; empty where they add nothing.
    """

    question: Question
    graded: Candidates
    answers: IntArray
    rows: IntArray
    scores: FloatArray
    lifted: IntArray = field(default_factory=lambda: np.empty(0, np.int32))
    by_sales: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))
    by_liking: FloatArray = field(default_factory=lambda: np.empty(0, np.float32))

    @classmethod
    def of(cls, question: Question, graded: Candidates, answers: IntArray) -> Preference:
        """Order the matches: score = grade + ambiguity · (w · sales + v · liking).

        With the grade and the others as log-probabilities that do not depend on each other, given the item, the sum
        orders by P(item | query, shopper).
        """
        rows, grades = graded.pair()
        openness = ambiguity(grades)
        if openness < LEAST_AMBIGUITY:
            return cls(question, graded, answers, rows, grades)
        by_sales = openness * SALES_WEIGHT * _centred(_sales(question, rows))
        usual_scores = grades + by_sales
        usual = _order(usual_scores, answers)
        liking = _liking(question, rows)
        if liking is None:
            scores = usual_scores[usual].astype(np.float32)
            return cls(question, graded, answers, rows[usual], scores, by_sales=by_sales)
        by_liking = openness * LIKING_WEIGHT * question.request.personal_weight * liking
        scores = usual_scores + by_liking
        order = _order(scores, answers)
        lifted = rows[np.argsort(order) < np.argsort(usual)]
        scores = scores[order].astype(np.float32)
        return cls(question, graded, answers, rows[order], scores, lifted, by_sales, by_liking)

    def positions(self) -> dict[int, int]:
        """The position of each row."""
        return {row: position for position, row in enumerate(self.rows.tolist())}

    def without(self, item: int) -> Preference:
        """The same matches if the shopper had done nothing with one item."""
        profile = without_item(self.question.profile, item)
        return Preference.of(replace(self.question, profile=profile), self.graded, self.answers)


def ambiguity(grades: FloatArray) -> float:
    """Return how open a query is, 0 to 1: the entropy of a softmax over the first grades (n,), as a share of its most.

    0 where one item answers it best by far, 1 where all answer equally well. Personal order helps a search whose
    clicks have a high entropy, and hardly any other (Dou, Song and Wen 2007, "A large-scale evaluation and analysis of
    personalized search strategies"; Teevan, Dumais and Liebling 2008, "To personalize or not to personalize"). Grades
    stand in for the clicks, which a small shop does not have.
    """
    first = np.sort(grades)[::-1][:N_OPEN].astype(np.float64)
    if len(first) < 2:
        return 0.0
    share = np.exp((first - first[0]) / TEMPERATURE)
    share /= share.sum()
    entropy = -float(share @ np.log(np.maximum(share, 1e-300)))
    return entropy / float(np.log(len(first)))


def _order(scores: FloatArray, answers: IntArray) -> Order:
    """Order by score (n,) those that answer equally well, answers (n,); the positions of each kind stay with it."""
    order = np.arange(len(scores))
    for answer in np.unique(answers):
        same = np.flatnonzero(answers == answer)
        order[same] = same[np.argsort(-scores[same], kind="stable")]
    return order


def _centred(values: FloatArray) -> FloatArray:
    """Return values (n,) beside the middle of the first, so that scores stay near the grades."""
    return np.asarray(values - np.median(values[:N_OPEN]), np.float32)


def _sales(question: Question, rows: IntArray) -> FloatArray:
    """Return (n,): log of the sales of 30 days beside the mean item's."""
    return question.served.shelf.state.popularity[rows, SALES_COLUMN]


def _liking(question: Question, rows: IntArray) -> FloatArray | None:
    """Return (n,): log-odds by which the shopper is likelier to want each of rows (n,) than somebody without a past.

    None where nothing is known of the shopper, or where the shop does not want it.
    """
    pinned = question.request.pinned
    if not question.request.personal_weight or not (len(question.profile.item) or pinned):
        return None
    looks = session_looks(question, N_SESSION_ITEMS)
    session = SESSION_LIKING * _words_alike(question, rows, looks, np.ones(len(looks), np.float32))
    trained = _trained_liking(question, rows)
    liking = session + (_plain_liking(question, rows) if trained is None else trained)
    if pinned and len(rows):
        is_pinned = items_of(question.served.shelf, pinned)[rows]
        liking = np.where(is_pinned, np.maximum(liking.max(), PINNED_LIKING), liking)
    return _centred(liking)


def _trained_liking(question: Question, rows: IntArray) -> FloatArray | None:
    """Return (n,): the difference that the shopper's past makes to the log-odds of the head.

    None without vectors, and without a head: a bundle may have arms for its lists alone.
    """
    ranker = question.served.ranker
    if ranker is None or ranker.head is None:
        return None
    own, usual = log_odds(question, rows), question.served.nobody.log_odds(question, rows)
    return None if own is None or usual is None else own - usual


def _plain_liking(question: Question, rows: IntArray) -> FloatArray:
    """Return (n,) by a formula over own orders and the words of the history."""
    profile = question.profile
    n_orders = np.bincount(purchases(profile).item, minlength=len(question.served.shelf))[rows]
    words = _words_alike(question, rows, *evidence(profile))
    return np.asarray(OWN_LIKING * np.log1p(n_orders) + WORDS_LIKING * words, np.float32)


def _words_alike(question: Question, rows: IntArray, others: IntArray, mass: FloatArray) -> FloatArray:
    """Return (n,) in [0, 1]: cosine of the words of rows (n,) with those of others (m,), each times its mass (m,).

    A word counts by how few of the rows have it: among mugs, "mug" tells nothing and "red" tells something. Numbers
    tell a size, which is no liking. Little evidence is shrunk towards none.
    """
    if not len(others):
        return np.zeros(len(rows), np.float32)
    table = question.served.shelf.wording
    words, other_words = table.word[rows], table.word[others]
    n_with = np.minimum(np.bincount(words[words >= 0], minlength=len(table.ids)), len(rows))
    rarity = np.append(np.log((len(rows) + 1) / (n_with + 1)), 0)  # what is no word, -1, reads the last value
    rarity[table.is_number] = 0
    each = np.broadcast_to(mass[:, None], other_words.shape)
    liked = np.bincount(other_words[other_words >= 0], weights=each[other_words >= 0], minlength=len(rarity)) * rarity
    weight = rarity[words]
    length = np.linalg.norm(liked) * np.linalg.norm(weight, axis=1)
    cosine = (liked[words] * weight).sum(axis=1) / np.maximum(length, 1e-9)
    return np.asarray(cosine * mass.sum() / (mass.sum() + CATEGORY_PRIOR), np.float32)
