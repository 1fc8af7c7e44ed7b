"""A tuning from its request to its acceptance: real trials on a real study, on the validation window only."""

import copy
import dataclasses
import importlib
import json

import numpy as np
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from recommender import conf, datasets, runs
from recommender.exceptions import ConfigurationError, MissingDependency, RunError
from recommender.ml.context.model import ContextSettings
from recommender.ml.head import additive as head
from recommender.ml.plan import TrainingSettings
from recommender.models import Bundle, Run
from recommender.runs import knobs, tunings
from recommender.runs.conversion import as_json
from recommender.runs.settings import RunSettings
from recommender.training import run as carry
from recommender.training.fitting import in_full, knob_values, training_settings
from recommender.training.split import split_in_time
from recommender.training.tuning import studies, trials
from recommender.training.watch import Watch

SETTINGS = {
    "minutes": 5, "trial_minutes": 0.01, "encoder": "scratch", "seed": 1, "least_pairs": 20, "least_examples": 20,
    "least_lists": 5, "trials": 6,
}  # fmt: skip
PRESENT = knob_values(TrainingSettings())
TUNING = {
    "trials": [
        {"phase": "encoder", "number": 0, "values": {"tune.temperature": 0.05}, "score": 0.1, "state": "complete",
         "seconds": 61.0, "why": "", "is_present": True},
        {"phase": "head", "number": 3, "values": {"head.n_epochs": 12}, "score": 0.12, "state": "complete",
         "seconds": 2.5, "why": "", "is_present": False},
        {"phase": "head", "number": 4, "values": {"head.n_epochs": 5}, "score": None, "state": "pruned",
         "seconds": 1.0, "why": "below the median of the trials before it", "is_present": False},
    ],
    "best": {"values": {**PRESENT, "head.n_epochs": 12}, "score": 0.12},
    "present": 0.1,
    "present_values": PRESENT,
    "gain": [0.01, 0.02, 0.03],
    "n_cases": 20,
    "importance": {"head.n_epochs": 0.8, "head.learning_rate": 0.2},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _small(settings, monkeypatch):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ENCODER": "scratch"}
    monkeypatch.setattr(trials, "LEAST_CASES", 5)
    monkeypatch.setattr(trials, "MOST_CASES", 20)
    monkeypatch.setattr(head, "LEAST_STEPS", 10)


def requested(**settings):
    return runs.request_run(trigger="command", kind=Run.Kind.TUNING, settings={**SETTINGS, **settings})


def carried(run, watch=None):
    token = watch.token if watch else runs.lease(run.pk, worker="test")
    carry(run.pk, token, watch=watch or Watch(run.pk, token))
    run.refresh_from_db()
    return run


def tuned(**fields):
    """A tuning that has ended, without its trials having been run."""
    return Run.objects.create(
        **copy.deepcopy(
            {
                "kind": Run.Kind.TUNING,
                "state": Run.State.SUCCEEDED,
                "settings": SETTINGS,
                "metrics": {"tuning": TUNING},
            }
        )
        | fields
    )


@pytest.mark.django_db(transaction=True)
def test_tuning_tries_the_knobs_of_each_phase_and_begins_with_the_present_ones(live_demo_shop):
    ended = carried(requested())
    assert ended.state == Run.State.SUCCEEDED, ended.reason
    assert (ended.verdict, ended.bundle) == ("", None)
    assert not Bundle.objects.filter(is_trained=True).exists()
    figures = ended.metrics["tuning"]
    assert [row["phase"] for row in figures["trials"]] == ["encoder", "encoder", "context", "context", "head", "head"]
    first = figures["trials"][0]
    assert first["is_present"]
    assert first["state"] == "complete"
    assert first["score"] == figures["present"]
    for name, value in first["values"].items():
        assert value == pytest.approx(PRESENT[name])
    scores = [row["score"] for row in figures["trials"] if row["state"] == "complete"]
    assert figures["best"]["score"] == max(scores) >= figures["present"]
    assert set(figures["best"]["values"]) == set(PRESENT)
    assert all(0 <= score <= 1 for score in scores)
    assert all(row["seconds"] > 0 for row in figures["trials"])
    assert knobs.validated(figures["best"]["values"])
    assert ended.reason.startswith(("The best of 6 trials", "None of 6 trials"))
    assert (conf.directory() / "tunings" / f"{ended.settings['study']}.journal").is_file()
    _goes_on(ended)


def _goes_on(ended):
    """A second tuning in the same file: it knows what was tried, tries no present settings again, and adds its own."""
    before = ended.metrics["tuning"]
    again = carried(requested(**{**tunings.continued(ended), "trials": 3}))
    figures = again.metrics["tuning"]
    assert again.state == Run.State.SUCCEEDED, again.reason
    encoder = [row for row in figures["trials"] if row["phase"] == "encoder"]
    assert encoder[:2] == before["trials"][:2]
    assert len(encoder) == 3
    assert sum(row["is_present"] for row in figures["trials"]) == 1
    assert figures["best"]["score"] >= before["best"]["score"]


@pytest.mark.django_db(transaction=True)
def test_interrupted_tuning_goes_on_with_the_trial_that_it_had_begun(live_demo_shop, monkeypatch):
    run = requested(trials=3)
    watch = Watch(run.pk, runs.lease(run.pk, worker="first"))
    n_scored = []
    monkeypatch.setattr(watch, "figure", lambda *_: (n_scored.append(1), watch.interrupt()))
    assert carried(run, watch).state == Run.State.QUEUED
    assert len(n_scored) == 1
    monkeypatch.setattr(datasets, "read_dataset", lambda: pytest.fail("the data is read again"))
    ended = carried(run)
    assert ended.state == Run.State.SUCCEEDED, ended.reason
    rows = [row for row in ended.metrics["tuning"]["trials"] if row["state"] == "complete"]
    assert [row["phase"] for row in rows] == ["encoder", "context", "head"]
    assert rows[0]["is_present"]


@pytest.mark.django_db(transaction=True)
def test_test_window_changes_no_trial(live_demo_shop):
    dataset = datasets.read_dataset()
    test_start = split_in_time(dataset).test_start
    before = trials.validation_split(dataset)
    assert before.whole.time.max() < test_start
    assert before.test_end <= test_start
    later = dataset.recorded.interactions.time >= test_start
    scrambled = dataclasses.replace(
        dataset.recorded.interactions,
        item=np.where(later, 0, dataset.recorded.interactions.item).astype(np.int32),
        quantity=np.where(later, 1e6, dataset.recorded.interactions.quantity).astype(np.float32),
    )
    recorded = dataclasses.replace(dataset.recorded, interactions=scrambled)
    after = trials.validation_split(dataclasses.replace(dataset, recorded=recorded))
    assert datasets.data_hash(after.whole, after.items) == datasets.data_hash(before.whole, before.items)
    assert (after.test_start, after.test_end) == (before.test_start, before.test_end)


# The study, with a score whose best value is known


@pytest.fixture
def study(db):
    def opened(run=None):
        every_phase = studies.Studies(run or requested(), data_hash="a")
        every_phase.begin_with(PRESENT)
        return every_phase.study("head", PRESENT)

    return opened


def by_epochs(trial):
    """The more epochs, the better, for each of two cases."""
    trial.report(0, [trial.values["head.n_epochs"] / 100])
    return [trial.values["head.n_epochs"] / 100] * 2


def test_best_trial_wins_and_its_knob_is_the_one_that_matters(study):
    opened = study()
    for _ in range(14):
        opened.try_once(by_epochs)
    figures = as_json(opened.studies.figures())
    completed = [row for row in figures["trials"] if row["state"] == "complete"]
    assert figures["best"]["score"] == max(row["score"] for row in completed)
    assert figures["best"]["values"]["head.n_epochs"] > PRESENT["head.n_epochs"]
    assert figures["present"] == pytest.approx(PRESENT["head.n_epochs"] / 100)
    assert figures["gain"][0] > 0
    assert max(figures["importance"], key=figures["importance"].get) == "head.n_epochs"
    assert {name: value for name, value in figures["best"]["values"].items() if not name.startswith("head.")} == {
        name: value for name, value in PRESENT.items() if not name.startswith("head.")
    }


def test_trial_below_the_median_of_a_cheap_figure_is_pruned_but_never_the_present_settings(study):
    opened, n_whole = study(), []

    def score(trial):
        trial.report(0, [0.0 if len(n_whole) == 4 or trial.is_present else 0.5])
        n_whole.append(trial)
        return [0.5]

    for _ in range(4):
        opened.try_once(score)
    opened.try_once(score)
    states = [row.state for row in opened.trial_figures()]
    assert states == ["complete"] * 4 + ["pruned"]
    assert opened.trial_figures()[4].why == "below the median of the trials before it"
    assert n_whole[0].is_present


def test_score_that_is_no_number_fails_its_trial_only(study):
    opened = study()
    opened.try_once(lambda trial: [float("nan")])
    opened.try_once(by_epochs)
    assert [row.state for row in opened.trial_figures()] == ["failed", "complete"]
    assert opened.studies.best.score is not None


def test_trial_of_a_killed_process_is_tried_again(study):
    run = requested()
    opened = study(run)
    opened._study.ask(opened._ranges)  # and the process is gone
    again = study(run)
    assert [row.state for row in again.trial_figures()] == ["failed"]
    again.try_once(by_epochs)
    again.try_once(by_epochs)
    assert again.trial_figures()[1].is_present
    assert again.trial_figures()[1].values == pytest.approx(opened.present)
    assert not again.trial_figures()[2].is_present
    assert again.studies.n_tried("head") == 2


def test_other_data_or_other_knobs_of_an_earlier_phase_begin_another_study(study):
    run = requested()
    study(run).try_once(by_epochs)
    same, other = studies.Studies(run, data_hash="a"), studies.Studies(run, data_hash="b")
    for every_phase in (same, other):
        every_phase.begin_with(PRESENT)
    assert len(same.study("head", PRESENT).ended()) == 1
    assert len(other.study("head", PRESENT).ended()) == 0
    assert len(same.study("head", {**PRESENT, "tune.keep": 1.0}).ended()) == 1  # what was carried over
    assert same.seconds_spent() > 0


def test_missing_optuna_is_named_with_the_command(db, monkeypatch):
    def missing(name, *more):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingDependency, match=r'pip install "shopreco\[tuning\]"'):
        studies.Studies(requested(), data_hash="a")


