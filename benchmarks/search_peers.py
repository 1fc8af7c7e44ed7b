"""Rankings of your queries beside strong peers that learn from the same grades, in one table with intervals.

`python -m benchmarks.search_peers --products P --train-queries Q --train-labels L --test-queries T --test-labels TL`

First `--write-candidates C.csv`: it writes the judged products of each test query and 100 random ones, and ends. Then
let `benchmarks.search_relevance` rank them (`--candidates C.csv --out run.csv`) and, for recall, the whole catalogue
(no `--candidates`), and give both here: `--candidates C.csv --run ours=run.csv --whole ours=whole.csv`. `--keep FOLDER`
keeps what the peers answered, so that a later call with the same settings only judges. Columns of the files are those
of `search_relevance`; grades are on a scale from 1 to 3.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import judging, workbench
from benchmarks.judging import Figure, Scores
from benchmarks.search_rivals import Peer, Shuffled, Workshop
from benchmarks.search_tuning import Graded
from benchmarks.workbench import InputError, number, read
from recommender.ml.hardware import limit_threads

N_DISTRACTORS = 100
N_LISTED = 100
N_TIMED = 20
"""Queries that are timed one by one, the first of the file."""

Candidates = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Search:
    """The catalogue, and the test: queries, their grades, and what is ranked for each."""

    ids: tuple[str, ...]
    titles: tuple[str, ...]
    queries: Mapping[str, str]
    grades: Scores
    candidates: Candidates
    row: Mapping[str, int]


@dataclass(slots=True)
class Answers:
    """What one ranker answered: scores of the candidates, lists of the whole catalogue, ms to put 100 in order."""

    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    whole: dict[str, list[str]] = field(default_factory=dict)
    milliseconds: float = float("nan")


COLUMNS = ("pairs", "NDCG@10", "recall@10", "recall@100")


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    limit_threads(options.threads)
    search = _read_search(options)
    if options.write_candidates:
        rows = ((query, product) for query, some in search.candidates.items() for product in some)
        n = workbench.write(options.write_candidates, ("query_id", "product_id"), rows)
        print(f"{n} candidates of {len(search.candidates)} queries written to {options.write_candidates}")
        return
    runs = _read_runs(options)
    graded = _read_graded(options, search)
    print(f"{len(search.ids)} products, {len(graded)} grades, {len(search.candidates)} test queries", flush=True)
    shop = Workshop(search.titles, graded, options.minutes, options.seed)
    answers = {name: _answers(name, make, search, options) for name, make in _peers(shop, options).items()}
    figures = {name: _figures(answer, search) for name, answer in (answers | runs).items()}
    _show(figures, answers | runs, list(runs), seed=options.seed)


def _peers(shop: Workshop, options: argparse.Namespace) -> dict[str, Callable[[], Peer]]:
    """Return how each peer is made, by name; those that need a tuned encoder share one."""
    minutes = f"{options.minutes:g} min"
    peers: dict[str, Callable[[], Peer]] = {
        "random": lambda: Shuffled(len(shop.titles), options.seed),
        "BM25, stems": lambda: shop.words,
        f"MiniLM, tuned {minutes}": lambda: shop.tuned,
        "BM25 + tuned MiniLM (RRF)": lambda: shop.fusion,
        f"cross-encoder, tuned {minutes}": shop.cross,
        "MiniLM, untuned": lambda: shop.untuned,
        "LightGBM over words and cosines": shop.trees,
    }
    return {name: make for name, make in peers.items() if not options.only or name in options.only}


def _answers(name: str, make: Callable[[], Peer], search: Search, options: argparse.Namespace) -> Answers:
    """Let a peer answer every test query, or take what it answered in an earlier call with the same settings."""
    stored = _stored_path(name, search, options)
    if stored is not None and stored.is_file():
        print(f"{name}: kept", flush=True)
        return Answers(**json.loads(stored.read_text()))
    began = time.monotonic()
    peer = make()
    answers, seconds_to_make = Answers(), time.monotonic() - began
    limit = options.cross_queries if name.startswith("cross-encoder") else 0
    chosen = _some(list(search.candidates), limit, seed=options.seed)
    for query_id in chosen:
        query, products = search.queries[query_id], search.candidates[query_id]
        rows = np.asarray([search.row[product] for product in products], np.int32)
        scored = peer.score(query, rows).tolist()
        answers.scores[query_id] = dict(zip(products, scored, strict=True))
        best = peer.search(query, N_LISTED).tolist()
        if best:
            answers.whole[query_id] = [search.ids[row] for row in best]
    answers.milliseconds = _timed(peer, [search.queries[query_id] for query_id in chosen[:N_TIMED]], len(search.ids))
    seconds = time.monotonic() - began
    print(
        f"{name}: {seconds:.0f} s, {seconds_to_make:.0f} of them until it could answer {len(chosen)} queries",
        flush=True,
    )
    if stored is not None:
        stored.write_text(json.dumps({entry: getattr(answers, entry) for entry in Answers.__slots__}))
    return answers


def _timed(peer: Peer, queries: Sequence[str], n_rows: int) -> float:
    """Return the median milliseconds to put 100 products in order for one query, its encoding included."""
    rows = np.random.default_rng(0).integers(0, n_rows, 100).astype(np.int32)
    peer.score("", rows)
    took = []
    for query in queries:
        began = time.perf_counter()
        peer.score(f"{query} ", rows)  # another text than the one just encoded
        took.append(time.perf_counter() - began)
    return float(np.median(took)) * 1000 if took else float("nan")


def _stored_path(name: str, search: Search, options: argparse.Namespace) -> Path | None:
    """Return where a peer's answers are kept; the name tells the candidates, minutes and seed that they are of."""
    if options.keep is None:
        return None
    options.keep.mkdir(parents=True, exist_ok=True)
    question = json.dumps([name, options.minutes, options.seed, options.cross_queries, dict(search.candidates)])
    plain = "".join(letter if letter.isalnum() else "-" for letter in name)
    return Path(options.keep) / f"{plain}-{zlib.crc32(question.encode()):08x}.json"


