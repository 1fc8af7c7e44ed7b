"""Every endpoint of the API, walked by somebody on whom everything is stored: before the first sync and after it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from recommender import capture, serving
from recommender.api.urls import urlpatterns
from recommender.capture import erasure
from recommender.identity import cookie_for, token_for, tokens
from recommender.models import AppToken, Event, Item, Segment, Visitor
from recommender.types import Entry, Ranking, Rung, Slot

BODIES: dict[tuple[str, str], Any] = {
    ("visitors", "post"): {"consent": True},
    ("events", "post"): [{"message_id": "walk", "type": "search", "query": "tea"}],
    ("me", "patch"): {"profiling": True},
}
QUERIES: dict[str, dict[str, str]] = {"search": {"q": "tea"}, "suggest": {"q": "te"}}
OF_THE_STAFF = {"rules", "rule", "rule_step"}
"""Endpoints that no shopper may call: tests/api/test_rules.py walks them."""
LAST = (("link", "delete"), ("me", "delete"), ("tokens", "delete"))
"""Nothing is left of the person after them."""

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Person:
    """A user with two devices: a browser, and an app that was told who signed in."""

    user: Any
    browser: Visitor
    app: Visitor


@pytest.fixture
def person(request: pytest.FixtureRequest) -> Person:
    """Before the first sync, and in a shop that has been synced."""
    user = request.getfixturevalue("demo_shop").customer().user if request.param else new_user()
    segment = Segment.objects.create(number=1, name="Mostly tea", n_people=5, computed_at=timezone.now())
    devices = [
        Visitor.objects.create(user_key=str(user.pk), segment=segment, device=device)
        for device in ("desktop", "mobile")
    ]
    for visitor in devices:
        behave(visitor)
    serving.reload()
    assert Item.objects.exists() == request.param
    return Person(user, *devices)


def new_user() -> Any:
    return get_user_model().objects.create(username="ada")


def behave(visitor: Visitor) -> None:
    """An event of every type and two lists of one visitor."""
    item_id = Item.objects.values_list("item_id", flat=True).first() or "mug"
    at = timezone.now()
    ranking = Ranking(uuid.uuid4(), Slot.SEARCH, (Entry(item_id, 1, 0.5),), Rung.LEXICAL, query="tea")
    beside = Ranking(uuid.uuid4(), Slot.SIMILAR, (Entry(item_id, 1, 0.5),), Rung.POPULARITY)
    drafts = [
        capture.EventDraft(
            uuid.uuid4().hex,
            kind,
            at,
            item_id="" if kind == "search" else item_id,
            query="tea" if kind == "search" else "",
            order_id="o-1" if kind in ("purchase", "refund") else "",
            source="order" if kind in ("purchase", "refund") else "page",
            visitor_key=visitor.key,
            user_key=visitor.user_key,
        )
        for kind in sorted(capture.TYPES)
    ]
    shown = [capture.ImpressionDraft(one, at, visitor_key=visitor.key) for one in (ranking, beside)]
    assert capture.ingest(drafts, shown).n_accepted == len(capture.TYPES)


def endpoints() -> Iterator[tuple[str, str]]:
    """Name and method of all that a shopper may call, as the URLs say; what ends the walk comes last."""
    served = []
    for pattern in urlpatterns:
        view = pattern.callback.view_class
        methods = [name for name in view.http_method_names if name in vars(view)]
        assert bool(methods) == bool(pattern.name), "an endpoint has a name and methods of its own"
        if pattern.name not in OF_THE_STAFF:
            served += [(pattern.name, method) for method in methods]
    yield from (one for one in served if one not in LAST)
    yield from LAST


def addresses(name: str, person: Person) -> list[str]:
    """The addresses of an endpoint: one, or one for every slot."""
    if name == "erasure":
        return [reverse("recommender:erasure", args=[erasure.erase(visitor_key=uuid.uuid4()).key])]
    if name == "token":
        return [reverse("recommender:token", args=[signed_up(person).row.key])]
    if name != "recommendations":
        return [reverse(f"recommender:{name}")]
    slots = [slot.value for slot in Slot if slot != Slot.SEARCH]
    return [reverse(f"recommender:{name}", args=[slot]) for slot in slots]


def signed_in(person: Person) -> Client:
    client = Client()
    client.force_login(person.user)
    client.cookies["recommender_consent"] = "granted"
    client.cookies["recommender_visitor"] = cookie_for(person.browser.key)
    return client


def with_token(person: Person) -> Client:
    return Client(headers={"Authorization": f"Visitor {signed_up(person).token}"})


def signed_up(person: Person) -> tokens.IssuedToken:
    """The tokens of another installation, signed in as the user."""
    issued = tokens.issue(person.app)
    AppToken.objects.filter(pk=issued.row.pk).update(
        user_key=person.app.user_key, account_hash=tokens.account_hash(person.user)
    )
    return issued


def sent_to(client: Client, name: str, method: str, address: str, person: Person) -> Any:
    """What the endpoint answers to its body, with the credentials that it needs beside the client's own."""
    body, headers = BODIES.get((name, method)), {}
    if name == "refresh":
        body = {"refresh_token": signed_up(person).refresh_token}
    elif name == "link":
        client.force_login(person.user)
        headers = {"Recommender-Visitor": signed_up(person).token}
    else:
        assert body is not None or method == "delete", f"say here with what body to call {method} {name}"
    content = json.dumps(body) if body else b""
    answer = client.generic(method.upper(), address, content, "application/json", headers=headers)
    if (name, method) == ("link", "delete"):  # so that both devices are still one person's
        client.generic("POST", address, headers=headers)
    return answer


