"""The words for a persona or a segment: every sentence about visitors is written here."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext, gettext_lazy, ngettext

from recommender.durations import DAY_SECONDS, HOUR_SECONDS
from recommender.personas.axes import Axis
from recommender.personas.segments import Trait
from recommender.text.vocabulary import terms

if TYPE_CHECKING:
    from recommender.personas.parts import ActionCounts, Interest

DOMINANT_SHARE = 0.4
"""From this share of all evidence on, the headline says "mostly"; below it names the first three interests."""

FEWEST_HOURS = 4
"""Hours with an event before a rhythm is put into words."""

TELLING_RATIO = 1.15
"""A trait enters the name of a segment if its members have this many times as much of it as all visitors."""

TRAITS: Mapping[Axis, Any] = {
    ("price", "low"): gettext_lazy("low price"),
    ("price", "middle"): gettext_lazy("middle price"),
    ("price", "high"): gettext_lazy("high price"),
    ("time", "weekday morning"): gettext_lazy("weekday mornings"),
    ("time", "weekday afternoon"): gettext_lazy("weekday afternoons"),
    ("time", "weekday evening"): gettext_lazy("weekday evenings"),
    ("time", "weekend"): gettext_lazy("weekends"),
    ("orders", "none"): gettext_lazy("no order yet"),
    ("orders", "one"): gettext_lazy("one order"),
    ("orders", "often"): gettext_lazy("order often"),
    ("orders", "seldom"): gettext_lazy("order now and then"),
    ("device", "mobile"): gettext_lazy("by phone"),
    ("device", "tablet"): gettext_lazy("by tablet"),
    ("device", "desktop"): gettext_lazy("at a computer"),
}
TASTES, HABITS = ("category", "word"), ("time", "orders", "device")


def ago(at: dt.datetime, now: dt.datetime) -> str:
    """Return "4 days ago", in one unit."""
    seconds = max((now - at).total_seconds(), 0)
    if seconds < 60:
        return gettext("just now")
    if seconds < HOUR_SECONDS:
        return ngettext("%d minute ago", "%d minutes ago", n := int(seconds // 60)) % n
    if seconds < DAY_SECONDS:
        return ngettext("%d hour ago", "%d hours ago", n := int(seconds // HOUR_SECONDS)) % n
    days = seconds / DAY_SECONDS
    if days < 60:
        return ngettext("%d day ago", "%d days ago", n := int(days)) % n
    if days < 730:
        return ngettext("%d month ago", "%d months ago", n := int(days / 30.44)) % n
    return ngettext("%d year ago", "%d years ago", n := int(days / 365.25)) % n


def actions_in_words(counts: ActionCounts) -> str:
    """Return "12 bought, 3 viewed"; what never happened is left out."""
    parts = (
        (counts.n_bought, ngettext("%d bought", "%d bought", counts.n_bought)),
        (counts.n_carted, ngettext("%d put in the cart", "%d put in the cart", counts.n_carted)),
        (counts.n_viewed, ngettext("%d viewed", "%d viewed", counts.n_viewed)),
        (counts.n_searched, ngettext("searched once", "searched %d times", counts.n_searched)),
        (counts.n_returned, ngettext("%d returned", "%d returned", counts.n_returned)),
    )
    return ", ".join(text % n if "%d" in text else text for n, text in parts if n)


def headline(interests: Sequence[Interest], *, n_events: int, last_at: dt.datetime, now: dt.datetime) -> str:
    """Return "Mostly lunch bags: 12 bought, 3 viewed, last 4 days ago"."""
    if not n_events:
        return gettext("Nothing is known of this visitor yet.")
    if not interests:
        text = ngettext(
            "%(n)d event, about nothing in the catalogue, %(ago)s",
            "%(n)d events, about nothing that is still in the catalogue, last %(ago)s",
            n_events,
        )
        return text % {"n": n_events, "ago": ago(last_at, now)}
    first = interests[0]
    if first.share >= DOMINANT_SHARE:
        return gettext("Mostly %(name)s: %(evidence)s, last %(ago)s") % {
            "name": first.name,
            "evidence": actions_in_words(first.evidence),
            "ago": ago(first.last_at, now),
        }
    return gettext("Many things, most of all %(names)s, last %(ago)s") % {
        "names": ", ".join(interest.name for interest in interests[:3]),
        "ago": ago(last_at, now),
    }


def prices_in_words(low: float, high: float, *, level: float, currency: str, is_bought: bool) -> str:
    """Return "Buys at 1.00 to 2.50 GBP, among the cheaper things here"; `level` in [0, 1] within the catalogue."""
    if level < 1 / 3:
        rank = gettext("among the cheaper things here")
    elif level < 2 / 3:
        rank = gettext("in the middle of the catalogue")
    else:
        rank = gettext("among the dearer things here")
    span = f"{low:.2f}" if low == high else gettext("%(low).2f to %(high).2f") % {"low": low, "high": high}
    verb = gettext("Buys") if is_bought else gettext("Looks")
    amount = f"{span} {currency}".strip()
    return gettext("%(verb)s at %(amount)s, %(level)s") % {"verb": verb, "amount": amount, "level": rank}


def rhythm_in_words(weekdays: Counter[int], hours: Counter[int]) -> str:
    """Return "Mostly on a Friday, around 12:00"; nothing below `FEWEST_HOURS`."""
    if weekdays.total() < FEWEST_HOURS:
        return ""
    ((day, n_on_day),), ((hour, _),) = weekdays.most_common(1), hours.most_common(1)
    often = gettext("Mostly") if n_on_day >= weekdays.total() / 2 else gettext("Most often")
    return gettext("%(often)s on a %(day)s, around %(hour)d:00") % {"often": often, "day": WEEKDAYS[day], "hour": hour}


def orders_in_words(n_orders: int, gap_days: float | None, due_at: dt.datetime | None, now: dt.datetime) -> str:
    """Return "4 orders, about every 21 days; next due in 20 days"."""
    orders = ngettext("%d order", "%d orders", n_orders) % n_orders
    if gap_days is None or due_at is None:
        return orders
    every = ngettext("about every %d day", "about every %d days", round(gap_days)) % round(gap_days)
    days = abs((due_at - now).days)
    if due_at > now:
        due = ngettext("next due in %d day", "next due in %d days", days) % days
    else:
        due = ngettext("overdue by %d day", "overdue by %d days", days) % days
    return f"{orders}, {every}; {due}"


def segment_in_words(traits: Sequence[Trait], spellings: Mapping[str, str]) -> str:
    """Return "Christmas and vintage, low price, weekday mornings": at most two tastes, the price and one habit."""
    telling = [trait for trait in traits if trait.share >= TELLING_RATIO * trait.overall]

    def named(blocks: Sequence[str], most: int) -> list[str]:
        return [trait_in_words(trait, spellings) for trait in telling if trait.axis[0] in blocks][:most]

    parts = named(TASTES, 2)
    if len(parts) == 2:
        parts = [gettext("%(first)s and %(second)s") % {"first": parts[0], "second": parts[1]}]
    parts += named(("price",), 1) + named(HABITS, 1)
    text = ", ".join(parts) or gettext("a bit of everything")
    return text[:1].upper() + text[1:]


def trait_in_words(trait: Trait, spellings: Mapping[str, str]) -> str:
    """Return the name of a trait; words are spelled as in `spellings`, by stem."""
    block, name = trait.axis
    if trait.axis in TRAITS:
        return str(TRAITS[trait.axis])
    return spellings.get(name, name) if block == "word" else name


def spellings_of(stems: Iterable[str], texts: Iterable[str]) -> dict[str, str]:
    """Return each stem as the texts spell it most often."""
    spellings: dict[str, Counter[str]] = {stem: Counter() for stem in stems}
    for text in texts:
        for stem, words in terms(text).items():
            if stem in spellings:
                spellings[stem][words] += 1
    return {stem: min(n, key=lambda words: (-n[words], words)) for stem, n in spellings.items() if n}
