import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.text.letters import fold
from recommender.text.stems import stem
from recommender.text.words import LINKING_WORDS, UNITS, pairs, tokens, words


def indexed(text):
    return [part for word in words(text) for part in word.indexed()]


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("boxes", "box"), ("glasses", "glass"), ("dishes", "dish"), ("watches", "watch"), ("berries", "berry"),
        ("cookies", "cookie"), ("pies", "pie"), ("shoes", "shoe"), ("tomatoes", "tomato"), ("knives", "knife"),
        ("buses", "bus"), ("vases", "vase"), ("houses", "house"), ("dresses", "dress"), ("cups", "cup"),
        ("lenses", "lens"), ("children", "child"), ("fairies", "fairy"), ("cases", "case"), ("toes", "toe"),
        ("men", "man"), ("mens", "man"), ("womens", "women"), ("childrens", "child"), ("snowmen", "snowman"),
        ("irises", "iris"), ("exercises", "exercise"), ("trellises", "trellis"), ("cactuses", "cactus"),
        ("blouses", "blouse"), ("mice", "mouse"), ("quiches", "quiche"), ("headaches", "headache"),
        ("canoes", "canoe"), ("horseshoes", "horseshoe"), ("potatoes", "potato"), ("axes", "axe"),
        ("pickaxes", "pickaxe"), ("bookshelves", "bookshelf"), ("gloves", "glove"), ("sleeves", "sleeve"),
        ("scarves", "scarf"), ("canvases", "canvas"), ("quizzes", "quiz"), ("gases", "gas"),
    ],
)  # fmt: skip
def test_plural_and_singular_share_a_stem(plural, singular):
    assert stem(plural) == stem(singular)


@pytest.mark.parametrize(
    "word", ["glass", "christmas", "bus", "gas", "12cm", "3s", "茶杯", "the", "", "tennis", "specimen", "ramen"]
)
def test_what_is_no_plural_is_left_alone(word):
    assert stem(word) == word


def test_different_words_keep_different_stems():
    kinds = ["glass", "gloss", "box", "boy", "dish", "disc", "case", "cash", "house", "horse", "lens", "len"]
    kinds += ["hose", "hoes", "iris", "ware", "wave", "glove", "globe", "leaf", "leave", "bus", "busy", "axe", "ax"]
    assert len({stem(word) for word in kinds}) == len(kinds)


def test_accents_ligatures_and_full_width_letters_are_folded():
    assert fold("Crème BRÛLÉE Ångström straße ﬁne Łódź œuvre") == "creme brulee angstrom strasse fine lodz oeuvre"
    assert indexed("１２ＣＭ") == ["12cm"]


def test_folding_keeps_sounds_of_japanese_and_syllables_of_korean():
    assert fold("ガラス") == "ガラス"
    assert fold("한국") == "한국"


def test_hyphenated_word_is_found_whole_and_in_parts():
    assert indexed("T-LIGHT holder") == ["tlight", "t", "light", "holder"]
    assert next(words("T-LIGHT")).written == "t-light"


def test_apostrophes_do_not_split():
    assert indexed("Jack's don’t") == ["jacks", "dont"]


def test_numbers_and_sizes_are_kept():
    assert indexed("12cm 3.5 3,5 1,000 1/2 5.5cm A4 S/3") == [
        "12cm",
        "3.5",
        "3.5",
        "1000",
        "1/2",
        "5.5cm",
        "a4",
        "s",
        "3",
    ]


def test_chinese_is_indexed_in_pairs_and_characters():
    assert set(indexed("绿茶杯")) == {"绿茶杯", "绿茶", "茶杯", "绿", "茶", "杯"}
    assert pairs(next(words("绿茶杯"))) == ("绿茶", "茶杯")
    assert pairs(next(words("茶"))) == ("茶",)


def test_scripts_with_vowel_signs_stay_whole():
    assert indexed("बच्चों के खिलौने") == ["बच्चों", "के", "खिलौने"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("كتابي", "کتابی"), ("أحمد إلى آخر", "احمد الي اخر"), ("قهوة", "قهوه"), ("كـتـاب", "كتاب"), ("كِتَابٌ", "كتاب"),
        ("まぐカップ", "マグかっぷ"), ("ｸﾂｼﾀ", "くつした"), ("ｶﾞｰｾﾞ", "がーぜ"), ("İNCİ", "inci"), ("Işık", "ışık"),
        ("ज़री", "जरी"), ("\u095b\u0930\u0940", "ज\u093cरी"), ("चाँदी", "चांदी"), ("n\u0303andu\u0301", "ñandú"),
        ("مسؤول رئيس", "مسوول رييس"), ("۱۲۳ ٤٥٦ १२ ๑๒ １２", "123 456 12 12 12"), ("שָׁלוֹם", "שלום"), ("\ufefb", "لا"),
    ],
)  # fmt: skip
def test_what_looks_alike_on_two_keyboards_is_folded_to_one(one, other):
    assert fold(one) == fold(other)
    assert indexed(one) == indexed(other)


