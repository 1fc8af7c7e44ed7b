"""Chinese, Japanese, Korean and accented text through the whole of search, on a shop that sells in all of them."""

from __future__ import annotations

import pytest

from recommender import pipeline, serving
from recommender.catalog import Constant, catalogs, sync
from recommender.models import Synonym
from recommender.types import Relaxation
from shopreco.shop.models import Department, Product

PRODUCTS = {
    "ZH1": ("绿色陶瓷茶杯", "茶具"), "ZH2": ("红色陶瓷花瓶", "家居"), "ZH3": ("手工羊毛围巾 120cm", "服装"),
    "JA1": ("赤いマグカップ", "食器"), "JA2": ("青いガラスコップ", "食器"),
    "JA3": ("木製テーブルランプ ３個セット", "照明"),
    "KO1": ("빨간 머그컵", "주방"), "KO2": ("파란 유리컵", "주방"), "KO3": ("나무 책상 램프", "조명"),
    "FR1": ("Théière émaillée crème", "Café"), "DE1": ("Weiße Straßenlampe", "Leuchten"),
    "PL1": ("Żółty kubek łódzki", "Kubki"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def shop(db):
    for code, (title, name) in PRODUCTS.items():
        department, _ = Department.objects.get_or_create(name=name, defaults={"slug": code.lower()})
        Product.objects.create(stock_code=code, title=title, price=5, stock=1, is_visible=True, department=department)
    sync.sync()
    serving.reload()


def titles_of(query):
    return [entry.item_id for entry in pipeline.search(query)]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("茶杯", "ZH1"), ("陶瓷花瓶", "ZH2"), ("花瓶", "ZH2"), ("羊毛围巾", "ZH3"),
        ("マグカップ", "JA1"), ("ガラス", "JA2"), ("ランプ", "JA3"), ("赤い マグ", "JA1"),
        ("머그컵", "KO1"), ("유리컵", "KO2"), ("책상 램프", "KO3"),
        ("theiere", "FR1"), ("THÉIÈRE", "FR1"), ("creme", "FR1"), ("strassenlampe", "DE1"), ("weisse", "DE1"),
        ("zolty kubek", "PL1"), ("lodzki", "PL1"),
    ],
)  # fmt: skip
def test_words_of_every_script_find_their_item_first(query, first):
    ranking = pipeline.search(query)
    assert ranking.entries[0].item_id == first
    assert ranking.relaxed == Relaxation.NONE


@pytest.mark.parametrize(("typed", "item_id"), [("ﾏｸﾞｶｯﾌﾟ", "JA1"), ("ｶﾞﾗｽ", "JA2"), ("ﾗﾝﾌﾟ", "JA3")])
def test_half_width_katakana_finds_the_usual(typed, item_id):
    assert titles_of(typed)[0] == item_id


@pytest.mark.parametrize(
    ("typed", "item_id"), [("３個", "JA3"), ("3個", "JA3"), ("１２０ｃｍ", "ZH3"), ("120CM", "ZH3")]
)
def test_digits_of_either_width_find_each_other(typed, item_id):
    ranking = pipeline.search(typed)
    assert (ranking.entries[0].item_id, ranking.relaxed) == (item_id, Relaxation.NONE)


def test_accents_typed_as_letters_and_marks_are_the_same():
    assert titles_of("the\u0301ie\u0300re")[0] == "FR1"


def test_price_in_full_width_digits_narrows(monkeypatch):
    monkeypatch.setattr(catalogs()[0], "currency", Constant("JPY"))
    sync.sync()
    serving.reload()
    ranking = pipeline.search("マグカップ ４円以下")
    assert ranking.intent.max_price == 4
    assert ranking.relaxed == Relaxation.FILTERS


def test_unknown_chinese_word_is_given_up_and_the_rest_kept():
    ranking = pipeline.search("茶杯 冰箱")
    assert (ranking.relaxed, ranking.relaxed_query) == (Relaxation.WORDS, "茶杯")
    assert ranking.entries[0].item_id == "ZH1"


def test_traditional_characters_are_others():
    assert pipeline.search("圍巾").relaxed == Relaxation.POPULAR


@pytest.mark.parametrize(
    ("prefix", "item_id"),
    [("茶", "ZH1"), ("マグ", "JA1"), ("ﾏｸﾞ", "JA1"), ("머그", "KO1"), ("thei", "FR1"), ("strasse", "DE1")],
)
def test_suggestions_name_the_item(prefix, item_id):
    assert item_id in [suggestion.item_id for suggestion in pipeline.suggest(prefix)]


@pytest.mark.parametrize(("prefix", "text"), [("赤い", "赤いマグカップ"), ("머", "머그컵"), ("thé", "théière")])
def test_suggestions_complete_in_the_script_of_the_title(prefix, text):
    assert text in [suggestion.text for suggestion in pipeline.suggest(prefix) if suggestion.kind == "query"]


def test_category_in_japanese_is_suggested():
    assert ("食器", "category") in [(one.text, one.kind) for one in pipeline.suggest("食")]


UNSPACED = {
    "Z1": "红色陶瓷马克杯", "Z2": "蓝色陶瓷马克杯", "Z3": "双色杯垫", "Z4": "苹果iPhone手机保护壳", "Z5": "手工咖啡机",
    "Z6": "橙色冰箱贴", "J1": "赤いマグカップ", "J2": "猫柄マグカップ", "J3": "ランニングプレート",
    "J4": "木製テーブルランプ",
    "K1": "빨간 머그컵", "K2": "파란 유리컵", "T1": "แก้วกาแฟสีแดง", "T2": "แก้วกาแฟสีเขียว", "T3": "หมอนผ้าฝ้ายสีแดง",
}  # fmt: skip


