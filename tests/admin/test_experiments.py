"""Experiments in the admin: a plan is a form, what runs is shown in words, and each step has its permission."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from recommender.experiments import measuring
from recommender.models import Bundle, Experiment, Rule

pytestmark = pytest.mark.django_db

URL = "/admin/recommender/experiment/"
PLAN = {
    "name": "calmer lists", "kind": "split", "diversity": "0.5", "slots": ["home"], "share": "1",
    "variant_share": "0.5",
    "group": "main", "metric": "orders", "lift": "0.05", "outcome_days": "7", "days": "28",
}  # fmt: skip
RESULTS: dict[str, Any] = {
    "people": {"a": 1200, "b": 1190}, "n_waiting": 30, "n_mixed": 2, "balance": 0.9, "currency": "GBP",
    "n_other_currency": 3,
    "metrics": {
        "clicks": {"a": 1.0, "b": 1.2, "difference": 0.2, "low": 0.1, "high": 0.3},
        "orders": {"a": 0.1, "b": 0.11, "difference": 0.01, "low": -0.01, "high": 0.03},
        "revenue": {"a": 2.0, "b": 2.1, "difference": 0.1, "low": None, "high": None},
    },
}  # fmt: skip


def make(**fields: Any) -> Experiment:
    return Experiment.objects.create(**{"name": "calmer lists", "changes": {"diversity": 0.5}, **fields})


def page(client: Client, path: str) -> str:
    response = client.get(URL + path)
    assert response.status_code == 200
    return response.content.decode()


def clerk(*permissions: str) -> Client:
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_plan_becomes_a_draft_that_says_what_the_variant_changes(admin_client: Client) -> None:
    response = admin_client.post(URL + "add/", PLAN)
    assert response.status_code == 302
    draft = Experiment.objects.get()
    assert (draft.state, draft.changes, draft.slots) == ("draft", {"diversity": 0.5}, ["home"])
    assert 'value="0.5"' in page(admin_client, f"{draft.pk}/change/")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"diversity": "7"}, "Write a number from 0 to 1"),
        ({"promotes": "on"}, "Only a bundle can be promoted"),
        ({"share": "2"}, "less than or equal to 1.0"),
        ({"slots": ["hme"]}, "hme is not one of the available choices"),
    ],
)
def test_plan_that_cannot_run_is_refused_beside_its_field(
    admin_client: Client, change: dict[str, Any], message: str
) -> None:
    response = admin_client.post(URL + "add/", PLAN | change)
    assert message in response.content.decode()
    assert not Experiment.objects.exists()


def test_quarantined_bundle_cannot_be_chosen(admin_client: Client) -> None:
    broken = Bundle.objects.create(name="broken", encoder_hash="h", state=Bundle.State.QUARANTINED)
    response = admin_client.post(URL + "add/", PLAN | {"bundle": broken.pk})
    assert "not one of the available choices" in response.content.decode()


def test_start_asks_first_and_tells_how_many_people_are_needed(admin_client: Client) -> None:
    draft = make(lift=0.02)
    question = page(admin_client, f"{draft.pk}/start/")
    assert "To be sure of a lift of 2.0 % it needs about 2,000 people" in question
    assert Experiment.objects.get().state == "draft"
    admin_client.post(f"{URL}{draft.pk}/start/")
    assert Experiment.objects.get().state == "live"
    assert "Started." in admin_client.get(f"{URL}{draft.pk}/history/").content.decode()


def test_start_says_in_one_day_or_in_several(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = make()
    for n_people_a_day, words in ((2_000, "come within 1 day;"), (900, "come within 3 days;")):
        plan = measuring.Forecast(2_000, n_people_a_day)
        monkeypatch.setattr(measuring, "forecast", lambda experiment, *, at, plan=plan: plan)
        assert words in page(admin_client, f"{draft.pk}/start/")


def test_refusal_to_start_names_the_repair(admin_client: Client) -> None:
    make(state="live", share=0.9, started_at=timezone.now())
    draft = make(share=0.5)
    response = admin_client.post(f"{URL}{draft.pk}/start/", follow=True)
    assert "has no room for 50 % of the shoppers" in response.content.decode()


def test_live_experiment_is_shown_and_no_longer_changed(admin_client: Client) -> None:
    live = make(state="live", started_at=timezone.now(), results=RESULTS, planned_people=4780)
    text = page(admin_client, f"{live.pk}/change/")
    assert "surely better" in text
    assert "no clear difference" in text
    assert "too few people yet" in text
    assert "+20.0 %" in text
    assert "50 % of the 4780 people" in text
    assert "3 lines in other currencies" in text
    assert 'name="lift"' not in text
    admin_client.post(f"{URL}{live.pk}/change/", PLAN | {"name": "changed"})
    assert Experiment.objects.get().name == "calmer lists"


def test_margin_of_which_too_little_is_known_is_a_dash_with_the_share_that_is(admin_client: Client) -> None:
    unknown = dict.fromkeys(("a", "b", "difference", "low", "high"))
    results = RESULTS | {"priced_share": 0.625, "metrics": RESULTS["metrics"] | {"margin": unknown}}
    text = page(admin_client, f"{make(state='live', started_at=timezone.now(), results=results).pk}/change/")
    assert "too few margins are known" in text
    assert "62.5 % of the order value is of items with a margin; below 80 % margins are not compared." in text


def test_margin_is_shown_in_its_currency_with_what_is_left_out(admin_client: Client) -> None:
    margin = {"a": 0.5, "b": 0.6, "difference": 0.1, "low": 0.05, "high": 0.15}
    results = RESULTS | {"priced_share": 0.9, "metrics": RESULTS["metrics"] | {"margin": margin}}
    live = make(state="live", started_at=timezone.now(), results=results, metric="margin")
    text = page(admin_client, f"{live.pk}/change/")
    assert "0.6 GBP" in text
    assert "90.0 % of the order value is of items with a margin; the others count with none." in text
    assert "▲ +20.0 % surely better" in page(admin_client, "")


def test_share_of_a_control_that_earned_nothing_is_no_percentage(admin_client: Client) -> None:
    margin = {"a": -0.5, "b": 0.1, "difference": 0.6, "low": 0.5, "high": 0.7}
    results = RESULTS | {"metrics": {"margin": margin}}
    live = make(state="live", started_at=timezone.now(), results=results, metric="margin")
    text = page(admin_client, f"{live.pk}/change/")
    assert "surely better" in text
    assert "120" not in text.split("<tbody>")[1].split("</tbody>")[0]


def test_experiment_without_a_figure_says_so(admin_client: Client) -> None:
    live = make(state="live", started_at=timezone.now())
    assert "Nothing has been measured yet" in page(admin_client, f"{live.pk}/change/")


def test_stop_is_final_and_a_copy_is_a_new_draft(admin_client: Client) -> None:
    live = make(state="live", started_at=timezone.now(), needs_bundle=False)
    admin_client.post(f"{URL}{live.pk}/stop/")
    live.refresh_from_db()
    assert (live.state, live.reason) == ("stopped", "Stopped by admin.")
    admin_client.post(f"{URL}{live.pk}/copy/")
    copy = Experiment.objects.exclude(pk=live.pk).get()
    assert (copy.state, copy.changes, copy.results) == ("draft", live.changes, {})
    assert copy.salt != live.salt


def test_list_shows_who_tries_what_and_how_it_goes(admin_client: Client) -> None:
    make(state="live", started_at=timezone.now(), results=RESULTS, share=0.5, variant_share=0.2, metric="clicks")
    text = page(admin_client, "")
    assert "10 % of shoppers" in text
    assert "▲ +20.0 % surely better" in text


def test_each_step_has_its_own_permission() -> None:
    draft = make()
    viewer = clerk("view_experiment")
    assert viewer.get(URL).status_code == 200
    for step in ("start", "stop", "copy"):
        assert viewer.post(f"{URL}{draft.pk}/{step}/").status_code == 403
    assert 'name="name"' not in viewer.get(f"{URL}{draft.pk}/change/").content.decode()


def test_who_may_run_experiments_may_not_plan_them() -> None:
    runner = clerk("view_experiment", "run_experiment")
    draft = make()
    assert runner.get(URL + "add/").status_code == 403
    assert runner.post(f"{URL}{draft.pk}/start/").status_code == 302
    assert Experiment.objects.get().state == "live"


def test_who_may_see_nothing_is_refused() -> None:
    assert clerk().get(f"{URL}{make().pk}/change/").status_code == 403


def test_rule_for_the_variant_is_written_from_the_plan(admin_client: Client) -> None:
    draft, over = make(name="mugs first"), make(name="old one", state="stopped")
    link = f"/admin/recommender/rule/add/?experiment={draft.pk}"
    assert link in page(admin_client, f"{draft.pk}/change/")
    form = admin_client.get(link).content.decode()
    assert f'<option value="{draft.pk}" selected>' in form
    assert f'<option value="{over.pk}"' not in form
    rule = Rule.objects.create(name="Mugs", action="banner", text="Mugs", experiment=draft, state="live")
    look = f"/admin/recommender/rule/{rule.pk}/look/"
    assert "for the variant of mugs first" in admin_client.get(look).content.decode()
    admin_client.post(f"{URL}{draft.pk}/start/")
    assert "rule “Mugs”" in page(admin_client, f"{draft.pk}/change/")
    Experiment.objects.filter(pk=draft.pk).update(state="stopped")
    assert "This experiment is over" in admin_client.get(look).content.decode()
