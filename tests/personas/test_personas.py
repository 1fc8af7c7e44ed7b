"""A visitor in words: what was done, to what kind of thing, how often and how lately."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.durations import PERSONA_HALF_LIFE_DAYS
from recommender.personas import PersonaDescription, ago, describe
from recommender.tables import ItemTable
from recommender.text.vocabulary import terms, vocabulary_of
from recommender.types import EventType, PastEvent

NOW = dt.datetime(2024, 5, 17, 12, 0, tzinfo=dt.UTC)
TITLES = (
    *(f"LUNCH BAG {name}" for name in ("RED SPOTS", "SPACEBOY", "WOODLAND", "VINTAGE DOILY")),
    *(f"ALARM CLOCK BAKELIKE {colour}" for colour in ("GREEN", "RED", "IVORY", "PINK")),
    *(f"{colour} CERAMIC DRAWER KNOB" for colour in ("BLUE", "RED", "WHITE", "GREEN")),
    "CHEST OF NATURAL WOOD",
)
PRICES = (*(2.0,) * 4, *(5.0,) * 4, *(1.0,) * 4, 100.0)
CATEGORIES = (*("Bags",) * 4, *("Clocks",) * 4, *("Knobs",) * 4, "Furniture")


@dataclass(frozen=True)
class Shelf:
    """As much of a shelf as a description reads."""

    items: ItemTable
    index: dict[str, int]
    titles: tuple[str, ...]


def shelf(*, has_categories: bool = False) -> Shelf:
    names = tuple(dict.fromkeys(CATEGORIES)) if has_categories else ()
    ids = tuple(f"item:{row}" for row in range(len(TITLES)))
    category = [names.index(name) if names else -1 for name in CATEGORIES]
    items = ItemTable(
        ids, TITLES, np.array(PRICES, np.float32), np.array(category, np.int32), names,
        np.zeros(len(ids)), np.ones(len(ids), bool),
    )  # fmt: skip
    return Shelf(items, {item_id: row for row, item_id in enumerate(ids)}, TITLES)


def past(
    row: int = 0, kind: EventType = EventType.VIEW_ITEM, *, days: float = 0.0, query: str = "", order: str = ""
) -> PastEvent:
    return PastEvent(kind, NOW - dt.timedelta(days=days), "" if query else f"item:{row}", query, order_id=order)


def described(*events: PastEvent, has_categories: bool = False) -> PersonaDescription:
    return describe(events, shelf(has_categories=has_categories), now=NOW, currency="GBP")


def test_headline_names_the_main_interest_with_its_evidence() -> None:
    bought = [past(row, EventType.PURCHASE, days=4, order="1") for row in range(4)]
    description = described(*bought, past(0), past(1), past(4))
    assert description.headline == "Mostly lunch bag: 4 bought, 2 viewed, last just now"


def test_categories_of_the_shop_come_before_words_of_titles() -> None:
    description = described(past(0, EventType.PURCHASE, days=4), past(5), has_categories=True)
    assert [interest.name for interest in description.interests] == ["Bags", "Clocks"]
    assert description.headline == "Mostly Bags: 1 bought, last 4 days ago"


def test_one_view_is_already_described_by_its_title() -> None:
    description = described(past(12, days=2))
    assert description.headline == "Mostly CHEST OF NATURAL WOOD: 1 viewed, last 2 days ago"


def test_a_search_counts_toward_the_interest_that_it_names() -> None:
    description = described(past(kind=EventType.SEARCH, query="lunch bags"), past(0))
    assert description.interests[0].name in ("lunch bag", "lunch bags")
    assert description.interests[0].evidence.in_words() == "1 viewed, searched once"


def test_visitor_without_events_is_unknown() -> None:
    description = described()
    assert description.headline == "Nothing is known of this visitor yet."
    assert not description.interests
    assert description.n_events == 0


def test_erased_events_are_not_described() -> None:
    bags, knobs = [past(row, EventType.PURCHASE) for row in range(4)], [past(8), past(9)]
    assert "lunch bag" in described(*bags, *knobs).headline
    erased = str(described(*knobs))
    assert "bag" not in erased
    assert "drawer knob" in erased


def test_purchase_outweighs_several_views() -> None:
    description = described(past(0, EventType.PURCHASE), *[past(row) for row in (4, 5, 6)])
    assert description.interests[0].evidence.n_bought == 1


def test_evidence_fades_by_half_in_a_half_life() -> None:
    description = described(past(0, days=PERSONA_HALF_LIFE_DAYS), past(4), has_categories=True)
    shares = {interest.name: interest.share for interest in description.interests}
    assert shares["Clocks"] == pytest.approx(2 * shares["Bags"])


def test_returned_goods_are_no_interest() -> None:
    bought, returned = past(0, EventType.PURCHASE, days=1), past(0, EventType.REFUND)
    description = described(bought, returned, past(8), has_categories=True)
    assert [interest.name for interest in description.interests] == ["Knobs"]


def test_goods_that_were_all_returned_leave_a_plain_sentence() -> None:
    description = described(past(0, EventType.PURCHASE, days=1), past(0, EventType.REFUND))
    assert description.headline == "2 events, about nothing that is still in the catalogue, last just now"


def test_one_of_ten_returned_leaves_the_interest_the_price_and_the_order() -> None:
    ten = PastEvent(EventType.PURCHASE, NOW - dt.timedelta(days=1), "item:0", quantity=10, order_id="1")
    one_back = PastEvent(EventType.REFUND, NOW, "item:0", quantity=1)
    description = described(ten, one_back, has_categories=True)
    assert [interest.name for interest in description.interests] == ["Bags"]
    assert description.prices.startswith("Buys at 2.00 GBP")
    assert description.orders == "1 order"


def test_returned_goods_set_neither_price_nor_rhythm_of_orders() -> None:
    back = [past(12, EventType.PURCHASE, days=40, order="1"), past(12, EventType.REFUND, days=39), past(12, days=38)]
    description = described(*back, past(8, EventType.PURCHASE, days=1, order="2"))
    assert description.prices.startswith("Buys at 1.00 GBP")
    assert description.orders == "1 order"


def test_one_event_gives_interest_price_and_hour() -> None:
    description = described(past(0), has_categories=True)
    assert description.headline == "Mostly Bags: 1 viewed, last just now"
    assert description.prices.startswith("Looks at 2.00 GBP")
    assert description.rhythm is not None
    assert description.rhythm.hours[12] == 1


def test_headline_lists_several_interests_if_none_dominates() -> None:
    description = described(past(0), past(4), past(8), has_categories=True)
    assert description.headline.startswith("Many things, most of all ")


def test_events_after_now_are_not_looked_at() -> None:
    assert described(past(0, days=-1)).n_events == 0


def test_item_that_left_the_catalogue_is_counted_but_not_named() -> None:
    description = described(PastEvent(EventType.PURCHASE, NOW, "item:gone"), past(8))
    assert description.n_events == 2
    assert "gone" not in description.headline


def test_prices_are_those_of_purchases_against_the_catalogue() -> None:
    description = described(*(past(row, EventType.PURCHASE) for row in (8, 9)), past(12))
    assert description.prices == "Buys at 1.00 GBP, among the cheaper things here"


def test_search_alone_gives_no_prices() -> None:
    assert described(past(kind=EventType.SEARCH, query="lunch bag")).prices == ""


def test_rhythm_counts_a_long_order_once_and_needs_several_visits() -> None:
    one_order = described(*(past(row, EventType.PURCHASE) for row in range(8)))
    assert one_order.rhythm is not None
    assert sum(one_order.rhythm.weekdays) == 1
    assert one_order.rhythm.text == ""
    fridays = described(*(past(days=7 * week) for week in range(5)))
    assert fridays.rhythm is not None
    assert fridays.rhythm.text == "Mostly on a Friday, around 12:00"


def test_rhythm_is_in_local_time() -> None:
    description = describe([past()], shelf(), now=NOW, timezone=dt.timezone(dt.timedelta(hours=9)))
    assert description.rhythm is not None
    assert description.rhythm.hours[21] == 1


def test_orders_are_described_by_the_median_gap_between_them() -> None:
    orders = [past(0, EventType.PURCHASE, days=days, order=str(days)) for days in (63, 42, 21, 1)]
    description = described(*orders, past(1, EventType.PURCHASE, days=1, order="1"))
    assert description.repeated == (("item:0", 4),)
    assert description.orders == "4 orders, about every 21 days; next due in 20 days"


def test_late_order_is_called_overdue() -> None:
    description = described(*(past(0, EventType.PURCHASE, days=days, order=str(days)) for days in (30, 20)))
    assert description.orders == "2 orders, about every 10 days; overdue by 10 days"


@pytest.mark.parametrize(
    ("delta", "words"),
    [
        (dt.timedelta(seconds=5), "just now"),
        (dt.timedelta(minutes=1), "1 minute ago"),
        (dt.timedelta(hours=5), "5 hours ago"),
        (dt.timedelta(days=4), "4 days ago"),
        (dt.timedelta(days=70), "2 months ago"),
        (dt.timedelta(days=800), "2 years ago"),
        (dt.timedelta(days=-1), "just now"),
    ],
)
def test_ago_uses_one_unit(delta: dt.timedelta, words: str) -> None:
    assert ago(NOW - delta, NOW) == words


def test_words_in_plural_and_singular_are_one_term() -> None:
    assert set(terms("Lunch bags")) == set(terms("LUNCH BAG"))


def test_japanese_title_is_cut_into_pairs() -> None:
    assert {"青い", "い鳥"} <= set(terms("青い鳥 mug").values())
    assert set(terms("あおい鳥")) == set(terms("アオイ鳥"))
    assert set(terms("كيف قَهْوَة")) == set(terms("کیف قهوه"))
    assert terms("Café noir")["cafe noir"] == "café noir"


def test_term_of_a_single_title_weighs_nothing_among_many() -> None:
    vocabulary = vocabulary_of(TITLES)
    assert vocabulary.weight("spaceboy") == 0
    assert vocabulary.weight("lunch bag") > vocabulary.weight("red") > 0


kinds = st.sampled_from(list(EventType))
any_event = st.builds(
    PastEvent,
    kinds,
    st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2024, 5, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001
    st.sampled_from(["", "item:0", "item:5", "item:12", "item:gone"]),
    st.sampled_from(["", "lunch bag", "'; DROP TABLE", "🎁", "青い鳥"]),
)


@given(st.lists(any_event, max_size=40))
def test_any_history_can_be_described(events: list[PastEvent]) -> None:
    description = describe(events, shelf(has_categories=True), now=NOW)
    assert description.headline
    assert description.n_events == len(events)
    assert sum(interest.share for interest in description.words) <= 1 + 1e-6


def test_vocabulary_of_no_titles_knows_no_term() -> None:
    assert vocabulary_of(()).weight("tea") == 0
