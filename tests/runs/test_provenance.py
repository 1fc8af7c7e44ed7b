"""How a run was made is written down in full, and a run that is made again comes out equal or says what differs."""

import dataclasses

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from recommender import bundles, runs
from recommender.management import repetition
from recommender.ml.context import model as context
from recommender.ml.encoder.contrastive import TuneSettings
from recommender.ml.encoder.model import SCRATCH, build_scratch, fingerprint
from recommender.ml.export import write
from recommender.ml.hardware import limit_threads
from recommender.ml.head import additive as head
from recommender.ml.pace import CLOCK, EVIDENCE, PATIENCE, STEPS, Pace
from recommender.ml.plan import TrainingData, TrainingSettings
from recommender.ml.progress import UNWATCHED
from recommender.ml.reuse import Reusing
from recommender.ml.train import fit
from recommender.models import Event, Item, Run
from recommender.runs import provenance
from recommender.training import fitting
from recommender.training import run as carry
from recommender.training.judging import judge
from recommender.training.judging.gate import Decision
from tests import behaviour

END, TEST_END = 75 * behaviour.DAY, 90 * behaviour.DAY
DATA = TrainingData(behaviour.shop(), behaviour.table(), train_end=END, test_start=END, test_end=TEST_END)
SMALL = TrainingSettings(
    minutes=60,
    encoder=SCRATCH,
    lists_per_cutoff=40,
    least_pairs=10,
    least_examples=10,
    least_lists=10,
    tune=TuneSettings(n_steps=12, batch_pairs=12, learning_rate=5e-4),
    context=context.ContextSettings(width=32, n_epochs=3, n_negatives=32),
    head=head.HeadSettings(n_epochs=2, batch_lists=16),
)
LIVE = {
    "minutes": 0.05,
    "encoder": "scratch",
    "seed": 1,
    "least_pairs": 20,
    "least_examples": 20,
    "least_lists": 5,
    "least_steps": 0,
    "least_cases": 1,
}


@pytest.fixture(scope="module", autouse=True)
def _quick():
    limit_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "LEAST_STEPS", 10)
        yield


@pytest.fixture(autouse=True)
def _scratch_encoder(settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}


def assert_equal(first, second):
    np.testing.assert_array_equal(first.text_vectors, second.text_vectors)
    np.testing.assert_array_equal(first.delta, second.delta)
    assert first.head.to_json() == second.head.to_json()
    assert first.thresholds["buy"] == second.thresholds["buy"]


@pytest.fixture(scope="module")
def trained():
    return fit(DATA, SMALL)


def test_equal_data_settings_and_seed_give_an_equal_model_byte_for_byte(trained, tmp_path):
    again = fit(DATA, SMALL)
    assert_equal(trained, again)
    assert trained.metrics == again.metrics
    assert trained.base_encoder == again.base_encoder
    for name, artifacts in (("first", trained), ("second", again)):
        (tmp_path / name).mkdir()
        write(artifacts, tmp_path / name)
    for path in sorted((tmp_path / "first").iterdir()):
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_another_seed_gives_another_model(trained):
    other = fit(DATA, dataclasses.replace(SMALL, seed=1))
    assert other.head.to_json() != trained.head.to_json()
    assert other.base_encoder != trained.base_encoder


def test_reused_stages_make_what_a_whole_fit_makes(trained):
    reusing = Reusing(DATA, UNWATCHED)
    other = dataclasses.replace(SMALL, head=dataclasses.replace(SMALL.head, learning_rate=0.005))
    assert reusing.fitted(other).head.to_json() != trained.head.to_json()
    assert_equal(reusing.fitted(SMALL), trained)
    before = reusing.encoded(SMALL).encoder
    reusing.keep_only(other)
    assert reusing.encoded(SMALL).encoder is before
    reusing.keep_only(dataclasses.replace(SMALL, seed=1))
    assert reusing.encoded(SMALL).encoder is not before


