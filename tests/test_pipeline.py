"""From a request to a ranking: slots, exclusions, reasons, live prices, and every rung of the ladder."""

import dataclasses
import datetime as dt
import uuid
from decimal import Decimal

import numpy as np
import pytest

from recommender import bundles, pipeline, serving
from recommender.catalog import sync
from recommender.exceptions import BundleUnreachable, ConfigurationError
from recommender.features.shop_state import build_state
from recommender.models import Bundle
from recommender.models.corrections import Corrections
from recommender.serving import Served, memory
from recommender.serving.question import Question
from recommender.serving.ranker import Ranker, ScoredCandidates
from recommender.serving.session import Session
from recommender.serving.shelf import build_shelf
from recommender.tables import Interactions, ItemTable
from recommender.types import EVENT_CODES, Context, EventType, PastEvent, Relaxation, Request, Rung, Slot
from shopreco.shop.models import Product
from tests.conftest import assert_queries

NOW = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
TITLES = {
    "bag1": "Red lunch bag",
    "bag2": "Blue lunch bag",
    "bag3": "Green lunch bag",
    "mug1": "White coffee mug",
    "mug2": "Black coffee mug",
    "lamp": "Desk lamp",
}


class RankerOf(Ranker):
    """A ranker of which only the thresholds matter: it scores every item alike."""

    def __init__(self, thresholds):
        self.thresholds, self.head, self.arms = thresholds, object(), {}

    def context_vector(self, profile, item_vectors):
        return item_vectors[0]

    def score(self, profile, candidates, *args, **options):
        return ScoredCandidates(np.zeros(len(candidates), np.float32), None, None)


class Asker:
    """The shopper of these tests: a history given by hand."""

    def __init__(self, *history):
        self.person_key = str(uuid.uuid4())
        self.live = {}
        self.n_live_reads = 0
        self.segment_id = None
        self.corrections = Corrections()
        self.entered = frozenset()
        self._history = tuple(history)

    def history(self):
        return self._history

    def context(self, at=None):
        return Context(at or NOW)


def event(kind, item_id="", minutes_ago=1.0, **values):
    return PastEvent(EventType(kind), NOW - dt.timedelta(minutes=minutes_ago), item_id=item_id, **values)


def orders(*baskets):
    """Interactions in which visitor n bought basket n, a day apart, the last one yesterday."""
    rows = [(n, list(TITLES).index(item)) for n, basket in enumerate(baskets) for item in basket]
    visitor = np.array([n for n, _ in rows], np.int32)
    time = NOW.timestamp() - (len(baskets) - visitor) * 86_400.0
    return Interactions(
        visitor=visitor,
        item=np.array([item for _, item in rows], np.int32),
        type=np.full(len(rows), EVENT_CODES[EventType.PURCHASE], np.int8),
        time=time,
        quantity=np.ones(len(rows), np.float32),
        basket=visitor,
        query=np.full(len(rows), -1, np.int32),
    )


def served(*baskets, available=None):
    n = len(TITLES)
    items = ItemTable(
        ids=tuple(TITLES),
        texts=tuple(TITLES.values()),
        price=np.full(n, 5, np.float32),
        category=np.full(n, -1, np.int32),
        category_names=(),
        first_seen=np.zeros(n),
        active=np.ones(n, bool),
    )
    state = build_state(orders(*baskets), items, at=NOW.timestamp())
    return Served(build_shelf(items, titles=tuple(TITLES.values()), state=state, available=available))


def ids(ranking):
    return [entry.item_id for entry in ranking]


def ask(slot, shop, *history, **options):
    return pipeline.rank(Request(Slot(slot), Context(NOW), history=tuple(history), **options), served=shop)


def test_trending_is_what_most_bought():
    shop = served(["mug1"], ["mug1", "lamp"], ["mug1"])
    assert ids(ask("trending", shop))[:2] == ["mug1", "lamp"]


def test_bought_together_comes_from_shared_orders():
    shop = served(["bag1", "lamp"], ["bag1", "lamp"], ["mug1", "mug2"])
    assert ids(ask("bought_together", shop, item_id="bag1")) == ["lamp"]


