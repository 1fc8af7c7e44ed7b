"""The life of a run as a leased row: asked for, held, silent, cancelled, ended once."""

import datetime as dt
import logging
import re

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from recommender import runs
from recommender.admin.provenance import provenance_rows
from recommender.exceptions import LeaseLost, RunError
from recommender.models import Bundle, Run
from recommender.runs import deaths, tunings
from recommender.runs.figures import Figures

NOW = dt.datetime(2026, 3, 4, 12, 30, tzinfo=dt.UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level(logging.INFO, "recommender")


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(timezone, "now", lambda: NOW)


@pytest.fixture
def run():
    return runs.request_run(trigger="command")


def silence(run, seconds=runs.STALE_SECONDS + 1):
    Run.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now() - dt.timedelta(seconds=seconds))


def state(run):
    run.refresh_from_db()
    return run.state


def test_run_remembers_who_asked_and_with_which_settings(settings):
    user = get_user_model().objects.create_user("ann")
    settings.RECOMMENDER = {**settings.RECOMMENDER, "TRAINING_MINUTES": 7.0}
    run = runs.request_run(trigger="admin", user=user, settings={"seed": 3})
    assert (run.state, run.trigger, run.requested_by) == (Run.State.QUEUED, "admin", user)
    assert run.settings["minutes"] == 7.0
    assert run.settings["seed"] == 3


def test_run_takes_the_choices_of_the_settings_unless_it_makes_its_own(settings):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "FINE_TUNING": "lora", "ADAPTATION": "never"}
    run = runs.request_run(trigger="command", settings={"adaptation": "always"})
    assert (run.settings["fine_tuning"], run.settings["adaptation"]) == ("lora", "always")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            {"fine_tuning": "lorra"},
            r"FINE_TUNING must be one of full, frozen, lora, adalora, prefix, ia3, not 'lorra'\. .*'lora'",
        ),
        ({"adaptation": True}, r"ADAPTATION must be one of auto, always, never, not True"),
    ],
)
def test_unknown_choice_is_refused_with_the_known_ones(choice, message):
    with pytest.raises(RunError, match=message):
        runs.request_run(trigger="command", settings=choice)
    assert not Run.objects.exists()


@pytest.mark.parametrize("active", runs.ACTIVE)
def test_one_run_at_a_time_and_the_refusal_names_it_and_the_way_out(run, active):
    Run.objects.update(state=active)
    run.refresh_from_db()
    Run.objects.create(state=active, trigger="admin")
    refusal = (
        f"Run {run.pk} is {run.get_state_display()}, started by command: there is one at a time. Wait for it, or "
        "cancel it with `recommender_train --cancel` or in the admin."
    )
    with pytest.raises(RunError, match=f"^{re.escape(refusal)}$"):
        runs.request_run(trigger="admin")


@pytest.mark.parametrize("ended", [Run.State.SUCCEEDED, Run.State.FAILED, Run.State.CANCELLED])
def test_ended_run_stands_in_nobodys_way(run, ended):
    Run.objects.update(state=ended)
    assert runs.request_run(trigger="admin").pk != run.pk


def test_training_is_queued_with_the_defaults_of_now(settings, monkeypatch):
    settings.RECOMMENDER = {
        **settings.RECOMMENDER,
        "TRAINING_MINUTES": 7.0,
        "SEED": 5,
        "ENCODER": "tiny",
        "TEACHER": "on",
    }
    monkeypatch.setattr(tunings, "accepted_knobs", lambda: {"rank": 3, "horizon_days": 9})
    run = runs.request_run(trigger="command", settings={"horizon_days": 14.0})
    run.refresh_from_db()
    assert (run.kind, run.stage, run.requested_by, run.reason) == (Run.Kind.TRAINING, "waiting", None, "")
    assert run.settings == {
        "minutes": 7.0, "seed": 5, "encoder": "tiny", "adaptation": "auto", "fine_tuning": "full",
        "teacher": "on", "horizon_days": 14.0, "knobs": {"rank": 3},
    }  # fmt: skip


