"""Retrieval at 100,000 items, each way beside a named peer of the same run: milliseconds, and the ratio of the medians.

python -m benchmarks.retrieval [--items titles.csv.gz] [--n-items 100000] [--n-queries 200]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from recommender.retrieval.lexical.index import LexicalIndex
from recommender.retrieval.vector import nearest

ITEMS = Path(__file__).resolve().parent.parent / "shopreco" / "shop" / "data" / "items.csv.gz"
N_MAKERS = 20_000
"""Made-up names of makers: a large catalogue has a large vocabulary, and most of its words are rare."""

SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeio"]
DIMENSION = 384
LIMIT = 200
SEED = 0

Ask = Callable[[str], object]
Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=Path, default=ITEMS, help="CSV, or .csv.gz, with a column title")
    parser.add_argument("--n-items", type=int, default=100_000)
    parser.add_argument("--n-queries", type=int, default=200)
    options = parser.parse_args()
    titles = recombined(read_titles(options.items), options.n_items, seed=SEED)
    index, seconds = timed(lambda: LexicalIndex.build(titles))
    words, peer_seconds = timed(lambda: full_text(titles))
    print(f"{len(titles):,} titles, {len(index.lexicon.ids):,} words, {options.n_queries} queries each, top {LIMIT}\n")
    print(f"{'':<34} {'p50 ms':>8} {'p99 ms':>8}   {'peer':<42} {'p50 ms':>8} {'ratio':>7}")
    show("build (once)", [seconds], "SQLite FTS5, with prefix index", [peer_seconds])
    queries = make_queries(titles, options.n_queries)
    compare_words(index, words, queries)
    compare_typing_errors(index, titles, queries)
    compare_updates(index, titles, seconds)
    compare_vectors(options.n_items, options.n_queries)


def compare_words(index: LexicalIndex, words: sqlite3.Connection, queries: dict[str, list[str]]) -> None:
    """Any of the words with all first, the same with all required, an unfinished last word, and suggestions."""
    search = latencies(lambda query: index.search(query, LIMIT), queries["words"])
    show("search, any word", search, "SQLite FTS5, OR, by bm25", latencies(matcher(words, " OR "), queries["words"]))
    show("search, any word", search, "SQLite FTS5, AND (finds fewer)", latencies(matcher(words, " "), queries["words"]))
    unfinished = latencies(lambda query: index.search(query, LIMIT), queries["unfinished"])
    peer = latencies(matcher(words, " OR ", unfinished=True), queries["unfinished"])
    show("search, unfinished last word", unfinished, "SQLite FTS5, OR, prefix query", peer)
    starts = [query.split()[-1] for query in queries["unfinished"]]
    completed = latencies(lambda query: index.suggest(query, 8), queries["unfinished"])
    peer = latencies(lambda start: most_frequent_words(words, start), starts)
    show("suggest, phrases that occur", completed, "SQLite fts5vocab, most frequent words", peer)


def compare_typing_errors(index: LexicalIndex, titles: Sequence[str], queries: dict[str, list[str]]) -> None:
    """One typing error in a query, against the usual way to forgive it in SQLite."""
    trigrams = full_text(titles, tokenizer="trigram")
    ours = latencies(lambda query: index.search(query, LIMIT), queries["misspelt"])
    show(
        "search, one typing error",
        ours,
        "SQLite FTS5 of trigrams, OR",
        latencies(tri_matcher(trigrams), queries["misspelt"]),
    )


def compare_updates(index: LexicalIndex, titles: Sequence[str], build_seconds: float) -> None:
    """Ten titles replaced by an index that leaves the old one as it is."""
    rows = np.arange(0, len(titles), max(len(titles) // 10, 1), dtype=np.int32)[:10]
    texts = [f"{titles[row]} renewed" for row in rows]
    show(
        "replace 10 titles",
        [timed(lambda: index.updated(rows, texts))[1] for _ in range(9)],
        "build anew",
        [build_seconds],
    )


def compare_vectors(n_items: int, n_queries: int) -> None:
    """Exact scan of random unit vectors."""
    generator = np.random.default_rng(SEED)
    vectors = generator.standard_normal((n_items, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    allowed = generator.random(n_items) > 0.05
    rows = [str(row) for row in range(n_queries)]
    scan = latencies(lambda row: nearest(vectors, vectors[int(row)], limit=LIMIT, allowed=allowed), rows)
    show(
        "vector scan",
        scan,
        "numpy, full argsort",
        latencies(lambda row: np.argsort(-(vectors @ vectors[int(row)]))[:LIMIT], rows),
    )
    product = latencies(lambda row: vectors @ vectors[int(row)], rows)
    show("vector scan", scan, "numpy, the product alone", product)


def read_titles(path: Path) -> list[str]:
    """Read the titles of a catalogue, each once."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return sorted({row["title"] for row in csv.DictReader(lines) if row["title"]})


