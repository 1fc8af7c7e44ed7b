"""Trainings in the admin: with chosen minutes, repeated, compared, watched without a reload, and heard of or not."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from recommender import runs
from recommender.models import Run
from recommender.runs import supervision
from tests.admin.test_admin import METRICS, RUNS, figures_of, make_run
from tests.admin.test_experiments import clerk

pytestmark = pytest.mark.django_db


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def of_data(data_hash: str, ndcg: float, **fields: Any) -> Run:
    lists = {"all": {"ranker": figures_of(ndcg)}, "new": {"ranker": figures_of(ndcg / 2)}}
    report = {"data_hash": data_hash, "n_read": 1200, "n_clean": 1150}
    return make_run(metrics=METRICS | {"lists": lists}, report=report, **fields)


def test_training_takes_the_minutes_and_the_method_that_were_chosen(admin_client: Client) -> None:
    assert "Empty: 3, as the settings say." in page(admin_client, f"{RUNS}train/")
    admin_client.post(f"{RUNS}train/", {"minutes": "12.5", "encoder": "scratch", "fine_tuning": "lora"})
    run = Run.objects.get()
    assert {name: run.settings[name] for name in ("minutes", "encoder", "fine_tuning")} == {
        "minutes": 12.5, "encoder": "scratch", "fine_tuning": "lora",
    }  # fmt: skip


def test_empty_form_trains_as_the_settings_say(admin_client: Client, settings: Any) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "TRAINING_MINUTES": 7.0, "FINE_TUNING": "ia3"}
    admin_client.post(f"{RUNS}train/", {"minutes": "", "encoder": "", "fine_tuning": ""})
    run = Run.objects.get()
    assert (run.settings["minutes"], run.settings["fine_tuning"]) == (7.0, "ia3")


@pytest.mark.parametrize(
    "answers", [{"minutes": "0.1"}, {"minutes": "-3"}, {"minutes": "soon"}, {"fine_tuning": "magic"}]
)
def test_training_that_cannot_be_meant_is_refused_beside_its_field(
    admin_client: Client, answers: dict[str, str]
) -> None:
    response = admin_client.post(f"{RUNS}train/", answers)
    assert "errorlist" in response.content.decode()
    assert not Run.objects.exists()


def test_run_is_repeated_with_its_data(admin_client: Client) -> None:
    run = make_run(provenance={"taken_at": 1.5}, settings={"seed": 3})
    assert "A repetition is never promoted." in page(admin_client, f"{RUNS}{run.pk}/repeat/")
    admin_client.post(f"{RUNS}{run.pk}/repeat/")
    again = Run.objects.exclude(pk=run.pk).get()
    assert (again.settings["like"], again.settings["as_of"], again.settings["seed"]) == (run.pk, 1.5, 3)


def test_run_that_read_no_data_cannot_be_repeated(admin_client: Client) -> None:
    run = make_run(provenance={})
    response = admin_client.post(f"{RUNS}{run.pk}/repeat/", follow=True)
    assert "cannot be repeated" in response.content.decode()


def test_selected_runs_stand_beside_each_other(admin_client: Client) -> None:
    chosen = [of_data("x", 0.11), of_data("x", 0.12), of_data("y", 0.99)]
    response = admin_client.post(
        RUNS, {"action": "compare", "_selected_action": [run.pk for run in chosen]}, follow=True
    )
    text = response.content.decode()
    assert "1 run learned from other data than the first" in text
    assert text.count("other data</span>") == 1
    assert '▲</span> 0.1200</span> <span class="rec-words">best' in text
    assert "▲</span> 0.9900" not in text


@pytest.mark.parametrize("n", [1, 5])
def test_one_run_and_five_are_not_compared(admin_client: Client, n: int) -> None:
    chosen = [of_data("x", 0.1) for _run in range(n)]
    response = admin_client.post(
        RUNS, {"action": "compare", "_selected_action": [run.pk for run in chosen]}, follow=True
    )
    assert "Select 2 to 4 runs to compare." in response.content.decode()


@pytest.mark.parametrize("query", ["", "?run=1", "?run=x&run=²", "?run=99999999999999999999&run=3"])
def test_address_that_names_no_two_runs_leads_back(admin_client: Client, query: str) -> None:
    response = admin_client.get(f"{RUNS}compare/{query}", follow=True)
    assert "Select 2 to 4 runs to compare." in response.content.decode()


def test_runs_without_figures_are_compared_too(admin_client: Client) -> None:
    first, second = make_run(metrics={}, report={}), of_data("x", 0.1)
    assert "0.1000" in page(admin_client, f"{RUNS}compare/?run={first.pk}&run={second.pk}")


def test_page_shows_the_end_of_the_log_to_who_may_train(admin_client: Client) -> None:
    run = make_run()
    log = supervision.log_path(run.pk)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("\n".join(f"line {number} <b>" for number in range(60)))
    text = page(admin_client, f"{RUNS}{run.pk}/change/")
    assert "line 59 &lt;b&gt;" in text
    assert "line 19 " not in text
    assert "line 59" not in page(clerk("view_run"), f"{RUNS}{run.pk}/change/")


def test_silent_run_is_called_silent(admin_client: Client) -> None:
    heard_at = timezone.now() - dt.timedelta(seconds=runs.STALE_SECONDS + 60)
    silent = make_run(state=Run.State.RUNNING, finished_at=None, heartbeat_at=heard_at)
    assert "It is silent: nothing was heard of it for 3" in page(admin_client, f"{RUNS}{silent.pk}/change/")
    Run.objects.update(heartbeat_at=timezone.now())
    assert "It is silent" not in page(admin_client, f"{RUNS}{silent.pk}/change/")


def test_attempts_are_told_from_the_second_on(admin_client: Client) -> None:
    run = make_run(fencing_token=1)
    assert "Attempts" not in page(admin_client, f"{RUNS}{run.pk}/change/")
    Run.objects.update(fencing_token=3)
    assert "<dt>Attempts</dt><dd>3</dd>" in page(admin_client, f"{RUNS}{run.pk}/change/")


def test_panel_of_an_active_run_is_polled_by_a_script(admin_client: Client) -> None:
    run = make_run(state=Run.State.RUNNING, finished_at=None, heartbeat_at=timezone.now())
    text = page(admin_client, f"{RUNS}{run.pk}/change/")
    assert 'data-poll="on"' in text
    assert '<noscript><meta http-equiv="refresh"' in text
    assert "recommender/admin.js" in text
