"""Understands a query in a tenth of a millisecond, by what titles and past queries have taught."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from recommender.text.intent.categories import Categorizer, fit_categorizer
from recommender.text.intent.exclusions import wanted_in
from recommender.text.intent.prices import Price, price_in
from recommender.text.intent.tagger import N_DRAWN, Example, Tagger, drawn_examples, fit_tagger
from recommender.text.intent.titles import (
    ATTRIBUTE,
    BRAND,
    CATEGORY,
    PRODUCT,
    ROLES,
    UNIT_STEMS,
    Counts,
    Names,
    Token,
    leading_brands,
    roles_of,
    split,
    varied_words,
)
from recommender.text.letters import fold
from recommender.text.past_queries import PastQuery
from recommender.text.words import LINKING_WORDS
from recommender.types import IntArray, Intent, IntentWord, Role

MAX_TITLES = 20_000
"""Titles that are counted; a larger catalogue is sampled evenly, but every brand and category is known."""

MAX_WORDS = 16
MAX_CACHED = 512
N_CATEGORIES = 3
LEAST_PROBABLE = 0.1
"""A category less probable than this is not named."""

FEWEST_PHRASES = 2
"""Titles from which "under 5" is the name of a thing rather than a price."""


@dataclass(frozen=True, slots=True)
class LabelledTitles:
    """What the model learns from: titles and brands (n,), category (n,) int32 codes into the names, -1 for none."""

    titles: Sequence[str]
    brands: Sequence[str]
    category: IntArray
    category_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IntentModel:
    """Understands queries. brand_names: the shop's own spellings; none where the brands were read off titles."""

    tagger: Tagger
    categorizer: Categorizer
    category_names: tuple[str, ...]
    brand_names: tuple[str, ...]
    _cache: dict[str, Intent] = field(default_factory=dict, repr=False, compare=False)

    def understand(self, query: str) -> Intent:
        """Return the role of each word, categories, price bounds and exclusions; the last few queries are cached."""
        if query not in self._cache:
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            self._cache[query] = self._understand(query)
        return self._cache[query]

    def naming(self, text: str) -> dict[str, float]:
        """Return for each word, by stem, how surely it names the goods, as "lamp" does in "desk lamp".

        How likely that is in this query, times the share of the titles with the word in which it does.
        """
        keys = [token.key for token in self.read(text)]
        odds = self.tagger.probabilities(keys)[:, [PRODUCT, CATEGORY]].sum(axis=1) if keys else np.empty(0)
        shares = [_naming_share(self.tagger.counts.word.get(key, [])) for key in keys]
        return {key: odd * share for key, odd, share in zip(keys, odds.tolist(), shares, strict=True)}

    def read(self, text: str) -> list[Token]:
        """Split a query as the titles were split."""
        return split(text, (*self.tagger.brands.runs, *self.tagger.categories.runs))[:MAX_WORDS]

    def _understand(self, query: str) -> Intent:
        price = price_in(query)
        if price.text and not price.has_currency and self._is_name(price):
            price = Price(rest=" ".join(query.split()))
        wanted = wanted_in(price.rest, self._is_phrase)
        tokens = self.read(wanted.rest)
        keys = [token.key for token in tokens]
        probability = self.categorizer.probabilities(keys) if keys else np.empty(0, np.float32)
        best = np.argsort(-probability, kind="stable")[:N_CATEGORIES]
        likely = [(int(code), float(probability[code])) for code in best if probability[code] >= LEAST_PROBABLE]
        price_words = (IntentWord(price.text, Role.PRICE),) if price.text else ()
        return Intent(
            text=wanted.rest,
            words=(*self._words(tokens, keys), *price_words),
            categories=tuple((self.category_names[code], share) for code, share in likely),
            min_price=price.low,
            max_price=price.high,
            is_cheap=price.is_vague,
            excluded=wanted.excluded,
            unpriced=price.rest,
            currencies=price.currencies,
        )

    def _is_phrase(self, first: str, second: str) -> bool:
        """Whether a title has two words, by stem, side by side."""
        return (first, second) in self.tagger.counts.second

    def _is_name(self, price: Price) -> bool:
        """Whether titles of this shop hold the words of a price, as "Under 5" of a party game does."""
        keys = [token.key for token in self.read(price.text)]
        if len(keys) == 1:
            return keys[0] in self.tagger.counts.word
        counts = [sum(self.tagger.counts.second.get(pair, ())) for pair in pairwise(keys)]
        return bool(counts) and min(counts) >= FEWEST_PHRASES

    def _words(self, tokens: Sequence[Token], keys: Sequence[str]) -> tuple[IntentWord, ...]:
        """Return the words with their roles; the words of one name, and a number with its unit, are one."""
        if not keys:
            return ()
        odds = self.tagger.probabilities(keys)
        roles = odds.argmax(axis=1).tolist()
        brands = {start: (end, code) for start, end, code in self.tagger.brands.spans(keys)}
        categories = {start: (end, code) for start, end, code in self.tagger.categories.spans(keys)}
        understood: list[IntentWord] = []
        start = 0
        while start < len(keys):
            role, end, value = roles[start], start + 1, ""
            if role == BRAND and start in brands and BRAND in roles[start : brands[start][0]]:
                end, code = brands[start]
                value = self.brand_names[code] if self.brand_names else ""
            elif role == CATEGORY and start in categories:
                end, code = categories[start]
                value = self.category_names[code]
            elif role == ATTRIBUTE and tokens[start].has_digit:
                end += end < len(keys) and keys[end] in UNIT_STEMS
            text = " ".join(token.written for token in tokens[start:end])
            understood.append(IntentWord(text, ROLES[role], float(odds[start:end, role].mean()), value))
            start = end
        return tuple(understood)