def recombined(titles: Sequence[str], n: int, *, seed: int) -> list[str]:
    """Make n titles: the start of one, the end of another, and before every other a maker, few of them frequent."""
    draw = random.Random(seed)
    makers = ["".join(draw.choices(SYLLABLES, k=draw.randint(2, 5))).upper() for _ in range(N_MAKERS)]
    popularity = [1 / rank for rank in range(1, N_MAKERS + 1)]
    mixed = []
    for maker in draw.choices(makers, popularity, k=n):
        first, second = draw.choice(titles).split(), draw.choice(titles).split()
        words = [*first[: max(1, len(first) // 2)], *second[len(second) // 2 :]]
        mixed.append(" ".join([maker, *words] if draw.random() < 0.5 else words))
    return mixed


def make_queries(titles: Sequence[str], n: int) -> dict[str, list[str]]:
    """Make queries of two or three words of a title: whole, with the last one unfinished, with one letter wrong."""
    draw = random.Random(SEED)
    queries: dict[str, list[str]] = {"words": [], "unfinished": [], "misspelt": []}
    while len(queries["words"]) < n:
        words = [word.lower() for word in draw.choice(titles).split() if word.isalpha() and len(word) > 3]
        if len(words) < 2:
            continue
        chosen = draw.sample(words, min(len(words), draw.choice((2, 3))))
        queries["words"].append(" ".join(chosen) + " ")
        queries["unfinished"].append(" ".join([*chosen[:-1], chosen[-1][:3]]))
        queries["misspelt"].append(" ".join([misspelt(chosen[0], draw), *chosen[1:]]) + " ")
    return queries


def misspelt(word: str, draw: random.Random) -> str:
    """Swap two letters that stand beside each other and differ, else leave one out."""
    positions = [position for position in range(1, len(word) - 1) if word[position] != word[position + 1]]
    if not positions:
        return word[:-1]
    position = draw.choice(positions)
    return word[:position] + word[position + 1] + word[position] + word[position + 2 :]


def full_text(titles: Sequence[str], tokenizer: str = "porter unicode61") -> sqlite3.Connection:
    """Index titles in SQLite, in memory as ours is."""
    database = sqlite3.connect(":memory:")
    prefix = "" if tokenizer == "trigram" else ", prefix='2 3 4'"
    database.execute(f"CREATE VIRTUAL TABLE title USING fts5(text, tokenize='{tokenizer}'{prefix})")
    database.executemany("INSERT INTO title(text) VALUES (?)", ((title,) for title in titles))
    database.execute("CREATE VIRTUAL TABLE word USING fts5vocab('title', 'row')")
    return database


def matcher(database: sqlite3.Connection, operator: str, *, unfinished: bool = False) -> Ask:
    def ask(query: str) -> object:
        return match(database, operator.join(f'"{word}"' for word in query.split()) + ("*" if unfinished else ""))

    return ask


def tri_matcher(database: sqlite3.Connection) -> Ask:
    def ask(query: str) -> object:
        parts = {word[start : start + 3] for word in query.split() for start in range(len(word) - 2)}
        return match(database, " OR ".join(f'"{part}"' for part in sorted(parts)))

    return ask


def match(database: sqlite3.Connection, expression: str) -> list[tuple[int]]:
    return database.execute(
        "SELECT rowid FROM title WHERE title MATCH ? ORDER BY rank LIMIT ?", (expression, LIMIT)
    ).fetchall()


def most_frequent_words(database: sqlite3.Connection, start: str) -> list[tuple[str]]:
    query = "SELECT term FROM word WHERE term >= ? AND term < ? ORDER BY doc DESC LIMIT 8"
    return database.execute(query, (start, f"{start}{chr(0x10FFFF)}")).fetchall()


def latencies(ask: Ask, queries: Sequence[str]) -> list[float]:
    """Ask every query once, after ten that warm up; seconds each."""
    for query in queries[:10]:
        ask(query)
    seconds = []
    for query in queries:
        started = time.perf_counter()
        ask(query)
        seconds.append(time.perf_counter() - started)
    return seconds


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started


def show(name: str, ours: Sequence[float], peer_name: str, theirs: Sequence[float]) -> None:
    median, slowest, peer = (1000 * float(np.quantile(s, q)) for s, q in ((ours, 0.5), (ours, 0.99), (theirs, 0.5)))
    print(f"{name:<34} {median:>8.2f} {slowest:>8.2f}   {peer_name:<42} {peer:>8.2f} {median / peer:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
