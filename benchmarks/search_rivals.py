"""The peers that our search is compared with, each built in the usual way of its field from titles and grades."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import snowballstemmer
from scipy.stats import rankdata

from benchmarks.search_tuning import Graded, tuned_cross_encoder, tuned_encoder, untuned_encoder
from recommender.ml.head import trees
from recommender.retrieval.base import Candidates
from recommender.retrieval.fusion import RANK_CONSTANT, fuse_ranks
from recommender.types import FloatArray

Rows = npt.NDArray[np.int32]

K1, B = 1.2, 0.75
"""Of Lucene and of most tables that name BM25."""

BATCH = 16
"""Texts that are read at once: on a processor a third faster than 64."""

N_FUSED = 1_000
N_RERANKED = 200
"""Hits of each list that are fused, and hits of the fusion that the trees put in order."""

RANDOM_PER_QUERY = 4
"""Random titles per query among the rows that trees learn from, at the lowest grade: judged ones are all alike."""

_WORD = re.compile(r"[^\W_]+")
_STEMMER = snowballstemmer.stemmer("english")


class Peer(Protocol):
    """Scores rows of the catalogue for a query; finds the best of all of it where it can."""

    def score(self, query: str, rows: Rows) -> FloatArray:
        """Return (n,), higher is better, for rows (n,)."""
        ...

    def search(self, query: str, limit: int) -> Rows:
        """Return the best rows, best first; none where the peer only puts others' hits in order."""
        ...


@dataclass(frozen=True, slots=True)
class Shuffled:
    """Any order, the same for the same query and seed: the floor."""

    n_rows: int
    seed: int = 0

    def score(self, query: str, rows: Rows) -> FloatArray:
        return self._everything(query)[rows]

    def search(self, query: str, limit: int) -> Rows:
        return _best(self._everything(query), limit)

    def _everything(self, query: str) -> FloatArray:
        return np.random.default_rng((self.seed, zlib.crc32(query.encode()))).random(self.n_rows, np.float32)


class Bm25:
    """Robertson and Zaragoza 2009 over Snowball stems, idf as in Lucene: log(1 + (n - df + .5) / (df + .5))."""

    def __init__(self, titles: Sequence[str]) -> None:
        stems_of_titles = [stems(title) for title in titles]
        self.n_rows = len(titles)
        self.length = np.asarray([len(words) for words in stems_of_titles], np.float32)
        norm = K1 * (1 - B + B * self.length / max(float(self.length.mean()), 1.0))
        postings: dict[str, dict[int, int]] = {}
        for row, words in enumerate(stems_of_titles):
            for word in words:
                held = postings.setdefault(word, {})
                held[row] = held.get(row, 0) + 1
        self.postings: dict[str, tuple[Rows, FloatArray, float]] = {}
        for word, held in postings.items():
            rows, count = np.fromiter(held, np.int32), np.fromiter(held.values(), np.float32)
            idf = float(np.log1p((self.n_rows - len(rows) + 0.5) / (len(rows) + 0.5)))
            value = np.asarray(idf * count * (K1 + 1) / (count + norm[rows]), np.float32)
            self.postings[word] = rows, value, idf

    def score(self, query: str, rows: Rows) -> FloatArray:
        return self.totals(query)[0][rows]

    def search(self, query: str, limit: int) -> Rows:
        total = self.totals(query)[0]
        return _best(np.where(total > 0, total, -np.inf), limit)

    def totals(self, query: str) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return scores, weight (idf) and number of the query's words that each row has, all (n_rows,)."""
        score, weight, count = (np.zeros(self.n_rows, np.float32) for _ in range(3))
        for word in dict.fromkeys(stems(query)):
            if word in self.postings:
                rows, value, idf = self.postings[word]
                score[rows] += value
                weight[rows] += idf
                count[rows] += 1
        return score, weight, count

    def unknown_idf(self) -> float:
        """The idf of a word that no title has."""
        return float(np.log1p((self.n_rows + 0.5) / 0.5))


class Cosine:
    """A bi-encoder of sentence-transformers: vectors of all titles made once, one query encoded at a time."""

    def __init__(self, model: Any, titles: Sequence[str]) -> None:
        self.model = model
        self.vectors = self._encoded(titles)
        self._last: tuple[str, FloatArray] = ("", self._encoded([""])[0])

    def score(self, query: str, rows: Rows) -> FloatArray:
        return self.vectors[rows] @ self._vector(query)

    def search(self, query: str, limit: int) -> Rows:
        return _best(self.vectors @ self._vector(query), limit)

    def _vector(self, query: str) -> FloatArray:
        if self._last[0] != query:
            self._last = query, self._encoded([query])[0]
        return self._last[1]

    def _encoded(self, texts: Sequence[str]) -> FloatArray:
        vectors = self.model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(vectors, np.float32)


@dataclass(frozen=True, slots=True)
class Fusion:
    """Reciprocal rank fusion of words and meaning (Cormack, Clarke and Büttcher 2009, k = 60)."""

    peers: tuple[Peer, ...]

    def score(self, query: str, rows: Rows) -> FloatArray:
        ranks = [rankdata(-peer.score(query, rows)) for peer in self.peers]
        return np.asarray(sum(1 / (RANK_CONSTANT + rank) for rank in ranks), np.float32)

    def search(self, query: str, limit: int) -> Rows:
        lists = [peer.search(query, N_FUSED) for peer in self.peers]
        ranked = [Candidates(rows, -np.arange(len(rows), dtype=np.float32)) for rows in lists]
        return fuse_ranks(ranked, limit=limit).rows


