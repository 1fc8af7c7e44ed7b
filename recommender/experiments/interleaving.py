"""Team-draft interleaving: two rankers share one list, and what is clicked says which of them chose better.

Source: Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?", CIKM 2008, algorithm 2.
Each shopper compares both at the same moment, so that far fewer sessions are needed than with two halves of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from recommender.experiments.assignment import CONTROL, VARIANT


def team_draft(control: Sequence[str], variant: Sequence[str], *, limit: int, seed: str) -> list[tuple[str, str]]:
    """Merge two lists of ids, best first, into at most `limit` pairs of an id and the team that chose it.

    In each round a coin decides who chooses first; each side then takes its best id that is not yet taken. The coins
    come from the seed alone: the same seed gives a longer list with the same beginning. What both sides would show at
    a position belongs to the side that chose it, as in the source.
    """
    coins = random.Random(seed)
    sides = {CONTROL: list(control), VARIANT: list(variant)}
    drafted: dict[str, str] = {}
    next_choice = dict.fromkeys(sides, 0)
    while len(drafted) < limit:
        n_before = len(drafted)
        teams = (CONTROL, VARIANT) if coins.random() < 0.5 else (VARIANT, CONTROL)
        for team in teams:
            ids = sides[team]
            while next_choice[team] < len(ids) and ids[next_choice[team]] in drafted:
                next_choice[team] += 1
            if next_choice[team] < len(ids) and len(drafted) < limit:
                drafted[ids[next_choice[team]]] = team
        if len(drafted) == n_before:
            break
    return list(drafted.items())


def preference(credits_of_control: float, credits_of_variant: float) -> int:
    """What one session says: 1 where the variant's choices got more credit, -1 the control's, 0 for a tie."""
    return (credits_of_variant > credits_of_control) - (credits_of_variant < credits_of_control)
