"""Faults of models: damaged bundles, promotions without end, a model that fails, and many requests at once."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.faults.bench import Bench, summary
from benchmarks.faults.load import API, Answer, Load, Readers, call
from benchmarks.faults.registry import Outcome, fault
from benchmarks.faults.servers import kill, python, wait_for

if TYPE_CHECKING:
    from recommender.models import Bundle

SEARCH = f"{API}/search?q=heart&limit=10"
LONGEST_PAGE_SECONDS = 5.0
QUARANTINE_SECONDS = 30.0
N_AT_ONCE = 500
N_THREADS = 8
"""Pages that two web processes answer at the same time."""

Damage = Callable[[Path, Path], None]
"""Spoils the published folder of a bundle; the second one is that of another bundle."""


def _truncate(folder: Path, other: Path) -> None:
    weights = _weights(folder)
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def _flip_a_bit(folder: Path, other: Path) -> None:
    weights = _weights(folder)
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)


def _remove_a_file(folder: Path, other: Path) -> None:
    _weights(folder).unlink()


def _link_out(folder: Path, other: Path) -> None:
    weights = _weights(folder)
    weights.unlink()
    weights.symlink_to("/etc/hostname")


def _swap_manifests(folder: Path, other: Path) -> None:
    shutil.copyfile(other / "manifest.json", folder / "manifest.json")


def _nest_without_end(folder: Path, other: Path) -> None:
    (folder / "manifest.json").write_text("[" * 100_000)


def _forbid(folder: Path, other: Path) -> None:
    _weights(folder).chmod(0)


def _weights(folder: Path) -> Path:
    return max(folder.glob("*.onnx"), key=lambda path: path.stat().st_size)


DAMAGES: dict[str, Damage] = {
    "truncated": _truncate,
    "bit flipped": _flip_a_bit,
    "file missing": _remove_a_file,
    "symbolic link": _link_out,
    "manifest swapped": _swap_manifests,
    "manifest nested": _nest_without_end,
    "no permission": _forbid,
}


@fault(10, "bundles are damaged in seven ways and promoted")
def damaged_bundles(bench: Bench) -> Outcome:
    """Each is quarantined, or where only its file may not be read, left alone; the former answers go on."""
    from recommender import bundles

    champion = _serving_champion(bench)
    strangers: list[str] = []
    faults, slowest = [], 0.0
    with Readers(bench.web.address, paths=(SEARCH, "/"), look=_noting_others(champion.name, strangers)) as readers:
        for number, (name, damage) in enumerate(DAMAGES.items()):
            bundle = _variant(champion, number)
            folder = _published(bundle)
            damage(folder, _published(champion))
            shutil.rmtree(folder.parents[1] / "cache" / bundle.name)
            bundles.make_champion(bundle)
            try:
                slowest = max(
                    slowest, wait_for(partial(_is_out, champion, name), what=name, seconds=QUARANTINE_SECONDS)
                )
            except TimeoutError:
                faults.append(name)
            bundles.make_champion(champion)
    n_failed = readers.ledger.n_failed()
    figure = (
        f"{len(DAMAGES) - len(faults)} of {len(DAMAGES)} never served{faults or ''}, {n_failed} of "
        f"{len(readers.ledger.answered):,} pages failed, {len(strangers)} answered by another bundle"
    )
    return Outcome(not faults and not n_failed and not strangers, figure, slowest)


def _is_out(champion: Bundle, name: str) -> bool:
    """Whether the sound bundle serves again; a file that may not be read is no fault of its bundle, which stays."""
    from recommender import bundles

    if name == "no permission":
        time.sleep(5)
        return bundles.champion() != champion
    return bundles.champion() == champion


def _noting_others(name: str, strangers: list[str]) -> Callable[[str, Answer], None]:
    def look(path: str, answer: Answer) -> None:
        if path == SEARCH and answer.body.get("bundle") != name:
            strangers.append(str(answer.body.get("bundle")))

    return look


def _serving_champion(bench: Bench) -> Bundle:
    """The champion, once every web process answers by it."""
    from recommender import bundles

    champion = bundles.champion()
    assert champion is not None
    _served_by(bench, champion)
    return champion


def _served_by(bench: Bench, bundle: Bundle) -> None:
    def all_answer() -> bool:
        return all(call(bench.web.address, SEARCH).body.get("bundle") == bundle.name for _ in range(12))

    wait_for(all_answer, what=f"answers of bundle {bundle}", seconds=120)


def _published(bundle: Bundle) -> Path:
    from recommender import conf

    return conf.directory() / "bundles" / bundle.name


def _variant(champion: Bundle, number: int) -> Bundle:
    """The same weights as another bundle."""
    from recommender import bundles

    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(_published(champion), folder, dirs_exist_ok=True)
        (Path(folder) / "manifest.json").unlink()
        (Path(folder) / "variant.json").write_text(json.dumps({"number": number, "at": time.time()}))
        return bundles.write_bundle(Path(folder), is_trained=True, encoder_hash=champion.encoder_hash)


@fault(11, "100 promotions and roll-backs under load")
def promotions(bench: Bench) -> Outcome:
    """Two encoders give each item other scores: an answer whose scores are not those of its bundle mixes two."""
    from recommender import bundles

    champion = _serving_champion(bench)
    other = _another_encoder(bench, champion)
    signatures: dict[str, set[Any]] = {}
    for bundle in (other, champion):
        bundles.make_champion(bundle)
        _served_by(bench, bundle)
        signatures[bundle.name] = {_signature(call(bench.web.address, SEARCH)) for _ in range(6)}
    mixed: list[Answer] = []
    by_bundle: Counter[str] = Counter()

    def look(path: str, answer: Answer) -> None:
        if path == SEARCH:
            name = str(answer.body.get("bundle"))
            by_bundle[name] += 1
            if _signature(answer) not in signatures.get(name, ()):
                mixed.append(answer)

    readers = Readers(bench.web.address, paths=(SEARCH, SEARCH, "/"), look=look)
    with Load(bench.web.address, n_clients=2) as load, readers:
        for _ in range(100):
            bundles.roll_back()
            bench.rest(0.1)
        bench.rest(1)
    _served_by(bench, champion)
    n_missing, n_twice = bench.settle(load)
    n_failed = readers.ledger.n_failed() + load.ledger.n_failed()
    are_distinct = len(set.union(*signatures.values())) == 2
    passed = not mixed and not n_failed and not n_missing and are_distinct and len(by_bundle) == 2
    figure = f"searches by bundle: {sorted(by_bundle.values())}, {len(mixed)} mixed, {n_failed} pages failed"
    return Outcome(passed, f"{figure}; {summary(load.ledger, n_missing, n_twice)}", readers.ledger.longest_wait())


def _signature(answer: Answer) -> Any:
    return tuple((item["item_id"], item["score"]) for item in answer.body.get("items", ()))


def _another_encoder(bench: Bench, champion: Bundle) -> Bundle:
    """An untrained bundle of another seed, with its vectors; torch is loaded in a process of its own."""
    from recommender import bundles
    from recommender.models import Item
    from recommender.serving import vectors

    texts = list(Item.objects.filter(is_active=True).order_by("pk").values_list("text", flat=True))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "texts").write_text(json.dumps(texts))
        code = (
            "import json, pathlib, sys; from recommender.ml import export; folder = pathlib.Path(sys.argv[1]);"
            "texts = tuple(json.loads((folder / 'texts').read_text()));"
            "export.export_untrained('scratch', folder / 'bundle', texts=texts, seed=7)"
        )
        (Path(folder) / "bundle").mkdir()
        python("-c", code, folder, environment=bench.environment)
        encoder_hash = json.loads((Path(folder) / "bundle" / "encoder.json").read_text())["hash"]
        bundle = bundles.write_bundle(Path(folder) / "bundle", is_trained=True, encoder_hash=encoder_hash)
    vectors.encode_missing(bundle.name)
    return bundle


@fault(13, "500 requests come when every cache has expired")
def expired_caches(bench: Bench) -> Outcome:
    """Two web processes that hold nothing yet, and an empty Redis; beside it the same requests a moment later."""
    from django.core.cache import cache

    with bench.serving(("--workers", "2")) as web:
        cache.clear()
        for pid in web.workers():
            kill(pid)
        wait_for(lambda: len(web.workers()) == 2, what="two new workers")
        cold = _at_once(web.address)
        wait_for(lambda: call(web.address, SEARCH).body.get("bundle"), what="a loaded ranker", seconds=120)
        warm = _at_once(web.address)
    n_failed = sum(answer.status != 200 for answer in [*cold, *warm])
    slowest_cold, slowest_warm = (max(answer.seconds for answer in answers) for answers in (cold, warm))
    figure = (
        f"{len(cold)} requests, {n_failed} failed, the last after {slowest_cold:.1f} s ({slowest_warm:.1f} s when warm)"
    )
    return Outcome(not n_failed and slowest_cold < slowest_warm + LONGEST_PAGE_SECONDS, figure, slowest_cold)


def _at_once(address: str) -> list[Answer]:
    """500 requests, each from a thread of its own."""
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda number=number: answers.append(call(address, _path(number))), daemon=True)
        for number in range(N_AT_ONCE)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return answers


def _path(number: int) -> str:
    return Readers.PATHS[number % len(Readers.PATHS)]


def _lists(address: str) -> bool:
    return bool(call(address, SEARCH).body.get("items"))


@fault(16, "a model raises, sleeps 10 s, or returns NaN")
def failing_model(bench: Bench) -> Outcome:
    """Every page is answered without it, from the first one on: a page waits for its deadline and no longer."""
    figures, is_sound, slowest = [], True, 0.0
    for kind in ("raises", "NaN", "sleeps"):
        with bench.serving(
            ("--workers", "2", "--threads", str(N_THREADS // 2)),
            application="benchmarks.faults.sabotaged:application",
            FAULTS_MODEL=kind,
        ) as web:
            wait_for(partial(_lists, web.address), what="an answer", seconds=120)
            with Readers(web.address, n_clients=N_THREADS) as readers:
                time.sleep(15)
        n_failed, seconds = readers.ledger.n_failed(), readers.ledger.longest_wait()
        slow = [answer for answer in readers.ledger.answered if answer.seconds > LONGEST_PAGE_SECONDS]
        is_sound &= not n_failed and not slow
        slowest = max(slowest, seconds)
        pages = f"{n_failed} of {len(readers.ledger.answered):,} pages failed"
        figures.append(f"{kind}: {pages}, {len(slow)} slow, longest {seconds:.1f} s")
    return Outcome(is_sound, "; ".join(figures), slowest)
