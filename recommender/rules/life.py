"""The way of a rule: written as a draft, submitted, published by whoever may, withdrawn; nobody's change is lost.

Each step names the version that it was decided on, and is refused where somebody has changed the rule since.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from recommender import conf
from recommender.exceptions import RuleError
from recommender.models import Rule
from recommender.rules.checking import expired, faults_of
from recommender.rules.conflicts import conflicts_of
from recommender.rules.steps import step

CONTENT = (
    "name", "action", "item_ids", "attribute", "values", "position", "places", "url", "text", "match", "query", "slot",
    "segment", "experiment", "starts_at", "ends_at",
)  # fmt: skip
"""What people write; the rest is the life of the rule."""

State = Rule.State


def create(rule: Rule, *, user: Any, host: str) -> Rule:
    """Store a new draft. Raises `RuleError` for one that makes no sense."""
    require_valid(rule, host=host)
    rule.created_by = rule.edited_by = user
    rule.state, rule.version, rule.updated_at = State.DRAFT, 1, timezone.now()
    rule.save()
    return rule


def change(rule: Rule, *, user: Any, host: str, version: int) -> Rule:
    """Store a changed draft; one that was in review becomes a draft again. Raises `RuleError`, `StaleRule`."""
    require_open(rule)
    require_valid(rule, host=host)
    content = {name: getattr(rule, name) for name in CONTENT}
    return step(rule, version, (State.DRAFT, State.REVIEW), {**content, "state": State.DRAFT, "edited_by": user})


def submit(rule: Rule, *, host: str, version: int) -> Rule:
    """Hand a draft over to review. Raises `RuleError`, `StaleRule`."""
    _require_publishable(rule, host)
    return step(rule, version, (State.DRAFT,), {"state": State.REVIEW, "submitted_at": timezone.now()})


def publish(rule: Rule, *, user: Any, host: str, version: int) -> Rule:
    """Let a rule in review go live. With `TWO_PERSON_RULES` not by whoever changed it last. Raises `RuleError`."""
    if conf.get("TWO_PERSON_RULES") and rule.edited_by_id == user.pk:
        raise RuleError(_("You changed this rule last, so somebody else must publish it (TWO_PERSON_RULES)."))
    _require_publishable(rule, host)
    values = {"state": State.LIVE, "reviewed_by": user, "reviewed_at": timezone.now(), "cost": {}, "cost_at": None}
    return step(rule, version, (State.REVIEW,), values)


def withdraw(rule: Rule, *, version: int) -> Rule:
    """Take a rule out of review or out of the lists. Raises `RuleError`, `StaleRule`."""
    return step(rule, version, (State.REVIEW, State.LIVE), {"state": State.WITHDRAWN, "withdrawn_at": timezone.now()})


def copy(rule: Rule, *, user: Any) -> Rule:
    """A new draft with the same content: what was live is never changed, so that its figures stay true."""
    content = {name: getattr(rule, name) for name in CONTENT}
    return Rule.objects.create(**content, created_by=user, edited_by=user)


def require_open(rule: Rule) -> None:
    """Raise `RuleError` for a rule that is no longer written: its content is what its figures are about."""
    if rule.state in (State.LIVE, State.WITHDRAWN):
        raise RuleError(_("A rule that was live is not changed. Copy it, change the copy, and withdraw this one."))


def require_valid(rule: Rule, *, host: str) -> None:
    """Raise `RuleError` with what is wrong, by field."""
    if faults := faults_of(rule, host=host):
        raise RuleError(" ".join(faults.values()), errors=faults)


def standing(rule: Rule, *, at: dt.datetime) -> str:
    """The state as people see it: a live rule may also be "scheduled" or "ended"."""
    if rule.state != State.LIVE or rule.is_serving(at):
        return str(rule.state)
    return "ended" if rule.has_ended(at) else "scheduled"


def _require_publishable(rule: Rule, host: str) -> None:
    """Raise `RuleError` for a rule that is not valid now, or that cannot be live beside another."""
    now = timezone.now()
    require_valid(rule, host=host)
    if faults := expired(rule, at=now):
        raise RuleError(" ".join(faults.values()), errors=faults)
    refused = [conflict.text for conflict in conflicts_of(rule, at=now) if conflict.is_refused]
    if refused:
        field = "url" if rule.action == Rule.Action.REDIRECT else "position"
        raise RuleError(" ".join(refused), errors={field: " ".join(refused)})
