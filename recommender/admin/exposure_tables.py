"""The exposure of groups as tables and bars in words, for the page of exposure, of a run and of a promotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.charts import ShareRow, share_chart
from recommender.admin.numbers import interval, local
from recommender.exposure.groups import N_BANDS, NEW, NEW_DAYS, NEWNESS, NO_VALUE, OLDER, OTHERS, PRICE
from recommender.exposure.reading import GroupStanding
from recommender.exposure.reports import standings_of
from recommender.models import Bundle
from recommender.runs.figures import Figures

NONE = "–"
ATTRIBUTES = {"brand": _("Brand"), "category": _("Category"), PRICE: _("Price"), NEWNESS: _("Newness")}


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group as text; `css`, `sign` and `verdict` say by colour, sign and word how it stands to its floor."""

    label: str
    exposure: str
    bounds: str
    catalogue: str
    demand: str
    ratio: str
    floor: str
    before: str = ""
    css: str = ""
    sign: str = ""
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class GroupTable:
    """One attribute."""

    attribute: str
    title: str
    rows: tuple[GroupRow, ...]
    chart: SafeString
    n_below: int
    is_compared: bool


def group_tables(standings: Mapping[str, Sequence[GroupStanding]]) -> list[GroupTable]:
    """One table for each attribute: brand and category first, price and newness last."""
    rank = {"brand": -2, "category": -1, PRICE: 1, NEWNESS: 2}
    ordered = sorted(standings, key=lambda attribute: (rank.get(attribute, 0), attribute))
    return [_table(attribute, standings[attribute]) for attribute in ordered if standings[attribute]]


def tables_of(measured: Figures) -> list[GroupTable]:
    """What a run has reported of its bundle."""
    return group_tables(standings_of(measured.exposure))


def beside_promotion(bundle: Bundle) -> SafeString:
    """The exposure of a bundle beside the button that lets it serve; nothing where its run measured none."""
    run = bundle.runs.order_by("-pk").first()
    tables = tables_of(Figures.of(run.metrics)) if run is not None else []
    if not tables:
        return SafeString("")
    n_below = sum(table.n_below for table in tables)
    return render_to_string("admin/recommender/exposure/beside.html", {"tables": tables, "n_below": n_below})


def attribute_label(attribute: str) -> str:
    """The attribute in words."""
    return str(ATTRIBUTES.get(attribute, attribute.replace("_", " ").capitalize()))


def group_label(attribute: str, value: str) -> str:
    """A group in words."""
    if value == OTHERS:
        return gettext("all others")
    if attribute == PRICE and value:
        words = {1: gettext("cheapest quarter"), N_BANDS: gettext("dearest quarter")}
        return words.get(int(value), gettext("quarter %s") % value) if value.isdigit() else value
    if attribute == NEWNESS:
        days = {"n": NEW_DAYS}
        return {NEW: gettext("new within %(n)d days") % days, OLDER: gettext("older")}.get(value, value)
    return gettext("without") if value == NO_VALUE else value


def _table(attribute: str, standings: Sequence[GroupStanding]) -> GroupTable:
    title = attribute_label(attribute)
    bars = [
        ShareRow(
            group_label(attribute, one.value),
            (one.exposure.value if one.exposure else 0.0, one.catalogue, one.demand),
            f"{percent(one.exposure.value) if one.exposure else NONE} · {percent(one.catalogue)} · "
            f"{percent(one.demand)}",
            one.floor,
        )
        for one in standings
    ]
    names = (gettext("exposure"), gettext("catalogue"), gettext("demand"))
    chart = share_chart(bars, names=names, title=gettext("Exposure by %s") % title.lower())
    rows = tuple(_row(attribute, one) for one in standings)
    is_compared = any(one.before is not None for one in standings)
    return GroupTable(attribute, title, rows, chart, sum(one.is_below for one in standings), is_compared)


def _row(attribute: str, one: GroupStanding) -> GroupRow:
    exposure = one.exposure
    css, sign, verdict = _verdict(one)
    is_exact = exposure is None or exposure.low == exposure.high
    return GroupRow(
        label=group_label(attribute, one.value),
        exposure=NONE if exposure is None else percent(exposure.value),
        bounds="" if is_exact or exposure is None else interval(100 * exposure.low, 100 * exposure.high, ".1f"),
        catalogue=percent(one.catalogue),
        demand=percent(one.demand),
        ratio=NONE if exposure is None or not one.catalogue else local(exposure.value / one.catalogue, ".2f"),
        floor=percent(one.floor) if one.floor else "",
        before="" if one.before is None else percent(one.before),
        css=css,
        sign=sign,
        verdict=verdict,
    )


def _verdict(one: GroupStanding) -> tuple[str, str, str]:
    if not one.floor or one.exposure is None:
        return "", "", ""
    if one.is_below:
        return "worse", "▼", gettext("below its floor")
    if one.exposure.low < one.floor:
        return "even", "≈", gettext("perhaps below its floor")
    return "better", "✓", gettext("above its floor")


def percent(share: float) -> str:
    """A share in per cent with one decimal."""
    return f"{local(100 * share, '.1f')} %"