@pytest.mark.parametrize("client_of", [signed_in, with_token])
@pytest.mark.parametrize("person", [False, True], ids=["before the first sync", "after it"], indirect=True)
def test_every_endpoint_answers_somebody_on_whom_everything_is_stored(person: Person, client_of: Any) -> None:
    client, item_id = client_of(person), Item.objects.values_list("item_id", flat=True).first()
    walked = []
    for name, method in endpoints():
        for address in addresses(name, person):
            query = dict(QUERIES.get(name, {}))
            if name == "recommendations" and item_id:
                query = {"item_id": item_id, "cart": item_id}
            elif "similar" in address or "bought_together" in address:
                continue  # there is no item yet to stand beside
            answer = client.get(address, query) if method == "get" else sent_to(client, name, method, address, person)
            assert answer.status_code < 300, (name, method, answer.content)
            walked.append((name, method))
    assert set(walked) == set(endpoints())
    assert not Event.objects.filter(visitor__in=[person.browser, person.app]).exists()


@pytest.mark.parametrize(("client_of", "status"), [(signed_in, 403), (with_token, 401)])
@pytest.mark.parametrize("person", [True], indirect=True)
def test_shopper_is_refused_what_is_of_the_staff(person: Person, client_of: Any, status: int) -> None:
    walked = set()
    for pattern in urlpatterns:
        if pattern.name not in OF_THE_STAFF:
            continue
        given = {"rule": [uuid.uuid4()], "rule_step": [uuid.uuid4(), "publish"]}.get(pattern.name, [])
        address = reverse(f"recommender:{pattern.name}", args=given)
        for method in pattern.callback.view_class.http_method_names:
            if method not in vars(pattern.callback.view_class):
                continue
            answer = client_of(person).generic(method.upper(), address, b"{}", "application/json")
            assert answer.status_code == status, (pattern.name, method, answer.content)
        walked.add(pattern.name)
    assert walked == OF_THE_STAFF


@pytest.mark.parametrize("person", [True], indirect=True)
def test_export_tells_of_both_devices_and_names_the_segment(person: Person) -> None:
    for client in (signed_in(person), with_token(person)):
        everything = client.get(reverse("recommender:export")).json()
        devices = [visitor for visitor in everything["visitors"] if visitor["device"]]
        assert {visitor["key"] for visitor in devices} == {str(person.browser.key), str(person.app.key)}
        assert {visitor["segment"] for visitor in devices} == {"Mostly tea"}
        assert {event["type"] for event in everything["events"]} == set(capture.TYPES)
        assert {shown["slot"] for shown in everything["impressions"]} >= {"search", "similar"}


def test_profile_of_searches_alone_can_be_told_before_the_first_sync(db: None) -> None:
    visitor = Visitor.objects.create()
    search = capture.EventDraft("s", "search", timezone.now(), query="tea", visitor_key=visitor.key)
    capture.ingest([search])
    client = Client(headers={"Authorization": f"Visitor {token_for(visitor.key)}"})
    profile = client.get(reverse("recommender:me"))
    assert profile.status_code == 200, profile.content
    assert profile.json()["counts"] == {"search": 1}
