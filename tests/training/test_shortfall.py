"""A run whose time box cut a stage off before it learned says so, with the minutes that it needs."""

import pytest

from recommender.exceptions import TooLittleTime
from recommender.ml.pace import CLOCK, PATIENCE, STEPS
from recommender.ml.progress import Progress
from recommender.runs.settings import RunSettings
from recommender.training.shortfall import LEAST_STEPS, Course, StepCounter, refuse_cut_off


def test_seven_steps_are_not_enough_and_the_minutes_are_in_proportion():
    with pytest.raises(TooLittleTime) as refused:
        refuse_cut_off([Course("encoder", 7, 437)], {"encoder": CLOCK}, RunSettings(minutes=1.2))
    assert str(refused.value) == (
        "The previous model keeps serving, because there was not enough time: the stage “encoder” took 7 of 437 steps "
        "before its time was over, and learns from 10 on. Give it 3 minutes, with `python manage.py recommender_train "
        "--minutes 3` or TRAINING_MINUTES; on a machine that is less busy fewer may do."
    )


def test_named_minutes_are_enough_at_the_same_pace():
    minutes, n_steps, planned = 3.0, 4, 900
    with pytest.raises(TooLittleTime) as refused:
        refuse_cut_off([Course("context", n_steps, planned)], {"context": CLOCK}, RunSettings(minutes=minutes))
    given = int(str(refused.value).partition("Give it ")[2].split()[0])
    refuse_cut_off(
        [Course("context", int(n_steps * given / minutes), planned)], {"context": CLOCK}, RunSettings(minutes=given)
    )


@pytest.mark.parametrize("reason", [STEPS, PATIENCE])
def test_stage_that_the_clock_did_not_end_has_learned_what_it_could(reason):
    refuse_cut_off([Course("context", 3, 900)], {"context": reason}, RunSettings(minutes=1.2))


@pytest.mark.parametrize(
    ("n_steps", "planned", "is_enough"),
    [(LEAST_STEPS, 437, True), (LEAST_STEPS - 1, 437, False), (99, 10_000, False), (100, 10_000, True), (12, 12, True)],
)
def test_ten_steps_are_the_least_or_a_hundredth_of_many_or_all_of_few(n_steps, planned, is_enough):
    courses, ended_by = [Course("encoder", n_steps, planned)], {"encoder": CLOCK}
    if is_enough:
        refuse_cut_off(courses, ended_by, RunSettings(minutes=3))
    else:
        with pytest.raises(TooLittleTime):
            refuse_cut_off(courses, ended_by, RunSettings(minutes=3))


def test_stage_without_a_single_step_has_minutes_too_and_the_slowest_stage_decides():
    courses = [Course("encoder", 0, 437), Course("refresh", 8, 437)]
    with pytest.raises(TooLittleTime, match="Give it 15 minutes") as refused:
        refuse_cut_off(courses, {"encoder": CLOCK, "refresh": CLOCK}, RunSettings(minutes=1))
    assert "“encoder” took 0 of 437" in str(refused.value)
    assert "“refresh” took 8 of 437" in str(refused.value)


def test_run_may_set_its_own_least():
    refuse_cut_off([Course("encoder", 3, 90)], {"encoder": CLOCK}, RunSettings(minutes=1, least_steps=0))


def test_steps_on_grades_count_for_the_encoder():
    with pytest.raises(TooLittleTime):
        refuse_cut_off(
            [Course("encoder", 40, 437), Course("encoder", 2, 3_000)], {"grades": CLOCK}, RunSettings(minutes=1)
        )


class Log(Progress):
    def __init__(self):
        self.reports = []

    def stage(self, name):
        self.reports.append(name)

    def step(self, done, total, loss=None):
        self.reports.append((done, total, loss))


def test_counter_passes_on_and_remembers_each_course_that_learns():
    log = Log()
    counter = StepCounter(log)
    counter.stage("encoder")
    for done in (1, 2, 3):
        counter.step(done, 9, 0.5)
    counter.step(1, 4, 0.5)  # another training within the stage
    counter.step(700, 800)  # texts that are encoded: nothing learns
    counter.stage("context")
    counter.step(5, 6, 0.1)
    assert counter.courses == [Course("encoder", 3, 9), Course("encoder", 1, 4), Course("context", 5, 6)]
    assert len(log.reports) == 8
