"""How far claims count, as in `recommender.features.credibility`, which has the reasons and the sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ibis
from ibis import _
from ibis.expr import types as ir

from recommender.datasets.expressions.engine import Engine
from recommender.datasets.expressions.words import coded_by, position
from recommender.features import credibility as rule
from recommender.features.credibility import KIND_OF_TYPE, KINDS, MONTH_DAYS, SEARCH, Burst
from recommender.types import EVENT_CODES, EventType

PURCHASE, SEARCHED = EVENT_CODES[EventType.PURCHASE], EVENT_CODES[EventType.SEARCH]
OF_ORDER, OF_EVENT = 2**40, 2**50
"""Beyond every number of a visitor: people who are known only by an order, or by one event."""


def with_people(engine: Engine, events: ir.Table) -> ir.Table:
    """Return the events with `is_credible`, and `n_days`: on how many days something came from a claim's visitor."""
    is_bought_row = (events.claim < 0) & (events.type == PURCHASE)
    is_anything_bought = bool(engine.row(events.agg(bought=is_bought_row.any()))["bought"])
    people = events.filter(events.visitor >= 0).group_by("visitor").agg(
        n_claims=_.claim.nunique(where=_.claim >= 0), has_bought=((_.claim < 0) & (_.type == PURCHASE)).any()
    )  # fmt: skip
    joined = events.left_join(people, "visitor").drop("visitor_right")
    n_days = ibis.ifelse(joined.visitor >= 0, ibis.coalesce(joined.n_claims, 0), 1)
    by_person = ibis.coalesce(joined.has_bought, False) if is_anything_bought else n_days >= rule.RETURNING_DAYS
    return joined.mutate(n_days=n_days, is_credible=(joined.claim < 0) | by_person).drop("n_claims", "has_bought")


def with_weights(engine: Engine, events: ir.Table) -> ir.Table:
    """Return the events with `person`, the weight of whoever caused each, and `is_trusted`: credible, if anybody is."""
    people = with_people(engine, events)
    is_anybody = bool(engine.row(people.agg(credible=people.is_credible.any()))["credible"])
    of_days = people.n_days / (people.n_days + float(rule.RETURNING_DAYS))
    weight = ibis.ifelse(people.is_credible, 1.0, of_days) if is_anybody else ibis.literal(1.0)
    is_trusted = people.is_credible if is_anybody else ibis.literal(True)
    return people.mutate(person=weight, is_trusted=is_trusted).drop("n_days", "is_credible")


def without_excess(engine: Engine, events: ir.Table, subjects: Sequence[str]) -> tuple[ir.Table, tuple[Burst, ...]]:
    """Store the events without the claims beyond the control limits; return them and the bursts, the largest first.

    subjects: the text of each subject of a query, as alarms show it.
    """
    most = engine.row(events.agg(most=events.item.max()))["most"]
    n_items = 0 if most is None else int(most) + 1
    about = ibis.cases(
        ((events.type == SEARCHED) & (events.query >= 0), n_items + events.subject),
        (events.item >= 0, events.item),
        else_=-1,
    )
    people = engine.stored(with_people(engine, events.mutate(about=about.cast("int64"))))
    is_judged = (~people.is_credible) & (people.about >= 0)
    totals = engine.row(
        people.agg(
            n_judged=is_judged.sum(), n_credible=(people.is_credible & (people.about >= 0)).sum(),
            last_day=people.day.max(),
        )
    )  # fmt: skip
    clean, bursts = people, []
    if totals["n_judged"] and totals["n_credible"]:
        chart = _Chart.of(engine, people, n_items=n_items, last_day=int(totals["last_day"]))
        for number, kind in enumerate(KINDS):
            rows = chart.judged.filter(coded_by(chart.judged.type, KIND_OF_TYPE) == number)
            excess, of_kind = chart.excess(rows, kind, subjects)
            clean = clean.anti_join(excess, "key") if excess is not None else clean
            bursts += of_kind
    stored = engine.stored(clean.drop("about", "n_days", "is_credible"))
    return stored, tuple(sorted(bursts, key=lambda burst: -burst.n_people / burst.limit))


