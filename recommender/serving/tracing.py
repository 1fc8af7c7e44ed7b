"""Tells how a list came about: where each retriever had an item, what became of a query's words, what moved an item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from recommender.retrieval.base import Candidates, Wanted
from recommender.retrieval.candidates import chosen_with, sources
from recommender.retrieval.lexical.lexicon import CODE_SIGN, QUANTITY_SIGN
from recommender.retrieval.lexical.synonyms import SYNONYM
from recommender.retrieval.lexical.terms import LOOSE, Term
from recommender.retrieval.popular import PopularRetriever, popularity
from recommender.serving.lists import near_to, ordered_with_cart, wanted_at_home
from recommender.serving.question import Listed, Question
from recommender.serving.ruling import Ruled
from recommender.serving.search import N_CANDIDATES, by_meaning
from recommender.serving.shelf import Shelf
from recommender.text.words import tokens, words
from recommender.types import IntArray, Intent, Relaxation, Role, Slot

SIGNS = f"{QUANTITY_SIGN}{CODE_SIGN}"

N_VARIANTS = 6
"""Words of the catalogue that are named for one word of a query, the best first."""

SYNONYMOUS, OTHER_FORM, GUESSED = "synonym", "form", "guess"

Places = Mapping[int, int]
"""The place of each row in one list, from 1 on."""


@dataclass(frozen=True, slots=True)
class AlsoFound:
    """Words of the catalogue that count as a word of the query: why, and how much of an exact match that is."""

    text: str
    why: str
    weight: float


@dataclass(frozen=True, slots=True)
class QueryWord:
    """One word of a query. typed: as it was typed, understood: as it was searched, which differs where it was
    corrected; also: what counts as it; is_dropped: it was given up, as no item has it beside the others; is_optional:
    an item need not have it; n_items: how many have it or what counts as it."""

    typed: str
    understood: str
    also: tuple[AlsoFound, ...] = ()
    is_optional: bool = False
    is_dropped: bool = False
    n_items: int = 0

    @property
    def is_corrected(self) -> bool:
        """Whether another word was searched than the one that was typed."""
        return self.typed.casefold() != self.understood.casefold()


@dataclass(frozen=True, slots=True)
class Standing:
    """Why an item stands where it does, beside its score.

    by_score: its place by score alone among what is listed; answers: how well its words answer the query, 0 to 3, -1
    outside a search; is_led: the session brought it forward; is_added: only a rule brings it into the list.
    """

    by_score: int
    is_available: bool
    is_near: bool = False
    answers: int = -1
    is_led: bool = False
    is_due: bool = False
    is_added: bool = False


def query_words(query: str, listed: Listed, shelf: Shelf) -> tuple[QueryWord, ...]:
    """What the search made of each word of a query that it searched; none for a list that answers no query."""
    text = listed.intent.text if listed.intent is not None else query
    parsed, synonyms = shelf.lexical.parsed(text), _synonyms(text, shelf)
    typed = [word.written for word in words(text)]
    if len(typed) != len(parsed.words):  # runs without spaces were cut into words
        typed = list(parsed.words)
    remaining = [*tokens(listed.relaxed_query)] if listed.relaxed is Relaxation.WORDS else None
    by_position: dict[int, list[Term]] = {}
    for term in parsed.terms:
        by_position.setdefault(term.position, []).append(term)
    return tuple(
        QueryWord(
            typed[position],
            understood,
            _also(by_position.get(position, []), understood, shelf, synonyms),
            all(term.is_optional for term in by_position.get(position, [])),
            remaining is not None and not set(tokens(understood)) <= set(remaining),
            _n_items(by_position.get(position, []), shelf),
        )
        for position, understood in enumerate(parsed.words)
    )


def retrieved(question: Question, listed: Listed) -> dict[str, Places]:
    """The place of each item at every source of candidates of a list, by the name of the source."""
    slot = listed.source or question.request.slot
    shelf, allowed = question.served.shelf, question.allowed()
    if slot is Slot.SEARCH:
        return {name: _places(rows) for name, rows in _of_search(question, listed).items()}
    lists: dict[str, Candidates] = {}
    if slot is Slot.HOME:
        wanted, due = wanted_at_home(question)
        lists = sources(wanted, shelf.state, question.near) | {"due": due}
        if listed.session is not None:
            lists["session"] = listed.session.candidates()
    elif slot is Slot.SIMILAR and len(question.here()):
        lists = {"near": near_to(question, allowed)}
        lists["visitor"] = chosen_with(question.here(), shelf.state, allowed)[0]
    elif slot is Slot.CART:
        lists = {"basket": ordered_with_cart(question)}
    popular = PopularRetriever(popularity(shelf.state)).retrieve(Wanted(question.profile, allowed), limit=len(shelf))
    return {name: _places(candidates.rows) for name, candidates in ({"popular": popular} | lists).items()}


def standings(question: Question, chosen: Ruled, rows: IntArray) -> dict[int, Standing]:
    """What beside its score decides where each of `rows` (n,) of a list stands."""
    listed, shelf = chosen.listed, question.served.shelf
    order = np.argsort(-listed.scores, kind="stable")
    by_score = _places(listed.rows[order])
    led = set(listed.session.rows().tolist()) if listed.session is not None else set()
    due = set(wanted_at_home(question)[1].rows.tolist()) if listed.source is Slot.HOME else set()
    answers = _answers(listed)
    near = frozenset(listed.near.tolist())
    return {
        row: Standing(
            by_score.get(row, 0), bool(shelf.available[row]), row in near, answers.get(row, -1), row in led,
            row in due, row in chosen.added,
        )
        for row in rows.tolist()
    }  # fmt: skip


def said_of(intent: Intent | None) -> dict[str, str]:
    """What the query was understood to mean beside its words, by kind: price, brand, category, exclusions."""
    if intent is None:
        return {}
    values = {
        "min_price": "" if intent.min_price is None else f"{intent.min_price:,.2f}",
        "max_price": "" if intent.max_price is None else f"{intent.max_price:,.2f}",
        "currency": ", ".join(sorted(intent.currencies)),
        "foreign_price": intent.foreign_price,
        "excluded": ", ".join(intent.excluded),
    }
    for role in (Role.BRAND, Role.CATEGORY, Role.PRODUCT, Role.ATTRIBUTE):
        named = [word.value or word.text for word in intent.words if word.role is role]
        values[role.value] = ", ".join(dict.fromkeys(named))
    likely = [f"{name} {probability:.0%}" for name, probability in intent.categories[:2] if probability >= 0.1]
    values["likely_category"] = ", ".join(likely)
    return {kind: text for kind, text in values.items() if text}


def _of_search(question: Question, listed: Listed) -> dict[str, IntArray]:
    attempt, shelf = listed.attempt, question.served.shelf
    if attempt is None:
        sales = popularity(shelf.state)
        return {"popular": np.flatnonzero(sales > 0)[np.argsort(-sales[sales > 0], kind="stable")].astype(np.int32)}
    has_meaning = question.served.ranker is not None and shelf.vectors is not None
    vector = question.query_vector(attempt.intent.text) if has_meaning else None
    wanted = Wanted(question.profile, attempt.allowed)
    popular = PopularRetriever(popularity(shelf.state)).retrieve(wanted, limit=len(shelf))
    near = by_meaning(question, attempt, vector)
    return {"words": attempt.hits.rows, "meaning": near.rows[:N_CANDIDATES], "popular": popular.rows}


def _places(rows: IntArray) -> dict[int, int]:
    return {row: position for position, row in enumerate(rows.tolist(), 1)}


def _answers(listed: Listed) -> dict[int, int]:
    """How well the words of each graded item answer, 0 to 3, without what is in stock."""
    if listed.preference is None:
        return {}
    preference = listed.preference
    return dict(zip(preference.graded.rows.tolist(), (preference.answers // 2).tolist(), strict=True))


def _also(
    terms: list[Term], understood: str, shelf: Shelf, synonyms: frozenset[tuple[int, ...]]
) -> tuple[AlsoFound, ...]:
    """The words of the catalogue that count as one word of the query, without the word itself."""
    lexicon, own = shelf.lexical.lexicon, set(tokens(understood))
    others: dict[str, AlsoFound] = {}
    for variant in (variant for term in terms for variant in term.variants):
        text = " ".join(lexicon.spellings[word_id].lstrip(SIGNS) for word_id in variant.words).strip()
        if text and not set(tokens(text)) <= own and text not in others:
            is_synonym = variant.words in synonyms and variant.weight == SYNONYM
            why = SYNONYMOUS if is_synonym else GUESSED if variant.weight <= LOOSE else OTHER_FORM
            others[text] = AlsoFound(text, why, variant.weight)
    best = sorted(others.values(), key=lambda other: (-other.weight, other.text))
    return tuple(best[:N_VARIANTS])


def _synonyms(text: str, shelf: Shelf) -> frozenset[tuple[int, ...]]:
    """The words that synonyms add to a text, by id."""
    parser = shelf.lexical.parser
    return frozenset(chain.from_iterable(parser.synonyms.apply(list(words(text)), parser.lexicon, parser.frequency)))


def _n_items(terms: list[Term], shelf: Shelf) -> int:
    having = [
        shelf.lexical.rows_of(word_id)
        for term in terms
        for variant in term.variants
        if len(variant.words) == 1
        for word_id in variant.words
    ]
    return len(np.unique(np.concatenate(having))) if having else 0