def test_trials_are_shared_out_to_the_phases():
    assert trials.shared_out(7) == {"encoder": 3, "context": 2, "head": 2}
    assert trials.shared_out(1) == {"encoder": 1, "context": 1, "head": 1}


# Knobs


def test_every_knob_turns_a_setting_whose_default_lies_in_its_range():
    for knob in knobs.KNOBS:
        assert knob.low <= PRESENT[knob.name] <= knob.high, knob.name
        assert isinstance(PRESENT[knob.name], int) or not knob.is_whole, knob.name
        assert knob.phase in knobs.PHASES


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"head.n_epoch": 3}, "no knob 'head.n_epoch'"),
        ({"head.n_epochs": 3.5}, "a whole number from 4 to 40, not 3.5"),
        ({"head.n_epochs": 4_000}, "not 4000"),
        ({"tune.keep": "high"}, "must be a number"),
        ({"tune.keep": float("nan")}, "not nan"),
        ({"tune.keep": True}, "not True"),
    ],
)
def test_knob_that_cannot_be_turned_so_is_named(values, message):
    with pytest.raises(ConfigurationError, match=message):
        knobs.validated(values)
    assert knobs.usable({**values, "horizon_days": 20})[0] == {"horizon_days": 20.0}


def test_knobs_of_a_run_reach_its_training():
    settings = training_settings(
        RunSettings(minutes=1, knobs={"head.n_epochs": 12, "horizon_days": 20, "tune.keep": 1})
    )
    assert (settings.head.n_epochs, settings.horizon_days, settings.tune.keep) == (12, 20.0, 1.0)
    assert settings.context == TrainingSettings().context