def test_numbers_of_every_script_are_numbers():
    assert indexed("۱۲٫۵ ۱٬۰۰۰ ۱۲cm") == ["12.5", "1000", "12cm"]


def test_marks_inside_a_word_do_not_split_it():
    assert indexed("قَهْوَة") == ["قهوه"]
    assert indexed("soft\u00adware") == ["software"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\u0130NC\u0130 k", ["inci", "k"]), ("लाल घर।", ["लाल", "घर"]), ("মাটির কাপ", ["মাটির", "কাপ"]),
        ("တီရှပ်", ["တီရှပ်"]), ("q\u0307uay", ["quay"]),
        ("Tea\u200bpot \u2060box\ufeff", ["teapot", "box"]), ("TEFAL™ pan", ["tefal", "pan"]),
        ("Duo©Lego®", ["duo", "lego"]),
    ],
)  # fmt: skip
def test_marks_and_invisible_characters_end_no_word_and_trade_marks_do(text, expected):
    assert indexed(text) == expected


def test_vowel_signs_tell_words_apart():
    assert len({fold(word) for word in ("की", "का", "कि", "कु", "कं")}) == 5


def test_run_keeps_its_own_kana_where_it_is_shown():
    word = next(words("赤いカップ"))
    assert (word.written, word.run) == ("赤いカップ", "赤イカップ")
    assert [word.spelling(part) for part in pairs(word)] == ["赤い", "いカ", "カッ", "ップ"]


def test_persian_half_space_is_a_hyphen():
    assert indexed("کتاب\u200cها") == [fold("کتابها"), fold("کتاب"), fold("ها")]


def test_thai_is_indexed_in_pairs_of_letters_with_their_marks():
    assert pairs(next(words("แก้ว"))) == ("แก้", "ก้ว")


def test_emoji_and_operators_are_no_words():
    assert indexed("😀🎉 * -- ; \"' ~^ \x00 _ __") == []


@given(st.text(max_size=200))
def test_any_text_splits_into_words_that_split_into_themselves(text):
    for word in words(text):
        assert word.written
        assert all(part and len(part) <= len(text) * 4 + 64 for part in word.indexed())
        if word.whole and not word.parts and not word.is_unspaced:
            assert indexed(word.whole)[:1] == [word.whole]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('1-1/2"x 8ft.', ["1", "1/2", "in", "x", "8", "ft"]),
        ("5 inches", ["5", "in"]),
        ("6'", ["6", "ft"]),
        ("2,000 lbs", ["2000", "lb"]),
        ("hd20", ["hd", "20"]),
        ("", []),
    ],
)
def test_sizes_are_written_one_way(text, expected):
    assert list(tokens(text)) == expected


def test_stems_join_forms_of_a_word_and_leave_other_scripts_alone():
    assert stem("couplings") == stem("coupling")
    assert stem("テレビ") == "テレビ"
    assert stem("1/2") == "1/2"


def test_linking_words_and_short_units_are_their_own_stems():
    for word in (*LINKING_WORDS, "in", "ft", "mm", "cm", "kg", "lb", "oz", "gal"):
        assert stem(word) == word
    assert set(UNITS.values()) <= set(UNITS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1½", ["1-1/2", "1", "1/2"]), ("1-1/2", ["1-1/2", "1", "1/2"]), ("1 1/2", ["1-1/2", "1", "1/2"]),
        ("½", ["1/2"]),
        ("1⁄2", ["1/2"]), ("30 × 40", ["30x40"]), ("30x40cm", ["30x40", "cm"]), ("2 * 4", ["2x4"]),
        ("2,5×4", ["2.5x4"]),
        ("1.000.000", ["1000000"]), ("1.234,50", ["1234.50"]), ("1,234.50", ["1234.50"]), ("1'000", ["1000"]),
        ("1.000", ["1000"]), ("0,500", ["0.500"]), ('5"', ["5", "in"]), ("6′", ["6", "ft"]),
        ("wh-1000xm5", ["wh1000xm5", "wh", "1000xm5"]),
        ("M8 × 20", ["m8x20"]), ("m8x20", ["m8x20"]), ("205/55R16", ["205/55", "r16"]),
        ("205/55 R16", ["205/55", "r16"]),
        ("8 x 1/2", ["8", "x", "1/2"]), ("4 x 4 x 1/4", ["4x4", "x", "1/4"]),
        ("8 x 1-5/8", ["8", "x", "1-5/8", "1", "5/8"]),
        ("x5-1/4", ["x5", "1/4"]), ("3 x faster", ["3", "x", "faster"]),
    ],
)  # fmt: skip
def test_number_is_one_word_in_any_notation(text, expected):
    assert indexed(text) == expected
