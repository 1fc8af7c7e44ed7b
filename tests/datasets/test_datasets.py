"""Events in SQL to columns, and what cleaning leaves out and why."""

import datetime as dt
import time

import numpy as np
import pytest
from django.utils import timezone

from recommender import datasets
from recommender.datasets import cleaning, pages
from recommender.datasets import files as dataset_files
from recommender.models import Event, Item, Judgement, Visitor
from recommender.tables import Interactions
from recommender.types import EVENT_CODES, EventType

NOW = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
PURCHASE, REFUND, VIEW = (EVENT_CODES[EventType(name)] for name in ("purchase", "refund", "view_item"))
SELECT, SEARCH, CART = (EVENT_CODES[EventType(name)] for name in ("select_item", "search", "add_to_cart"))
HOURS = 3_600.0

pytestmark = pytest.mark.django_db


@pytest.fixture
def items():
    for name, price, active in (("mug", 3, True), ("bag", None, True), ("old", 9, False)):
        Item.objects.create(
            item_id=name, label="shop.Product", object_id=name, title=name.title(), text=f"{name} text",
            category="Kitchen" if name == "mug" else "", price=price, is_active=active, text_hash=name,
            first_seen_at=NOW - dt.timedelta(days=90),
        )  # fmt: skip
    return datasets.read_items()


@pytest.fixture
def visitor(db):
    return Visitor.objects.create()


def record(kind="purchase", item_id="mug", *, visitor=None, minutes_ago=60.0, **values):
    values.setdefault("source", "order" if kind in ("purchase", "refund") else "page")
    return Event.objects.create(
        message_id=f"m{Event.objects.count()}", type=kind, item_id=item_id, visitor=visitor,
        occurred_at=NOW - dt.timedelta(minutes=minutes_ago), **values,
    )  # fmt: skip


def cleaned(items):
    return datasets.clean(datasets.read_interactions(items), now=NOW.timestamp())


def interactions_of(rows, **defaults):
    """Rows of (time, columns that differ from `defaults`); without either: anonymous views of item 0, in no order."""
    names = {"visitor": -1, "item": 0, "type": VIEW, "quantity": 1, "basket": -1, "query": -1, "claim": -1} | defaults
    dtypes = {"type": np.int8, "quantity": np.float32}
    columns = {
        name: np.array([values.get(name, default) for _, values in rows], dtypes.get(name, np.int32))
        for name, default in names.items()
    }
    return Interactions(time=np.array([at for at, _ in rows], np.float64), queries=("cup", "jug"), **columns)


def clean_columns(rows, *, now=1e9, **defaults):
    events = interactions_of(rows, **defaults)
    return cleaning.clean(cleaning.Recorded(events, np.zeros(len(events), bool)), now=now)


def test_items_are_read_with_the_inactive_ones(items, django_assert_num_queries):
    with django_assert_num_queries(2):
        items = datasets.read_items()
    assert items.ids == ("mug", "bag", "old")
    assert items.category_names == ("Kitchen",)
    assert items.category.tolist() == [0, -1, -1]
    assert items.active.tolist() == [True, True, False]
    assert np.isnan(items.price[1])
    assert datasets.read_names(items)[0] == ("Mug", "Bag", "Old")


def test_events_come_ascending_by_time_however_they_were_stored(items, visitor):
    for minutes in (5, 90, 30):
        record(visitor=visitor, minutes_ago=minutes)
    time = datasets.read_interactions(items).interactions.time
    assert (np.diff(time) > 0).all()


def test_reading_takes_few_queries(items, visitor, django_assert_num_queries):
    for minutes in range(10):
        record(visitor=visitor, minutes_ago=minutes)
    with django_assert_num_queries(5):  # a page and the empty page behind it, of events and of visitors; the staff
        datasets.read_interactions(items)


def test_more_than_a_page_of_events_is_read_whole(items, visitor, monkeypatch):
    monkeypatch.setattr(pages, "CHUNK_SIZE", 4)
    for minutes in range(10):
        record(visitor=visitor, minutes_ago=minutes)
    assert len(datasets.read_interactions(items)) == 10


