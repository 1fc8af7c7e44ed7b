"""A rule in words: what it does, for whom, and what it costs as a table of differences with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils import formats, timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext, pgettext

from recommender.admin.numbers import local
from recommender.models import Rule


@dataclass(frozen=True, slots=True)
class CostRow:
    """One figure with and without the rule; `css`, `sign` and `words` say the same three times."""

    label: str
    on: str
    out: str
    amount: str
    bounds: str
    css: str
    sign: str
    words: str


def effect_of(rule: Rule) -> str:
    """What it does, in one line."""
    if rule.action == Rule.Action.REDIRECT:
        return gettext("leads to %s") % rule.url
    if rule.action == Rule.Action.BANNER:
        return f"“{rule.text}”"
    if rule.attribute:
        target = f"{rule.attribute}: {', '.join(rule.values)}"
    else:
        n = len(rule.item_ids)
        target = ngettext("%d item", "%d items", n) % n
    if rule.action == Rule.Action.PIN:
        return gettext("%(what)s to position %(position)d") % {"what": target, "position": rule.position or 1}
    if rule.places:
        return gettext("%(what)s by %(n)d places") % {"what": target, "n": rule.places}
    return target


def condition_of(rule: Rule) -> str:
    """For whom and where, in one line."""
    parts = []
    if rule.match != Rule.Match.ANY:
        parts.append(f"{rule.get_match_display()} “{rule.query}”")
    if rule.slot:
        parts.append(gettext("in %s") % rule.get_slot_display())
    if rule.segment is not None:
        parts.append(gettext("for %s") % rule.segment)
    if rule.experiment is not None:
        parts.append(gettext("for the variant of %s") % rule.experiment)
    return ", ".join(parts) or gettext("all lists, all shoppers")


def window_of(rule: Rule) -> str:
    """From when to when."""
    moment = pgettext("format of a moment", "j M Y, H:i")
    start, end = (date_format(timezone.localtime(at), moment) if at else "" for at in (rule.starts_at, rule.ends_at))
    if start and end:
        return gettext("%(start)s to %(end)s") % {"start": start, "end": end}
    return gettext("from %s") % start if start else gettext("until %s") % end if end else gettext("no end")


def cost_line(rule: Rule) -> str:
    """What it brings or costs in one line; "–" where nothing has been measured."""
    rows = [row for row in measured_rows(rule) if row.css != "even"]
    if rows:
        return ", ".join(f"{row.sign} {row.label} {row.amount}" for row in rows)
    return gettext("● no sure difference") if measured_rows(rule) else "–"


def measured_rows(rule: Rule) -> list[CostRow]:
    """The measured differences of clicks, orders and revenue."""
    names = {
        "clicks": gettext("people who click"), "orders": gettext("people who order"),
        "revenue": gettext("revenue per person"),
    }  # fmt: skip
    currency = str(rule.cost.get("currency", ""))
    return [_row(label, rule.cost[name], currency if name == "revenue" else "") for name, label in names.items()
            if name in rule.cost]  # fmt: skip


def predicted_rows(predicted: dict[str, dict[str, float]]) -> list[tuple[str, str, str, str]]:
    """Event, with the rule, without it and the difference, as the model predicts them for its first ten items."""
    names = {
        "click": gettext("chance of a click"), "cart": gettext("chance of a cart"),
        "buy": gettext("chance of a purchase"),
    }  # fmt: skip
    return [
        (label, _percent(predicted[name]["with"]), _percent(predicted[name]["without"]),
         _signed_percent(predicted[name]["with"] - predicted[name]["without"]))
        for name, label in names.items() if name in predicted
    ]  # fmt: skip


def people_of(rule: Rule) -> str:
    """Whom the figures are about."""
    if not rule.cost:
        return gettext("Nothing has been measured yet: a worker does it every hour.")
    text = gettext("%(on)s people under the rule, %(out)s held out of it; %(mixed)s saw both and are left out.")
    values = {name: local(int(rule.cost.get(f"n_{name}", 0)), ",") for name in ("on", "out", "mixed")}
    lines = [text % values]
    if "clicks" not in rule.cost:
        lines.append(gettext("For an interval each side needs two people."))
    if rule.cost.get("n_other_currency"):
        lines.append(gettext("%(n)d lines of orders in another currency than %(currency)s are left out.") % {
            "n": rule.cost["n_other_currency"], "currency": rule.cost["currency"],
        })  # fmt: skip
    return " ".join(lines)


def _row(label: str, figure: dict[str, float], currency: str) -> CostRow:
    show = _amount if currency else _percent
    signed = (lambda value: _signed_amount(value, currency)) if currency else _signed_percent
    css, sign, words = _verdict(figure)
    bounds = gettext("95 %%: %(low)s to %(high)s") % {"low": signed(figure["low"]), "high": signed(figure["high"])}
    return CostRow(
        label, show(figure["on"]), show(figure["out"]), signed(figure["difference"]), bounds, css, sign, words
    )


def _verdict(figure: dict[str, float]) -> tuple[str, str, str]:
    if figure["low"] > 0:
        return "better", "▲", gettext("surely more")
    if figure["high"] < 0:
        return "worse", "▼", gettext("surely less")
    return "even", "●", gettext("not sure")


def _percent(share: float) -> str:
    return f"{formats.number_format(100 * share, decimal_pos=2)} %"


def _signed_percent(share: float) -> str:
    sign = "+" if share > 0 else "\u2212" if share < 0 else "±"
    return f"{sign}{formats.number_format(abs(100 * share), decimal_pos=2)} %"


def _amount(value: float) -> str:
    return str(formats.number_format(value, decimal_pos=2, force_grouping=True))


def _signed_amount(value: float, currency: Any) -> str:
    sign = "+" if value > 0 else "\u2212" if value < 0 else "±"
    return f"{sign}{_amount(abs(value))} {currency}"
