"""Lists of your users beside strong peers that learn from the same events, in one table with intervals.

`python -m benchmarks.recommendation_peers --items I --events E --users U --truth F --run ours=run.csv`

Files as `benchmarks.recommendation` reads and writes them; truth `user_id,item_id`: what was bought in the window, by
purchase alone. `benchmarks.splits` makes all of them from one events file. Each figure is over the whole catalogue:
NDCG@10 divided by that of the best list, and the share of users with a hit among ten. "new": everything in a user's
history is taken out of truth and list; a run of yours for it (`recommendation --new-only`) is given by `--run-new`.
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks import judging, workbench
from benchmarks.events import DAY, moment_of, read_events
from benchmarks.judging import Figure
from benchmarks.recommendation_rivals import Past, read_past, simple_scorers
from benchmarks.sequence_rivals import sequence_lists
from benchmarks.workbench import InputError, read
from recommender.ml.hardware import limit_threads
from recommender.ml.rivals import baselines, competitors

N_LISTED = 100
COLUMNS = ("NDCG@10", "HR@10", "unseen NDCG@10", "new NDCG@10", "new HR@10")
INSTALLS = {
    "implicit": "pip install implicit",
    "rectools": "pip install 'pandas<3' pytorch-lightning typeguard && pip install --no-deps rectools",
}
"""How to get a package that is optional. RecTools 0.19 asks for NumPy below 2 before Python 3.13, and works with it."""

Lists = dict[str, list[int]]


@dataclass(slots=True)
class Answers:
    """What one peer answered: items by row, best first, for each user; of all items and of those new to the user."""

    every: Lists = field(default_factory=dict)
    new: Lists = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Test:
    """The users in order, what each bought, the items of each history, and who was unknown to training."""

    users: tuple[str, ...]
    bought: Mapping[str, frozenset[int]]
    history: Mapping[str, frozenset[int]]
    unseen: frozenset[str]


def main(argv: Sequence[str] | None = None) -> None:
    options = _options(argv)
    limit_threads(options.threads)
    events, has_clock = read_events(options.events)
    at = moment_of(options.at, events)
    extra = read_events(options.extra_events)[0] if options.extra_events else []
    past = read_past(options.items, events, extra, at=at)
    test = _read_test(options, past)
    print(f"{len(past.items)} items, {len(past.learned)} events", flush=True)
    print(f"{len(test.users)} users, {len(test.unseen)} of them unseen in training", flush=True)
    window = options.days * DAY if has_clock else DAY
    answers = _answers(_peers(past, test, options, window=window), past, options)
    runs = _read_runs(options, past)
    figures = {name: _figures(lists, test) for name, lists in (answers | runs).items()}
    _show(figures, list(runs), seed=options.seed)


def _peers(past: Past, test: Test, options: argparse.Namespace, *, window: float) -> dict[str, Callable[[], Answers]]:
    def scored(make: Callable[[], baselines.Scorer]) -> Callable[[], Answers]:
        return lambda: _ranked(make(), past, test)

    def sequenced(kind: str) -> Callable[[], Answers]:
        return lambda: Answers(*sequence_lists(kind, past, test.users, minutes=options.minutes, seed=options.seed))

    peers = {name: scored(make) for name, make in simple_scorers(past, window_seconds=window).items()}
    peers |= {f"RecTools {kind}": sequenced(kind) for kind in ("SASRec", "BERT4Rec")}
    return {name: make for name, make in peers.items() if not options.only or name in options.only}


def _answers(peers: Mapping[str, Callable[[], Answers]], past: Past, options: argparse.Namespace) -> dict[str, Answers]:
    """Let each peer answer; one whose package is missing is left out with the line that installs it."""
    answers: dict[str, Answers] = {}
    for name, make in peers.items():
        began = time.monotonic()
        paths = _cached_paths(name, options)
        if paths is not None and all(path.is_file() for path in paths):
            answers[name] = Answers(*(_lists(path, past) for path in paths))
            print(f"{name}: kept", flush=True)
            continue
        try:
            answers[name] = make()
        except ImportError as missing:
            package = "implicit" if "ALS" in name else "rectools"
            print(f"{name} left out, {missing}: {INSTALLS[package]}", flush=True)
            continue
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        for path, lists in zip(paths or (), (answers[name].every, answers[name].new), strict=False):
            workbench.write(path, ("user_id", "rank", "item_id"), _rows(lists, past))
    return answers


def _ranked(score: baselines.Scorer, past: Past, test: Test) -> Answers:
    """Rank all that the shop had for each user, once with the history's items and once without."""
    answers = Answers()
    for user in test.users:
        scores = np.where(past.available, score(past.profile(user), past.state, past.items), -np.inf)
        answers.every[user] = competitors.best_rows(scores, N_LISTED)
        scores[list(test.history[user])] = -np.inf
        answers.new[user] = competitors.best_rows(scores, N_LISTED)
    return answers


