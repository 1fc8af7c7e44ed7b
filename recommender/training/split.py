"""A dataset in, one moment of time out: what may be learned from lies before it, what judges lies after it."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import numpy as np
from django.utils.translation import gettext

from recommender.datasets import Dataset
from recommender.datasets.cleaning import CleaningReport, Recorded, clean
from recommender.durations import DAY_SECONDS
from recommender.exceptions import InsufficientData
from recommender.features.shop_state import ShopState, build_state
from recommender.tables import Impressions, Interactions, ItemTable, Judgements

TEST_DAYS = 30.0
TEST_SHARE = 0.2
"""The newest 30 days judge, or the newest fifth of a shorter past."""

LEAST_ITEMS = 2
LEAST_EVENTS = 50
"""Below this there is nothing to learn from: no pair of items, and no visitor with a before and an after."""


MOST_REMOVED_SHARE = 0.2
"""A reason that took this share of all events is worth a sentence."""


@dataclasses.dataclass(frozen=True)
class Split:
    """`past` holds the events before `test_start`, cleaned without a look at what came later; `whole` adds the test.

    impressions: all of them: whoever learns takes those that were over before `test_start`.
    items: as of `test_start`: what was first seen later is not active. report: of the cleaning of both parts.
    """

    past: Interactions
    whole: Interactions
    items: ItemTable
    test_start: float
    test_end: float
    report: CleaningReport
    titles: tuple[str, ...]
    judgements: Judgements
    impressions: Impressions = dataclasses.field(default_factory=Impressions.none)
    brands: tuple[str, ...] = ()

    @cached_property
    def state(self) -> ShopState:
        """The shop at `test_start`: the trainer's check, the gate and its competitors read the same; two seconds."""
        return build_state(self.past, self.items, at=self.test_start)


def split_in_time(dataset: Dataset) -> Split:
    """Cut once, globally, and clean each side by itself. Raises InsufficientData with what is there and needed."""
    _, whole_report = clean(dataset.recorded, now=dataset.taken_at)
    _require(dataset, whole_report)
    recorded = dataset.recorded.before(dataset.taken_at)
    test_start, test_end = _window(recorded)
    past, report = clean(recorded.before(test_start), now=test_start)
    n_past = int(np.searchsorted(recorded.interactions.time, test_start, side="left"))
    window, window_report = clean(recorded.take(np.arange(n_past, len(recorded))), now=dataset.taken_at)
    shown = dataset.items.active & (dataset.items.first_seen <= test_start)
    return Split(
        past=past,
        whole=joined(past, window),
        items=dataclasses.replace(dataset.items, active=shown),
        test_start=test_start,
        test_end=test_end,
        report=_added(report, window_report, n_read=len(dataset.recorded)),
        titles=dataset.titles,
        judgements=dataset.judgements,
        impressions=dataset.impressions,
        brands=dataset.brands,
    )


def joined(first: Interactions, second: Interactions) -> Interactions:
    """Put later events behind earlier ones; both must share `queries`, `devices` and `regions`."""
    later = second.columns()
    columns: dict[str, Any] = {name: np.concatenate([column, later[name]]) for name, column in first.columns().items()}
    return dataclasses.replace(first, **columns)


def unknown_items(report: CleaningReport) -> str:
    """A sentence on events of items that do not exist, where they are many; else nothing."""
    n_unknown = report.removed.get("unknown_item", 0)
    if n_unknown <= MOST_REMOVED_SHARE * report.n_read:
        return ""
    return gettext(
        "%(n)s of %(all)s events name items that do not exist: see `python manage.py recommender_doctor` for the ids."
    ) % {"n": n_unknown, "all": report.n_read}


def _require(dataset: Dataset, report: CleaningReport) -> None:
    n_items = int(dataset.items.active.sum())
    if n_items < LEAST_ITEMS:
        raise InsufficientData(
            f"Insufficient data: {n_items} active items, at least {LEAST_ITEMS} are needed. Run recommender_sync, and "
            "see that the Catalog lists the shop's products. Search and lists keep serving untrained."
        )
    if report.n_clean < LEAST_EVENTS:
        raise InsufficientData(
            f"Insufficient data: {report.n_clean} usable events of {report.n_read} recorded, at least {LEAST_EVENTS} "
            "are needed. Run recommender_reconcile to take in past orders, or wait for shoppers. Search and lists keep "
            f"serving untrained. {unknown_items(report)}".strip()
        )


def _window(recorded: Recorded) -> tuple[float, float]:
    time = recorded.interactions.time
    first, end = float(time[0]), float(time[-1]) + 1.0
    return end - min(TEST_DAYS * DAY_SECONDS, TEST_SHARE * (end - first)), end


def _added(first: CleaningReport, second: CleaningReport, *, n_read: int) -> CleaningReport:
    total = CleaningReport(n_read=n_read, n_clean=first.n_clean + second.n_clean)
    for report in (first, second):
        total.n_quantities_capped += report.n_quantities_capped
        for reason, n in report.removed.items():
            total.count(reason, n)
    if n_later := n_read - first.n_read - second.n_read:
        total.count("future_time", n_later)
    return total
