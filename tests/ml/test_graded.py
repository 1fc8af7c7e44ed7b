"""Graded answers: from judgements in SQL to an encoder and to trees that grade the items of a search."""

import dataclasses
import json

import numpy as np
import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from recommender import datasets
from recommender.datasets import files as dataset_files
from recommender.features.shop_state import ShopState
from recommender.ml.encoder.graded import GradedSettings, tune_in_two, tune_on_grades
from recommender.ml.encoder.model import ScratchSize, build_scratch
from recommender.ml.loop import Box
from recommender.models import Item, Judgement
from recommender.retrieval.matching import MATCH_FEATURES, match_features
from recommender.serving.ranker import FALLBACK_GRADE, formula_grade
from recommender.serving.shelf import build_shelf
from recommender.tables import Judgements
from recommender.training.matcher import MatcherData, fit_matcher
from tests import behaviour

COLOURS, THINGS = ("red", "blue", "green", "black", "white", "pink"), ("cup", "pot", "fork", "lamp", "rug", "vase")
TEXTS = tuple(f"{colour} {thing}" for thing in THINGS for colour in COLOURS)


def judgements(seed=0, n_each=12):
    """A query names a colour and a thing: both right is the answer, one of them half, none nothing."""
    generator = np.random.default_rng(seed)
    queries, query, item, grade = [], [], [], []
    for colour in COLOURS:
        for thing in THINGS:
            for words in (f"{colour} {thing}", f"{thing} {colour}", f"a {colour} {thing}", f"{thing} in {colour}"):
                queries.append(words)
                for row in generator.choice(len(TEXTS), n_each, replace=False).tolist():
                    query.append(len(queries) - 1)
                    item.append(row)
                    grade.append(((colour in TEXTS[row]) + (thing in TEXTS[row])) / 2)
                query.append(len(queries) - 1)
                item.append(TEXTS.index(f"{colour} {thing}"))
                grade.append(1.0)
    order = np.argsort(query, kind="stable")
    return Judgements(
        tuple(queries), np.array(query, np.int32)[order], np.array(item, np.int32)[order],
        np.array(grade, np.float32)[order],
    )  # fmt: skip


@pytest.fixture(scope="module")
def judged():
    return judgements()


@pytest.fixture
def encoder():
    return build_scratch(TEXTS, size=ScratchSize(dimension=32, n_layers=2, n_heads=2, n_words=200))


def pair_accuracy(encoder, judged):
    """Share of pairs of one query that the encoder orders as their grades do."""
    query_vectors, item_vectors = encoder.encode(judged.queries), encoder.encode(TEXTS)
    score = (query_vectors[judged.query] * item_vectors[judged.item]).sum(axis=1)
    right = total = 0
    for query in np.unique(judged.query):
        rows = np.flatnonzero(judged.query == query)
        better = judged.grade[rows][:, None] > judged.grade[rows][None, :]
        right += (score[rows][:, None] > score[rows][None, :])[better].sum()
        total += better.sum()
    return right / total


def test_encoder_learns_the_order_of_grades_for_queries_that_it_has_not_seen(encoder, judged):
    """The grades are turned round, so that the words that a text shares with its query mislead."""
    judged = dataclasses.replace(judged, grade=1 - judged.grade)
    seen = np.arange(len(judged.queries)) % 4 != 3
    before = pair_accuracy(encoder, judged.of_queries(~seen))
    settings = GradedSettings(n_steps=60, learning_rate=2e-3, frozen_layers=0, kept_share=0.0)
    assert tune_on_grades(encoder, judged.of_queries(seen), TEXTS, Box(5.0), settings=settings).n_steps == 60
    assert before < 0.2
    assert pair_accuracy(encoder, judged.of_queries(~seen)) > before + 0.2


def test_kept_share_of_one_leaves_the_weights_as_they_were(encoder, judged):
    before = encoder.encode(TEXTS)
    settings = GradedSettings(n_steps=3, learning_rate=1e-2, frozen_layers=0, kept_share=1.0)
    tune_on_grades(encoder, judged, TEXTS, Box(1.0), settings=settings)
    np.testing.assert_allclose(encoder.encode(TEXTS), before, atol=1e-5)


def test_same_seed_tunes_the_same(judged):
    settings, vectors = GradedSettings(n_steps=4, learning_rate=1e-3, frozen_layers=0), []
    for _ in range(2):
        encoder = build_scratch(TEXTS, size=ScratchSize(dimension=32, n_layers=1, n_heads=2, n_words=200))
        tune_on_grades(encoder, judged, TEXTS, Box(5.0, seed=3), settings=settings)
        vectors.append(encoder.encode(TEXTS))
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_one_grade_and_no_answer_train_nothing(encoder):
    none = Judgements(("cup",), np.zeros(2, np.int32), np.arange(2, dtype=np.int32), np.zeros(2, np.float32))
    assert tune_on_grades(encoder, none, TEXTS, Box(1.0)).n_steps == 0
    assert tune_on_grades(encoder, Judgements.none(), TEXTS, Box(1.0)).n_steps == 0


