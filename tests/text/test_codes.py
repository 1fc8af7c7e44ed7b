"""Codes in every spelling, and what looks like one and is a size."""

import pytest

from recommender.text.codes import code_of, codes_in, queried_codes


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("85123A", "85123a"), ("AB-12.34/5", "ab12345"), ("ab 12 34 5", "ab12345"), ("0012345", "12345"),
        ("036000291452", "36000291452"), ("00 36000-29145.2", "36000291452"), ("ＷＨ－1000XM5", "wh1000xm5"),
        ("2024", ""), ("a4", ""), ("POST", ""), ("", ""), ("000000", ""),
    ],
)  # fmt: skip
def test_code_is_the_same_in_every_spelling(text, code):
    assert code_of(text) == code


@pytest.mark.parametrize(
    "query",
    ["85123A", "#85123a", "SKU: 85123A", "sku 85123-a", "Art. no. 85123 A", "Artikelnr. 85123A", "item no 85123a"],
)
def test_word_before_a_code_is_left_out(query):
    assert "85123a" in queried_codes(query)


@pytest.mark.parametrize("query", ["red mug", "2024", "calendar", "", "12 cm", "no", "#"])
def test_query_of_words_and_sizes_is_no_code(query):
    assert not any(len(code) > 4 for code in queried_codes(query))


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("Sony WH-1000XM5 headphones", ["wh1000xm5"]), ("Pen EAN 4006381333931.", ["4006381333931"]),
        ("Pen 4 006381 333931", ["4006381333931"]), ("Book (978-3-16-148410-0)", ["9783161484100"]),
        ("Cartridge 5010/55.2", ["5010552"]),
        ("Frame 50x70cm", []), ("Jigsaw 1,000 pieces", []), ("1970s lamp", []), ("16-light chandelier", []),
        ("Hob, 4-burner", []), ("Tape 120mm", []), ("Phone 0800 123 456", []), ("Pipe 12-13/16", []), ("No digit", []),
    ],
)  # fmt: skip
def test_codes_of_a_text_are_no_sizes(text, codes):
    assert list(dict.fromkeys(codes_in(text))) == codes
