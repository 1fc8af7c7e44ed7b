"""What another bundle would have earned at the positions that explored, estimated from the lists that were shown."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from recommender import bundles
from recommender.durations import LABEL_WINDOW_SECONDS
from recommender.experiments.off_policy import OffPolicyEstimate, doubly_robust, ips, snips
from recommender.models import Event, Impression
from recommender.models.claims import PAST_EVENT_COLUMNS, past_events
from recommender.serving import Served
from recommender.serving.loading import load_shelf
from recommender.serving.question import Question
from recommender.types import HISTORY_LIMIT, Context, EventType, Request, Slot

FEWEST_POSITIONS = 100
"""Below so many explored positions nothing is estimated."""

MOST_POSITIONS = 20_000


@dataclass(frozen=True, slots=True)
class ExploredPosition:
    """One explored position: what was drawn, from what, with which chance, and whether it was clicked."""

    shown: Impression
    item_id: str
    propensity: float
    is_clicked: bool


@dataclass(slots=True)
class Logged:
    """Parallel lists over positions: the reward, the weight, and two predictions of the bundle in question."""

    reward: list[float] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    expected: list[float] = field(default_factory=list)

    def estimates(self) -> dict[str, OffPolicyEstimate]:
        """Clicks per explored position by each estimator."""
        reward, weight, predicted, expected = (
            np.array(values) for values in (self.reward, self.weight, self.predicted, self.expected)
        )
        return {
            "IPS": ips(reward, weight),
            "SNIPS": snips(reward, weight),
            "DR": doubly_robust(reward, weight, predicted=predicted, expected=expected),
        }


def explored_positions(*, until: dt.datetime) -> list[ExploredPosition]:
    """The newest explored positions whose clicks are complete by `until`, oldest first. Two queries."""
    window = dt.timedelta(seconds=LABEL_WINDOW_SECONDS)
    lists = list(
        Impression.objects.filter(pool__isnull=False, is_bot=False, occurred_at__lt=until - window)
        .select_related("visitor")
        .order_by("-occurred_at")[:MOST_POSITIONS]
    )
    clicks: defaultdict[object, list[tuple[str, dt.datetime]]] = defaultdict(list)
    for first in range(0, len(lists), 500):
        ids = [row.pk for row in lists[first : first + 500]]
        rows = Event.objects.filter(ranking_id__in=ids, type=EventType.SELECT_ITEM, is_bot=False)
        for ranking_id, item_id, at in rows.values_list("ranking_id", "item_id", "occurred_at"):
            clicks[ranking_id].append((item_id, at))
    return [
        ExploredPosition(
            row, item_id, chance, any(one == item_id and at < row.occurred_at + window for one, at in clicks[row.pk])
        )
        for row in reversed(lists)
        for item_id, chance in [(row.item_ids[-1], row.propensities[-1])]
    ]


def served_by(name: str) -> Served:
    """The catalogue of now with a bundle, whichever serves. Raises BundleError for a broken one."""
    from recommender.serving.ranker import Ranker  # needs the extra "serving", which a host may lack

    ranker = Ranker.load(bundles.fetch(name), name=name)
    return Served.paired(load_shelf(ranker.encoder_hash, ranker.item_vectors), ranker, name)


def logged(positions: Sequence[ExploredPosition], served: Served) -> Logged:
    """What the bundle would have put at each position; positions whose items have left the catalogue are left out."""
    result = Logged()
    for position, request in zip(positions, _requests(positions), strict=True):
        candidates = [served.shelf.row(item_id) for item_id in position.shown.pool or ()]
        rows = np.array([row for row in candidates if row >= 0], np.int32)
        shown = served.shelf.row(position.item_id)
        if len(rows) < 2 or shown not in rows:
            continue
        question = Question(request, served.shelf.profile(request), served)
        scores = question.scores(rows, question.context_vector())
        if scores is None:
            return Logged()
        choice = int(scores.argmax())
        result.reward.append(float(position.is_clicked))
        result.weight.append(float(rows[choice] == shown) / position.propensity)
        result.predicted.append(float(scores[rows == shown][0]))
        result.expected.append(float(scores[choice]))
    return result


def _requests(positions: Sequence[ExploredPosition]) -> Iterator[Request]:
    """The request of each position as it was: the person's events until then. One query for each position."""
    for position in positions:
        shown = position.shown
        past = Event.objects.filter(visitor=shown.visitor, is_bot=False, occurred_at__lt=shown.occurred_at)
        rows = past.order_by("-occurred_at", "-pk").values_list(*PAST_EVENT_COLUMNS)[:HISTORY_LIMIT]
        yield Request(
            Slot(shown.slot),
            Context(shown.occurred_at, device=shown.device),
            history=past_events(list(rows)) if shown.visitor is not None else (),
            item_id=shown.current_item_id,
        )