def shelf():
    n = len(TEXTS)
    state = ShopState.from_columns(at=0.0, counts=np.zeros((n, 4), np.float32), last_event_at=np.full(n, -np.inf))
    return build_shelf(behaviour.table(TEXTS), state=state)


def test_tuning_in_two_remembers_an_encoder_that_had_not_seen_some_queries(judged):
    """What it was in between does not depend on the grades of the queries that it says it had not seen."""
    settings, tunings = GradedSettings(n_steps=6, learning_rate=1e-3, frozen_layers=0), []
    for turned in (False, True):
        encoder = build_scratch(TEXTS, size=ScratchSize(dimension=32, n_layers=1, n_heads=2, n_words=200))
        other = judged
        if turned:
            hidden = tunings[0][1].unseen[judged.query]
            other = dataclasses.replace(judged, grade=np.where(hidden, 1 - judged.grade, judged.grade))
        ended, partly = tune_in_two(encoder, other, TEXTS, Box(5.0, seed=3), settings=settings)
        assert ended.n_steps == 6 + 3
        tunings.append((encoder.encode(TEXTS), partly))
    first, second = tunings[0][1], tunings[1][1]
    np.testing.assert_array_equal(first.unseen, second.unseen)
    assert 0 < first.unseen.sum() <= len(judged.queries) / 2
    for name, value in first.weights.items():
        assert value.equal(second.weights[name]), name
    assert np.abs(tunings[0][0] - tunings[1][0]).max() > 1e-4  # the whole tuning has seen them


def test_trees_grade_better_than_chance_and_are_served(encoder, judged, tmp_path):
    settings = GradedSettings(n_steps=5, frozen_layers=0)
    _, partly = tune_in_two(encoder, judged, TEXTS, Box(5.0), settings=settings)
    figures = fit_matcher(MatcherData(judged, shelf(), encoder, encoder.encode(TEXTS), partly), tmp_path)
    assert figures["matcher_queries"] == partly.unseen.sum()
    assert figures["matcher_error"] < 0.7 * float(np.std(judged.grade))
    record = json.loads((tmp_path / "matcher.json").read_text())
    assert record["names"] == list(MATCH_FEATURES)
    assert (tmp_path / "matcher.onnx").is_file()


def test_queries_that_would_cost_too_many_texts_are_left_out(encoder, judged, tmp_path):
    data = MatcherData(judged, shelf(), encoder, encoder.encode(TEXTS))
    whole = fit_matcher(data, tmp_path)
    few = fit_matcher(data, tmp_path, most_texts=len(TEXTS) - 1)
    assert whole["matcher_queries"] == len(judged.queries)
    assert 0 < few["matcher_queries"] < whole["matcher_queries"]


def test_few_queries_grow_no_trees(encoder, judged, tmp_path):
    few = judged.of_queries(np.arange(len(judged.queries)) < 20)
    assert fit_matcher(MatcherData(few, shelf(), encoder, encoder.encode(TEXTS)), tmp_path) == {}
    assert not list(tmp_path.iterdir())


def test_formula_prefers_the_item_with_all_words():
    plain_shelf, rows = shelf(), np.arange(len(TEXTS), dtype=np.int32)
    vectors = np.eye(len(TEXTS), dtype=np.float32)
    seen = dataclasses.replace(plain_shelf, vectors=vectors)
    query = "blue lamp"
    hits = plain_shelf.lexical.search(query, 10)
    rows_features = match_features(query, rows, seen, hits=hits, vector=np.zeros(len(TEXTS), np.float32))
    assert rows_features.shape == (len(TEXTS), len(MATCH_FEATURES))
    assert int(formula_grade(rows_features).argmax()) == TEXTS.index(query)
    assert sum(FALLBACK_GRADE.values()) == pytest.approx(1)


@pytest.mark.django_db
def test_judgements_are_read_with_their_mean_grade_and_known_items_only():
    Item.objects.create(item_id="a", title="cup", text="cup", text_hash="x")
    for item_id, grade, source in (("a", 1.0, "one"), ("a", 0.5, "two"), ("gone", 1.0, "one")):
        Judgement.objects.create(query="cup", item_id=item_id, grade=grade, source=source)
    read = datasets.read_judgements(datasets.read_items())
    assert (read.queries, read.grade.tolist(), read.item.tolist()) == (("cup",), [0.75], [0])


@pytest.mark.django_db
def test_dataset_with_judgements_is_read_back_as_it_was_saved(tmp_path):
    Item.objects.create(item_id="a", title="cup", text="cup", text_hash="x")
    Judgement.objects.create(query="cup", item_id="a", grade=0.5)
    dataset_files.save(datasets.read_dataset(), tmp_path)
    again = dataset_files.load(tmp_path)
    assert again is not None
    assert (again.judgements.queries, again.judgements.grade.tolist()) == (("cup",), [0.5])


@pytest.mark.django_db
def test_grade_lies_between_nothing_and_just_what_was_meant():
    with pytest.raises(ValidationError):
        Judgement(query="cup", item_id="a", grade=1.5).full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        Judgement.objects.create(query="cup", item_id="a", grade=-1)
    Judgement.objects.create(query="cup", item_id="a", grade=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Judgement.objects.create(query="cup", item_id="a", grade=0)