@pytest.mark.parametrize(("minutes", "expected"), [(30.0, 2.0), (10.0, 1.0)])
def test_tuning_has_minutes_of_its_own_and_a_study_of_a_fresh_name(settings, minutes, expected):
    settings.RECOMMENDER = {**settings.RECOMMENDER, "TUNING_MINUTES": minutes, "TRAINING_MINUTES": 2.0}
    run = runs.request_run(trigger="command", kind=Run.Kind.TUNING)
    assert run.kind == Run.Kind.TUNING
    assert (run.settings["minutes"], run.settings["trial_minutes"]) == (minutes, expected)
    assert re.fullmatch("[0-9a-f]{32}", run.settings["study"])


def test_continued_tuning_keeps_its_study_and_the_minutes_of_its_trials():
    given = {"study": "earlier", "trial_minutes": 0.25}
    run = runs.request_run(trigger="command", kind=Run.Kind.TUNING, settings=given)
    assert (run.settings["study"], run.settings["trial_minutes"]) == ("earlier", 0.25)


def test_run_is_repeated_with_its_settings_on_the_data_of_its_time():
    ann = get_user_model().objects.create_user("ann")
    first = runs.request_run(trigger="command", settings={"seed": 3, "minutes": 4.0})
    Run.objects.update(state=Run.State.SUCCEEDED, provenance={"taken_at": 1_700_000_000.0})
    first.refresh_from_db()
    repetition = runs.repeat(first, trigger="admin", user=ann)
    assert (repetition.state, repetition.trigger, repetition.requested_by) == (Run.State.QUEUED, "admin", ann)
    assert repetition.settings == {**first.settings, "as_of": 1_700_000_000.0, "like": first.pk}


@pytest.mark.parametrize(
    ("kind", "provenance"), [(Run.Kind.TRAINING, {}), (Run.Kind.TUNING, {"taken_at": 1_700_000_000.0})]
)
def test_run_without_data_of_its_own_cannot_be_repeated(kind, provenance):
    run = Run.objects.create(kind=kind, state=Run.State.SUCCEEDED, provenance=provenance)
    refusal = f"^Run {run.pk} cannot be repeated: it is no training, or it never read its data\\.$"
    with pytest.raises(RunError, match=refusal):
        runs.repeat(run, trigger="admin")


@pytest.mark.django_db(transaction=True)
def test_two_requests_at_once_make_one_run():
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connection

    def ask(_):
        try:
            return runs.request_run(trigger="command").pk
        except RunError:
            return None
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        accepted = [pk for pk in pool.map(ask, range(8)) if pk]
    assert len(accepted) == Run.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_workers_cannot_lease_the_same_run():
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connection

    run = runs.request_run(trigger="command")

    def take(number):
        try:
            return runs.lease(run.pk, worker=f"w{number}")
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        tokens = [token for token in pool.map(take, range(8)) if token]
    assert tokens == [1]


def test_lease_is_had_once(run):
    assert runs.lease(run.pk, worker="w1") == 1
    assert runs.lease(run.pk, worker="w2") is None
    assert state(run) == Run.State.RUNNING
    assert run.worker == "w1"


def test_lease_takes_only_the_run_with_the_number_and_the_key(run):
    other = Run.objects.create()
    assert runs.lease(run.pk, worker="w", key=other.key) is None
    assert runs.lease(run.pk, worker="w", key=run.key) == 1
    assert state(other) == Run.State.QUEUED


def test_lease_notes_worker_and_time_and_forgets_why_the_run_waited(run, clock):
    Run.objects.update(reason="The host shut down.")
    runs.lease(run.pk, worker="w" * 201)
    run.refresh_from_db()
    assert (run.worker, run.reason, run.provenance) == ("w" * 200, "", {})
    assert (run.started_at, run.heartbeat_at, run.finished_at) == (NOW, NOW, None)


