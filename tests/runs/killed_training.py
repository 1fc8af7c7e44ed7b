"""A real training or tuning of few steps that ends itself at a named point: started in place of the real process."""

import os
import signal
import sys
from functools import partial
from pathlib import Path

import django

django.setup()

from django.core.management import call_command  # noqa: E402

from recommender import runs  # noqa: E402
from recommender.ml import checkpoint, plan  # noqa: E402
from recommender.ml.context.model import ContextSettings  # noqa: E402
from recommender.ml.encoder.contrastive import TuneSettings  # noqa: E402
from recommender.ml.head import additive  # noqa: E402
from recommender.ml.head.additive import HeadSettings  # noqa: E402
from recommender.ml.head.forest import ForestSettings  # noqa: E402
from recommender.ml.head.trees import TreeSettings  # noqa: E402
from recommender.training.tuning import studies, trials  # noqa: E402


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def end_in_second_trial(number: int) -> None:
    """One trial has its score, and the next one has been begun and is not scored."""
    try_once, begun = studies.Study.try_once, []

    def ended(study, score):
        def end_and_score(candidate):
            os.kill(os.getpid(), number)
            return score(candidate)

        begun.append(study)
        return try_once(study, end_and_score if len(begun) == 2 else score)

    studies.Study.try_once = ended


def die_in_checkpoint() -> None:
    """Half of the second checkpoint is written."""
    save_file, n_saved = checkpoint.save_file, []

    def half(tensors, path):
        save_file(tensors, path)
        n_saved.append(path)
        if len(n_saved) == 2:
            Path(path).write_bytes(Path(path).read_bytes()[:100])
            die()

    checkpoint.save_file = half


def die_at_the_end() -> None:
    """Everything is decided, and nothing of it is recorded."""
    runs.finish = lambda *_, **__: die()


POINTS = {
    "checkpoint": die_in_checkpoint,
    "end": die_at_the_end,
    "trial": partial(end_in_second_trial, signal.SIGKILL),
    "asked to stop": partial(end_in_second_trial, signal.SIGTERM),
}

if __name__ == "__main__":
    point, run_id, token = sys.argv[1:]
    init = plan.TrainingSettings.__init__

    def of_few_steps(self, *positional, **named):
        few = {
            "tune": TuneSettings(n_steps=8, checkpoint_steps=2), "context": ContextSettings(n_epochs=2),
            "head": HeadSettings(n_epochs=4), "forest": ForestSettings(TreeSettings(n_trees=5)), "n_cutoffs": 2,
        }  # fmt: skip
        init(self, *positional, **few | named | {"lists_per_cutoff": 20})

    plan.TrainingSettings.__init__ = of_few_steps
    trials.LEAST_CASES, trials.MOST_CASES, additive.LEAST_STEPS = 5, 20, 10
    os.nice = lambda _: 0  # beside other tests it would get no time
    POINTS.get(point, lambda: None)()
    call_command("recommender_run", run_id, token)