def test_every_setting_of_a_training_can_be_written_down():
    settings = TrainingSettings(context=ContextSettings(without=frozenset({"hour", "device"})))
    written = in_full(settings)
    assert json.loads(json.dumps(written)) == written
    assert written["context"]["without"] == ["device", "hour"]
    assert {field.name for field in dataclasses.fields(settings)} - set(written) == {"checkpoint_dir"}


# Acceptance


@pytest.mark.django_db
def test_nothing_changes_until_a_tuning_is_accepted():
    run = tuned()
    assert runs.request_run(trigger="command").settings["knobs"] == {}
    Run.objects.filter(state=Run.State.QUEUED).delete()
    tunings.accept(run)
    assert runs.request_run(trigger="command").settings["knobs"]["head.n_epochs"] == 12
    Run.objects.filter(state=Run.State.QUEUED).delete()
    assert tunings.withdraw() == run
    assert runs.request_run(trigger="command").settings["knobs"] == {}
    with pytest.raises(RunError, match="defaults already"):
        tunings.withdraw()


@pytest.mark.django_db
def test_setting_that_a_run_asks_for_goes_before_an_accepted_knob():
    tunings.accept(tuned())
    asked_for = runs.request_run(trigger="command", settings={"horizon_days": 14.0}).settings
    assert "horizon_days" not in asked_for["knobs"]
    assert training_settings(RunSettings.of(asked_for)).horizon_days == 14.0
    assert training_settings(RunSettings.of(asked_for)).head.n_epochs == 12


@pytest.mark.django_db
def test_search_goes_on_with_the_method_that_it_began_with():
    method = {"fine_tuning": "lora", "adaptation": "never", "step_days": 3.0, "n_threads": 1}
    assert tunings.continued(tuned(settings={**SETTINGS, **method})).items() >= method.items()


@pytest.mark.django_db
def test_newest_acceptance_counts_alone():
    first, second = tuned(), tuned()
    for run in (second, first):
        tunings.accept(run)
    assert tunings.accepted() == first
    assert Run.objects.filter(accepted_at__isnull=False).count() == 1


