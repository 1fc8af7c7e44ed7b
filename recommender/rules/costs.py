"""What a live rule costs or brings, measured: people who are under it beside the twentieth who are held out of it.

Compared are people, not lists. Each counts from the first list that the rule was for, until now or until the rule has
ended, whatever they saw later: both groups were drawn by lot and came on the same days, so that the difference is the
rule's. A click counts on a list of any slot: what one list takes from another is no gain.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
from django.db.models import Min

from recommender.experiments.exposures import Exposed
from recommender.experiments.intervals import Estimate, difference, difference_of_means, rate
from recommender.experiments.outcomes import outcomes
from recommender.models import Impression, Rule
from recommender.models.staff import visitors_of_staff

ON, OUT = "on", "out"
LEAST_PEOPLE = 2
"""Of each group for an interval: a variance needs two."""


def measure(rule: Rule, *, at: dt.datetime) -> dict[str, Any]:
    """The people, shares, means and differences by `at`, as they are stored. Five queries at most, read in chunks."""
    everybody = _people(rule, at)
    people = [person for person in everybody if len(person.arms) == 1]
    is_on = np.array([ON in person.arms for person in people], bool)
    counted: dict[str, Any] = {
        "n_on": int(is_on.sum()), "n_out": int((~is_on).sum()), "n_mixed": len(everybody) - len(people),
    }  # fmt: skip
    if min(counted["n_on"], counted["n_out"]) < LEAST_PEOPLE:
        return counted
    days = max(1, -(-(at - min(person.first for person in people)) // dt.timedelta(days=1)))
    result = outcomes(people, days=days)
    for name in ("clicks", "orders"):
        counted[name] = _shares(result.after[name] > 0, is_on)
    counted["revenue"] = _means(result.after["revenue"], is_on)
    return counted | {"currency": result.currency, "n_other_currency": result.n_other_currency}


def measure_live(*, at: dt.datetime) -> int:
    """Measure and store every live rule; return how many there are. Five queries each."""
    live = list(Rule.objects.filter(state=Rule.State.LIVE))
    for rule in live:
        store(rule, measure(rule, at=at), at=at)
    return len(live)


def store(rule: Rule, cost: dict[str, Any], *, at: dt.datetime) -> None:
    """Keep the figures with the rule; that is no change of the rule. One query."""
    rule.cost, rule.cost_at = cost, at
    Rule.objects.filter(pk=rule.pk).update(cost=cost, cost_at=at)


def _people(rule: Rule, at: dt.datetime) -> list[Exposed]:
    """Everybody whom the rule was for, without bots and staff. Three queries."""
    shown = Impression.objects.filter(rules__isnull=False, is_bot=False, visitor__isnull=False, occurred_at__lte=at)
    if rule.reviewed_at is not None:
        shown = shown.filter(occurred_at__gte=rule.reviewed_at)
    rows = shown.order_by().values_list("visitor_id", "visitor__user_key", "rules").annotate(Min("occurred_at"))
    staff, people = visitors_of_staff(), dict[str, Exposed]()
    for visitor_pk, user_key, rules, first in rows.iterator(chunk_size=5_000):
        arm = ON if rule.pk in rules else OUT if -rule.pk in rules else ""
        if not arm or visitor_pk in staff:
            continue
        person = people.setdefault(user_key or f"visitor {visitor_pk}", Exposed(first, user_key or ""))
        person.first = min(person.first, first)
        person.visitor_pks.add(visitor_pk)
        person.arms.add(arm)
    return list(people.values())


def _shares(has: Any, is_on: Any) -> dict[str, float]:
    on, out = has[is_on], has[~is_on]
    change = difference(rate(int(on.sum()), len(on)), rate(int(out.sum()), len(out)))
    return _figure(float(on.mean()), float(out.mean()), change)


def _means(values: Any, is_on: Any) -> dict[str, float]:
    on, out = values[is_on], values[~is_on]
    return _figure(float(on.mean()), float(out.mean()), difference_of_means(on, out))


def _figure(on: float, out: float, change: Estimate | None) -> dict[str, float]:
    """As it is stored. Raises ValueError without an estimate: `measure` asks for `LEAST_PEOPLE` of each group."""
    if change is None:
        raise ValueError(f"an interval needs {LEAST_PEOPLE} people of each group")
    return {"on": on, "out": out, "low": change.low, "difference": change.value, "high": change.high}
