"""Shows what a rule does before anybody sees it: the same list without and with it, held back from nobody."""

from __future__ import annotations

from dataclasses import replace

from recommender.models import Rule
from recommender.serving.answers import answer
from recommender.serving.live_entries import ReadsOfOneList
from recommender.serving.memory import Served
from recommender.serving.rule_book import compiled
from recommender.types import Ranking, Request


def before_and_after(rule: Rule, request: Request, served: Served) -> tuple[Ranking, Ranking]:
    """The list under the other live rules, and the list with this one too, whatever its state is.

    Nothing is recorded, nobody is held out, and no experiment or exploration takes part. The queries of two lists.
    """
    tried = frozenset() if rule.experiment_id is None else frozenset({rule.experiment_id})
    request = replace(request, person_key="", variants=tried)
    plain = replace(served, experiments=(), explorations={})
    others = [source for source in served.rules.sources if source.pk != rule.pk]
    reads = ReadsOfOneList()
    before, after = (
        answer(request, reads, served=plain.ruled_by(compiled(rules, served.shelf)))
        for rules in (others, [*others, rule])
    )
    return before, after
