"""What the OpenAPI document says of the endpoints for rules, which are for the shop's staff."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter

from recommender.api import rules

RULE: dict[str, Any] = {
    "rule_id": 7, "version": 3, "state": "live", "name": "Cakestands first", "action": "pin", "item_ids": ["22423"],
    "attribute": "", "values": [], "position": 1, "places": None, "url": "", "text": "", "match": "contains",
    "query": "cake", "slot": "", "segment": None, "experiment": None, "starts_at": None,
    "ends_at": "2026-03-08T00:00:00Z",
    "created_by": "anna", "edited_by": "anna", "reviewed_by": "ben", "updated_at": "2026-03-01T09:30:00Z",
    "reviewed_at": "2026-03-01T09:30:00Z", "cost": {"n_on": 1900, "n_out": 100, "n_mixed": 0}, "conflicts": [],
}  # fmt: skip
DRAFT = {
    "name": "Cakestands first", "action": "pin", "item_ids": ["22423"], "position": 1, "match": "contains",
    "query": "cake", "ends_at": "2026-03-08T00:00:00Z",
}  # fmt: skip
STAFF: list[Any] = [{"shopUser": []}, {"shopSession": []}]
RULE_ID = OpenApiParameter("rule_id", str, "path", description="The number of a rule.")
READ = ("bad-request", "invalid-key", "too-many-requests", "unavailable", "not-identified", "forbidden")
BODY = ("invalid-request", "malformed-json", "length-required", "too-large", "unsupported-media-type")


Operations = dict[str, dict[str, Any]]


def rule_operations(answer: Any, failures: Any) -> dict[str, Operations]:
    """The operations by view and method; answer and failures: as `api.schema` describes both."""
    return {
        "recommender.api.rules.RulesView": _of_all(answer, failures),
        "recommender.api.rules.RuleView": _of_one(answer, failures),
        "recommender.api.rules.RuleStepView": _of_step(answer, failures),
    }


def _of_all(answer: Any, failures: Any) -> Operations:
    return {
        "get": {
            "auth": STAFF,
            "operation_id": "listRules",
            "summary": "List the rules of the shop",
            "description": "For staff with the permission recommender.view_rule; 200 at a time.",
            "parameters": [rules.RuleParameters],
            "responses": answer(200, rules.RulesSerializer, "The rules.", {"rules": [RULE], "n_rules": 1})
            | failures("invalid-request", *READ),
        },
        "post": {
            "auth": STAFF,
            "operation_id": "writeRule",
            "summary": "Write the draft of a rule",
            "description": "For staff with the permission recommender.add_rule. Nothing serves before it is published.",
            "request": rules.RuleContentSerializer,
            "responses": answer(201, rules.RuleSerializer, "The draft.", RULE | {"state": "draft", "version": 1})
            | failures(*BODY, *READ),
            "examples": [OpenApiExample("A pin", value=DRAFT, request_only=True)],
        },
    }


def _of_one(answer: Any, failures: Any) -> Operations:
    changed = answer(200, rules.RuleSerializer, "The rule now.", RULE)
    return {
        "get": {
            "auth": STAFF,
            "operation_id": "readRule",
            "summary": "Read a rule",
            "description": "With the other rules that collide with it, and what it costs.",
            "parameters": [RULE_ID],
            "responses": answer(200, rules.RuleSerializer, "The rule.", RULE)
            | failures("invalid-request", "unknown-rule", *READ),
        },
        "patch": {
            "auth": STAFF,
            "operation_id": "changeRule",
            "summary": "Change a draft",
            "description": "For staff with the permission recommender.change_rule. A rule in review becomes a "
            "draft again; what was live is copied instead.",
            "parameters": [RULE_ID],
            "request": rules.ChangedRuleSerializer,
            "responses": changed | failures("unknown-rule", "stale-rule", "refused-step", *BODY, *READ),
            "examples": [OpenApiExample("Later", value={"version": 1, "ends_at": None}, request_only=True)],
        },
    }


def _of_step(answer: Any, failures: Any) -> Operations:
    changed = answer(200, rules.RuleSerializer, "The rule now.", RULE)
    return {
        "post": {
            "auth": STAFF,
            "operation_id": "stepRule",
            "summary": "Submit, publish, withdraw or copy a rule",
            "description": "Publish and withdraw need the permission recommender.publish_rule, submit "
            "recommender.change_rule, copy recommender.add_rule.",
            "parameters": [
                RULE_ID,
                OpenApiParameter("step", str, "path", enum=list(rules.PERMISSIONS), description="What to do."),
            ],
            "request": rules.StepSerializer,
            "responses": changed
            | answer(201, rules.RuleSerializer, "The copy.", RULE | {"state": "draft"})
            | failures("unknown-rule", "unknown-endpoint", "stale-rule", "refused-step", *BODY, *READ),
            "examples": [OpenApiExample("Step", value={"version": 2}, request_only=True)],
        },
    }
