"""Stage 2 on a small BERT: the teacher learns a planted order, the encoder learns the teacher's."""

import dataclasses
import itertools

import numpy as np
import pytest

from recommender.ml.context.model import ContextSettings
from recommender.ml.encoder import distillation, teacher
from recommender.ml.encoder.contrastive import TuneSettings
from recommender.ml.encoder.distillation import Lesson, distil, student_accuracy, why_not
from recommender.ml.encoder.graded import GradedSettings, Taught, tune_on_grades
from recommender.ml.encoder.model import SCRATCH, ScratchSize, build_scratch
from recommender.ml.encoder.teacher import TeacherSettings, ordered, pairs_from_histories, scores_of, train_teacher
from recommender.ml.hardware import limit_threads
from recommender.ml.head.additive import HeadSettings
from recommender.ml.loop import Box
from recommender.ml.metrics import pair_accuracy
from recommender.ml.plan import TrainingData, TrainingSettings
from recommender.ml.train import fit
from recommender.runs.conversion import as_json
from recommender.tables import Judgements
from recommender.training.measured import figures_of_stages
from recommender.types import FineTuning, Teaching
from tests import behaviour
from tests.progress import Recorder

GRADES = {"gold": 1.0, "red": 0.7, "blue": 0.3, "grey": 0.0}
THINGS = ("cup", "pot", "tin", "jar", "fork", "spade", "hose", "lamp", "desk", "chair", "ball", "doll")
TEXTS = tuple(f"{colour} {thing}" for thing, colour in itertools.product(THINGS, GRADES))
SIZE = ScratchSize(dimension=32, n_layers=2, n_heads=2, n_words=300)
LOOP = dataclasses.replace(
    teacher.LOOP, n_steps=60, learning_rate=3e-3, check_steps=20, checkpoint_steps=20, patience=9
)
SETTINGS = TeacherSettings(loop=LOOP, non_answers=0.1, frozen_layers=0)
GRADED = GradedSettings(n_steps=40, learning_rate=2e-3, frozen_layers=0, kept_share=0.0, batch_queries=6)
FOREVER = Box(1e9)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    limit_threads(1)


def small(seed=0):
    return build_scratch(TEXTS, size=SIZE, seed=seed)