def _figures(answers: Answers, search: Search) -> dict[str, Figure]:
    """Return each column by case, in the order of the test queries; a query that was not ranked says nothing."""
    columns: dict[str, list[tuple[float, float]]] = {name: [] for name in COLUMNS}
    for query_id, products in search.candidates.items():
        grades, scores = search.grades[query_id], answers.scores.get(query_id)
        nothing = (0.0, 0.0)
        columns["pairs"].append(judging.pairs_in_order(scores, grades) if scores else nothing)
        columns["NDCG@10"].append(judging.graded_ndcg(scores, grades, products) if scores else nothing)
        for k in (10, 100):
            ranked = answers.whole.get(query_id, [])
            columns[f"recall@{k}"].append(judging.recall(ranked, grades, k=k) if answers.whole else nothing)
    return {name: Figure.of(cases) for name, cases in columns.items()}


def _show(
    figures: Mapping[str, Mapping[str, Figure]], answers: Mapping[str, Answers], ours: Sequence[str], *, seed: int
) -> None:
    rows = []
    for name, columns in figures.items():
        took = answers[name].milliseconds
        milliseconds = f"{took:.1f}" if took == took else "–"
        n_queries = str(columns["NDCG@10"].n_cases or columns["recall@10"].n_cases)
        rows.append([name, n_queries, *(judging.figure_text(columns[column]) for column in COLUMNS), milliseconds])
    print(f"\n{judging.markdown(['ranking', 'queries', *COLUMNS, 'ms for 100'], rows)}")
    for run in ours[:1]:
        gaps = [
            [name, *(judging.gain_text(figures[run][column], columns[column], seed=seed) for column in COLUMNS)]
            for name, columns in figures.items()
            if name != run
        ]
        print(f"\n{run} - peer, 95 % interval over queries\n{judging.markdown([f'{run} -', *COLUMNS], gaps)}")


def _read_search(options: argparse.Namespace) -> Search:
    products = {row["product_id"]: row["title"] for row in read(options.products, "product_id", "title")}
    queries = {row["query_id"]: row["query"] for row in read(options.test_queries, "query_id", "query")}
    grades: dict[str, dict[str, float]] = {}
    for row in read(options.test_labels, "query_id", "product_id", "relevance"):
        if row["query_id"] in queries and row["product_id"] in products:
            grades.setdefault(row["query_id"], {})[row["product_id"]] = number(row["relevance"])
    if not grades:
        raise InputError(f"{options.test_labels} names no query of {options.test_queries}: check the ids of both.")
    ids = tuple(products)
    candidates = _read_candidates(options.candidates, grades, products) if options.candidates else {}
    return Search(
        ids, tuple(products.values()), queries, grades,
        candidates or _drawn(grades, ids, seed=options.seed),
        {product: row for row, product in enumerate(ids)},
    )  # fmt: skip


