"""What a search counts, what leads it and what comes behind: with the packaged encoder in three languages, or none."""

from __future__ import annotations

import dataclasses
import datetime as dt
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from recommender import bundles, pipeline, serving
from recommender.catalog import sync
from recommender.features.shop_state import ShopState
from recommender.ml.export import export_untrained
from recommender.retrieval.floors import Floors, measure
from recommender.serving import Served, vectors
from recommender.serving.ranker import Ranker, formula_grade
from recommender.serving.shelf import build_shelf
from recommender.tables import ItemTable
from recommender.types import Context, Relaxation, Request, Slot
from shopreco.shop.models import Product

NOW = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)

THINGS = {
    "fa": ["گلدان", "لیوان", "بشقاب", "کاسه", "قوری", "فنجان", "شمعدان", "آینه", "ساعت", "رومیزی", "پتو", "بالش"],
    "zh": ["马克杯", "花瓶", "盘子", "茶壶", "台灯", "毛毯", "枕头", "镜子", "闹钟", "桌布", "雨伞", "围巾"],
    "en": [
        "mug",
        "vase",
        "plate",
        "teapot",
        "lamp",
        "blanket",
        "pillow",
        "mirror",
        "clock",
        "cloth",
        "umbrella",
        "scarf",
    ],
}
MATERIALS = {
    "fa": ["سرامیکی", "چوبی", "شیشه‌ای", "فلزی"],
    "zh": ["陶瓷", "木质", "玻璃", "金属"],
    "en": ["ceramic", "wooden", "glass", "metal"],
}
COLOURS = {"fa": ["قرمز", "آبی", "سبز"], "zh": ["红色", "蓝色", "绿色"], "en": ["red", "blue", "green"]}
BAGS = {
    "fa": ["کیف چرمی زنانه دست‌دوز", "کیف چرمی مردانه", "کیف چرمی اداری"],
    "zh": ["真皮女士手提包", "真皮男士公文包", "真皮钱包"],
    "en": ["women's leather handbag hand made", "men's leather briefcase", "leather wallet"],
}


def titles_in(language, pattern):
    every = product(THINGS[language], MATERIALS[language], COLOURS[language])
    return [*(pattern.format(*words) for words in every), *BAGS[language]]


PERSIAN, CHINESE, ENGLISH = titles_in("fa", "{0} {1} {2}"), titles_in("zh", "{2}{1}{0}"), titles_in("en", "{2} {1} {0}")


def shelf_of(titles, *, price=None, available=None, vectors=None, counts=None):
    n = len(titles)
    items = ItemTable(
        ids=tuple(f"i{row}" for row in range(n)),
        texts=tuple(titles),
        price=np.full(n, np.nan, np.float32) if price is None else np.array(price, np.float32),
        category=np.full(n, -1, np.int32),
        category_names=(),
        first_seen=np.zeros(n),
        active=np.ones(n, bool),
    )
    state = ShopState.from_columns(
        at=NOW.timestamp(),
        counts=np.zeros((n, 4), np.float32) if counts is None else np.array(counts, np.float32),
        last_event_at=np.full(n, -np.inf),
    )
    in_stock = None if available is None else np.array(available, bool)
    return build_shelf(items, state=state, vectors=vectors, available=in_stock)


def search(query, served, **options):
    return pipeline.rank(Request(Slot.SEARCH, Context(NOW), query=query, **options), served=served)


def titles_of(ranking, titles):
    return [titles[int(entry.item_id[1:])] for entry in ranking]


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("untrained")
    export_untrained("", folder)
    return Ranker.load(folder)


def served(titles, ranker):
    return Served(shelf_of(titles, vectors=ranker.encode(titles)).calibrated(ranker.encode), ranker, "b")


@pytest.fixture(scope="module")
def persian(ranker):
    return served(PERSIAN, ranker)


@pytest.fixture(scope="module")
def chinese(ranker):
    return served(CHINESE, ranker)


@pytest.fixture(scope="module")
def english(ranker):
    return served(ENGLISH, ranker)


def test_persian_query_counts_what_has_its_words(persian):
    ranking = search("کیف چرمی", persian, limit=50)
    assert set(titles_of(ranking, PERSIAN)) == set(PERSIAN[-3:])
    assert ranking.n_found == 3
    assert 12 <= search("گلدان", persian).n_found <= 15
    assert 3 <= search("گلدان چوبی", persian, limit=50).n_found <= 25


