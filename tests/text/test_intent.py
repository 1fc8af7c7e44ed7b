"""What a query is about, on a small catalogue whose right answers are known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.features.neighbours import Neighbours
from recommender.features.shop_state import ShopState
from recommender.serving.shelf import build_shelf
from recommender.tables import ItemTable
from recommender.text.intent import INTENT_FEATURE_NAMES, LabelledTitles, fit, intent_features, known_words
from recommender.text.intent.model import TitleRoles
from recommender.text.intent.prices import price_in
from recommender.text.intent.quantities import measures_of
from recommender.text.intent.titles import ROLES, leading_brands, roles_of, split, varied_words
from recommender.text.past_queries import PastQuery
from recommender.types import Role

BRANDS = ("Delta", "Kohler", "Glacier Bay")
THINGS = {"Bathroom": ("Faucet", "Toilet Seat", "Shower Head"), "Garden": ("Garden Hose", "Rake", "Planter")}
COLOURS = ("Red", "Blue", "White", "Chrome")
SIZES = ("12 in.", "24 in.", "3 ft.")
CATEGORIES = tuple(THINGS)


def catalogue():
    """Every brand with every thing in every colour, in a size that goes round: 72 titles."""
    titles, brands, category = [], [], []
    for code, things in enumerate(THINGS.values()):
        for number_of_thing, thing in enumerate(things):
            for brand in BRANDS:
                for number, colour in enumerate(COLOURS):
                    titles.append(f"{brand} {SIZES[(number_of_thing + number) % 3]} {thing} in {colour}")
                    brands.append(brand)
                    category.append(code)
    return LabelledTitles(titles, brands, np.array(category, np.int32), CATEGORIES)


@pytest.fixture(scope="module")
def model():
    return fit(catalogue())


@pytest.fixture(scope="module")
def shelf():
    source = catalogue()
    n = len(source.titles)
    items = ItemTable(
        ids=tuple(map(str, range(n))),
        texts=tuple(source.titles),
        price=np.arange(1, n + 1, dtype=np.float32),
        category=source.category,
        category_names=CATEGORIES,
        first_seen=np.zeros(n),
        active=np.ones(n, bool),
    )
    nobody = Neighbours.none(n)
    state = ShopState.from_columns(
        at=0.0, counts=np.zeros((n, 4), np.float32), last_event_at=np.full(n, -np.inf), basket=nobody, visitor=nobody
    )
    return build_shelf(items, state=state, brands=source.brands)


def roles(model, query):
    return {word.text: word.role for word in model.understand(query).words}


def test_brand_thing_and_attribute_are_told_apart(model):
    assert roles(model, "delta faucet red 12 in") == {
        "delta": Role.BRAND, "faucet": Role.PRODUCT, "red": Role.ATTRIBUTE, "12 in": Role.ATTRIBUTE,
    }  # fmt: skip


def test_brand_of_two_words_is_one_and_has_the_shops_spelling(model):
    word = model.understand("rake glacier bay").words[1]
    assert (word.text, word.role, word.value) == ("glacier bay", Role.BRAND, "Glacier Bay")


def test_word_of_a_category_is_told_with_the_category(model):
    [word] = [word for word in model.understand("garden chrome").words if word.role is Role.CATEGORY]
    assert word.value == "Garden"


@pytest.mark.parametrize(("query", "category"), [("faucet", "Bathroom"), ("rake", "Garden"), ("red hose", "Garden")])
def test_category_is_known_from_the_words_of_titles(model, query, category):
    name, probability = model.understand(query).categories[0]
    assert name == category
    assert probability > 0.8


def test_word_that_both_categories_share_decides_nothing(model):
    shares = [probability for _, probability in model.understand("red").categories]
    assert shares == pytest.approx([0.5, 0.5], abs=0.05)


def test_what_a_query_led_to_outweighs_its_words():
    source = catalogue()
    garden = np.flatnonzero(source.category == 1)[:4].tolist()
    past = PastQuery("watering thing", 40, 40, 0.0, tuple((row, 10) for row in garden))
    name, probability = fit(source, [past]).understand("watering thing").categories[0]
    assert name == "Garden"
    assert probability > 0.8


def test_learned_model_beats_the_majority_on_what_queries_led_to(model):
    rows = {"delta red faucet": 0, "kohler chrome rake": 4 * 4 * 3 - 4 + 7}
    queries = [PastQuery(query, 3, 3, 0.0, ((row, 3),)) for query, row in rows.items()]
    examples = TitleRoles(catalogue(), model.tagger.brands, model.tagger.categories).examples(queries)
    truth = [role for example in examples for role in example.roles if role >= 0]
    guess = [
        code
        for example in examples
        for role, code in zip(example.roles, model.tagger.probabilities(example.keys).argmax(1), strict=True)
        if role >= 0
    ]
    assert truth == guess
    assert len(set(truth)) == 3


def test_shop_without_brands_reads_them_off_its_titles():
    titles = [split(title) for title in catalogue().titles]
    assert set(leading_brands(titles)) == {"delta", "kohler", "glacier bay"}


def test_shop_whose_titles_begin_with_colours_has_no_brands():
    titles = [split(f"{colour} {thing}") for colour in COLOURS for thing in ("Mug", "Bag", "Lamp", "Tin", "Box")]
    assert leading_brands(titles) == []


def test_word_by_which_titles_differ_is_a_variant():
    titles = [("pink", "paper", "parasol"), ("teal", "paper", "parasol"), ("brass", "desk", "lamp")]
    assert set(varied_words(titles)) == {"pink", "teal"}


def test_finish_after_in_is_an_attribute_and_an_inch_is_no_preposition():
    title = "Delta 12 in. Faucet in Oiled Copperish"
    codes = roles_of(title, split(title), [(0, 1, 0)])
    named = [(token.written, ROLES[role].value) for token, role in zip(split(title), codes, strict=True)]
    assert named == [
        ("delta", "brand"), ("12", "attribute"), ("in", "attribute"), ("faucet", "product"), ("in", "other"),
        ("oiled", "attribute"), ("copperish", "attribute"),
    ]  # fmt: skip


def test_material_that_is_the_thing_is_the_thing():
    for title, role in (("Cake Tin", "product"), ("Tin Cake Stand", "attribute"), ("Mug Blue", "product")):
        codes = roles_of(title, split(title), [])
        by_word = {token.key: ROLES[code].value for token, code in zip(split(title), codes, strict=True)}
        assert by_word.get("tin", by_word.get("mug")) == role


@pytest.mark.parametrize(
    ("query", "low", "high", "rest"),
    [
        ("mug under 20", None, 20, "mug"),
        ("mug under £20.50 for gran", None, 20.5, "mug for gran"),
        ("lamp £5-10", 5, 10, "lamp"),
        ("lamp 5-10 pounds", 5, 10, "lamp"),
        ("hose between 5 and 10 dollars", 5, 10, "hose"),
        ("hose between 10 and 5", 5, 10, "hose"),
        ("over 100 table", None, None, "over 100 table"),
        ("table over 100", 100, None, "table"),
        ("lampe unter 20 €", None, 20, "lampe"),
        ("杯 20元以下", None, 20, "杯"),
        ("カップ ２０００円以下", None, 2000, "カップ"),
        ("컵 10000원 이하", None, 10000, "컵"),
        ("game for under 5 year olds", None, None, "game for under 5 year olds"),
        ("shelf under 20 in", None, None, "shelf under 20 in"),
        ("under sink organizer", None, None, "under sink organizer"),
        ("under 20", None, 20, ""),
        ("between 5 and 10", 5, 10, ""),
        ("£5-10", 5, 10, ""),
        ("20元以下", None, 20, ""),
        ("杯子20元以下", None, 20, "杯子"),
        ("杯子10-20元", 10, 20, "杯子"),
        ("不到20元的杯子", None, 20, "的杯子"),
        ("カップ 500円〜1,000円", 500, 1000, "カップ"),
        ("3万円以下 カメラ", None, 30000, "カメラ"),
        ("under £20 mug", None, 20, "mug"),
        ("mug under £1,000", None, 1000, "mug"),
        ("table under 1.000 €", None, 1000, "table"),
        ("mug max £20", None, 20, "mug"),
        ("tasse zwischen 5 und 10", 5, 10, "tasse"),
        ("tasse bis 19,99 euro", None, 19.99, "tasse"),
        ("tasse entre 5 et 10 €", 5, 10, "tasse"),
        ("à partir de 10 euros tasse", 10, None, "tasse"),
        ("taza entre 5 y 10", 5, 10, "taza"),
        ("taza menos de 10", None, 10, "taza"),
        ("لیوان زیر ۱۰۰ هزار تومان", None, 100_000, "لیوان"),
        ("لیوان بین ۵۰ تا ۱۰۰ هزار تومان", 50_000, 100_000, "لیوان"),
        ("كوب أقل من ٢٠", None, 20, "كوب"),
        ("iphone 15 pro max 256", None, None, "iphone 15 pro max 256"),
        ("air max 90", None, None, "air max 90"),
        ("books from 1984", None, None, "books from 1984"),
        ("books from 1984 to 1990", None, None, "books from 1984 to 1990"),
        ("books from £5 to £10", 5, 10, "books"),
        ("mug $20 or less", None, 20, "mug"),
        ("mug 20 $ and up", 20, None, "mug"),
        ("mug max. 20 eur", None, 20, "mug"),
        ("mug 20 € max", None, 20, "mug"),
        ("tisch unter 1.000 €", None, 1000, "tisch"),
        ("tisch 1.000 € oder weniger", None, 1000, "tisch"),
        ("tisch ab 50 €", 50, None, "tisch"),
        ("tasse moins de 20 €", None, 20, "tasse"),
        ("tasse 20 € ou moins", None, 20, "tasse"),
        ("taza 20 € o menos", None, 20, "taza"),
        ("kop vanaf 5 euro", 5, None, "kop"),
        ("kop tot 5,50 euro", None, 5.5, "kop"),
        ("mugg under 200 kr", None, 200, "mugg"),
        ("mugg 200 kr eller mindre", None, 200, "mugg"),
        ("kubek do 50 zł", None, 50, "kubek"),
        ("kubek poniżej 50 zl", None, 50, "kubek"),
        ("uhr unter CHF 1'000", None, 1000, "uhr"),
        ("uhr 1\u2019000 Fr. oder weniger", None, 1000, "uhr"),
        ("saree under ₹1,00,000", None, 100_000, "saree"),
        ("saree below rs. 500", None, 500, "saree"),
        ("saree ₹500 से कम", None, 500, "saree"),
        ("saree between ₹500 and ₹1,500", 500, 1500, "saree"),
        ("lamp 10-20 €", 10, 20, "lamp"),
        ("lamp €10 - €20", 10, 20, "lamp"),
        ("lamp between 10 and 20", 10, 20, "lamp"),
        ("lamp 10 à 20 €", 10, 20, "lamp"),
        ("table under 1 000 €", None, 1000, "table"),
        ("set of 4 or more", None, None, "set of 4 or more"),
        ("things to do 50", None, None, "things to do 50"),
        ("lego 3-5", None, None, "lego 3-5"),
        ("between 5 and 10 years", None, None, "between 5 and 10 years"),
        ("tour de france 2-3", None, None, "tour de france 2-3"),
        ("2x4", None, None, "2x4"),
        ("", None, None, ""),
    ],
)
def test_price_is_read_and_taken_off_the_query(query, low, high, rest):
    price = price_in(query)
    assert (price.low, price.high, price.rest) == (low, high, rest)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("mug under £5", "GBP"), ("mug under 5 usd", "USD"), ("mug under $5", "CAD"), ("mugg under 5 kr", "NOK"),
        ("kubek do 5 zł", "PLN"), ("saree under ₹5", "INR"), ("uhr unter CHF 5", "CHF"), ("杯 5元以下", "CNY"),
    ],
)  # fmt: skip
def test_price_knows_which_currencies_it_may_be_in(query, code):
    assert code in price_in(query).currencies


def test_price_without_a_currency_may_be_in_any():
    assert price_in("mug under 5").currencies == frozenset()


def test_cheap_names_no_figure():
    price = price_in("cheap mug")
    assert (price.is_vague, price.low, price.high, price.rest) == (True, None, None, "mug")


def test_words_of_a_title_are_no_price():
    source = LabelledTitles(["Under 5 Board Game", "Under 5 Card Game"], ["", ""], np.full(2, -1, np.int32), ())
    intent = fit(source).understand("game under 5")
    assert (intent.max_price, intent.text) == (None, "game under 5")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12 in. pipe", "1-foot pipe"), ("1/2 in", "0.5 inch"), ("1-1/2 in", "1.5-inch"), ("120mm", "12 cm"),
        ("1,5 l", "1500ml"), ("１２ｃｍ", "12cm"), ("2kg", "2000 g"), ("½ inch", '1/2"'), ("1½ in", "1.5 inches"),
        ("1 000 ml", "1,000ml"), ("1'000 g", "1 kg"), ("1.500 g", "1500g 1.5 g"), ("30×40 cm", "300 x 400 mm"),
    ],
)  # fmt: skip
def test_measures_are_the_same_in_any_spelling(one, other):
    assert measures_of(one).measures == measures_of(other).measures != frozenset()


@pytest.mark.parametrize("text", ["2 in 1 shampoo", "007 in", "1/0 in", "ip68", "set of 6"])
def test_number_without_a_unit_is_no_measure(text):
    assert measures_of(text).measures == frozenset()


def test_number_over_nothing_is_no_number():
    assert measures_of("1/0 wire").numbers == frozenset()


def test_features_say_how_well_an_item_answers(model, shelf):
    intent = model.understand("kohler red faucet 12 in under 6")
    rows = np.arange(12, dtype=np.int32)  # faucets: four of each brand; the fifth and ninth and first are red
    table = intent_features(intent, rows, shelf)
    by_name = dict(zip(INTENT_FEATURE_NAMES, table.T.tolist(), strict=True))
    assert by_name["intent_brand"] == [0.0] * 4 + [1.0] * 4 + [0.0] * 4
    assert by_name["intent_product"] == [1.0] * 12
    assert by_name["intent_category"] == pytest.approx([intent.categories[0][1]] * 12)
    assert by_name["intent_attribute"][4] == 1.0
    assert by_name["intent_attribute"][5] == 0.0
    assert by_name["intent_measure"][:4] == [1.0, 0.0, 0.0, 1.0]
    assert by_name["intent_price"][:6] == [1.0] * 6
    assert by_name["intent_price"][7:] == [0.0] * 5


def test_features_of_what_is_not_said_are_zero(model, shelf):
    table = intent_features(model.understand("xyzzy"), np.arange(3, dtype=np.int32), shelf)
    assert not table[:, [0, 4, 5, 6]].any()


def test_names_of_a_japanese_shop_cut_its_titles():
    titles = ["赤いマグカップ", "青いマグカップ", "赤い皿", "青い皿"]
    source = LabelledTitles(titles, [""] * 4, np.array([0, 0, 1, 1], np.int32), ("マグカップ", "皿"))
    intent = fit(source).understand("赤いマグカップ")
    assert [word.text for word in intent.words] == ["赤い", "マグカップ"]
    assert intent.categories[0][0] == "マグカップ"


def test_known_words_are_those_of_names_and_of_queries_that_led_on():
    queries = [PastQuery("kouch", 3, 3, 0.0, ((0, 3),)), PastQuery("soffa", 3, 3, 0.0)]
    assert known_words(["Glacier Bay"], ["Garden"], queries) == {"glacier", "bay", "garden", "kouch"}


@given(st.text(max_size=80))
def test_any_query_is_understood(query):
    intent = SMALL.understand(query)
    assert all(0 < word.probability <= 1 for word in intent.words)
    assert all(0 <= probability <= 1 for _, probability in intent.categories)


SMALL = fit(catalogue())


def test_empty_catalogue_understands_every_word_as_nothing_special():
    intent = fit(LabelledTitles([], [], np.empty(0, np.int32), ())).understand("red mug")
    assert intent.text == "red mug"
    assert intent.categories == ()
