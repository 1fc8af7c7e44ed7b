"""Says in words why an item stands where it does: the parts of its score, the retrievers, what moved it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from recommender.admin.numbers import local
from recommender.models import Rule
from recommender.serving.contributions import PARTS, Part
from recommender.serving.inspection import Inspection
from recommender.serving.tracing import GUESSED, OTHER_FORM, SYNONYMOUS, AlsoFound, QueryWord, Standing
from recommender.types import Entry, Rung

LABELS: Mapping[Part, str | Promise] = {
    Part.START: _("average candidate"),
    Part.WORDS: _("words"),
    Part.MEANING: _("meaning"),
    Part.BEHAVIOUR: _("behaviour of all"),
    Part.PAST: _("shopper's past"),
    Part.CONTEXT: _("context"),
    Part.OTHER: _("other"),
}
EXPLANATIONS: Sequence[tuple[str | Promise, str | Promise]] = (
    (LABELS[Part.START], _("what the mean of all candidates of this list scores; the same for every item")),
    (LABELS[Part.WORDS], _("how well the item has the words of the query, or of what the shopper bought")),
    (LABELS[Part.MEANING], _("how near its text is in meaning, and whether it is of what the query names")),
    (LABELS[Part.BEHAVIOUR], _("what all shoppers buy and look at, also together with it")),
    (LABELS[Part.PAST], _("what this shopper bought, looked at and likes")),
    (LABELS[Part.CONTEXT], _("the page, the time, the price level of the item")),
)

SOURCES: Mapping[str, str | Promise] = {
    "words": _("words"),
    "meaning": _("meaning"),
    "near": _("near in text"),
    "popular": _("popularity"),
    "visitor": _("others chose it too"),
    "basket": _("ordered together"),
    "regression": _("predicted from orders"),
    "sequel": _("bought afterwards"),
    "own": _("own items"),
    "vector": _("near to the shopper's interest"),
    "latest": _("near to the latest item"),
    "due": _("due again"),
    "session": _("this session"),
}

ANSWERS: Sequence[str | Promise] = (
    _("lacks words of the query"), _("has all words in some form"), _("has all words as written"),
    _("has just the words of the query as its title"),
)  # fmt: skip

RUNGS: Mapping[Rung, str | Promise] = {
    Rung.CHAMPION: _("a trained model"),
    Rung.UNTRAINED: _("the untrained encoder"),
    Rung.REDUCED: _("a model without a part that failed or was late"),
    Rung.LEXICAL: _("matching words alone"),
    Rung.POPULARITY: _("what sells"),
    Rung.WORDS: _("words in the database: this process has not loaded the catalogue yet; reload the page in a moment"),
    Rung.SHOP_ORDER: _("the shop's own order: no item is synced yet; run recommender_sync"),
    Rung.EMPTY: _("nothing: no event is known yet; the newest items stand here"),
}

SAID: Mapping[str, str | Promise] = {
    "min_price": _("from a price of"),
    "max_price": _("up to a price of"),
    "currency": _("currency"),
    "foreign_price": _("a price in a currency that the shop has not: ignored"),
    "excluded": _("excluded"),
    "brand": _("brand"),
    "category": _("category"),
    "product": _("names the goods"),
    "attribute": _("attribute"),
    "likely_category": _("probably of the category"),
}

WHY_FOUND: Mapping[str, str | Promise] = {
    SYNONYMOUS: _("synonym"), OTHER_FORM: _("another form"), GUESSED: _("a guess, or a word that begins so"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Amount:
    """What one part adds, in hundredths of the unit, so that what is shown sums exactly."""

    part: Part
    label: str
    hundredths: int

    @property
    def text(self) -> str:
        """With its sign; the start has none."""
        return hundredths_text(self.hundredths, signed=self.part is not Part.START)

    @property
    def sign(self) -> str:
        """An arrow, so that colour is not needed."""
        if self.part is Part.START or not self.hundredths:
            return ""
        return "▲" if self.hundredths > 0 else "▼"

    @property
    def css(self) -> str:
        if self.part is Part.START or not self.hundredths:
            return "even"
        return "better" if self.hundredths > 0 else "worse"


def hundredths_text(hundredths: int, *, signed: bool = False) -> str:
    """A number with two decimals, with a real minus sign."""
    sign = "\u2212" if hundredths < 0 else "+" if signed and hundredths else ""
    return f"{sign}{local(abs(hundredths) / 100, ',.2f')}"


def amounts(parts: Mapping[Part, float]) -> tuple[Amount, ...]:
    """The parts of a score in points (a hundredth of its unit), rounded so that they sum to the rounded score."""
    rounded = {part: round(parts[part] * 10_000) for part in PARTS}
    largest = max(PARTS, key=lambda part: (part is not Part.START and parts[part] != 0, abs(parts[part])))
    rounded[largest] += round(sum(parts.values()) * 10_000) - sum(rounded.values())
    return tuple(
        Amount(part, str(LABELS[part]), rounded[part]) for part in PARTS if part is not Part.OTHER or rounded[part]
    )


def total(parts: Sequence[Amount]) -> int:
    """The score in hundredths of a point."""
    return sum(amount.hundredths for amount in parts)


def sources_of(row: int, inspection: Inspection) -> list[tuple[str, int]]:
    """The retrievers that brought an item, with the place that each gives it."""
    return [(str(SOURCES[name]), places[row]) for name, places in inspection.retrieved.items() if row in places]


def remarks(entry: Entry, standing: Standing | None, *, is_graded: bool) -> list[str]:
    """What beside the score decides where an item stands."""
    if standing is None:
        return []
    texts = [
        (not (standing.is_available and (entry.live is None or entry.live.available)),
         gettext("sold out: behind what can be bought")),
        (standing.is_near, gettext("does not match, only comes near: behind the matches")),
        (standing.is_led, gettext("near to what was looked at in this session: every other place is for such items")),
        (standing.is_due, gettext("due again: takes turns with what is new to the shopper")),
        (standing.is_added, gettext("only there because of a rule")),
        (not is_graded, gettext("stands here without a score of its own")),
    ]  # fmt: skip
    said = [text for is_true, text in texts if is_true]
    if standing.answers > 0:
        said.append(str(ANSWERS[standing.answers]))
    return said


def moved_by_rules(entry: Entry, inspection: Inspection, names: Mapping[int, str]) -> str:
    """What rules did with an item, in places: they move items and add nothing to a score."""
    if not inspection.without_rules:
        return ""
    before = inspection.without_rules.get(entry.item_id)
    named = ", ".join(f"“{names.get(rule, rule)}”" for rule in entry.rules)
    if not entry.rules:
        return "" if before in (None, entry.position) else gettext("%s because rules move others") % arrow(
            before, entry.position
        )  # fmt: skip
    if entry.pinned:
        text = gettext("pinned to place %(n)d by %(rules)s") % {"n": entry.pinned, "rules": named}
    else:
        text = gettext("moved by %s") % named
    change = arrow(before, entry.position) if before is not None else gettext("not among these without it")
    return f"{text}: {change}" if change else gettext("%s, which changes nothing here") % text


def arrow(before: int | None, after: int) -> str:
    """By how many places an item moved, with sign and words; "" where it did not."""
    if before is None or before == after:
        return ""
    n = abs(before - after)
    if before > after:
        return ngettext("▲ %d place up", "▲ %d places up", n) % n
    return ngettext("▼ %d place down", "▼ %d places down", n) % n


def words_of_query(word: QueryWord) -> str:
    """What became of a word of the query."""
    said = []
    if word.is_corrected:
        said.append(gettext("corrected to “%s”") % word.understood)
    if word.is_dropped:
        said.append(gettext("dropped: nothing has it beside the other words"))
    if word.is_optional:
        said.append(gettext("links words; an item need not have it"))
    if not word.n_items and not word.is_optional:
        said.append(gettext("unknown to the catalogue"))
    return "; ".join(said) or gettext("as typed")


def also_text(other: AlsoFound) -> str:
    """A word that counts too, with why and how much."""
    return f"{other.text} ({WHY_FOUND[other.why]}, {local(other.weight, '.0%')})"


def rule_names(ids: Sequence[int], rules: Sequence[Rule]) -> dict[int, str]:
    """The names of rules by their ids. One query, none for no id and for those that are at hand."""
    names = {rule.pk: str(rule) for rule in rules}
    missing = [pk for pk in ids if pk not in names]
    if missing:
        names |= {rule.pk: str(rule) for rule in Rule.objects.filter(pk__in=missing)}
    return names