def test_persian_query_for_what_is_not_sold_finds_nothing(persian):
    ranking = search("تلفن همراه", persian)
    assert (ranking.relaxed, ranking.n_found) == (Relaxation.POPULAR, 0)


def test_chinese_query_counts_what_has_its_words(chinese):
    ranking = search("手提包", chinese, limit=50)
    assert (titles_of(ranking, CHINESE), ranking.n_found) == (["真皮女士手提包"], 1)
    assert search("真皮包", chinese).n_found == 3
    assert 12 <= search("马克杯", chinese).n_found <= 15
    assert search("电视机", chinese).relaxed == Relaxation.POPULAR


def test_english_query_counts_what_has_its_words_or_means_it(english):
    assert search("wallet", english, limit=50).n_found <= 4
    ranking = search("red mug", english, limit=8)
    assert set(titles_of(ranking, ENGLISH)[:4]) == {
        f"red {kind} mug" for kind in ("ceramic", "wooden", "glass", "metal")
    }
    listed = titles_of(search("red mug", english, limit=100), ENGLISH)
    assert len(listed) == ranking.n_found + ranking.n_near == ranking.n_listed
    assert ranking.n_found == 4
    assert all("red" in title or "mug" in title for title in listed)


def test_english_query_without_a_word_in_common_finds_the_nearest(english):
    ranking = search("purse", english, limit=12)
    assert (ranking.relaxed, ranking.n_found, ranking.n_near) == (Relaxation.MEANING, 0, len(ranking))
    assert "leather wallet" in titles_of(ranking, ENGLISH)
    assert set(titles_of(ranking, ENGLISH)) <= set(BAGS["en"])
    assert all("clock" in title for title in titles_of(search("timepiece", english, limit=12), ENGLISH))
    assert search("zzyzx", english).relaxed == Relaxation.POPULAR


def test_floors_follow_the_encoder_and_the_catalogue(persian, english):
    assert persian.shelf.floors.near > 0.8 > 0.6 > english.shelf.floors.near > 0.4
    for floors in (persian.shelf.floors, english.shelf.floors):
        assert floors.near >= floors.beside_words >= floors.related


def test_floors_are_the_same_every_time_and_measured_anew_when_a_tenth_is_new(persian, ranker):
    shelf = persian.shelf
    assert measure(shelf.titles, shelf.vectors, ranker.encode) == shelf.floors
    assert shelf.calibrated(ranker.encode) is shelf
    half = dataclasses.replace(shelf, vectors=np.where(np.arange(len(shelf))[:, None] % 2, shelf.vectors, 0))
    assert half.calibrated(ranker.encode).floors.n_items == len(shelf) // 2


def test_floors_of_a_small_shop_are_not_below_the_usual(ranker):
    titles = ("red mug", "blue lamp", "desk")
    floors = measure(titles, ranker.encode(titles), ranker.encode)
    assert floors.near >= Floors().near
    assert floors.related >= Floors().related
    assert measure(titles, None, ranker.encode) == measure((), np.empty((0, 4), np.float32), ranker.encode) == Floors()
    assert measure(("*",), np.ones((1, 4), np.float32), ranker.encode) == Floors(n_items=1)


def test_shelf_that_is_loaded_is_measured(db, ranker):
    for row, title in enumerate(PERSIAN[:60]):
        Product.objects.create(stock_code=f"P{row}", title=title, price=1, stock=1, is_visible=True)
    sync.sync()
    vectors.encode_missing(bundles.ensure_champion().name)
    assert serving.reload().shelf.floors.near > 0.75


def test_what_cannot_be_bought_comes_behind_in_a_search():
    titles = ["red mug", "red mug small", "red mug with a spoon", "blue mug"]
    ranking = search("red mug", Served(shelf_of(titles, available=[False, True, True, True])))
    assert [entry.item_id for entry in ranking][-1] == "i0"
    assert (len(ranking), ranking.n_found) == (ranking.n_listed, 3)


@pytest.mark.parametrize("ask", [lambda: pipeline.search("mug"), lambda: pipeline.recommend("trending")])
def test_what_was_sold_out_since_the_last_look_comes_behind(db, ask):
    for row, title in enumerate(["red mug", "blue mug", "green mug"]):
        Product.objects.create(stock_code=f"P{row}", title=title, price=1, stock=1, is_visible=True)
    sync.sync()
    serving.reload()
    leading = ask().entries[0].item_id
    Product.objects.filter(stock_code=leading).update(stock=0)
    ranking = ask()
    assert (ranking.entries[-1].item_id, ranking.entries[-1].live.available) == (leading, False)
    assert [entry.position for entry in ranking] == [1, 2, 3]


