import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
from django.utils import timezone

from recommender.models import Item, ItemStatistics, ItemVector
from recommender.serving.columns import replaced_neighbours
from recommender.serving.loading import OVERLAP, load_shelf, refresh_shelf
from recommender.serving.shelf import build_shelf
from recommender.types import EVENT_CODES, Context, EventType, PastEvent, Request, Slot
from tests import behaviour

ENCODER = "e" * 32
NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def add_item(item_id, title, **values):
    defaults = {
        "label": "shop.Product", "object_id": item_id[1:], "text": f"{title} . homeware", "category": "homeware",
        "price": Decimal("2.50"), "currency": "GBP", "url": f"/item/{item_id}/", "text_hash": "h", "updated_at": NOW,
        "first_seen_at": NOW,
    }  # fmt: skip
    return Item.objects.create(item_id=item_id, title=title, **defaults | values)


def add_vector(item_id, *values, at=NOW, encoder=ENCODER):
    raw = np.array(values, "<f4").tobytes()
    item = Item.objects.get(item_id=item_id)
    ItemVector.objects.update_or_create(
        item=item, encoder_hash=encoder, defaults={"vector": raw, "text_hash": "h", "updated_at": at}
    )


def add_statistics(item_id, n_7=0.0, *, at=NOW, basket=(), visitor=(), last=None):
    ItemStatistics.objects.update_or_create(
        item=Item.objects.get(item_id=item_id),
        defaults={
            "n_7": n_7, "n_total": n_7, "last_event_at": last, "computed_at": at,
            "basket_neighbours": [list(pair) for pair in basket],
            "visitor_neighbours": [list(pair) for pair in visitor],
        },
    )  # fmt: skip


@pytest.fixture
def stock(db):
    """Four items, one hidden, one without vector, with neighbours that also name an item nobody knows."""
    add_item("p1", "Red teapot", brand="Acme", attributes={"colour": "red"})
    add_item("p2", "Blue teapot", price=None, category="")
    add_item("p3", "Lamp", is_available=False)
    add_item("p4", "Old lamp", is_active=False)
    add_vector("p1", 3, 4)
    add_vector("p2", 1, 0)
    add_vector("p4", 0, 1)
    add_vector("p3", 1, 1, encoder="another")
    add_statistics("p1", 5, basket=[("p3", 0.8), ("gone", 0.7), ("p2", 0.1)], last=NOW)
    add_statistics("p3", 2, visitor=[("p1", 0.5)])


def loaded(**values):
    return load_shelf(ENCODER, at=NOW, **values)


def hits(shelf, query):
    return [shelf.items.ids[row] for row in shelf.lexical.search(query, 9).rows.tolist()]


def same(first, second):
    """Whether two shelves hold the same, row by row of the first."""
    rows = [second.index[item_id] for item_id in first.items.ids]
    for name in ("titles", "brands", "labels", "object_ids", "urls", "images", "currency"):
        assert getattr(first, name) == tuple(getattr(second, name)[row] for row in rows), name
    assert first.items.texts == tuple(second.items.texts[row] for row in rows)
    names = [
        [table.category_names[code] if code >= 0 else "" for code in table.category]
        for table in (first.items, second.items)
    ]
    assert names[0] == [names[1][row] for row in rows]
    for column in ("price", "first_seen", "active"):
        np.testing.assert_array_equal(getattr(first.items, column), getattr(second.items, column)[rows])
    np.testing.assert_array_equal(first.available, second.available[rows])
    np.testing.assert_array_equal(first.vectors, second.vectors[rows])
    np.testing.assert_array_equal(first.state.counts, second.state.counts[rows])
    np.testing.assert_allclose(first.state.popularity, second.state.popularity[rows])
    np.testing.assert_array_equal(first.state.last_event_at, second.state.last_event_at[rows])
    for own_row, row in enumerate(rows):
        for neighbours in ("basket", "visitor"):
            ours, theirs = getattr(first.state, neighbours).of(own_row), getattr(second.state, neighbours).of(row)
            assert [(first.items.ids[i], s) for i, s in ours] == [(second.items.ids[i], s) for i, s in theirs]
    for query in ("teapot", "lamp", "red", "kettle", "homeware", "teapto"):
        assert sorted(hits(first, query)) == sorted(hits(second, query)), query
    assert first.version == second.version