@dataclass(frozen=True, slots=True)
class _Chart:
    """The claims that are judged, and the credible people they are compared with, each once a day."""

    engine: Engine
    judged: ir.Table
    reference: ir.Table
    n_items: int
    last_day: int

    @classmethod
    def of(cls, engine: Engine, people: ir.Table, *, n_items: int, last_day: int) -> _Chart:
        judged = people.filter((~people.is_credible) & (people.about >= 0)).drop("n_days")
        seen = judged.filter(judged.visitor >= 0).group_by("visitor").agg(n_claims=_.claim.nunique())
        judged = judged.left_join(seen, "visitor").drop("visitor_right")
        judged = judged.mutate(n_days=ibis.ifelse(judged.visitor >= 0, judged.n_claims, 1))
        credible = people.filter(people.is_credible & (people.about >= 0))
        who = ibis.cases(
            (credible.visitor >= 0, credible.visitor), (credible.basket >= 0, OF_ORDER + credible.basket),
            else_=OF_EVENT + credible.key,
        )  # fmt: skip
        reference = credible.select("about", "day", who=who).distinct()
        block = (last_day - reference.day) // MONTH_DAYS
        return cls(engine, judged, engine.stored(reference.mutate(block=block.cast("int64"))), n_items, last_day)

    def excess(self, rows: ir.Table, kind: str, subjects: Sequence[str]) -> tuple[ir.Table | None, list[Burst]]:
        """Return the keys of the events of one kind that do not count, and the bursts; None without any event."""
        cells = self.engine.stored(self._cells(rows))
        totals = self.engine.row(cells.agg(n=cells.count(), first=cells.day.min()))
        if not totals["n"]:
            return None, []
        groups = self.engine.stored(self._groups(cells))
        ratio = self._ratio(groups, int(totals["n"]), int(totals["first"]), is_query=kind == SEARCH)
        days = _with_limits(groups, ratio)
        counted = self._counted(cells, days)
        not_counted = cells.anti_join(counted, ["about", "claim"]).select("about", "claim")
        excess = self.engine.stored(rows.semi_join(not_counted, ["about", "claim"]).select("key"))
        return excess, self._bursts(days, kind, subjects)

    def _cells(self, rows: ir.Table) -> ir.Table:
        """One row per subject, person and day."""
        cells = rows.group_by("about", "claim").agg(day=_.day.min(), n_days=_.n_days.max())
        lot = (cells.claim * 2_654_435_761 + cells.about * 2_246_822_519) % 2**32
        block = (self.last_day - cells.day) // MONTH_DAYS
        return cells.mutate(block=block.cast("int64"), lot=lot.cast("int64"))

    def _groups(self, cells: ir.Table) -> ir.Table:
        """The people of each subject and day, and of its month, with the number of credible ones of both."""
        by_day = self.reference.group_by("about", "day").agg(credible_of_day=_.count())
        by_block = self.reference.group_by("about", "block").agg(credible_of_block=_.count())
        groups = cells.group_by("about", "day", "block").agg(n=_.count())
        groups = groups.left_join(by_day, ["about", "day"]).drop("about_right", "day_right")
        groups = groups.left_join(by_block, ["about", "block"]).drop("about_right", "block_right")
        return groups.mutate(
            credible_of_day=ibis.coalesce(groups.credible_of_day, 0).cast("float64"),
            credible_of_block=ibis.coalesce(groups.credible_of_block, 0).cast("float64"),
        )

    def _ratio(self, groups: ir.Table, n_cells: int, first_day: int, *, is_query: bool) -> float:
        """As `credibility._Cells.ratio`."""
        reference = self.reference
        since = (reference.day >= first_day) & ((reference.about >= self.n_items) == is_query)
        n_credible = max(int(self.engine.row(reference.agg(n=since.sum()))["n"] or 0), 1)
        ratio = min(n_cells / n_credible, rule.MOST_PER_BUYER)
        for _round in range(rule.N_ROUNDS):
            months = _months(_with_limits(groups, ratio))
            total = self.engine.row(months.agg(total=ibis.least(months.within, months.block_limit).sum()))["total"]
            lower = float(total) / n_credible
            if lower > 0.99 * ratio:
                break
            ratio = lower
        return ratio

    def _counted(self, cells: ir.Table, days: ir.Table) -> ir.Table:
        """Those who came on most days first, then by lot, as far as the limits of their day and their month allow."""
        months = _months(days)
        months = months.select(
            "about", "block", block_allowed=_allowed(months.n, months.block_limit, months.block_mean)
        )
        of_day = days.select("about", "day", day_allowed=_allowed(days.n, days.day_limit, days.day_mean))
        order = [ibis.desc("n_days"), ibis.asc("lot"), ibis.asc("claim")]
        cells = cells.inner_join(of_day, ["about", "day"])
        cells = cells.mutate(rank=position(["about", "day"], order)).filter(_.rank < _.day_allowed)
        cells = cells.inner_join(months, ["about", "block"])
        return cells.mutate(rank=position(["about", "block"], order)).filter(_.rank < _.block_allowed)

    def _bursts(self, days: ir.Table, kind: str, subjects: Sequence[str]) -> list[Burst]:
        months = _months(days)
        of_days = days.mutate(allowed=_allowed(days.n, days.day_limit, days.day_mean), most=days.day_limit)
        of_months = months.mutate(allowed=_allowed(months.n, months.block_limit, months.block_mean), most=_.block_limit)
        bursts = []
        for groups, n_days in ((of_days, 1), (of_months, MONTH_DAYS)):
            is_burst = (groups.n >= rule.FEWEST_ALARMED) & (groups.n > rule.ALARMED_RATIO * groups.most)
            columns = self.engine.columns(groups.filter(is_burst).select("about", "day", "n", "allowed"))
            for about, day, n, allowed in zip(*(column.tolist() for column in columns.values()), strict=True):
                is_item = about < self.n_items
                item, query = (about, "") if is_item else (-1, subjects[about - self.n_items])
                bursts.append(Burst(kind, item, query, day, n_days, n, allowed))
        return bursts


