"""The peers of the benchmarks: small shops with a known answer, matching files, missing packages."""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import recommendation_peers, search_peers, splits
from benchmarks.search_rivals import Bm25, Fusion, Shuffled, stems
from benchmarks.search_tuning import Graded, _batches, tuned_cross_encoder, tuned_encoder
from benchmarks.workbench import InputError

TITLES = ("red lamp", "blue lamps", "garden hose", "red garden lamp shade")
SIMPLE = ("random", "popularity, 14 days", "own frequency + popularity", "item-kNN", "Markov chain of orders")


def write(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows, ""]))
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def figures(output: str, name: str) -> list[str]:
    """The cells of the last row of a name in what was printed."""
    return [cell.strip() for line in output.splitlines() if line.startswith(f"| {name} |") for cell in line.split("|")][
        2:-1
    ]


def test_words_are_found_by_their_stem_and_rare_ones_weigh_more() -> None:
    words = Bm25(TITLES)
    assert stems("Blue LAMPS, 12-in.") == ["blue", "lamp", "12", "in"]
    assert words.search("lamps", 10).tolist()[:2] == [0, 1]
    assert 2 not in words.search("lamps", 10)
    lamp, hose = words.score("lamp", np.arange(4, dtype=np.int32)), words.score("hose", np.arange(4, dtype=np.int32))
    # Lucene's idf: log(1 + (4 - 3 + .5) / (3 + .5)) and log(1 + (4 - 1 + .5) / (1 + .5)); lengths 2 of a mean of 2.5.
    count = 2.2 / (1 + 1.2 * (0.25 + 0.75 * 2 / 2.5))
    assert lamp[0] == pytest.approx(math.log1p(1.5 / 3.5) * count, rel=1e-5)
    assert hose.tolist() == pytest.approx([0, 0, math.log1p(3.5 / 1.5) * count, 0], rel=1e-5)


def test_fusion_adds_reciprocal_ranks() -> None:
    words = Bm25(TITLES)
    fused = Fusion((words, words))
    some = np.asarray([2, 0], np.int32)
    assert fused.score("red lamp", some).tolist() == pytest.approx([2 / 62, 2 / 61])
    assert fused.search("red lamp", 2).tolist() == words.search("red lamp", 2).tolist()


