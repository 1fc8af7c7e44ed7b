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
from recommender.serving import Served, memory
from recommender.serving.lists import session_candidates
from recommender.serving.question import Question
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


class Asker:
    """The shopper of these tests: a history given by hand."""

    def __init__(self, *history):
        self.visitor_key = uuid.uuid4()
        self.live = {}
        self.n_live_reads = 0
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
    near = session_candidates(Question(request, shop.shelf.profile(request), shop))
    assert [shop.shelf.items.ids[row] for row in near.rows] == nearby


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