def test_load_reads_every_column_in_five_queries(stock, django_assert_num_queries):
    with django_assert_num_queries(5):
        shelf = loaded()
    assert shelf.items.ids == ("p1", "p2", "p3", "p4")
    assert shelf.index == {"p1": 0, "p2": 1, "p3": 2, "p4": 3}
    assert shelf.titles[0] == "Red teapot"
    assert shelf.items.texts[0] == "Red teapot . homeware"
    assert (shelf.brands[0], shelf.labels[0], shelf.object_ids[0]) == ("Acme", "shop.Product", "1")
    assert (shelf.urls[0], shelf.images[0], shelf.currency[0]) == ("/item/p1/", "", "GBP")
    assert shelf.attributes == ({"colour": "red"}, {}, {}, {})
    assert shelf.items.price[0] == 2.5
    assert np.isnan(shelf.items.price[1])
    assert shelf.items.category_names == ("homeware",)
    assert shelf.items.category.tolist() == [0, -1, 0, 0]
    assert shelf.items.first_seen.tolist() == [NOW.timestamp()] * 4
    assert shelf.items.active.tolist() == [True, True, True, False]
    assert shelf.available.tolist() == [True, True, False, True]
    assert shelf.encoder_hash == ENCODER


def test_vectors_are_of_unit_length_and_zero_where_none_is_stored(stock):
    np.testing.assert_allclose(loaded().vectors, [[0.6, 0.8], [1, 0], [0, 0], [0, 1]], rtol=1e-6)


def test_vectors_pass_through_the_ranker_with_the_ids_of_their_items(stock):
    def moved(text_vectors, ids):
        return np.stack(
            [vector if item_id != "p1" else vector[::-1] for item_id, vector in zip(ids, text_vectors, strict=True)]
        )

    shelf = loaded(item_vectors=moved)
    np.testing.assert_allclose(shelf.vectors, [[0.8, 0.6], [1, 0], [0, 0], [0, 1]], rtol=1e-6)
    add_vector("p3", 2, 0, at=NOW + dt.timedelta(seconds=1))
    assert refresh_shelf(shelf, at=NOW + dt.timedelta(seconds=2)).vectors[2].tolist() == [1, 0]


@pytest.mark.parametrize("raw", [b"", b"abc", b"\0" * 8, np.array([np.nan, 1], "<f4").tobytes(), b"\0\0\x80?" * 3])
def test_broken_vector_is_left_out_and_named(stock, raw, caplog):
    ItemVector.objects.filter(item__item_id="p2").update(vector=raw)
    shelf = loaded()
    assert shelf.vectors[1].tolist() == [0, 0]
    assert "item p2 is broken" in caplog.text
    assert refresh_shelf(shelf, at=NOW + dt.timedelta(seconds=1)) is shelf


def test_state_has_the_stored_statistics_and_knows_only_known_neighbours(stock):
    state = loaded().state
    assert state.counts[:, 1].tolist() == [5, 0, 2, 0]
    assert state.last_event_at.tolist() == [NOW.timestamp(), -np.inf, -np.inf, -np.inf]
    assert state.basket.of(0) == [(2, pytest.approx(0.8)), (1, pytest.approx(0.1))]
    assert state.visitor.of(2) == [(0, pytest.approx(0.5))]
    assert state.basket.of(3) == []
    assert state.at == NOW.timestamp()


def test_hidden_item_has_no_words(stock):
    assert hits(loaded(), "lamp") == ["p3"]


def test_load_without_an_encoder_reads_no_vectors(stock, django_assert_num_queries):
    with django_assert_num_queries(4):
        shelf = load_shelf(None, at=NOW)
    assert shelf.vectors is None
    with django_assert_num_queries(4):
        assert refresh_shelf(shelf, at=NOW) is shelf


def test_empty_tables_make_an_empty_shelf(db):
    shelf = loaded()
    assert len(shelf) == 0
    assert shelf.vectors is None
    add_item("p1", "Lamp", updated_at=NOW)
    add_vector("p1", 1, 0)
    add_statistics("p1", 1)
    fresh = refresh_shelf(shelf, at=NOW + dt.timedelta(seconds=5))
    same(fresh, loaded())


def test_nothing_changed_is_the_same_object_for_five_queries(stock, django_assert_num_queries):
    shelf = loaded()
    for seconds in (1, 5, 500):
        with django_assert_num_queries(5):
            assert refresh_shelf(shelf, at=NOW + dt.timedelta(seconds=seconds)) is shelf