def _drawn(grades: Scores, ids: Sequence[str], *, seed: int) -> dict[str, list[str]]:
    """Return the judged products of each query and 100 others at random, the same for the same seed."""
    candidates = {}
    for query_id, judged in grades.items():
        generator = np.random.default_rng((seed, zlib.crc32(query_id.encode())))
        drawn = [ids[row] for row in generator.permutation(len(ids))[: N_DISTRACTORS + len(judged)].tolist()]
        others = [product for product in drawn if product not in judged]
        candidates[query_id] = [*judged, *others[:N_DISTRACTORS]]
    return candidates


def _read_candidates(path: Path, grades: Scores, products: Mapping[str, str]) -> dict[str, list[str]]:
    candidates: dict[str, dict[str, None]] = {query_id: {} for query_id in grades}
    for row in read(path, "query_id", "product_id"):
        if row["query_id"] in candidates and row["product_id"] in products:
            candidates[row["query_id"]][row["product_id"]] = None
    missing = sum(not some for some in candidates.values())
    if missing:
        raise InputError(f"{path} has no candidates for {missing} of {len(candidates)} judged queries.")
    return {query_id: list(some) for query_id, some in candidates.items()}


def _read_graded(options: argparse.Namespace, search: Search) -> Graded:
    queries_by_id = {row["query_id"]: row["query"] for row in read(options.train_queries, "query_id", "query")}
    rows = [
        (queries_by_id[row["query_id"]], search.row[row["product_id"]], number(row["relevance"]))
        for row in read(options.train_labels, "query_id", "product_id", "relevance")
        if row["query_id"] in queries_by_id and row["product_id"] in search.row
    ]
    if not rows:
        raise InputError(f"{options.train_labels} names no query of {options.train_queries}: check the ids of both.")
    queries, row_, grade = zip(*rows, strict=True)
    grades = np.asarray(grade, np.float32)
    span = float(np.ptp(grades)) or 1.0
    return Graded(queries, np.asarray(row_, np.int32), (grades - grades.min()) / span)


def _read_runs(options: argparse.Namespace) -> dict[str, Answers]:
    runs: dict[str, Answers] = {}
    for text in options.run:
        name, path = judging.read_named(text)
        runs.setdefault(name, Answers()).scores = judging.read_scores(path)
    for text in options.whole:
        name, path = judging.read_named(text)
        scores_by_query = judging.read_scores(path)
        ranked = {
            query: sorted(scores, key=scores.__getitem__, reverse=True) for query, scores in scores_by_query.items()
        }
        runs.setdefault(name, Answers()).whole = ranked
    return runs


def _some(queries: list[str], limit: int, *, seed: int) -> list[str]:
    if not limit or limit >= len(queries):
        return queries
    return [queries[position] for position in np.random.default_rng(seed).permutation(len(queries))[:limit].tolist()]


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("products", "train-queries", "train-labels", "test-queries", "test-labels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--candidates", type=Path, help="what is ranked for each query (default: drawn by the seed)")
    parser.add_argument("--write-candidates", type=Path, help="write what is ranked for each query, and end")
    parser.add_argument(
        "--run", action="append", default=[], help="NAME=FILE: the candidates, ranked; the first is ours"
    )
    parser.add_argument("--whole", action="append", default=[], help="NAME=FILE: the whole catalogue, ranked")
    parser.add_argument("--keep", type=Path, help="folder of what the peers answered")
    parser.add_argument("--only", action="append", default=[], help="name of a peer; may be given again (default: all)")
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="of tuning, for each of the two models that are tuned"
    )
    parser.add_argument("--cross-queries", type=int, default=0, help="test queries for the cross-encoder (0: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


if __name__ == "__main__":
    csv.field_size_limit(2**31 - 1)
    main(sys.argv[1:])
