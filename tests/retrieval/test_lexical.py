import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.retrieval.lexical.index import K1, LexicalIndex

TITLES = [
    "RED RETROSPOT TEAPOT",
    "RED RETROSPOT TEA CUP AND SAUCER",
    "GREEN REGENCY TEACUP AND SAUCER",
    "HEART T-LIGHT HOLDER",
    "SET OF 6 WINE GLASSES",
    "GLASS STAR FROSTED T-LIGHT HOLDER",
    "Crème Brûlée dish 12 CM",
    "CHRISTMAS TREE DECORATION",
    "CHRISTMAS CRAFT TREE TOP ANGEL",
    "青花瓷茶杯",
    "茶",
    "RED WOOLLY HOTTIE WHITE HEART",
    "WHITE HANGING HEART HOLDER",
    "CARD DOLLY GIRL",
    "CAR TOY",
]
INDEX = LexicalIndex.build(TITLES)


def titles_of(query, limit=5, index=INDEX):
    return [TITLES[row] for row in index.search(query, limit).rows.tolist()]


def test_items_with_all_words_lead_and_others_follow():
    hits = INDEX.search("red saucer", 10)
    assert TITLES[hits.rows[0]] == "RED RETROSPOT TEA CUP AND SAUCER"
    assert set(hits.rows.tolist()) == {0, 1, 2, 11}
    assert hits.scores[0] > 1 > hits.scores[1]
    assert hits.n_whole == 1


def test_long_title_with_all_words_beats_a_short_one_that_repeats_some():
    titles = ["red red red mug", "red " + "very " * 40 + "long words about a blue mug with a saucer", "saucer"]
    hits = LexicalIndex.build(titles).search("red saucer ", 3)
    assert hits.rows[0] == 1


def test_rarer_word_says_more():
    assert titles_of("red teapot ")[0] == "RED RETROSPOT TEAPOT"
    assert titles_of("christmas angel ")[0] == "CHRISTMAS CRAFT TREE TOP ANGEL"
    index = LexicalIndex.build(["blue lamp", "blue mug", "blue cup", "blue pan", "red teapot"])
    assert index.search("blue teapot ", 5).rows[0] == 4


def test_score_is_bm25_by_its_upper_bound():
    """One word in one of two equally long titles: the saturated count 1 / (1 + k1), plus 1 for having all words."""
    hits = LexicalIndex.build(["lamp shade", "tin box"]).search("lamp ", 2)
    np.testing.assert_allclose(hits.scores, [1 + 1 / (1 + K1)], rtol=1e-6)


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("wine glass ", "SET OF 6 WINE GLASSES"),
        ("teapots ", "RED RETROSPOT TEAPOT"),
        ("creme brulee", "Crème Brûlée dish 12 CM"),
        ("CRÈME dishes", "Crème Brûlée dish 12 CM"),
        ("12cm dish ", "Crème Brûlée dish 12 CM"),
        ("tlight heart ", "HEART T-LIGHT HOLDER"),
        ("t-light heart ", "HEART T-LIGHT HOLDER"),
        ("t light heart ", "HEART T-LIGHT HOLDER"),
        ("青花", "青花瓷茶杯"),
        ("瓷茶杯", "青花瓷茶杯"),
        ("the saucer for tea ", "RED RETROSPOT TEA CUP AND SAUCER"),
    ],
)
def test_same_thing_written_otherwise_is_found_first(query, title):
    assert titles_of(query)[0] == title


def test_joined_and_split_words_find_each_other():
    assert set(titles_of("teacup ")) == {"GREEN REGENCY TEACUP AND SAUCER", "RED RETROSPOT TEA CUP AND SAUCER"}
    assert set(titles_of("tea cup ")) == {"GREEN REGENCY TEACUP AND SAUCER", "RED RETROSPOT TEA CUP AND SAUCER"}
    assert titles_of("teacup ")[0] == "GREEN REGENCY TEACUP AND SAUCER"
    assert INDEX.search("treetop ", 5).corrected_query == "tree top"
    assert titles_of("treetop ")[0] == "CHRISTMAS CRAFT TREE TOP ANGEL"


def test_single_chinese_character_finds_every_title_that_has_it():
    assert set(titles_of("茶")) == {"青花瓷茶杯", "茶"}
    assert titles_of("茶")[0] == "茶"


@pytest.mark.parametrize(
    ("query", "corrected"),
    [
        ("chrismas", "christmas"),
        ("chritsmas tree", "christmas tree"),
        ("cristmas decoraton", "christmas decoration"),
        ("saucr", "saucer"),
        ("yeapot", "teapot"),
        ("t-lihgt", "t-light"),
        ("RED Teapott", "red teapot"),
    ],
)
def test_typing_error_is_corrected_and_said(query, corrected):
    hits = INDEX.search(query, 5)
    assert hits.corrected_query == corrected
    assert hits.rows.tolist() == INDEX.search(corrected, 5).rows.tolist()[: len(hits.rows)]


