import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.text.query import MAX_QUERY_LENGTH, encoder_text, normal_query


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  red \t mug\n", "red mug"),
        ("red\x00mug", "red mug"),
        ("cafe\u0301", "café"),
        ("a" * 300, "a" * MAX_QUERY_LENGTH),
        ("Red Mug", "Red Mug"),
        (" \n", ""),
    ],
)
def test_query_has_one_normal_form(text, expected):
    assert normal_query(text) == expected


def test_encoder_reads_a_query_without_the_case_of_its_letters():
    assert encoder_text("Red  MUG") == encoder_text("red mug") == "red mug"


@given(st.text(st.characters(codec=None), max_size=3000))
def test_normal_form_is_short_plain_and_stable(text):
    query = normal_query(text)
    assert len(query) <= MAX_QUERY_LENGTH
    assert "\x00" not in query
    assert query == " ".join(query.split()) == normal_query(query)
    query.encode()
