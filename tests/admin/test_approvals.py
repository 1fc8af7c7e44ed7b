"""Two people promote together where the shop wants it, and all that people did stands on one page and in a file."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.test import Client

from recommender import bundles, runs
from recommender.exceptions import RunError
from recommender.models import Approval, Bundle, Experiment, Run
from recommender.training import stages
from recommender.training.watch import Watch
from tests.admin.test_experiments import clerk

pytestmark = pytest.mark.django_db

BUNDLES, ACTIONS = "/admin/recommender/bundle/", "/admin/recommender/approval/actions/"
NOTE = {"note": "Exposure and ten searches look right."}


@pytest.fixture
def new(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "PROMOTION_PEOPLE": 2}
    monkeypatch.setattr(bundles.store, "fetch", lambda name: None)
    Bundle.objects.create(name="old", encoder_hash="h", state=Bundle.State.CHAMPION)
    return Bundle.objects.create(name="new", encoder_hash="h")


def serving() -> str:
    champion = bundles.champion()
    return champion.name if champion is not None else ""


def page(client: Client, url: str) -> str:
    return client.get(url).content.decode()


def test_bundle_serves_after_the_second_person_has_approved(admin_client: Client, new: Bundle) -> None:
    url = f"{BUNDLES}{new.pk}/approve/"
    assert "2 people must still approve" in page(admin_client, url)
    admin_client.post(url, NOTE)
    assert serving() == "old"
    second = clerk("approve_bundle", "view_bundle")
    assert "admin approved it: Exposure and ten searches look right." in page(second, url)
    second.post(url, {"note": "Agreed."})
    assert serving() == "new"
    assert set(Approval.objects.values_list("name", flat=True)) == {"admin", "clerk"}
    assert not bundles.open_approvals(new)


def test_nobody_approves_twice(admin_client: Client, new: Bundle) -> None:
    url = f"{BUNDLES}{new.pk}/approve/"
    admin_client.post(url, NOTE)
    response = admin_client.post(url, NOTE, follow=True)
    assert "You have approved it already: another person must." in response.content.decode()
    assert serving() == "old"


def test_approval_needs_a_note_and_its_own_permission(admin_client: Client, new: Bundle) -> None:
    url = f"{BUNDLES}{new.pk}/approve/"
    assert "This field is required" in admin_client.post(url, {"note": " "}).content.decode()
    assert clerk("promote_bundle").post(url, NOTE).status_code == 403
    assert not Approval.objects.exists()


def test_who_may_promote_cannot_do_it_alone(admin_client: Client, new: Bundle) -> None:
    response = admin_client.post(f"{BUNDLES}{new.pk}/promote/", follow=True)
    assert "2 people must still approve" in response.content.decode()
    assert serving() == "old"
    assert "/approve/" in page(admin_client, f"{BUNDLES}{new.pk}/change/")


def test_used_approvals_do_not_promote_again(admin_client: Client, new: Bundle) -> None:
    for client in (admin_client, clerk("approve_bundle")):
        client.post(f"{BUNDLES}{new.pk}/approve/", NOTE)
    bundles.roll_back()
    with pytest.raises(RunError, match="2 people must still approve"):
        bundles.require_enough(new)


def test_run_that_promotes_waits_for_people(admin_client: Client, new: Bundle) -> None:
    run = runs.request_run(trigger="command")
    watch = Watch(run.pk, runs.lease(run.pk, worker="w"))
    stages._finished(Run.State.SUCCEEDED, "It is better.", Run.Verdict.PROMOTED, new, new)(watch)
    run.refresh_from_db()
    assert serving() == "old"
    assert "2 people must still approve" in run.reason
    assert "It waits for people to approve it" in page(admin_client, f"/admin/recommender/run/{run.pk}/change/")


def test_approved_bundle_is_rolled_out_where_the_shop_wants_that(
    admin_client: Client, new: Bundle, settings: Any
) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "ROLLOUT": {"share": 0.1, "days": 7}}
    for client in (admin_client, clerk("approve_bundle")):
        client.post(f"{BUNDLES}{new.pk}/approve/", NOTE)
    assert serving() == "old"
    assert Experiment.objects.get().bundle == new


def test_one_person_promotes_by_default(admin_client: Client, new: Bundle, settings: Any) -> None:
    settings.RECOMMENDER = {**settings.RECOMMENDER, "PROMOTION_PEOPLE": 1}
    admin_client.post(f"{BUNDLES}{new.pk}/promote/")
    assert serving() == "new"


def log(message: str, *, model: Any = Bundle, name: str = "b") -> None:
    user = User.objects.get_or_create(username="ann")[0]
    LogEntry.objects.create(
        user=user, content_type=ContentType.objects.get_for_model(model), object_id="1", object_repr=name,
        action_flag=CHANGE, change_message=message,
    )  # fmt: skip


def test_page_of_actions_shows_this_app_alone(admin_client: Client) -> None:
    log("Promoted.")
    log("Elsewhere.", model=User)
    text = page(admin_client, ACTIONS)
    assert "Promoted." in text
    assert "ann" in text
    assert "Elsewhere." not in text


def test_actions_of_one_person_are_shown_alone(admin_client: Client) -> None:
    log("Promoted.")
    assert "Promoted." in page(admin_client, ACTIONS + "?who=ann")
    assert "Nobody has done anything yet." in page(admin_client, ACTIONS + "?who=bob&p=x")


def test_approvals_are_listed_with_their_notes(admin_client: Client, new: Bundle) -> None:
    admin_client.post(f"{BUNDLES}{new.pk}/approve/", NOTE)
    text = page(admin_client, "/admin/recommender/approval/")
    assert NOTE["note"] in text
    assert ACTIONS in text


def test_file_of_actions_runs_nothing_in_a_spreadsheet(admin_client: Client) -> None:
    log("=HYPERLINK(1)", name="@evil")
    response = admin_client.get(f"{ACTIONS}export/")
    text = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    assert response["Content-Disposition"] == 'attachment; filename="actions.csv"'
    assert text.startswith("\ufeffwhen,who,what,object,id,message\r\n")
    assert "'=HYPERLINK(1)" in text
    assert ",'@evil," in text


def test_actions_are_refused_to_who_may_not_see_them() -> None:
    viewer = clerk("view_bundle")
    assert viewer.get("/admin/recommender/approval/").status_code == 403
    assert viewer.get(ACTIONS).status_code == 403
    assert viewer.get(f"{ACTIONS}export/").status_code == 403