def test_events_at_until_or_later_are_not_read(items, visitor):
    for minutes in (90, 60, 30):
        record(visitor=visitor, minutes_ago=minutes)
    assert len(datasets.read_interactions(items, until=NOW - dt.timedelta(minutes=60))) == 1


def test_visitors_of_one_user_are_one(items):
    laptop, phone, other = (Visitor.objects.create(user_key=key) for key in ("ann", "ann", None))
    for person in (laptop, phone, other):
        record(visitor=person)
    assert len(set(datasets.read_interactions(items).interactions.visitor.tolist())) == 2


def test_visitor_without_consent_or_profiling_is_anonymous(items):
    record(visitor=Visitor.objects.create(is_profiled=False))
    record(visitor=Visitor.objects.create(has_consented=False))
    record(visitor=None)
    interactions, _ = cleaned(items)
    assert interactions.visitor.tolist() == [-1, -1, -1]
    assert interactions.item.tolist() == [0, 0, 0]


def test_bots_unknown_items_and_the_future_are_left_out_and_counted(items, visitor):
    record(visitor=visitor)
    record(visitor=visitor, is_bot=True)
    record(visitor=Visitor.objects.create(is_bot=True))
    record("view_item", "nothing-of-ours", visitor=visitor)
    record("view_item", "", visitor=visitor)
    record("search", "", visitor=visitor)
    record(visitor=visitor, minutes_ago=-60)
    record(visitor=visitor, quantity=0)
    interactions, report = cleaned(items)
    assert len(interactions) == report.n_clean == 1
    assert report.n_read == 8
    assert report.removed == {
        "bot": 2, "unknown_item": 1, "neither_item_nor_query": 2, "future_time": 1, "quantity_not_positive": 1,
    }  # fmt: skip


