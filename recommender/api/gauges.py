"""What Prometheus reads: what the processes of this host have counted, and the state of the work in SQL."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

from django.db import DatabaseError
from django.db.models import Count
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily

from recommender import bundles
from recommender.models import Alarm, Bundle, Job, Run
from recommender.runs import ACTIVE

logger = logging.getLogger(__name__)


def exposition() -> bytes:
    """All metrics in Prometheus' text format. Five queries; without the database, what was counted."""
    counted = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        counted = CollectorRegistry()
        multiprocess.MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
    stored = CollectorRegistry()
    stored.register(WorkState())
    return generate_latest(counted) + generate_latest(stored)


class WorkState:
    """The gauges that SQL answers."""

    def describe(self) -> list[Any]:
        """Nothing: it is asked at registration, when no query should be sent."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges; where the database does not answer, only that."""
        try:
            gauges = list(_gauges())
        except DatabaseError:
            logger.warning("metrics were read without the database", exc_info=True)
            gauges = []
        yield GaugeMetricFamily("recommender_database_up", "Whether the database answers.", value=bool(gauges))
        yield from gauges


def _gauges() -> Iterator[GaugeMetricFamily]:
    n_by_state = dict(Run.objects.filter(state__in=ACTIVE).order_by().values_list("state").annotate(Count("pk")))
    yield _gauge("runs", "Trainings and tunings.", "state", {state.value: n_by_state.get(state, 0) for state in ACTIVE})
    jobs = list(Job.objects.all())
    finished = {job.name: job.finished_at.timestamp() for job in jobs if job.finished_at}
    yield _gauge("job_finished_timestamp_seconds", "When a recurring job last ended.", "name", finished)
    failing = {job.name: int(bool(job.error)) for job in jobs}
    yield _gauge("job_failing", "Whether a recurring job failed the last time.", "name", failing)
    champion = bundles.champion()
    if champion is not None:
        age = "Since when the weights that serve exist."
        created = {str(champion): champion.created_at.timestamp()}
        yield _gauge("bundle_created_timestamp_seconds", age, "bundle", created)
    n_quarantined = Bundle.objects.filter(state=Bundle.State.QUARANTINED).count()
    yield GaugeMetricFamily("recommender_quarantined_bundles", "Bundles with damaged files.", value=n_quarantined)
    n_alarms = Alarm.objects.filter(seen_at=None).count()
    yield GaugeMetricFamily("recommender_alarms", "Alarms that nobody has seen.", value=n_alarms)


def _gauge(name: str, description: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(f"recommender_{name}", description, labels=[label])
    for value, number in values.items():
        gauge.add_metric([value], number)
    return gauge