def test_correct_query_is_not_corrected():
    for query in ("christmas tree", "glass", "teapots ", "ch", "qqqqqqqq", "12 cm", ""):
        assert INDEX.search(query, 5).corrected_query == ""


def test_short_words_and_numbers_are_taken_as_written():
    assert titles_of("cat ") == []
    assert titles_of("13cm ") == []


def test_more_frequent_word_wins_among_equally_near_spellings():
    index = LexicalIndex.build(["hand bag", "band aid", "band ring", "hard hat"])
    assert index.search("haand ", 3).corrected_query == "hand"
    index = LexicalIndex.build(["heart one", "heart two", "heard three"])
    assert index.search("hearz ", 3).corrected_query == "heart"


def test_word_that_no_item_has_any_more_is_no_correction():
    index = LexicalIndex.build(["purple lamp", "red box"]).updated(np.array([0], np.int32), ["green lamp"])
    assert index.search("purpel ", 3).corrected_query == ""
    assert len(index.search("purple ", 3).rows) == 0


def test_word_that_is_gone_does_not_hide_a_spelling_that_starts_otherwise():
    index = LexicalIndex.build(["heart lamp", "deert lamp"])
    assert index.search("heert ", 3).corrected_query == "heart"
    assert index.updated(np.array([0], np.int32), [""]).search("heert ", 3).corrected_query == "deert"


def test_corrected_word_finds_its_singular_too():
    index = LexicalIndex.build(["wine glass", "wine glasses", "tin"])
    assert set(index.search("galsses ", 3).rows.tolist()) == {0, 1}


def test_linking_word_may_be_missing():
    hits = LexicalIndex.build(["tea saucer", "set of six"]).search("saucer of tea ", 2)
    assert hits.rows[0] == 0
    assert hits.scores[0] > 1
    assert hits.n_whole == 1


def test_unfinished_last_word_finds_by_its_beginning():
    assert set(titles_of("chris")) == {"CHRISTMAS TREE DECORATION", "CHRISTMAS CRAFT TREE TOP ANGEL"}
    assert titles_of("red tea")[0].startswith("RED RETROSPOT TEA")
    assert titles_of("chris ") == []
    assert titles_of("chrsitm")[0].startswith("CHRISTMAS")


def test_whole_word_outranks_its_continuations():
    assert titles_of("car") == ["CAR TOY", "CARD DOLLY GIRL"]


def test_what_is_not_allowed_is_not_found_or_counted():
    allowed = np.ones(len(TITLES), bool)
    allowed[7] = False
    hits = INDEX.search("christmas ", 5, allowed=allowed)
    assert hits.rows.tolist() == [8]
    assert hits.n_whole == 1


def test_title_counts_more_than_text():
    texts, titles = ["Lamp. Goes with a teapot", "Teapot. Goes with a lamp"], ["Lamp", "Teapot"]
    assert LexicalIndex.build(texts, titles).search("teapot ", 2).rows.tolist() == [1, 0]


def test_title_that_the_text_does_not_repeat_is_found():
    assert LexicalIndex.build(["made of oak"], ["Chair"]).search("chair ", 1).rows.tolist() == [0]


@pytest.mark.parametrize(
    "query",
    [
        "", " ", "\n", "😀🎉", '" OR 1=1; DROP TABLE items; --', "title:* NEAR(a b) ^ AND NOT", "a" * 10_000,
        "red " * 2_500, "茶" * 10_000, "\x00\ud800", "-", "'", "%_%", "(((((", "x-" * 5_000, "1,2,3.4/5" * 1_000,
    ],
)  # fmt: skip
def test_any_query_is_harmless(query):
    hits = INDEX.search(query, 5)
    assert len(hits.rows) == len(hits.scores) <= 5
    assert INDEX.score(query, np.arange(3, dtype=np.int32)).shape == (3,)


@given(st.text(alphabet=st.sampled_from("redtapochristmlgw 6-茶杯é'"), max_size=30), st.integers(0, 20))
def test_score_of_rows_is_that_of_the_search(query, limit):
    hits = INDEX.search(query, limit)
    everything = INDEX.score(query, np.arange(len(TITLES), dtype=np.int32))
    np.testing.assert_allclose(everything[hits.rows], hits.scores, rtol=1e-5)
    assert ((everything >= 0) & (everything <= 2)).all()
    backwards = INDEX.score(query, hits.rows[::-1].copy())
    np.testing.assert_allclose(backwards, hits.scores[::-1], rtol=1e-5)


def test_score_from_one_on_means_that_every_word_is_there():
    for query in ("red heart ", "christmas tree ", "wine glasses "):
        hits = INDEX.search(query, 15)
        for row, score in zip(hits.rows.tolist(), hits.scores.tolist(), strict=True):
            has_all = all(word.upper() in TITLES[row].split() for word in query.split())
            assert (score >= 1) == has_all