def test_every_event_read_is_clean_or_counted_by_reason(items, visitor):
    for minutes in range(20):
        record("view_item", "mug", visitor=visitor, minutes_ago=minutes // 2)
    for minutes in range(3):
        record(visitor=visitor, order_id="o1", minutes_ago=minutes)
        record("refund", visitor=visitor, minutes_ago=minutes)
    interactions, report = cleaned(items)
    assert report.n_read == len(interactions) + sum(report.removed.values())


def test_search_keeps_its_words_and_needs_no_item(items, visitor):
    record("search", "", query="red mug", visitor=visitor)
    interactions, _ = cleaned(items)
    assert interactions.queries[interactions.query[0]] == "red mug"
    assert interactions.item.tolist() == [-1]


def test_view_repeated_within_a_second_counts_once(items, visitor):
    record("view_item", visitor=visitor, minutes_ago=10)
    record("view_item", visitor=visitor, minutes_ago=10 - 0.5 / 60)
    record("view_item", "bag", visitor=visitor, minutes_ago=10)
    record("view_item", visitor=visitor, minutes_ago=5)
    record("view_item", visitor=Visitor.objects.create(), minutes_ago=10)
    interactions, report = cleaned(items)
    assert report.removed == {"duplicate": 1}
    assert len(interactions) == 4


def test_lines_of_one_order_with_one_item_become_one_purchase(items, visitor):
    record(visitor=visitor, order_id="o1", quantity=2)
    record(visitor=visitor, order_id="o1", quantity=3)
    record(visitor=visitor, order_id="o2", quantity=1)
    interactions, report = cleaned(items)
    assert sorted(interactions.quantity.tolist()) == [1, 5]
    assert report.removed == {"merged_order_line": 1}


def test_full_refund_cancels_the_newest_purchase_before_it(items, visitor):
    record(visitor=visitor, quantity=4, order_id="o1", minutes_ago=90)
    record(visitor=visitor, quantity=2, order_id="o2", minutes_ago=60)
    record("refund", visitor=visitor, quantity=2, order_id="c1", minutes_ago=30)
    interactions, report = cleaned(items)
    assert interactions.quantity[interactions.type == PURCHASE].tolist() == [4]
    assert (interactions.type == REFUND).sum() == 1
    assert report.removed == {"refunded_purchase": 1}


def test_refund_larger_than_one_purchase_reaches_to_the_one_before(items, visitor):
    record(visitor=visitor, quantity=4, order_id="o1", minutes_ago=90)
    record(visitor=visitor, quantity=2, order_id="o2", minutes_ago=60)
    record("refund", visitor=visitor, quantity=5, minutes_ago=30)
    interactions, _ = cleaned(items)
    assert interactions.quantity[interactions.type == PURCHASE].tolist() == [1]


def test_refund_of_a_guest_cancels_what_the_same_order_bought(items):
    record(visitor=None, quantity=2, order_id="o1", minutes_ago=90)
    record(visitor=None, quantity=3, order_id="o2", minutes_ago=80)
    record("refund", visitor=None, quantity=2, order_id="o1", minutes_ago=30)
    record("refund", visitor=None, quantity=9, order_id="", minutes_ago=20)  # of an unknown order
    interactions, report = cleaned(items)
    assert interactions.quantity[interactions.type == PURCHASE].tolist() == [3]
    assert report.removed == {"refunded_purchase": 1}


def test_anonymous_refund_belongs_to_the_buyer_of_its_order(items, visitor):
    record(visitor=visitor, quantity=3, order_id="o1", minutes_ago=90)
    record("refund", visitor=None, quantity=1, order_id="o1", minutes_ago=30)
    record("refund", "bag", visitor=None, quantity=1, order_id="o1", minutes_ago=30)
    interactions, _ = cleaned(items)
    assert interactions.quantity[interactions.type == PURCHASE].tolist() == [2]
    assert sorted(interactions.visitor[interactions.type == REFUND].tolist()) == [-1, interactions.visitor.max()]


def test_capped_quantity_makes_no_partial_refund_a_whole_one(items, visitor, monkeypatch):
    monkeypatch.setattr(cleaning, "FEWEST_TO_CAP", 10)
    monkeypatch.setattr(cleaning, "CAPPED_SHARE", 0.5)
    for number in range(20):
        record(visitor=visitor, order_id=f"o{number}", minutes_ago=500 + number)
    record(visitor=visitor, item_id="bag", quantity=1000, order_id="big", minutes_ago=90)
    record("refund", "bag", visitor=visitor, quantity=200, order_id="big", minutes_ago=30)
    interactions, report = cleaned(items)
    assert "refunded_purchase" not in report.removed
    assert interactions.quantity[(interactions.type == PURCHASE) & (interactions.item == 1)].tolist() == [1]


def test_refund_touches_neither_later_purchases_nor_other_visitors(items, visitor):
    record("refund", visitor=visitor, minutes_ago=90)
    record(visitor=visitor, order_id="o1", minutes_ago=60)
    record(visitor=Visitor.objects.create(), order_id="o2", minutes_ago=95)
    _, report = cleaned(items)
    assert report.removed == {}


def test_flood_of_one_visitor_is_left_out(items, visitor, monkeypatch):
    monkeypatch.setattr(cleaning, "MAX_VIEWS_PER_DAY", 5)
    for minutes in range(6):
        record("view_item", ("mug", "bag", "old")[minutes % 3], visitor=visitor, minutes_ago=minutes)
    record(visitor=visitor, minutes_ago=1)
    other = Visitor.objects.create()
    for minutes in range(5):
        record("view_item", ("mug", "bag", "old")[minutes % 3], visitor=other, minutes_ago=minutes)
    interactions, report = cleaned(items)
    assert report.removed == {"view_flood": 6}
    assert (interactions.type == VIEW).sum() == 5


def test_absurd_quantities_are_capped_if_there_are_enough_purchases(items, visitor, monkeypatch):
    monkeypatch.setattr(cleaning, "FEWEST_TO_CAP", 20)
    monkeypatch.setattr(cleaning, "CAPPED_SHARE", 0.9)
    for number in range(20):
        record(visitor=visitor, order_id=f"o{number}", quantity=80_995 if number == 7 else 2)
    interactions, report = cleaned(items)
    assert report.n_quantities_capped == 1
    assert len(interactions) == 20
    assert interactions.quantity.max() < 80_995


def test_no_event_at_all_cleans_to_nothing(items):
    interactions, report = cleaned(items)
    assert len(interactions) == report.n_read == 0
    assert datasets.summary(interactions, items, report)["density"] == 0


def test_density_counts_pairs_of_identified_visitors_only(items, visitor):
    record(visitor=visitor)
    record(visitor=visitor, minutes_ago=10)
    record("view_item", "bag", visitor=visitor)
    record("search", "", query="mug", visitor=visitor)
    record(visitor=None)
    interactions, report = cleaned(items)
    summary = datasets.summary(interactions, items, report)
    assert summary["n_visitors"] == 1
    assert summary["density"] == pytest.approx(2 / 3)


def test_saved_dataset_loads_equal_and_an_unfinished_one_does_not(items, visitor, tmp_path):
    record("search", "", query="red mug", visitor=visitor)
    record(visitor=visitor, order_id="o1")
    dataset = datasets.read_dataset()
    dataset_files.save(dataset, tmp_path)
    loaded = dataset_files.load(tmp_path)
    assert datasets.data_hash(loaded.recorded.interactions, loaded.items) == datasets.data_hash(
        dataset.recorded.interactions, dataset.items
    )
    assert (loaded.titles, loaded.taken_at) == (dataset.titles, dataset.taken_at)
    (tmp_path / "dataset.json").unlink()
    assert dataset_files.load(tmp_path) is None


def test_data_hash_changes_with_any_value(items, visitor):
    record(visitor=visitor)
    before = datasets.data_hash(datasets.read_interactions(items).interactions, items)
    assert before == datasets.data_hash(datasets.read_interactions(items).interactions, items)
    Event.objects.update(quantity=2)
    assert before != datasets.data_hash(datasets.read_interactions(items).interactions, items)
    Event.objects.update(quantity=1)
    Item.objects.filter(item_id="mug").update(text="another text")
    assert before != datasets.data_hash(datasets.read_interactions(items).interactions, datasets.read_items())


def test_real_orders_survive_cleaning(demo_shop):
    items = datasets.read_items()
    interactions, report = datasets.clean(datasets.read_interactions(items), now=timezone.now().timestamp())
    assert report.n_clean > 0.9 * report.n_read > 500
    assert set(report.removed) <= {"merged_order_line", "refunded_purchase"}
    assert len(items) == 60
    assert datasets.summary(interactions, items, report)["n_visitors"] == 30


def test_device_and_region_of_events_come_along_and_survive_cleaning_and_files(items, visitor, tmp_path):
    record("view_item", visitor=visitor, device="mobile", region="GB", minutes_ago=30)
    record("view_item", "bag", visitor=visitor, minutes_ago=20)
    interactions, _ = cleaned(items)
    assert [interactions.devices[code] for code in interactions.device[:1]] == ["mobile"]
    assert [interactions.regions[code] for code in interactions.region[:1]] == ["GB"]
    assert interactions.device.tolist() == [0, -1]
    dataset_files.save(datasets.read_dataset(), tmp_path)
    read = dataset_files.load(tmp_path).recorded.interactions
    assert (read.devices, read.regions) == (("mobile",), ("GB",))
    assert read.region.tolist() == [0, -1]


def test_past_is_read_without_later_judgements_and_they_count_for_the_hash(items):
    then = timezone.now() + dt.timedelta(hours=1)
    Judgement.objects.create(query="cup", item_id="mug", grade=1.0, judged_at=then - dt.timedelta(minutes=1))
    Judgement.objects.create(query="jug", item_id="mug", grade=0.5, judged_at=then + dt.timedelta(minutes=1))
    before, now = datasets.read_dataset(as_of=then.timestamp()), datasets.read_dataset()
    assert before.judgements.queries == ("cup",)
    assert now.judgements.queries == ("cup", "jug")
    hashes = {
        datasets.data_hash(before.recorded.interactions, items, judged)
        for judged in (None, before.judgements, now.judgements)
    }
    assert len(hashes) == 3


@pytest.mark.django_db
def test_staff_counts_by_its_orders_only(django_user_model):
    clerk = django_user_model.objects.create(username="clerk", is_staff=True)
    buyer = django_user_model.objects.create(username="buyer")
    at = timezone.now() - dt.timedelta(days=1)
    Item.objects.create(item_id="A", label="shop.Product", object_id="1", title="A", text="A", text_hash="x")
    for user in (clerk, buyer):
        visitor = Visitor.objects.create(user_key=str(user.pk), has_consented=True)
        for kind, source in (("view_item", "page"), ("purchase", "order")):
            Event.objects.create(
                message_id=f"{user.pk}{kind}", visitor=visitor, type=kind, item_id="A", occurred_at=at, source=source
            )
    recorded = datasets.read_dataset().recorded
    kinds = [(EVENT_CODES[EventType.VIEW_ITEM], True), (EVENT_CODES[EventType.VIEW_ITEM], False)]
    kinds += [(EVENT_CODES[EventType.PURCHASE], False)] * 2
    pairs = zip(recorded.interactions.type.tolist(), recorded.is_bot.tolist(), strict=True)
    assert sorted(pairs) == sorted(kinds)


@pytest.mark.parametrize(("seconds", "removed"), [(300, {}), (300.5, {"future_time": 1}), (np.nan, {"future_time": 1})])
def test_future_begins_five_minutes_ahead(seconds, removed):
    _, report = clean_columns([(1_000 + seconds, {})], now=1_000)
    assert report.removed == removed


def test_future_begins_after_the_clock_unless_another_moment_is_given():
    interactions, report = clean_columns([(time.time() + ahead, {}) for ahead in (-60, 200, 600)], now=None)
    assert (len(interactions), report.removed) == (2, {"future_time": 1})


@pytest.mark.parametrize(
    ("values", "removed"),
    [
        ({"item": 0}, {}),
        ({"type": SEARCH, "item": -1, "query": 0}, {}),
        ({"type": SEARCH, "item": -1}, {"neither_item_nor_query": 1}),
        ({"item": -1, "query": 0}, {"neither_item_nor_query": 1}),
        ({"item": -2}, {"unknown_item": 1}),
        ({"type": SEARCH, "item": -2, "query": 0}, {"unknown_item": 1}),
        ({"quantity": 0}, {}),
        ({"type": PURCHASE, "quantity": 0.5}, {}),
        ({"type": PURCHASE, "quantity": 0}, {"quantity_not_positive": 1}),
        ({"type": REFUND, "quantity": -1}, {"quantity_not_positive": 1}),
        ({"type": REFUND, "quantity": np.nan}, {"quantity_not_positive": 1}),
    ],
)
def test_event_is_left_out_for_the_first_reason_only(values, removed):
    interactions, report = clean_columns([(0, values)])
    assert (report.n_read, report.n_clean, report.removed) == (1, 1 - len(removed), removed)
    assert len(interactions) == report.n_clean


def test_events_before_a_moment_are_those_earlier_than_it():
    events = interactions_of([(1, {}), (2, {}), (2, {}), (3, {})])
    past = cleaning.Recorded(events, np.array([True, False, True, False])).before(2)
    assert (len(past), past.interactions.time.tolist(), past.is_bot.tolist()) == (1, [1], [True])


def test_report_adds_up_by_reason_and_leaves_out_what_did_not_occur():
    report = cleaning.CleaningReport()
    for reason, n in (("bot", 2), ("duplicate", 0), ("bot", 3)):
        report.count(reason, n)
    assert report == cleaning.CleaningReport(0, 0, {"bot": 5}, 0)


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ([(0, {}), (1, {})], [0]),
        ([(0, {}), (1.5, {})], [0, 1.5]),
        ([(0, {}), (0.8, {}), (1.6, {})], [0]),
        ([(0, {"visitor": -1}), (0.1, {"visitor": -1})], [0, 0.1]),
        ([(0, {}), (0.1, {"visitor": 1})], [0, 0.1]),
        ([(0, {}), (0.1, {"item": 1})], [0, 0.1]),
        ([(0, {}), (0.1, {"type": CART})], [0, 0.1]),
        ([(0, {"query": 0}), (0.1, {"query": 1})], [0, 0.1]),
        ([(0, {}), (0.1, {"item": 1}), (0.2, {}), (0.3, {"item": 1})], [0, 0.1]),
        ([(0, {"type": PURCHASE}), (0.1, {"type": PURCHASE})], [0, 0.1]),
    ],
)
def test_repetition_is_the_same_event_of_the_same_visitor_within_a_second(rows, left):
    interactions, report = clean_columns(rows, visitor=0)
    assert interactions.time.tolist() == left
    assert report.removed == ({"duplicate": len(rows) - len(left)} if len(left) < len(rows) else {})