@pytest.fixture
def unspaced_shop(shop):
    Product.objects.all().delete()
    department = Department.objects.first()
    for code, title in UNSPACED.items():
        Product.objects.create(stock_code=code, title=title, price=5, stock=1, is_visible=True, department=department)
    sync.sync()
    serving.reload()


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("红色杯", "Z1"), ("红色的杯", "Z1"), ("蓝色马克杯", "Z2"), ("陶瓷杯红色", "Z1"), ("手机壳", "Z4"),
        ("iPhone 手机壳", "Z4"), ("iphone手机壳", "Z4"), ("壳", "Z4"), ("红", "Z1"),
        ("赤いカップ", "J1"), ("赤マグ", "J1"), ("猫のマグカップ", "J2"), ("ランプ", "J4"),
        ("빨간컵", "K1"), ("머그컵을", "K1"), ("แก้วแดง", "T1"), ("แก้วสีเขียว", "T2"), ("หมอนสีแดง", "T3"),
    ],
)  # fmt: skip
def test_run_is_found_by_its_words_wherever_they_stand_in_the_title(unspaced_shop, query, first):
    ranking = pipeline.search(query)
    assert (ranking.relaxed, ranking.entries[0].item_id, ranking.corrected_query) == (Relaxation.NONE, first, "")


@pytest.mark.parametrize(
    ("query", "fewer", "first"),
    [
        ("红色冰箱", "冰箱", "Z6"),
        ("红色电视", "红色", "Z1"),
        ("蓝色陶瓷电饭煲", "蓝色陶瓷", "Z2"),
        ("青いマグ", "マグ", "J1"),
    ],
)
def test_word_of_a_run_is_given_up_and_the_rest_kept(unspaced_shop, query, fewer, first):
    ranking = pipeline.search(query)
    assert (ranking.relaxed, ranking.relaxed_query, ranking.entries[0].item_id) == (Relaxation.WORDS, fewer, first)


def test_reason_names_the_words_of_a_run(unspaced_shop):
    assert "matches_query" in [reason.code for reason in pipeline.search("红色杯").entries[0].reasons]


def test_characters_that_stand_apart_are_no_word(unspaced_shop):
    assert titles_of("手机") == ["Z4"]
    assert pipeline.search("圍巾").relaxed == Relaxation.POPULAR
    assert pipeline.search("手巾").relaxed == Relaxation.POPULAR


ARABIC = {
    "A1": "كُوب قَهْوَة أَحْمَر", "A2": "مكتبة خشبية ١٢٠ سم", "A3": "إبريق شاي زجاجي",
    "P1": "کتاب‌های کودک ۱۲ جلدی", "P2": "گلدان سفالی یزدی", "P3": "كيف چرمي زنانه",
}  # fmt: skip


@pytest.fixture
def arabic_shop(shop):
    Product.objects.all().delete()
    department = Department.objects.first()
    for code, title in ARABIC.items():
        Product.objects.create(stock_code=code, title=title, price=5, stock=1, is_visible=True, department=department)
    sync.sync()
    serving.reload()


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("كوب قهوة احمر", "A1"), ("قهوه", "A1"), ("كـــوب", "A1"), ("کوب أحمر", "A1"), ("مكتبه 120", "A2"),
        ("١٢٠", "A2"), ("۱۲۰ سم", "A2"), ("ابريق", "A3"), ("إبريق شاى", "A3"),
        ("كتابهای کودک", "P1"), ("کتاب های کودک", "P1"), ("کتاب", "P1"), ("12 جلدی", "P1"), ("۱۲ جلدي", "P1"),
        ("گلدان یزدي", "P2"), ("کیف چرمی", "P3"),
    ],
)  # fmt: skip
def test_letters_and_digits_of_arabic_and_persian_find_each_other(arabic_shop, query, first):
    ranking = pipeline.search(query)
    assert (ranking.relaxed, ranking.entries[0].item_id, ranking.corrected_query) == (Relaxation.NONE, first, "")


@pytest.mark.parametrize(("typed", "item_id"), [("كيف چر", "P3"), ("کیف چر", "P3"), ("گلدان يز", "P2"), ("مکتب", "A2")])
def test_suggestions_know_both_keyboards(arabic_shop, typed, item_id):
    assert item_id in [suggestion.item_id for suggestion in pipeline.suggest(typed)]


def test_misspelt_arabic_word_is_corrected_to_the_letters_of_the_title(arabic_shop):
    assert pipeline.search("گلدانن سفالي ").corrected_query == "گلدان سفالي"


def test_category_is_suggested_whatever_the_keyboard(arabic_shop):
    department = Department.objects.create(name="كيف چرمی", slug="leather")
    Product.objects.filter(stock_code="P3").update(department=department)
    sync.sync()
    serving.reload()
    assert ("كيف چرمی", "category") in [(one.text, one.kind) for one in pipeline.suggest("کیف")]


def test_synonym_is_known_on_both_keyboards(arabic_shop):
    Synonym.objects.create(words="ساک", meaning="کیف", kind=Synonym.Kind.TWO_WAY, is_active=True)
    serving.reload()
    assert titles_of("ساك")[0] == "P3"
