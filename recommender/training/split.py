"""Splits the data at one moment: training may learn from what came before, the test is what came after."""

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
"""The test window: the newest 30 days, or the newest fifth of a shorter past."""

LEAST_ITEMS = 2
LEAST_EVENTS = 50
"""Below this there is nothing to learn from: no pair of items, and no visitor with events on both sides."""

MOST_REMOVED_SHARE = 0.2
"""A reason that removed this share of all events is worth a sentence."""


@dataclasses.dataclass(frozen=True)
class Split:
    """`past` holds the events before `test_start`, cleaned without knowing what came later; `whole` adds the test.

    impressions: all of them; training uses those that ended before `test_start`. items: as of `test_start`, so that
    items first seen later are not active. report: of the cleaning of both parts.
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
        """The shop at `test_start`, shared by the parity check, the gate and its competitors; takes two seconds."""
        return build_state(self.past, self.items, at=self.test_start)


def split_in_time(dataset: Dataset) -> Split:
    """Cut once, globally, and clean each side by itself. Raises InsufficientData that says what is missing."""
    _, whole_report = clean(dataset.recorded, now=dataset.taken_at)
    _require(dataset, whole_report)
    recorded = dataset.recorded.before(dataset.taken_at)
    test_start, test_end = _window(recorded)
    past, report = clean(recorded.before(test_start), now=test_start)
    n_past = int(np.searchsorted(recorded.interactions.time, test_start, side="left"))
    window, window_report = clean(recorded.take(np.arange(n_past, len(recorded))), now=dataset.taken_at)
    active = dataset.items.active & (dataset.items.first_seen <= test_start)
    return Split(
        past=past,
        whole=joined(past, window),
        items=dataclasses.replace(dataset.items, active=active),
        test_start=test_start,
        test_end=test_end,
        report=_added(report, window_report, n_read=len(dataset.recorded)),
        titles=dataset.titles,
        judgements=dataset.judgements,
        impressions=dataset.impressions,
        brands=dataset.brands,
    )


def joined(first: Interactions, second: Interactions) -> Interactions:
    """Append later events to earlier ones; both must share `queries`, `devices` and `regions`."""
    later = second.columns()
    columns: dict[str, Any] = {name: np.concatenate([column, later[name]]) for name, column in first.columns().items()}
    return dataclasses.replace(first, **columns)


def unknown_items(report: CleaningReport) -> str:
    """A sentence about events of items that do not exist; "" where they are few."""
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
            gettext(
                "Insufficient data: %(n)s active items, at least %(least)s are needed. Run recommender_sync, and check "
                "that the Catalog lists the shop's products. Search and lists keep serving untrained."
            )
            % {"n": n_items, "least": LEAST_ITEMS}
        )
    if report.n_clean < LEAST_EVENTS:
        reason = gettext(
            "Insufficient data: %(n)s usable events of %(all)s recorded, at least %(least)s are needed. Run "
            "recommender_reconcile to import past orders, or wait for shoppers. Search and lists keep serving "
            "untrained."
        ) % {"n": report.n_clean, "all": report.n_read, "least": LEAST_EVENTS}
        raise InsufficientData(f"{reason} {unknown_items(report)}".strip())


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
