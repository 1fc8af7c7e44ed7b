"""What the shopper likes in the order of a search: with the packaged encoder, and with words alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from django.template import engines
from django.test import RequestFactory
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from recommender import pipeline, serving
from recommender.catalog import sync
from recommender.identity import cookie_for, shopper_of
from recommender.ml.export import export_untrained
from recommender.models import Event, Visitor
from recommender.retrieval.base import Candidates
from recommender.serving import Served
from recommender.serving.nobody import MOST_CIRCUMSTANCES
from recommender.serving.personal import LEAST_AMBIGUITY, Preference, ambiguity
from recommender.serving.question import Question
from recommender.serving.ranker import Ranker, ScoredCandidates
from recommender.serving.search import _attempts, _candidates, _graded
from recommender.types import Context, EventType, PastEvent, Request, Slot
from shopreco.shop.models import Product
from tests.conftest import assert_queries
from tests.serving.test_search import ENGLISH, NOW, search, shelf_of, titles_of

MATERIALS = ("ceramic", "wooden", "glass", "metal")
NOTHING_SCORED = ScoredCandidates(*[np.empty(0, np.float32)] * 3)


def grades(*values):
    return np.array(values, np.float32)


def events(*titles, kind=EventType.PURCHASE, minutes_ago=60 * 24 * 9):
    """One event for each of these items, a minute apart, each in an order of its own."""
    first = NOW - dt.timedelta(minutes=minutes_ago)
    return tuple(
        PastEvent(kind, first + dt.timedelta(seconds=n), f"i{ENGLISH.index(title)}", order_id=f"o{n}")
        for n, title in enumerate(titles)
    )


def buyer_of(colour):
    return events(*(f"{colour} {kind} {thing}" for kind in MATERIALS for thing in ("vase", "plate", "teapot")))


@pytest.fixture(scope="module")
def with_vectors(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("untrained")
    export_untrained("", folder)
    ranker = Ranker.load(folder)
    return Served(shelf_of(ENGLISH, vectors=ranker.encode(ENGLISH)).calibrated(ranker.encode), ranker, "b")


@pytest.fixture(params=["vectors", "words alone"])
def served(request, with_vectors):
    return with_vectors if request.param == "vectors" else Served(dataclasses.replace(with_vectors.shelf, vectors=None))


def listed(query, served, history=(), **options):
    return titles_of(search(query, served, history=tuple(history), limit=60, **options), ENGLISH)


def test_query_is_open_where_many_answer_equally_well():
    assert ambiguity(grades(*[0.5] * 20)) == pytest.approx(1)
    assert ambiguity(grades(0.9, *[0.5] * 20)) < 1e-3
    assert ambiguity(grades(0.9)) == ambiguity(grades()) == 0
    assert ambiguity(grades(0.5, 0.5, *[0.1] * 48)) > LEAST_AMBIGUITY > ambiguity(grades(0.5, 0.44, *[0.1] * 48))


@given(st.lists(st.floats(-1, 2, width=32), max_size=80))
def test_ambiguity_is_a_share_and_depends_on_differences_alone(values):
    share = ambiguity(grades(*values))
    assert 0 <= share <= 1 + 1e-9
    assert ambiguity(grades(*values)[::-1]) == pytest.approx(share)
    assert ambiguity(grades(*(value + 1 for value in values))) == pytest.approx(share, abs=1e-3)


def test_shoppers_with_different_pasts_see_different_orders(served):
    red, blue = (listed("mug", served, buyer_of(colour)) for colour in ("red", "blue"))
    assert all(red.index(f"red {kind} mug") < red.index(f"blue {kind} mug") for kind in MATERIALS)
    assert all(blue.index(f"blue {kind} mug") < blue.index(f"red {kind} mug") for kind in MATERIALS)
    assert set(red) == set(blue) == set(listed("mug", served))


def test_what_was_bought_before_leads_a_broad_search(served):
    history = events(*["green metal mug"] * 3)
    assert listed("mug", served, history)[0] == "green metal mug"
    assert listed("mug", served)[0] != "green metal mug"


def test_what_was_looked_at_a_minute_ago_leads_at_once(served):
    looks = events("red ceramic mug", "red glass mug", "red metal mug", kind=EventType.VIEW_ITEM, minutes_ago=1)
    assert set(listed("mug", served, looks)[:4]) == {f"red {kind} mug" for kind in MATERIALS}
    after_other_orders = listed("mug", served, (*buyer_of("blue"), *looks))
    assert set(after_other_orders[:3]) == {f"red {kind} mug" for kind in ("ceramic", "glass", "metal")}
    looks_of_last_week = events("red ceramic mug", "red glass mug", "red metal mug", kind=EventType.VIEW_ITEM)
    assert after_other_orders != listed("mug", served, (*buyer_of("blue"), *looks_of_last_week))


def test_look_at_other_goods_counts_by_what_they_share(served):
    looks = events("red glass vase", "red metal teapot", "red wooden lamp", kind=EventType.VIEW_ITEM, minutes_ago=2)
    assert set(listed("mug", served, looks)[:3]) == {f"red {kind} mug" for kind in ("glass", "metal", "wooden")}


class Trained:
    """The packaged ranker with a head: everybody buys one item, and whoever has a past buys another."""

    head, arms, knows_matches = object(), {}, False

    def __init__(self, ranker):
        self.ranker = ranker

    def context_vector(self, profile, vectors):
        return vectors[0]

    def score(self, profile, rows, *arguments, context_vector):
        scores = np.where(rows == ENGLISH.index("blue metal mug"), 0.5, 0.01)
        if len(profile.item):
            scores = np.where(rows == ENGLISH.index("green wooden mug"), 0.5, scores)
        return dataclasses.replace(NOTHING_SCORED, scores=scores.astype(np.float32))

    def __getattr__(self, name):
        return getattr(self.ranker, name)


def test_liking_is_what_the_past_changes_in_the_trained_head(with_vectors):
    trained = Served(with_vectors.shelf, Trained(with_vectors.ranker), "b")
    usual = listed("mug", trained)
    assert usual == listed("mug", with_vectors)
    own = listed("mug", trained, buyer_of("red"))
    assert own == ["green wooden mug", *(title for title in usual if title != "green wooden mug")]
    assert listed("blue glass mug", trained, buyer_of("red"))[0] == "blue glass mug"


def test_what_is_expected_of_nobody_is_computed_once_an_hour(with_vectors):
    ranker = Trained(with_vectors.ranker)
    trained, strangers = Served(with_vectors.shelf, ranker, "b"), []
    score = ranker.score

    def counted(profile, rows, *arguments, context_vector):
        strangers.extend([] if len(profile.item) else [(profile.now, len(rows))])
        assert not profile.query, "a liking does not depend on the query: the grade does"
        return score(profile, rows, *arguments, context_vector=context_vector)

    ranker.score = counted
    first = listed("mug", trained, buyer_of("red"))
    assert [n for _now, n in strangers] == [len(ENGLISH)]
    assert listed("mug", trained, buyer_of("red")) == first
    listed("vase", trained, buyer_of("blue"))
    assert len(strangers) == 1
    request = Request(Slot.SEARCH, Context(NOW + dt.timedelta(hours=1)), query="mug", history=buyer_of("red"))
    pipeline.rank(request, served=trained)
    assert [now % 3_600 for now, _n in strangers] == [0, 0]
    assert dataclasses.replace(trained, ranker=with_vectors.ranker).nobody is not trained.nobody


def test_foreign_devices_fill_no_memory(with_vectors):
    trained = Served(with_vectors.shelf, Trained(with_vectors.ranker), "b")
    for n in range(MOST_CIRCUMSTANCES + 5):
        context = Context(NOW, device=f"d{n}")
        pipeline.rank(Request(Slot.SEARCH, context, query="mug", history=buyer_of("red")), served=trained)
    assert len(trained.nobody._odds) == MOST_CIRCUMSTANCES


@pytest.mark.parametrize("query", ["blue glass mug", "leather wallet", "women's leather handbag hand made"])
def test_exact_title_leaves_no_room_for_likings(served, query):
    looks = events("red glass mug", "leather wallet", kind=EventType.VIEW_ITEM, minutes_ago=1)
    assert listed(query, served, (*buyer_of("red"), *looks))[0] == listed(query, served)[0] == query


@pytest.mark.parametrize("query", ["mug", "red", "glass vase", "blue glass mug", "leather", "red vase"])
def test_without_a_history_the_order_is_that_of_the_grades(served, query):
    request = Request(Slot.SEARCH, Context(NOW), query=query)
    question = Question(request, served.shelf.profile(request), served)
    attempt = next(_attempts(question, served.shelf.understand(query), question.allowed()))
    vector = question.query_vector(attempt.intent.text) if served.ranker else None
    graded = _graded(question, _candidates(question, attempt, vector), attempt, vector)
    ranking = search(query, served, limit=100)
    assert [served.shelf.index[entry.item_id] for entry in ranking][: len(graded)] == graded.rows.tolist()


def test_same_request_gives_the_same_order(served):
    history = (*buyer_of("red"), *events("blue glass mug", kind=EventType.VIEW_ITEM, minutes_ago=3))
    first, second = (search("mug", served, history=history, limit=60) for _ in range(2))
    assert [(e.item_id, e.score, e.reasons) for e in first] == [(e.item_id, e.score, e.reasons) for e in second]


def test_scores_say_the_order(served):
    scores = [entry.score for entry in search("mug", served, history=buyer_of("red"), limit=60)]
    assert scores == sorted(scores, reverse=True)


def named(ranking):
    """Title of each entry to the title of the item that its reasons name."""
    pairs = ((entry, reason.item_id) for entry in ranking for reason in entry.reasons if reason.item_id)
    return {ENGLISH[int(entry.item_id[1:])]: ENGLISH[int(item_id[1:])] for entry, item_id in pairs}


def test_without_the_named_event_the_item_falls(with_vectors):
    look, orders = (
        events("green ceramic mug", kind=EventType.VIEW_ITEM, minutes_ago=1),
        events("red glass clock", "blue metal pillow"),
    )
    with_look, without = (search("mug", with_vectors, history=past, limit=60) for past in ((*orders, *look), orders))
    assert named(with_look)["red ceramic mug"] == "green ceramic mug"
    before, after = (titles_of(ranking, ENGLISH).index("red ceramic mug") for ranking in (with_look, without))
    assert before < after
    assert with_look.entries[before].score > without.entries[after].score
    assert "red ceramic mug" not in named(without)


def test_reason_names_no_item_of_the_past_where_the_past_moved_nothing(with_vectors):
    looks = events("red ceramic mug", "red glass mug", "red metal mug", kind=EventType.VIEW_ITEM, minutes_ago=1)
    assert named(search("blue glass mug", with_vectors, history=looks, limit=60)) == {}
    lifted = named(search("mug", with_vectors, history=looks, limit=60))
    assert lifted
    assert all(set(title.split()[:2]) & set(look.split()[:2]) for title, look in lifted.items())
    assert named(search("zzyzx", with_vectors, history=looks, limit=60)) == {}


CONSENT = {"recommender_consent": "granted"}
TITLES = ("Red lunch bag", "Green lunch bag", "Blue lunch bag", "Blue bottle", "Desk lamp")


@pytest.fixture
def browser(db, settings):
    """A shop in SQL, and a request of an anonymous visitor who has just looked at the blue bottle."""
    settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 60}
    for number, title in enumerate(TITLES):
        Product.objects.create(stock_code=f"N{number}", title=title, price=2, stock=5, is_visible=True)
    sync.sync()
    serving.reload()
    visitor = Visitor.objects.create()
    Event.objects.create(
        message_id="look", visitor=visitor, type=EventType.VIEW_ITEM, item_id="N3",
        occurred_at=timezone.now() - dt.timedelta(minutes=1),
    )  # fmt: skip

    def request(cookies=CONSENT, **headers):
        page = RequestFactory(HTTP_USER_AGENT="Mozilla/5.0 Firefox/140.0").get("/search/", **headers)
        page.COOKIES |= {"recommender_visitor": cookie_for(visitor.key), **cookies}
        return page

    yield request
    serving.reload()


def bags(request, **options):
    ranking = pipeline.search("lunch bag", shopper=shopper_of(request), **options)
    return [entry.live.title for entry in ranking if "bag" in entry.live.title]


def test_look_of_an_anonymous_visitor_counts_in_the_very_next_search(browser):
    assert bags(browser())[0] == "Blue lunch bag"
    assert bags(browser({}))[0] != "Blue lunch bag"


@pytest.mark.parametrize(
    ("cookies", "headers", "options", "weight"),
    [
        ({}, {}, {}, 1.0),
        (CONSENT, {"HTTP_SEC_GPC": "1"}, {}, 1.0),
        (CONSENT, {}, {"personal": False}, 1.0),
        (CONSENT, {}, {}, 0.0),
    ],
    ids=["no consent", "privacy control", "argument", "setting"],
)
def test_nothing_is_personal_where_it_may_not_be(browser, settings, cookies, headers, options, weight):
    settings.RECOMMENDER = settings.RECOMMENDER | {"PERSONAL_SEARCH": weight}
    nobody = [entry.live.title for entry in pipeline.search("lunch bag") if "bag" in entry.live.title]
    assert bags(browser(cookies, **headers), **options) == nobody
    assert nobody != bags(browser(), personal=True) or weight == 0


@pytest.mark.parametrize("wanted", [True, False])
def test_app_and_page_may_ask_for_an_order_that_is_the_same_for_everybody(browser, client, wanted):
    expected = bags(browser(), personal=wanted)
    assert (expected == bags(browser({}))) is not wanted
    client.cookies.load(browser().COOKIES)
    answer = client.get("/recommender/api/v1/search", {"q": "lunch bag", "personal": int(wanted)}).json()
    assert [item["title"] for item in answer["items"] if "bag" in item["title"]] == expected
    tag = "{% load recommender %}{% search 'lunch bag' personal=wanted as ranking %}"
    tag += "{% for entry in ranking %}{{ entry.live.title }};{% endfor %}"
    page = engines["django"].from_string(tag).render({"wanted": wanted}, browser())
    assert [title for title in page.split(";") if "bag" in title] == expected


def test_personal_search_reads_the_history_once_and_no_other_row(browser):
    with assert_queries(2):  # the history, and live prices
        bags(browser())
    with assert_queries(1):
        bags(browser(), personal=False)


def test_of_what_answers_equally_well_the_bestseller_leads_for_everybody():
    counts = np.ones((len(ENGLISH), 4), np.float32)
    counts[[ENGLISH.index(title) for title in ("green metal mug", "red metal vase")]] = 40
    shop = Served(shelf_of(ENGLISH, counts=counts))
    assert listed("mug", shop)[0] == "green metal mug"
    assert listed("mug", Served(shelf_of(ENGLISH)))[0] != "green metal mug"
    assert listed("blue glass mug", shop)[0] == "blue glass mug"
    assert listed("green mug", shop, buyer_of("red"), personal_weight=0.0) == listed("green mug", shop)


def test_more_weight_moves_more(served):
    history = buyer_of("blue")
    moved = [listed("mug", served, history, personal_weight=weight) for weight in (0.0, 1.0, 4.0)]
    assert moved[0] == listed("mug", served)
    places = [sum(titles.index(f"blue {kind} mug") for kind in MATERIALS) for titles in moved]
    assert places[0] > places[1] >= places[2]


def test_no_liking_lifts_an_item_above_what_answers_better(served):
    history = events(*["red metal mug"] * 30, *["red metal vase"] * 30)
    for query in ("blue mug", "glass mug", "blue metal vase"):
        usual, own = (listed(query, served, past, personal_weight=50.0) for past in ((), history))
        words = set(query.split())
        n_whole = sum(words <= set(title.split()) for title in usual)
        assert all(words <= set(title.split()) for title in own[:n_whole])
        assert set(own) == set(usual)
    assert listed("blue metal mug", served, history, personal_weight=50.0)[0] == "blue metal mug"


def test_liking_orders_only_what_answers_equally_well(served):
    request = Request(Slot.SEARCH, Context(NOW), query="mug", history=buyer_of("red"))
    question = Question(request, served.shelf.profile(request), served)
    titles = [f"{colour} {kind} mug" for colour in ("blue", "red") for kind in MATERIALS]
    rows = np.array([ENGLISH.index(title) for title in titles], np.int32)
    graded = Candidates(rows, np.full(8, 0.5, np.float32))
    answers = np.repeat([2, 0], 4)
    assert {*Preference.of(question, graded, 0 * answers).rows[:4].tolist()} == {*rows[4:].tolist()}
    assert {*Preference.of(question, graded, answers).rows[:4].tolist()} == {*rows[:4].tolist()}
