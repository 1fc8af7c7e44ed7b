"""What is copied into a vector engine: changes only, everything where it must be, and collections that come and go."""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from recommender import bundles, jobs, serving
from recommender.exceptions import EngineError, RunError
from recommender.models import Bundle, Item, ItemVector, VectorCollection
from recommender.retrieval.engine import ANYTHING, Condition, Space, VectorEngine
from recommender.serving import engine_sync, engines, near
from recommender.serving.engine_sync import SyncedBundle
from recommender.training import publication
from tests.conftest import DemoShop
from tests.engines.conftest import PATHS


@pytest.fixture
def engine(configured: Any) -> VectorEngine:
    guarded = engines.GuardedEngine.configured()
    assert guarded is not None
    return guarded.engine


def champion() -> Bundle:
    bundle = bundles.champion()
    assert bundle is not None
    return bundle


def only() -> tuple[VectorCollection, Space]:
    collection = VectorCollection.objects.get()
    return collection, bundles.space_of(collection)


def synced() -> SyncedBundle:
    (one,) = engine_sync.sync()
    return one


def settle() -> None:
    """Let everything be older than a sync reads back."""
    long_ago = timezone.now() - dt.timedelta(hours=1)
    Item.objects.update(updated_at=long_ago)
    ItemVector.objects.update(updated_at=long_ago)
    VectorCollection.objects.update(synced_until=timezone.now())


def item(index: int = 0) -> Item:
    return Item.objects.filter(is_active=True).order_by("pk")[index]


def found(engine: VectorEngine, one: Item, condition: Condition = ANYTHING) -> list[str]:
    """The ids nearest to the vector of an item."""
    _collection, space = only()
    vector = np.frombuffer(bytes(one.vectors.get(encoder_hash=space.encoder_hash).vector), "<f4")
    (hits,) = engine.search(space, vector[None], limit=3, condition=condition)
    return [item_id for item_id, _cosine in hits]


def test_first_sync_copies_every_active_item_and_is_complete(shop: DemoShop, engine: VectorEngine) -> None:
    hidden = item(4)
    Item.objects.filter(pk=hidden.pk).update(is_active=False)
    n = Item.objects.filter(is_active=True).count()
    assert synced() == SyncedBundle(champion().name, n, 0, n, is_full=True)
    collection, space = only()
    assert (collection.is_complete, collection.n_items, engine.count(space)) == (True, n, n)
    assert found(engine, item())[0] == item().item_id
    assert hidden.item_id not in found(engine, hidden)


def test_second_sync_copies_only_what_changed_since(shop: DemoShop, engine: VectorEngine) -> None:
    synced()
    settle()
    assert (synced().n_written, synced().is_full) == (0, False)
    one = item(2)
    Item.objects.filter(pk=one.pk).update(brand="Ada", price=3, updated_at=timezone.now())
    assert synced().n_written == 1
    assert found(engine, one, Condition(brands=("Ada",), min_price=3, max_price=3)) == [one.item_id]


def test_item_that_is_encoded_anew_is_copied(shop: DemoShop, engine: VectorEngine) -> None:
    synced()
    settle()
    one, other = item(2), item(3)
    vector = other.vectors.get().vector
    one.vectors.update(vector=vector, updated_at=timezone.now())
    assert synced().n_written == 1
    assert set(found(engine, other)[:2]) == {one.item_id, other.item_id}


def test_hidden_item_is_deleted_and_comes_back(shop: DemoShop, engine: VectorEngine) -> None:
    n = synced().n_items
    settle()
    one = item(2)
    Item.objects.filter(pk=one.pk).update(is_active=False, updated_at=timezone.now())
    assert (synced().n_items, one.item_id in found(engine, one)) == (n - 1, False)
    Item.objects.filter(pk=one.pk).update(is_active=True, updated_at=timezone.now())
    assert (synced().n_items, found(engine, one)[0]) == (n, one.item_id)


def test_row_that_was_deleted_leaves_the_engine(shop: DemoShop, engine: VectorEngine) -> None:
    n = synced().n_items
    settle()
    one = item(2)
    ItemVector.objects.filter(item=one).delete()
    again = synced()
    assert (again.is_full, again.n_deleted, again.n_items) == (True, 1, n - 1)


