"""The shelf from a snapshot gives what the one from SQL gives; what is wrong with a snapshot costs only time."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from django.utils import timezone

from recommender.exceptions import SnapshotError
from recommender.features import persona
from recommender.features.persona import cached_item_terms
from recommender.features.shop_state import NEIGHBOUR_KINDS
from recommender.models import Bundle, Erasure, Item, ItemStatistics, ItemVector, QueryStatistics, Synonym
from recommender.serving import sharing, snapshot
from recommender.serving.loading import load_shelf, refresh_shelf
from recommender.serving.shelf import Shelf

ENCODER = "e" * 32
NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(seconds=30)
QUERIES = (
    "red teapot",
    "teapott",
    "kettl",
    "wh-1000xm5",
    "xm5",
    "500 ml",
    "0.5 l",
    "blue teapots",
    "cofee mug",
    "lamp",
    "p3-77",
    "4006381333931",
    "tea cup",
    "红色杯",
    "nothing of the kind",
    "glazed",
    "newword",
    "oak newcomer",
)
TITLES = (
    "Red teapot",
    "Blue teapots 500ml",
    "Oak lamp",
    "Old lamp",
    "Coffee mug glazed",
    "Coffee mug red",
    "Headphones WH-1000XM5",
    "Teacup set",
    "红色陶瓷马克杯",
    "Steel kettle 1.5 l",
    "Glass kettle",
    "Red coffee mug for two",
    "Red coffee mug for one",
)


@pytest.fixture(autouse=True)
def folder(tmp_path, settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "DIRECTORY": tmp_path, "SNAPSHOT_ITEMS": 0}
    return tmp_path / "shelf" / snapshot.WITHOUT_BUNDLE


def add_item(number: int, title: str, **values: object) -> Item:
    defaults = {
        "label": "shop.Product",
        "object_id": str(number),
        "title": title,
        "text": f"{title} . homeware",
        "text_hash": "h",
        "category": "homeware" if number % 2 else "kitchen",
        "brand": ("Acme", "", "Lux Sol")[number % 3],
        "currency": "GBP",
        "price": Decimal("2.50") + number,
        "margin": None if number % 2 else Decimal("0.125"),
        "url": f"/item/{number}/",
        "attributes": {"colour": "red", "gtin": "4006381333931"} if number == 1 else {},
        "updated_at": NOW,
        "first_seen_at": NOW - dt.timedelta(days=number),
        "is_active": number != 3,
        "is_available": number != 2,
    }
    return Item.objects.create(item_id=f"p{number}-77", **defaults | values)


def add_vector(item: Item, seed: int, at: dt.datetime = NOW) -> None:
    raw = np.random.default_rng(seed).standard_normal(8).astype("<f4").tobytes()
    ItemVector.objects.update_or_create(
        item=item, encoder_hash=ENCODER, defaults={"vector": raw, "text_hash": "h", "updated_at": at}
    )


def add_statistics(item: Item, n: float, other: Item, at: dt.datetime = NOW) -> None:
    values = {"n_7": n, "n_total": n, "computed_at": at, "last_event_at": NOW, "first_event_at": NOW}
    pairs = {"basket_neighbours": [[other.item_id, 0.5]], "visitor_neighbours": [[other.item_id, 0.25, 0]]}
    ItemStatistics.objects.update_or_create(item=item, defaults=values | pairs)


@pytest.fixture
def items(db) -> list[Item]:
    items = [add_item(number, title) for number, title in enumerate(TITLES)]
    for number, item in enumerate(items[:-1]):
        add_vector(item, number)
        add_statistics(item, float(number), items[number - 1])
    Synonym.objects.create(words="pot", meaning="kettle")
    led = [[items[0].item_id, 9]]
    QueryStatistics.objects.create(query="teapot red", n_visitors=9, n_searches=9, items=led, computed_at=NOW)
    return items


def taken_over(shelf: Shelf) -> Shelf:
    """The shelf, written and read again."""
    return snapshot.read_from(snapshot.write(shelf, ""), ENCODER).sharing(shelf)


def reads(shelf: Shelf) -> dict[str, object]:
    """Everything that a shelf is read for, by item id where rows may differ."""
    items, state, ids = shelf.items, shelf.state, list(shelf.items.ids)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    columns = {
        name: [getattr(shelf, name)[row] for row in order]
        for name in (
            "titles",
            "brands",
            "labels",
            "object_ids",
            "urls",
            "images",
            "attributes",
            "currency",
            "margins",
            "available",
            "stamps",
        )
    }
    rows = np.array(order, np.int32)
    hits = {query: shelf.lexical.search(query, 9) for query in QUERIES}
    terms = cached_item_terms(items)
    return {
        **columns,
        "stamps": np.nan_to_num(shelf.stamps[order]).tolist(),
        "ids": [ids[row] for row in order],
        "rows": [shelf.row(item_id) >= 0 and ids[shelf.row(item_id)] for item_id in (*sorted(ids), "gone")],
        "texts": [items.texts[row] for row in order],
        "price": np.nan_to_num(items.price[order]).tolist(),
        "category": [(*items.category_names, "")[code] for code in items.category[order]],
        "first_seen": items.first_seen[order].tolist(),
        "active": items.active[order].tolist(),
        "vectors": None if shelf.vectors is None else shelf.vectors[order].tolist(),
        "n_vectors": shelf.n_vectors,
        "counts": state.counts[order].tolist(),
        "popularity": state.popularity[order].tolist(),
        "times": (state.last_event_at[order].tolist(), state.first_event_at[order].tolist(), state.at),
        "neighbours": [
            [[(ids[other], score) for other, score in getattr(state, kind).of(row)] for row in order]
            for kind in NEIGHBOUR_KINDS
        ],
        "hits": {
            query: [(ids[row], float(score)) for row, score in zip(hit.rows, hit.scores, strict=True)]
            for query, hit in hits.items()
        },
        "whole": {query: sorted(ids[row] for row in hit.whole) for query, hit in hits.items()},
        "corrected": {query: hit.corrected_query for query, hit in hits.items()},
        "suggested": {query: shelf.suggest(query[:3], 6) for query in QUERIES},
        "relaxed": {query: shelf.lexical.relaxed(query, rows) for query in QUERIES},
        "scores": {query: shelf.lexical.score(query, rows).tolist() for query in QUERIES},
        "wording": {query: shelf.wording.features(query, rows).tolist() for query in QUERIES},
        "intent": {query: shelf.understand(query) for query in QUERIES},
        "naming": {query: shelf.understanding and shelf.understanding.naming(query) for query in QUERIES},
        "words": [sorted(np.round(terms.of(row)[1], 6).tolist()) for row in order],
        "version": shelf.version,
    }


def change(items: list[Item]) -> None:
    """A new item, another title, a hidden item, one without a price, another vector, other statistics."""
    newcomer = add_item(40, "Oak newcomer glazed", updated_at=LATER, category="garden", brand="Neu")
    add_vector(newcomer, 40, LATER)
    Item.objects.filter(pk=items[0].pk).update(
        title="Red newword pot", text="Red newword pot . homeware", updated_at=LATER
    )
    Item.objects.filter(pk=items[4].pk).update(is_active=False, updated_at=LATER)
    Item.objects.filter(pk=items[5].pk).update(price=None, attributes={"colour": "blue"}, updated_at=LATER)
    add_vector(items[6], 60, LATER)
    add_statistics(items[7], 70.0, newcomer, LATER)


def test_shelf_of_a_snapshot_gives_what_the_one_of_sql_gives(items):
    plain = load_shelf(ENCODER, at=NOW)
    assert reads(taken_over(plain)) == reads(plain)


def test_both_take_up_the_same_changes(items):
    plain = load_shelf(ENCODER, at=NOW)
    mapped = taken_over(plain)
    before = reads(mapped)
    change(items)
    fresh_mapped, fresh_plain = refresh_shelf(mapped, at=LATER), refresh_shelf(plain, at=LATER)
    after = reads(fresh_mapped)
    assert after == reads(fresh_plain)
    assert after["hits"]["newword"] != before["hits"]["newword"]
    assert reads(mapped) == before, "an answer that has begun goes on with what it had"


def test_a_snapshot_of_a_changed_shelf_holds_the_changes(items):
    mapped = taken_over(load_shelf(ENCODER, at=NOW))
    change(items)
    fresh = refresh_shelf(mapped, at=LATER)
    again = taken_over(fresh)
    for name, value in reads(fresh).items():
        assert reads(again)[name] == value, name
    newest = load_shelf(ENCODER, at=LATER)
    assert again.version == newest.version
    assert reads(again)["vectors"] == reads(newest)["vectors"]


@pytest.mark.parametrize("n_items", [0, 1])
def test_a_shop_of_hardly_any_item_has_a_snapshot_too(db, n_items):
    for number in range(n_items):
        add_item(number, TITLES[number])
    plain = load_shelf(None, at=NOW)
    mapped = snapshot.read_from(snapshot.write(plain, ""), "").sharing(plain)
    assert reads(mapped) == reads(plain)
    add_item(30, "Oak lamp", updated_at=LATER)
    assert reads(refresh_shelf(mapped, at=LATER)) == reads(refresh_shelf(plain, at=LATER))


def test_a_changed_vector_copies_no_other(items):
    mapped = taken_over(load_shelf(ENCODER, at=NOW))
    add_vector(items[6], 60, LATER)
    fresh = refresh_shelf(mapped, at=LATER)
    assert type(fresh.vectors.base) is type(mapped.vectors.base), "the new version stands on the same file"
    assert not np.array_equal(fresh.vectors[6], mapped.vectors[6])
    assert np.array_equal(np.delete(fresh.vectors, 6, axis=0), np.delete(mapped.vectors, 6, axis=0))
    with pytest.raises(ValueError, match="read-only"):
        fresh.vectors[0] = 0


def test_of_changed_items_only_their_texts_are_read(items, monkeypatch):
    """However often: the second change finds the first beside the files."""
    shelf = taken_over(load_shelf(ENCODER, at=NOW))
    texts: list[str] = []
    monkeypatch.setattr(persona, "terms", lambda text: texts.append(text) or {})
    for number in (0, 2):
        at = NOW + dt.timedelta(seconds=number + 1)
        Item.objects.filter(pk=items[number].pk).update(title=f"New {number}", text=f"New {number}", updated_at=at)
        shelf = refresh_shelf(shelf, at=at)
    assert texts == ["New 0", "New 2"]


def cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


def edited(path: Path, **facts: object) -> None:
    manifest = path / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **facts}))


DAMAGE = {
    "columns are cut off": lambda path: cut(path / "columns.bin"),
    "vectors are cut off": lambda path: cut(path / "vectors.npy"),
    "vectors are missing": lambda path: (path / "vectors.npy").unlink(),
    "vectors are of another shape": lambda path: shutil.copy(path / "terms-term.npy", path / "vectors.npy"),
    "the manifest is missing": lambda path: (path / "manifest.json").unlink(),
    "the manifest is cut off": lambda path: cut(path / "manifest.json"),
    "the manifest is a list": lambda path: (path / "manifest.json").write_text("[]"),
    "an array is missing": lambda path: edited(path, arrays={}),
    "other code wrote it": lambda path: edited(path, code="0" * 16),
    "it is for another encoder": lambda path: edited(path, encoder_hash="f" * 32),
    "it has other rows": lambda path: edited(path, n_items=3),
    "a fact is missing": lambda path: edited(path, floors=None),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_found_and_the_snapshot_before_serves(items, damage, caplog):
    shelf = load_shelf(ENCODER, at=NOW)
    first, second = snapshot.write(shelf, ""), snapshot.write(shelf, "")
    assert snapshot.read("", ENCODER).origin == second.name
    damage(second)
    with pytest.raises(SnapshotError):
        snapshot.read_from(second, ENCODER)
    assert snapshot.read("", ENCODER).origin == first.name
    assert caplog.text.count("a snapshot of the shelf is not read") == 1
    damage(first)
    assert snapshot.read("", ENCODER) is None


def test_only_two_snapshots_stay(items, folder):
    shelf = load_shelf(ENCODER, at=NOW)
    written = [snapshot.write(shelf, "") for _ in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == [path.name for path in written[1:]]


def test_first_process_writes_what_the_second_maps(db, folder):
    add_item(1, "Red teapot")
    first = sharing.shelf_of("", None)
    assert [path.name for path in folder.iterdir() if path.name[0].isdigit()] == [first.origin]
    add_item(5, "Oak lamp", updated_at=timezone.now())
    second = sharing.shelf_of("", None)
    assert second.origin == first.origin
    assert set(second.items.ids) == {"p1-77", "p5-77"}
    shutil.rmtree(folder)
    assert set(sharing.shelf_of("", None).items.ids) == {"p1-77", "p5-77"}


def test_small_shop_has_no_snapshot(db, folder, settings):
    add_item(1, "Red teapot")
    for fewest in (2, None):
        settings.RECOMMENDER = {**settings.RECOMMENDER, "SNAPSHOT_ITEMS": fewest}
        assert sharing.shelf_of("", None).origin == ""
        sharing.write_snapshot()
        assert not folder.exists()


def test_folder_that_cannot_be_written_costs_only_time(db, settings, tmp_path, caplog):
    add_item(1, "Red teapot")
    (tmp_path / "file").write_text("no folder")
    settings.RECOMMENDER = {**settings.RECOMMENDER, "DIRECTORY": tmp_path / "file"}
    shelf = sharing.shelf_of("", None)
    assert (list(shelf.items.ids), shelf.origin) == (["p1-77"], "")
    assert caplog.text.count("no snapshot of the shelf can be written") == 1


def test_worker_writes_once_enough_has_changed_and_processes_take_it_over(db, folder):
    for number in range(3):
        add_item(number, TITLES[number])
    sharing.write_snapshot()
    running = sharing.shelf_of("", None)
    sharing.write_snapshot()
    assert snapshot.newest("").name == running.origin, "nothing has changed"
    add_item(9, "Glass kettle", updated_at=timezone.now())
    sharing.write_snapshot()
    fresh = sharing.adopted(running, "")
    assert fresh.origin > running.origin
    assert set(fresh.items.ids) == {*running.items.ids, "p9-77"}


def test_worker_replaces_a_damaged_snapshot(db, folder):
    add_item(1, TITLES[0])
    shelf = load_shelf(None, at=NOW)
    snapshot.write(shelf, "")
    cut(snapshot.write(shelf, "") / "columns.bin")
    sharing.write_snapshot()
    assert snapshot.read_from(snapshot.newest(""), "").items.ids == ("p1-77",)


def test_worker_drops_deleted_rows(db, folder):
    for number in range(3):
        add_item(number, TITLES[number])
    sharing.write_snapshot()
    Item.objects.get(item_id="p1-77").delete()
    sharing.write_snapshot()
    assert set(snapshot.read("", "").items.ids) == {"p0-77", "p2-77"}


def test_worker_removes_the_snapshots_of_bundles_that_cannot_come_back(db, folder):
    add_item(1, TITLES[0])
    shelf = load_shelf(None, at=NOW)
    for name, state in (("before", Bundle.State.PREVIOUS), ("old", Bundle.State.ARCHIVED)):
        Bundle.objects.create(name=name, encoder_hash="", state=state)
        snapshot.write(shelf, name)
    snapshot.write(shelf, "gone")
    sharing.write_snapshot()
    assert {path.name for path in folder.parent.iterdir()} == {"words", "before"}


def test_no_snapshot_from_before_an_erasure_stays(db, folder):
    add_item(1, TITLES[0])
    QueryStatistics.objects.create(query="teapot", n_visitors=9, n_searches=9, items=[], computed_at=NOW)
    Bundle.objects.create(name="before", encoder_hash="", state=Bundle.State.PREVIOUS)
    for bundle in ("before", "", ""):
        snapshot.write(load_shelf(None, at=NOW), bundle)
    sharing.write_snapshot()
    written = sorted(folder.parent.glob("*/[0-9]*"))
    assert len(written) == 3
    Erasure.objects.create(state=Erasure.State.FINISHED, finished_at=timezone.now())
    sharing.write_snapshot()
    after = sorted(folder.parent.glob("*/[0-9]*"))
    assert len(after) == 1
    assert not {*after} & {*written}


def test_what_a_killed_process_was_writing_is_removed_after_an_hour(db, folder):
    add_item(1, TITLES[0])
    old, young = folder / ".writing-old", folder / ".writing-young"
    for path in (old, young):
        path.mkdir(parents=True)
    os.utime(old, (0, 0))
    sharing.write_snapshot()
    assert (old.exists(), young.exists()) == (False, True)


def test_unfinished_snapshot_is_never_read(db, folder, monkeypatch):
    add_item(1, "Red teapot")

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(snapshot, "write_arrays", full)
    assert sharing.shelf_of("", None).origin == ""
    assert [path.name for path in folder.iterdir()] == [".lock"]
