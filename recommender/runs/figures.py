"""The figures of a run as typed values: training fills them in, `Run.metrics` stores them, the admin shows them.

A figure that was not measured, or that an older row does not have, is NaN. The layout in JSON is in docs/training.md.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from recommender.runs.conversion import as_json, read, stored_as

NO_FIGURE = math.nan


class Gain(NamedTuple):
    """Mean gain over a competitor on the same cases, with the bounds of its interval."""

    low: float
    mean: float
    high: float


@dataclass(frozen=True, slots=True)
class ListQuality:
    """The lists of one ranker: NDCG@10, recall and MRR in the first 20, the other two in the first 10; 0 to 1."""

    ndcg: float = NO_FIGURE
    recall: float = NO_FIGURE
    mrr: float = NO_FIGURE
    coverage: float = NO_FIGURE
    popularity_share: float = NO_FIGURE


@dataclass(frozen=True, slots=True)
class ProbabilityQuality:
    """Predicted probabilities against what happened; log loss in nats, `positive_share` of the cases happened."""

    accuracy: float = NO_FIGURE
    recall: float = NO_FIGURE
    f1: float = NO_FIGURE
    log_loss: float = NO_FIGURE
    calibration_error: float = NO_FIGURE
    positive_share: float = NO_FIGURE


@dataclass(frozen=True, slots=True)
class Classifier:
    """One head, on the validation window and on the test window."""

    validation: ProbabilityQuality | None = None
    test: ProbabilityQuality | None = None


@dataclass(frozen=True, slots=True)
class SearchQuality:
    """Known-item search: MRR and recall in the first 10."""

    mrr: float = NO_FIGURE
    recall: float = NO_FIGURE


@dataclass(frozen=True, slots=True)
class SearchFigures:
    """Search by the fine-tuned encoder, the untuned one, words alone and what serves, on `n_queries` synthetic queries.

    encoder_of_bundle: "tuned" or "untuned"; mrr_of_bundle: where the bundle was trained again on the untuned one.
    champion: what serves, where it is trained. interval: gain in MRR of the encoder of the bundle over what serves.
    """

    n_queries: int = 0
    tuned: SearchQuality | None = None
    untuned: SearchQuality | None = None
    lexical: SearchQuality | None = None
    champion: SearchQuality | None = None
    interval: Gain | None = None
    encoder_of_bundle: str = field(default="", metadata=stored_as("kept"))
    mrr_of_bundle: float = field(default=NO_FIGURE, metadata=stored_as("kept_mrr"))

    @property
    def mrr_gained(self) -> float:
        """How much higher the MRR is with the fine-tuned encoder than with the untuned one."""
        return self.tuned.mrr - self.untuned.mrr if self.tuned and self.untuned else 0.0


class ShareInterval(NamedTuple):
    """A share with the bounds of its 95 % interval, 0 to 1."""

    low: float
    value: float
    high: float


@dataclass(frozen=True, slots=True)
class GroupShare:
    """A group of items in the lists of the evaluation: its share of their exposure, and in those of the champion.

    catalogue: of what could be shown; demand: of what the visitors wanted afterwards; floor: what it must get, 0 for
    none.
    """

    value: str = ""
    exposure: ShareInterval | None = None
    champion: float = NO_FIGURE
    catalogue: float = 0.0
    demand: float = 0.0
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class ProfitPoint:
    """What a weight of the margin is expected to earn with one list, and what it does to NDCG@10 on the same cases.

    gained: NDCG@10 beside that of weight 0. n: cases.
    """

    weight: float = 0.0
    profit: float = NO_FIGURE
    ndcg: float = NO_FIGURE
    gained: Gain | None = None
    n: int = 0


@dataclass(frozen=True, slots=True)
class Guardrail:
    """What must not get worse: this model's value, what it is compared with, and the harm.

    bound: upper end of the 95 % interval of the harm, in the unit of the value; tolerance: the most harm allowed.
    With a `note` it was not measured, and the note says why; that breaks nothing. n: cases that it was measured on.
    """

    name: str = ""
    value: float = NO_FIGURE
    baseline: float = NO_FIGURE
    bound: float = NO_FIGURE
    tolerance: float = NO_FIGURE
    n: int = 0
    note: str = ""
    verdict: str = field(init=False)
    """held, broken or unmeasured; a bound that is no number is broken."""

    def __post_init__(self) -> None:
        verdict = "unmeasured" if self.note else "held" if self.bound <= self.tolerance else "broken"
        object.__setattr__(self, "verdict", verdict)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over earlier windows: mean, standard deviation (0 for one window), and each window, newest first."""

    mean: float = NO_FIGURE
    deviation: float = NO_FIGURE
    windows: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Rolling:
    """NDCG@10 of the competitors in windows before the test, by scope and name."""

    n_windows: int = 0
    note: str = ""
    lists: Mapping[str, Mapping[str, Spread]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EncoderFigures:
    """How the encoder was fine-tuned and adapted; losses in nats on held-out texts.

    times_for_tuning: where the minutes were too few for fine-tuning on pairs, how many times as many it needs.
    """

    fine_tuning: str = field(default="", metadata=stored_as("fine_tuning", "tuning"))
    fine_tuning_steps: float = field(default=NO_FIGURE, metadata=stored_as("fine_tuning_steps", "tuning_steps"))
    times_for_tuning: float = NO_FIGURE
    n_trained_parameters: float = NO_FIGURE
    adapter_bytes: float = NO_FIGURE
    graded_steps: float = NO_FIGURE
    adaptation_steps: float = NO_FIGURE
    adaptation_kept: float = NO_FIGURE
    masked_loss_before: float = NO_FIGURE
    masked_loss_after: float = NO_FIGURE
    perplexity_before: float = NO_FIGURE
    perplexity_after: float = NO_FIGURE


@dataclass(frozen=True, slots=True)
class TeacherFigures:
    """Share of the held-out pairs that teacher and student order as people do, or why there is no teacher."""

    skipped: str = ""
    accuracy: float = NO_FIGURE
    steps: float = NO_FIGURE
    pairs: float = NO_FIGURE
    student_accuracy_before: float = NO_FIGURE
    student_accuracy: float = NO_FIGURE
    is_kept: bool | None = field(default=None, metadata=stored_as("kept"))


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """What graded answers bring: NDCG@10 of search by trees that learned from the grades of other queries, and without.

    n_labels: grades of the queries; the trees learn from half of them at a time. low and high: bounds of the gain.
    """

    n_labels: float = NO_FIGURE
    n_queries: float = NO_FIGURE
    ndcg_without: float = NO_FIGURE
    ndcg: float = NO_FIGURE
    low: float = NO_FIGURE
    high: float = NO_FIGURE

    @property
    def per_hundred(self) -> float:
        """The gain in NDCG@10 by a hundred of the grades that the trees learned from."""
        return 100 * (self.ndcg - self.ndcg_without) / (self.n_labels / 2)


@dataclass(frozen=True, slots=True)
class Circumstance:
    """What a circumstance (hour, device, region) is worth to the context model, in nats, and whether it is used."""

    gain: float = NO_FIGURE
    is_used: bool = field(default=False, metadata=stored_as("told"))


@dataclass(frozen=True, slots=True)
class TrialFigures:
    """One trial of a tuning. state: complete, pruned, failed, running or waiting; why: of one that was stopped."""

    phase: str = ""
    number: int = 0
    values: Mapping[str, Any] = field(default_factory=dict)
    score: float = NO_FIGURE
    state: str = ""
    seconds: float = NO_FIGURE
    why: str = ""
    is_present: bool = False


@dataclass(frozen=True, slots=True)
class BestTrial:
    """The best values so far, of all knobs, and their score."""

    values: Mapping[str, Any] = field(default_factory=dict)
    score: float = NO_FIGURE


@dataclass(frozen=True, slots=True)
class TuningFigures:
    """The trials of a tuning. present: score of the settings that it began with; importance: by knob, 0 to 1."""

    trials: tuple[TrialFigures, ...] = ()
    best: BestTrial = field(default_factory=BestTrial)
    present: float = NO_FIGURE
    present_values: Mapping[str, Any] = field(default_factory=dict)
    gain: Gain | None = None
    n_cases: int = 0
    importance: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_better(self) -> bool:
        """A trial beat the settings that the tuning began with."""
        return self.best.score > self.present

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """By knob: the present and the best value, where they differ."""
        pairs = {name: (self.present_values.get(name), value) for name, value in self.best.values.items()}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@dataclass(frozen=True, slots=True)
class Figures:
    """All that a run measured; keys of `lists`, `intervals`, `n_cases`, `best_competitor` are scopes ("all", "new").

    n_windows: windows whose cases are pooled; level: of the intervals; served: name of the ranker that serves after
    the run; arms: by list, the simple competitor that serves it in its place; exposure: groups by attribute.
    """

    lists: Mapping[str, Mapping[str, ListQuality]] = field(default_factory=dict)
    intervals: Mapping[str, Mapping[str, Gain]] = field(default_factory=dict)
    level: float = 0.95
    n_windows: int = 1
    n_cases: Mapping[str, int] = field(default_factory=dict)
    best_competitor: Mapping[str, str] = field(default_factory=dict)
    ranker: str = "ranker"
    champion: str = "champion"
    served: str = ""
    arms: Mapping[str, str] = field(default_factory=dict)
    heads: Mapping[str, Classifier] = field(default_factory=dict)
    encoder: EncoderFigures | None = None
    context: Mapping[str, Circumstance] = field(default_factory=dict)
    teacher: TeacherFigures | None = None
    labels: LabelFigures | None = None
    search: SearchFigures | None = None
    guardrails: tuple[Guardrail, ...] = ()
    rolling: Rolling | None = None
    exposure: Mapping[str, tuple[GroupShare, ...]] = field(default_factory=dict)
    profit: tuple[ProfitPoint, ...] = ()
    tuning: TuningFigures | None = None

    @classmethod
    def of(cls, metrics: Any) -> Figures:
        """Read `Run.metrics`, of whatever age."""
        return read(cls, metrics)

    def as_json(self) -> dict[str, Any]:
        """What `Run.metrics` stores; a run without lists has no ranker or champion to name."""
        entries: dict[str, Any] = as_json(self)
        return entries if self.lists else {key: entry for key, entry in entries.items() if key not in _OF_LISTS}


_OF_LISTS = ("ranker", "champion", "served", "level", "n_windows")
LIST_FIGURES = tuple(entry.name for entry in dataclasses.fields(ListQuality))