def _naming_share(counts: Sequence[int]) -> float:
    """Return the share of the titles with a word in which it names the goods; half for a word that none has."""
    return (counts[PRODUCT] + counts[CATEGORY]) / sum(counts) if sum(counts) else 0.5


def fit(source: LabelledTitles, queries: Sequence[PastQuery] = (), *, seed: int = 0) -> IntentModel:
    """Learn from titles, and from past queries with the rows of the titles that they led to."""
    step = -(-len(source.titles) // MAX_TITLES) or 1
    sample = range(0, len(source.titles), step)
    category_names = Names.of(source.category_names)
    brand_names = tuple(dict.fromkeys(brand for brand in source.brands if brand))
    brands = Names.of(brand_names)
    runs = (*brands.runs, *category_names.runs)
    tokens = [split(source.titles[row], runs) for row in sample]
    if not brand_names:
        brands = Names.of(leading_brands(tokens))
    roles = TitleRoles(source, brands, category_names)
    titles = [([token.key for token in title], roles.of(row, title)) for row, title in zip(sample, tokens, strict=True)]
    counts = Counts(varied=varied_words(keys for keys, _ in titles))
    for keys, codes in titles:
        counts.add(keys, codes)
    examples = [*(example for _, example in drawn_examples(titles, N_DRAWN, seed=seed)), *roles.examples(queries)]
    categorizer = fit_categorizer(
        [keys for keys, _ in titles],
        source.category[sample.start : sample.stop : step],
        len(source.category_names),
        roles.categories_of(queries),
        seed=seed,
    )
    tagger = fit_tagger(counts, brands, category_names, examples)
    return IntentModel(tagger, categorizer, source.category_names, brand_names)


def known_words(brands: Sequence[str], category_names: Sequence[str], queries: Sequence[PastQuery]) -> frozenset[str]:
    """Return folded words that are not corrected: of brands, of categories, and of past queries that led to items."""
    texts = dict.fromkeys((*brands, *category_names, *(past.query for past in queries if past.items)))
    return frozenset(fold(token.written) for text in texts for token in split(text))


@dataclass(slots=True)
class TitleRoles:
    """Tells the role of each word of a title, and by the titles that a past query led to, of each of its words."""

    source: LabelledTitles
    brands: Names
    category_names: Names
    _by_row: dict[int, dict[str, int]] = field(default_factory=dict)
    _category_keys: dict[int, frozenset[str]] = field(default_factory=dict)

    def of(self, row: int, title: Sequence[Token]) -> list[int]:
        """Return the code in `ROLES` of each word of a title."""
        spans = self.brands.spans([token.key for token in title])
        return roles_of(self.source.titles[row], title, spans, self._keys_of_category(int(self.source.category[row])))

    def split(self, text: str) -> list[Token]:
        """Split a text at the names of brands and categories."""
        return split(text, (*self.brands.runs, *self.category_names.runs))

    def examples(self, queries: Sequence[PastQuery]) -> list[Example]:
        """Return queries with the role that each word has in most of the titles they led to, -1 where in none."""
        examples = []
        for past in queries:
            keys = self._keys(past.query)
            votes: list[dict[int, float]] = [defaultdict(float) for _ in keys]
            for row, n_visitors in past.items:
                in_title = self._roles_by_word(row)
                for position, key in enumerate(keys):
                    if key in in_title:
                        votes[position][in_title[key]] += n_visitors
            roles = tuple(max(vote, key=lambda role: (vote[role], -role)) if vote else -1 for vote in votes)
            if any(role >= 0 for role in roles):
                examples.append(Example(keys, roles))
        return examples

    def categories_of(self, queries: Sequence[PastQuery]) -> list[tuple[tuple[str, ...], dict[int, float]]]:
        """Return the words of each query with the number of visitors that it led to each category."""
        counted = []
        for past in queries:
            shares: dict[int, float] = defaultdict(float)
            for row, n_visitors in past.items:
                if (code := int(self.source.category[row])) >= 0:
                    shares[code] += n_visitors
            counted.append((self._keys(past.query), shares))
        return counted

    def _keys(self, query: str) -> tuple[str, ...]:
        return tuple(token.key for token in self.split(query))[:MAX_WORDS]

    def _roles_by_word(self, row: int) -> dict[str, int]:
        if row not in self._by_row:
            title = self.split(self.source.titles[row])
            roles: dict[str, int] = {}
            for token, role in zip(title, self.of(row, title), strict=True):
                roles.setdefault(token.key, role)
            self._by_row[row] = roles
        return self._by_row[row]

    def _keys_of_category(self, code: int) -> frozenset[str]:
        if code not in self._category_keys:
            name = self.source.category_names[code] if code >= 0 else ""
            self._category_keys[code] = frozenset(token.key for token in self.split(name)) - LINKING_WORDS
        return self._category_keys[code]
