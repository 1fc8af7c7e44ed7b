"""Whether one list may obey two rules: at the same time, in the same slot, for the same people and query."""

from __future__ import annotations

from recommender.models import Rule
from recommender.text.letters import fold
from recommender.text.query import normal_query
from recommender.text.stems import stem
from recommender.text.words import tokens
from recommender.types import Slot


def may_meet(rule: Rule, other: Rule) -> bool:
    """Whether one list may obey both."""
    is_same_list = not _slot(rule) or not _slot(other) or _slot(rule) == _slot(other)
    return is_same_list and may_hold_for_one(rule, other) and _may_match_both(rule, other)


def may_hold_for_one(rule: Rule, other: Rule) -> bool:
    """Whether one person may be under both at one time, whatever the list."""
    return (
        (rule.starts_at is None or other.ends_at is None or rule.starts_at < other.ends_at)
        and (other.starts_at is None or rule.ends_at is None or other.starts_at < rule.ends_at)
        and (rule.experiment_id is None or other.experiment_id in (None, rule.experiment_id))
        and (rule.segment_id is None or other.segment_id is None or rule.segment_id == other.segment_id)
    )


def matches(rule: Rule, query: str) -> bool:
    """Whether a rule for words is for this query; one for a category is not, since only a model knows that."""
    if rule.match == Rule.Match.EXACT:
        return fold(normal_query(rule.query)) == fold(normal_query(query))
    return rule.match == Rule.Match.CONTAINS and _contains(query, rule.query)


def _slot(rule: Rule) -> str:
    """The only slot of a rule, "" for several."""
    return Slot.SEARCH.value if rule.match in (Rule.Match.EXACT, Rule.Match.CONTAINS) else rule.slot


def _may_match_both(rule: Rule, other: Rule) -> bool:
    matches = {rule.match, other.match}
    if matches == {Rule.Match.EXACT}:
        return fold(normal_query(rule.query)) == fold(normal_query(other.query))
    if matches <= {Rule.Match.EXACT, Rule.Match.CONTAINS}:
        return _contains(rule.query, other.query) or _contains(other.query, rule.query)
    if matches == {Rule.Match.CATEGORY}:
        return fold(rule.query) == fold(other.query)
    return True


def _contains(query: str, part: str) -> bool:
    words, wanted = (tuple(map(stem, tokens(text))) for text in (query, part))
    return any(words[start : start + len(wanted)] == wanted for start in range(len(words)))