@pytest.mark.parametrize(
    ("columns", "marked"),
    [
        ([{}] * 5, []),
        ([{}] * 7, [0, 1]),
        ([{"claim": -1}] * 7, []),
        ([{"claim": 0}] * 4 + [{"claim": 1}] * 4, []),
        ([{"item": 0}, {"item": 1}] * 4, []),
        ([{"type": VIEW}, {"type": CART}] * 4, []),
        ([{"query": 0}, {"query": 1}] * 4, []),
        ([{"item": 0}, {"item": 1}] * 6, [0, 1]),
        ([{"claim": -1}] + [{}] * 6, [1]),
    ],
)
def test_claims_beyond_the_newest_five_of_a_kind_are_marked(columns, marked):
    events = interactions_of(list(enumerate(columns)), claim=0)
    assert np.flatnonzero(cleaning.excess_claims(events)).tolist() == marked


def test_older_claims_beyond_five_are_left_out():
    interactions, report = clean_columns([(10.0 * number, {}) for number in range(7)], claim=0)
    assert interactions.time.tolist() == [20, 30, 40, 50, 60]
    assert report.removed == {"claimed_too_often": 2}


@pytest.mark.parametrize(
    ("rows", "n_flooding"),
    [
        ([(number, {}) for number in range(3)], 0),
        ([(number, {}) for number in range(4)], 4),
        ([(number, {"type": (VIEW, SELECT)[number % 2]}) for number in range(4)], 4),
        ([(number, {"type": CART}) for number in range(4)], 0),
        ([(number, {"visitor": -1}) for number in range(4)], 0),
        ([(number, {"visitor": number % 2}) for number in range(6)], 0),
        ([(number * HOURS, {}) for number in (22, 23, 24, 25)], 0),
        ([(number * HOURS, {}) for number in (0, 1, 2, 23.9)], 4),
        ([(number * HOURS, {"claim": 0}) for number in (22, 23, 24, 25)], 4),
        ([(number * HOURS, {"claim": 0, "visitor": -1}) for number in (22, 23, 24, 25)], 4),
        ([(number * HOURS, {"claim": number % 2}) for number in (0, 1, 2, 3)], 0),
        ([(0, {}), (1, {}), (2, {"claim": 0}), (3, {"claim": 0})], 0),
    ],
)
def test_flood_is_of_one_visitor_and_day_or_of_one_day_of_claims(rows, n_flooding, monkeypatch):
    monkeypatch.setattr(cleaning, "MAX_VIEWS_PER_DAY", 3)
    interactions, report = clean_columns(
        [(at, {"item": number} | values) for number, (at, values) in enumerate(rows)], visitor=0
    )
    assert report.removed == ({"view_flood": n_flooding} if n_flooding else {})
    assert len(interactions) == len(rows) - n_flooding