def test_heartbeat_of_every_column_is_written_as_it_is(run, clock):
    token = runs.lease(run.pk, worker="w")
    Run.objects.update(heartbeat_at=NOW - dt.timedelta(1))
    figures = Figures(n_cases={"all": 7})
    record = runs.Record(figures=figures, seconds={"dataset": 1.5}, provenance={"seed": 3})
    runs.heartbeat(run.pk, token, progress=-0.5, stage="s" * 41, record=record)
    run.refresh_from_db()
    assert (run.progress, run.stage, run.heartbeat_at) == (0.0, "s" * 40, NOW)
    assert (run.metrics, run.seconds, run.provenance) == (figures.as_json(), {"dataset": 1.5}, {"seed": 3})
    runs.heartbeat(run.pk, token, progress=0.25, message="reads")
    runs.heartbeat(run.pk, token)
    run.refresh_from_db()
    assert (run.progress, run.stage, run.reason) == (0.25, "s" * 40, "reads")


def test_heartbeat_writes_what_is_given_and_leaves_the_rest(run):
    token = runs.lease(run.pk, worker="w")
    record = runs.Record(report={"n_read": 3}, losses=[{"stage": "encoder", "step": 1, "loss": 2.0}])
    assert runs.heartbeat(run.pk, token, progress=0.4, stage="encoder", message="reads", record=record)
    assert runs.heartbeat(run.pk, token, progress=1.7)
    run.refresh_from_db()
    assert (run.progress, run.stage, run.report, run.reason) == (1.0, "encoder", {"n_read": 3}, "reads")
    assert run.losses == [{"stage": "encoder", "step": 1, "loss": 2.0}]


def test_heartbeat_costs_two_queries(run, django_assert_num_queries):
    token = runs.lease(run.pk, worker="w")
    with django_assert_num_queries(2):
        runs.heartbeat(run.pk, token, progress=0.1)


@pytest.mark.parametrize("verdict", [None, Run.Verdict.INSUFFICIENT])
def test_failed_run_keeps_its_progress_and_has_the_verdict_that_is_given(run, clock, caplog, verdict):
    other = Run.objects.create(state=Run.State.RUNNING, fencing_token=1)
    token = runs.lease(run.pk, worker="w")
    runs.heartbeat(run.pk, token, progress=0.25)
    runs.finish(run.pk, token, state=Run.State.FAILED, reason="It broke.", verdict=verdict)
    run.refresh_from_db()
    assert (run.state, run.reason, run.progress, run.bundle) == (Run.State.FAILED, "It broke.", 0.25, None)
    assert (run.verdict, run.finished_at) == (verdict or "", NOW)
    assert f"run {run.pk} failed: It broke." in caplog.messages
    assert state(other) == Run.State.RUNNING


def test_process_without_the_lease_learns_why_it_stops(run):
    lost = (
        f"^Run {run.pk} is no longer held by lease 7: it has ended, or another worker has it\\. This process stops\\.$"
    )
    with pytest.raises(LeaseLost, match=lost):
        runs.heartbeat(run.pk, 7)
    with pytest.raises(LeaseLost, match=lost):
        runs.finish(run.pk, 7, state=Run.State.SUCCEEDED, reason="mine")


@pytest.mark.parametrize("stale", [0, 2])
def test_stale_token_writes_nothing(run, stale):
    runs.lease(run.pk, worker="w")
    with pytest.raises(LeaseLost):
        runs.heartbeat(run.pk, stale, progress=0.9)
    with pytest.raises(LeaseLost):
        runs.finish(run.pk, stale, state=Run.State.SUCCEEDED, reason="mine")
    assert state(run) == Run.State.RUNNING
    assert run.progress == 0


