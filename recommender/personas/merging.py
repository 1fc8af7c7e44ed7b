"""Merges segments under a name that staff give, and divides them again: people are grouped as before underneath.

A merged segment has no people of its own. Its parts stay what visitors are grouped into and assigned to, so that a
merge outlasts every re-segmentation, costs no write to a visitor, and taking it back restores what was before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import models, router
from django.db.models import F, Max, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from recommender.exceptions import SegmentError
from recommender.experiments.entering import keep_entered
from recommender.models import Experiment, Rule, Segment, WatchedQuery, Webhook
from recommender.models.connections import writing
from recommender.models.segments import SegmentQuerySet
from recommender.personas.segments import distinctive

FIRST_NUMBER = 10_001
"""Of merged segments: the numbers below are given to what is computed."""

MAX_NAME = 160
MOST_ITEMS = 5_000
"""Items whose counts a merged segment keeps, as many as one that is computed."""


@dataclass(frozen=True, slots=True)
class Followers:
    """What names segments and goes with them when they are merged: rules, experiments, watched queries and webhooks."""

    rules: tuple[Rule, ...]
    experiments: tuple[Experiment, ...]
    queries: tuple[WatchedQuery, ...]
    webhooks: tuple[Webhook, ...]


def followers(segments: Collection[int]) -> Followers:
    """What names one of these segments; rules and experiments that are over stay with what they were about. Four
    queries."""
    named = [tuple(rows.filter(segment__in=segments).order_by("pk")) for rows in _following()]
    return Followers(*named)


def merge(segments: Sequence[int], *, name: str) -> Segment:
    """Let one segment stand for several, by primary key; rules, experiments and watched queries follow.

    Raises SegmentError, with the repair, where less than two would be merged, none would be left, one is gone or part
    of another meanwhile, or the name is empty or taken.
    """
    keep_entered()
    with writing(using=router.db_for_write(Segment)):
        chosen = require_mergeable(segments, name=name, rows=Segment.objects.select_for_update())
        number = Segment.objects.filter(is_merged=True).aggregate(highest=Max("number"))["highest"]
        whole = Segment.objects.create(
            number=(number or FIRST_NUMBER - 1) + 1,
            own_name=name.strip(),
            is_merged=True,
            computed_at=max(segment.computed_at for segment in chosen),
        )
        pks = [segment.pk for segment in chosen]
        parts = Segment.objects.filter(Q(pk__in=pks, is_merged=False) | Q(merged_into__in=pks))
        whole.moved = {"segments": dict(parts.values_list("pk", "merged_into")), "merged": _retired(chosen)}
        parts.update(merged_into=whole)
        whole.moved |= {_name(rows.model): _move(rows, pks, whole) for rows in _following()}
        _sum_up(whole)
    return whole


def require_mergeable(
    segments: Sequence[int], *, name: str | None = None, rows: SegmentQuerySet | None = None
) -> list[Segment]:
    """The segments of these primary keys, by number; without a name only they are checked. Two queries at most. Raises
    SegmentError as `merge`."""
    present = list((rows or Segment.objects.all()).in_use().order_by("number"))
    chosen = _chosen(segments, present)
    if name is not None:
        _require_name(name, [segment for segment in present if segment not in chosen])
    return chosen


def divide(segment: int) -> Segment:
    """Take a merge back; what followed it returns, but for what was written for the merged segment since.

    Raises SegmentError for a segment that is not merged, or no more.
    """
    keep_entered()
    with writing(using=router.db_for_write(Segment)):
        whole = Segment.objects.select_for_update().in_use().filter(pk=segment, is_merged=True).first()
        if whole is None:
            raise SegmentError(
                _("This segment is not merged, or somebody has divided it already. Nothing was changed.")
            )
        moved: Any = whole.moved or {}
        former = Segment.objects.filter(pk__in=moved["merged"])
        former.update(retired_at=None)
        for rows in _following():
            _return(rows.filter(segment=whole), moved.get(_name(rows.model), {}))
        for pk, owner in moved["segments"].items():
            Segment.objects.filter(pk=pk, merged_into=whole).update(merged_into=owner)
        _retire(whole)
        for each in former:
            _sum_up(each)
    return whole


def left_behind(whole: Segment) -> Followers:
    """What was written for a merged segment itself, and so has no shoppers once it is divided. Four queries."""
    named = followers([whole.pk])
    return Followers(
        tuple(row for row in named.rules if not _has_followed(row, whole)),
        tuple(row for row in named.experiments if not _has_followed(row, whole)),
        tuple(row for row in named.queries if not _has_followed(row, whole)),
        tuple(row for row in named.webhooks if not _has_followed(row, whole)),
    )


def renew() -> None:
    """Sum up every merged segment after its parts were computed anew; one whose parts are all retired retires too."""
    for whole in Segment.objects.filter(retired_at=None, is_merged=True):
        _sum_up(whole)


def _has_followed(row: models.Model, whole: Segment) -> bool:
    return str(row.pk) in (whole.moved or {}).get(_name(row), {})


def _following() -> tuple[models.QuerySet[Any], ...]:
    """What names segments, unless it is over."""
    running = (Experiment.State.DRAFT, Experiment.State.LIVE)
    return (
        Rule.objects.exclude(state=Rule.State.WITHDRAWN),
        Experiment.objects.filter(state__in=running),
        WatchedQuery.objects.all(),
        Webhook.objects.all(),
    )


def _name(model: type[models.Model] | models.Model) -> str:
    return str(model._meta.model_name)


def _chosen(pks: Sequence[int], present: Sequence[Segment]) -> list[Segment]:
    wanted = set(pks)
    chosen = [segment for segment in present if segment.pk in wanted]
    for other in Segment.objects.select_related("merged_into").filter(pk__in=wanted - {row.pk for row in chosen}):
        if other.merged_into is not None:
            message = _("“%(part)s” is part of “%(whole)s” meanwhile. Nothing was changed: choose again.")
            raise SegmentError(message % {"part": other, "whole": other.merged_into})
        raise SegmentError(_("“%s” is gone meanwhile. Nothing was changed: choose again.") % other)
    if len(chosen) < 2:
        raise SegmentError(_("Choose at least two segments to merge."))
    if len(chosen) == len(present):
        raise SegmentError(
            _("One segment of everybody would be left, which tells nobody apart. Leave at least one out.")
        )
    return chosen


def _require_name(name: str, others: Sequence[Segment]) -> None:
    if not name.strip():
        raise SegmentError(_("Give the merged segment a name."))
    if len(name.strip()) > MAX_NAME:
        raise SegmentError(_("A name has at most %d characters. Choose a shorter one.") % MAX_NAME)
    if any(str(other).casefold() == name.strip().casefold() for other in others):
        raise SegmentError(_("There is a segment “%s” already. Choose another name, or merge that one too.") % name)


def _retired(chosen: Sequence[Segment]) -> list[int]:
    """The merged ones of those that are merged now: they stand for nobody until this merge is taken back."""
    merged = [segment for segment in chosen if segment.is_merged]
    for segment in merged:
        _retire(segment)
    return [segment.pk for segment in merged]


def _retire(segment: Segment) -> None:
    segment.retired_at, segment.n_people, segment.item_counts = timezone.now(), 0, {}
    segment.save(update_fields=["retired_at", "n_people", "item_counts"])


def _move(rows: models.QuerySet[Any], pks: Sequence[int], whole: Segment) -> dict[str, int]:
    """Let rows name the merged segment; return which one each named, by its primary key."""
    named = dict(_movable(rows.filter(segment__in=pks)))
    rows.filter(pk__in=named).update(segment=whole, **_changed(rows.model))
    return {str(pk): former for pk, former in named.items()}


def _movable(rows: models.QuerySet[Any]) -> list[tuple[int, int]]:
    """Primary key and segment of each row. Of a query that is watched for several of them only the oldest moves: it
    can be watched once for each segment."""
    if rows.model is not WatchedQuery:
        return list(rows.values_list("pk", "segment"))
    oldest: dict[str, tuple[int, int]] = {}
    for query, *row in rows.order_by("pk").values_list("query", "pk", "segment"):
        oldest.setdefault(query, (row[0], row[1]))
    return list(oldest.values())


def _return(rows: models.QuerySet[Any], named: dict[str, int]) -> None:
    for pk in rows.values_list("pk", flat=True):
        if str(pk) in named:
            rows.filter(pk=pk).update(segment=named[str(pk)], **_changed(rows.model))


def _changed(model: type[models.Model]) -> dict[str, Any]:
    """What tells others that a rule is another now: whoever has it open, and the processes that serve it."""
    return {"version": F("version") + 1, "updated_at": timezone.now()} if model is Rule else {}


def _sum_up(whole: Segment) -> None:
    """Store what is known of a merged segment: the sums and means over its parts."""
    parts = list(whole.parts.filter(retired_at=None).order_by("number"))
    if not parts:
        _retire(whole)
        return
    whole.name = " + ".join(str(part) for part in parts)[:MAX_NAME]
    whole.n_people = sum(part.n_people for part in parts)
    whole.computed_at = max(part.computed_at for part in parts)
    whole.axes = _mean_axes(parts, whole.n_people)
    whole.traits = _traits(parts, whole.axes)
    counts: dict[str, float] = {}
    for part in parts:
        for item_id, count in part.item_counts.items():
            counts[item_id] = round(counts.get(item_id, 0.0) + count, 3)
    most = sorted(counts, key=lambda item_id: -counts[item_id])[:MOST_ITEMS]
    whole.item_counts = {item_id: counts[item_id] for item_id in most}
    whole.save()


def _mean_axes(parts: Sequence[Segment], n_people: int) -> list[list[Any]]:
    """The mean share of all members on each axis, from those of the parts."""
    shares: dict[tuple[str, str], float] = {}
    overall: dict[tuple[str, str], float] = {}
    for part in parts:
        weight = part.n_people / n_people if n_people else 1 / len(parts)
        for block, name, share, of_all in part.axes:
            shares[block, name] = shares.get((block, name), 0.0) + weight * share
            overall[block, name] = of_all
    return [[*axis, share, overall[axis]] for axis, share in shares.items()]


def _traits(parts: Sequence[Segment], axes: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """What distinguishes the whole: a mean lies above all visitors only where that of a part does, which has words for
    it."""
    words = {(block, name): text for part in parts for block, name, text, *_ in part.traits}
    named = [axis for axis in axes if (axis[0], axis[1]) in words]
    columns = distinctive(
        np.array([axis[2] for axis in named], np.float32), np.array([axis[3] for axis in named], np.float32)
    )
    best = [named[column] for column in columns]
    return [[block, name, words[block, name], round(share, 4), round(of_all, 4)] for block, name, share, of_all in best]
