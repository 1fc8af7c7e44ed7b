"""What a new model is compared with: one row for each list, competitor and guardrail, for code and admin alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

RANKER, CHAMPION = "ranker", "champion"

SCOPES: Mapping[str, Any] = {"all": _("all items"), "new": _("items new to the shopper")}
"""The two lists that are judged."""


@dataclass(frozen=True, slots=True)
class Competitor:
    """Whose lists are judged. `label` reads well within a sentence too; a simple one is fitted without training."""

    label: Any
    explanation: Any
    is_simple: bool = True


COMPETITORS: Mapping[str, Competitor] = {
    RANKER: Competitor(_("this model"), _("what the run trained"), is_simple=False),
    CHAMPION: Competitor(_("the previous model"), _("what was serving when the run was evaluated"), is_simple=False),
    "random": Competitor(_("random order"), _("the lower limit of every figure")),
    "popularity": Competitor(_("recent bestsellers"), _("bestsellers of the last 30 days")),
    "own_frequency": Competitor(_("what the shopper buys most"), _("each shopper's own habit, then bestsellers")),
    "item_knn": Competitor(_("bought by the same people"), _("item-kNN")),
    "tifu_knn": Competitor(_("TIFU-KNN"), _("habits of the shopper and of similar shoppers")),
    "ease": Competitor(_("EASE"), _("linear model of which items go together")),
    "blend": Competitor(_("the weighted blend"), _("habit, items bought by the same people and bestsellers")),
    "lexical": Competitor(_("matching words"), _("items that share words with the shopper's history")),
    "untuned_encoder": Competitor(_("BERT before fine-tuning"), _("items whose texts resemble the shopper's history")),
    "linear_baseline": Competitor(_("the linear model without BERT"), _("this model without its text vectors")),
}
SIMPLE = tuple(name for name, competitor in COMPETITORS.items() if competitor.is_simple)


@dataclass(frozen=True, slots=True)
class Limit:
    """What a guardrail measures, in which unit and direction, and how much worse it may get.

    tolerance: in the unit of the value; relative: as a share of the champion's value. The larger of both counts.
    is_absolute: the tolerance limits the value itself, whatever the champion's is; otherwise it limits how much worse
    than the champion the new model may be.
    unit: "figure" (0 to 1), "share", "milliseconds" or "difference" (of two computations that should agree).
    """

    label: Any
    explanation: Any
    tolerance: float
    relative: float = 0.0
    unit: str = "figure"
    is_higher_better: bool = True
    is_absolute: bool = False

    def allowed(self, baseline: float) -> float:
        """The most harm allowed beside a champion with this value."""
        return max(self.tolerance, self.relative * baseline) if self.relative else self.tolerance


_WANTED = _("NDCG@10 of what was wanted after the search")
_TIMED = _("measured while the evaluation ran")

GUARDRAILS: Mapping[str, Limit] = {
    # The .01 that chance gives at 600 queries, and as much again.
    "known_item_search": Limit(_("Search for known items"), _("MRR of queries made from titles (synthetic)"), 0.02),
    # Slices: about the half-width of the interval at 250 cases.
    "cold_visitor": Limit(_("First-time visitors"), _("NDCG@10 of visitors without earlier events"), 0.02),
    "cold_item": Limit(_("New items"), _("recall of items that had no event before the test"), 0.02, unit="share"),
    "head_query": Limit(_("Frequent queries"), _WANTED, 0.02),
    "torso_query": Limit(_("Queries of medium frequency"), _WANTED, 0.02),
    "tail_query": Limit(_("Rare queries"), _WANTED, 0.02),
    # One more search in a hundred.
    "zero_results": Limit(
        _("Searches without results"), _("share of the searches in the test window"), 0.01, unit="share",
        is_higher_better=False,
    ),
    # One place in twenty more may be wrong.
    "calibration": Limit(
        _("Calibration"), _("calibration error of the probabilities of all places shown"), 0.05,
        is_higher_better=False,
    ),
    # A third of what the champion shows may disappear from all lists together.
    "coverage": Limit(
        _("Catalogue coverage"), _("share of all items that appear in any top 10"), 0.0, 1 / 3, unit="share"
    ),
    # One more bestseller in a list of ten.
    "popularity_share": Limit(
        _("Share of bestsellers"), _("of all places in the top 10; more means less personal"), 0.1, unit="share",
        is_higher_better=False,
    ),
    # Share of real lists that 1 % of fake visitors may enter: five times their own share.
    "attack": Limit(
        _("Fake visitors (absolute limit)"),
        # xgettext:no-python-format
        _("share of lists that 1 % of fake visitors can get an item into"), 0.05,
        unit="share", is_higher_better=False, is_absolute=True,
    ),
    # What benchmarks/serving allows (15 and 40 ms) is kept beside a champion of 10 and 20 ms.
    "latency_p50": Limit(
        _("Response time, median"), _TIMED, 5.0, 0.5, unit="milliseconds", is_higher_better=False
    ),
    "latency_p99": Limit(
        _("Response time, 99th percentile"), _TIMED, 20.0, 1.0, unit="milliseconds", is_higher_better=False
    ),
    "parity": Limit(
        _("Training and serving agree (absolute limit)"), _("largest difference of a feature or probability"), 1e-4,
        unit="difference", is_higher_better=False, is_absolute=True,
    ),
    "future": Limit(
        _("No data leak from after the test date (absolute limit)"),
        _("change of earlier features when later events are added"), 0.0,
        unit="difference", is_higher_better=False, is_absolute=True,
    ),
}  # fmt: skip


def label_of(name: str) -> str:
    """What people call a competitor or a guardrail; a name that is not in the tables is shown as it is."""
    row = COMPETITORS.get(name) or GUARDRAILS.get(name)
    return str(row.label) if row else name.replace("_", " ")


def explanation_of(name: str) -> str:
    """What a competitor or a guardrail is; "" where the name is not in the tables."""
    row = COMPETITORS.get(name) or GUARDRAILS.get(name)
    return str(row.explanation) if row else ""