def test_run_ends_once(run):
    token = runs.lease(run.pk, worker="w")
    bundle = Bundle.objects.create(name="b", encoder_hash="e")
    runs.finish(
        run.pk, token, state=Run.State.SUCCEEDED, verdict=Run.Verdict.REFUSED, reason="even", bundle=bundle,
        record=runs.Record(figures=Figures(n_cases={"all": 1}), seconds={"dataset": 1.5}),
    )  # fmt: skip
    run.refresh_from_db()
    assert (run.verdict, run.reason, run.bundle, run.progress) == (Run.Verdict.REFUSED, "even", bundle, 1.0)
    assert (run.metrics, run.seconds) == (Figures(n_cases={"all": 1}).as_json(), {"dataset": 1.5})
    assert run.finished_at is not None
    with pytest.raises(LeaseLost):
        runs.finish(run.pk, token, state=Run.State.FAILED, reason="late")
    with pytest.raises(LeaseLost):
        runs.heartbeat(run.pk, token)


def test_queued_run_is_cancelled_at_once(run, clock, caplog):
    others = [Run.objects.create(), Run.objects.create(state=Run.State.RUNNING)]
    runs.cancel(run, user=get_user_model().objects.create_user("ann"))
    assert (run.state, run.finished_at) == (Run.State.CANCELLED, NOW)
    assert run.reason == "Cancelled by user ann before it started."
    assert f"run {run.pk} cancelled by user ann" in caplog.messages
    assert [state(other) for other in others] == [Run.State.QUEUED, Run.State.RUNNING]
    assert runs.lease(run.pk, worker="w") is None


def test_running_run_learns_that_it_is_cancelled(run):
    token = runs.lease(run.pk, worker="w")
    runs.cancel(run)
    assert state(run) == Run.State.CANCELLING
    assert runs.heartbeat(run.pk, token, message="still at it") is False
    assert run.reason == "Cancelled by a command."
    runs.cancel(run)
    runs.finish(run.pk, token, state=Run.State.CANCELLED, reason="Cancelled.")


def test_ended_run_cannot_be_cancelled(run):
    Run.objects.update(state=Run.State.SUCCEEDED)
    with pytest.raises(RunError, match=f"^Run {run.pk} has already succeeded: there is nothing to cancel\\.$"):
        runs.cancel(run)


def test_silent_run_waits_to_be_resumed(run):
    first = runs.lease(run.pk, worker="host, process 1")
    runs.heartbeat(run.pk, first, stage="encoder")
    silence(run)
    assert runs.reap_stale() == [run.pk]
    assert state(run) == Run.State.QUEUED
    assert run.reason == (
        "Its process on host, process 1 went silent at encoder; it is resumed from its last checkpoint."
    )
    with pytest.raises(LeaseLost):
        runs.heartbeat(run.pk, first)
    assert runs.lease(run.pk, worker="host, process 2") == 2


def die(run, *, progress=None):
    """Another process takes the run and is killed."""
    token = runs.lease(run.pk, worker="w")
    if progress is not None:
        runs.heartbeat(run.pk, token, progress=progress, stage="encoder")
    runs.resume(run.pk, token, what="It was killed")
    return state(run)


def test_run_that_keeps_dying_at_one_point_is_given_up_after_a_quarter_of_an_hour(run, monkeypatch):
    for minutes in (0, 1, 2, 3, 4, 14):
        monkeypatch.setattr(timezone, "now", lambda: NOW + dt.timedelta(minutes=minutes))  # noqa: B023 - called within
        assert die(run, progress=0.3) == Run.State.QUEUED
    monkeypatch.setattr(timezone, "now", lambda: NOW + dt.timedelta(minutes=15))
    assert die(run, progress=0.2) == Run.State.FAILED
    assert run.reason == (
        "It was killed at encoder, for the 7th time without getting further. The host may lack memory. See the log of "
        "the run, then train again."
    )
    assert run.finished_at == NOW + dt.timedelta(minutes=15)