def test_order_at_random_is_the_same_for_the_same_seed() -> None:
    first, again, other = (Shuffled(4, seed).search("lamp", 4).tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_batch_of_grades_ends_with_random_titles_at_the_lowest() -> None:
    graded = Graded(("lamp",) * 60, np.zeros(60, np.int32), np.ones(60, np.float32))
    queries, rows, grade = next(_batches(graded, np.arange(60), 4, 8, seed=0))
    assert len(queries) == len(rows) == 32
    assert grade.tolist() == [1.0] * 24 + [0.0] * 8


def test_models_are_tuned_for_the_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    graded = Graded(("lamp", "hose") * 40, np.asarray([0, 2] * 40, np.int32), np.ones(80, np.float32))
    encoder = tuned_encoder(TITLES, graded, minutes=0.005, seed=0)
    assert encoder.encode(["red lamp"]).shape == (1, 384)
    cross = tuned_cross_encoder(TITLES, graded, minutes=0.005, seed=0)
    assert cross.predict([("lamp", "red lamp")]).shape == (1,)
    output = capsys.readouterr().out
    assert "bi-encoder: " in output
    assert "of a processor" in output


@pytest.fixture
def search(tmp_path: Path) -> list[str]:
    """Files of a search: two queries to learn from, one that judges, 150 products."""
    others = (f"x{number},thing {number}" for number in range(150))
    named = {
        "products": write(tmp_path / "p.csv", "product_id,title", "a,red lamp", "b,hose", "c,red shade", *others),
        "train-queries": write(tmp_path / "q.csv", "query_id,query", "q1,lamp", "q2,hose"),
        "train-labels": write(tmp_path / "l.csv", "query_id,product_id,relevance", "q1,a,3", "q2,b,2", "q2,a,1"),
        "test-queries": write(tmp_path / "t.csv", "query_id,query", "q3,red lamp"),
        "test-labels": write(tmp_path / "g.csv", "query_id,product_id,relevance", "q3,a,3", "q3,c,2", "q3,b,1"),
    }
    return [part for name, path in named.items() for part in (f"--{name}", str(path))]


def test_candidates_are_the_judged_and_a_hundred_others_and_stay_the_same(search: list[str], tmp_path: Path) -> None:
    for name in ("one.csv", "two.csv"):
        search_peers.main([*search, "--write-candidates", str(tmp_path / name)])
    first = rows(tmp_path / "one.csv")
    assert first == rows(tmp_path / "two.csv")
    assert [row["product_id"] for row in first[:3]] == ["a", "c", "b"]
    assert len({row["product_id"] for row in first}) == 103


def test_search_table_has_peers_run_and_difference(
    search: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write(tmp_path / "run.csv", "query_id,product_id,score", "q3,a,1", "q3,c,3", "q3,b,2")
    arguments = [*search, "--run", f"ours={run}", "--whole", f"ours={run}", "--keep", str(tmp_path / "kept")]
    arguments += ["--only", "random", "--only", "BM25, stems"]
    search_peers.main(arguments)
    output = capsys.readouterr().out
    assert figures(output, "BM25, stems")[:5] == ["1", "1.0000", "1.0000", "1.0000", "1.0000"]
    # Pairs: a-c wrong, a-b wrong, c-b right. NDCG: gains 1, 0, 3 at places 1 to 3 against 3, 1, 0.
    ndcg = (1 + 3 / 2) / (3 + 1 / math.log2(3))
    assert figures(output, "ours")[:4] == ["1", ".3333", f"{ndcg:.4f}"[1:], "1.0000"]
    assert "ours - peer, 95 % interval over queries" in output
    answers = json.loads(next((tmp_path / "kept").glob("BM25*")).read_text())
    assert set(answers["scores"]) == {"q3"}
    search_peers.main(arguments)
    again = capsys.readouterr().out
    assert "BM25, stems: kept" in again
    assert output[output.index("| ranking") :] == again[again.index("| ranking") :]


def test_labels_of_other_queries_are_refused(search: list[str], tmp_path: Path) -> None:
    other = write(tmp_path / "other.csv", "query_id,product_id,relevance", "q9,a,3")
    with pytest.raises(InputError):
        search_peers.main([*search, "--test-labels", str(other)])


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Events of forty users: everybody buys what they bought before, and cups are bought with saucers."""
    lines = []
    for user in range(40):
        first, second = ("cup", "saucer") if user % 2 else ("hose", "tap")
        for day, item in enumerate((first, second, first, second), 1):
            lines.append(f"u{user},{item},2020-01-{day:02},o{user}-{day},purchase")
        lines.append(f"u{user},{first},2020-01-10,o{user}-10,purchase")
        lines.append(f"u{user},{second},2020-01-10,o{user}-11,cancel")
    lines += ["new,cup,2020-01-10,n1,purchase", ",cup,2020-01-02,g1,purchase"]
    return write(tmp_path / "raw.csv", "user_id,item_id,timestamp,order_id,event_type", *lines)


def test_split_in_time_keeps_unseen_users_and_the_future_apart(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "split"
    splits.main(["time", "--events", str(raw), "--at", "2020-01-05", "--unseen", "0.3", "--out", str(out)])
    learned, extra = ({row["user_id"] for row in rows(out / name)} for name in ("events.csv", "extra.csv"))
    users, truth = [row["user_id"] for row in rows(out / "users.csv")], rows(out / "truth.csv")
    assert extra
    assert not learned & extra
    assert "" in learned
    assert set(users) == (learned | extra) - {""}  # who has no past is not asked for
    assert {row["item_id"] for row in truth} == {"cup", "hose"}  # what was cancelled is no truth
    assert all(row["timestamp"] < "2020-01-05" for row in rows(out / "events.csv"))


def test_last_split_holds_out_what_each_user_did_last(tmp_path: Path) -> None:
    events = write(tmp_path / "e.csv", "user_id,position,item_id", "u,0,a", "u,2,c", "u,1,b", "v,0,a", "w,0,b", "w,1,a")
    splits.main(["last", "--events", str(events), "--unseen", "0", "--out", str(tmp_path / "s")])
    assert [(row["user_id"], row["item_id"]) for row in rows(tmp_path / "s" / "truth.csv")] == [("u", "c"), ("w", "a")]
    assert rows(tmp_path / "s" / "extra.csv") == []
    left = rows(tmp_path / "s" / "events.csv")
    assert sorted((row["user_id"], row["item_id"]) for row in left) == [
        ("u", "a"), ("u", "b"), ("v", "a"), ("w", "b")
    ]  # fmt: skip


def test_queries_of_the_test_are_never_learned_from(tmp_path: Path) -> None:
    names = [f"q{number}" for number in range(50)]
    queries = write(tmp_path / "q.csv", "query_id,query", *(f"{name},lamp" for name in names))
    labels = write(tmp_path / "l.csv", "query_id,product_id,relevance", *(f"{name},a,3" for name in names))
    splits.main(["queries", "--queries", str(queries), "--labels", str(labels), "--out", str(tmp_path)])
    train, test = ({row["query_id"] for row in rows(tmp_path / f"{part}-labels.csv")} for part in ("train", "test"))
    assert train | test == set(names)
    assert not train & test
    assert test == {row["query_id"] for row in rows(tmp_path / "test-queries.csv")}


@pytest.fixture
def shop(raw: Path, tmp_path: Path) -> list[str]:
    """Files of a recommendation, split from the raw events."""
    out = tmp_path / "split"
    splits.main(["time", "--events", str(raw), "--at", "2020-01-05", "--unseen", "0.3", "--out", str(out)])
    items = write(tmp_path / "items.csv", "item_id,title", "cup,Cup", "saucer,Saucer", "hose,Hose", "tap,Tap", "x,New")
    named = {
        "items": items, "events": out / "events.csv", "extra-events": out / "extra.csv", "users": out / "users.csv",
        "truth": out / "truth.csv",
    }  # fmt: skip
    return [part for name, path in named.items() for part in (f"--{name}", str(path))]


def test_recommendation_table_has_peers_run_and_difference(
    shop: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = rows(Path(shop[-1]))
    run = write(
        tmp_path / "run.csv", "user_id,rank,item_id", *(f"{row['user_id']},1,{row['item_id']}" for row in truth)
    )
    arguments = [*shop, "--at", "2020-01-05", "--days", "1", "--run", f"ours={run}", "--keep", str(tmp_path / "kept")]
    arguments += [part for name in SIMPLE for part in ("--only", name)]
    recommendation_peers.main(arguments)
    output = capsys.readouterr().out
    perfect, habit, chain = (figures(output, name)[:5] for name in ("ours", SIMPLE[2], SIMPLE[4]))
    assert perfect == ["1.0000", "1.0000", "1.0000", "–", "–"]
    assert habit[1:3] == ["1.0000", habit[2]]
    assert float(habit[0]) < 1  # two items were bought equally often
    assert chain[0] == chain[2] == "1.0000"  # after a saucer comes a cup, also for the unseen
    assert habit[3] == "–"  # everything that was bought was in the history
    assert "ours - peer, 95 % interval over users" in output
    recommendation_peers.main(arguments)
    assert f"{SIMPLE[1]}: kept" in capsys.readouterr().out


def test_peer_without_its_package_is_left_out_with_the_line_that_installs_it(
    shop: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("implicit", "implicit.als", "rectools", "rectools.dataset", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    only = [part for name in ("random", "implicit ALS", "RecTools SASRec") for part in ("--only", name)]
    recommendation_peers.main([*shop, "--at", "2020-01-05", "--days", "1", *only])
    output = capsys.readouterr().out
    assert "implicit ALS left out" in output
    assert "pip install implicit" in output
    assert "pip install --no-deps rectools" in output
    assert figures(output, "random")


def test_truth_of_other_users_is_refused(shop: list[str], tmp_path: Path) -> None:
    other = write(tmp_path / "other.csv", "user_id,item_id", "nobody,cup")
    with pytest.raises(InputError):
        recommendation_peers.main([*shop, "--truth", str(other)])
