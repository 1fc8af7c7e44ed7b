"""What load balancers and monitoring ask: is the process alive, is it ready, and what has it counted?"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.core.cache import cache
from django.db import connections, router, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from recommender import conf, metrics
from recommender.exceptions import MissingDependency
from recommender.models import Item
from recommender.serving import memory

logger = logging.getLogger(__name__)

OK, DOWN = "ok", "down"
DOWN_SECONDS = 10.0
"""A part that is down is not asked again for so long: each time may cost the wait for an answer."""

_down_until: dict[str, float] = {}
GOOD_MODELS = ("champion", "untrained", "lexical")


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers; nothing else is looked at."""
    return JsonResponse({"status": OK})


@transaction.non_atomic_requests
@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """Whether pages can be answered: 503 without the database; without the rest they are, less well. One query."""
    parts = {"database": _state("database", _ask_database)}
    parts["cache"] = _state("cache", lambda: cache.get("recommender.ready"))
    parts["broker"] = _state("broker", _ask_broker)
    parts["model"] = memory.model_state()
    is_down = parts["database"] == DOWN
    is_whole = DOWN not in parts.values() and parts["model"] in GOOD_MODELS
    status = DOWN if is_down else OK if is_whole else "degraded"
    return JsonResponse({"status": status, **parts}, status=503 if is_down else 200)


@transaction.non_atomic_requests
@require_safe
@never_cache
def metrics_view(request: HttpRequest) -> HttpResponse:
    """The metrics in Prometheus' text format, for whoever has `METRICS_TOKEN`; without this setting there are none."""
    token = conf.get("METRICS_TOKEN")
    if not token:
        return HttpResponse(status=404)
    if not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {token}"):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    if metrics.prometheus_client is None:
        return HttpResponse('Install the metrics: pip install "shopreco[metrics]"\n', "text/plain", 501)
    from recommender.api import gauges

    return HttpResponse(gauges.exposition(), content_type=metrics.prometheus_client.CONTENT_TYPE_LATEST)


def parts_not_asked() -> dict[str, float]:
    """The parts that did not answer `readyz` in this process, with the seconds until they are asked again."""
    now = time.monotonic()
    return {part: until - now for part, until in _down_until.items() if until > now}


def _state(part: str, ask: Callable[[], object]) -> str:
    if time.monotonic() < _down_until.get(part, 0.0):
        return DOWN
    try:
        ask()
    except Exception:  # whatever a driver raises: it does not answer
        _down_until[part] = time.monotonic() + DOWN_SECONDS
        logger.warning("the %s does not answer", part, exc_info=True)
        return DOWN
    return OK


def _ask_database() -> None:
    with connections[router.db_for_read(Item)].cursor() as cursor:
        cursor.execute("SELECT 1")


def _ask_broker() -> None:
    try:
        from recommender import tasks
    except MissingDependency:  # without Celery there is no broker to miss
        return
    if (app := tasks.project_app()) is not None:
        tasks.require_broker(app)
