"""What a rule is predicted to change: the mean probability of a click and of a purchase of its lists, with and without.

The lists are those of nobody, for requests that the rule is for: recent ones where there are any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from django.utils import timezone

from recommender.models import Impression, Rule
from recommender.serving.memory import Served
from recommender.serving.ranking import rank
from recommender.serving.rule_book import compiled
from recommender.types import Context, Ranking, Request, Slot

N_REQUESTS = 12
N_READ = 200
N_PLACES = 10
BESIDE_AN_ITEM = (Slot.SIMILAR, Slot.BOUGHT_TOGETHER)


def predict(rule: Rule, served: Served) -> dict[str, dict[str, float]]:
    """By event the mean probability "with" the rule and "without" it, over the first places of its lists.

    Empty where no trained model predicts, and where the rule is for no request that is known. One query.
    """
    if served.ranker is None or served.ranker.head is None or served.shelf.vectors is None:
        return {}
    others = [source for source in served.rules.sources if source.pk != rule.pk]
    without = served.ruled_by(compiled(others, served.shelf))
    under = served.ruled_by(compiled([*others, rule], served.shelf))
    sums: dict[str, list[tuple[float, float]]] = {}
    for request in requests_of(rule, under)[:N_REQUESTS]:
        means = [chances(request, rank(request, served=pair), served) for pair in (under, without)]
        for name in means[0].keys() & means[1].keys():
            sums.setdefault(name, []).append((means[0][name], means[1][name]))
    pairs = {name: np.mean(pairs, axis=0).tolist() for name, pairs in sums.items()}
    n = len(next(iter(sums.values()), []))
    return {name: {"with": pair[0], "without": pair[1], "n_lists": n} for name, pair in pairs.items()}


def requests_of(rule: Rule, served: Served) -> list[Request]:
    """Requests that the rule is for: those of its newest impressions, else likely ones. One query."""
    context = Context(max(timezone.now(), rule.starts_at) if rule.starts_at else timezone.now())
    wanted = [
        Request(Slot(slot), context, query=query, item_id=item_id, limit=N_PLACES, segment_id=rule.segment_id)
        for slot, query, item_id in dict.fromkeys([*_recent(rule), *_likely(rule, served)])
    ]
    book = served.rules
    return [request for request in wanted if any(live.id == rule.pk for live in book.matching(request, served.shelf))]


def chances(request: Request, ranking: Ranking, served: Served) -> Mapping[str, float]:
    """The mean probability of each event that the head predicts, over the items of a list; empty for an empty one."""
    ranker, shelf = served.ranker, served.shelf
    rows = np.array([shelf.index[entry.item_id] for entry in ranking.entries[:N_PLACES]], np.int32)
    if ranker is None or shelf.vectors is None or not len(rows):
        return {}
    profile = shelf.profile(replace(request, item_id=""))
    features = ranker.score(profile, rows, shelf.state, shelf.items, shelf.vectors).features
    return {name: float(values.mean()) for name, values in ranker.probabilities(features).items()}


def _recent(rule: Rule) -> Sequence[tuple[str, str, str]]:
    shown = Impression.objects.filter(rules__isnull=False).order_by("-occurred_at")
    rows = shown.values_list("slot", "query", "current_item_id", "rules")[:N_READ]
    return [(slot, query, item_id) for slot, query, item_id, rules in rows if rule.pk in map(abs, rules or ())]


def _likely(rule: Rule, served: Served) -> Sequence[tuple[str, str, str]]:
    """The rule's own query, past queries, and each of its slots, beside its best-selling items."""
    shelf = served.shelf
    if rule.match in (Rule.Match.EXACT, Rule.Match.CONTAINS):
        return [(Slot.SEARCH.value, rule.query, "")]
    best = np.argsort(-shelf.state.counts[:, -1], kind="stable")[:N_REQUESTS].tolist()
    beside = [shelf.items.ids[row] for row in best]
    queries = [(Slot.SEARCH.value, query, "") for query in (rule.query, *shelf.past_queries.queries) if query]
    slots = [rule.slot] if rule.slot else [slot.value for slot in Slot]
    others = [
        (slot, "", item_id if slot in BESIDE_AN_ITEM else "")
        for item_id in beside
        for slot in slots
        if slot != Slot.SEARCH
    ]
    return [*(queries if Slot.SEARCH in slots else []), *others]