def test_run_that_gets_further_between_its_deaths_is_never_given_up(run, monkeypatch):
    for hour in range(20):
        monkeypatch.setattr(timezone, "now", lambda: NOW + dt.timedelta(hours=hour))  # noqa: B023 - called within
        assert die(run, progress=0.01 * (hour + 1)) == Run.State.QUEUED
    assert run.provenance["deaths"] == {"n": 1, "since": timezone.now().timestamp(), "progress": 0.2}


def test_four_deaths_are_no_reason_to_give_up_however_long_they_take(run, monkeypatch):
    for day in range(4):
        monkeypatch.setattr(timezone, "now", lambda: NOW + dt.timedelta(days=day))  # noqa: B023 - called within
        assert die(run) == Run.State.QUEUED
    monkeypatch.setattr(timezone, "now", lambda: NOW + dt.timedelta(days=5))
    assert die(run) == Run.State.FAILED


def test_release_is_no_death(run, monkeypatch):
    for day in range(10):
        monkeypatch.setattr(timezone, "now", lambda: NOW + dt.timedelta(days=day))  # noqa: B023 - called within
        token = runs.lease(run.pk, worker="w")
        runs.release(run.pk, token, reason="the host shuts down")
    assert state(run) == Run.State.QUEUED
    assert die(run) == Run.State.QUEUED
    assert run.provenance["deaths"]["n"] == 1


def test_death_of_a_cancelled_run_ends_it_and_a_stale_token_changes_nothing(run, clock):
    token = runs.lease(run.pk, worker="w")
    runs.resume(run.pk, token + 1, what="not mine")
    assert state(run) == Run.State.RUNNING
    runs.cancel(run)
    runs.resume(run.pk, token, what="It was killed")
    assert (state(run), run.finished_at) == (Run.State.CANCELLED, NOW)
    assert run.reason == "Cancelled by a command."


@pytest.mark.parametrize(("n", "expected"), [(1, 1.0), (2, 2.0), (4, 8.0), (7, 60.0), (3_000, 60.0)])
def test_each_death_at_one_point_doubles_the_pause_before_the_next_attempt(n, expected):
    assert deaths.pause_seconds({"deaths": {"n": n}}) == expected
    assert deaths.pause_seconds({}) == 1.0


def test_every_silent_run_is_reaped_and_none_at_the_limit(clock, caplog):
    at_the_limit, *silent = (
        Run.objects.create(
            state=Run.State.RUNNING, fencing_token=1, worker="w",
            heartbeat_at=NOW - dt.timedelta(seconds=30, microseconds=excess),
        )
        for excess in (0, 1, 2)
    )  # fmt: skip
    waiting = Run.objects.create(heartbeat_at=NOW - dt.timedelta(1))
    assert sorted(runs.reap_stale(stale_seconds=30.0)) == [run.pk for run in silent]
    assert f"run {silent[0].pk} was silent for 30 s; it was held by w" in caplog.messages
    assert [state(at_the_limit), state(waiting)] == [Run.State.RUNNING, Run.State.QUEUED]


def test_run_that_beats_is_not_reaped(run):
    runs.lease(run.pk, worker="w")
    silence(run, seconds=runs.STALE_SECONDS - 5)
    assert runs.reap_stale() == []
    assert state(run) == Run.State.RUNNING


def test_run_that_was_cancelled_and_went_silent_is_cancelled(run):
    runs.lease(run.pk, worker="w")
    runs.cancel(run)
    silence(run)
    now = timezone.now()
    runs.reap_stale(now=now)
    assert (state(run), run.finished_at) == (Run.State.CANCELLED, now)
    assert run.reason == "Cancelled by a command."


def test_released_run_waits_again(run):
    token = runs.lease(run.pk, worker="w")
    runs.release(run.pk, token + 1, reason="not mine")
    assert state(run) == Run.State.RUNNING
    runs.release(run.pk, token, reason="the host shuts down")
    assert state(run) == Run.State.QUEUED
    assert (run.reason, run.finished_at) == ("the host shuts down", None)
    later = Run.objects.create()
    assert runs.queued_ids() == [run.pk, later.pk]
    assert runs.key_of(later.pk) == later.key