def test_lines_are_merged_by_order_item_and_type_into_the_first():
    rows = [
        (0, {"basket": 0, "item": 0, "quantity": 1}),
        (1, {"basket": 0, "item": 1, "quantity": 2}),
        (2, {"basket": 1, "item": 0, "quantity": 4}),
        (3, {"basket": -1, "item": 0, "quantity": 8}),
        (4, {"basket": -1, "item": 0, "quantity": 16}),
        (5, {"basket": 0, "item": 0, "quantity": 32}),
        (6, {"basket": 0, "item": 0, "quantity": 64, "type": VIEW}),
    ]
    interactions, report = clean_columns(rows, type=PURCHASE)
    assert interactions.quantity.tolist() == [33, 2, 4, 8, 16, 64]
    assert interactions.time.tolist() == [0, 1, 2, 3, 4, 6]
    assert report.removed == {"merged_order_line": 1}


def test_lines_of_a_refund_are_merged_and_not_with_the_purchase():
    rows = [(0, {"quantity": 9})] + [(at, {"type": REFUND, "quantity": 2}) for at in (1, 2)]
    interactions, report = clean_columns(rows, type=PURCHASE, basket=0)
    assert interactions.type.tolist() == [PURCHASE, REFUND]
    assert interactions.quantity.tolist() == [5, 0]
    assert report.removed == {"merged_order_line": 1}


