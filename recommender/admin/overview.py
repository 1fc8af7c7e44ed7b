"""The first page of a morning: what lists and searches led to, how sure that is, and what the shop should look at."""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext

from recommender import bundles, conf, overview
from recommender.admin.charts import Bar, Series, bar_chart, line_chart
from recommender.admin.numbers import interval, local
from recommender.admin.readonly import ReadOnlyAdmin
from recommender.admin.steps import require
from recommender.experiments.intervals import Estimate, difference
from recommender.models import Alarm, Experiment, HourlyTraffic, Overview, Run
from recommender.models.words import words_of
from recommender.overview import reading

NONE = "–"


@dataclass(frozen=True, slots=True)
class Card:
    """One figure: its value, its interval, and how it compares with the time before, in sign, word and colour."""

    label: str
    value: str
    bounds: str = ""
    css: str = "even"
    sign: str = ""
    change: str = ""


@dataclass(frozen=True, slots=True)
class SlotRow:
    """The lists of one slot and arm, as text."""

    slot: str
    arm: str
    n_lists: str
    n_clicks: str
    n_carts: str
    n_orders: str
    clicked: str
    ordered: str
    money: tuple[str, ...]
    margin: tuple[str, ...]


@admin.register(Overview)
class OverviewAdmin(ReadOnlyAdmin):
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show one period; `?days=` chooses among `overview.SPANS`."""
        require(request, "recommender.view_overview")
        text = request.GET.get("days", "")
        n_days = int(text) if text in {str(span) for span in overview.SPANS} else 7
        at = timezone.now()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": gettext("Overview"),
            "n_days": n_days,
            "spans": overview.SPANS,
            **_page(n_days, at),
        }
        return TemplateResponse(request, "admin/recommender/overview/page.html", context)


def _page(n_days: int, at: dt.datetime) -> dict[str, Any]:
    period, before = reading.period(n_days, at=at), reading.total_before(n_days, at=at)
    computed_at = HourlyTraffic.objects.order_by("-hour").values_list("computed_at", flat=True).first()
    arms = _arms_in_words({arm for _slot, arm in period.by_list})
    return {
        "cards": _cards(period, before),
        "lists": [_row(slot, arms.get(arm, arm[:12]), figures) for (slot, arm), figures in period.by_list.items()],
        "day_charts": [chart for chart in (_day_chart(period), *_money_charts(period)) if chart],
        "days": [_day(day, figures) for day, figures in period.by_day],
        "rung_chart": _rung_chart(period),
        "rungs": [(words_of(rung), _number(n)) for rung, n in period.by_rung.items()],
        "searches": _searches(period),
        "top": reading.top_queries(n_days),
        "unmatched": reading.unmatched_queries(n_days),
        "rare": reading.rare_queries(n_days),
        "facts": _facts(period, computed_at),
        "computed_at": computed_at,
        "window_days": conf.get("ATTRIBUTION_DAYS"),
        "n_window_days": math.ceil(conf.get("ATTRIBUTION_DAYS")),
    }


EXPERIMENT = re.compile(r"(\d+)(ab?|b)")
"""An experiment and the arm that a list was shown in, as `Impression.arms` has them."""


def _arms_in_words(arms: set[str]) -> dict[str, str]:
    """By arm of experiments what a person calls it. One query where there is such an arm."""
    words = {"a": gettext("as before"), "b": gettext("variant"), "ab": gettext("interleaved")}
    parts = {arm: [match.groups() for token in arm.split() if (match := EXPERIMENT.fullmatch(token))] for arm in arms}
    numbers = {int(number) for pairs in parts.values() for number, _side in pairs}
    names = dict(Experiment.objects.filter(pk__in=numbers).values_list("pk", "name")) if numbers else {}
    return {
        arm: ", ".join(f"{names.get(int(number), number)}: {words[side]}" for number, side in pairs)
        for arm, pairs in parts.items()
        if len(pairs) == len(arm.split()) > 0
    }


def _cards(period: reading.Period, before: reading.ListFigures | None) -> list[Card]:
    total = period.total
    counts, past = total.counts, before.counts if before else {}
    cards = [
        _count(gettext("Lists shown"), counts["n_lists"], past.get("n_lists")),
        _rate_card(gettext("Lists with a click"), total.clicked, before.clicked if before else None),
        _rate_card(gettext("Lists with an order"), total.ordered, before.ordered if before else None),
        _count(gettext("Items ordered"), counts["n_orders"], past.get("n_orders")),
    ]
    earlier = {money.currency: money.per_thousand for money in before.money} if before else {}
    for money in total.money:
        label = gettext("Revenue per 1,000 lists, %s") % (money.currency or gettext("no currency"))
        cards.append(_amount_card(label, money.per_thousand, earlier.get(money.currency)))
    return cards


def _count(label: str, now: int, before: int | None) -> Card:
    change = "" if before is None else gettext("%s before") % _number(before)
    return Card(label, _number(now), change=change)


def _number(n: int) -> str:
    return number_format(n, force_grouping=True)


def _rate_card(label: str, now: Estimate | None, before: Estimate | None) -> Card:
    css, sign, words = _compared(now, before)
    return Card(label, _percent(now), _bounds(now, 100, " %"), css, sign, words)


def _amount_card(label: str, now: Estimate | None, before: Estimate | None) -> Card:
    css, sign, words = _compared(now, before)
    return Card(label, NONE if now is None else local(now.value, ",.2f"), _bounds(now, 1, ""), css, sign, words)


def _compared(now: Estimate | None, before: Estimate | None) -> tuple[str, str, str]:
    change = difference(now, before)
    if change is None:
        return "even", "", gettext("nothing to compare with")
    if change.low > 0:
        return "better", "▲", gettext("surely more than before")
    if change.high < 0:
        return "worse", "▼", gettext("surely less than before")
    return "even", "●", gettext("no clear difference from before")


def _row(slot: str, arm: str, figures: reading.ListFigures) -> SlotRow:
    counts = {name: _number(n) for name, n in figures.counts.items()}
    return SlotRow(
        words_of(slot), arm or NONE, counts["n_lists"], counts["n_clicks"], counts["n_carts"],
        counts["n_orders"], _rate(figures.clicked), _rate(figures.ordered),
        tuple(_money(money) for money in figures.money) or (NONE,),
        tuple(_margin(money) for money in figures.money) or (NONE,),
    )  # fmt: skip


def _money(money: reading.Money) -> str:
    amount = money.per_thousand
    return NONE if amount is None else f"{local(amount.value, ',.2f')} {money.currency} {_bounds(amount, 1, '')}"


def _margin(money: reading.Money) -> str:
    return NONE if money.margin_per_thousand is None else f"{local(money.margin_per_thousand, ',.2f')} {money.currency}"


def _rate(estimate: Estimate | None) -> str:
    return NONE if estimate is None else f"{_percent(estimate)} {_bounds(estimate, 100, ' %')}"


def _percent(estimate: Estimate | None) -> str:
    return NONE if estimate is None else f"{local(100 * estimate.value, '.1f')} %"


def _bounds(estimate: Estimate | None, factor: float, unit: str) -> str:
    if estimate is None:
        return ""
    spec = ",.1f" if unit else ",.2f"
    return interval(factor * estimate.low, factor * estimate.high, spec) + unit


def _day(day: dt.datetime, figures: reading.ListFigures) -> tuple[str, dict[str, str], str, list[str]]:
    counts = {name: _number(n) for name, n in figures.counts.items()}
    revenue = [f"{local(money.revenue, ',.2f')} {money.currency}".strip() for money in figures.money]
    return date_format(day, "MONTH_DAY_FORMAT"), counts, _rate(figures.clicked), revenue or [NONE]


def _day_chart(period: reading.Period) -> SafeString:
    """Clicks by day; of a single day there is no line to see."""
    points = [(float(n), 100 * figures.clicked.value) for n, (_day, figures) in enumerate(period.by_day, 1)
              if figures.clicked is not None]  # fmt: skip
    return _by_day(period, gettext("Lists with a click, by day"), gettext("lists with a click"), points, "%")


def _money_charts(period: reading.Period) -> list[SafeString]:
    """Revenue per thousand lists by day, a chart for each currency: amounts of two have no common scale."""
    charts = []
    for currency in sorted({money.currency for money in period.total.money}):
        points = [
            (float(n), reading.PER_LISTS * revenue / figures.counts["n_lists"])
            for n, (_day, figures) in enumerate(period.by_day, 1)
            if figures.counts["n_lists"]
            for revenue in [sum(money.revenue for money in figures.money if money.currency == currency)]
        ]
        title = gettext("Revenue per 1,000 lists, by day")
        charts.append(_by_day(period, title, gettext("revenue per 1,000 lists"), points, currency))
    return charts


def _by_day(period: reading.Period, title: str, name: str, points: list[tuple[float, float]], unit: str) -> SafeString:
    if len(points) < 2:
        return SafeString("")
    days = {
        float(n): date_format(day, pgettext("format of a day", "j M"))
        for n, (day, _figures) in enumerate(period.by_day, 1)
    }
    return line_chart([Series(name, points)], title=title, x_label="", y_label=unit, x_names=days)


def _rung_chart(period: reading.Period) -> SafeString:
    n_lists = sum(period.by_rung.values())
    bars = [
        Bar(words_of(rung), n / n_lists, f"{local(n / n_lists, '.0%')} · {local(n, ',')}")
        for rung, n in period.by_rung.items()
        if n_lists
    ]
    return bar_chart(bars, title=gettext("What served the lists"))


def _searches(period: reading.Period) -> list[tuple[str, str]]:
    traffic = period.traffic
    unmatched = None if not traffic["n_answered"] else traffic["n_unmatched"] / traffic["n_answered"]
    return [
        (gettext("Searches"), _number(traffic["n_searches"])),
        (gettext("Searches without a result"), NONE if unmatched is None else local(unmatched, ".1%")),
    ]


def _facts(period: reading.Period, computed_at: dt.datetime | None) -> list[tuple[str, str]]:
    champion = bundles.champion()
    trained_at = champion.created_at if champion is not None and champion.is_trained else None
    n_alarms, active = Alarm.objects.filter(seen_at=None).count(), Run.objects.filter(state="running").exists()
    consenting = 1 - period.n_dropped / period.n_sent if period.n_sent else None
    return [
        (
            gettext("Model trained"),
            gettext("never") if trained_at is None else date_format(trained_at, "DATETIME_FORMAT"),
        ),
        (gettext("Training"), gettext("in progress") if active else gettext("idle")),
        (
            gettext("Summed up"),
            gettext("never") if computed_at is None else date_format(computed_at, "DATETIME_FORMAT"),
        ),
        (gettext("Events an hour"), local(period.traffic["n_events"] / period.n_hours, ",.1f")),
        (gettext("Newest event"), NONE if period.newest is None else date_format(period.newest, "DATETIME_FORMAT")),
        (gettext("Events with consent"), NONE if consenting is None else local(consenting, ".0%")),
        # xgettext:no-python-format
        (gettext("95 % of lists ready within"), _milliseconds(period.p95_ms)),
        (gettext("New alarms"), str(n_alarms)),
    ]


def _milliseconds(value: float | None) -> str:
    if value is None:
        return NONE
    return (
        gettext("longer than was measured")
        if math.isinf(value)
        else gettext("%(ms)s ms") % {"ms": local(value, ",.0f")}
    )