def test_release_of_a_cancelled_run_cancels_it(run, clock):
    token = runs.lease(run.pk, worker="w")
    runs.cancel(run)
    runs.release(run.pk, token, reason="the host shuts down")
    assert (state(run), run.finished_at) == (Run.State.CANCELLED, NOW)
    assert run.reason == "Cancelled by a command."


def test_run_that_nobody_can_take_is_given_up_while_it_waits(run, clock):
    other = Run.objects.create()
    assert runs.give_up(run.pk, reason="No worker.") is True
    assert (state(run), run.reason, run.finished_at) == (Run.State.FAILED, "No worker.", NOW)
    assert state(other) == Run.State.QUEUED
    assert runs.give_up(run.pk, reason="Again.") is False
    assert (state(run), run.reason) == (Run.State.FAILED, "No worker.")


@pytest.mark.parametrize("n", [0, 1, 399, 400, 401, 5_000])
def test_loss_curve_is_thinned_and_keeps_its_ends(n):
    points = [{"stage": "encoder", "step": step, "loss": 0.0} for step in range(n)]
    thinned = runs.thinned(points)
    assert len(thinned) == min(n, runs.MAX_LOSSES)
    assert thinned[:1] + thinned[-1:] == points[:1] + points[-1:]
    assert [point["step"] for point in thinned] == sorted({point["step"] for point in thinned})


@pytest.mark.parametrize(("n", "most", "expected"), [(10, 4, [0, 3, 6, 9]), (11, 4, [0, 3, 7, 10]), (3, 2, [0, 2])])
def test_points_of_a_thinned_curve_are_evenly_spaced(n, most, expected):
    assert runs.thinned([{"step": step} for step in range(n)], most) == [{"step": step} for step in expected]


def test_long_loss_curve_is_stored_thinned(run):
    token = runs.lease(run.pk, worker="w")
    runs.heartbeat(run.pk, token, record=runs.Record(losses=[{"step": step} for step in range(800)]))
    run.refresh_from_db()
    assert (len(run.losses), run.losses[-1]) == (400, {"step": 799})


def test_every_attempt_is_remembered_with_its_times(run, monkeypatch):
    for number in (1, 2, 3):
        monkeypatch.setattr(timezone, "now", lambda: NOW + dt.timedelta(minutes=number))  # noqa: B023 - called within
        token = runs.lease(run.pk, worker=f"w{number}")
        runs.release(run.pk, token, reason=f"stop {number}")
        if number == 1:
            Run.objects.update(started_at=None, heartbeat_at=None, provenance={"seed": 3})
    run.refresh_from_db()
    second = (NOW + dt.timedelta(minutes=2)).timestamp()
    common = {"stage": "waiting", "seconds": {}}
    assert run.provenance == {
        "seed": 3,
        "attempts": [
            {"worker": "w1", "started_at": None, "until": None, "reason": "stop 1", **common},
            {"worker": "w2", "started_at": second, "until": second, "reason": "stop 2", **common},
        ],
    }


def test_resumed_run_shows_both_attempts(run):
    first = runs.lease(run.pk, worker="alpha")
    record = runs.Record(seconds={"dataset": 1.0, "encoder": 30.0}, provenance={"seed": 3})
    runs.heartbeat(run.pk, first, stage="encoder", record=record)
    runs.release(run.pk, first, reason="Its worker was stopped.")
    runs.lease(run.pk, worker="beta")
    run.refresh_from_db()
    assert run.worker == "beta"
    (attempt,) = run.provenance["attempts"]
    assert (attempt["worker"], attempt["stage"], attempt["seconds"]["encoder"]) == ("alpha", "encoder", 30.0)
    rows = dict(provenance_rows(run, Figures()))
    text = rows["Earlier attempt"]
    assert "on alpha, until encoder (dataset 1 s, encoder 30 s). Its worker was stopped." in text
    assert rows["Seed"] == "3"
