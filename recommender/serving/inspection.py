"""Looks at one list from all sides: what is served, the parts of each score, every retriever, and what rules moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from recommender.experiments.live import LiveExperiment
from recommender.serving.answers import N_SPARE, answer
from recommender.serving.contributions import Breakdown, breakdown
from recommender.serving.experiments import plan
from recommender.serving.live_entries import ReadsOfOneList
from recommender.serving.memory import Served
from recommender.serving.ranking import ruled_list
from recommender.serving.rule_book import RuleBook
from recommender.serving.tracing import Places, QueryWord, Standing, query_words, retrieved, said_of, standings
from recommender.types import Ranking, Relaxation, Request, Rung, Slot


@dataclass(frozen=True, slots=True)
class Inspection:
    """A list as it is served, and why. rows: by item id, its row in what is listed here.

    breakdown: None where no process has loaded the catalogue, and for an empty list. retrieved: by source the place of
    each row. without_rules: the place of each item of the same list without any rule; empty where no rule applies.
    has_failed: the bundle broke or was too slow, and a lower rung serves.
    """

    request: Request
    ranking: Ranking
    rows: Mapping[str, int] = field(default_factory=dict)
    breakdown: Breakdown | None = None
    standings: Mapping[int, Standing] = field(default_factory=dict)
    retrieved: Mapping[str, Places] = field(default_factory=dict)
    words: tuple[QueryWord, ...] = ()
    said: Mapping[str, str] = field(default_factory=dict)
    without_rules: Mapping[str, int] = field(default_factory=dict)
    has_failed: bool = False


@dataclass(frozen=True, slots=True)
class Apart:
    """What one shopper sees otherwise than this list: experiments with their arms, and rules that they are held out of.

    Their list is not shown, as an experiment may draw it by lot.
    """

    experiments: tuple[tuple[LiveExperiment, str], ...] = ()
    held_out: tuple[int, ...] = ()


def inspect(request: Request, served: Served) -> Inspection:
    """Look at the list of a request. Nothing is recorded, nobody is held out of a rule, and no experiment or
    exploration takes part. The queries of two lists at most."""
    request = replace(request, person_key="")
    plain, reads = replace(served, experiments=(), explorations={}), ReadsOfOneList()
    ranking = answer(request, reads, served=plain)
    if not plain.is_loaded or not plain.shelf.index:
        return Inspection(request, ranking)
    has_failed = ranking.bundle != plain.bundle or ranking.rung is Rung.REDUCED
    answering = Served(plain.shelf, rules=plain.rules) if has_failed else plain
    question, chosen = ruled_list(replace(request, limit=request.limit + N_SPARE[0]), answering)
    listed, shelf = chosen.listed, plain.shelf
    rows = np.array([shelf.index[entry.item_id] for entry in ranking.entries], np.int32)
    without = {}
    if ranking.rules:
        others = answer(request, reads, served=plain.ruled_by(RuleBook()))
        without = {entry.item_id: entry.position for entry in others.entries}
    is_answer = request.slot is Slot.SEARCH and listed.relaxed is not Relaxation.POPULAR
    return Inspection(
        request,
        ranking,
        {entry.item_id: row for entry, row in zip(ranking.entries, rows.tolist(), strict=True)},
        breakdown(question, listed, rows) if len(rows) else None,
        standings(question, chosen, rows),
        retrieved(question, listed),
        query_words(request.query, listed, shelf) if is_answer else (),
        said_of(listed.intent),
        without,
        has_failed,
    )


def apart(request: Request, served: Served) -> Apart:
    """What the shopper of a request sees otherwise. No query."""
    if not request.person_key:
        return Apart()
    return Apart(plan(request, served).experiments, served.rules.applied(request, served.shelf).held_out)