def test_engine_that_lost_its_collection_is_filled_again(shop: DemoShop, engine: VectorEngine) -> None:
    n = synced().n_items
    settle()
    engine.drop(only()[1])
    assert (synced().is_full, engine.count(only()[1])) == (True, n)
    engine.delete(only()[1], [item().item_id])
    settle()
    assert (synced().is_full, engine.count(only()[1])) == (True, n)


def test_broken_vector_is_left_out_and_does_not_copy_everything_each_time(
    shop: DemoShop, engine: VectorEngine, caplog: pytest.LogCaptureFixture
) -> None:
    item(2).vectors.update(vector=b"broken")
    n = Item.objects.filter(is_active=True).count()
    assert synced().n_items == n - 1
    assert "is broken (6 bytes) and left out" in caplog.text
    settle()
    assert not synced().is_full


def test_promotion_waits_until_the_collection_is_complete(
    shop: DemoShop, engine: VectorEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = champion()
    with pytest.raises(RunError, match=rf"does not have all vectors .* recommender_engine_sync --bundle {bundle.name}"):
        bundles.require_promotable(bundle)

    def fail(*args: object, **options: object) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(engine), "finish", fail)
        with pytest.raises(ConnectionError):
            engine_sync.sync()
    with pytest.raises(RunError, match="does not have all vectors"):
        bundles.require_promotable(bundle)
    serving.reload()
    assert near._spaces.complete == {}
    engine_sync.sync(name=bundle.name)
    bundles.require_promotable(bundle)
    serving.reload()
    assert near._spaces.complete == {bundle.name: only()[1]}


def test_promotion_waits_for_nothing_without_an_engine(shop: DemoShop) -> None:
    bundles.require_promotable(champion())


def moved_bundle(tmp_path: Path) -> Bundle:
    """A candidate with the encoder of bundle 0, whose behaviour moves the first item to where the second is."""
    folder = tmp_path / "moved"
    folder.mkdir()
    for path in bundles.fetch(champion().name).iterdir():
        if path.name != "manifest.json":
            (folder / path.name).write_bytes(path.read_bytes())
    first, second = (np.frombuffer(bytes(item(n).vectors.get().vector), "<f4") for n in (0, 1))
    np.save(folder / "delta.npy", (second - first)[None].astype(np.float32), allow_pickle=False)
    (folder / "delta_ids.json").write_text(json.dumps([item(0).item_id]))
    return bundles.write_bundle(folder, is_trained=True, encoder_hash=champion().encoder_hash)


def test_bundle_that_moves_its_vectors_has_a_collection_of_its_own(
    shop: DemoShop, engine: VectorEngine, tmp_path: Path
) -> None:
    bundle = moved_bundle(tmp_path)
    assert {one.bundle for one in engine_sync.sync()} == {champion().name, bundle.name}
    space = bundles.complete_spaces()[bundle.name]
    vector = np.frombuffer(bytes(item(1).vectors.get().vector), "<f4")
    (hits,) = engine.search(space, vector[None], limit=2)
    assert {item_id for item_id, _cosine in hits} == {item(0).item_id, item(1).item_id}
    assert [cosine for _item_id, cosine in hits] == pytest.approx([1, 1], abs=1e-4)
    assert bundles.complete_spaces()[champion().name] != space


def test_collection_of_a_deleted_bundle_is_dropped_and_no_other(
    shop: DemoShop, engine: VectorEngine, tmp_path: Path
) -> None:
    bundle = moved_bundle(tmp_path)
    engine_sync.sync()
    space = bundles.complete_spaces()[bundle.name]
    foreign = Space("another shop", 2)
    engine.create(foreign)
    bundle.delete()
    engine_sync.sync()
    assert (engine.dimension(space), engine.dimension(foreign)) == (0, 2)
    assert engine.count(only()[1]) == Item.objects.filter(is_active=True).count()


def test_older_candidate_has_a_collection_only_where_it_is_named(
    shop: DemoShop, engine: VectorEngine, tmp_path: Path
) -> None:
    bundle = moved_bundle(tmp_path)
    Bundle.objects.filter(pk=bundle.pk).update(state=Bundle.State.ARCHIVED)
    assert [one.bundle for one in engine_sync.sync()] == [champion().name]
    assert [one.bundle for one in engine_sync.sync(name=bundle.name)] == [bundle.name]
    assert {one.bundle for one in engine_sync.sync()} == {champion().name, bundle.name}