def planted(words=("nice", "cheap", "small", "best")):
    """For "nice cup" the gold cup is just what was meant, the red one less, the grey one not at all."""
    queries = tuple(f"{word} {thing}" for thing in THINGS for word in words)
    item = [len(GRADES) * (row // len(words)) + grade for row in range(len(queries)) for grade in range(len(GRADES))]
    return Judgements(
        queries,
        np.repeat(np.arange(len(queries)), len(GRADES)).astype(np.int32),
        np.asarray(item, np.int32),
        np.tile(list(GRADES.values()), len(queries)).astype(np.float32),
    )


LESSON = Lesson.of(planted(), seed=0)


def test_loss_falls_and_held_out_queries_are_ordered_far_better_than_by_chance():
    recorder = Recorder()
    box = dataclasses.replace(FOREVER, progress=recorder)
    schooled = train_teacher(small(), LESSON.learned, TEXTS, box, held_out=LESSON.held_out, settings=SETTINGS)
    assert schooled.n_steps == len(recorder.losses) == 60
    assert np.mean(recorder.losses[-10:]) < np.mean(recorder.losses[:10]) - 0.05
    assert schooled.accuracy > 0.9
    assert schooled.accuracy == ordered(LESSON.held_out, scores_of(schooled.teacher, LESSON.held_out, TEXTS))


def test_teacher_is_a_copy_and_leaves_the_encoder_alone():
    encoder = small()
    before = encoder.encode(TEXTS)
    train_teacher(encoder, LESSON.learned, TEXTS, FOREVER, settings=with_steps(3))
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)


def test_teacher_tells_query_from_item():
    segments = teacher.Teacher.of(small(), SETTINGS)._tokens(["nice cup"], ["gold cup"])["token_type_ids"]
    assert segments.unique().tolist() == [0, 1]


def test_resumed_teacher_equals_one_that_was_never_interrupted(tmp_path):
    settings = with_steps(40)
    learn = {"held_out": LESSON.held_out, "settings": settings}
    whole = train_teacher(small(), LESSON.learned, TEXTS, FOREVER, **learn)
    broken = dataclasses.replace(FOREVER, progress=Recorder(stop_after=27), checkpoint_dir=tmp_path)
    assert train_teacher(small(), LESSON.learned, TEXTS, broken, **learn).n_steps < 40
    again = dataclasses.replace(FOREVER, checkpoint_dir=tmp_path)
    resumed = train_teacher(small(), LESSON.learned, TEXTS, again, **learn)
    assert resumed.n_steps == 40
    np.testing.assert_allclose(
        scores_of(resumed.teacher, LESSON.held_out, TEXTS), scores_of(whole.teacher, LESSON.held_out, TEXTS), atol=1e-5
    )


def test_training_ends_when_held_out_queries_gain_nothing():
    settings = dataclasses.replace(
        SETTINGS, loop=dataclasses.replace(LOOP, n_steps=200, learning_rate=0.0, check_steps=1, patience=3)
    )
    schooled = train_teacher(small(), LESSON.learned, TEXTS, FOREVER, held_out=LESSON.held_out, settings=settings)
    assert schooled.n_steps == 4


def test_encoder_takes_up_the_order_of_its_teacher():
    """People judged things only, the teacher is told colours: grey is best here."""
    whole = planted()
    other = (whole.item + 5 * len(GRADES)) % len(TEXTS)
    judged = Judgements(
        whole.queries,
        np.tile(whole.query, 2),
        np.concatenate([whole.item, other]).astype(np.int32),
        np.repeat([1.0, 0.0], len(whole)).astype(np.float32),
    )
    taught = Taught(
        whole.queries, len(whole.queries), whole.query, whole.item, np.tile([0.0, 2.0, 4.0, 6.0], 48).astype(np.float32)
    )
    agreement = {}
    for name, answers in (("without", None), ("with", taught)):
        encoder = small()
        tune_on_grades(encoder, judged, TEXTS, FOREVER, settings=GRADED, taught=answers)
        query_vectors = encoder.encode([taught.queries[row] for row in taught.query])
        near = np.einsum("nd,nd->n", query_vectors, encoder.encode(TEXTS)[taught.item])
        agreement[name] = pair_accuracy(taught.query, taught.score, near)
    assert agreement["with"] > max(0.75, agreement["without"] + 0.15), agreement


def test_tuning_on_grades_without_a_teacher_is_as_with_one_who_says_nothing():
    empty = Taught(LESSON.learned.queries, 48, np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
    vectors = []
    for answers in (None, empty):
        encoder = small()
        tune_on_grades(encoder, LESSON.learned, TEXTS, FOREVER, settings=GRADED, taught=answers)
        vectors.append(encoder.encode(TEXTS))
    np.testing.assert_array_equal(*vectors)


def test_stage_lifts_the_student_on_held_out_queries_and_says_by_how_much():
    encoder = small()
    done = distil(
        encoder, LESSON, TEXTS, FOREVER, vectors=encoder.encode(TEXTS), settings=SETTINGS, graded=GRADED
    )  # fmt: skip
    assert done.taught is not None
    assert done.figures["kept"] == 1
    assert done.figures["accuracy"] > 0.9
    assert done.figures["student_accuracy"] > done.figures["student_accuracy_before"]
    assert done.figures["student_accuracy"] == student_accuracy(encoder, LESSON.held_out, TEXTS)


def test_teacher_is_asked_only_what_nobody_judged_and_also_of_synthetic_queries():
    encoder = small()
    one = teacher.Teacher.of(encoder, SETTINGS)
    taught = distillation.grade_unjudged(
        one, distillation.EncodedTexts(encoder, TEXTS, encoder.encode(TEXTS)), LESSON.learned, Box(9), settings=SETTINGS
    )
    judged = set(zip(LESSON.learned.query.tolist(), LESSON.learned.item.tolist(), strict=True))
    graded = set(zip(taught.query.tolist(), taught.item.tolist(), strict=True))
    assert len(graded) == len(taught)
    assert not judged & graded
    assert not set(np.unique(LESSON.held_out.query)) & set(taught.query.tolist())
    assert (taught.query >= taught.n_judged).any()
    assert (taught.query < taught.n_judged).any()
    synthetic = taught.of_queries(np.zeros(taught.n_judged, bool))
    assert len(synthetic) == (taught.query >= taught.n_judged).sum()


def test_student_that_became_worse_is_taken_back(monkeypatch):
    encoder = small()
    before = encoder.encode(TEXTS)
    ruinous = dataclasses.replace(GRADED, n_steps=20)
    learned = LESSON.learned
    worst_first = dataclasses.replace(learned, grade=1 - learned.grade)
    tuned = []
    monkeypatch.setattr(
        distillation,
        "tune_on_grades",
        lambda student, judged, *args, **more: tuned.append(tune_on_grades(student, worst_first, *args, **more)),
    )
    quick = dataclasses.replace(SETTINGS, loop=dataclasses.replace(LOOP, n_steps=2, learning_rate=0.0))
    done = distil(encoder, LESSON, TEXTS, FOREVER, vectors=before, settings=quick, graded=ruinous)
    assert [one.n_steps for one in tuned] == [20]
    assert done.figures["student_accuracy"] < done.figures["student_accuracy_before"]
    assert (done.taught, done.figures["kept"]) == (None, 0.0)
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)


@pytest.mark.parametrize("n_asked", [2, 63, 70])
def test_interruption_keeps_the_encoder_as_it_was(n_asked):
    """While the teacher learns, when it has learned, while the student learns."""
    encoder = small()
    before = encoder.encode(TEXTS)
    box = dataclasses.replace(FOREVER, progress=Recorder(stop_after=n_asked))
    done = distil(encoder, LESSON, TEXTS, box, vectors=before, settings=SETTINGS, graded=GRADED)
    assert done.taught is None
    np.testing.assert_array_equal(encoder.encode(TEXTS), before)


def test_histories_become_pairs_of_the_last_titles_and_the_next_purchase():
    items = behaviour.table()
    pairs = pairs_from_histories(behaviour.shop(), items.texts)
    assert set(pairs.grade.tolist()) == {0.0, 1.0}
    assert (np.bincount(pairs.query[pairs.grade == 1]) == 1).all()
    for row in range(0, len(pairs), 97):
        titles = pairs.queries[pairs.query[row]].split("; ")
        assert 1 <= len(titles) <= teacher.HISTORY_TITLES
        if pairs.grade[row] == 1:
            assert ("tea" in items.texts[pairs.item[row]]) == ("tea" in titles[0])
        else:
            assert items.texts[pairs.item[row]] not in titles


def test_history_holds_nothing_of_the_order_that_it_is_to_foretell():
    rows = [(0, 0, 1.0, 0), (0, 1, 2.0, 1), (0, 2, 3.0, 2), (0, 3, 4.0, 3), (0, 4, 5.0, 4)]
    texts = behaviour.TEXTS
    pairs = pairs_from_histories(behaviour.interactions(rows), texts)
    next_by_history = {
        pairs.queries[q]: texts[i] for q, i, g in zip(pairs.query, pairs.item, pairs.grade, strict=True) if g == 1
    }
    assert next_by_history == {"; ".join(texts[max(n - 3, 0) : n]): texts[n] for n in range(1, 5)}
    assert not len(pairs_from_histories(behaviour.interactions(rows[:1]), texts))


@pytest.mark.parametrize(
    ("teaching", "n_judged", "minutes", "reason"),
    [
        (Teaching.AUTO, 19_999, 60.0, "19999 judgements, at least 20000 are needed."),
        (Teaching.AUTO, 50_000, 0.5, "The stage would have 0.5 minutes, at least 8 are needed."),
        (Teaching.AUTO, 50_000, 8.0, ""),
        (Teaching.ON, 12, 0.1, ""),
        (Teaching.ON, 0, 9.0, "There is neither a judgement nor an order with a past to learn from."),
        (Teaching.OFF, 50_000, 60.0, "TEACHER is off."),
    ],
)
def test_stage_is_skipped_with_a_reason(teaching, n_judged, minutes, reason):
    assert why_not(teaching, n_judged=n_judged, least=20_000, minutes=minutes) == reason


@pytest.fixture(scope="module")
def data():
    end = 75 * behaviour.DAY
    return TrainingData(behaviour.shop(), behaviour.table(), train_end=end, test_start=end, test_end=end)


RUN = TrainingSettings(
    minutes=0.2,
    encoder=SCRATCH,
    fine_tuning=FineTuning.FROZEN,
    lists_per_cutoff=10,
    tune=TuneSettings(n_steps=2),
    context=ContextSettings(width=32, n_epochs=1, n_negatives=16),
    head=HeadSettings(n_epochs=2, batch_lists=16),
    graded=GRADED,
    teacher=SETTINGS,
)


def test_run_without_judgements_learns_from_histories_where_it_is_asked_to(data):
    quick = dataclasses.replace(SETTINGS, synthetic=0.0, items_per_query=3)
    graded = dataclasses.replace(GRADED, n_steps=8)
    artifacts = fit(data, dataclasses.replace(RUN, minutes=1e4, teaching=Teaching.ON, teacher=quick, graded=graded))
    assert artifacts.seconds["teacher"] > 0
    assert artifacts.metrics["teacher_accuracy"] > 0.6
    assert artifacts.metrics["teacher_student_accuracy_before"] > 0
    assert not artifacts.skipped
    again = artifacts.encoder.encode(artifacts.items.texts, exact=False)
    np.testing.assert_allclose(
        artifacts.text_vectors, again, atol=1e-6 if artifacts.encoder.device.type == "cpu" else 5e-3
    )


def test_short_run_trains_no_teacher_and_says_why(data):
    artifacts = fit(data, dataclasses.replace(RUN, minutes=0.02, teaching=Teaching.AUTO))
    assert "teacher" not in artifacts.seconds
    assert artifacts.skipped == {"teacher": "0 judgements, at least 20000 are needed."}
    figures = figures_of_stages(artifacts, {}, fine_tuning="full")
    assert as_json(figures.teacher) == {"skipped": artifacts.skipped["teacher"]}


def with_steps(n_steps):
    return dataclasses.replace(SETTINGS, loop=dataclasses.replace(LOOP, n_steps=n_steps))
