"""Rules of merchandisers for the shop's staff: read, write and take through their steps, by the admin's permissions."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from recommender.api.authentication import BrowserCookies
from recommender.api.base import ApiView, checked
from recommender.api.parameters import MAX_ID_LENGTH, MAX_NAME_LENGTH, Parameters
from recommender.api.problems import Problem
from recommender.api.serializers import StrictSerializer, UtcDateTimeField
from recommender.exceptions import RuleError, StaleRule
from recommender.models import Experiment, Rule, Segment
from recommender.rules import life
from recommender.rules.checking import MAX_ITEMS, MAX_POSITION
from recommender.rules.conflicts import conflicts_of
from recommender.types import Slot

MAX_LISTED = 200
MAX_PLACES = 1_000
STANDINGS = ["draft", "review", "live", "scheduled", "ended", "withdrawn"]
PERMISSIONS = {
    "submit": "recommender.change_rule",
    "publish": "recommender.publish_rule",
    "withdraw": "recommender.publish_rule",
    "copy": "recommender.add_rule",
}
"""The steps of a rule, and who may take them."""


class RuleParameters(Parameters):
    state = serializers.ChoiceField(choices=Rule.State.values, required=False, help_text="Only rules in this state.")
    offset = serializers.IntegerField(default=0, min_value=0, max_value=100_000, help_text="Rules to skip.")


class RuleContentSerializer(StrictSerializer):
    name = serializers.CharField(max_length=100, help_text="What it is for, for your colleagues.")
    action = serializers.ChoiceField(choices=Rule.Action.values, help_text="What it does.")
    item_ids = serializers.ListField(
        child=serializers.CharField(max_length=MAX_ID_LENGTH), max_length=MAX_ITEMS, required=False,
        help_text="The items that it acts on; of a pin in their order.",
    )  # fmt: skip
    attribute = serializers.CharField(
        max_length=64, allow_blank=True, required=False, help_text="Instead: items by an attribute, such as brand."
    )
    values = serializers.ListField(
        child=serializers.CharField(max_length=MAX_NAME_LENGTH), max_length=50, required=False,
        help_text="Values of the attribute, of which an item has one.",
    )  # fmt: skip
    position = serializers.IntegerField(
        min_value=1, max_value=MAX_POSITION, allow_null=True, required=False, help_text="Of the first pinned item."
    )
    places = serializers.IntegerField(
        min_value=1, max_value=MAX_PLACES, allow_null=True, required=False,
        help_text="How far boost and bury move an item; null: to the front, or to the end.",
    )  # fmt: skip
    url = serializers.CharField(
        max_length=500, allow_blank=True, required=False, help_text="Where a redirect leads: a path, or this host."
    )
    text = serializers.CharField(max_length=300, allow_blank=True, required=False, help_text="Of a banner.")
    match = serializers.ChoiceField(
        choices=Rule.Match.values, required=False, help_text="How the query must match; any: whatever it is."
    )
    query = serializers.CharField(
        max_length=255, allow_blank=True, required=False, help_text="The query, or the category."
    )
    slot = serializers.CharField(
        max_length=20, allow_blank=True, required=False, help_text="A slot, as in events; empty: every list."
    )
    segment = serializers.IntegerField(
        min_value=0,
        max_value=32_767,
        allow_null=True,
        required=False,
        help_text="Number of a segment; null: all.",
    )
    experiment = serializers.IntegerField(
        min_value=1,
        allow_null=True,
        required=False,
        help_text="Number of an experiment, whose variant alone is under the rule; null: everybody.",
    )
    starts_at = UtcDateTimeField(allow_null=True, required=False)
    ends_at = UtcDateTimeField(allow_null=True, required=False)

    def validate_slot(self, name: str) -> str:
        """A slot that exists, or none."""
        names = [slot.value for slot in Slot]
        if name and name not in names:
            raise serializers.ValidationError(f"There is no slot {name!r}. Known: {', '.join(names)}.")
        return name

    def validate_segment(self, number: int | None) -> Segment | None:
        """The segment with this number."""
        if number is None:
            return None
        segment = Segment.objects.filter(number=number).first()
        if segment is None:
            raise serializers.ValidationError("There is no segment with this number.")
        return segment

    def validate_experiment(self, number: int | None) -> Experiment | None:
        """The experiment with this number."""
        if number is None:
            return None
        experiment = Experiment.objects.filter(pk=number).first()
        if experiment is None:
            raise serializers.ValidationError("There is no experiment with this number.")
        return experiment


class ChangedRuleSerializer(RuleContentSerializer):
    """What changes of a draft; what is left out stays."""

    version = serializers.IntegerField(min_value=1, help_text="The version that you have read.")
    name = serializers.CharField(max_length=100, required=False)
    action = serializers.ChoiceField(choices=Rule.Action.values, required=False)


class StepSerializer(StrictSerializer):
    version = serializers.IntegerField(min_value=1, help_text="The version that you have read.")


class ConflictSerializer(serializers.Serializer[Any]):
    rule_id = serializers.IntegerField(source="other.pk")
    text = serializers.CharField(help_text="In words.")
    is_refused = serializers.BooleanField(help_text="True: both cannot be live at the same time.")


class RuleSerializer(serializers.Serializer[Any]):
    rule_id = serializers.IntegerField(source="pk", help_text="As `rules` of a list names it.")
    version = serializers.IntegerField(help_text="Send it with a change or a step.")
    state = serializers.SerializerMethodField(help_text="A live rule is scheduled before its start, ended after it.")
    name = serializers.CharField()
    action = serializers.ChoiceField(choices=Rule.Action.values)
    item_ids = serializers.ListField(child=serializers.CharField())
    attribute = serializers.CharField()
    values = serializers.ListField(child=serializers.CharField())
    position = serializers.IntegerField(allow_null=True)
    places = serializers.IntegerField(allow_null=True)
    url = serializers.CharField()
    text = serializers.CharField()
    match = serializers.ChoiceField(choices=Rule.Match.values)
    query = serializers.CharField()
    slot = serializers.CharField(help_text="Empty: every list.")
    segment = serializers.IntegerField(source="segment.number", default=None, allow_null=True)
    experiment = serializers.IntegerField(source="experiment_id", allow_null=True)
    starts_at = UtcDateTimeField(allow_null=True)
    ends_at = UtcDateTimeField(allow_null=True)
    created_by = serializers.CharField(source="created_by.get_username", default="")
    edited_by = serializers.CharField(source="edited_by.get_username", default="")
    reviewed_by = serializers.CharField(source="reviewed_by.get_username", default="", help_text="Who published it.")
    updated_at = UtcDateTimeField()
    reviewed_at = UtcDateTimeField(allow_null=True, help_text="When it was published.")
    cost = serializers.DictField(help_text="What was measured last: people, and differences with 95 % intervals.")
    conflicts = serializers.SerializerMethodField(help_text="Other rules that collide; only of one rule.")

    def get_state(self, rule: Rule) -> str:
        return life.standing(rule, at=timezone.now())

    def get_conflicts(self, rule: Rule) -> list[Any]:
        return list(ConflictSerializer(self.context.get("conflicts", []), many=True).data)


class RulesSerializer(serializers.Serializer[Any]):
    rules = RuleSerializer(many=True, help_text="Changed last first.")
    n_rules = serializers.IntegerField(help_text="All of them, before the offset.")


class StaffView(ApiView):
    """An endpoint for the shop's staff, who sign in as the shop's own API or its pages know them."""

    scope = ""

    def get_authenticators(self) -> list[BaseAuthentication]:
        """What the shop's own API authenticates by, and its session. An app's token or key is nobody of the staff."""
        named = getattr(settings, "REST_FRAMEWORK", {}).get("DEFAULT_AUTHENTICATION_CLASSES", ())
        classes = [import_string(path) if isinstance(path, str) else path for path in named]
        return [authentication() for authentication in (*classes, BrowserCookies)]

    def staff(self, permission: str) -> Any:
        """The member of staff who asks. Raises `Problem` for others, and without the permission."""
        user: Any = self.request.user
        if user is None or not user.is_authenticated:
            raise Problem("not-identified", "Sign in as staff, as the shop's own API takes it, or by its session.")
        if not getattr(user, "is_staff", False) or not user.has_perm(permission):
            raise Problem("forbidden", f"This needs a member of staff with the permission {permission}.")
        return user

    @property
    def host(self) -> str:
        """The host of this shop, to which alone a redirect may lead."""
        return str(self.request._request.get_host())


class RulesView(StaffView):
    """All rules."""

    parameters = RuleParameters

    def get(self, request: Request) -> Response:
        """List them. At most seven queries, whatever their number."""
        self.staff("recommender.view_rule")
        rules = Rule.objects.select_related("segment", "experiment", "created_by", "edited_by", "reviewed_by")
        if state := self.values.get("state"):
            rules = rules.filter(state=state)
        first = self.values["offset"]
        page = {"rules": rules[first : first + MAX_LISTED], "n_rules": rules.count()}
        return Response(RulesSerializer(page).data)

    def post(self, request: Request) -> Response:
        """Write a draft."""
        user = self.staff("recommender.add_rule")
        content = checked(RuleContentSerializer, request.data)
        return _answered(_refusing(lambda: life.create(Rule(**content), user=user, host=self.host)), status=201)


class RuleView(StaffView):
    """One rule."""

    def get(self, request: Request, rule_id: str) -> Response:
        """Read it, with what collides with it."""
        self.staff("recommender.view_rule")
        return _answered(_rule(rule_id))

    def patch(self, request: Request, rule_id: str) -> Response:
        """Change a draft, or a rule in review, which becomes a draft again."""
        user = self.staff("recommender.change_rule")
        rule, content = _rule(rule_id), checked(ChangedRuleSerializer, request.data)
        version = content.pop("version")
        if not content:
            raise Problem("invalid-request", "Nothing is changed. Send at least one field beside the version.")
        for name, value in content.items():
            setattr(rule, name, value)
        return _answered(_refusing(lambda: life.change(rule, user=user, host=self.host, version=version)))


class RuleStepView(StaffView):
    """A step of a rule: submit, publish, withdraw or copy."""

    def post(self, request: Request, rule_id: str, step: str) -> Response:
        """Take it, on the version that was read."""
        if step not in PERMISSIONS:
            raise Problem("unknown-endpoint", f"A rule has the steps {', '.join(PERMISSIONS)}.")
        user, rule = self.staff(PERMISSIONS[step]), _rule(rule_id)
        version = checked(StepSerializer, request.data)["version"]
        steps = {
            "submit": lambda: life.submit(rule, host=self.host, version=version),
            "publish": lambda: life.publish(rule, user=user, host=self.host, version=version),
            "withdraw": lambda: life.withdraw(rule, version=version),
            "copy": lambda: life.copy(rule, user=user),
        }
        return _answered(_refusing(steps[step]), status=201 if step == "copy" else 200)


def _rule(rule_id: str) -> Rule:
    """The rule with this id. Raises `Problem`."""
    is_number = rule_id.isascii() and rule_id.isdecimal() and len(rule_id) < 18
    rules = Rule.objects.select_related("segment", "experiment", "created_by", "edited_by", "reviewed_by")
    rule = rules.filter(pk=int(rule_id)).first() if is_number else None
    if rule is None:
        raise Problem("unknown-rule", "GET rules lists those that there are.")
    return rule


def _refusing(step: Any) -> Rule:
    """What the step gives. Raises `Problem` where the rule refuses it."""
    try:
        rule: Rule = step()
    except StaleRule as error:
        raise Problem("stale-rule", f"{error} Read it again, and send the version that you have read then.") from error
    except RuleError as error:
        raise Problem("invalid-request" if error.errors else "refused-step", str(error), error.errors) from error
    return rule


def _answered(rule: Rule, *, status: int = 200) -> Response:
    conflicts = conflicts_of(rule, at=timezone.now()) if rule.state != Rule.State.WITHDRAWN else []
    return Response(RuleSerializer(rule, context={"conflicts": conflicts}).data, status=status)