def _limit(n_credible: ir.Value, ratio: float) -> ir.Value:
    """As `credibility.control_limit`."""
    mean = ratio * n_credible
    return mean + rule.SIGMAS * (mean * (1 + ratio)).sqrt()


def _at_least(limit: ir.Value) -> ir.Value:
    return ibis.greatest(limit, float(rule.FEWEST_LIMITED)).floor().cast("int64")


def _allowed(n: ir.Value, limit: ir.Value, mean: ir.Value) -> ir.Value:
    """All within a limit, and beyond it as many as are likely."""
    return ibis.ifelse(n > limit, _at_least(mean), limit)


def _with_limits(groups: ir.Table, ratio: float) -> ir.Table:
    """The groups with the limits and the means of their day and of their month."""
    month = groups.credible_of_block + rule.PRIOR
    usual = _limit(month, ratio / MONTH_DAYS)
    return groups.mutate(
        day_limit=_at_least(ibis.greatest(_limit(groups.credible_of_day, ratio), usual)),
        block_limit=_at_least(_limit(month, ratio)),
        day_mean=ibis.greatest(groups.credible_of_day * ratio, month * ratio / MONTH_DAYS),
        block_mean=month * ratio,
    )


def _months(days: ir.Table) -> ir.Table:
    """The months of the groups; `within` adds up what is in control on each day."""
    return days.group_by("about", "block").agg(
        n=_.n.sum(), within=ibis.least(days.n, days.day_limit).sum(), day=_.day.max(),
        block_limit=_.block_limit.max(), block_mean=_.block_mean.max(),
    )  # fmt: skip
