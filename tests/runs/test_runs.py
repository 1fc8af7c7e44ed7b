"""The life of a run as a leased row: asked for, held, silent, cancelled, ended once."""

import datetime as dt

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from recommender import runs
from recommender.admin.provenance import provenance_rows
from recommender.exceptions import LeaseLost, RunError
from recommender.models import Bundle, Run
from recommender.runs.figures import Figures

pytestmark = pytest.mark.django_db


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
    with pytest.raises(RunError, match=rf"Run {run.pk} is .*cancel"):
        runs.request_run(trigger="admin")


@pytest.mark.parametrize("ended", [Run.State.SUCCEEDED, Run.State.FAILED, Run.State.CANCELLED])
def test_ended_run_stands_in_nobodys_way(run, ended):
    Run.objects.update(state=ended)
    assert runs.request_run(trigger="admin").pk != run.pk


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
    assert run.finished_at is not None
    with pytest.raises(LeaseLost):
        runs.finish(run.pk, token, state=Run.State.FAILED, reason="late")
    with pytest.raises(LeaseLost):
        runs.heartbeat(run.pk, token)


def test_queued_run_is_cancelled_at_once(run):
    runs.cancel(run, user=get_user_model().objects.create_user("ann"))
    assert state(run) == Run.State.CANCELLED
    assert "ann" in run.reason
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
    with pytest.raises(RunError, match="already succeeded"):
        runs.cancel(run)


def test_silent_run_is_tried_once_more_then_failed_in_words(run):
    first = runs.lease(run.pk, worker="host, process 1")
    runs.heartbeat(run.pk, first, stage="encoder")
    silence(run)
    assert runs.reap_stale() == [run.pk]
    assert state(run) == Run.State.QUEUED
    with pytest.raises(LeaseLost):
        runs.heartbeat(run.pk, first)
    assert runs.lease(run.pk, worker="host, process 2") == 2
    silence(run)
    runs.reap_stale()
    assert state(run) == Run.State.FAILED
    assert "went silent at encoder, for the second time" in run.reason


def test_run_that_beats_is_not_reaped(run):
    runs.lease(run.pk, worker="w")
    silence(run, seconds=runs.STALE_SECONDS - 5)
    assert runs.reap_stale() == []
    assert state(run) == Run.State.RUNNING


def test_run_that_was_cancelled_and_went_silent_is_cancelled(run):
    runs.lease(run.pk, worker="w")
    runs.cancel(run)
    silence(run)
    runs.reap_stale()
    assert state(run) == Run.State.CANCELLED


def test_released_run_waits_again(run):
    token = runs.lease(run.pk, worker="w")
    runs.release(run.pk, token + 1, reason="not mine")
    assert state(run) == Run.State.RUNNING
    runs.release(run.pk, token, reason="the host shuts down")
    assert state(run) == Run.State.QUEUED
    assert runs.queued_ids() == [run.pk]


def test_release_of_a_cancelled_run_cancels_it(run):
    token = runs.lease(run.pk, worker="w")
    runs.cancel(run)
    runs.release(run.pk, token, reason="the host shuts down")
    assert state(run) == Run.State.CANCELLED


@pytest.mark.parametrize("n", [0, 1, 399, 400, 401, 5_000])
def test_loss_curve_is_thinned_and_keeps_its_ends(n):
    points = [{"stage": "encoder", "step": step, "loss": 0.0} for step in range(n)]
    thinned = runs.thinned(points)
    assert len(thinned) == min(n, runs.MAX_LOSSES)
    assert thinned[:1] + thinned[-1:] == points[:1] + points[-1:]
    assert [point["step"] for point in thinned] == sorted({point["step"] for point in thinned})


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