def test_rebuild_fills_a_collection_anew(shop: DemoShop, engine: VectorEngine) -> None:
    synced()
    collection, space = only()
    engine.drop(space)
    engine.create(Space(space.encoder_hash, 2, space.delta_hash))
    with pytest.raises(EngineError, match=r"has 2 dimensions, .* --rebuild"):
        engine_sync.sync()
    (again,) = engine_sync.sync(rebuild=True)
    assert again.n_items == engine.count(space) == collection.n_items


def test_job_of_the_workers_fills_the_engine(shop: DemoShop, engine: VectorEngine) -> None:
    assert jobs.perform("sync_engine", jobs.WORK["sync_engine"])
    assert only()[0].is_complete


def test_nothing_is_done_without_an_engine(shop: DemoShop) -> None:
    assert engine_sync.sync() == []
    assert jobs.perform("sync_engine", jobs.WORK["sync_engine"])
    assert not VectorCollection.objects.exists()


def test_nothing_is_done_before_there_are_vectors(demo_shop: DemoShop, engine: VectorEngine) -> None:
    bundles.ensure_champion()
    assert engine_sync.sync() == []


def call(*arguments: str) -> str:
    output = io.StringIO()
    call_command("recommender_engine_sync", *arguments, stdout=output, stderr=io.StringIO())
    return output.getvalue()


def test_command_says_what_it_did(shop: DemoShop, engine: VectorEngine) -> None:
    n = Item.objects.filter(is_active=True).count()
    assert f"{n} written, 0 deleted, {n} in the engine" in call()
    assert f"{n} written" in call("--rebuild", "--bundle", champion().name)


def test_command_names_what_is_missing(shop: DemoShop, settings: Any) -> None:
    with pytest.raises(CommandError, match=r"VECTOR_ENGINE'\] names no engine"):
        call()
    nowhere = {"engine": PATHS["pgvector"], "dsn": "postgresql://nobody@127.0.0.1:1/nothing"}
    settings.RECOMMENDER = settings.RECOMMENDER | {"VECTOR_ENGINE": nowhere}
    with pytest.raises(CommandError, match=r"There is no bundle 'none'"):
        call("--bundle", "none")
    with pytest.raises(CommandError, match=r"The vector engine does not answer: OperationalError: .*refused"):
        call()
    settings.RECOMMENDER = settings.RECOMMENDER | {"VECTOR_ENGINE": "nothing.Like"}
    with pytest.raises(CommandError, match="cannot be imported"):
        call()


def test_command_says_where_there_are_no_vectors(demo_shop: DemoShop, engine: VectorEngine) -> None:
    bundles.ensure_champion()
    assert "run recommender_sync first" in call()


def test_training_does_not_fail_with_the_engine(
    shop: DemoShop, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = {"engine": PATHS["pgvector"], "dsn": "postgresql://nobody@127.0.0.1:1/nothing"}
    settings.RECOMMENDER = settings.RECOMMENDER | {"VECTOR_ENGINE": nowhere}
    publication._fill_engine(champion())
    assert [record.levelno for record in caplog.records if record.name == publication.__name__] == [logging.ERROR]
    with pytest.raises(RunError, match="does not have all vectors"):
        bundles.require_promotable(champion())


def test_check_finds_a_collection_of_another_dimension_and_an_engine_that_does_not_answer(
    shop: DemoShop, engine: VectorEngine, settings: Any
) -> None:
    from recommender.serving.engine_checks import check_collections

    synced()
    assert check_collections(None, databases=["default"]) == []
    _collection, space = only()
    engine.drop(space)
    engine.create(Space(space.encoder_hash, 2, space.delta_hash))
    assert check_collections(None) == []
    (fault,) = check_collections(None, databases=["default"])
    assert "has 2 dimensions, the encoder" in fault.msg
    assert "recommender_engine_sync --rebuild" in fault.msg
    nowhere = {"engine": PATHS["pgvector"], "dsn": "postgresql://nobody@127.0.0.1:1/nothing"}
    settings.RECOMMENDER = settings.RECOMMENDER | {"VECTOR_ENGINE": nowhere}
    (fault,) = check_collections(None, databases=["default"])
    assert "the engine does not answer: OperationalError" in fault.msg