@pytest.mark.parametrize(("fewest", "capped"), [(5, [1, 2, 3, 3, 3]), (6, [1, 2, 3, 4, 50])])
def test_quantities_of_enough_purchases_are_capped_at_their_quantile(fewest, capped, monkeypatch):
    monkeypatch.setattr(cleaning, "FEWEST_TO_CAP", fewest)
    monkeypatch.setattr(cleaning, "CAPPED_SHARE", 0.5)
    rows = [(number, {"item": number, "quantity": quantity}) for number, quantity in enumerate((1, 2, 3, 4, 50))]
    interactions, report = clean_columns([*rows, (9, {"type": VIEW, "quantity": 70})], type=PURCHASE)
    assert interactions.quantity.tolist() == [*capped, 70]
    assert interactions.quantity.dtype == np.float32
    assert report.n_quantities_capped == (2 if fewest == 5 else 0)


def test_anonymous_refunds_of_several_orders_find_their_buyers():
    purchases = [
        (0, {"visitor": 5, "basket": 2, "item": 1}),
        (1, {"visitor": 0, "basket": 0, "item": 1}),
        (2, {"visitor": 3, "basket": 1, "item": 0}),
        (2, {"visitor": 6, "basket": 4, "item": 0}),
    ]
    refunds = [
        (3, {"basket": 0, "item": 1}),
        (4, {"basket": 2, "item": 1}),
        (5, {"basket": 1, "item": 0}),
        (6, {"basket": 1, "item": 1}),  # another item of that order
        (7, {"basket": 3, "item": 0}),  # an order without a purchase
        (8, {"basket": -1, "item": 1}),
        (9, {"basket": 4, "item": 0, "visitor": 8}),  # of somebody already
    ]
    rows = [(at, {"type": PURCHASE, "quantity": 9} | values) for at, values in purchases]
    rows += [(at, {"type": REFUND} | values) for at, values in refunds]
    interactions, _ = clean_columns(rows)
    assert interactions.visitor.tolist() == [5, 0, 3, 6, 0, 5, 3, -1, -1, -1, 8]
    assert interactions.quantity[:4].tolist() == [8, 8, 8, 9]