def test_stage_says_what_ended_it(trained):
    assert trained.ended_by["encoder"] == STEPS
    assert trained.ended_by["head"] == STEPS
    assert trained.ended_by["context"] in (STEPS, PATIENCE)
    hurried = fit(DATA, dataclasses.replace(SMALL, minutes=1e-6, least_tuning_steps=0))
    assert hurried.ended_by["encoder"] == CLOCK
    untuned = fit(DATA, dataclasses.replace(SMALL, minutes=1e-6))
    assert "encoder" not in untuned.ended_by
    assert untuned.base_encoder == fingerprint(untuned.encoder)
    thin = fit(DATA, dataclasses.replace(SMALL, least_pairs=10_000, least_lists=10_000))
    assert (thin.ended_by["encoder"], thin.ended_by["head"]) == (EVIDENCE, EVIDENCE)


def test_clock_sets_the_pace_only_where_it_is_ahead_of_the_steps(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("recommender.ml.pace.time.monotonic", lambda: now[0])
    pace = Pace(minutes=1, n_steps=100)
    now[0] = 6.0  # the first steps wait for memory
    assert pace.share(5) == 0.05
    assert pace.ended_by() == STEPS
    now[0] = 12.0
    assert pace.share(30) == 0.3
    assert pace.ended_by(PATIENCE) == PATIENCE
    now[0] = 36.0
    assert pace.share(40) == pytest.approx(0.6)
    assert pace.ended_by() == CLOCK
    now[0] = 61.0
    assert pace.share(41) == 1.0
    assert pace.is_over


def test_fingerprint_is_of_weights_and_vocabulary():
    first, same, other = (
        build_scratch(texts) for texts in (("red mug", "blue mug"), ("red mug", "blue mug"), ("tea",))
    )
    assert fingerprint(first) == fingerprint(same) != fingerprint(other)
    next(same.model.parameters()).data.add_(1e-3)
    assert fingerprint(first) != fingerprint(same)


def test_small_encoder_has_the_same_vocabulary_every_time(demo_shop):
    texts = list(Item.objects.order_by("pk").values_list("text", flat=True))
    assert len({fingerprint(build_scratch(texts)) for _ in range(3)}) == 1


def test_code_version_changes_with_any_source_file(monkeypatch, tmp_path):
    before = provenance.code()
    assert before["version"]
    assert len(before["hash"]) == 16
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(provenance.recommender, "__file__", str(tmp_path / "__init__.py"))
    hashes = set()
    for text in ("a = 1", "a = 2"):
        provenance.code.cache_clear()
        (tmp_path / "module.py").write_text(text)
        hashes.add(provenance.code()["hash"])
    provenance.code.cache_clear()
    assert len({*hashes, before["hash"]}) == 3


def test_differences_name_the_entry_by_its_path():
    first = {"data_hash": "a", "versions": {"torch": "2.10"}, "settings": {"head": {"n_epochs": 14}}, "bundle": "x"}
    second = {"data_hash": "a", "versions": {"torch": "2.11"}, "settings": {"head": {"n_epochs": 9}}, "bundle": "y"}
    assert [tuple(difference) for difference in provenance.differences(first, second)] == [
        ("versions.torch", "2.10", "2.11"), ("settings.head.n_epochs", 14, 9),
    ]  # fmt: skip
    assert provenance.differences(first, first) == []
    assert [difference.second for difference in provenance.differences(first, {**first, "data_hash": None})] == [None]


def test_figures_that_differ_are_found_but_for_the_champion():
    first = {"lists": {"all": {"ranker": {"ndcg": 0.1}, "champion": {"ndcg": 0.2}}}}
    second = {"lists": {"all": {"ranker": {"ndcg": 0.3}, "champion": {"ndcg": 0.4}}}}
    assert [difference.name for difference in provenance.figure_differences(first, second)] == ["lists.all.ranker.ndcg"]


def carried(**settings):
    requested = runs.request_run(trigger="command", settings={**LIVE, **settings})
    carry(requested.pk, runs.lease(requested.pk, worker="test"))
    requested.refresh_from_db()
    assert requested.state == Run.State.SUCCEEDED, requested.reason
    return requested


@pytest.mark.django_db(transaction=True)
def test_run_writes_down_how_it_was_made(live_demo_shop):
    run = carried()
    entries = run.provenance
    assert entries["data_hash"] == run.report["data_hash"]
    assert entries["code"] == provenance.code()
    assert {"python", "numpy", "torch", "transformers"} <= set(entries["versions"])
    assert entries["seed"] == 1
    assert entries["settings"]["tune"]["temperature"] == TrainingSettings().tune.temperature
    assert entries["settings"]["minutes"] == pytest.approx(0.05 * fitting.FIT_SHARE)
    assert len(entries["encoder"]["hash"]) == 32
    assert entries["hardware"]["processor"]
    assert entries["hardware"]["n_threads"] == 1
    assert {"context", "head"} <= set(entries["ended_by"])
    assert entries["bundle"] == run.bundle.name


@pytest.mark.django_db(transaction=True)
def test_repeated_run_has_the_settings_seed_and_data_of_the_first_and_says_what_differs(
    live_demo_shop, settings, monkeypatch, capsys
):
    from recommender.management.commands import recommender_reproduce as command

    generous = {"minutes": 20}  # the clock ends no stage: equal numbers can be expected
    monkeypatch.setattr(fitting, "TrainingSettings", lambda **settings: dataclasses.replace(SMALL, **settings))
    first = carried(**generous)
    assert provenance.clocked(first.provenance) == []
    settings.RECOMMENDER = {**settings.RECOMMENDER, "SEED": 99}
    Event.objects.create(message_id="later", type="view_item", item_id="later", occurred_at=timezone.now())

    def follow(run, errors, *, is_here):
        carry(run.pk, runs.lease(run.pk, worker="test"))
        run.refresh_from_db()

    monkeypatch.setattr(command, "follow", follow)
    promoting = lambda measured, least_cases: Decision(Run.Verdict.PROMOTED, "ranker", "Planted.")  # noqa: E731
    monkeypatch.setattr(judge, "decide", promoting)
    champion = bundles.champion()
    call_command("recommender_reproduce", str(first.pk))
    again = Run.objects.exclude(pk=first.pk).get()
    assert again.settings["like"] == first.pk
    assert again.settings["seed"] == 1
    assert again.report["data_hash"] == first.report["data_hash"]
    assert again.bundle == first.bundle
    assert again.reason.startswith(f"The previous model keeps serving, because this run repeats run {first.pk}.")
    assert bundles.champion() == champion
    output = capsys.readouterr().out
    assert "the same: data, code, versions" in output
    assert "the bundle is the same, byte for byte" in output
    assert "every figure is the same" in output


def test_outcome_names_causes_clocks_and_figures():
    entries = {"data_hash": "a", "versions": {"torch": "2.10"}, "ended_by": {"encoder": CLOCK}, "bundle": "x" * 32}
    figures = {"lists": {"all": {"ranker": {"ndcg": 0.1}}}}
    first = Run(pk=1, provenance=entries, metrics=figures)
    second = Run(
        pk=2,
        provenance={**entries, "versions": {"torch": "2.11"}, "ended_by": {}, "bundle": "y" * 32},
        metrics={"lists": {"all": {"ranker": {"ndcg": 0.25}}}},
    )
    text = "\n".join(repetition.outcome(first, second))
    assert "differs: versions.torch was 2.10, is 2.11" in text
    assert "the time limit cut off run 1 at encoder" in text
    assert "the bundles differ: xxxxxxxxxxxx and yyyyyyyyyyyy" in text
    assert "lists.all.ranker.ndcg: 0.1 and 0.25" in text


@pytest.mark.django_db
def test_run_that_never_read_its_data_cannot_be_repeated():
    with pytest.raises(CommandError, match="never read its data"):
        call_command("recommender_reproduce", str(Run.objects.create(state=Run.State.FAILED).pk))
    with pytest.raises(CommandError, match="no run 999"):
        call_command("recommender_reproduce", "999")