def test_what_cannot_be_bought_comes_behind_where_nothing_was_found():
    counts = np.array([[9.0] * 4, [5.0] * 4, [1.0] * 4])
    shelf = shelf_of(["lamp", "chair", "desk"], available=[False, True, True], counts=counts)
    ranking = search("zzyzx", Served(shelf))
    assert [entry.item_id for entry in ranking] == ["i1", "i2", "i0"]


def test_item_without_a_price_passes_no_bound():
    shelf = shelf_of(["red mug", "blue mug", "green mug"], price=[np.nan, 4, 40])
    for query, filters in (("mug under 10", {}), ("mug", {"max_price": "10"}), ("mug between 1 and 10", {})):
        assert [entry.item_id for entry in search(query, Served(shelf), filters=filters)] == ["i1"]
    assert [entry.item_id for entry in search("mug over 10", Served(shelf))] == ["i2"]
    assert [entry.item_id for entry in search("mug", Served(shelf), filters={"min_price": "0"})] == ["i1", "i2"]


@pytest.mark.parametrize("query", ["under 10", "between 3 and 10", "£3-10", "10元以下", "زیر ۱۰ تومان"])
def test_query_of_nothing_but_a_price_lists_what_is_within_it(query):
    counts = np.zeros((4, 4))
    counts[2] = 5
    shelf = shelf_of(["red mug", "blue mug", "lamp", "desk"], price=[np.nan, 4, 9, 40], counts=counts)
    ranking = search(query, Served(shelf))
    assert [entry.item_id for entry in ranking] == ["i2", "i1"]
    assert (ranking.relaxed, ranking.n_found) == (Relaxation.NONE, 2)


def test_price_that_nothing_has_lists_all_and_says_so():
    shelf = shelf_of(["mug", "lamp"], price=[4, 9])
    ranking = search("under 1", Served(shelf))
    assert (ranking.relaxed, ranking.n_found) == (Relaxation.FILTERS, 2)


class Wayward:
    """A ranker that thinks least of what has the words."""

    head, knows_matches, arms = None, False, None

    def __init__(self, vectors):
        self.vectors = vectors

    def encode_query(self, query):
        return self.vectors[0]

    def grade(self, rows):
        return -formula_grade(rows)


def test_only_item_with_all_words_is_among_the_first_three():
    titles = [*(f"copper kettle no {n}" for n in range(9)), "copper whistling kettle", "garden whistling kettle"]
    vectors = np.ones((len(titles), 4), np.float32) / 2
    served = Served(shelf_of(titles, vectors=vectors), Wayward(vectors), "b")
    order = titles_of(search("whistling copper kettle", served), titles)
    assert order.index("copper whistling kettle") == 0
    assert titles_of(search("whistling copper kettl", served), titles).index("copper whistling kettle") == 0
    among = search("whistling copper kettle", served, among=tuple(f"i{row}" for row in range(len(titles))))
    assert titles_of(among, titles).index("copper whistling kettle") == 0
    plain = Served(dataclasses.replace(served.shelf, vectors=None))
    assert titles_of(search("whistling copper kettle", plain), titles)[0] == "copper whistling kettle"


def test_every_item_with_all_words_is_counted_and_can_be_reached():
    titles = [f"mug no {n}" for n in range(450)]
    served = Served(shelf_of(titles))
    first, last = search("mug", served, limit=100), search("mug", served, offset=400, limit=100)
    assert first.n_found == last.n_found == 450
    assert len(last) == 50
    pages = [search("mug", served, offset=offset, limit=100) for offset in range(0, 500, 100)]
    assert len({entry.item_id for page in pages for entry in page}) == 450


def test_word_that_the_encoder_knows_is_not_corrected(ranker):
    titles = [
        "kids rain mac",
        "home key holder",
        "home sign",
        "garden path",
        "wooden lamp",
        "candle rose",
        "candle gold",
    ]
    shelf = shelf_of(titles, vectors=ranker.encode(titles))
    paired = Served.paired(shelf, ranker, "b")
    assert [search(query, paired).corrected_query for query in ("hose", "lamb", "candel")] == ["", "", "candle"]
    assert [search(query, Served(shelf)).corrected_query for query in ("hose", "lamb")] == ["home", "lamp"]
    assert [ranker.is_word(word) for word in ("train", "hose", "candel", "", "lamp shade")] == [
        True,
        True,
        *[False] * 3,
    ]
    assert Served.paired(paired.shelf, ranker, "b").shelf is paired.shelf
