"""A catalogue and what past queries led to in, a model out that understands a query in a tenth of a millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from recommender.text.intent.categories import Categorizer, fit_categorizer
from recommender.text.intent.prices import Price, price_in
from recommender.text.intent.quantities import UNITS
from recommender.text.intent.tagger import N_DRAWN, Example, Tagger, drawn_examples, fit_tagger
from recommender.text.intent.titles import (
    ATTRIBUTE,
    BRAND,
    CATEGORY,
    ROLES,
    Counts,
    Names,
    Token,
    leading_brands,
    roles_of,
    tokens,
    varied_words,
)
from recommender.text.past_queries import AskedQuery
from recommender.text.words import LINKING_WORDS, fold
from recommender.types import FloatArray, IntArray, Intent, IntentWord, Role

MAX_TITLES = 20_000
"""Titles that are counted; a larger catalogue is sampled evenly, but every brand and category is known."""

MAX_WORDS = 16
MAX_KEPT = 512
N_CATEGORIES = 3
LEAST_PROBABLE = 0.1
"""A category less probable than this is not named."""

FEWEST_PHRASES = 2
"""Titles from which "under 5" is the name of a thing rather than a price."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is learned from: titles, brands and attributes (words) are (n,), category (n,) int32 codes, -1 for none."""

    titles: Sequence[str]
    brands: Sequence[str]
    category: IntArray
    category_names: tuple[str, ...]
    attributes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class IntentModel:
    """Understands queries; brand_names are the shop's own spellings, none where the brands were read off titles."""

    tagger: Tagger
    categorizer: Categorizer
    category_names: tuple[str, ...]
    brand_names: tuple[str, ...]
    _understood: dict[str, Intent] = field(default_factory=dict, repr=False, compare=False)

    def understand(self, query: str) -> Intent:
        """Tell what each word is about, the likely categories, and the price; the last few queries are kept."""
        found = self._understood.get(query)
        if found is None:
            if len(self._understood) >= MAX_KEPT:
                self._understood.clear()
            found = self._understood[query] = self._understand(query)
        return found

    def categories(self, keys: Sequence[str]) -> FloatArray:
        """Return (n_categories,): the probability of each category for the words of a query."""
        return self.categorizer.probabilities(keys)

    def read(self, text: str) -> list[Token]:
        """Split a query as the titles were split."""
        return tokens(text, (*self.tagger.brands.runs, *self.tagger.categories.runs))[:MAX_WORDS]

    def _understand(self, query: str) -> Intent:
        price = price_in(query)
        if price.text and not price.has_currency and self._is_name(price):
            price = Price(rest=" ".join(query.split()))
        spoken = self.read(price.rest)
        keys = [token.key for token in spoken]
        probability = self.categories(keys) if keys else np.empty(0, np.float32)
        best = np.argsort(-probability, kind="stable")[:N_CATEGORIES]
        likely = [(int(code), float(probability[code])) for code in best if probability[code] >= LEAST_PROBABLE]
        said = (IntentWord(price.text, Role.PRICE),) if price.text else ()
        return Intent(
            text=price.rest,
            words=(*self._words(spoken, keys), *said),
            categories=tuple((self.category_names[code], share) for code, share in likely),
            min_price=price.low,
            max_price=price.high,
            is_cheap=price.is_vague,
        )

    def _is_name(self, price: Price) -> bool:
        """Whether titles of this shop hold the words of a price, as "Under 5" of a party game does."""
        keys = [token.key for token in self.read(price.text)]
        if len(keys) == 1:
            return keys[0] in self.tagger.counts.word
        pairs = list(pairwise(keys))
        counts = [sum(self.tagger.counts.second.get(pair, ())) for pair in pairs]
        return bool(counts) and min(counts) >= FEWEST_PHRASES

    def _words(self, spoken: Sequence[Token], keys: Sequence[str]) -> tuple[IntentWord, ...]:
        """Return the words with their roles; those of one brand, and a number with its unit, are one."""
        if not keys:
            return ()
        odds = self.tagger.probabilities(keys)
        roles = odds.argmax(axis=1).tolist()
        found: list[IntentWord] = []
        place = 0
        named = {start: (end, code) for start, end, code in self.tagger.brands.spans(keys)}
        kinds = {start: (end, code) for start, end, code in self.tagger.categories.spans(keys)}
        while place < len(keys):
            role, end, value = roles[place], place + 1, ""
            if role == BRAND and place in named and BRAND in roles[place : named[place][0]]:
                end, code = named[place]
                value = self.brand_names[code] if self.brand_names else ""
            elif role == CATEGORY and place in kinds:
                end, code = kinds[place]
                value = self.category_names[code]
            elif role == ATTRIBUTE and spoken[place].has_digit:
                end += end < len(keys) and keys[end] in UNITS
            text = " ".join(token.shown for token in spoken[place:end])
            found.append(IntentWord(text, ROLES[role], float(odds[place:end, role].mean()), value))
            place = end
        return tuple(found)