def test_changes_of_every_kind_are_applied_and_the_old_shelf_stays(stock, django_assert_num_queries):
    shelf = loaded()
    later = NOW + dt.timedelta(seconds=30)
    Item.objects.filter(item_id="p1").update(
        title="Red kettle", text="Red kettle", price=9, category="kitchen", updated_at=later
    )
    Item.objects.filter(item_id="p3").update(is_active=False, updated_at=later)
    Item.objects.filter(item_id="p4").update(is_active=True, is_available=False, updated_at=later)
    add_item("p5", "Green teapot", updated_at=later, category="garden")
    add_vector("p5", 0, 2, at=later)
    add_vector("p1", 0, 1, at=later)
    add_statistics("p2", 7, at=later, basket=[("p5", 0.9)], last=later)
    add_statistics("p1", 1, at=later)
    with django_assert_num_queries(8):
        fresh = refresh_shelf(shelf, at=later)
    assert fresh is not shelf
    assert fresh.version != shelf.version
    assert hits(fresh, "kettle") == ["p1"]
    assert set(hits(fresh, "teapot")) == {"p2", "p5"}
    assert hits(fresh, "lamp") == ["p4"]
    assert fresh.items.active.tolist() == [True, True, False, True, True]
    assert fresh.state.basket.of(1) == [(4, pytest.approx(0.9))]
    assert fresh.state.basket.of(0) == []
    same(fresh, load_shelf(ENCODER, at=later))
    assert set(hits(shelf, "teapot")) == {"p1", "p2"}
    assert shelf.vectors.shape == (4, 2)
    assert refresh_shelf(fresh, at=later) is fresh


def test_one_changed_item_costs_one_query_more(stock, django_assert_num_queries):
    shelf = loaded()
    Item.objects.filter(item_id="p2").update(price=4, updated_at=NOW + dt.timedelta(seconds=1))
    with django_assert_num_queries(6):
        fresh = refresh_shelf(shelf, at=NOW + dt.timedelta(seconds=2))
    assert fresh.items.price[1] == 4
    assert fresh.lexical.postings is shelf.lexical.postings  # no word changed
    assert fresh.state is shelf.state


def test_row_stamped_before_the_last_look_but_committed_after_it_is_found(stock):
    shelf = loaded()
    shelf = refresh_shelf(shelf, at=NOW + dt.timedelta(seconds=60))
    add_item("p5", "Green kettle", updated_at=NOW + dt.timedelta(seconds=1))
    assert hits(refresh_shelf(shelf, at=NOW + dt.timedelta(seconds=65)), "kettle") == ["p5"]


def test_look_reads_back_no_further_than_the_overlap(stock):
    shelf = refresh_shelf(loaded(), at=NOW + dt.timedelta(hours=1))
    Item.objects.filter(item_id="p1").update(price=4, updated_at=NOW + dt.timedelta(hours=1) - 2 * OVERLAP)
    assert refresh_shelf(shelf, at=NOW + dt.timedelta(hours=1, seconds=1)) is shelf


def test_many_changes_are_read_in_as_few_queries(db, django_assert_num_queries):
    shelf = loaded()
    Item.objects.bulk_create(
        Item(
            item_id=f"p{n}",
            label="x",
            object_id=str(n),
            title=f"lamp {n}",
            text=f"lamp {n}",
            text_hash="h",
            updated_at=NOW,
        )
        for n in range(2500)
    )
    with django_assert_num_queries(6):
        fresh = refresh_shelf(shelf, at=NOW)
    assert len(fresh) == 2500
    assert hits(fresh, "lamp 2499")[0] == "p2499"
    assert refresh_shelf(fresh, at=NOW) is fresh


def test_phrases_follow_once_many_titles_are_new(stock):
    shelf = loaded()
    later = NOW + dt.timedelta(seconds=1)
    for n in range(5, 8):
        add_item(f"p{n}", f"Copper kettle {n}", updated_at=later)
    assert "copper kettle" in refresh_shelf(shelf, at=later).lexical.suggest("cop", 5)


@pytest.mark.parametrize("query", ["4006381333931", "04006381333931", "4 006381 333931", "EAN 4006381333931"])
def test_gtin_that_stands_only_in_an_attribute_is_found_alone(stock, query):
    add_item("p5", "Pencil", attributes={"ean": "4006381333931", "size": "12 cm", "lot": "4006381333932"})
    add_item("p6", "Pencil 4006381", attributes={})
    found_by_query = loaded().lexical.search(query, 9)
    assert found_by_query.is_code
    assert hits(loaded(), query) == ["p5"]
    assert loaded().items.texts[loaded().index["p5"]] == "Pencil . homeware 4006381333931"


def test_shelf_built_in_memory_is_never_refreshed(stock, django_assert_num_queries):
    shelf = loaded()
    built = build_shelf(shelf.items, state=shelf.state, titles=shelf.titles, vectors=shelf.vectors)
    with django_assert_num_queries(0):
        assert refresh_shelf(built) is built
    assert hits(built, "lamp") == ["p3"]
    assert built.available.all()