def _figures(answers: Answers, test: Test) -> dict[str, Figure]:
    """Return each column by user, in the order of the users; a column without lists of its kind has no cases."""
    cases: dict[str, list[tuple[float, float]]] = {name: [] for name in COLUMNS}
    nothing = (0.0, 0.0)
    for user in test.users:
        bought, ranked = test.bought[user], answers.every.get(user, [])
        ndcg = judging.list_ndcg(ranked, bought) if answers.every else nothing
        cases["NDCG@10"].append(ndcg)
        cases["HR@10"].append(judging.list_hit(ranked, bought) if answers.every else nothing)
        cases["unseen NDCG@10"].append(ndcg if user in test.unseen else nothing)
        bought = bought - test.history[user]
        ranked = [item for item in answers.new.get(user, []) if item not in test.history[user]]
        cases["new NDCG@10"].append(judging.list_ndcg(ranked, bought) if answers.new else nothing)
        cases["new HR@10"].append(judging.list_hit(ranked, bought) if answers.new else nothing)
    return {name: Figure.of(column) for name, column in cases.items()}


def _show(figures: Mapping[str, Mapping[str, Figure]], ours: Sequence[str], *, seed: int) -> None:
    first = next(iter(figures.values()), None)
    if first is None:
        raise InputError("Nothing to show: no peer could be made and no run was given.")
    rows = [
        [name, *(judging.figure_text(by_column[column]) for column in COLUMNS)] for name, by_column in figures.items()
    ]
    header = ["list", *(f"{column} ({first[column].n_cases})" for column in COLUMNS)]
    print(f"\n{judging.markdown(header, rows)}")
    for run in ours[:1]:
        gaps = [
            [name, *(judging.gain_text(figures[run][column], theirs[column], seed=seed) for column in COLUMNS)]
            for name, theirs in figures.items()
            if name != run
        ]
        print(f"\n{run} - peer, 95 % interval over users\n{judging.markdown([f'{run} -', *COLUMNS], gaps)}")


def _read_test(options: argparse.Namespace, past: Past) -> Test:
    row = {item_id: index for index, item_id in enumerate(past.items.ids)}
    requested = dict.fromkeys(line["user_id"] for line in read(options.users, "user_id") if line["user_id"])
    bought: dict[str, set[int]] = {user: set() for user in requested}
    n_unknown = 0
    for line in read(options.truth, "user_id", "item_id"):
        if line["user_id"] in bought and line["item_id"] in row:
            bought[line["user_id"]].add(row[line["item_id"]])
        else:
            n_unknown += 1
    if n_unknown:
        print(f"{n_unknown} rows of {options.truth.name} left out: user not asked for, or item not in the catalogue")
    users = tuple(user for user in requested if bought[user])
    if not users:
        raise InputError(f"{options.truth} names no user of {options.users}: check the ids of both.")
    n_learned = int(past.learned.visitor.max(initial=-1)) + 1
    return Test(
        users,
        {user: frozenset(bought[user]) for user in users},
        {user: frozenset(past.profile(user).item.tolist()) for user in users},
        frozenset(user for user in users if past.visitors.get(user, n_learned) >= n_learned),
    )


def _read_runs(options: argparse.Namespace, past: Past) -> dict[str, Answers]:
    runs: dict[str, Answers] = {}
    for text in options.run:
        name, path = judging.read_named(text)
        runs.setdefault(name, Answers()).every = _lists(path, past)
    for text in options.run_new:
        name, path = judging.read_named(text)
        runs.setdefault(name, Answers()).new = _lists(path, past)
    return runs


def _lists(path: Path, past: Past) -> Lists:
    row = {item_id: index for index, item_id in enumerate(past.items.ids)}
    return {user: [row.get(item, -1) for item in ranked] for user, ranked in judging.read_lists(path).items()}


def _rows(lists: Lists, past: Past) -> Iterable[tuple[str, int, str]]:
    for user, ranked in lists.items():
        yield from ((user, rank, past.items.ids[item]) for rank, item in enumerate(ranked, 1))


def _cached_paths(name: str, options: argparse.Namespace) -> tuple[Path, Path] | None:
    """Return the files that hold a peer's lists; their name depends on the input files, minutes and seed."""
    if options.keep is None:
        return None
    options.keep.mkdir(parents=True, exist_ok=True)
    files = [zlib.crc32(path.read_bytes()) for path in (options.items, options.events, options.users)]
    settings = repr([name, files, options.at, options.days, options.minutes, options.seed])
    plain = "".join(letter if letter.isalnum() else "-" for letter in f"{name}-{zlib.crc32(settings.encode()):08x}")
    return Path(options.keep) / f"{plain}.csv", Path(options.keep) / f"{plain}-new.csv"


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("items", "events", "users", "truth"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--extra-events", type=Path, help="histories of users that training never sees")
    parser.add_argument("--at", default="", help="the moment of the lists (default: just after the last event)")
    parser.add_argument("--run", action="append", default=[], help="NAME=FILE: lists of all items; the first is ours")
    parser.add_argument("--run-new", action="append", default=[], help="NAME=FILE: lists of items new to the user")
    parser.add_argument("--keep", type=Path, help="folder of what the peers answered")
    parser.add_argument("--only", action="append", default=[], help="name of a peer, may be given again")
    parser.add_argument("--days", type=float, default=30.0, help="of the window before, on which peers are tuned")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, for each sequence model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(sys.argv[1:])
