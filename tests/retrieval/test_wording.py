"""How a query reads against titles: known answers for words, sizes, order and spelling."""

import numpy as np
import pytest

from recommender.retrieval.lexical.wording import MAX_WORDS, WORDING_FEATURES, WordTable

TITLES = [
    "Hampton 8 ft. x 10 ft. Area Rug",
    "Sharkbite 1/2 in. Brass Coupling",
    "Drill Bit Set with Case (10-Piece)",
    "Case for Drill",
    "テレビ台 ホワイト",
    "",
]
ROWS = np.arange(len(TITLES), dtype=np.int32)


@pytest.fixture(scope="module")
def table():
    return WordTable.build(TITLES)


def column(table, query, name):
    return table.features(query, ROWS)[:, WORDING_FEATURES.index(name)]


def test_every_column_is_finite_and_a_title_without_words_matches_nothing(table):
    rows = table.features("drill bits 10 ft", ROWS)
    assert rows.shape == (len(TITLES), len(WORDING_FEATURES))
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    assert rows[5, WORDING_FEATURES.index("words_matched")] == 0
    assert np.isfinite(table.features("", ROWS)).all()
    assert np.isfinite(table.features("?!", ROWS)).all()


def test_words_matched_counts_the_share_of_weight_that_is_there(table):
    matched = column(table, "drill bits", "words_matched")
    assert matched[2] == 1
    assert 0 < matched[3] < 1
    assert matched[0] == matched[1] == 0


def test_size_beside_its_unit_is_seen(table):
    assert column(table, "rug 8 ft", "sizes_matched").tolist()[:2] == [1, 0]
    assert column(table, "coupling 1/2 inch", "numbers_matched")[1] == 1
    assert column(table, "coupling 3/4 inch", "numbers_missing")[1] == 1


def test_two_words_are_answered_by_one_that_joins_them(table):
    assert column(table, "shark bite", "words_matched")[1] == 1


def test_word_before_with_or_for_names_the_goods(table):
    heads = column(table, "drill case", "last_word_is_head")
    assert heads[3] == 1  # "Case for Drill"
    assert heads[2] == 0  # "Drill Bit Set with Case"


def test_letters_forgive_a_spelling_that_words_do_not(table):
    assert column(table, "copling", "words_matched")[1] == 0
    letters = column(table, "copling", "letters")
    assert letters.argmax() == 1
    assert letters[1] > 0.2


def test_chinese_and_japanese_match_by_pairs(table):
    assert column(table, "テレビ台", "words_matched").argmax() == 4


def test_updated_table_equals_one_that_is_built_anew(table):
    titles = [*TITLES[:2], "Cordless Drill", *TITLES[3:], "Brass Rug"]
    changed = table.updated(np.array([2, 6], np.int32), [titles[2], titles[6]])
    built, rows = WordTable.build(titles), np.arange(7, dtype=np.int32)
    np.testing.assert_allclose(
        changed.features("brass drill rug", rows), built.features("brass drill rug", rows), rtol=1e-5
    )
    assert table.features("cordless", ROWS)[2, 0] == 0  # the old one is as it was


def test_title_of_ten_thousand_words_is_cut():
    table = WordTable.build([" ".join(f"word{number}" for number in range(10_000)), "other"])
    assert (table.word[0] >= 0).sum() == MAX_WORDS
    assert np.isfinite(table.features("word " * 500, np.array([0, 1], np.int32))).all()


def test_word_that_a_title_repeats_is_read_once_and_a_size_as_often_as_it_is_written() -> None:
    table = WordTable.build(["mug mug red mug", "mug red", "post 4 in x 4 in"])
    assert table.word[0].tolist() == table.word[1].tolist()
    assert (table.word[2] >= 0).sum() == 6
    assert np.array_equal(*(table.features("red mug", np.array([row], np.int32)) for row in (0, 1)))