def test_default_moment_is_now(stock):
    shelf = load_shelf(ENCODER)
    add_item("p9", "Kettle", updated_at=timezone.now())
    assert hits(refresh_shelf(shelf), "kettle") == ["p9"]


def request(*history, **values):
    return Request(Slot.HOME, Context(NOW, device="mobile", region="GB"), history=history, person_key="1", **values)


def ago(minutes, kind, item_id="", **values):
    return PastEvent(EventType(kind), NOW - dt.timedelta(minutes=minutes), item_id=item_id, **values)


def test_profile_is_the_history_in_rows(stock):
    profile = loaded().profile(
        request(
            ago(9, "purchase", "p3", order_id="A", quantity=2),
            ago(9, "purchase", "p1", order_id="A"),
            ago(8, "purchase", "p1", order_id="B"),
            ago(7, "search", query="lamp"),
            ago(6, "view_item", "p4"),
            item_id="p2",
            query="teapot",
            cart_item_ids=("p1", "nobody", "p1", "p3"),
        )
    )
    assert profile.item.tolist() == [2, 0, 0, -1, 3]
    assert profile.type.tolist() == [
        EVENT_CODES[EventType(k)] for k in ("purchase", "purchase", "purchase", "search", "view_item")
    ]
    assert profile.basket.tolist() == [0, 0, 1, -1, -1]
    assert profile.quantity.tolist() == [2, 1, 1, 1, 1]
    assert profile.queries == ("", "", "", "lamp", "")
    assert profile.time.tolist() == [NOW.timestamp() - 60 * minutes for minutes in (9, 9, 8, 7, 6)]
    assert (profile.now, profile.slot, profile.query) == (NOW.timestamp(), Slot.HOME, "teapot")
    assert (profile.current_item, profile.cart.tolist()) == (1, [0, 2])
    assert (profile.device, profile.region) == ("mobile", "GB")
    assert [a.dtype for a in (profile.item, profile.type, profile.time, profile.quantity, profile.basket)] == [
        np.int32, np.int8, np.float64, np.float32, np.int32,
    ]  # fmt: skip


def test_profile_leaves_out_what_tells_nothing(stock):
    history = (ago(5, "view_item", "unknown"), ago(4, "search"), ago(3, "search", query="x"), ago(2, "view_item", "p1"))
    profile = loaded().profile(request(*history, item_id="unknown"))
    assert profile.item.tolist() == [-1, 0]
    assert profile.current_item == -1


def test_profile_keeps_what_was_kept(stock):
    """A refund is taken off the newest purchases before it, in a history as in training."""
    bought, back = EventType.PURCHASE, EventType.REFUND
    profile = loaded().profile(
        request(
            ago(60, bought, "p1", quantity=3),
            ago(50, bought, "p1", quantity=1),
            ago(40, back, "p1", quantity=2),
            ago(30, bought, "p1", quantity=5),
            ago(20, bought, "p2"),
        )
    )
    purchases = profile.type == EVENT_CODES[bought]
    assert profile.quantity[purchases].tolist() == [2, 5, 1]
    assert (profile.type == EVENT_CODES[back]).sum() == 1


def test_profile_never_sees_its_own_moment_or_the_future(stock):
    profile = loaded().profile(request(ago(1, "view_item", "p1"), ago(0, "purchase", "p2"), ago(-1, "purchase", "p3")))
    assert profile.item.tolist() == [0]


def test_empty_request_is_an_empty_profile(stock):
    profile = loaded().profile(request())
    assert len(profile.item) == len(profile.time) == len(profile.cart) == 0
    assert profile.current_item == -1


def test_neighbours_replaced_in_part_keep_the_rest():
    old = behaviour.neighbours([[(1, 0.5)], [(0, 0.5), (2, 0.25)], [], [(0, 1.0)]])
    shorter = replaced_neighbours(old, {1: []})
    assert [shorter.of(row) for row in range(4)] == [[(1, 0.5)], [], [], [(0, 1.0)]]
    new = replaced_neighbours(old, {1: [], 2: [(3, 0.75, False), (0, 0.5, True)]})
    assert [new.of(row) for row in range(4)] == [[(1, 0.5)], [], [(3, 0.75), (0, 0.5)], [(0, 1.0)]]
    assert new.is_public.tolist() == [True, False, True, True]
    assert replaced_neighbours(new, {0: []}).is_public.tolist() == [False, True, True]
