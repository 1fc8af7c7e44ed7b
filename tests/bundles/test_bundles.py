"""Bundles: written once, verified whenever fetched, promoted when every item is encoded, rolled back, quarantined."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from django.core.files.storage import FileSystemStorage

from recommender import bundles, conf
from recommender.bundles import bundle_zero, manifest
from recommender.exceptions import BundleError, BundleUnreachable, MissingDependency, RunError
from recommender.models import Bundle, Item, ItemVector
from recommender.serving import vectors
from recommender.signals import bundle_promoted

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_directory(settings, tmp_path):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "DIRECTORY": tmp_path / "recommender"}


@pytest.fixture
def folder(tmp_path):
    def make(name="weights", value=1.0):
        source = tmp_path / name
        source.mkdir()
        np.save(source / "delta.npy", np.full(3, value, np.float32))
        (source / "head.json").write_text(json.dumps({"bias": value}))
        return source

    return make


def written(folder, **values):
    return bundles.write_bundle(folder, **{"is_trained": True, "encoder_hash": "e1", **values})


def encode(item, encoder_hash="e1"):
    vectors.write_vectors([item], np.eye(1, 4, dtype=np.float32), encoder_hash=encoder_hash)


def add_item(name="mug", **values):
    return Item.objects.create(
        item_id=name, label="shop.Product", object_id=name, title=name, text=name, text_hash=name, **values
    )


def test_bundle_is_named_by_what_it_holds(folder):
    first, same, other = written(folder("a")), written(folder("b")), written(folder("c", value=2.0))
    assert first == same
    assert first.name != other.name
    assert len(first.name) == manifest.NAME_LENGTH
    assert first.state == Bundle.State.CANDIDATE


def test_manifest_has_the_sha256_of_every_file(folder):
    bundle = written(folder())
    local = bundles.fetch(bundle.name)
    assert set(bundle.manifest["files"]) == {"delta.npy", "head.json"}
    for name, entry in bundle.manifest["files"].items():
        assert entry["sha256"] == manifest.digest(local / name)


def test_bundle_is_published_and_fetched_by_a_host_without_a_copy(folder):
    import shutil

    bundle = written(folder())
    shutil.rmtree(conf.directory() / "cache")
    assert (bundles.fetch(bundle.name) / "head.json").read_text() == '{"bias": 1.0}'


@pytest.mark.parametrize("name", ["weights.pkl", "weights.bin", "model.pt", "run.py", ".hidden.json", "no_suffix"])
def test_file_of_another_format_is_refused(folder, name):
    source = folder()
    (source / name).write_bytes(b"x")
    with pytest.raises(BundleError, match="may not be in a bundle"):
        written(source)
    assert not Bundle.objects.exists()


def test_array_of_python_objects_is_refused(folder):
    source = folder()
    np.save(source / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(BundleError, match=r"objects\.npy"):
        written(source)


def test_link_out_of_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    source = folder()
    (source / "link.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(BundleError, match=r"link\.json"):
        written(source)


def test_empty_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="no file"):
        written(tmp_path / "empty")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def published(bundle):
    return conf.directory() / "bundles" / bundle.name


def test_flipped_bit_in_the_local_copy_is_repaired_from_the_storage(folder):
    bundle = written(folder())
    flip_a_bit(bundles.fetch(bundle.name) / "delta.npy")
    local = bundles.fetch(bundle.name)
    manifest.verify(local, name=local.name)


def test_flipped_bit_in_the_storage_is_an_error_that_names_file_and_repair(folder):
    bundle = written(folder())
    flip_a_bit(published(bundle) / "delta.npy")
    flip_a_bit(bundles.fetch(bundle.name) / "delta.npy")
    with pytest.raises(BundleError, match=r"delta\.npy .* sha256 differs\. Roll back, or train again"):
        bundles.fetch(bundle.name)


def test_truncated_missing_and_foreign_files_are_errors(folder):
    bundle = written(folder())
    local = bundles.fetch(bundle.name)
    (local / "stranger.json").write_text("{}")
    with pytest.raises(BundleError, match="stranger"):
        manifest.verify(local, name=local.name)
    (local / "stranger.json").unlink()
    (local / "head.json").unlink()
    with pytest.raises(BundleError, match=r"head\.json .* missing"):
        manifest.verify(local, name=local.name)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', '{"format": 99, "files": {}}', "\x00"])
def test_broken_manifest_is_an_error(folder, text):
    bundle = written(folder())
    local = bundles.fetch(bundle.name)
    (local / "manifest.json").write_text(text)
    with pytest.raises(BundleError):
        manifest.verify(local, name=local.name)


def test_manifest_of_another_bundle_is_an_error(folder):
    """A storage whose folders were mixed up, or a bundle that somebody copied over another."""
    import shutil

    bundle, other = written(folder("a")), written(folder("b", value=2.0))
    for folder_of in (lambda name: conf.directory() / "cache" / name, lambda name: conf.directory() / "bundles" / name):
        shutil.rmtree(folder_of(bundle.name))
        shutil.copytree(folder_of(other.name), folder_of(bundle.name))
    with pytest.raises(BundleError, match=r"manifest\.json .* is that of another bundle\. Roll back, or train again"):
        bundles.fetch(bundle.name)
    manifest.verify(bundles.fetch(other.name))


def test_arms_nested_without_end_are_an_error(folder):
    source = folder()
    (source / "arms.json").write_text("[" * 10_000 + "]" * 10_000)
    with pytest.raises(BundleError, match=r"arms\.json"):
        written(source)


def test_manifest_that_points_out_of_its_folder_is_refused(folder, tmp_path):
    bundle = written(folder())
    recorded = json.loads((published(bundle) / "manifest.json").read_text())
    recorded["files"]["../../escape.json"] = {"sha256": "0" * 64}
    (published(bundle) / "manifest.json").write_text(json.dumps(recorded))
    flip_a_bit(bundles.fetch(bundle.name) / "delta.npy")
    with pytest.raises(BundleError, match="may not be in a bundle"):
        bundles.fetch(bundle.name)


def test_bundle_that_is_nowhere_names_the_storage_setting():
    with pytest.raises(BundleError, match="BUNDLE_STORAGE"):
        bundles.fetch("0" * 32)
    assert not list((conf.directory() / "cache").iterdir())


class DeafStorage(FileSystemStorage):
    """A storage behind a network that is down."""

    def open(self, name, mode="rb"):
        raise TimeoutError("no route to host")


def test_storage_that_does_not_answer_says_nothing_against_the_bundle(folder, settings, tmp_path):
    import shutil

    bundle = written(folder())
    shutil.rmtree(conf.directory() / "cache")
    deaf = {"BACKEND": f"{__name__}.DeafStorage", "OPTIONS": {"location": str(tmp_path)}}
    settings.STORAGES = {**settings.STORAGES, "weights": deaf}
    settings.RECOMMENDER = {**settings.RECOMMENDER, "BUNDLE_STORAGE": "weights"}
    with pytest.raises(BundleUnreachable, match="no route to host"):
        bundles.fetch(bundle.name)


def test_publication_that_was_interrupted_is_completed(folder):
    source = folder()
    bundle = written(source)
    (published(bundle) / "manifest.json").unlink()
    (published(bundle) / "head.json").write_text("half")
    written(source)
    flip_a_bit(bundles.fetch(bundle.name) / "head.json")
    manifest.verify(bundles.fetch(bundle.name), name=bundle.name)


def test_promotion_makes_the_champion_previous(folder):
    first, second, third = (written(folder(str(value), value=value)) for value in (1.0, 2.0, 3.0))
    for bundle in (first, second, third):
        bundles.promote(bundle)
    states = dict(Bundle.objects.values_list("name", "state"))
    assert states == {first.name: "archived", second.name: "previous", third.name: "champion"}
    assert bundles.champion() == third
    assert third.promoted_at is not None


def test_promotion_waits_for_every_active_item(folder):
    mug, _hidden = add_item(), add_item("hidden", is_active=False)
    bundle = written(folder())
    with pytest.raises(RunError, match="1 items have no vector"):
        bundles.promote(bundle)
    encode(mug)
    bundles.promote(bundle)
    assert bundles.champion() == bundle


def test_item_whose_text_changed_counts_as_not_encoded(folder):
    mug = add_item()
    encode(mug)
    Item.objects.update(text="a new text", text_hash="new")
    with pytest.raises(RunError, match="no vector"):
        bundles.promote(written(folder()))


def test_broken_bundle_is_not_promoted(folder):
    bundle = written(folder())
    flip_a_bit(published(bundle) / "head.json")
    flip_a_bit(bundles.fetch(bundle.name) / "head.json")
    with pytest.raises(BundleError):
        bundles.promote(bundle)
    assert bundles.champion() is None


def test_roll_back_flips_and_flips_again(folder):
    first, second = written(folder("a")), written(folder("b", value=2.0))
    bundles.promote(first)
    bundles.promote(second)
    assert bundles.roll_back() == first
    assert bundles.champion() == first
    assert bundles.roll_back() == second


def test_roll_back_without_a_previous_champion_is_refused(folder):
    bundles.promote(written(folder()))
    with pytest.raises(RunError, match="no previous champion"):
        bundles.roll_back()


def test_promotion_and_roll_back_are_announced_after_the_commit(folder, django_capture_on_commit_callbacks):
    heard = []
    bundle_promoted.connect(listener := lambda name, **_: heard.append(name))
    first, second = written(folder("a")), written(folder("b", value=2.0))
    with django_capture_on_commit_callbacks(execute=True):
        bundles.promote(first)
        bundles.promote(second)
        assert heard == []
    with django_capture_on_commit_callbacks(execute=True):
        bundles.roll_back()
    bundle_promoted.disconnect(listener)
    assert heard == [first.name, second.name, first.name]


def test_quarantined_champion_hands_over_to_the_previous_one(folder):
    first, second = written(folder("a")), written(folder("b", value=2.0))
    bundles.promote(first)
    bundles.promote(second)
    bundles.quarantine(second.name, "its golden input failed")
    assert bundles.champion() == first
    second.refresh_from_db()
    assert second.state == Bundle.State.QUARANTINED
    with pytest.raises(BundleError, match="its golden input failed"):
        bundles.promote(second)


def test_quarantine_of_what_is_gone_does_nothing():
    bundles.quarantine("0" * 32, "gone")
    assert not Bundle.objects.exists()


def test_prune_keeps_champion_previous_bundle_0_and_the_last_three(folder):
    mug = add_item()
    zero = written(folder("zero", value=0.0), is_trained=False, encoder_hash="e0")
    trained = [written(folder(str(n), value=float(n)), encoder_hash=f"e{n}") for n in range(1, 8)]
    for bundle in (zero, *trained):
        encode(mug, bundle.encoder_hash)
    Bundle.objects.filter(pk=trained[0].pk).update(state=Bundle.State.PREVIOUS)
    Bundle.objects.filter(pk=trained[1].pk).update(state=Bundle.State.CHAMPION)
    assert bundles.prune() == 2
    assert set(Bundle.objects.all()) == {zero, trained[0], trained[1], *trained[4:]}
    assert not published(trained[2]).exists()
    assert not (conf.directory() / "cache" / trained[2].name).exists()
    assert set(ItemVector.objects.values_list("encoder_hash", flat=True)) == {"e0", "e1", "e2", "e5", "e6", "e7"}


def test_without_torch_the_message_names_the_extra(monkeypatch):
    def missing(name):
        raise ImportError("No module named 'torch'", name="torch")

    monkeypatch.setattr(bundle_zero.importlib, "import_module", missing)
    with pytest.raises(MissingDependency, match=r'\(torch\): pip install "shopreco\[ml\]"'):
        bundles.ensure_champion()


def test_auto_encoder_is_the_packaged_one_or_one_from_nothing(settings, monkeypatch):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "auto"}
    assert bundles.encoder_spec() == ""
    monkeypatch.setattr(bundle_zero.importlib.util, "find_spec", lambda name: None)
    assert bundles.encoder_spec() == "scratch"
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "some/folder"}
    assert bundles.encoder_spec() == "some/folder"


def test_bundle_0_is_made_once_encodes_and_serves(settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    for name in ("red mug", "blue mug", "desk lamp"):
        add_item(name)
    bundle = bundles.ensure_champion()
    assert bundles.champion() == bundle == bundles.ensure_champion()
    assert not bundle.is_trained
    seen = []
    assert vectors.encode_missing(bundle.name, chunk_size=2, progress=lambda *done: seen.append(done)) == 3
    assert vectors.encode_missing(bundle.name) == 0
    assert seen == [(2, 3), (3, 3)]
    stored = np.frombuffer(bytes(ItemVector.objects.get(item__item_id="red mug").vector), "<f4")
    assert np.linalg.norm(stored) == pytest.approx(1, abs=1e-4)
    assert np.allclose(stored, vectors.load_ranker(bundle.name).encode(["red mug"])[0], atol=1e-4)
    Item.objects.filter(item_id="red mug").update(text="red cup", text_hash="cup")
    assert vectors.encode_missing(bundle.name) == 1
    assert ItemVector.objects.count() == 3


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".gitignore")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 300 kB, as far as the user of this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("n_floats", [100_000, 55_000, 30_000])
def test_full_disk_at_publication_leaves_nothing_behind(folder, settings, small_disk, n_floats):
    """The local copy does not fit; it fits, but the published one does not; both fit."""
    settings.RECOMMENDER = {**settings.RECOMMENDER, "DIRECTORY": small_disk / "recommender"}
    source = folder()
    np.save(source / "delta.npy", np.zeros(n_floats, np.float32))
    if n_floats == 30_000:
        assert bundles.fetch(written(source).name).is_dir()
        return
    for _ in range(3):
        with pytest.raises(
            BundleUnreachable, match=r"No space left on device.*nothing of it was left behind. Make room"
        ):
            written(source)
        assert files_of(small_disk) in (
            ["recommender", "recommender/cache"],
            ["recommender", "recommender/bundles", "recommender/cache"],
        )
    assert not Bundle.objects.exists()


@pytest.mark.parametrize("n_calls", [1, 2, 3, 4])
def test_publication_that_fails_at_any_file_leaves_nothing_behind(folder, settings, monkeypatch, n_calls):
    """Once for each file and its manifest, in the copy of this host and in the storage."""
    save, calls = FileSystemStorage._save, iter(range(1, 10))

    def full(self, name, content):
        saved = save(self, name, content)
        if next(calls) == n_calls:
            raise OSError(28, "No space left on device")
        return saved

    monkeypatch.setattr(FileSystemStorage, "_save", full)
    if n_calls == 4:
        assert written(folder()).pk
        return
    with pytest.raises(BundleUnreachable, match="No space left"):
        written(folder())
    assert files_of(conf.directory()) == ["bundles", "cache"]


def test_sound_bundle_under_the_name_of_another_is_refused(folder):
    mine, other = written(folder("a")), written(folder("b", value=2.0))
    for parent in (conf.directory() / "cache", published(mine).parent):
        shutil.rmtree(parent / mine.name)
        shutil.copytree(parent / other.name, parent / mine.name)
    with pytest.raises(BundleError, match="is that of another bundle"):
        bundles.fetch(mine.name)
    bundles.fetch(other.name)


def damage(bundle):
    """Every copy of a bundle."""
    flip_a_bit(bundles.fetch(bundle.name) / "encoder.json")
    flip_a_bit(published(bundle) / "encoder.json")


def test_damaged_bundle_0_heals(settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    add_item()
    bundle = bundles.ensure_champion()
    damage(bundle)
    bundles.quarantine(bundle.name, "changed")  # as a web process does that cannot load it
    assert bundles.champion() is None
    assert bundles.ensure_champion() == bundle
    bundle.refresh_from_db()
    assert (bundle.state, "quarantined" in bundle.manifest) == (Bundle.State.CHAMPION, False)
    assert bundles.fetch(bundle.name).is_dir()
    shutil.rmtree(bundles.fetch(bundle.name))
    assert bundles.fetch(bundle.name).is_dir(), "the published copy was not replaced"


def test_damaged_bundle_0_heals_where_it_is_compared_with(settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    add_item()
    bundle = bundles.ensure_champion()
    damage(bundle)
    assert bundles.untrained() == bundle
    assert bundles.champion() == bundle
    assert bundles.fetch(bundle.name).is_dir()


def test_damaged_bundle_0_of_an_earlier_encoder_is_replaced(settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    add_item()
    bundle = bundles.ensure_champion()
    damage(bundle)
    add_item("bag")  # another vocabulary
    replaced = bundles.untrained()
    assert replaced != bundle
    bundle.refresh_from_db()
    assert bundle.state == Bundle.State.QUARANTINED
    assert bundles.untrained() == bundles.ensure_champion() == replaced