def test_bought_together_is_empty_without_a_shared_order():
    ranking = ask("bought_together", served(["bag1"]), item_id="bag1")
    assert ids(ranking) == []


def test_similar_without_vectors_goes_by_words():
    assert set(ids(ask("similar", served(["lamp"]), item_id="bag1"))[:2]) == {"bag2", "bag3"}


FAMILIES, SIBLINGS = 6, 6


def shop_of_families(*pairs):
    """Six kinds of goods with six of each, alike in text within a kind, and orders of two items by their rows."""
    n = FAMILIES * SIBLINGS
    draw = np.random.default_rng(5)
    vectors = np.repeat(np.eye(FAMILIES, 16), SIBLINGS, axis=0) + draw.normal(0, 0.15, (n, 16)) + 0.3
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    items = ItemTable(
        ids=tuple(str(row) for row in range(n)),
        texts=tuple(f"thing {row}" for row in range(n)),
        price=np.full(n, 5, np.float32),
        category=np.full(n, -1, np.int32),
        category_names=(),
        first_seen=np.zeros(n),
        active=np.ones(n, bool),
    )
    row = np.array([row for pair in pairs for row in pair], np.int32)
    visitor = np.repeat(np.arange(len(pairs), dtype=np.int32), 2)
    bought = Interactions(
        visitor=visitor,
        item=row,
        type=np.full(len(row), EVENT_CODES[EventType.PURCHASE], np.int8),
        time=NOW.timestamp() - 86_400.0 - visitor[::-1],
        quantity=np.ones(len(row), np.float32),
        basket=visitor,
        query=np.full(len(row), -1, np.int32),
    )
    return Served(build_shelf(items, state=build_state(bought, items, at=NOW.timestamp()), vectors=vectors))


