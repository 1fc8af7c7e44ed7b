"""The columns of the workbench: one list with every item explained, two lists side by side, and two items compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from recommender.admin.workbench_words import (
    LABELS,
    RUNGS,
    SAID,
    Amount,
    also_text,
    amounts,
    arrow,
    hundredths_text,
    moved_by_rules,
    remarks,
    rule_names,
    sources_of,
    total,
    words_of_query,
)
from recommender.serving import Served
from recommender.serving.contributions import Part
from recommender.serving.inspection import Inspection, inspect
from recommender.types import Entry, Request

STRIP_WIDTH, STRIP_HEIGHT = 240, 10
SHOWN_PARTS = (Part.WORDS, Part.MEANING, Part.BEHAVIOUR, Part.PAST, Part.CONTEXT)


@dataclass(frozen=True, slots=True)
class ExplainedItem:
    """One item of a column. score: in points or percent; change: how it moved against the other column, in words."""

    entry: Entry
    parts: tuple[Amount, ...] = ()
    score: str = ""
    strip: str = ""
    sources: tuple[tuple[str, int], ...] = ()
    remarks: tuple[str, ...] = ()
    by_rules: str = ""
    by_score: int = 0
    change: str = ""
    css: str = "even"


@dataclass(frozen=True, slots=True)
class ListColumn:
    """One list. served_by, facts: what answered and what became of the query, in words."""

    title: str
    inspection: Inspection
    items: tuple[ExplainedItem, ...]
    served_by: str
    unit: str
    notes: tuple[str, ...] = ()
    said: tuple[tuple[str, str], ...] = ()
    words: tuple[tuple[str, str, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """One row of the comparison of two items: what a part adds to each, and the difference."""

    label: str
    own: str
    other: str
    difference: Amount


@dataclass(frozen=True, slots=True)
class WhyAbove:
    """Why one item stands above another. gaps: the largest difference first; steps: what beside the score decides."""

    first: ExplainedItem
    second: ExplainedItem
    gaps: tuple[Gap, ...]
    own: str
    other: str
    difference: str
    sentence: str
    steps: tuple[str, ...] = ()


def column_of(title: str, request: Request, served: Served) -> ListColumn:
    """The list as it is served, with every item explained. The queries of two lists at most."""
    seen = inspect(request, served)
    names = rule_names(seen.ranking.rules, served.rules.sources)
    items = tuple(_explained(entry, seen, names) for entry in seen.ranking.entries)
    largest = max((_reach(item) for item in items), default=0)
    items = tuple(replace(item, strip=_strip(item.parts, largest)) for item in items)
    is_chance = seen.breakdown is not None and seen.breakdown.is_chance
    return ListColumn(
        title,
        seen,
        items,
        _served_by(seen),
        gettext("% (the chance of a purchase)") if is_chance else gettext("points"),
        tuple(_notes(seen, names)),
        tuple((str(SAID[kind]), text) for kind, text in seen.said.items()),
        tuple(
            (word.typed, words_of_query(word), "; ".join(map(also_text, word.also)), word.n_items)
            for word in seen.words
        ),
    )


def side_by_side(left: ListColumn, right: ListColumn) -> tuple[ListColumn, ListColumn]:
    """Both columns, the right one with how each item moved; what stands in one alone is marked in both."""
    before = {item.entry.item_id: item.entry.position for item in left.items}
    after = {item.entry.item_id for item in right.items}
    return (
        replace(left, items=tuple(_only(item, after, gettext("● only here")) for item in left.items)),
        replace(right, items=tuple(_moved(item, before) for item in right.items)),
    )


def why_above(column: ListColumn, item_id: str, other_id: str) -> WhyAbove | None:
    """Why one item of a column stands where it does and the other elsewhere, the higher first; None where one of them
    is not listed, and for an item beside itself."""
    by_id = {item.entry.item_id: item for item in column.items}
    chosen = [by_id[one] for one in {item_id, other_id} if one in by_id]
    if len(chosen) < 2:
        return None
    first, second = sorted(chosen, key=lambda item: item.entry.position)
    others = {amount.part: amount for amount in second.parts}
    gaps = []
    for part in dict.fromkeys(amount.part for amount in (*first.parts, *second.parts)):
        own = next((amount.hundredths for amount in first.parts if amount.part is part), 0)
        other = others[part].hundredths if part in others else 0
        texts = [hundredths_text(value, signed=part is not Part.START) for value in (own, other)]
        label = str(LABELS[part])
        gaps.append(Gap(label, texts[0], texts[1], Amount(Part.OTHER, label, own - other)))
    gaps.sort(key=lambda gap: -abs(gap.difference.hundredths))
    own, other = total(first.parts), total(second.parts)
    return WhyAbove(
        first, second, tuple(gaps), hundredths_text(own), hundredths_text(other),
        hundredths_text(own - other, signed=True), _sentence(first, second, gaps, own - other),
        tuple(_steps(first, second, is_higher=own > other)),
    )  # fmt: skip


def _explained(entry: Entry, seen: Inspection, names: Mapping[int, str]) -> ExplainedItem:
    if seen.breakdown is None:
        return ExplainedItem(entry)
    row = seen.rows[entry.item_id]
    is_graded = bool(seen.breakdown.graded[list(seen.rows.values()).index(row)])
    parts = amounts(seen.breakdown.of(row)) if is_graded else ()
    standing = seen.standings.get(row)
    return ExplainedItem(
        entry,
        parts,
        hundredths_text(total(parts)) if parts else "",
        sources=tuple(sources_of(row, seen)),
        remarks=tuple(remarks(entry, standing, is_graded=is_graded)),
        by_rules=moved_by_rules(entry, seen, names),
        by_score=standing.by_score if standing is not None and parts else 0,
    )


def _served_by(seen: Inspection) -> str:
    ranking = seen.ranking
    text = str(RUNGS[ranking.rung])
    return gettext("%(rung)s, bundle %(bundle)s") % {"rung": text, "bundle": ranking.bundle[:12]} if (
        ranking.bundle
    ) else text  # fmt: skip


def _notes(seen: Inspection, names: Mapping[int, str]) -> list[str]:
    """What is to be said above the list."""
    ranking, notes = seen.ranking, []
    if seen.has_failed:
        notes.append(gettext("The bundle broke, or took too long for this list: a lower rung serves. See the log."))
    if ranking.redirect:
        notes.append(gettext("A rule leads shoppers to %s instead of this list.") % ranking.redirect)
    if ranking.corrected_query:
        notes.append(gettext("Searched for “%s” instead of what was typed.") % ranking.corrected_query)
    if ranking.notice:
        notes.append(gettext("Shoppers read: %s") % ranking.notice)
    notes += [gettext("Shoppers read above it: “%s”") % banner for banner in ranking.banners]
    if ranking.rules:
        named = ", ".join(f"“{names.get(rule, rule)}”" for rule in ranking.rules)
        notes.append(gettext("Rules that are for this list: %s.") % named)
    return notes


def _sentence(first: ExplainedItem, second: ExplainedItem, gaps: Sequence[Gap], difference: int) -> str:
    values = {
        "first": _name(first), "second": _name(second), "a": first.entry.position, "b": second.entry.position,
        "n": hundredths_text(abs(difference)),
    }  # fmt: skip
    if not first.parts or not second.parts:
        return gettext("“%(first)s” stands at %(a)d and “%(second)s” at %(b)d, but not both have a score.") % values
    direction = gettext("higher") if difference > 0 else gettext("lower") if difference < 0 else gettext("as high")
    values["direction"] = direction
    causes = [
        f"{gap.label} {gap.difference.text}" for gap in gaps if gap.difference.hundredths
    ] or [gettext("no part")]  # fmt: skip
    values["causes"] = ", ".join(causes)
    return (
        gettext("“%(first)s” stands at %(a)d and “%(second)s” at %(b)d. Its score is %(n)s %(direction)s: %(causes)s.")
        % values
    )


def _steps(first: ExplainedItem, second: ExplainedItem, *, is_higher: bool) -> list[str]:
    """What beside the score sets two items apart."""
    steps = []
    for item, other in ((first, second), (second, first)):
        own = [text for text in (*item.remarks, item.by_rules) if text and text not in (*other.remarks, other.by_rules)]
        steps += [f"“{_name(item)}”: {text}." for text in own]
    if not is_higher and first.parts and second.parts:
        steps.insert(0, gettext("By the score alone it would stand below. What lifts it:"))
        if len(steps) == 1:
            steps = [gettext("By the score alone it would stand below: the list is kept diverse, or within a limit.")]
    return steps


def _name(item: ExplainedItem) -> str:
    title = item.entry.live.title if item.entry.live is not None else ""
    return (title or item.entry.item_id)[:60]


def _only(item: ExplainedItem, others: set[str], text: str) -> ExplainedItem:
    return item if item.entry.item_id in others else replace(item, change=text)


def _moved(item: ExplainedItem, before: Mapping[str, int]) -> ExplainedItem:
    position = before.get(item.entry.item_id)
    if position is None:
        return replace(item, change=gettext("● only here"))
    change = arrow(position, item.entry.position)
    css = "even" if not change else "better" if position > item.entry.position else "worse"
    return replace(item, change=change or gettext("= same place"), css=css)


def _reach(item: ExplainedItem) -> int:
    """How far the strip of an item reaches to one side."""
    shown = [amount.hundredths for amount in item.parts if amount.part in SHOWN_PARTS]
    return max(sum(value for value in shown if value > 0), -sum(value for value in shown if value < 0))


def _strip(parts: Sequence[Amount], largest: int) -> SafeString:
    """The parts as coloured bars beside a middle: what lowers the score to the left, what raises it to the right."""
    shown = [amount for amount in parts if amount.part in SHOWN_PARTS and amount.hundredths]
    if not shown or not largest:
        return SafeString("")
    middle, ends, bars = STRIP_WIDTH / 2, {True: 0.0, False: 0.0}, []
    for amount in shown:
        is_raising = amount.hundredths > 0
        width = abs(amount.hundredths) / largest * (middle - 2)
        start = middle + ends[True] if is_raising else middle - ends[False] - width
        ends[is_raising] += width
        bars.append((SHOWN_PARTS.index(amount.part), f"{start:.1f}", f"{width:.1f}", STRIP_HEIGHT))
    rects = format_html_join("", '<rect class="rec-part-{}" x="{}" y="0" width="{}" height="{}"/>', bars)
    return format_html(
        '<svg class="rec-strip" viewBox="0 0 {w} {h}" aria-hidden="true" focusable="false">{rects}'
        '<path class="rec-axis" d="M{m} 0V{h}"/></svg>', w=STRIP_WIDTH, h=STRIP_HEIGHT, m=middle, rects=rects,
    )  # fmt: skip