@pytest.mark.parametrize(
    ("purchase", "refund", "left"),
    [
        ({"visitor": 0}, {"visitor": 0}, [1]),
        ({"visitor": 0}, {"visitor": 1}, [3]),
        ({"visitor": 0, "item": 1}, {"visitor": 0, "item": 0}, [3]),
        ({"visitor": 0, "item": 2}, {"visitor": 1, "item": 0}, [3]),
        ({"visitor": 1, "item": 0}, {"visitor": 0, "item": 2}, [3]),
        ({"basket": 0}, {"basket": 0}, [1]),
        ({"basket": 0}, {"basket": 1}, [3]),
        ({}, {}, [3]),
        ({"visitor": 1}, {"basket": 3}, [3]),
        ({"visitor": 0, "basket": 1}, {"visitor": 0, "basket": 2}, [1]),
    ],
)
def test_refund_is_of_the_same_visitor_or_anonymous_order_and_of_the_same_item(purchase, refund, left):
    rows = [(0, {"type": PURCHASE, "quantity": 3} | purchase), (9, {"type": REFUND, "quantity": 2} | refund)]
    interactions, report = clean_columns(rows)
    assert interactions.quantity[interactions.type == PURCHASE].tolist() == left
    assert report.removed == {}


def test_view_of_quantity_0_is_no_refunded_purchase():
    rows = [(0, {"type": PURCHASE}), (1, {"quantity": 0}), (2, {"type": REFUND})]
    interactions, report = clean_columns(rows, visitor=0)
    assert interactions.type.tolist() == [VIEW, REFUND]
    assert report.removed == {"refunded_purchase": 1}
