"""Rules by the API: for staff only, by the admin's permissions, and with problems that name the repair."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from recommender import pipeline, serving
from recommender.models import Experiment, Rule, Segment
from tests.conftest import DemoShop

pytestmark = pytest.mark.django_db
ROOT = "/recommender/api/v1/rules"


def person(name: str, *permissions: str, is_staff: bool = True) -> Client:
    user = User.objects.create_user(name, is_staff=is_staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def last_item(demo_shop: DemoShop) -> str:
    return pipeline.recommend("trending", limit=10).entries[-1].item_id


@pytest.fixture
def editor(demo_shop: DemoShop) -> Client:
    return person("editor", "view_rule", "add_rule", "change_rule")


@pytest.fixture
def publisher(demo_shop: DemoShop) -> Client:
    return person("publisher", "view_rule", "publish_rule")


def send(client: Client, path: str = "", body: Any = None, *, method: str = "POST", status: int = 200) -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    answer = client.generic(method, ROOT + path, content, "application/json")
    assert answer.status_code == status, answer.content
    if status >= 400:
        assert answer["Content-Type"] == "application/problem+json"
    return answer.json()


def pin(item_id: str, **fields: Any) -> dict[str, Any]:
    return {"name": "first", "action": "pin", "item_ids": [item_id], "position": 1, "slot": "trending", **fields}


def test_way_from_draft_to_live(editor: Client, publisher: Client, last_item: str) -> None:
    rule = send(editor, "", pin(last_item), status=201)
    assert (rule["state"], rule["version"], rule["created_by"]) == ("draft", 1, "editor")
    path = f"/{rule['rule_id']}"
    rule = send(editor, path, {"version": 1, "name": "best first"}, method="PATCH")
    assert (rule["name"], rule["item_ids"], rule["version"]) == ("best first", [last_item], 2)
    assert send(editor, f"{path}/submit", {"version": 2})["state"] == "review"
    assert send(publisher, f"{path}/publish", {"version": 3})["reviewed_by"] == "publisher"
    serving.reload()
    assert pipeline.recommend("trending").entries[0].item_id == last_item
    assert send(editor, f"{path}/copy", {"version": 4}, status=201)["state"] == "draft"
    assert send(publisher, f"{path}/withdraw", {"version": 4})["state"] == "withdrawn"
    listed = send(editor, "?state=draft", method="GET")
    assert (listed["n_rules"], [each["state"] for each in listed["rules"]]) == (1, ["draft"])


def test_each_call_needs_its_permission(editor: Client, publisher: Client, last_item: str) -> None:
    rule = send(editor, "", pin(last_item), status=201)
    path = f"/{rule['rule_id']}"
    assert "recommender.add_rule" in send(publisher, "", pin(last_item), status=403)["detail"]
    send(publisher, path, {"version": 1, "name": "x"}, method="PATCH", status=403)
    send(publisher, f"{path}/submit", {"version": 1}, status=403)
    send(editor, f"{path}/publish", {"version": 1}, status=403)
    send(editor, f"{path}/withdraw", {"version": 1}, status=403)
    nobody = person("nobody", is_staff=True)
    send(nobody, "", method="GET", status=403)
    send(nobody, path, method="GET", status=403)
    customer = person("customer", "view_rule", is_staff=False)
    send(customer, "", method="GET", status=403)
    send(Client(), "", method="GET", status=401)
    assert Rule.objects.get().version == 1


def test_token_of_an_app_is_nobody_of_the_staff(demo_shop: DemoShop) -> None:
    client = Client()
    created = client.post("/recommender/api/v1/visitors", {"consent": True}, content_type="application/json").json()
    answer = client.get(ROOT, headers={"Authorization": f"Visitor {created['token']}"})
    assert answer.status_code == 401


def test_session_without_csrf_token_is_refused(demo_shop: DemoShop, last_item: str) -> None:
    user = User.objects.create_superuser("root")
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.post(ROOT, pin(last_item), content_type="application/json").status_code == 403


def test_faults_are_named_by_field(editor: Client, last_item: str) -> None:
    problem = send(editor, "", pin("gone", position=None), status=400)
    assert problem["type"] == "urn:shopreco:problem:invalid-request"
    errors = {error["name"]: error["detail"] for error in problem["errors"]}
    assert "no item “gone” any more" in errors["item_ids"]
    assert "from 1 to 100" in errors["position"]
    redirect = {"name": "x", "action": "redirect", "url": "https://evil.example/", "match": "exact", "query": "sale"}
    assert "may only lead to testserver" in send(editor, "", redirect, status=400)["detail"]
    window = {"starts_at": "2026-05-02T00:00:00Z", "ends_at": "2026-05-01T00:00:00Z"}
    assert "ends before it starts" in send(editor, "", pin(last_item, **window), status=400)["detail"]
    assert "no segment" in send(editor, "", pin(last_item, segment=5), status=400)["detail"]
    Segment.objects.create(number=5, n_people=0)
    assert "Nobody is in this segment" in send(editor, "", pin(last_item, segment=5), status=400)["detail"]
    assert "no such field" in send(editor, "", pin(last_item, positoin=1), status=400)["detail"]


def test_second_of_two_editors_is_told(editor: Client, last_item: str) -> None:
    rule = send(editor, "", pin(last_item), status=201)
    path = f"/{rule['rule_id']}"
    send(editor, path, {"version": 1, "name": "theirs"}, method="PATCH")
    problem = send(editor, path, {"version": 1, "name": "mine"}, method="PATCH", status=409)
    assert problem["type"].endswith("stale-rule")
    assert Rule.objects.get().name == "theirs"
    send(editor, path, {"version": 2}, method="PATCH", status=400)


def test_step_that_is_not_possible_and_what_there_is_not(editor: Client, publisher: Client, last_item: str) -> None:
    rule = send(editor, "", pin(last_item), status=201)
    refused = send(publisher, f"/{rule['rule_id']}/publish", {"version": 1}, status=409)
    assert refused["type"].endswith("refused-step")
    assert "not possible with what is in the state “draft”" in refused["detail"]
    assert send(editor, "/999", method="GET", status=404)["type"].endswith("unknown-rule")
    assert send(editor, "/x", method="GET", status=404)["type"].endswith("unknown-rule")
    assert "submit, publish" in send(editor, f"/{rule['rule_id']}/burn", {"version": 1}, status=404)["detail"]


def test_two_pins_for_one_position_are_refused_and_shown(editor: Client, publisher: Client, last_item: str) -> None:
    for number in (1, 2):
        rule = send(editor, "", pin(last_item, name=f"pin {number}"), status=201)
        path = f"/{rule['rule_id']}"
        if number == 1:
            send(editor, f"{path}/submit", {"version": 1})
            send(publisher, f"{path}/publish", {"version": 2})
    problem = send(editor, f"{path}/submit", {"version": 1}, status=400)
    assert "“pin 1” pins an item to position 1 too" in problem["detail"]
    (conflict,) = send(editor, path, method="GET")["conflicts"]
    assert conflict["is_refused"]


def test_rule_for_a_slot_that_does_not_exist_is_refused_with_those_that_do(editor: Client, last_item: str) -> None:
    problem = send(editor, "", pin(last_item, slot="hme"), status=400)
    assert "There is no slot 'hme'. Known: home" in json.dumps(problem)


def test_rule_may_be_for_the_variant_of_an_experiment(editor: Client, last_item: str) -> None:
    experiment = Experiment.objects.create(name="mugs first")
    assert send(editor, "", pin(last_item, experiment=experiment.pk), status=201)["experiment"] == experiment.pk
    problem = send(editor, "", pin(last_item, experiment=experiment.pk + 1), status=400)
    assert "There is no experiment with this number." in str(problem)
