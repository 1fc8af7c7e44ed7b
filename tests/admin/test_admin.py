"""The admin shows runs and personas in words, asks before it acts, logs what it did, and changes nothing else."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from recommender import bundles, serving
from recommender.admin import figures
from recommender.admin.readonly import BoundedPaginator
from recommender.models import Bundle, Event, Impression, Item, Persona, Run, Visitor
from recommender.runs.comparisons import COMPETITORS
from recommender.runs.figures import Figures

pytestmark = pytest.mark.django_db

RUNS = "/admin/recommender/run/"
PERSONAS = "/admin/recommender/persona/"


def figures_of(ndcg: float) -> dict[str, float]:
    return {"ndcg": ndcg, "recall": 0.25, "mrr": 0.2, "coverage": 0.3, "popularity_share": 0.1}


def rail(name: str, verdict: str, *, note: str = "", **numbers: float) -> dict[str, Any]:
    return {"name": name, "verdict": verdict, "note": note, **numbers}


METRICS: dict[str, Any] = {
    "lists": {
        "all": {"ranker": figures_of(0.15), "champion": figures_of(0.16), "own_frequency": figures_of(0.13)},
        "new": {"ranker": figures_of(0.07), "item_knn": figures_of(0.069)},
    },
    "intervals": {
        "all": {"champion": [-0.015, -0.01, -0.005], "own_frequency": [0.01, 0.02, 0.03]},
        "new": {"item_knn": [-0.002, 0.001, 0.004]},
    },
    "n_cases": {"all": 1204, "new": 981},
    "ranker": "ranker",
    "champion": "champion",
    "best_competitor": {"all": "own_frequency", "new": "item_knn"},
    "served": "ranker",
    "heads": {"buy": {"validation": {"accuracy": 0.97, "f1": 0.4}, "test": {"accuracy": 0.96, "f1": 0.375}}},
    "search": {"tuned": {"mrr": 0.87, "recall": 0.94}, "untuned": {"mrr": 0.9, "recall": 0.95}, "kept": "untuned"},
    "rolling": {
        "n_windows": 2,
        "lists": {"all": {"own_frequency": {"mean": 0.361, "deviation": 0.03, "windows": [0.33, 0.392]}}},
    },
    "context": {
        "hour": {"gain": -0.002, "told": 0.0},
        "region": {"gain": 0.0258, "told": 1.0},
        "device": {"told": 0.0},
    },
    "guardrails": [
        rail("coverage", "held", value=0.277, baseline=0.327, bound=0.0458, tolerance=0.109),
        rail("cold_visitor", "broken", value=0.025, baseline=0.0793, bound=0.0672, tolerance=0.02),
        rail("tail_query", "unmeasured", note="3 cases, 100 are needed"),
    ],
}


def make_run(**fields: Any) -> Run:
    started = timezone.now() - dt.timedelta(minutes=10)
    return Run.objects.create(
        **{
            "state": Run.State.SUCCEEDED,
            "started_at": started,
            "finished_at": started + dt.timedelta(seconds=125),
            "metrics": METRICS,
            "losses": [{"stage": "encoder", "step": step, "loss": 3 - step / 100} for step in range(60)],
            "report": {"n_read": 1200, "n_clean": 1150, "removed": {"duplicate": 50}, "density": 0.0168},
            "seconds": {"dataset": 6.2, "encoder": 88.4},
            **fields,
        }
    )


def make_bundle(state: str = Bundle.State.CANDIDATE, name: str = "a" * 32) -> Bundle:
    return Bundle.objects.create(name=name, state=state, encoder_hash="e" * 16)


def write_real_bundle(folder: Path) -> Bundle:
    """A bundle whose files are there and verify; nothing loads it."""
    folder.mkdir()
    (folder / "encoder.json").write_text(json.dumps({"hash": folder.name}))
    return bundles.write_bundle(folder, is_trained=True, encoder_hash=folder.name)


def make_items(*titles: str) -> None:
    Item.objects.bulk_create(
        Item(item_id=f"item:{n}", label="", object_id=str(n), title=title, text=title, text_hash="", price=Decimal(2))
        for n, title in enumerate(titles)
    )


def make_visitor(*rows: int, kind: str = "view_item", **fields: Any) -> Visitor:
    visitor = Visitor.objects.create(**fields)
    at, source = timezone.now() - dt.timedelta(hours=1), "order" if kind in ("purchase", "refund") else "page"
    Event.objects.bulk_create(
        Event(
            message_id=f"{visitor.pk}-{n}",
            visitor=visitor,
            type=kind,
            item_id=f"item:{row}",
            occurred_at=at,
            source=source,
        )
        for n, row in enumerate(rows)
    )
    return visitor


def run_url(run: Run) -> str:
    return reverse("admin:recommender_run_change", args=[run.pk])


def persona_url(visitor: Visitor) -> str:
    return reverse("admin:recommender_persona_change", args=[visitor.pk])


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    return " ".join(response.content.decode().split())


def staff_with(*codenames: str) -> Client:
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames, content_type__app_label="recommender"))
    client = Client()
    client.force_login(user)
    return client


# Runs: what is shown


def test_run_shows_the_ranker_beside_baseline_and_champion(admin_client: Client) -> None:
    html = page(admin_client, run_url(make_run()))
    for words in ("This model", "The previous model", "What the shopper buys most", "best simple competitor", "0.1500"):
        assert words in html
    assert "1,204 test cases" in html
    assert "2 min 5 s" in html


def test_better_and_worse_are_told_in_words_and_sign(admin_client: Client) -> None:
    html = page(admin_client, run_url(make_run()))
    assert '<span aria-hidden="true">▲</span> +0.0200</span> <span class="rec-words">better</span>' in html
    assert '<span aria-hidden="true">▼</span> -0.0100</span> <span class="rec-words">worse</span>' in html
    assert '<span aria-hidden="true">≈</span> +0.0010</span> <span class="rec-words">no clear difference</span>' in html
    assert "(+0.0100 to +0.0300)" in html


def test_run_shows_head_search_loss_data_and_time(admin_client: Client) -> None:
    html = page(admin_client, run_url(make_run()))
    assert "0.3750" in html
    assert "Search keeps the untuned encoder" in html
    assert "earlier 0.3610 ± 0.0300" in html
    assert "Loss of the encoder" in html
    assert "Duplicate" in html
    assert "1.680%" in html
    assert "1 min 28 s" in html


def test_one_earlier_window_has_no_spread(admin_client: Client) -> None:
    rolling = {
        "n_windows": 1,
        "lists": {"all": {"own_frequency": {"mean": 0.361, "deviation": 0.0, "windows": [0.361]}}},
    }
    html = page(admin_client, run_url(make_run(metrics=METRICS | {"rolling": rolling})))
    assert "earlier 0.3610" in html
    assert "±" not in html


def test_run_tells_which_circumstances_count(admin_client: Client) -> None:
    rows = dict(admin_client.get(run_url(make_run())).context["provenance_rows"])
    assert rows["Circumstances used"] == "region (+0.026)"
    assert rows["Left out because they did not help"] == "hour (-0.002), device"


def test_run_shows_each_guardrail_with_its_bound_and_what_is_allowed(admin_client: Client) -> None:
    table = admin_client.get(run_url(make_run())).context["guardrail_table"]
    broken, held, unmeasured = table.rows
    assert table.summary.startswith("1 guardrail is broken")
    assert (broken.label, broken.verdict) == ("First-time visitors", "broken")
    assert (broken.value, broken.baseline, broken.bound, broken.tolerance) == ("0.0250", "0.0793", "0.0672", "0.0200")
    assert (held.value, held.bound, held.verdict) == ("27.7%", "4.6%", "held")
    assert (unmeasured.value, unmeasured.note) == ("—", "3 cases, 100 are needed")


def test_run_names_the_stages_that_the_time_limit_cut_off_with_their_steps(admin_client: Client) -> None:
    metrics = METRICS | {"encoder": {"tuning": "full", "tuning_steps": 7.0}}
    run = make_run(metrics=metrics, provenance={"ended_by": {"encoder": "clock", "head": "steps", "context": "clock"}})
    rows = dict(admin_client.get(run_url(run)).context["provenance_rows"])
    assert rows["Cut off by the time limit"] == "context, encoder (7 steps)"


def test_run_that_had_no_time_to_fine_tune_says_how_many_minutes_it_takes(admin_client: Client) -> None:
    metrics = METRICS | {"encoder": {"fine_tuning": "frozen", "times_for_tuning": 2.2}}
    rows = dict(
        admin_client.get(run_url(make_run(metrics=metrics, settings={"minutes": 3.0}))).context["provenance_rows"]
    )
    assert rows["Left out for lack of time"].startswith("fine-tuning of BERT (a run of about 7 minutes")
    assert "Left out for lack of time" not in dict(
        admin_client.get(run_url(make_run(metrics=METRICS))).context["provenance_rows"]
    )


def test_run_says_what_serves_since(admin_client: Client) -> None:
    run = make_run(metrics=METRICS | {"served": "champion"})
    assert "Served after this run" in page(admin_client, run_url(run))
    Bundle.objects.create(
        name="b" * 32,
        state=Bundle.State.CHAMPION,
        is_trained=False,
        promoted_at=run.finished_at - dt.timedelta(hours=1),
    )
    assert "<dt>Now serving</dt><dd>the previous model (untrained)</dd>" in page(admin_client, run_url(run))


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"guardrails": {"coverage": 1}},
        {"guardrails": [None, {}, {"name": "new", "value": "x", "verdict": "held"}, {"verdict": "broken"}]},
        [],
        {"lists": None},
        {"lists": {"all": {"ranker": {}}}},
        {"lists": {"all": {"ranker": {"ndcg": None}, "random": {"ndcg": "x"}}}, "best_competitor": {"all": "gone"}},
        {"lists": {"all": []}, "intervals": {"all": {"random": [1]}}, "heads": {"buy": None}, "search": []},
        {"best_competitor": "own_frequency", "heads": {"buy": {"test": {"accuracy": None}}}, "n_cases": 5},
    ],
)
def test_run_that_wrote_only_part_of_its_figures_is_shown(admin_client: Client, metrics: Any) -> None:
    run = make_run(metrics=metrics, losses={}, report=[], seconds={"encoder": "x"})
    page(admin_client, run_url(run))
    page(admin_client, RUNS)


def test_only_an_active_run_refreshes_the_page(admin_client: Client) -> None:
    done = make_run()
    assert 'http-equiv="refresh"' not in page(admin_client, run_url(done))
    assert 'http-equiv="refresh"' not in page(admin_client, RUNS)
    going = make_run(state=Run.State.RUNNING, stage="fit_context", progress=0.46, finished_at=None)
    html = page(admin_client, run_url(going))
    assert 'http-equiv="refresh"' in html
    assert "46 %" in html
    assert "fit context" in html
    assert 'http-equiv="refresh"' in page(admin_client, RUNS)


@pytest.mark.parametrize("state", Run.State.values)
def test_every_state_says_what_happens_next(admin_client: Client, state: str) -> None:
    response = admin_client.get(run_url(make_run(state=state)))
    assert response.context["next"]


def test_reason_of_a_run_cannot_carry_markup(admin_client: Client) -> None:
    run = make_run(reason="<script>alert(1)</script>", stage="<b>", worker="<i>x</i>", settings={"ENCODER": "<u>"})
    html = page(admin_client, run_url(run))
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<u>" not in html


def test_run_page_has_no_inline_script_or_style(admin_client: Client) -> None:
    html = page(admin_client, run_url(make_run()))
    content = html[html.index('id="content"') :]
    assert "style=" not in content
    assert "<style" not in content
    assert "onclick" not in content


def test_runs_page_says_what_serves(admin_client: Client) -> None:
    make_run(bundle=make_bundle(Bundle.State.CHAMPION), verdict=Run.Verdict.PROMOTED)
    html = page(admin_client, RUNS)
    assert "Trained model" in html
    assert "▲ +0.0200" in html
    assert "Nothing to roll back to." in html


def test_run_without_enough_time_says_so_in_a_yellow_box(admin_client: Client) -> None:
    run = make_run(verdict=Run.Verdict.TOO_SHORT, reason="The previous model keeps serving, because: planted.")
    html = page(admin_client, f"{RUNS}{run.pk}/change/")
    assert '<p class="rec-reason rec-warning">The previous model keeps serving' in html
    assert "not enough time" in html
    refused = make_run(verdict=Run.Verdict.REFUSED, reason="Planted.")
    assert "rec-warning" not in page(admin_client, f"{RUNS}{refused.pk}/change/")


def test_model_that_serves_provisionally_says_that_it_is_watched(admin_client: Client) -> None:
    bundle = make_bundle(Bundle.State.CHAMPION)
    Bundle.objects.filter(pk=bundle.pk).update(is_provisional=True)
    run = make_run(bundle=bundle, verdict=Run.Verdict.PROVISIONAL, reason="Planted.")
    html = page(admin_client, f"{RUNS}{run.pk}/change/")
    assert "provisionally promoted" in html
    assert "the next run judges it again" in html
    assert "provisional" in page(admin_client, RUNS)


def test_runs_page_without_any_model_says_what_serves_instead(admin_client: Client) -> None:
    assert "No model yet. Train one" in page(admin_client, RUNS)


def test_unknown_run_leads_back_with_a_message(admin_client: Client) -> None:
    response = admin_client.get(f"{RUNS}999/change/", follow=True)
    assert response.status_code == 200
    assert "999" in response.content.decode()


# Runs: steps


def test_run_cannot_be_added_changed_or_deleted(admin_client: Client) -> None:
    run = make_run()
    assert admin_client.get(f"{RUNS}add/").status_code == 403
    assert admin_client.post(f"{RUNS}{run.pk}/delete/", {"post": "yes"}).status_code == 403
    admin_client.post(run_url(run), {"reason": "changed"})
    run.refresh_from_db()
    assert run.reason == ""


@pytest.mark.parametrize("step", ["run/train/", "run/1/cancel/", "bundle/1/promote/", "bundle/roll-back/"])
def test_step_needs_its_own_permission(step: str) -> None:
    client = staff_with("view_run", "view_bundle")
    assert client.get(f"/admin/recommender/{step}").status_code == 403
    assert client.post(f"/admin/recommender/{step}").status_code == 403
    assert not Run.objects.exists()


def test_viewer_sees_runs_without_buttons() -> None:
    client = staff_with("view_run")
    make_run(bundle=make_bundle())
    html = page(client, run_url(Run.objects.get()))
    assert reverse("admin:recommender_run_train") not in html
    assert "/promote/" not in html
    assert "/roll-back/" not in page(client, RUNS)


def test_anonymous_is_sent_to_the_login() -> None:
    assert Client().get(RUNS).status_code == 302
    assert Client().get("/admin/recommender/run/train/").status_code == 302


def test_train_asks_first_and_changes_nothing(admin_client: Client) -> None:
    assert "Start a training run" in page(admin_client, reverse("admin:recommender_run_train"))
    assert not Run.objects.exists()


def test_train_queues_a_run_of_the_person_and_logs_it(admin_client: Client, admin_user: User) -> None:
    response = admin_client.post(reverse("admin:recommender_run_train"), follow=True)
    run = Run.objects.get()
    assert (run.state, run.trigger, run.requested_by) == (Run.State.QUEUED, "admin", admin_user)
    assert response.redirect_chain == [(run_url(run), 302)]
    assert "waits for a training worker" in response.content.decode()
    assert LogEntry.objects.get().object_id == str(run.pk)


def test_train_while_a_run_is_active_tells_why_not(admin_client: Client) -> None:
    admin_client.post(reverse("admin:recommender_run_train"))
    response = admin_client.post(reverse("admin:recommender_run_train"), follow=True)
    assert Run.objects.count() == 1
    assert 'class="error"' in response.content.decode()
    assert LogEntry.objects.count() == 1


def test_cancel_stops_a_waiting_run_and_logs_it(admin_client: Client) -> None:
    admin_client.post(reverse("admin:recommender_run_train"))
    run = Run.objects.get()
    url = reverse("admin:recommender_run_cancel", args=[run.pk])
    assert "Stop this run?" in page(admin_client, url)
    run.refresh_from_db()
    assert run.state == Run.State.QUEUED
    admin_client.post(url)
    run.refresh_from_db()
    assert run.state in (Run.State.CANCELLING, Run.State.CANCELLED)
    assert LogEntry.objects.count() == 2


def test_cancel_of_a_finished_run_tells_why_not(admin_client: Client) -> None:
    run = make_run()
    response = admin_client.post(reverse("admin:recommender_run_cancel", args=[run.pk]), follow=True)
    assert 'class="error"' in response.content.decode()
    run.refresh_from_db()
    assert run.state == Run.State.SUCCEEDED


def test_refused_bundle_is_promoted_only_after_its_reason_was_read(admin_client: Client) -> None:
    bundle = make_bundle()
    make_run(bundle=bundle, verdict=Run.Verdict.REFUSED, reason="Worse than the champion by 0.0100.")
    url = reverse("admin:recommender_bundle_promote", args=[bundle.pk])
    html = page(admin_client, url)
    assert "Worse than the champion by 0.0100." in html
    assert "Promote anyway" in html
    response = admin_client.post(url)
    assert "tick the box" in response.content.decode()
    bundle.refresh_from_db()
    assert bundle.state == Bundle.State.CANDIDATE
    assert not LogEntry.objects.exists()


def test_bundle_whose_files_are_missing_is_not_promoted_and_says_so(admin_client: Client) -> None:
    bundle = make_bundle()
    make_run(bundle=bundle, verdict=Run.Verdict.PROMOTED)
    url = reverse("admin:recommender_bundle_promote", args=[bundle.pk])
    response = admin_client.post(url, follow=True)
    assert 'class="error"' in response.content.decode()
    bundle.refresh_from_db()
    assert bundle.state != Bundle.State.CHAMPION
    assert not LogEntry.objects.exists()


def test_promote_and_roll_back_change_what_serves_and_are_logged(admin_client: Client, tmp_path: Path) -> None:
    first, second = (write_real_bundle(tmp_path / name) for name in ("first", "second"))
    for bundle in (first, second):
        admin_client.post(reverse("admin:recommender_bundle_promote", args=[bundle.pk]))
        assert bundles.champion() == bundle
    roll_back = reverse("admin:recommender_bundle_roll_back")
    assert str(first) in page(admin_client, roll_back)
    assert bundles.champion() == second
    response = admin_client.post(roll_back, follow=True)
    assert bundles.champion() == first
    assert f"bundle {first} serves again" in response.content.decode()
    assert LogEntry.objects.count() == 3


def test_refused_bundle_is_promoted_by_who_insists(admin_client: Client, tmp_path: Path) -> None:
    bundle = write_real_bundle(tmp_path / "refused")
    make_run(bundle=bundle, verdict=Run.Verdict.REFUSED)
    admin_client.post(reverse("admin:recommender_bundle_promote", args=[bundle.pk]), {"insist": "yes"})
    assert bundles.champion() == bundle
    assert "although the gate" in LogEntry.objects.get().change_message


def test_roll_back_without_a_previous_champion_tells_why_not(admin_client: Client) -> None:
    url = reverse("admin:recommender_bundle_roll_back")
    assert "There is no previous champion" in page(admin_client, url)
    response = admin_client.post(url, follow=True)
    assert 'class="error"' in response.content.decode()


def test_bundle_page_shows_state_and_run(admin_client: Client) -> None:
    run = make_run(bundle=make_bundle(), verdict=Run.Verdict.REFUSED)
    html = page(admin_client, reverse("admin:recommender_bundle_change", args=[run.bundle_id]))
    assert f"Run {run.pk}" in html
    assert reverse("admin:recommender_bundle_promote", args=[run.bundle_id]) in html


# Personas


def test_persona_tells_interests_with_evidence(admin_client: Client) -> None:
    make_items("LUNCH BAG RED", "LUNCH BAG BLUE", "LUNCH BAG PINK", "ALARM CLOCK")
    visitor = make_visitor(0, 1, 2)
    serving.reload()
    assert "Mostly lunch bag: 3 viewed, last 1 hour ago" in page(admin_client, persona_url(visitor))


def test_looking_at_a_persona_records_nothing(admin_client: Client) -> None:
    make_items("LUNCH BAG RED", "LUNCH BAG BLUE")
    visitor = make_visitor(0)
    last_seen_at = visitor.last_seen_at
    serving.reload()
    html = page(admin_client, persona_url(visitor))
    assert "As this shopper sees it" in html
    assert "What everybody sees: bestsellers" in html
    visitor.refresh_from_db()
    assert (Event.objects.count(), Impression.objects.count(), visitor.last_seen_at) == (1, 0, last_seen_at)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"has_consented": False}, "has not consented"),
        ({"is_profiled": False}, "switched off"),
        ({"is_bot": True}, "a bot"),
    ],
)
def test_nothing_is_said_of_who_is_not_profiled(admin_client: Client, fields: dict[str, bool], words: str) -> None:
    make_items("LUNCH BAG RED")
    visitor = make_visitor(0, **fields)
    html = page(admin_client, persona_url(visitor))
    assert words in html
    assert "LUNCH BAG" not in html
    assert words in page(admin_client, PERSONAS)


def test_persona_is_empty_after_erasure(admin_client: Client) -> None:
    make_items("LUNCH BAG RED")
    visitor = make_visitor(0)
    visitor.events.all().delete()
    assert "Nothing is known of this visitor yet." in page(admin_client, persona_url(visitor))


def test_one_row_per_person_with_name_and_events_of_all_devices(admin_client: Client) -> None:
    user = User.objects.create_user("grace", first_name="Grace", last_name="Hill")
    now = timezone.now()
    make_visitor(0, 1, user_key=str(user.pk), last_seen_at=now - dt.timedelta(days=1))
    phone = make_visitor(2, user_key=str(user.pk), last_seen_at=now)
    changelist = admin_client.get(PERSONAS).context["cl"]
    assert [(row.pk, row.person, row.n_events) for row in changelist.result_list] == [(phone.pk, "Grace Hill", 3)]
    assert "3" in page(admin_client, persona_url(phone))


@pytest.mark.parametrize("words", ["grace", "Hill", "grace hill"])
def test_person_is_found_by_name(admin_client: Client, words: str) -> None:
    user = User.objects.create_user("customer-1", first_name="Grace", last_name="Hill")
    wanted = make_visitor(user_key=str(user.pk))
    make_visitor()
    visitors = admin_client.get(PERSONAS, {"q": words}).context["cl"].result_list
    assert [visitor.pk for visitor in visitors] == [wanted.pk]


def test_visitor_is_found_by_key_and_nonsense_finds_nobody(admin_client: Client) -> None:
    wanted = make_visitor()
    make_visitor()
    assert [v.pk for v in admin_client.get(PERSONAS, {"q": str(wanted.key)}).context["cl"].result_list] == [wanted.pk]
    for words in ("' OR 1=1 --", "🎁", "x" * 10_000, "中文"):
        assert not admin_client.get(PERSONAS, {"q": words}).context["cl"].result_list


def test_number_of_queries_does_not_grow_with_the_page(admin_client: Client) -> None:
    def n_queries(url: str) -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page(admin_client, url)
        return len(queries)

    urls = [PERSONAS, "/admin/recommender/event/", "/admin/recommender/visitor/", RUNS, "/admin/recommender/bundle/"]

    def fill(start: int, n: int) -> None:
        for number in range(start, start + n):
            user = User.objects.create_user(f"customer-{number}")
            make_visitor(0, 1, user_key=str(user.pk))
            make_run(bundle=make_bundle(name=f"{number:032}"), requested_by=user)

    fill(0, 2)
    few = [n_queries(url) for url in urls]
    fill(2, 20)
    assert [n_queries(url) for url in urls] == few


def test_unknown_persona_leads_back_with_a_message(admin_client: Client) -> None:
    for key in ("999", "abc", "0", "99999999999999999999"):
        response = admin_client.get(f"{PERSONAS}{key}/change/", follow=True)
        assert response.status_code == 200


def test_persona_cannot_be_deleted(admin_client: Client) -> None:
    visitor = make_visitor()
    assert admin_client.post(f"{PERSONAS}{visitor.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Persona.objects.filter(pk=visitor.pk).exists()


def test_filters_of_personas_narrow_the_list(admin_client: Client) -> None:
    make_visitor(device="mobile")
    make_visitor(user_key="7", device="desktop")
    make_visitor(has_consented=False)

    def n_found(**filters: str) -> int:
        return len(admin_client.get(PERSONAS, filters).context["cl"].result_list)

    assert n_found() == 3
    assert n_found(device="mobile") == 1
    assert n_found(account="yes") == 1
    assert n_found(personalised="no_consent") == 1
    assert n_found(personalised="yes") == 2


# Behaviour and items


@pytest.mark.parametrize(
    "model", ["event", "impression", "visitor", "item", "itemstatistics", "bundle", "persona", "run", "segment"]
)
def test_every_page_opens_and_nothing_can_be_added(admin_client: Client, model: str) -> None:
    page(admin_client, f"/admin/recommender/{model}/")
    assert admin_client.get(f"/admin/recommender/{model}/add/").status_code == 403


def test_event_shows_title_of_item_and_person(admin_client: Client) -> None:
    make_items("LUNCH BAG RED")
    user = User.objects.create_user("grace")
    make_visitor(0, user_key=str(user.pk))
    html = page(admin_client, "/admin/recommender/event/")
    assert "LUNCH BAG RED" in html
    assert "grace" in html


@pytest.mark.parametrize("words", ["item:1", "grace"])
def test_event_is_found_by_item_and_by_person(admin_client: Client, words: str) -> None:
    user = User.objects.create_user("grace")
    visitor = make_visitor(1, user_key=str(user.pk))
    make_visitor(0)
    events = admin_client.get("/admin/recommender/event/", {"q": words}).context["cl"].result_list
    assert [event.visitor_id for event in events] == [visitor.pk]


def test_impression_lists_titles_in_the_order_shown(admin_client: Client) -> None:
    make_items("LUNCH BAG RED", "ALARM CLOCK")
    impression = Impression.objects.create(slot="home", rung="champion", item_ids=["item:1", "item:0"])
    html = page(admin_client, reverse("admin:recommender_impression_change", args=[impression.pk]))
    assert html.index("ALARM CLOCK") < html.index("LUNCH BAG RED")
    assert page(admin_client, f"/admin/recommender/impression/?q={impression.pk}").count("LUNCH BAG") == 0


def test_detail_pages_of_behaviour_open(admin_client: Client) -> None:
    make_items("LUNCH BAG RED")
    visitor = make_visitor(0)
    page(admin_client, reverse("admin:recommender_event_change", args=[visitor.events.get().pk]))
    page(admin_client, reverse("admin:recommender_visitor_change", args=[visitor.pk]))
    page(admin_client, reverse("admin:recommender_item_change", args=[Item.objects.get().pk]))


def test_paginator_counts_no_further_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommender.admin.readonly.N_COUNTED", 3)
    for _ in range(5):
        make_visitor()
    paginator = BoundedPaginator(Visitor.objects.order_by("pk"), 2)
    with CaptureQueriesContext(connection) as queries:
        assert paginator.count == 3
    assert "LIMIT 3" in queries[0]["sql"]
    assert paginator.is_cut


def test_typed_address_cannot_sort_by_a_column_without_index(admin_client: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        page(admin_client, "/admin/recommender/event/?o=1")
    assert not [query for query in queries if 'ORDER BY "recommender_event"."type"' in query["sql"]]


# Figures


def test_gain_without_interval_is_the_plain_difference() -> None:
    lists = {"lists": {"all": {"ranker": {"ndcg": 0.2}, "random": {"ndcg": 0.1}}}}
    gain = figures.gain_of(Figures.of(lists), "all", "random")
    assert gain is not None
    assert (gain.css, gain.amount, gain.bounds) == ("better", "+0.1000", "")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.25, "0.2 s"), (61, "1 min 1 s"), (3700, "1 h 1 min"), (42, "42 s"), (None, "—")]
)
def test_duration_is_told_in_two_units(seconds: float | None, words: str) -> None:
    assert figures.duration(seconds) == words


def test_documentation_explains_every_name_of_a_ranker() -> None:
    text = (Path(__file__).parents[2] / "docs" / "admin.md").read_text()
    for name, competitor in COMPETITORS.items():
        assert f"| {competitor.label} | `{name}` |" in text


def test_running_mean_of_a_straight_line_is_that_line() -> None:
    title, chart = figures.loss_charts([{"stage": "head", "step": n, "loss": 2.0} for n in range(100)])[0]
    assert title == "Loss of the head"
    assert "running mean: loss from 2 to 2" in chart