def share_of_siblings(shop):
    """The share of the five places beside each item that its five siblings have."""
    kind = [
        {row // SIBLINGS for row in map(int, ids(ask("similar", shop, item_id=str(row), limit=5)))} for row in range(36)
    ]
    return np.mean([kinds == {row // SIBLINGS} for row, kinds in enumerate(kind)])


def test_few_orders_leave_what_is_alike_in_its_place():
    draw = np.random.default_rng(1)
    few = [tuple(draw.choice(36, 2, replace=False).tolist()) for _ in range(60)]
    assert share_of_siblings(shop_of_families()) == 1
    assert share_of_siblings(shop_of_families(*few)) == 1


def test_what_many_chose_together_is_similar():
    shop = shop_of_families(*[(0, 35)] * 150)
    assert "35" in ids(ask("similar", shop, item_id="0", limit=3))


def test_current_item_is_never_recommended_beside_itself():
    shop = served(["bag1", "bag2"], ["bag1", "bag2"])
    for slot in ("similar", "bought_together"):
        assert "bag1" not in ids(ask(slot, shop, item_id="bag1"))


def test_cart_suggests_what_goes_with_it_and_not_what_is_in_it():
    shop = served(["bag1", "lamp"], ["bag1", "lamp"])
    assert ids(ask("cart", shop, cart_item_ids=("bag1",))) == ["lamp"]


def test_recently_viewed_is_newest_first_without_repeats():
    seen = [event("view_item", name, minutes) for name, minutes in (("mug1", 9), ("lamp", 5), ("mug1", 2))]
    assert ids(ask("recently_viewed", served(["bag1"]), *seen)) == ["mug1", "lamp"]


def test_buy_again_lists_only_own_purchases():
    bought = event("purchase", "lamp", 60 * 24 * 30)
    assert ids(ask("buy_again", served(["mug1"]), bought, event("view_item", "mug1"))) == ["lamp"]


def bought(item_id, *days_ago):
    """Orders of an item, oldest first, each an order of its own."""
    return [event("purchase", item_id, 24 * 60 * day, order_id=f"{item_id}-{day}") for day in days_ago]


def by_time(*events):
    return sorted((one for group in events for one in group), key=lambda one: one.at)


def test_buy_again_begins_with_the_most_overdue_and_ends_with_what_has_no_cycle():
    history = by_time(
        bought("bag1", 60, 40, 20),  # its cycle of 20 days has just passed
        bought("bag2", 25, 15),  # a half overdue
        bought("mug1", 40, 20),  # due, and the head sees one order less
        bought("mug2", 35, 5),  # not before another 25 days
        bought("lamp", 3),
        bought("bag3", 31, 29, 28),  # overdue by many cycles
    )
    ranking = ask("buy_again", served(["lamp"]), *history)
    assert ids(ranking) == ["bag2", "bag1", "mug1", "mug2", "bag3", "lamp"]


def test_habit_of_long_ago_is_no_longer_due():
    history = by_time(bought("bag1", 310, 300), bought("mug1", 40, 20), bought("mug2", 35, 5))
    assert ids(ask("buy_again", served(["lamp"]), *history)) == ["mug1", "mug2", "bag1"]


def test_for_you_leads_with_what_is_new_and_takes_in_what_is_due():
    shop = served(["mug1", "lamp"], ["bag3", "lamp"], ["bag1", "mug1"])
    history = by_time(bought("bag1", 40, 20), bought("bag2", 35, 5), bought("mug2", 9))
    home = ids(ask("home", shop, *history, is_composed=True))
    assert home[1] == "bag1"
    assert {home[0], home[2], home[3]} == {"mug1", "lamp", "bag3"}
    assert set(home[4:]) == {"bag2", "mug2"}  # the shop has nothing else


def test_at_least_half_of_for_you_is_new_to_a_customer_of_many_habits():
    shop = shop_of_families()
    history = by_time(*(bought(str(row), 40, 20) for row in range(20)))
    home = ids(ask("home", shop, *history, is_composed=True, limit=10))
    assert [int(item_id) >= 20 for item_id in home] == [True, False] * 5


def test_ranker_is_compared_by_its_own_order():
    shop = shop_of_families()
    history = by_time(*(bought(str(row), 40, 20) for row in range(20)))
    assert [int(item_id) < 20 for item_id in ids(ask("home", shop, *history, limit=10))] == [True] * 10


def test_for_you_of_new_items_only_has_nothing_that_is_due():
    shop = shop_of_families()
    history = by_time(*(bought(str(row), 40, 20) for row in range(20)))
    home = ids(ask("home", shop, *history, is_composed=True, exclude_history=True, limit=30))
    assert sorted(map(int, home)) == list(range(20, 36))


def test_session_leads_a_composed_list_too():
    shop = served(["lamp"], ["lamp"], ["lamp"], ["bag1", "bag3"], ["bag1", "bag3"])
    history = by_time(bought("lamp", 40, 20), [event("view_item", "bag1", 1)])
    assert ids(ask("home", shop, *history, is_composed=True))[0] == "bag3"


def test_customer_who_has_everything_is_shown_what_is_left():
    history = by_time(*(bought(item_id, 3) for item_id in TITLES))
    assert set(ids(ask("home", served(["lamp"]), *history, is_composed=True))) == set(TITLES)
    returned = [event("refund", item_id) for item_id in TITLES]
    assert ask("home", served(["lamp"]), *history, *returned, is_composed=True).rung == Rung.EMPTY


@pytest.mark.parametrize(("stored", "n_new"), [({}, 5), ({"new_share": 0.8}, 8), ({"new_share": 0.1}, 5)])
def test_share_of_the_bundle_says_how_much_is_new(stored, n_new):
    shop = shop_of_families()
    history = by_time(*(bought(str(row), 40, 20) for row in range(20)))
    shop = dataclasses.replace(shop, ranker=RankerOf(stored))
    home = ids(ask("home", shop, *history, is_composed=True, limit=10))
    assert sum(int(item_id) >= 20 for item_id in home) == n_new


def test_dismissed_item_stays_away():
    shop = served(["mug1"], ["mug1"], ["lamp"])
    assert "mug1" not in ids(ask("home", shop, event("dismiss_item", "mug1")))


def test_excluded_history_is_neither_shown_nor_counted():
    shop = served(["mug1", "lamp"], ["mug1", "lamp"])
    home = ids(ask("home", shop, event("purchase", "mug1", 9000), exclude_history=True))
    assert "mug1" not in home
    assert "lamp" in home


def test_item_out_of_stock_goes_behind_the_rest():
    available = np.array([name != "mug1" for name in TITLES])
    shop = served(["mug1"], ["mug1"], ["lamp"], available=available)
    assert ids(ask("trending", shop)) == ["lamp", "mug1"]


def test_session_interest_leads_the_next_home_list():
    shop = served(["lamp"], ["lamp"], ["lamp"], ["bag1", "bag3"], ["bag1", "bag3"])
    cold = ids(ask("home", shop))
    warm = ids(ask("home", shop, event("view_item", "bag1", 1)))
    assert cold[0] == "lamp"
    assert warm[0] == "bag3"


@pytest.mark.parametrize(("minutes_ago", "nearby"), [(29, ["bag3"]), (31, [])])
def test_session_interest_ends_after_half_an_hour(minutes_ago, nearby):
    shop = served(["lamp"], ["bag1", "bag3"], ["bag1", "bag3"])
    request = Request(Slot.HOME, Context(NOW), history=(event("view_item", "bag1", minutes_ago),))
    session = Session.of(Question(request, shop.shelf.profile(request), shop))
    near = [] if session is None else session.candidates().rows.tolist()
    assert [shop.shelf.items.ids[row] for row in near] == nearby


def test_every_entry_says_why():
    shop = served(["bag1", "lamp"], ["bag1", "lamp"])
    ranking = ask("bought_together", shop, item_id="bag1")
    assert ranking.entries[0].reasons[0].code == "bought_together"
    assert "Red lunch bag" in ranking.entries[0].reasons[0].text


def test_own_purchases_are_counted_in_words():
    bought = [event("purchase", "lamp", 60 * 24 * days) for days in (9, 20, 30)]
    ranking = ask("buy_again", served(["mug1"]), *bought)
    assert ranking.entries[0].reasons[0].text == "You bought this 3 times"


def test_search_finds_words_and_forgives_a_typo():
    shop = served(["lamp"])
    assert set(ids(ask("search", shop, query="lunch bag"))[:3]) == {"bag1", "bag2", "bag3"}
    mistyped = ask("search", shop, query="cofee mug")
    assert set(ids(mistyped)[:2]) == {"mug1", "mug2"}
    assert mistyped.corrected_query == "coffee mug"


@pytest.mark.parametrize(
    "query",
    ["", " ", "x" * 10_000, "🎁🎁", "午餐袋", "'; DROP TABLE items; --", 'bag AND "NEAR(*', "lunch* OR -mug", "\x00"],
)
def test_strange_queries_are_answered(query):
    ranking = ask("search", served(["lamp"]), query=query)
    assert ranking.slot == Slot.SEARCH


def test_search_pages_follow_each_other():
    shop = served(["lamp"])
    first = ask("search", shop, query="lunch bag", limit=2)
    second = ask("search", shop, query="lunch bag", limit=2, offset=2)
    assert [entry.position for entry in second][:1] == [3]
    assert not set(ids(first)) & set(ids(second))


def test_search_filters_by_price():
    shop = served(["lamp"])
    assert ask("search", shop, query="lunch bag", filters={"max_price": "5"}).relaxed == Relaxation.NONE
    beyond = ask("search", shop, query="lunch bag", filters={"max_price": "4"})
    assert beyond.relaxed == Relaxation.FILTERS
    assert "without them" in beyond.notice


def test_rung_is_named():
    assert ask("home", served(["lamp"])).rung == Rung.POPULARITY
    assert ask("search", served(["lamp"]), query="lamp").rung == Rung.LEXICAL


def test_unknown_slot_names_the_closest():
    with pytest.raises(ConfigurationError, match="similar"):
        pipeline.recommend("similiar")


@pytest.mark.parametrize(("sort", "nearest"), [("prize", "price"), ("newst", "newest"), ("x" * 10_000, "")])
def test_order_that_does_not_exist_names_the_nearest(sort, nearest):
    with pytest.raises(ConfigurationError, match=f"Did you mean '{nearest}'" if nearest else "Known: relevance, price"):
        pipeline.search("bag", sort=sort)


@pytest.mark.parametrize(
    ("arrangement", "message"),
    [
        ({"filters": {"categry": "Bags"}}, "no filter 'categry'. Did you mean 'category'"),
        ({"facets": "brands"}, "no facet 'brands'. Did you mean 'brand'"),
        ({"facets": ["x" * 10_000]}, "Known: category, brand, price, available."),
    ],
)
def test_filter_and_facet_that_do_not_exist_name_the_nearest(arrangement, message):
    with pytest.raises(ConfigurationError, match=message):
        pipeline.search("bag", **arrangement)


@pytest.fixture
def stocked(db, settings):
    """A real shop in SQL with three products, served without a bundle."""
    settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 60}
    for code, title in (("A", "Red lunch bag"), ("B", "Blue lunch bag"), ("C", "Desk lamp")):
        Product.objects.create(stock_code=code, title=title, price=Decimal("2.50"), stock=5, is_visible=True)
    sync.sync()
    serving.reload()
    yield
    serving.reload()


def test_prices_are_read_live(stocked):
    Product.objects.filter(stock_code="A").update(price=Decimal("9.99"))
    ranking = pipeline.search("red lunch", shopper=Asker())
    assert ranking.entries[0].live.price == Decimal("9.99")


def test_item_hidden_a_moment_ago_is_dropped_and_the_rest_closes_up(stocked):
    Product.objects.filter(stock_code="A").update(is_visible=False)
    ranking = pipeline.search("lunch bag", shopper=Asker())
    assert [(entry.item_id, entry.position) for entry in ranking] == [("B", 1)]


@pytest.fixture
def well_stocked(db, settings):
    """Sixty products of one kind in SQL, the newest first in every list."""
    settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 60}
    for number in range(60):
        Product.objects.create(stock_code=f"{number:02}", title=f"Mug number {number}", price=2, stock=5)
    Product.objects.update(is_visible=True)
    sync.sync()
    serving.reload()
    yield
    serving.reload()


def first_of(n):
    """The stock codes of the first items of a list that everybody sees."""
    return ids(pipeline.recommend("trending", shopper=Asker(), limit=n))


@pytest.mark.parametrize("change", [{"is_visible": False}, {"stock": 0}])
def test_fifteen_items_lost_a_moment_ago_are_replaced_by_others(well_stocked, change):
    lost = first_of(15)
    Product.objects.filter(stock_code__in=lost).update(**change)  # no signal: the catalogue in memory knows nothing
    with assert_queries(2):
        ranking = pipeline.recommend("trending", shopper=Asker(), limit=8)
    assert len(ranking) == 8
    assert not set(ids(ranking)) & set(lost)
    assert [entry.position for entry in ranking] == list(range(1, 9))
    assert all(entry.live.available for entry in ranking)


def test_list_without_a_shopper_is_filled_too(well_stocked):
    Product.objects.filter(stock_code__in=first_of(50)).update(is_visible=False)
    with assert_queries(3):
        assert len(pipeline.recommend("trending", limit=8)) == 8


def test_what_is_sold_out_is_shown_where_nothing_else_is_left(well_stocked):
    Product.objects.exclude(stock_code__in=first_of(2)).update(stock=0)
    assert len(pipeline.recommend("trending", shopper=Asker(), limit=8)) == 8


def test_page_reads_no_more_where_items_are_hidden(well_stocked):
    Product.objects.filter(stock_code__in=first_of(15)).update(is_visible=False)
    shopper = Asker()
    with assert_queries(3):
        for slot in ("trending", "home", "similar", "cart", "trending"):
            assert len(pipeline.recommend(slot, shopper=shopper, item_id="59", limit=8)) == 8


def test_page_of_many_blocks_reads_at_most_three_times(stocked):
    shopper = Asker()
    with assert_queries(3):
        for slot in ("home", "trending", "similar", "recently_viewed", "cart", "buy_again"):
            pipeline.recommend(slot, shopper=shopper, item_id="A")


def test_new_product_is_found_without_training(stocked, settings, django_capture_on_commit_callbacks):
    settings.RECOMMENDER = settings.RECOMMENDER | {"REFRESH_SECONDS": 0}
    with django_capture_on_commit_callbacks(execute=True):
        Product.objects.create(stock_code="N", title="Copper kettle", price=3, stock=1, is_visible=True)
    assert ids(pipeline.search("kettle")) == ["N"]
    with django_capture_on_commit_callbacks(execute=True):
        Product.objects.get(stock_code="N").delete()
    after = pipeline.search("kettle")
    assert after.relaxed == Relaxation.POPULAR
    assert "N" not in ids(after)


def test_shop_without_items_shows_its_own_order(db):
    Product.objects.create(stock_code="A", title="Red lunch bag", price=2, stock=5, is_visible=True)
    serving.reload()
    ranking = pipeline.recommend("home")
    assert (ranking.rung, ids(ranking)) == (Rung.SHOP_ORDER, ["A"])


def test_empty_shop_answers_with_an_empty_list(db):
    serving.reload()
    assert pipeline.recommend("home").rung == Rung.EMPTY
    assert pipeline.search("anything").rung == Rung.EMPTY


def test_failing_ranker_leaves_the_lower_rungs(stocked, monkeypatch, caplog):
    class Broken:
        head = object()
        encoder_hash = "broken"

        def __getattr__(self, name):
            raise RuntimeError("weights are gone")

    shelf = serving.current().shelf
    shelf = dataclasses.replace(shelf, vectors=np.eye(len(shelf), 4, dtype=np.float32))
    monkeypatch.setattr(memory._memory, "served", Served(shelf, Broken(), "broken"))
    ranking = pipeline.recommend("home", shopper=Asker())
    assert ranking.entries
    assert ranking.rung == Rung.POPULARITY
    assert "lower rungs serve" in caplog.text


def test_ranker_that_gives_no_numbers_leaves_the_lower_rungs(stocked, monkeypatch, caplog):
    class OfNan(RankerOf):
        def score(self, profile, candidates, *args, **options):
            return ScoredCandidates(np.full(len(candidates), np.nan, np.float32), None, None)

    shelf = serving.current().shelf
    shelf = dataclasses.replace(shelf, vectors=np.eye(len(shelf), 4, dtype=np.float32))
    monkeypatch.setattr(memory._memory, "served", Served(shelf, OfNan({}), "nan"))
    ranking = pipeline.recommend("home", shopper=Asker(event("view_item", "bag1")))
    assert ranking.rung == Rung.REDUCED
    assert np.isfinite([entry.score for entry in ranking]).all()
    assert "no numbers" in caplog.text


def test_suggestions_complete_and_name_items(stocked):
    suggestions = pipeline.suggest("lun")
    assert any(suggestion.kind == "item" and "lunch bag" in suggestion.text for suggestion in suggestions)
    assert pipeline.suggest("") == []


def test_storage_that_does_not_answer_leaves_the_words(stocked, monkeypatch):
    def fetch(name):
        raise BundleUnreachable("The bundle storage does not answer.")

    Bundle.objects.create(name="far-away", state=Bundle.State.CHAMPION, encoder_hash="e")
    monkeypatch.setattr(bundles, "fetch", fetch)
    assert serving.reload().rung == Rung.LEXICAL
    assert ids(pipeline.search("desk lamp")) == ["C"]
    assert Bundle.objects.get(name="far-away").state == Bundle.State.CHAMPION


def test_pair_of_few_people_ranks_a_personal_list_and_is_in_none_that_shows_pairs():
    """What is published is thinned; the features of the head are those it was trained with."""
    shop, every = served(["bag1", "lamp"]), served(["bag1", "lamp"])
    state = shop.shelf.state
    kinds = {kind: getattr(state, kind) for kind in ("basket", "visitor")}
    few = {kind: dataclasses.replace(one, is_public=np.zeros(len(one.item), bool)) for kind, one in kinds.items()}
    shelf = dataclasses.replace(shop.shelf, state=dataclasses.replace(state, **few))
    shop = dataclasses.replace(shop, shelf=shelf)
    assert ids(ask("bought_together", every, item_id="bag1")) == ["lamp"]
    assert ids(ask("bought_together", shop, item_id="bag1")) == []
    home = [ask("home", one, *bought("bag1", 3)) for one in (shop, every)]
    assert ids(home[0]) == ids(home[1])
    assert "bought_together" not in {reason.code for entry in home[0] for reason in entry.reasons}