@pytest.mark.django_db
def test_stored_knob_that_is_gone_is_left_out_with_a_line_in_the_log(caplog):
    run = tuned()
    tunings.accept(run)
    run.metrics["tuning"]["best"]["values"] = {"head.n_epochs": 12, "head.gone": 1, "tune.keep": -4}
    run.save()
    assert tunings.accepted_knobs() == {"head.n_epochs": 12}
    assert "no knob 'head.gone'" in caplog.text
    assert "tune.keep must be a number from 0 to 2, not -4" in caplog.text
    with pytest.raises(ConfigurationError):
        tunings.accept(run)


@pytest.mark.django_db
@pytest.mark.parametrize("fields", [{"kind": Run.Kind.TRAINING}, {"metrics": {}}])
def test_run_without_trials_cannot_be_accepted(fields):
    with pytest.raises(RunError, match="found no settings"):
        tunings.accept(tuned(**fields))


# The command and the admin


@pytest.fixture
def ended_at_once(monkeypatch):
    """A worker that ends every tuning with the same trials."""
    from recommender.management.commands import recommender_tune as command

    def follow(run, errors, *, is_here):
        Run.objects.filter(pk=run.pk).update(
            state=Run.State.SUCCEEDED, metrics={"tuning": TUNING}, reason="The best of 3 trials scores 0.1200."
        )
        run.refresh_from_db()

    monkeypatch.setattr(command, "follow", follow)


@pytest.mark.django_db
def test_command_shows_the_trials_and_applies_the_best(ended_at_once, capsys):
    call_command("recommender_tune", "--minutes", "2", "--trials", "3")
    run = Run.objects.get()
    assert (run.kind, run.settings["minutes"], run.settings["trials"]) == (Run.Kind.TUNING, 2.0, 3)
    assert run.settings["trial_minutes"] == 0.2
    assert run.accepted_at is None
    output = capsys.readouterr().out
    assert "present settings" in output
    assert "head.n_epochs 12 (now 9)" in output
    call_command("recommender_tune", "--resume", "--apply")
    assert tunings.accepted() == Run.objects.order_by("-pk").first()
    assert tunings.accepted().settings["study"] == run.settings["study"]
    assert tunings.accepted().settings["start_from"]["head.n_epochs"] == 12


@pytest.mark.django_db
def test_command_refuses_what_cannot_be_done():
    with pytest.raises(CommandError, match="no tuning to continue"):
        call_command("recommender_tune", "--resume")
    with pytest.raises(CommandError, match="leave out --no-wait"):
        call_command("recommender_tune", "--apply", "--no-wait")


@pytest.fixture
def boss(db):
    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def test_page_of_a_tuning_shows_trials_best_settings_and_what_matters(boss):
    content = boss.get(reverse("admin:recommender_run_change", args=[tuned().pk])).content.decode()
    for words in (
        "Tuning", "0.1200", "+0.0200 (+0.0100 to +0.0300)", "stopped early", "below the median", "present settings",
        "What the score depends on", "Use these settings", "Continue",
    ):  # fmt: skip
        assert words in content, words
    assert "Train again" not in content


def test_settings_are_used_only_after_the_question_and_logged(boss):
    run = tuned()
    url = reverse("admin:recommender_run_use", args=[run.pk])
    assert "Train with these settings from now on?" in boss.get(url).content.decode()
    assert tunings.accepted() is None
    boss.post(url)
    assert tunings.accepted() == run
    assert LogEntry.objects.get().object_id == str(run.pk)
    boss.post(reverse("admin:recommender_run_defaults"))
    assert tunings.accepted() is None


def test_settings_that_are_no_better_want_a_tick(boss):
    run = tuned(metrics={"tuning": {**TUNING, "present": 0.12}})
    boss.post(reverse("admin:recommender_run_use", args=[run.pk]))
    assert tunings.accepted() is None
    boss.post(reverse("admin:recommender_run_use", args=[run.pk]), {"insist": "yes"})
    assert tunings.accepted() == run


def test_button_asks_for_a_tuning_and_search_on_names_its_study(boss):
    assert "Find better settings" in boss.get(reverse("admin:recommender_run_changelist")).content.decode()
    boss.post(reverse("admin:recommender_run_tune"))
    first = Run.objects.get()
    assert (first.kind, first.trigger) == (Run.Kind.TUNING, "admin")
    Run.objects.update(state=Run.State.SUCCEEDED, metrics={"tuning": TUNING})
    boss.post(reverse("admin:recommender_run_tune_on", args=[first.pk]))
    assert Run.objects.order_by("-pk").first().settings["study"] == first.settings["study"]


@pytest.mark.django_db
@pytest.mark.parametrize("step", ["tune", "defaults"])
def test_who_may_not_train_may_not_tune(step):
    client = Client()
    client.force_login(User.objects.create_user("ada", is_staff=True))
    assert client.post(reverse(f"admin:recommender_run_{step}")).status_code == 403
