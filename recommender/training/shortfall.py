"""Whether the time box cut a stage off before it learned, and how many minutes the run needs instead."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from django.utils.translation import gettext

from recommender.exceptions import TooLittleTime
from recommender.ml.pace import CLOCK
from recommender.ml.progress import Progress
from recommender.models.words import words_of
from recommender.runs.settings import RunSettings

LEAST_STEPS = 10
"""Steps below which a stage has learned nothing yet: until then its learning rate may still rise."""

LEAST_SHARE = 0.01
"""The same as a share of the planned steps, for stages that plan thousands."""

MARGIN = 1.5
"""How much more than the least the named minutes allow, so that the next run does not end in the same way."""

STAGE_OF = {"grades": "encoder"}
"""What ended a part of a stage is recorded under the name of the part; its steps count for the stage."""


class Course(NamedTuple):
    """The steps of one training within a stage: how many were taken, and how many were planned."""

    stage: str
    n_steps: int
    n_planned: int

    def least(self, least_steps: int) -> int:
        """How many steps it takes to learn anything; 0 for a run that asks for none."""
        least = max(least_steps, math.ceil(LEAST_SHARE * self.n_planned)) if least_steps else 0
        return min(self.n_planned, least)


class StepCounter(Progress):
    """Passes every report on, and remembers the courses of the stages."""

    def __init__(self, watch: Progress) -> None:
        self.watch, self.courses = watch, list[Course]()
        self._stage = ""

    def stage(self, name: str) -> None:
        """A stage begins."""
        self._stage = name
        self.watch.stage(name)

    def step(self, done: int, total: int, loss: float | None = None) -> None:
        """A step was taken; one that learns belongs to a course, which begins anew where the count does."""
        if loss is not None:
            last = self.courses[-1] if self.courses else Course("", 0, 0)
            if last.stage == self._stage and last.n_steps < done:
                self.courses.pop()
            self.courses.append(Course(self._stage, done, total))
        self.watch.step(done, total, loss)

    def figure(self, name: str, value: float) -> None:
        """A figure was computed."""
        self.watch.figure(name, value)

    def should_stop(self) -> bool:
        """Whether the run is to end early."""
        return self.watch.should_stop()

    def check(self) -> None:
        """Raise an error if the run must end."""
        self.watch.check()


def refuse_cut_off(courses: Iterable[Course], ended_by: Mapping[str, str], settings: RunSettings) -> None:
    """Raise TooLittleTime, with the minutes that the run needs, where the clock ended a stage before it learned.

    A stage gets a fixed share of the minutes after what is reserved, so minutes in proportion to its steps are enough.
    """
    least = LEAST_STEPS if settings.least_steps is None else settings.least_steps
    stages = {STAGE_OF.get(part, part) for part, reason in ended_by.items() if reason == CLOCK}
    short = [course for course in courses if course.stage in stages and course.n_steps < course.least(least)]
    if not short:
        return
    needed = settings.minutes * max(MARGIN * course.least(least) / max(course.n_steps, 1) for course in short)
    steps = gettext(
        "the stage “%(stage)s” took %(n)s of %(planned)s steps before its time was over, and learns from %(least)s on"
    )
    words = "; ".join(
        steps
        % {
            "stage": words_of(course.stage),
            "n": f"{course.n_steps:,}",
            "planned": f"{course.n_planned:,}",
            "least": f"{course.least(least):,}",
        }
        for course in short
    )
    raise TooLittleTime(
        gettext(
            "The previous model keeps serving, because there was not enough time: %(stages)s. Give it %(minutes)d "
            "minutes, with `python manage.py recommender_train --minutes %(minutes)d` or TRAINING_MINUTES; on a "
            "machine that is less busy fewer may do."
        )
        % {"stages": words, "minutes": math.ceil(needed)}
    )