def fit(catalogue: Catalogue, asked: Sequence[AskedQuery] = (), *, seed: int = 0) -> IntentModel:
    """Learn from a catalogue, and from queries with the rows of it that they led to."""
    step = -(-len(catalogue.titles) // MAX_TITLES) or 1
    sample = range(0, len(catalogue.titles), step)
    category_names = Names.of(catalogue.category_names)
    given = tuple(dict.fromkeys(brand for brand in catalogue.brands if brand))
    brands = Names.of(given)
    cuts = (*brands.runs, *category_names.runs)
    read = {row: tokens(catalogue.titles[row], cuts) for row in sample}
    if not given:
        brands = Names.of(leading_brands([read[row] for row in sample]))
    reader = _Reader(catalogue, brands, category_names, cuts)
    told = {row: reader.roles(row, read[row]) for row in sample}
    counts = Counts()
    for row in sample:
        counts.add([token.key for token in read[row]], told[row])
    counts.varied = varied_words([token.key for token in read[row]] for row in sample)
    titles = [([token.key for token in read[row]], told[row]) for row in sample]
    drawn = [example for _, example in drawn_examples(titles, N_DRAWN, seed=seed)]
    examples = [*drawn, *reader.examples(asked)]
    tagger = fit_tagger(counts, brands, category_names, examples)
    categorizer = fit_categorizer(
        [keys for keys, _ in titles],
        catalogue.category[sample.start : sample.stop : step],
        len(catalogue.category_names),
        [(keys, shares) for keys, shares in reader.led(asked)],
        seed=seed,
    )
    return IntentModel(tagger, categorizer, catalogue.category_names, given)


def labelled(catalogue: Catalogue, asked: Sequence[AskedQuery], model: IntentModel) -> list[Example]:
    """Return past queries with the role that each word has in the titles they led to: what the tagger is judged by."""
    cuts = (*model.tagger.brands.runs, *model.tagger.categories.runs)
    return _Reader(catalogue, model.tagger.brands, model.tagger.categories, cuts).examples(asked)


def pseudo_queries(catalogue: Catalogue, model: IntentModel, *, seed: int = 0) -> list[tuple[int, Example]]:
    """Make a query of each title of another catalogue, with its row and the role of each word: to judge a model."""
    cuts = (*model.tagger.brands.runs, *model.tagger.categories.runs)
    reader = _Reader(catalogue, model.tagger.brands, model.tagger.categories, cuts)
    told = []
    for row, title in enumerate(catalogue.titles):
        read = tokens(title, cuts)
        told.append(([token.key for token in read], reader.roles(row, read)))
    return list(drawn_examples(told, len(told), seed=seed))


def known_words(brands: Sequence[str], category_names: Sequence[str], asked: Sequence[AskedQuery]) -> frozenset[str]:
    """Return folded words that are no spelling mistakes: of brands, of categories, and of queries that led on."""
    texts = dict.fromkeys((*brands, *category_names, *(one.query for one in asked if one.items)))
    return frozenset(fold(token.shown) for text in texts for token in tokens(text))


@dataclass(slots=True)
class _Reader:
    """Reads titles of one catalogue, each once."""

    catalogue: Catalogue
    brands: Names
    category_names: Names
    cuts: Sequence[str]
    _read: dict[int, dict[str, int]] = field(default_factory=dict)
    _category_keys: dict[int, frozenset[str]] = field(default_factory=dict)

    def roles(self, row: int, title: Sequence[Token]) -> list[int]:
        """Return the role of each word of a title."""
        spans = self.brands.spans([token.key for token in title])
        attributes = self.catalogue.attributes[row] if self.catalogue.attributes else ""
        attribute_keys = frozenset(token.key for token in tokens(attributes)) if attributes else frozenset()
        code = int(self.catalogue.category[row])
        return roles_of(self.catalogue.titles[row], title, spans, self._category(code), attribute_keys)

    def examples(self, asked: Sequence[AskedQuery]) -> list[Example]:
        """Return the queries with the role that most of what they led to gives each word; unlabelled words have -1."""
        found = []
        for one in asked:
            keys = tuple(token.key for token in tokens(one.query, self.cuts))[:MAX_WORDS]
            votes: list[dict[int, float]] = [{} for _ in keys]
            for row, n_visitors in one.items:
                in_title = self._roles_by_word(row)
                for place, key in enumerate(keys):
                    if key in in_title:
                        votes[place][in_title[key]] = votes[place].get(in_title[key], 0.0) + n_visitors
            roles = tuple(max(vote, key=lambda role: (vote[role], -role)) if vote else -1 for vote in votes)
            if any(role >= 0 for role in roles):
                found.append(Example(keys, roles))
        return found

    def led(self, asked: Sequence[AskedQuery]) -> list[tuple[tuple[str, ...], dict[int, float]]]:
        """Return the words of each query with how many visitors it led to each category."""
        found = []
        for one in asked:
            shares: dict[int, float] = {}
            for row, n_visitors in one.items:
                code = int(self.catalogue.category[row])
                if code >= 0:
                    shares[code] = shares.get(code, 0.0) + n_visitors
            found.append((tuple(token.key for token in tokens(one.query, self.cuts))[:MAX_WORDS], shares))
        return found

    def _roles_by_word(self, row: int) -> dict[str, int]:
        if row not in self._read:
            title = tokens(self.catalogue.titles[row], self.cuts)
            pairs = zip((token.key for token in title), self.roles(row, title), strict=True)
            found: dict[str, int] = {}
            for key, role in pairs:
                found.setdefault(key, role)
            self._read[row] = found
        return self._read[row]

    def _category(self, code: int) -> frozenset[str]:
        if code not in self._category_keys:
            name = self.catalogue.category_names[code] if code >= 0 else ""
            keys = frozenset(token.key for token in tokens(name, self.cuts)) - LINKING_WORDS
            self._category_keys[code] = keys
        return self._category_keys[code]