@dataclass(frozen=True, slots=True)
class Trees:
    """LightGBM over words and cosines; searches by putting the first hits of the fusion in order."""

    words: Bm25
    cosines: tuple[Cosine, ...]
    fusion: Fusion
    titles: Sequence[str]
    booster: Any

    def score(self, query: str, rows: Rows) -> FloatArray:
        return trees.predict([self.booster], match_rows(query, rows, self.words, self.cosines, self.titles))

    def search(self, query: str, limit: int) -> Rows:
        rows = self.fusion.search(query, N_RERANKED)
        return rows[np.argsort(-self.score(query, rows), kind="stable")][:limit]


@dataclass(frozen=True, slots=True)
class Cross:
    """A cross-encoder of sentence-transformers: reads query and title together, so it only puts hits in order."""

    model: Any
    titles: Sequence[str]

    def score(self, query: str, rows: Rows) -> FloatArray:
        pairs = [(query, self.titles[row]) for row in rows.tolist()]
        return np.asarray(self.model.predict(pairs, batch_size=BATCH, show_progress_bar=False), np.float32)

    def search(self, query: str, limit: int) -> Rows:
        return np.empty(0, np.int32)


@dataclass
class Workshop:
    """Makes each peer when it is asked for; what several need is made once."""

    titles: Sequence[str]
    graded: Graded
    minutes: float
    seed: int

    @cached_property
    def words(self) -> Bm25:
        """BM25 over stems."""
        return Bm25(self.titles)

    @cached_property
    def untuned(self) -> Cosine:
        """MiniLM as it came."""
        return Cosine(untuned_encoder(), self.titles)

    @cached_property
    def tuned(self) -> Cosine:
        """MiniLM tuned on the grades for the minutes."""
        return Cosine(tuned_encoder(self.titles, self.graded, minutes=self.minutes, seed=self.seed), self.titles)

    @cached_property
    def fusion(self) -> Fusion:
        """Words and the tuned encoder by rank."""
        return Fusion((self.words, self.tuned))

    def trees(self) -> Trees:
        """LightGBM on every grade, and on random titles at the lowest."""
        cosines = (self.tuned, self.untuned)
        rows, target = _lessons(self.graded, len(self.titles), seed=self.seed)
        matched = [match_rows(query, some, self.words, cosines, self.titles) for query, some in rows]
        settings = trees.TreeSettings(seed=self.seed)
        booster = trees.grow(np.concatenate(matched), target, settings=settings)
        return Trees(self.words, cosines, self.fusion, self.titles, booster)

    def cross(self) -> Cross:
        """A cross-encoder tuned on the grades for the minutes."""
        model = tuned_cross_encoder(self.titles, self.graded, minutes=self.minutes, seed=self.seed)
        return Cross(model, self.titles)


def stems(text: str) -> list[str]:
    """Return the words of a text, stemmed by Snowball's English (Porter2)."""
    return [_stem(word) for word in _WORD.findall(text.lower())]


def match_rows(query: str, rows: Rows, words: Bm25, cosines: Sequence[Cosine], titles: Sequence[str]) -> FloatArray:
    """Return (n, n_features) float32: how rows (n,) match a query, by words, letters and meaning."""
    query_stems = list(dict.fromkeys(stems(query)))
    idfs = [words.postings[word][2] if word in words.postings else words.unknown_idf() for word in query_stems]
    total = max(sum(idfs), 1e-6)
    score, weight, count = (column[rows] for column in words.totals(query))
    letters = trigrams(query)
    shared = [_dice(letters, trigrams(titles[row])) for row in rows.tolist()]
    numbers = set(re.findall(r"\d+", query))
    held = [len(numbers & set(re.findall(r"\d+", titles[row]))) / max(len(numbers), 1) for row in rows.tolist()]
    length = words.length[rows]
    columns = [
        score, score / total, weight / total, count, count / max(len(query_stems), 1), count / np.maximum(length, 1),
        length, np.full(len(rows), len(query_stems)), np.full(len(rows), total), shared, held,
        np.full(len(rows), len(numbers)),
        *(cosine.score(query, rows) for cosine in cosines),
    ]  # fmt: skip
    return np.stack([np.asarray(column, np.float32) for column in columns], axis=1)


@lru_cache(maxsize=200_000)
def trigrams(text: str) -> frozenset[str]:
    """Return the letters of a text by threes."""
    plain = " ".join(["", *_WORD.findall(text.lower()), ""])
    return frozenset(plain[start : start + 3] for start in range(len(plain) - 2))


@lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    return str(_STEMMER.stemWord(word))


def _dice(first: frozenset[str], second: frozenset[str]) -> float:
    return 2 * len(first & second) / max(len(first) + len(second), 1)


def _best(scores: FloatArray, limit: int) -> Rows:
    limit = min(limit, len(scores))
    best = np.argpartition(-scores, limit - 1)[:limit]
    best = best[np.argsort(-scores[best], kind="stable")]
    return best[np.isfinite(scores[best])].astype(np.int32)


def _lessons(graded: Graded, n_rows: int, *, seed: int) -> tuple[list[tuple[str, Rows]], FloatArray]:
    """Return each query with its judged rows and some random ones, and the grades 0 to 1 of all, in order."""
    generator = np.random.default_rng((seed, 2))
    lessons: list[tuple[str, Rows]] = []
    target: list[float] = []
    for query, judged in graded.by_query().items():
        others = [row for row in generator.integers(0, n_rows, RANDOM_PER_QUERY).tolist() if row not in judged]
        lessons.append((query, np.asarray([*judged, *others], np.int32)))
        target += [*judged.values(), *(0.0 for _ in others)]
    return lessons, np.asarray(target, np.float32)
