"""What is said of a list: words that were corrected, dropped or joined by a synonym, places at retrievers, rules."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommender.exceptions import BundleError
from recommender.models import Bundle, Rule
from recommender.retrieval.lexical.synonyms import Synonyms
from recommender.serving import other_bundles
from recommender.serving.inspection import Apart, Inspection, apart, inspect
from recommender.serving.memory import Served
from recommender.serving.rule_book import compiled
from recommender.types import Context, EventType, Live, PastEvent, Request, Rung, Slot
from tests.serving.small_shop import NOW, SmallShop

pytestmark = pytest.mark.django_db

TITLES = ("red mug", "blue mug", "mug without handle", "green cup", "desk lamp", "red lamp", "tea pot", "umbrella")


@pytest.fixture(autouse=True)
def _live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "recommender.serving.live_entries.live_items", lambda refs: {item_id: Live(item_id) for item_id in refs}
    )


@pytest.fixture
def shop() -> SmallShop:
    shop = SmallShop(*((title, title.split()[-1], "", 5.0) for title in TITLES))
    shop.sales = np.arange(len(TITLES), 0, -1).astype(np.float32)
    return shop


def searched(served: Served, query: str, **wanted: Any) -> Inspection:
    return inspect(Request(Slot.SEARCH, Context(NOW), query=query, limit=8, **wanted), served)


def row_of(title: str) -> int:
    return TITLES.index(title)


class TestWords:
    def test_misspelt_word_is_shown_with_what_was_searched(self, shop: SmallShop) -> None:
        (word,) = searched(shop.served(), "umbrela ").words
        assert (word.typed, word.understood, word.is_corrected, word.n_items) == ("umbrela", "umbrella", True, 1)

    def test_word_that_nothing_has_beside_the_others_is_dropped(self, shop: SmallShop) -> None:
        words = {word.typed: word for word in searched(shop.served(), "green lamp ").words}
        assert [word.typed for word in words.values() if word.is_dropped] == ["green"]
        assert not any(word.is_dropped for word in searched(shop.served(), "red lamp ").words)

    def test_synonym_is_told_from_another_form_of_the_word(self, shop: SmallShop) -> None:
        served = shop.served()
        lexical = served.shelf.lexical.with_synonyms(Synonyms.of([("cup", "mug")]), frozenset())
        served = replace(served, shelf=replace(served.shelf, lexical=lexical))
        (word,) = searched(served, "cups ").words
        assert {other.text: other.why for other in word.also} == {"mug": "synonym", "cup": "form"}

    def test_price_and_exclusion_are_said(self, shop: SmallShop) -> None:
        said = searched(shop.served(), "mug without handle under £6").said
        assert said["max_price"] == "6.00"
        assert "handle" in said["excluded"]

    def test_query_that_nothing_answers_has_no_words(self, shop: SmallShop) -> None:
        seen = searched(shop.served(), "xyzzyx ")
        assert seen.ranking.relaxed == "popular"
        assert seen.words == ()


class TestRetrievers:
    def test_places_are_those_of_each_retriever(self, shop: SmallShop, untrained: Any) -> None:
        served = shop.served(untrained)
        seen = searched(served, "red lamp ")
        words = served.shelf.lexical.search("red lamp ", 8).rows.tolist()
        assert seen.retrieved["words"] == {row: position for position, row in enumerate(words, 1)}
        vector = served.ranker.encode_query("red lamp")
        nearest = np.argsort(-(served.shelf.vectors @ vector), kind="stable")
        assert seen.retrieved["meaning"][int(nearest[0])] == 1
        assert seen.retrieved["popular"][row_of("red mug")] == 1
        assert "meaning" not in {
            name for name, places in searched(shop.served(), "red lamp ").retrieved.items() if places
        }

    def test_home_names_own_sources(self, shop: SmallShop, untrained: Any) -> None:
        past = tuple(
            PastEvent(EventType.PURCHASE, NOW - dt.timedelta(days=days), "i0", order_id=str(days)) for days in (60, 40)
        )
        request = Request(Slot.HOME, Context(NOW), history=past, limit=8, is_composed=True)
        seen = inspect(request, shop.served(untrained))
        assert seen.retrieved["due"] == {0: 1}
        assert seen.standings[0].is_due
        assert seen.retrieved["popular"]


class TestStanding:
    def test_stock_and_answers(self, shop: SmallShop, untrained: Any) -> None:
        shop.available[row_of("red mug")] = False
        seen = searched(shop.served(untrained), "red mug ")
        standing = seen.standings[row_of("red mug")]
        assert not standing.is_available
        assert standing.answers == 3, "its title is the query"
        others = [seen.standings[row] for row in seen.standings if row != row_of("red mug")]
        assert others
        assert all(one.answers < 3 for one in others)


class TestRules:
    def rule(self, **fields: Any) -> Rule:
        values = {"pk": 7, "name": "ours", "action": "pin", "position": 1, "slot": "search", "item_ids": ["i7"]}
        return Rule(**values | fields)

    def test_places_without_rules_stand_beside_those_with_them(self, shop: SmallShop) -> None:
        served = shop.served()
        plain = searched(served, "mug ")
        under = searched(served.ruled_by(compiled([self.rule()], served.shelf)), "mug ")
        assert plain.without_rules == {}
        assert under.without_rules == {entry.item_id: entry.position for entry in plain.ranking}
        assert under.ranking.entries[0].item_id == "i7"
        assert under.standings[7].is_added
        assert not under.breakdown.graded[0], "it has no score of its own"

    def test_nobody_is_held_out_here_and_who_is_elsewhere_is_said(
        self, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("recommender.serving.rule_book.HELD_OUT_SHARE", 1.0)
        served = shop.served()
        served = served.ruled_by(compiled([self.rule()], served.shelf))
        request = Request(Slot.SEARCH, Context(NOW), query="mug ", person_key="somebody")
        assert inspect(request, served).ranking.held_out == ()
        assert apart(request, served).held_out == (7,)
        assert apart(replace(request, person_key=""), served) == Apart()


def test_broken_model_is_said_and_the_lower_rung_is_explained(shop: SmallShop, untrained: Any) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            if name == "grade":
                raise RuntimeError("weights are gone")
            return getattr(untrained, name)

    served = replace(shop.served(untrained), ranker=Broken(), bundle="b")
    seen = searched(served, "red mug ")
    assert seen.has_failed
    assert seen.ranking.rung is Rung.LEXICAL
    assert seen.breakdown.parts.sum(axis=1) == pytest.approx([entry.score for entry in seen.ranking])


class TestOtherBundles:
    @pytest.fixture(autouse=True)
    def _empty_cache(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(other_bundles, "_cache", type(other_bundles._cache)())

    def test_bundle_that_is_gone_is_refused_with_its_name(self, shop: SmallShop) -> None:
        with pytest.raises(BundleError, match="a" * 12):
            other_bundles.with_bundle("a" * 64, shop.served())

    def test_bundle_without_vectors_of_the_items_is_refused(
        self, shop: SmallShop, untrained: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("recommender.bundles.fetch", lambda name: Path("x"))
        monkeypatch.setattr("recommender.serving.ranker.Ranker.load", lambda folder, *, name: untrained)
        with pytest.raises(BundleError, match="has encoded 0 of 8 items"):
            other_bundles.with_bundle("b" * 64, shop.served())

    def test_what_serves_already_is_not_loaded_again_and_an_other_once(
        self, demo_shop: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from recommender import bundles, serving
        from recommender.serving.vectors import encode_missing

        zero = bundles.ensure_champion()
        encode_missing(zero.name)
        served = serving.reload()
        assert other_bundles.with_bundle(zero.name, served) is served
        by_words = Served(served.shelf, rules=served.rules)
        loads: list[str] = []
        fetch = bundles.fetch
        monkeypatch.setattr("recommender.bundles.fetch", lambda name: loads.append(name) or fetch(name))
        pairs = [other_bundles.with_bundle(zero.name, by_words) for _time in range(2)]
        assert loads == [zero.name]
        assert pairs[0].bundle == zero.name
        assert np.allclose(pairs[0].shelf.vectors, served.shelf.vectors)
        assert Bundle.objects.get().state == Bundle.State.CHAMPION