def test_empty_index_and_empty_texts_find_nothing():
    for index in (LexicalIndex.build([]), LexicalIndex.build(["", "", " "])):
        assert len(index.search("red", 5).rows) == 0
        assert index.suggest("r", 5) == []
        assert index.score("red", np.arange(len(index), dtype=np.int32)).tolist() == [0] * len(index)


def same(first, second, queries):
    for query in queries:
        one, other = first.search(query, 20), second.search(query, 20)
        assert one.rows.tolist() == other.rows.tolist(), query
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-5)
        assert one.corrected_query == other.corrected_query


QUERIES = ("red ", "tea cup ", "christmas tree ", "glass ", "blue", "kettle ", "chrismas", "茶杯", "saucer heart ")


def test_updated_index_answers_as_one_built_anew():
    rows, texts = [1, 14, 15, 17], ["BLUE KETTLE", "", "COPPER KETTLE RED", "CHRISTMAS 茶杯"]
    wanted = [*TITLES, "", "", ""]
    for row, text in zip(rows, texts, strict=True):
        wanted[row] = text
    updated = INDEX.updated(np.array(rows, np.int32), texts)
    same(updated, LexicalIndex.build(wanted), QUERIES)
    assert updated.n_updated == 4
    assert titles_of("blue kettle ") == []  # the old index is as it was


@given(st.lists(st.tuples(st.integers(0, 19), st.sampled_from([*TITLES, "", "BLUE KETTLE", "NEW 词"])), max_size=6))
def test_any_series_of_updates_equals_a_new_index(changes):
    index, texts = INDEX, list(TITLES)
    for row, text in changes:
        texts += [""] * (row + 1 - len(texts))
        texts[row] = text
        index = index.updated(np.array([row], np.int32), [text])
    same(index, LexicalIndex.build(texts), QUERIES)


def test_update_of_nothing_is_the_same_index():
    assert INDEX.updated(np.empty(0, np.int32), []) is INDEX


def test_suggestions_complete_the_last_word_with_what_titles_say():
    assert INDEX.suggest("chr", 5)[0] == "christmas"
    assert "red teapot" in INDEX.suggest("red te", 5)
    assert INDEX.suggest("saucer of t", 5) == []  # nothing has all of these words


def test_every_suggestion_finds_an_item_with_all_its_words():
    for prefix in ("r", "red t", "chris", "t-l", "gl", "holder w", "茶"):
        suggestions = INDEX.suggest(prefix, 8)
        assert suggestions, prefix
        assert len(suggestions) == len(set(suggestions)) <= 8
        for suggestion in suggestions:
            assert INDEX.search(f"{suggestion} ", 1).scores[0] >= 0.8, suggestion


def test_frequent_phrases_are_suggested_whole():
    index = LexicalIndex.build(["JUMBO BAG RED", "JUMBO BAG BLUE", "JUMBO BAG OWLS", "JUMBO PEN"])
    assert index.suggest("jum", 3)[:2] == ["jumbo", "jumbo bag"]
    assert index.suggest("jumbo ", 1) == ["jumbo bag"]


def test_suggestions_forgive_a_typing_error_and_keep_accents_and_hyphens():
    assert INDEX.suggest("chrsitm", 3)[0] == "christmas"
    assert INDEX.suggest("cre", 3) == ["crème"]
    assert INDEX.suggest("tli", 3)[0] == "t-light"


def test_singular_and_plural_are_one_suggestion():
    index = LexicalIndex.build(["CANDLE RED", "CANDLES RED", "CANDLE BLUE"])
    assert index.suggest("cand", 5) == ["candle"]


def test_suggestions_leave_out_words_that_are_gone():
    index = LexicalIndex.build(["ZEBRA MUG", "ZEBRA CUP", "RED BOX"])
    assert index.suggest("zeb", 3) == ["zebra"]
    assert index.updated(np.array([0, 1], np.int32), ["", "ZEBU CUP"]).suggest("zeb", 3) == ["zebu"]


@pytest.mark.parametrize("prefix", ["", " ", "😀", "\x00", "a" * 10_000, "red " * 3_000, '"*', "茶" * 500])
def test_any_prefix_is_harmless(prefix):
    assert isinstance(INDEX.suggest(prefix, 5), list)
    assert INDEX.suggest(prefix, 0) == []


def test_sign_of_feet_finds_inches_too_and_feet_lead():
    index = LexicalIndex.build(
        ["Storm door 32 in.", "Storm door 32 ft.", "Storm door 36 in.", "Chain 6 cm", "Chain 6 in."]
    )
    assert index.search("32' storm door", 5).rows.tolist()[:2] == [1, 0]
    assert index.search("32' storm door", 5).whole.tolist() == [0, 1]
    assert index.search("36’ storm door", 5).whole.tolist() == [2]
    assert index.search("6 cm chain 2'", 5).matched.max() == 0  # the sign stands behind another number
    assert (
        index.search("32 ft storm door", 5).matched.tolist()[0] > 0.9 > index.search("32 ft storm door", 5).matched[1]
    )
