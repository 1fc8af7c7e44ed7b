"""Forms of words in other languages than English, and which languages a catalogue is in."""

import pytest

from recommender.text.inflections import forms, languages_of
from recommender.text.letters import fold


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("de", "Keule", "Keulen"), ("de", "Ball", "Bälle"), ("de", "Tuch", "Tücher"), ("de", "Feder", "Federn"),
        ("de", "Lampe", "Lampen"), ("de", "Auto", "Autos"), ("de", "Freundin", "Freundinnen"), ("de", "Baelle", "Ball"),
        ("es", "lápiz", "lápices"), ("es", "flor", "flores"), ("es", "cojín", "cojines"), ("es", "taza", "tazas"),
        ("nl", "boom", "bomen"), ("nl", "bal", "ballen"), ("nl", "doos", "dozen"), ("nl", "brief", "brieven"),
        ("nl", "kaars", "kaarsen"), ("nl", "tafel", "tafels"), ("nl", "kind", "kinderen"), ("nl", "glas", "glazen"),
        ("no", "kopp", "koppar"), ("no", "lampe", "lamper"), ("no", "pute", "puter"), ("no", "stol", "stolar"),
    ],
)  # fmt: skip
def test_singular_and_plural_are_forms_of_each_other(language, one, other):
    assert fold(other) in forms(fold(one), frozenset({language}))
    if "ae" not in one:
        assert fold(one) in forms(fold(other), frozenset({language}))


def test_catalogue_is_in_the_languages_that_its_words_speak_for():
    german = {"mit": 3, "rot": 2}
    assert languages_of(lambda word: german.get(word, 0), 40) == {"de"}
    assert languages_of(lambda word: german.get(word, 0), 400) == frozenset()
    assert languages_of(lambda _: 0, 0) == frozenset()
